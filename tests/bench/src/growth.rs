//! What grows with what: the same work in larger and larger sizes.

use std::{fs, path::Path};

use ::tests::null_s3::Options;
use anyhow::Result;
use serde::Serialize;

use crate::{
    cases::Case,
    data::{self, COMPONENTS, Set},
    results::{Measured, Party},
    run,
    who::Who,
};

/// Bytes of the series in which files grow in number.
const FIXED: u64 = 94 << 20;
/// SSTables of the series in which they grow in size.
const FEW: usize = 20;

/// One thing that grows.
#[derive(Debug, Serialize)]
pub(crate) struct Series {
    pub(crate) what: &'static str,
    /// What should be seen.
    pub(crate) target: &'static str,
    pub(crate) columns: Vec<&'static str>,
    /// The size, and what was measured at it, by column.
    pub(crate) points: Vec<(String, Vec<f64>)>,
}

/// All series, measured below `root`.
pub(crate) async fn all(root: &Path) -> Result<Vec<Series>> {
    Ok(vec![
        Box::pin(files(root)).await?,
        Box::pin(bytes(root)).await?,
        Box::pin(latency(root)).await?,
        catalogue()?,
    ])
}

fn case(server: Options, raw: usize) -> Case {
    Case {
        id: "growth",
        what: "growth",
        server,
        who: vec![Who::Raw(raw), Who::Thetis],
        rounds: 3,
        known: 0,
        cold: false,
    }
}

async fn one(set: &Set, root: &Path, case: &Case) -> Result<Measured> {
    let filled = data::fill(set, root)?;
    let measured = Box::pin(run::measure(case, &filled, root)).await;
    fs::remove_dir_all(&filled.dir)?;
    measured
}

#[expect(clippy::cast_precision_loss, reason = "mebibytes")]
fn peak(party: &Party) -> f64 {
    party.peak() as f64 / f64::from(1 << 20)
}

async fn files(root: &Path) -> Result<Series> {
    let mut points = Vec::new();
    for sstables in [50, 200, 800, 2000] {
        // The other components have 2.6 KiB together, on average.
        let data = FIXED / sstables as u64 - 2600;
        let set = Set::of_series("files", sstables, data);
        let measured = one(&set, root, &case(Options::default(), 8)).await?;
        let values = measured.party("thetis").map_or_else(Vec::new, |ours| {
            let rate = ours.median(|turn| turn.files_per_second());
            let cpu = ours.median(|turn| turn.cpu_per_file());
            let of_raw = measured
                .ratio("thetis", "raw")
                .map_or(f64::NAN, |[middle, ..]| middle);
            vec![rate, of_raw, cpu, peak(ours)]
        });
        points.push((format!("{} files", sstables * COMPONENTS), values));
    }
    Ok(Series {
        what: "files, 94 MiB in all",
        target: "the same files/s once files are small; at most 300 B of memory a file",
        columns: vec!["files/s", "of raw", "us CPU/file", "peak MiB"],
        points,
    })
}

async fn bytes(root: &Path) -> Result<Series> {
    let mut points = Vec::new();
    for mib in [512, 2048, 8192] {
        let set = Set::of_series("bytes", FEW, (mib << 20) / FEW as u64);
        let measured = one(&set, root, &case(Options::default(), 2)).await?;
        let values = measured.party("thetis").map_or_else(Vec::new, |ours| {
            let rate = ours.median(|turn| turn.mib_per_second());
            let cpu = ours.median(|turn| turn.cpu_per_gib());
            vec![rate, cpu, peak(ours)]
        });
        points.push((format!("{mib} MiB"), values));
    }
    Ok(Series {
        what: "bytes, in 20 SSTables",
        target: "CPU-s/GiB within 10 %; the same memory",
        columns: vec!["MiB/s", "CPU-s/GiB", "peak MiB"],
        points,
    })
}

async fn latency(root: &Path) -> Result<Series> {
    let mut points = Vec::new();
    for milliseconds in [0, 5, 20, 50] {
        let case = case(Options::latency(milliseconds), 256);
        let measured = one(&Set::a(false), root, &case).await?;
        let values = measured.party("thetis").map_or_else(Vec::new, |ours| {
            let rate = ours.median(|turn| turn.files_per_second());
            #[expect(clippy::cast_precision_loss, reason = "some hundreds at most")]
            let in_flight = ours.median(|turn| turn.tally.in_flight as f64);
            // What so many at once could reach.
            let most = in_flight * 1000.0 / milliseconds as f64;
            vec![rate, in_flight, rate / most]
        });
        points.push((format!("{milliseconds} ms"), values));
    }
    Ok(Series {
        what: "latency of each request, 5,000 small files",
        target: "0.8 of what so many at once can reach, until the CPU is busy",
        columns: vec!["files/s", "most at once", "of what they could"],
        points,
    })
}

/// What it takes to find out that nothing is new.
#[expect(clippy::cast_precision_loss, reason = "for the eye")]
fn catalogue() -> Result<Series> {
    let mut points = Vec::new();
    for entries in [10_000, 100_000, 1_000_000] {
        let seconds = data::time_of_plan(entries / COMPONENTS)?;
        let values = vec![seconds * 1000.0, seconds * 1e6 / entries as f64];
        points.push((format!("{entries} objects"), values));
    }
    Ok(Series {
        what: "objects in the bucket, all of them known",
        target: "linear, and no request",
        columns: vec!["ms to plan", "us/object"],
        points,
    })
}
