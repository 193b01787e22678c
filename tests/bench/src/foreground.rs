//! What an upload at a limited rate does to somebody else who reads from the same disk.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use ::tests::null_s3::Options;
use anyhow::{Context as _, Result, ensure};
use protocol::RunId;
use serde::Serialize;
use serde_json::Value;

use crate::{cases::Case, data::Filled, run};

/// The setting that limits an uploader, and its value: MiB/s.
const LIMIT: (&str, &str) = ("THETIS_UPLOADER__RATE_LIMIT", "100");
/// How long the reader reads.
const SECONDS: u64 = 8;

/// A reader alone, and beside an upload.
#[derive(Debug, Serialize)]
pub(crate) struct Foreground {
    pub(crate) alone: Fio,
    pub(crate) beside: Fio,
    /// Of the upload.
    pub(crate) mib_per_second: f64,
}

/// What a reader saw: 4 KiB at random places, 1000 times a second.
#[derive(Debug, Serialize)]
pub(crate) struct Fio {
    pub(crate) iops: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Why this can't be measured here.
pub(crate) fn lacking() -> Option<&'static str> {
    let quiet = |command: &mut Command| {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !quiet(Command::new("fio").arg("--version")) {
        return Some("no `fio` is installed");
    }
    let Ok(thetis) = ::tests::bin("thetis") else {
        return Some("no `thetis` was built");
    };
    let mut check = Command::new(thetis);
    check
        .args(["uploader", "--check-config"])
        .env(LIMIT.0, LIMIT.1);
    (!quiet(&mut check)).then_some("`thetis` knows no `uploader.rate_limit`")
}

/// Measures a reader alone, and beside the upload of a set that is read from the disk.
pub(crate) async fn measure(filled: &Filled, root: &Path) -> Result<Foreground> {
    let file = root.join("foreground");
    let all = filled.all()?;
    fio(file.clone(), &["--create_only=1"]).await?;
    let alone = fio(file.clone(), &[]).await?;
    let case = Case {
        id: "foreground",
        what: "an upload at 100 MiB/s",
        server: Options::default(),
        who: Vec::new(),
        rounds: 1,
        known: 0,
        cold: true,
    };
    let direct = Box::pin(run::direct(&case, root, &[LIMIT])).await?;
    all.cool()?;
    let limit = Duration::from_secs(300);
    let upload = direct.upload_chunks(RunId::generate(), &all.chunks, limit);
    let (took, beside) = tokio::try_join!(Box::pin(upload), fio(file, &[]))?;
    ensure!(
        took > Duration::from_secs(SECONDS),
        "the upload was over after {took:?}, before the reader was"
    );
    #[expect(clippy::cast_precision_loss, reason = "mebibytes")]
    let mib = all.bytes() as f64 / f64::from(1 << 20);
    Ok(Foreground {
        alone: read(&alone)?,
        beside: read(&beside)?,
        mib_per_second: mib / took.as_secs_f64(),
    })
}

async fn fio(file: PathBuf, more: &'static [&'static str]) -> Result<Value> {
    let run = move || {
        Command::new("fio")
            .args(["--name=foreground", "--size=1G", "--rw=randread", "--bs=4k"])
            .args(["--direct=1", "--ioengine=psync", "--rate_iops=1000"])
            .args(["--time_based", "--output-format=json"])
            .arg(format!("--runtime={SECONDS}"))
            .arg(format!("--filename={}", file.display()))
            .args(more)
            .output()
    };
    let output = tokio::task::spawn_blocking(run).await??;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "fio ended with {}: {text}{said}",
        output.status
    );
    // It may say something before.
    let start = text.find('{').context("fio says what it saw")?;
    Ok(serde_json::from_str(&text[start..])?)
}

fn read(report: &Value) -> Result<Fio> {
    let read = &report["jobs"][0]["read"];
    let number = |value: &Value| value.as_f64().context("fio says numbers");
    let percentiles = &read["clat_ns"]["percentile"];
    Ok(Fio {
        iops: number(&read["iops"])?,
        p50_us: number(&percentiles["50.000000"])? / 1000.0,
        p99_us: number(&percentiles["99.000000"])? / 1000.0,
    })
}
