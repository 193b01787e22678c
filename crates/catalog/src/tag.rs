//! Snapshot tags and the times they hold. The time comes from the caller: there is no clock here.

use protocol::SnapshotTag;

const DAY: u64 = 86_400;
/// Year 9999: the last whose tags sort as text.
const LAST: u64 = 253_402_300_799;

/// The tag of a snapshot taken at `unix`, in seconds since 1970 UTC.
///
/// A time after the year 9999 gets the last tag there is.
///
/// # Panics
/// Never: the text made here has the form of a tag.
#[must_use]
pub fn at(unix: u64) -> SnapshotTag {
    let unix = unix.min(LAST);
    let (year, month, day) = date(unix / DAY);
    let second = unix % DAY;
    format!(
        "sm_{year:04}{month:02}{day:02}{:02}{:02}{:02}UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
    .parse()
    .expect("fourteen digits make a tag")
}

/// The time a tag holds, in seconds since 1970 UTC; `None` if there is no such time, as in a 13th
/// month, or one before 1970.
#[must_use]
pub fn unix(tag: &SnapshotTag) -> Option<u64> {
    let number = |from: usize, to: usize| tag.as_str().get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(3, 7)?, number(7, 9)?, number(9, 11)?);
    let (hour, minute, second) = (number(11, 13)?, number(13, 15)?, number(15, 17)?);
    if year < 1970 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days(year, month, day);
    // A day that does not exist comes back as another one.
    (date(days) == (year, month, day)).then_some(days * DAY + hour * 3600 + minute * 60 + second)
}

/// Days of the years before `year`, counted from the year 1.
fn before(year: u64) -> u64 {
    let past = year - 1;
    past * 365 + past / 4 - past / 100 + past / 400
}

fn month_lengths(year: u64) -> [u64; 12] {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let february = if leap { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Days from 1970 to a date that need not exist; month 0 and day 0 give some day that differs.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let months = usize::try_from(month.saturating_sub(1)).unwrap_or(usize::MAX);
    let passed: u64 = month_lengths(year).iter().take(months).sum();
    before(year) - before(1970) + passed + day.saturating_sub(1)
}

fn date(days: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days / 366;
    while before(year + 1) - before(1970) <= days {
        year += 1;
    }
    let mut left = days - (before(year) - before(1970));
    let mut month = 1;
    for length in month_lengths(year) {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times_have_known_tags() {
        for (seconds, text) in [
            (0, "sm_19700101000000UTC"),
            (951_782_400, "sm_20000229000000UTC"),
            (1_767_225_600, "sm_20260101000000UTC"),
            (1_769_903_999, "sm_20260131235959UTC"),
            (4_107_542_400, "sm_21000301000000UTC"),
            (u64::MAX, "sm_99991231235959UTC"),
        ] {
            assert_eq!(at(seconds).as_str(), text);
            assert_eq!(unix(&at(seconds)), Some(seconds.min(LAST)));
        }
    }

    #[test]
    fn a_tag_without_a_time_has_none() {
        for text in [
            "sm_20261301000000UTC",
            "sm_20260001000000UTC",
            "sm_20260230000000UTC",
            "sm_20260100000000UTC",
            "sm_20260101240000UTC",
            "sm_20260101006000UTC",
            "sm_19691231235959UTC",
        ] {
            assert_eq!(unix(&text.parse().unwrap()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn tags_sort_as_their_times(a in 0..=LAST, b in 0..=LAST) {
            prop_assert_eq!(unix(&at(a)), Some(a));
            prop_assert_eq!(at(a).cmp(&at(b)), a.cmp(&b));
        }
    }
}
