//! What grows with what: the same work in larger and larger sizes.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use ::tests::{Direct, null_s3::Options};
use anyhow::{Result, ensure};
use catalog::{Document as _, Receipt, key::OwnKey};
use protocol::{Method, RunId};
use serde::Serialize;

use crate::{
    cases::Case,
    data::{self, COMPONENTS, Set},
    results::{Measured, Party, median},
    run,
    who::Who,
};

/// Bytes of the series in which files grow in number.
const FIXED: u64 = 94 << 20;
/// Any one upload may take this long.
const LIMIT: Duration = Duration::from_secs(300);
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
        Box::pin(uploaders(root)).await?,
        Box::pin(depth(root)).await?,
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

/// Several uploaders that share a node's work, and one core after another.
#[expect(clippy::cast_precision_loss, reason = "for the eye")]
async fn uploaders(root: &Path) -> Result<Series> {
    let filled = data::fill(&Set::a(true), root)?;
    let list = filled.all()?;
    let mut points = Vec::new();
    for count in [1, 2, 4, 8] {
        let case = case(Options::default(), 8);
        let mut direct = Box::pin(run::direct(&case, root, &[])).await?;
        for _ in 1..count {
            direct.join().await?;
        }
        let mut rates = Vec::new();
        for _ in 0..case.rounds {
            list.warm()?;
            direct.store.reset().await?;
            let took = direct.upload_chunks(RunId::generate(), &list.chunks, LIMIT);
            rates.push(list.files.len() as f64 / Box::pin(took).await?.as_secs_f64());
        }
        points.push((format!("{count} uploaders"), vec![median(rates)]));
    }
    fs::remove_dir_all(&filled.dir)?;
    Ok(Series {
        what: "uploaders of one node, 20,000 small files",
        target: "within 10 % of one, where there are two cores",
        columns: vec!["files/s"],
        points,
    })
}

/// Jobs that wait when an uploader starts; each is answered by a receipt that is there.
#[expect(clippy::cast_precision_loss, reason = "for the eye")]
async fn depth(root: &Path) -> Result<Series> {
    let mut points = Vec::new();
    for depth in [100, 1_000, 10_000] {
        let case = case(Options::default(), 8);
        let mut direct = Box::pin(run::direct(&case, root, &[])).await?;
        direct.uploader.kill();
        let run = RunId::generate();
        for chunk in 0..depth {
            let key = OwnKey::Receipt(run, direct.node(), chunk).to_string();
            let files = Vec::new();
            let methods = Vec::new();
            let receipt = Receipt {
                chunk,
                files,
                methods,
            }
            .to_json();
            direct.store.put(&key, receipt).await?;
            let job = direct.upload_job(run, chunk, Method::Agent);
            direct.publish(job).await?;
        }
        direct.uploader.start()?;
        let (first, seen) = answered(&direct, 1).await?;
        let (last, all) = answered(&direct, u64::from(depth)).await?;
        let rate = (all - seen) as f64 / (last - first).as_secs_f64();
        points.push((format!("{depth} jobs"), vec![rate, 1e6 / rate]));
    }
    Ok(Series {
        what: "jobs that wait, of one uploader",
        target: "the same for each job",
        columns: vec!["jobs/s", "us/job"],
        points,
    })
}

/// When so many receipts have been asked for, and how many it were then.
async fn answered(direct: &Direct, count: u64) -> Result<(Instant, u64)> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let tally = direct.store.tally().await?;
        let seen = tally.requests.get("GetObject").copied().unwrap_or_default();
        if seen >= count {
            return Ok((Instant::now(), seen));
        }
        ensure!(
            Instant::now() < deadline,
            "{seen} of {count} jobs were done"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
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
