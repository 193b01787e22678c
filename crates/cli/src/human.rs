//! Sizes, times and shares as people read them.

use jiff::Timestamp;

/// `1.50 GiB`: bytes in the largest unit of 1024 that leaves at least one whole.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Exact enough: a number below 1024 with two decimals.
    let power = bytes.ilog2() / 10;
    let whole = bytes >> (power * 10);
    let rest = (bytes >> (power * 10 - 10)) & 1023;
    let hundredths = rest * 100 / 1024;
    let unit = UNITS[power as usize - 1];
    match whole {
        0..10 => format!("{whole}.{hundredths:02} {unit}"),
        10..100 => format!("{whole}.{} {unit}", hundredths / 10),
        _ => format!("{whole} {unit}"),
    }
}

/// `48%`: never 100 % before everything is done.
pub(crate) fn percent(done: u64, all: u64) -> String {
    if all == 0 {
        return "-".to_owned();
    }
    format!("{}%", u128::from(done.min(all)) * 100 / u128::from(all))
}

/// `12m31s`, in at most two units.
pub(crate) fn duration(secs: u64) -> String {
    let (d, h, m, s) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60, secs % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m{s:02}s"),
        (0, _, _) => format!("{h}h{m:02}m"),
        _ => format!("{d}d{h:02}h"),
    }
}

/// Whole seconds from one time to another, both as the API writes them; `None` if either is none.
pub(crate) fn seconds(from: Option<&str>, to: Option<&str>, now: Timestamp) -> Option<u64> {
    let at = |text: &str| text.parse::<Timestamp>().ok().filter(|t| t.as_second() > 0);
    let end = to.and_then(at).unwrap_or(now);
    u64::try_from(end.duration_since(at(from?)?).as_secs()).ok()
}

/// `3m05s ago`; `-` when there is no such time.
pub(crate) fn age(time: Option<&str>, now: Timestamp) -> String {
    seconds(time, None, now)
        .map_or_else(|| "-".to_owned(), |secs| format!("{} ago", duration(secs)))
}

/// `2026-01-31 23:59:59 UTC`; the text itself if it is no time.
pub(crate) fn time(time: Option<&str>) -> String {
    let Some(text) = time else {
        return "-".to_owned();
    };
    text.parse::<Timestamp>().map_or_else(
        |_| text.to_owned(),
        |t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// `12.3 MiB/s`, or `-` when no time has passed.
pub(crate) fn rate(moved: u64, millis: u64) -> String {
    if millis == 0 || moved == 0 {
        return "-".to_owned();
    }
    let each_second = u128::from(moved) * 1000 / u128::from(millis);
    format!(
        "{}/s",
        bytes(u64::try_from(each_second).unwrap_or(u64::MAX))
    )
}

/// Bytes, as `10GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "it looks like 500MiB, 10GiB or 1TiB".to_owned();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_largest_unit_that_fits() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536 << 20, "1.50 GiB"),
            (15 << 30 | 1 << 29, "15.5 GiB"),
            (812 << 30, "812 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn shares_are_rounded_down() {
        assert_eq!(percent(0, 0), "-");
        assert_eq!(percent(999, 1000), "99%");
        assert_eq!(percent(u64::MAX, u64::MAX), "100%");
        assert_eq!(percent(7, 5), "100%");
    }

    #[test]
    fn durations_have_two_units() {
        for (secs, text) in [
            (0, "0s"),
            (59, "59s"),
            (751, "12m31s"),
            (7_500, "2h05m"),
            (183_600, "2d03h"),
        ] {
            assert_eq!(duration(secs), text);
        }
    }

    #[test]
    fn times_are_read_as_the_api_writes_them() {
        let now: Timestamp = "2026-01-31T12:00:05Z".parse().unwrap();
        assert_eq!(age(Some("2026-01-31T12:00:00.25Z"), now), "4s ago");
        assert_eq!(age(None, now), "-");
        assert_eq!(age(Some("0001-01-01T00:00:00Z"), now), "-");
        assert_eq!(
            time(Some("2026-01-31T12:00:00.25Z")),
            "2026-01-31 12:00:00 UTC"
        );
        assert_eq!(
            seconds(
                Some("2026-01-31T12:00:00Z"),
                Some("2026-01-31T12:00:02Z"),
                now
            ),
            Some(2)
        );
        assert_eq!(rate(2 << 20, 500), "4.00 MiB/s");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("10GiB"), Ok(10 << 30));
        assert_eq!(
            (size("7"), size("1k"), size("2TiB")),
            (Ok(7), Ok(1024), Ok(2 << 40))
        );
        for wrong in ["", "GiB", "1.5GiB", "10 parsecs", "99999999TiB"] {
            assert!(size(wrong).unwrap_err().contains("10GiB"), "{wrong}");
        }
    }
}
