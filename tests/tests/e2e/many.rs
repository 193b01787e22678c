//! Very many small SSTables, with their schema.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Options, Shape, TableSpec, World, compare};

use crate::{
    bad_input::Tmpfs,
    schema::{backup, fresh, restore},
};

const LIMIT: Duration = Duration::from_secs(120);
const SSTABLES: usize = 10_000;
const TABLES: usize = 4;

#[tokio::test]
async fn ten_thousand_sstables_come_back_with_their_schema() -> Result<()> {
    // In memory, if that may be: it is about many files, not about disks. Dropped last to first.
    let dir = tempfile::Builder::new().prefix("thetis-world-").tempdir()?;
    let _memory = Tmpfs::mount(dir.path(), "size=4g,nr_inodes=1m")?;
    let mut world = World::start(Options {
        local: true,
        dir: Some(dir.path().to_owned()),
        ..Options::default()
    })
    .await?;
    let (from, cql) = fresh(&mut world, Shape::new("from", 1)).await?;
    cql.run(&["CREATE KEYSPACE shop WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1} AND tablets = {'enabled': false}"])
        .await?;
    let each = SSTABLES / TABLES;
    let mut made = 0;
    for seed in 0..TABLES {
        let name = format!("part_{seed}");
        let text = format!("CREATE TABLE shop.{name} (key blob PRIMARY KEY, value blob)");
        cql.run(&[&text]).await?;
        let table = TableSpec {
            keyspace: "shop".to_owned(),
            name,
            tablets: false,
            copies: 1,
        };
        let bytes = each as u64 * 5_000;
        let loaded = world.sims[0].load(&table, seed as u64, bytes, each).await?;
        made += loaded["sstables"].as_u64().unwrap_or_default();
    }
    ensure!(made >= SSTABLES as u64, "only {made} SSTables");
    let before = world.sims[0].fingerprints().await?;
    let tag = backup(&world, &from).await?;
    let (to, after) = fresh(&mut world, Shape::new("to", 1)).await?;
    let properties = restore(&world, &tag, json!({}));
    world.api.done(&to, "restore", properties, LIMIT).await?;
    compare(&before, &world.sims[1].fingerprints().await?)?;
    ensure!(cql.schema().await? == after.schema().await?, "the schema");
    world.sims[1].is_clean().await
}
