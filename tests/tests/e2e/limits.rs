//! An uploader keeps to its limits, and makes way for the database beside which it lives.

use std::{fs::File, time::Duration};

use anyhow::{Context as _, Result, ensure};
use catalog::{Chunk, ChunkFile};
use protocol::{RunId, Throttles};
use reqwest::Method;
use serde_json::json;
use testkit::eventually;
use tests::Direct;
use tokio::time::{Instant, MissedTickBehavior, interval};

const MIB: u64 = 1 << 20;
/// How often it is looked how much was read.
const LOOK: Duration = Duration::from_millis(100);
/// Looks in ten seconds.
const TEN_SECONDS: usize = 100;
const LONG: Duration = Duration::from_secs(120);

/// A file that takes no room on the disk, as a chunk.
fn large(direct: &Direct, bytes: u64) -> Result<Chunk> {
    File::create(direct.data().join("large"))?.set_len(bytes)?;
    Ok(Chunk {
        chunk: 0,
        files: vec![ChunkFile {
            path: "large".to_owned(),
            key: "backup/sst/large".to_owned(),
            bytes,
            crc32: None,
            replaces: None,
        }],
    })
}

/// Looks for so many tenths of a second; gives how much had been read at each look, and when.
async fn watch(direct: &Direct, looks: usize) -> Result<Vec<(Instant, u64)>> {
    let mut seen = Vec::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..looks {
        look.tick().await;
        seen.push((Instant::now(), direct.read()?));
    }
    Ok(seen)
}

/// The least and the most that was read in about ten seconds, as parts of what `rate` allows.
#[expect(clippy::cast_precision_loss, reason = "these are small")]
fn extremes(seen: &[(Instant, u64)], rate: u64) -> (f64, f64) {
    let parts = seen.windows(TEN_SECONDS + 1).map(|window| {
        let ((begin, before), (end, after)) = (window[0], window[TEN_SECONDS]);
        (after - before) as f64 / (end - begin).as_secs_f64() / rate as f64
    });
    parts.fold((f64::MAX, 0.0), |(least, most), part| {
        (part.min(least), part.max(most))
    })
}

/// Not above by more than 2 %; below is the machine's business, if it has much to do.
fn keeps_to(seen: &[(Instant, u64)], mib: u32) -> Result<()> {
    let (least, most) = extremes(seen, u64::from(mib) * MIB);
    eprintln!("{mib} MiB/s: {least:.3} to {most:.3} of it in any ten seconds");
    ensure!(most <= 1.02, "{most} of {mib} MiB/s in ten seconds");
    ensure!(least >= 0.85, "{least} of {mib} MiB/s in ten seconds");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_and_changes_in_the_middle_of_a_file() -> Result<()> {
    let direct = Direct::start().await?;
    let say = async |mib: Option<u32>| {
        let cluster = mib;
        let throttles = Throttles {
            cluster,
            ..Throttles::default()
        };
        direct.throttle(throttles).await
    };
    say(Some(20)).await?;
    let chunks = [large(&direct, 2 << 30)?];
    let before = direct.read()?;
    let upload = direct.upload_chunks(RunId::generate(), &chunks, LONG);
    let steps = async {
        eventually("the first bytes", LONG, async || {
            ensure!(direct.read()? > before + 8 * MIB, "nothing is read yet");
            Ok(())
        })
        .await?;
        keeps_to(&watch(&direct, 130).await?, 20)?;
        say(Some(60)).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        keeps_to(&watch(&direct, 120).await?, 60)?;
        say(Some(10)).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        keeps_to(&watch(&direct, 120).await?, 10)?;
        say(None).await
    };
    let (uploaded, steps) = tokio::join!(upload, steps);
    steps.context(direct.uploader.log())?;
    uploaded.map(drop)
}

/// The uploader's limit as its metrics tell it: who set it, and bytes per second.
async fn limit(direct: &Direct) -> Result<Option<(String, u64)>> {
    let url = format!("{}/metrics", direct.uploader.admin()?);
    let text = reqwest::get(url).await?.text().await?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("thetis_uploader_rate_limit_bytes{by=\""));
    let Some((by, rest)) = line.and_then(|line| line.split_once("\"}")) else {
        return Ok(None);
    };
    Ok(Some((by.to_owned(), rest.trim().parse()?)))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_makes_way_for_the_database() -> Result<()> {
    let direct = Direct::start_with(&[
        ("THETIS_UPLOADER__ADAPTIVE", "true"),
        ("THETIS_UPLOADER__SAFE_RATE", "40"),
    ])
    .await?;
    let load = async |requests: u32, latency_us: u32| {
        let load = json!({"requests": requests, "latency_us": latency_us, "busy_percent": 30});
        let path = "/nodes/1/load";
        direct.sim.admin(Method::PUT, path, Some(load)).await
    };
    let becomes = async |what: &str, holds: &(dyn Fn(&str, u64) -> bool + Sync)| {
        let found = eventually(what, LONG, async || {
            let found = limit(&direct).await?.context("nothing limits")?;
            ensure!(holds(&found.0, found.1), "{found:?}");
            Ok(found)
        });
        found.await.with_context(|| direct.uploader.log())
    };
    load(2_000, 3_000).await?;
    let run = RunId::generate();
    let chunks = [large(&direct, 64 << 30)?];
    let upload = direct.upload_chunks(run, &chunks, LONG);
    let steps = async {
        becomes("a pause", &|by, rate| by == "probe" && rate == 1).await?;
        let (_, calm) = becomes("a rate", &|by, _| by == "fine").await?;
        ensure!(calm == 40 * MIB, "it begins with what is safe: {calm}");
        load(2_000, 30_000).await?;
        becomes("its half", &|by, rate| by == "latency" && rate <= calm / 2).await?;
        let noted = eventually("a note", LONG, async || {
            let notes = direct.in_hand(run).await?;
            let told = notes
                .into_iter()
                .find(|note| note.limited_by.contains("p99 latency"));
            told.context("no note says why")
        });
        let noted = noted.await?;
        ensure!(noted.limited_by.contains("was 4.1 ms"), "{noted:?}");
        ensure!(noted.rate_limit < Some(calm), "{noted:?}");
        becomes("the least", &|by, rate| by == "latency" && rate == 8 * MIB).await?;
        load(2_000, 3_000).await?;
        becomes("more again", &|by, rate| by == "fine" && rate > 8 * MIB).await?;
        let down = "/nodes/1/down";
        direct.sim.admin(Method::POST, down, None).await?;
        becomes("the safe rate", &|by, rate| {
            by == "no_metrics" && rate == 40 * MIB
        })
        .await?;
        anyhow::Ok(())
    };
    tokio::select! {
        uploaded = upload => Err(anyhow::anyhow!("it ended: {uploaded:?}")),
        steps = steps => steps,
    }
}
