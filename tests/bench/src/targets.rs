//! What is aimed at, and whether it is met.

use serde::Serialize;

use crate::{
    restore::Halves,
    results::{Measured, Party, Results, median},
};

/// How far a target is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Met {
    Missed,
    Must,
    Stretch,
}

/// A target.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) number: u8,
    pub(crate) what: &'static str,
    pub(crate) must: &'static str,
    pub(crate) stretch: &'static str,
    /// What was measured, or why it was not.
    pub(crate) got: String,
    pub(crate) met: Option<Met>,
}

/// The best of two bounds that a value keeps.
fn at_least(value: f64, must: f64, stretch: f64) -> Met {
    at_most(-value, -must, -stretch)
}

fn at_most(value: f64, must: f64, stretch: f64) -> Met {
    match value {
        _ if value <= stretch => Met::Stretch,
        _ if value <= must => Met::Must,
        _ => Met::Missed,
    }
}

/// A must that has no stretch: as good as one, if it is kept.
fn also(kept: bool) -> Met {
    if kept { Met::Stretch } else { Met::Missed }
}

const OURS: &str = "thetis";
const RAW: &str = "raw";
const TUNED: &str = "rclone, tuned";
const MIB: f64 = 1_048_576.0;

/// All targets, by number.
pub(crate) fn all(results: &Results) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |number, what, must, stretch, got: Option<(String, Met)>| {
        let (got, met) = match got {
            Some((got, met)) => (got, Some(met)),
            None => ("not measured".to_owned(), None),
        };
        rows.push(Row {
            number,
            what,
            must,
            stretch,
            got,
            met,
        });
    };
    let case = |id| results.case(id);
    let rate = |id, raw, tuned, stretch| case(id).and_then(|one| rates(one, raw, tuned, stretch));
    let cpu = |id, must, stretch| {
        let value = case(id)?.party(OURS)?.median(|turn| turn.cpu_per_gib());
        Some((format!("{value:.2}"), at_most(value, must, stretch)))
    };
    row(
        1,
        "few large, HTTP: rate",
        "0.50 x raw, 4 x rclone tuned",
        "0.75 x raw",
        rate("few-large", 0.5, 4.0, 0.75),
    );
    row(
        2,
        "few large, HTTP: CPU-s/GiB",
        "1.0",
        "0.65",
        cpu("few-large", 1.0, 0.65),
    );
    row(
        3,
        "few large, TLS: rate",
        "0.70 x raw, 1.6 x rclone tuned",
        "0.85 x raw",
        rate("few-large-tls", 0.7, 1.6, 0.85),
    );
    row(
        4,
        "few large, TLS: CPU-s/GiB",
        "1.4",
        "1.15",
        cpu("few-large-tls", 1.4, 1.15),
    );
    let mixed = rate("mixed", 0.45, 2.5, 0.65).zip(cpu("mixed", 1.4, 0.9));
    let mixed = mixed.map(|((rate, met), (cpu, also))| (format!("{rate}; {cpu}"), met.min(also)));
    row(
        5,
        "mixed, HTTP: rate; CPU-s/GiB",
        "0.45 x raw, 2.5 x rclone tuned; 1.4",
        "0.65 x raw; 0.9",
        mixed,
    );
    row(
        6,
        "many small: rate",
        "0.30 x raw, 2.9 x rclone tuned",
        "0.55 x raw",
        rate("many-small", 0.3, 2.9, 0.55),
    );
    row(
        7,
        "many small: us CPU/file",
        "150",
        "80",
        case("many-small").and_then(per_file),
    );
    row(
        8,
        "many small, 20 ms: files/s",
        "3000",
        "6000",
        case("many-small-20ms").and_then(far),
    );
    row(9, "many small, 20 ms, in bundles", "8000", "12000", None);
    row(
        10,
        "requests per small SSTable",
        "10 and no HEAD, no LIST; 0 if unchanged",
        "the same",
        requests(results),
    );
    row(11, "peak memory, MiB", "64", "40", peak(results));
    row(
        12,
        "disk bytes read / logical",
        "1.02",
        "1.00",
        case("cold").and_then(read),
    );
    row(
        13,
        "left in the page cache, MiB",
        "16",
        "0",
        case("cold").and_then(cached),
    );
    row(14, "overhead of the queue", "2 %", "1 %", queue(results));
    row(
        15,
        "foreground, upload at 100 MiB/s",
        "99 % IOPS, p50 1.25 x, p99 2 x or + 1 ms",
        "the same",
        foreground(results),
    );
    row(
        16,
        "restore of few large, beside its longer half alone",
        "1.15 x",
        "1.05 x",
        restored(results),
    );
    for row in &mut rows {
        if row.number == 9 {
            "there is no such layout".clone_into(&mut row.got);
        }
    }
    rows
}

/// Rates against the limit and the best peer.
fn rates(case: &Measured, raw: f64, tuned: f64, stretch: f64) -> Option<(String, Met)> {
    let ours = case.party(OURS)?;
    let rate = if case.of_files {
        format!("{:.0} files/s", ours.median(|turn| turn.files_per_second()))
    } else {
        format!("{:.0} MiB/s", ours.median(|turn| turn.mib_per_second()))
    };
    let [to_raw, least, most] = case.ratio(OURS, RAW)?;
    let mut got = format!("{rate}, {to_raw:.2} x raw ({least:.2} to {most:.2})");
    let mut met = at_least(to_raw, raw, stretch);
    match case.ratio(OURS, TUNED) {
        Some([to_tuned, ..]) => {
            got += &format!(", {to_tuned:.1} x rclone tuned");
            met = met.min(also(to_tuned >= tuned));
        }
        None => got += ", rclone not measured",
    }
    Some((got, met))
}

fn per_file(case: &Measured) -> Option<(String, Met)> {
    let value = case.party(OURS)?.median(|turn| turn.cpu_per_file());
    Some((format!("{value:.0}"), at_most(value, 150.0, 80.0)))
}

fn far(case: &Measured) -> Option<(String, Met)> {
    let value = case.party(OURS)?.median(|turn| turn.files_per_second());
    Some((format!("{value:.0}"), at_least(value, 3000.0, 6000.0)))
}

/// Chunks and receipts are a few requests for a hundred SSTables: a tenth of a request is for them.
fn requests(results: &Results) -> Option<(String, Met)> {
    let ours = results.case("many-small")?.party(OURS)?;
    let all = ours.median(|turn| turn.requests_per_sstable());
    let asked = |kind| ours.median(|turn| turn.of_kind(kind));
    let (heads, lists) = (asked("HeadObject"), asked("ListObjects"));
    let mut got = format!("{all:.2} ({heads:.2} HEAD, {lists:.2} LIST)");
    let mut kept = all <= 10.1 && heads + lists == 0.0;
    if let Some(ours) = results.case("incremental").and_then(|one| one.party(OURS)) {
        // Of ten SSTables nine are unchanged.
        let beyond = ours.median(|turn| turn.requests_per_sstable() - 10.0) / 9.0;
        got += &format!("; {beyond:.2} if unchanged");
        kept &= beyond <= 0.1;
    }
    Some((got, also(kept)))
}

#[expect(clippy::cast_precision_loss, reason = "mebibytes")]
fn peak(results: &Results) -> Option<(String, Met)> {
    let ours = results.cases.iter().filter_map(|case| case.party(OURS));
    let most = ours.map(Party::peak).max()? as f64 / MIB;
    Some((format!("{most:.0}"), at_most(most, 64.0, 40.0)))
}

fn read(case: &Measured) -> Option<(String, Met)> {
    let value = case.party(OURS)?.median(|turn| turn.read_ratio());
    // Less would mean that the files were not on the disk.
    let met = at_most(value, 1.02, 1.001).min(also(value > 0.9));
    Some((format!("{value:.3}"), met))
}

#[expect(clippy::cast_precision_loss, reason = "mebibytes")]
fn cached(case: &Measured) -> Option<(String, Met)> {
    let value = case.party(OURS)?.cached_bytes? as f64 / MIB;
    Some((format!("{value:.1}"), at_most(value, 16.0, 0.05)))
}

/// Over all sets together, each by its median: short ones alone would tell the noise.
fn queue(results: &Results) -> Option<(String, Met)> {
    let (mut with, mut without) = (0.0, 0.0);
    for id in ["many-small", "mixed", "few-large"] {
        let case = results.case(id)?;
        with += case.party(OURS)?.median(|turn| turn.seconds);
        without += case.party("thetis, no queue")?.median(|turn| turn.seconds);
    }
    let percent = (with / without - 1.0) * 100.0;
    Some((format!("{percent:.1} %"), at_most(percent, 2.0, 1.0)))
}

fn foreground(results: &Results) -> Option<(String, Met)> {
    let both = results.foreground.as_ref()?;
    let (alone, beside) = (&both.alone, &both.beside);
    let iops = beside.iops / alone.iops;
    let p50 = beside.p50_us / alone.p50_us;
    let p99 = beside.p99_us <= (2.0 * alone.p99_us).max(alone.p99_us + 1000.0);
    let got = format!(
        "{:.1} % IOPS, p50 {p50:.2} x, p99 {:.2} ms (alone {:.2})",
        iops * 100.0,
        beside.p99_us / 1000.0,
        alone.p99_us / 1000.0
    );
    Some((got, also(iops >= 0.99 && p50 <= 1.25 && p99)))
}

fn restored(results: &Results) -> Option<(String, Met)> {
    let restored = results.restored.as_ref()?;
    let text = |halves: &Halves| {
        format!(
            "{:.2} x (download {:.1} s, load {:.1} s, both {:.1} s)",
            halves.ratio(),
            median(halves.download.clone()),
            median(halves.load.clone()),
            median(halves.whole.clone())
        )
    };
    let ratio = restored.unlinked.ratio();
    let got = format!(
        "{}; behind a link {}",
        text(&restored.unlinked),
        text(&restored.linked)
    );
    Some((got, at_most(ratio, 1.15, 1.05)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::measured;

    fn met(results: &Results, number: u8) -> Option<Met> {
        let rows = all(results);
        rows.iter().find(|row| row.number == number).unwrap().met
    }

    #[test]
    fn a_target_is_met_missed_or_not_measured() {
        let mut results = Results::default();
        assert!(all(&results).iter().all(|row| row.met.is_none()));
        let large = |thetis: &[f64]| {
            measured(
                "few-large",
                &[("raw", &[1.0]), ("thetis", thetis), (TUNED, &[9.0])],
            )
        };
        for (seconds, expected) in [(1.2, Met::Stretch), (1.9, Met::Must), (2.1, Met::Missed)] {
            results.cases = vec![large(&[seconds])];
            assert_eq!(met(&results, 1), Some(expected), "{seconds}");
        }
        assert_eq!(met(&results, 2), Some(Met::Must), "1.0 CPU-s/GiB");
        assert_eq!(met(&results, 3), None);
        assert_eq!(met(&results, 11), Some(Met::Stretch), "40 MiB");
    }

    #[test]
    fn a_restore_is_compared_with_its_longer_half() {
        let restored = |whole: &[f64]| crate::restore::Restored {
            bytes: 1 << 30,
            unlinked: Halves {
                download: vec![1.0, 4.0, 1.0],
                load: vec![2.0, 2.0, 2.0],
                whole: whole.to_vec(),
            },
            ..crate::restore::Restored::default()
        };
        for (whole, expected) in [
            ([2.0, 4.4, 3.0], Met::Must),
            ([2.0, 4.0, 9.0], Met::Stretch),
            ([2.4, 4.8, 2.0], Met::Missed),
        ] {
            let results = Results {
                restored: Some(restored(&whole)),
                ..Results::default()
            };
            assert_eq!(met(&results, 16), Some(expected), "{whole:?}");
        }
    }

    #[test]
    fn a_peer_that_is_too_close_misses_the_target() {
        let case = measured(
            "few-large",
            &[("raw", &[1.0]), ("thetis", &[1.0]), (TUNED, &[3.0])],
        );
        let results = Results {
            cases: vec![case],
            ..Results::default()
        };
        assert_eq!(met(&results, 1), Some(Met::Missed));
    }
}
