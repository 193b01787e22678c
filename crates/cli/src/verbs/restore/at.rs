//! `--at`: the backup that holds what was there at a time.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::{
    error::{Exit, Failure},
    shape::Backup,
    verbs::Client,
};

/// The tag of the newest complete backup that was begun by then.
pub(super) async fn newest(
    client: &Client,
    cluster: &str,
    location: &[String],
    source: Option<&str>,
    at: &str,
) -> Result<String, Failure> {
    let Some(latest) = tag(at) else {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "--at: `{at}` is no time: give a date, as 2026-01-31, or one with a time, as 2026-01-31T18:00Z"
            ),
        ));
    };
    let mut query: Vec<(&str, &str)> = location
        .iter()
        .map(|location| ("locations", location.as_str()))
        .collect();
    query.extend(source.map(|source| ("query_cluster_id", source)));
    let answer = client
        .api
        .get(&["cluster", cluster, "backups"], &query)
        .await?;
    let backups: Vec<Backup> = answer.read()?;
    let tags = backups
        .iter()
        .flat_map(|backup| &backup.snapshot_info)
        .filter(|snapshot| snapshot.complete != Some(false))
        .map(|snapshot| snapshot.snapshot_tag.as_str());
    match tags.filter(|tag| *tag <= latest.as_str()).max() {
        Some(tag) => Ok(tag.to_owned()),
        None => Err(Failure::new(
            Exit::Failed,
            format!(
                "no complete backup was begun by {at}; `thetis backup list` shows what there is"
            ),
        )),
    }
}

/// The tag of a backup that begins at the end of a day, or at a time.
fn tag(at: &str) -> Option<String> {
    let utc = |time: DateTime| time.to_zoned(TimeZone::UTC).ok();
    let time = match at.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(TimeZone::UTC),
        Err(_) if at.contains(['T', ' ']) => utc(at.parse().ok()?)?,
        Err(_) => utc(at.parse::<jiff::civil::Date>().ok()?.at(23, 59, 59, 0))?,
    };
    Some(time.strftime("sm_%Y%m%d%H%M%SUTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_meant_to_its_end() {
        for (at, expected) in [
            ("2026-01-31", "sm_20260131235959UTC"),
            ("2026-01-31T18:00Z", "sm_20260131180000UTC"),
            ("2026-01-31T18:00", "sm_20260131180000UTC"),
            ("2026-01-31 18:00:05", "sm_20260131180005UTC"),
            ("2026-01-31T18:00+02:00", "sm_20260131160000UTC"),
        ] {
            assert_eq!(tag(at).as_deref(), Some(expected), "{at}");
        }
        for wrong in ["", "yesterday", "2026-13-01", "2026-01-31T25:00"] {
            assert_eq!(tag(wrong), None, "{wrong}");
        }
    }
}
