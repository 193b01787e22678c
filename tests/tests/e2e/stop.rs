//! A backup that is stopped in the middle of a large file: it is idle at once, leaves nothing open, and
//! sends only what is missing when it goes on.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use reqwest::Method;
use serde_json::json;
use testkit::{eventually, faults::Fault};
use tests::{Options, Shape, TableSpec, World};

use crate::faults::Gate;

const LIMIT: Duration = Duration::from_secs(180);
/// The large file's bytes.
const LARGE: u64 = 1 << 30;
/// SSTables of the node, more than those of one chunk.
const SSTABLES: usize = 140;
/// How soon all workers leave off.
const SOON: Duration = Duration::from_secs(2);

/// The first `Data.db` below a directory, in the order of paths.
fn data_below(dir: &Path) -> Result<Option<PathBuf>> {
    let mut entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.by_ref().collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if let Some(found) = data_below(&path)? {
                return Ok(Some(found));
            }
        } else if path.to_string_lossy().ends_with("-Data.db") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Makes an SSTable's data a gigabyte of nothing, and its digest that of it; gives its name. It takes
/// no room on the disk.
fn grow(dir: &Path) -> Result<String> {
    let path = data_below(dir)?.context("an SSTable")?;
    File::create(&path)?.set_len(LARGE)?;
    let mut mib = crc32fast::Hasher::new();
    mib.update(&vec![0; 1 << 20]);
    let mut crc32 = crc32fast::Hasher::new();
    (0..LARGE >> 20).for_each(|_| crc32.combine(&mib));
    let text = path.to_string_lossy().into_owned();
    let digest = text.replace("-Data.db", "-Digest.crc32");
    fs::write(digest, crc32.finalize().to_string())?;
    Ok(text.rsplit('/').next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_large_upload_is_left_off_at_once_and_only_what_is_missing_is_sent_again() -> Result<()> {
    let gate = Gate::open(0).await?;
    let (environment, bucket) = (gate.environment(), gate.bucket().await?);
    let Gate { proxy, s3 } = gate;
    let options = Options {
        environment,
        ..Options::default()
    };
    let mut world = World::on(s3, options).await?;
    let sim = world.add_cluster(Shape::new("large", 1), 1).await?;
    let table = TableSpec {
        keyspace: "shop".to_owned(),
        name: "users".to_owned(),
        tablets: false,
        copies: 1,
    };
    world.sims[sim].create(std::slice::from_ref(&table)).await?;
    world.sims[sim].load(&table, 1, 1 << 20, SSTABLES).await?;
    let node = world.sims[sim].nodes[0].clone();
    let large = grow(&node.data.join("shop"))?;
    let cluster = world.api.add_cluster("large", &node.address).await?;
    world.api.workers(&cluster, 1, 3).await?;

    // Slow enough to be met in the middle.
    proxy.odds(&[(Fault::Late, 1.0)]);
    proxy.delay(Duration::from_millis(700));
    let location = json!({"location": [world.store.location()]});
    let task = world.api.submit(&cluster, "backup", location).await?;
    let sent = || -> u64 {
        let sent = proxy.sent();
        let large = sent.iter().filter(|(path, _)| path.ends_with(&large));
        large.map(|(_, bytes)| bytes).sum()
    };
    let stored = async || -> Result<BTreeSet<String>> {
        let keys = bucket.list("backup/sst/").map_ok(|object| object.key);
        Ok(keys.try_collect().await?)
    };
    let middle = eventually("the middle of the large file", LIMIT, async || {
        let (bytes, files) = (sent(), stored().await?.len());
        ensure!(
            bytes > LARGE / 16 && files > SSTABLES,
            "{bytes} bytes, {files} files"
        );
        Ok(())
    });
    middle.await.with_context(|| world.last_words())?;

    let path = format!("{task}/stop");
    let began = Instant::now();
    world.api.ok(Method::PUT, &path, None).await?;
    eventually("the uploader to leave off", LIMIT, async || {
        let puts = proxy.in_flight();
        let of_components =
            |request: &&String| request.starts_with("PUT ") && request.contains("/backup/sst/");
        let puts = puts.iter().filter(of_components).count();
        ensure!(puts == 0, "{puts} requests");
        Ok(())
    })
    .await?;
    let (idle, at_stop) = (began.elapsed(), sent());
    ensure!(idle < SOON, "it left off after {idle:.1?}");
    ensure!(at_stop < LARGE, "the file was stored before the stop");
    let ended = world.api.ended(&task, LIMIT).await?;
    ensure!(ended.status == "STOPPED", "{ended:?}");
    eventually(
        "the upload to be aborted",
        Duration::from_secs(10),
        async || {
            let open = world.s3()?.uploads("thetis").await?;
            ensure!(open == 0, "{open} uploads are open");
            Ok(())
        },
    )
    .await?;
    ensure!(sent() == at_stop, "it went on after the stop");
    eprintln!("idle after {idle:.1?}, {at_stop} bytes of the large file sent");

    let before = stored().await?;
    ensure!(
        !before.iter().any(|key| key.ends_with(&large)),
        "{large} is there"
    );
    let sent_before = proxy.sent();
    proxy.odds(&[]);
    let path = format!("{task}/start?continue=true");
    world.api.ok(Method::PUT, &path, None).await?;
    world.api.ended(&task, LIMIT).await?.done()?;
    let sent_after = proxy.sent();
    // What is small is sent again, where a look would cost as much.
    let data = before.iter().filter(|key| key.ends_with("-Data.db"));
    let (again, data): (Vec<_>, Vec<_>) = data.partition(|key| {
        let path = format!("/thetis/{key}");
        sent_after.get(&path) != sent_before.get(&path)
    });
    ensure!(
        data.len() > 1,
        "little was stored before the stop: {before:?}"
    );
    ensure!(
        again.is_empty(),
        "{} of {} files were sent again: {again:#?}",
        again.len(),
        data.len()
    );
    ensure!(
        sent() - at_stop == LARGE,
        "{} bytes of the large file",
        sent() - at_stop
    );
    world.sims[sim].is_clean().await
}
