//! What is backed up comes back, row by row, in any topology.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use tests::{Fingerprints, Options, Shape, Store, TableSpec, World, compare};

use crate::bad_input::files_below;

const LIMIT: Duration = Duration::from_secs(120);

fn table(keyspace: &str, name: &str, tablets: bool) -> TableSpec {
    TableSpec {
        keyspace: keyspace.to_owned(),
        name: name.to_owned(),
        tablets,
        copies: 2,
    }
}

fn tables() -> Vec<TableSpec> {
    vec![
        table("shop", "users", false),
        table("shop", "carts", false),
        table("orders", "open", true),
        table("orders", "done", true),
    ]
}

/// Fills a cluster and backs it up; gives its id in Thetis, the backup's tag, and what it holds.
async fn backed_up(world: &mut World, shape: Shape) -> Result<(String, String, Fingerprints)> {
    let name = shape.name.clone();
    let sim = world.add_cluster(shape, 1).await?;
    world.sims[sim].create(&tables()).await?;
    for (seed, table) in (0..).zip(&tables()) {
        world.sims[sim].load(table, seed, 256 << 10, 3).await?;
    }
    let cluster = world
        .api
        .add_cluster(&name, &world.sims[sim].nodes[0].address)
        .await?;
    world
        .api
        .workers(&cluster, world.sims[sim].nodes.len(), 3)
        .await?;
    let properties = json!({"location": [world.store.location()]});
    let ended = world
        .api
        .done(&cluster, "backup", properties, LIMIT)
        .await?;
    Ok((cluster, ended.tag(), world.sims[sim].fingerprints().await?))
}

/// Restores a backup into a fresh cluster and gives what that holds then.
async fn restored(
    world: &mut World,
    shape: Shape,
    tag: &str,
    keyspaces: &[&str],
) -> Result<Fingerprints> {
    let name = shape.name.clone();
    let sim = world.add_cluster(shape, 1).await?;
    world.sims[sim].create(&tables()).await?;
    let cluster = world
        .api
        .add_cluster(&name, &world.sims[sim].nodes[0].address)
        .await?;
    world
        .api
        .workers(&cluster, world.sims[sim].nodes.len(), 3)
        .await?;
    let properties = json!({
        "location": [world.store.location()], "snapshot_tag": tag, "keyspace": keyspaces, "restore_tables": true,
    });
    world
        .api
        .done(&cluster, "restore", properties, LIMIT)
        .await?;
    world.sims[sim].fingerprints().await
}

async fn clean(world: &World) -> Result<()> {
    for sim in &world.sims {
        sim.is_clean().await?;
    }
    Ok(())
}

#[tokio::test]
async fn three_nodes_restore_into_five_and_only_what_is_new_is_uploaded() -> Result<()> {
    let mut world = World::start(Options::default()).await?;
    let (cluster, first, before) = backed_up(&mut world, Shape::new("three", 3)).await?;
    world.sims[0].load(&tables()[0], 77, 64 << 10, 1).await?;
    world.sims[0].mutate(&tables()[2], 78, 50).await?;
    let after = world.sims[0].fingerprints().await?;
    let Store::S3(s3) = &world.store else {
        unreachable!("the default store is S3")
    };
    let puts = s3.requests().await?;

    let properties = json!({"location": [world.store.location()]});
    let second = world
        .api
        .done(&cluster, "backup", properties, LIMIT)
        .await?;
    let progress = &second.progress;
    let number = |field: &str| progress[field].as_u64().unwrap_or_default();
    ensure!(
        number("skipped") > 0 && number("uploaded") > 0,
        "{progress}"
    );
    ensure!(
        number("skipped") + number("uploaded") == number("size"),
        "{progress}"
    );
    ensure!(
        number("uploaded") < number("size") / 2,
        "most of it was there already: {progress}"
    );
    let more = count(&s3.requests().await?, "PUT") - count(&puts, "PUT");
    ensure!(
        more < number("files"),
        "{more} PUTs for {} files, most of which were there",
        number("files")
    );

    ensure!(second.tag() > first, "tags grow");
    compare(
        &after,
        &restored(&mut world, Shape::new("five", 5), &second.tag(), &[]).await?,
    )?;
    compare(
        &before,
        &restored(&mut world, Shape::new("again", 3), &first, &[]).await?,
    )?;
    clean(&world).await
}

fn count(requests: &std::collections::BTreeMap<String, u64>, kind: &str) -> u64 {
    requests
        .iter()
        .filter(|(name, _)| name.to_uppercase().contains(kind))
        .map(|(_, n)| n)
        .sum()
}

#[tokio::test]
async fn five_nodes_restore_into_three_and_a_glob_chooses() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..Options::default()
    })
    .await?;
    let (_, tag, before) = backed_up(&mut world, Shape::new("five", 5)).await?;
    compare(
        &before,
        &restored(&mut world, Shape::new("three", 3), &tag, &[]).await?,
    )?;

    let part = restored(
        &mut world,
        Shape::new("part", 3),
        &tag,
        &["shop", "!shop.carts"],
    )
    .await?;
    ensure!(
        part["shop.users"].table == before["shop.users"].table,
        "the table that was chosen is there"
    );
    for other in ["shop.carts", "orders.open", "orders.done"] {
        ensure!(part[other].rows == 0, "{other} was not chosen");
    }
    clean(&world).await
}

#[tokio::test]
async fn all_formats_and_ids_that_are_used_again_come_back_too() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..Options::default()
    })
    .await?;
    let old = ["--sstable-format", "me", "--ids", "int"];
    let (cluster, first, before) = backed_up(&mut world, Shape::new("old", 3).with(&old)).await?;

    // Nodes that restart give ids again that a table had which is empty now.
    let sim = &mut world.sims[0];
    let path = "/tables/orders/done/truncate?snapshot=false";
    sim.admin(Method::POST, path, None).await?;
    sim.restart(&old).await?;
    sim.load(&tables()[3], 30, 256 << 10, 3).await?;
    for (seed, format) in [(40, "ms"), (50, "mt")] {
        sim.restart(&["--sstable-format", format]).await?;
        for (more, table) in (0..).zip(&tables()[..3]) {
            sim.load(table, seed + more, 64 << 10, 2).await?;
        }
    }
    world.api.workers(&cluster, 3, 3).await?;
    let properties = json!({"location": [world.store.location()]});
    let second = world.api.done(&cluster, "backup", properties, LIMIT);
    let second = second.await?.tag();
    let after = world.sims[0].fingerprints().await?;

    let stored = files_below(&world.dir().join("store/thetis/backup/sst"))?;
    let stored = |part: &str| stored.iter().filter(|name| name.contains(part)).count();
    for part in ["/me-1", "/ms-3", "/mt-3", &format!("Data.db.{second}")] {
        ensure!(stored(part) > 0, "nothing that is called so: {part}");
    }
    compare(
        &after,
        &restored(&mut world, Shape::new("new", 4), &second, &[]).await?,
    )?;
    compare(
        &before,
        &restored(&mut world, Shape::new("again", 2), &first, &[]).await?,
    )?;
    clean(&world).await
}
