//! Backups whose files an rclone brings to the bucket.

use std::{os::unix::fs::symlink, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use serde_json::json;
use testkit::{eventually, faults::Fault, running};
use tests::{Options, Shape, TableSpec, World};

use crate::faults::Gate;

const LIMIT: Duration = Duration::from_secs(120);
/// SSTables of the node; a chunk has 128.
const SSTABLES: usize = 140;
const UPLOADER: &str = "rc-1-uploader";

#[tokio::test]
async fn rclone_ends_with_its_uploader_and_the_next_one_goes_on() -> Result<()> {
    let gate = Gate::open(0).await?;
    let (mut environment, bucket) = (gate.environment(), gate.bucket().await?);
    let Gate { proxy, s3 } = gate;
    let own = tempfile::tempdir()?;
    let program = own.path().join("rclone");
    let set = program.display().to_string();
    environment.push(("THETIS_STORE__RCLONE__PROGRAM".to_owned(), set));
    let options = Options {
        environment,
        ..Options::default()
    };
    let mut world = World::on(s3, options).await?;
    let sim = world.add_cluster(Shape::new("rc", 1), 1).await?;
    let table = TableSpec {
        keyspace: "shop".to_owned(),
        name: "users".to_owned(),
        tablets: false,
        copies: 1,
    };
    world.sims[sim].create(std::slice::from_ref(&table)).await?;
    world.sims[sim].load(&table, 1, 1 << 20, SSTABLES).await?;
    let before = world.sims[sim].fingerprints().await?;
    let host = world.sims[sim].nodes[0].address.clone();
    let cluster = world.api.add_cluster("rc", &host).await?;
    world.api.workers(&cluster, 1, 3).await?;

    let location = world.store.location();
    let backup = json!({"location": [location], "method": "rclone"});
    let refused = world.api.submit(&cluster, "backup", backup.clone()).await;
    let said = refused.err().context("it is begun")?.to_string();
    for part in ["400", "finds no rclone", "store.rclone.program", &host] {
        ensure!(said.contains(part), "{said}");
    }

    // Now there is one, which is found by a worker that begins.
    symlink(testkit::binary("rclone")?, &program)?;
    for uploader in world.find(UPLOADER) {
        uploader.kill();
        uploader.start()?;
    }
    proxy.odds(&[(Fault::Late, 1.0)]);
    proxy.delay(Duration::from_millis(200));
    let task = eventually("the backup to begin", LIMIT, async || {
        world.api.submit(&cluster, "backup", backup.clone()).await
    })
    .await?;
    let stored = async || -> Result<usize> {
        let keys = bucket.list("backup/sst/").map_ok(|object| object.key);
        Ok(keys.try_collect::<Vec<_>>().await?.len())
    };
    let middle = eventually("some files to be stored", LIMIT, async || {
        let files = stored().await?;
        ensure!(files > 20, "{files} files");
        Ok(())
    });
    middle.await.with_context(|| world.last_words())?;
    ensure!(!running(&program)?.is_empty(), "rclone is at it");

    for uploader in world.find(UPLOADER) {
        uploader.kill();
    }
    eventually("rclone to be gone", Duration::from_secs(10), async || {
        let left = running(&program)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await?;
    ensure!(stored().await? < 9 * SSTABLES, "all was stored before");
    proxy.odds(&[]);
    for uploader in world.find(UPLOADER) {
        uploader.start()?;
    }
    let ended = world.api.ended(&task, LIMIT).await?;
    let tag = ended.done().with_context(|| world.last_words())?.tag();
    let properties = json!({"location": [location], "snapshot_tag": tag, "checksum": true});
    world
        .api
        .done(&cluster, "validate_backup", properties, LIMIT)
        .await?;
    let progress = world.api.progress(&task).await?.to_string();
    ensure!(
        progress.contains(r#""method":"rclone""#) && !progress.contains(r#""method":"agent""#),
        "{progress}"
    );
    eventually("rclone to be gone", LIMIT, async || {
        let left = running(&program)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await?;
    ensure!(
        world.sims[sim].fingerprints().await? == before,
        "the node's rows changed"
    );
    world.sims[sim].is_clean().await
}
