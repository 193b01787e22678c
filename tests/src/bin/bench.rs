//! What an upload costs: `make bench`. See docs/benchmark.md.
//!
//! Uploads three sets of files through a real uploader process to a server that stores nothing, and
//! the same files with rclone, with its defaults and tuned, so that both are measured on the same
//! machine in the same minute.

#![expect(
    clippy::print_stdout,
    reason = "a benchmark talks to the person who started it"
)]

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use catalog::ChunkFile;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use testkit::binary;
use tests::{Direct, NullS3, Tally};

/// Components of an SSTable; the first holds nearly all of it.
const COMPONENTS: [&str; 9] = [
    "Data.db",
    "Index.db",
    "Summary.db",
    "Filter.db",
    "Statistics.db",
    "Scylla.db",
    "CompressionInfo.db",
    "Digest.crc32",
    "TOC.txt",
];
/// Any one transfer may take this long.
const LIMIT: Duration = Duration::from_secs(300);
/// How often everybody has a turn; the median is shown.
const ROUNDS: usize = 3;
/// What makes rclone fast: more at once, no request to see whether an object has arrived, no
/// checksum of its own before it sends, parts as large as ours.
const TUNED: [&str; 7] = [
    "--transfers=64",
    "--checkers=64",
    "--s3-no-head",
    "--s3-no-check-bucket",
    "--s3-disable-checksum",
    "--s3-chunk-size=16Mi",
    "--s3-upload-concurrency=8",
];
/// Random bytes that files are made of.
const NOISE: usize = 1 << 20;

/// A set of SSTables.
struct Set {
    name: &'static str,
    what: &'static str,
    sstables: usize,
    components: usize,
    /// Bytes of the first component.
    data: std::ops::RangeInclusive<u64>,
    /// Bytes of each other one.
    rest: std::ops::RangeInclusive<u64>,
}

const SETS: [Set; 3] = [
    Set {
        name: "A",
        what: "many small files",
        sstables: 500,
        components: 9,
        data: 4_096..=65_536,
        rest: 16..=8_192,
    },
    Set {
        name: "B",
        what: "middle-sized",
        sstables: 100,
        components: 9,
        data: (1 << 20)..=(8 << 20),
        rest: 16..=65_536,
    },
    Set {
        name: "C",
        what: "large",
        sstables: 2,
        components: 1,
        data: (512 << 20)..=(512 << 20),
        rest: 0..=0,
    },
];

/// What one transfer of a set took.
struct Cost {
    who: &'static str,
    took: Duration,
    cpu: Duration,
    /// Bytes of memory, at most.
    peak: u64,
    tally: Tally,
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> Result<()> {
    if cfg!(debug_assertions) {
        println!("This is not a release build: compare with care, and quote nothing.\n");
    }
    println!(
        "{:<4} {:<15} {:>8} {:>9} {:>9} {:>10} {:>9} {:>12}",
        "set", "who", "seconds", "files/s", "MiB/s", "CPU-s/GiB", "peak MiB", "req/SSTable"
    );
    for set in &SETS {
        measure(set).await?;
    }
    Ok(())
}

/// Measures everybody in turns, and shows the median of each.
async fn measure(set: &Set) -> Result<()> {
    let direct = Direct::start().await?;
    let (sstables, bytes) = fill(set, direct.data())?;
    let folder = direct.data().join(set.name);
    let mut rounds = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        rounds[0].push(ours(&direct, &sstables).await?);
        rounds[1].push(rclone(&folder, "rclone", &[]).await?);
        rounds[2].push(rclone(&folder, "rclone, tuned", &TUNED).await?);
    }
    for cost in rounds.iter().flatten() {
        ensure!(
            cost.tally.bytes >= bytes,
            "{} sent {:?}",
            cost.who,
            cost.tally
        );
    }
    let [ours, plain, tuned] = rounds.map(median);
    for cost in [&ours, &plain, &tuned] {
        cost.show(set, bytes);
    }
    for theirs in [plain, tuned] {
        let (time, cpu) = (ratio(theirs.took, ours.took), ratio(theirs.cpu, ours.cpu));
        println!(
            "     {} takes {time:.1} times our time and {cpu:.1} times our CPU time",
            theirs.who
        );
    }
    println!("     ({}: {})\n", set.what, describe(&ours.tally));
    Ok(())
}

fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by_key(|cost| cost.took);
    costs.swap_remove(costs.len() / 2)
}

/// Makes a set's files below the data directory. Just written, they are in the page cache for all.
fn fill(set: &Set, data: &Path) -> Result<(Vec<Vec<ChunkFile>>, u64)> {
    let mut random = StdRng::seed_from_u64(1);
    let mut noise = vec![0; NOISE];
    random.fill_bytes(&mut noise);
    fs::create_dir_all(data.join(set.name))?;
    let mut total = 0;
    let mut sstables = Vec::new();
    for number in 0..set.sstables {
        let mut files = Vec::new();
        for component in &COMPONENTS[..set.components] {
            let range = match files.is_empty() {
                true => set.data.clone(),
                false => set.rest.clone(),
            };
            let bytes = random.random_range(range);
            let path = format!("{}/me-{number}-big-{component}", set.name);
            write(&data.join(&path), bytes, &noise)?;
            total += bytes;
            files.push(ChunkFile {
                key: format!("backup/sst/{path}"),
                path,
                bytes,
                crc32: None,
                replaces: None,
            });
        }
        sstables.push(files);
    }
    Ok((sstables, total))
}

fn write(path: &Path, bytes: u64, noise: &[u8]) -> Result<()> {
    let mut file = File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        let part = left.min(noise.len() as u64);
        file.write_all(&noise[..usize::try_from(part)?])?;
        left -= part;
    }
    Ok(())
}

async fn ours(direct: &Direct, sstables: &[Vec<ChunkFile>]) -> Result<Cost> {
    let (before, cpu) = (direct.null.tally(), direct.cpu()?);
    let took = direct.upload(sstables, LIMIT).await?;
    Ok(Cost {
        who: "thetis uploader",
        took,
        cpu: direct.cpu()? - cpu,
        peak: direct.peak()?,
        tally: direct.null.tally().since(&before),
    })
}

/// Copies a folder with rclone to a fresh server.
async fn rclone(folder: &Path, who: &'static str, flags: &[&str]) -> Result<Cost> {
    let null = NullS3::start().await?;
    let mut command = Command::new(rclone_path()?);
    command
        .args(["copy", "--config=", "--log-level=ERROR"])
        .args(flags)
        .arg(folder)
        .arg(":s3:thetis/copy")
        .args(["--s3-provider=Other", "--s3-region=us-east-1"])
        .args([
            "--s3-access-key-id=anybody",
            "--s3-secret-access-key=anything",
        ])
        .arg(format!("--s3-endpoint={}", null.endpoint()))
        .stdin(Stdio::null());
    let began = Instant::now();
    let work = tokio::task::spawn_blocking(move || measured(command));
    let (cpu, peak) = work.await??;
    Ok(Cost {
        who,
        took: began.elapsed(),
        cpu,
        peak,
        tally: null.tally(),
    })
}

fn rclone_path() -> Result<PathBuf> {
    // The installed one may be a script that starts the real one.
    fs::canonicalize(binary("rclone")?).context("finding rclone")
}

/// Runs a command to its end; gives its CPU time and its peak of memory as they were last seen.
fn measured(mut command: Command) -> Result<(Duration, u64)> {
    let mut child = command.spawn()?;
    let began = Instant::now();
    let (mut cpu, mut peak) = (Duration::ZERO, 0);
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "rclone ended with {status}");
            return Ok((cpu, peak));
        }
        // A process that has just ended shows neither.
        cpu = tests::cpu(child.id()).unwrap_or(cpu);
        peak = tests::peak(child.id()).unwrap_or(peak);
        if began.elapsed() > LIMIT {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "for the eye")]
    fn show(&self, set: &Set, bytes: u64) {
        let seconds = self.took.as_secs_f64();
        let files = (set.sstables * set.components) as f64;
        let mib = bytes as f64 / f64::from(1 << 20);
        println!(
            "{:<4} {:<15} {seconds:>8.2} {:>9.0} {:>9.1} {:>10.2} {:>9} {:>12.2}",
            set.name,
            self.who,
            files / seconds,
            mib / seconds,
            self.cpu.as_secs_f64() / (mib / 1024.0),
            self.peak >> 20,
            self.tally.total() as f64 / set.sstables as f64,
        );
    }
}

fn ratio(theirs: Duration, ours: Duration) -> f64 {
    theirs.as_secs_f64() / ours.as_secs_f64().max(0.001)
}

fn describe(tally: &Tally) -> String {
    let kinds = tally.requests.iter();
    let kinds: Vec<String> = kinds
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    kinds.join(", ")
}
