//! What is asked about backups.

use std::time::Duration;

use catalog::Filter;
use protocol::{ClusterId, Location, SnapshotTag, TaskId};

use crate::api::ApiError;

/// What is asked for. What is not said is empty, or as wide as it can be.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) locations: Vec<Location>,
    pub(super) cluster: Option<ClusterId>,
    pub(super) task: Option<TaskId>,
    pub(super) tag: Option<SnapshotTag>,
    pub(super) filter: Filter,
    pub(super) min: Option<SnapshotTag>,
    pub(super) max: Option<SnapshotTag>,
    pub(super) tags: Vec<SnapshotTag>,
    pub(super) force: bool,
    pub(super) dry_run: bool,
    pub(super) wait: Option<Duration>,
}

impl Wanted {
    /// Reads a query of which only the parameters in `known` make sense.
    pub(super) fn read(query: &[(String, String)], known: &[&str]) -> Result<Self, ApiError> {
        let (mut locations, mut keyspace) = (Vec::new(), Vec::new());
        let mut wanted = Self {
            locations: Vec::new(),
            cluster: None,
            task: None,
            tag: None,
            filter: all(),
            min: None,
            max: None,
            tags: Vec::new(),
            force: false,
            dry_run: false,
            wait: None,
        };
        for (key, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
            let key = key.as_str();
            if !known.contains(&key) {
                return Err(ApiError::bad(format!("there is no parameter `{key}`")));
            }
            match key {
                "location" | "locations" => locations.extend(list(value)),
                "keyspace" => keyspace.extend(list(value)),
                "query_cluster_id" => wanted.cluster = Some(uuid(key, value)?),
                "query_task_id" => wanted.task = Some(uuid(key, value)?),
                "snapshot_tag" => {
                    let tag = value.parse();
                    wanted.tag =
                        Some(tag.map_err(|e| ApiError::bad(format!("`snapshot_tag`: {e}")))?);
                }
                "snapshot_tags" => {
                    for tag in list(value) {
                        let tag = tag.parse();
                        let tag =
                            tag.map_err(|e| ApiError::bad(format!("`snapshot_tags`: {e}")))?;
                        wanted.tags.push(tag);
                    }
                }
                "force" => wanted.force = flag(key, value)?,
                "dry_run" => wanted.dry_run = flag(key, value)?,
                "wait_seconds" => {
                    let seconds = value.parse().map_err(|_| {
                        ApiError::bad(format!("`{key}` is `{value}`, no number of seconds"))
                    })?;
                    wanted.wait = Some(Duration::from_secs(u64::min(seconds, 3_600)));
                }
                "min_date" => wanted.min = tag_at(key, value)?,
                "max_date" => wanted.max = tag_at(key, value)?,
                other => return Err(ApiError::bad(format!("there is no parameter `{other}`"))),
            }
        }
        for text in &locations {
            let location = text.parse();
            let location = location.map_err(|e| ApiError::bad(format!("`locations`: {e}")))?;
            wanted.locations.push(location);
        }
        wanted.filter =
            Filter::new(&keyspace).map_err(|e| ApiError::bad(format!("`keyspace`: {e}")))?;
        Ok(wanted)
    }

    /// The tag, which has to be there.
    pub(super) fn the_tag(&self) -> Result<&SnapshotTag, ApiError> {
        let missing =
            || ApiError::bad("`snapshot_tag` is missing; it looks like sm_20260131235959UTC");
        self.tag.as_ref().ok_or_else(missing)
    }
}

fn list(value: &str) -> impl Iterator<Item = String> {
    let texts = value.split(',').map(str::trim);
    texts.filter(|text| !text.is_empty()).map(str::to_owned)
}

fn uuid<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, ApiError> {
    value
        .parse()
        .map_err(|_| ApiError::bad(format!("`{key}` is `{value}`, no UUID")))
}

fn flag(key: &str, value: &str) -> Result<bool, ApiError> {
    value
        .parse()
        .map_err(|_| ApiError::bad(format!("`{key}` is `{value}`; give true or false")))
}

fn all() -> Filter {
    Filter::new::<&str>(&[]).expect("no pattern is no wrong pattern")
}

/// The tag of a backup taken at a time. Clients write times they do not care for as the year 1.
fn tag_at(key: &str, text: &str) -> Result<Option<SnapshotTag>, ApiError> {
    let at: jiff::Timestamp = text.parse().map_err(|_| {
        ApiError::bad(format!(
            "`{key}` is `{text}`, which is no time such as 2026-01-31T00:00:00Z"
        ))
    })?;
    Ok(u64::try_from(at.as_second()).ok().map(catalog::tag::at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = [
        "locations",
        "query_cluster_id",
        "snapshot_tag",
        "keyspace",
        "min_date",
        "max_date",
    ];

    fn ask(query: &[(&str, &str)]) -> Result<Wanted, String> {
        let query: Vec<_> = query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Wanted::read(&query, &KNOWN).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn lists_may_be_given_in_both_ways() {
        let wanted = ask(&[
            ("locations", "s3:a,dc1:s3:b"),
            ("locations", "gcs:c"),
            ("keyspace", "shop.*"),
        ])
        .unwrap();
        assert_eq!(wanted.locations.len(), 3);
        assert!(wanted.filter.takes("shop", "users") && !wanted.filter.takes("bank", "users"));
        let dates = ask(&[
            ("min_date", "0001-01-01T00:00:00Z"),
            ("max_date", "2026-01-31T23:59:59Z"),
        ])
        .unwrap();
        assert_eq!(dates.min, None);
        assert_eq!(dates.max.unwrap().as_str(), "sm_20260131235959UTC");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, named) in [
            (("locations", "x"), "`x`"),
            (("keyspace", "["), "`keyspace`"),
            (("query_cluster_id", "prod"), "`prod`"),
            (("min_date", "yesterday"), "`yesterday`"),
            (("snapshot_tag", "yesterday"), "`snapshot_tag`"),
            (("query_task_id", "x"), "no parameter `query_task_id`"),
            (("cluster", "x"), "no parameter `cluster`"),
        ] {
            let said = ask(&[query]).unwrap_err();
            assert!(said.contains(named), "{said}");
        }
    }

    #[test]
    fn a_tag_must_be_there_where_one_is_needed() {
        let said = ask(&[]).unwrap();
        assert!(
            said.the_tag()
                .unwrap_err()
                .message()
                .contains("snapshot_tag")
        );
        let said = ask(&[("snapshot_tag", "sm_20260131235959UTC")]).unwrap();
        assert_eq!(said.the_tag().unwrap().as_str(), "sm_20260131235959UTC");
    }
}
