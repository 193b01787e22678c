//! Whether backups are whole is told rightly, and what none of them needs goes, and nothing else.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;
use tests::{Ended, Options, Service, Shape, World};

use crate::retention::{bucket, table, whole};

const LIMIT: Duration = Duration::from_secs(120);

/// The same number of all nodes.
fn sum(progress: &Value, field: &str) -> u64 {
    let nodes = progress.as_array().into_iter().flatten();
    nodes.filter_map(|node| node[field].as_u64()).sum()
}

/// Waits until what is in the bucket now is older than what comes next, by the bucket's own clock,
/// which knows seconds only.
async fn grow_older(store: &store::Store) -> Result<()> {
    let now_ms = store.now_ms().await?;
    eventually("a second to pass", LIMIT, async || {
        let passed = store.now_ms().await?.saturating_sub(now_ms);
        ensure!(passed >= 2_000, "{passed} ms");
        Ok(())
    })
    .await
}

/// Looks after a cluster's backups.
async fn validate(world: &World, cluster: &str, properties: Value) -> Result<Ended> {
    let task = world
        .api
        .submit(cluster, "validate_backup", properties)
        .await?;
    world.api.ended(&task, LIMIT).await
}

#[tokio::test]
async fn what_is_wrong_in_a_bucket_is_found_and_what_nothing_needs_goes() -> Result<()> {
    let mut world = World::start(Options::default()).await?;
    let sim = world.add_cluster(Shape::new("valid", 2), 1).await?;
    world.sims[sim].create(&[table()]).await?;
    world.sims[sim].load(&table(), 1, 96 << 10, 3).await?;
    let host = world.sims[sim].nodes[0].address.clone();
    let cluster = world.api.add_cluster("valid", &host).await?;
    world.api.workers(&cluster, 2, 3).await?;
    let store = bucket(&world).await?;
    let properties = json!({"location": [world.store.location()]});
    let backup = world.api.submit(&cluster, "backup", properties).await?;
    let tag = world.api.ended(&backup, LIMIT).await?.done()?.tag();

    // All is well, to the last byte.
    let found = validate(&world, &cluster, json!({"checksum": true}))
        .await?
        .done()?
        .progress;
    let nodes = found.as_array().context("a list")?;
    ensure!(nodes.len() == 2, "{found}");
    let (files, bytes) = (sum(&found, "scanned_files"), sum(&found, "checked_bytes"));
    let objects: Vec<store::Object> = store.list("backup/sst/").try_collect().await?;
    ensure!(files == objects.len() as u64, "{files}: {found}");
    ensure!(
        bytes == sum(&found, "checkable_bytes") && bytes > 0,
        "{found}"
    );

    // Some is left of something, and some is of nobody.
    let data = objects
        .iter()
        .find(|object| object.key.ends_with("-Data.db"));
    let data = data.context("an SSTable")?;
    let id = data.key.rsplit('/').next().context("a name")?;
    let id = id.split('-').nth(1).context("an id")?;
    let end = if id.ends_with('0') { "1" } else { "0" };
    let other = format!("{}{end}", &id[..id.len() - 1]);
    let orphan = data.key.replace(id, &other);
    let foreign = "backup/sst/notes.txt";
    for key in [&*orphan, foreign] {
        store.put(key, "left behind".into()).await?;
    }
    grow_older(&store).await?;
    let found = validate(&world, &cluster, json!({})).await?;
    ensure!(
        (&*found.status, &*found.cause) == ("ERROR", "orphaned files: 1"),
        "{found:?}"
    );
    ensure!(sum(&found.progress, "orphaned_bytes") == 11, "{found:?}");
    // Whoever dies in the middle of it is followed by another.
    world.find("uploader").for_each(Service::kill);
    let properties = json!({"delete_orphaned_files": true});
    let task = world
        .api
        .submit(&cluster, "validate_backup", properties)
        .await?;
    world.revive()?;
    let found = world.api.ended(&task, LIMIT).await?.done()?;
    ensure!(sum(&found.progress, "deleted_files") == 1, "{found:?}");
    ensure!(
        store.bytes(foreign).await?.is_some(),
        "not for us to delete"
    );
    store.delete(&[foreign.to_owned()]).await?;
    whole(&store, &[&tag]).await?;

    // One byte is another; then the file is gone.
    let mut body = store.get(&data.key).await?.to_vec();
    let middle = body.len() / 2;
    body[middle] ^= 1;
    store.put(&data.key, body.into()).await?;
    validate(&world, &cluster, json!({"snapshot_tag": tag}))
        .await?
        .done()?;
    for (properties, field) in [
        (
            json!({"snapshot_tag": tag, "checksum": true}),
            "wrong_files",
        ),
        (json!({}), "missing_files"),
    ] {
        if field == "missing_files" {
            store.delete(std::slice::from_ref(&data.key)).await?;
        }
        let found = validate(&world, &cluster, properties).await?;
        let broken = format!("broken snapshots: {tag}");
        ensure!(
            found.status == "ERROR" && found.cause.starts_with(&broken),
            "{found:?}"
        );
        ensure!(found.cause.contains(&data.key), "{found:?}");
        ensure!(sum(&found.progress, field) == 1, "{found:?}");
    }
    let unknown = validate(
        &world,
        &cluster,
        json!({"snapshot_tag": "sm_20000101000000UTC"}),
    )
    .await?;
    ensure!(
        unknown.status == "ERROR" && unknown.cause.contains("sm_20000101000000UTC"),
        "{unknown:?}"
    );
    Ok(())
}

/// The names of a node's snapshots.
fn snapshots(data: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for keyspace in std::fs::read_dir(data)? {
        for table in std::fs::read_dir(keyspace?.path())? {
            let Ok(found) = std::fs::read_dir(table?.path().join("snapshots")) else {
                continue;
            };
            for snapshot in found {
                names.insert(snapshot?.file_name().to_string_lossy().into_owned());
            }
        }
    }
    Ok(names)
}

#[tokio::test]
async fn snapshots_of_backups_are_deleted_and_no_others() -> Result<()> {
    let mut world = World::start(Options::default()).await?;
    let sim = world.add_cluster(Shape::new("left", 2), 1).await?;
    world.sims[sim].create(&[table()]).await?;
    world.sims[sim].load(&table(), 1, 32 << 10, 1).await?;
    let nodes = world.sims[sim].nodes.clone();
    let cluster = world.api.add_cluster("left", &nodes[0].address).await?;
    world.api.workers(&cluster, 2, 3).await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    for node in &nodes {
        for tag in ["sm_20200101000000UTC", "sm_20210101000000UTC", "mine"] {
            let url = format!("{}/storage_service/snapshots?tag={tag}&kn=shop", node.api);
            http.post(url).send().await?.error_for_status()?;
        }
        let there = snapshots(&node.data)?;
        ensure!(there.len() == 3, "{there:?}");
    }
    let path = format!("/cluster/{cluster}/backups/local_snapshots");
    for gone in [4, 0] {
        let found = world.api.ok(Method::DELETE, &path, None).await?;
        ensure!(
            found["status"] == "DONE" && found["snapshots"] == gone,
            "{found}"
        );
    }
    for node in &nodes {
        let left = snapshots(&node.data)?;
        ensure!(left == BTreeSet::from(["mine".to_owned()]), "{left:?}");
    }
    Ok(())
}
