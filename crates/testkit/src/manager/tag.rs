//! Snapshot tags and their times, in seconds since 1970 UTC.

const DAY: u64 = 86_400;

/// The tag of a snapshot taken at `unix`.
#[must_use]
pub fn tag_at(unix: u64) -> String {
    let (year, month, day) = date(unix / DAY);
    let second = unix % DAY;
    format!(
        "sm_{year:04}{month:02}{day:02}{:02}{:02}{:02}UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// The time of a tag; `None` for a text that is none.
#[must_use]
pub fn tag_time(tag: &str) -> Option<u64> {
    let digits = tag.strip_prefix("sm_")?.strip_suffix("UTC")?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() == 14)?;
    let part = |divisor: u64, modulus: u64| number / divisor % modulus;
    let day = (
        part(10_000_000_000, 10_000),
        part(100_000_000, 100),
        part(1_000_000, 100),
    );
    // A year at most from the right one: there are few days to try.
    let about = day.0.checked_sub(1970)? * 365;
    let days = (about..about + 1_000 + day.0 / 4).find(|days| date(*days) == day)?;
    Some(days * DAY + part(10_000, 100) * 3600 + part(100, 100) * 60 + part(1, 100))
}

/// The date of a day counted from 1970, in years that begin in March so that leap days end them.
fn date(days: u64) -> (u64, u64, u64) {
    let since = days + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}
