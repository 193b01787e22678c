//! Uploaders of one node share its work, also with one that comes later.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use serde_json::json;
use testkit::eventually;
use tests::{Kind, Options, Shape, TableSpec, World};

/// SSTables of one chunk.
const CHUNK: usize = 128;
/// Files of each SSTable.
const COMPONENTS: usize = 9;
/// Chunks of the node, about.
const CHUNKS: usize = 11;
const LIMIT: Duration = Duration::from_secs(120);

/// Chunks that each uploader stored, by its own log.
fn stored(world: &mut World) -> BTreeMap<String, usize> {
    world
        .find("uploader")
        .map(|uploader| {
            let count = uploader.log().matches("chunk stored").count();
            (uploader.name.clone(), count)
        })
        .collect()
}

#[tokio::test]
async fn two_uploaders_share_a_nodes_chunks_and_a_third_takes_some_of_the_rest() -> Result<()> {
    let one_by_one = [
        ("THETIS_UPLOADER__SLOTS", "1"),
        ("THETIS_UPLOADER__TRANSFERS", "1"),
    ];
    let mut world = World::start(Options {
        local: true,
        environment: one_by_one.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..Options::default()
    })
    .await?;
    let sim = world.add_cluster(Shape::new("one", 1), 2).await?;
    let table = TableSpec {
        keyspace: "shop".to_owned(),
        name: "users".to_owned(),
        tablets: false,
        copies: 1,
    };
    world.sims[sim].create(std::slice::from_ref(&table)).await?;
    let sstables = CHUNK * CHUNKS;
    let bytes = sstables as u64 * (4 << 10);
    world.sims[sim].load(&table, 1, bytes, sstables).await?;
    let cluster = world
        .api
        .add_cluster("one", &world.sims[sim].nodes[0].address)
        .await?;
    world.api.workers(&cluster, 1, 4).await?;

    let location = world.store.location();
    let task = world
        .api
        .submit(&cluster, "backup", json!({"location": [location]}))
        .await?;
    eventually("both to have stored a chunk", LIMIT, async || {
        let chunks = stored(&mut world);
        ensure!(chunks.values().all(|n| *n > 0), "{chunks:?}");
        Ok(())
    })
    .await?;
    world.add_worker(sim, 0, Kind::Uploader)?;
    let ended = world.api.ended(&task, LIMIT).await?.done()?;

    let chunks = stored(&mut world);
    eprintln!("chunks by uploader: {chunks:?}");
    ensure!(
        chunks.len() == 3 && chunks.values().all(|n| *n > 0),
        "each takes some: {chunks:?}"
    );
    let total: usize = chunks.values().sum();
    let files = ended.progress["files"].as_u64().unwrap_or_default();
    let planned = (usize::try_from(files)? / COMPONENTS).div_ceil(CHUNK);
    ensure!(planned >= 10, "many chunks: {files} files");
    ensure!(
        total == planned,
        "each of {planned} chunks is stored once: {chunks:?}"
    );
    world.sims[sim].is_clean().await
}
