//! However many files, however large: an uploader's memory stays the same.

use std::{fs::File, time::Duration};

use anyhow::{Context as _, Result, ensure};
use catalog::ChunkFile;
use serde_json::json;
use tests::{Direct, NullS3, Options, Shape, TableSpec, World, peak};

/// The most an uploader may take, in bytes.
const MOST: u64 = 256 << 20;
/// SSTables of the large node, in tables of a thousand.
const SSTABLES: usize = 10_000;
const LIMIT: Duration = Duration::from_secs(300);

fn small_enough(what: &str, peak: u64) -> Result<()> {
    eprintln!("{what}: the uploader's memory peaked at {} MiB", peak >> 20);
    ensure!(peak < MOST, "{what}: {} MiB", peak >> 20);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sstables_fit_into_256_mib() -> Result<()> {
    let null = NullS3::start().await?;
    let mut world = World::start(Options {
        local: true,
        environment: null.environment(),
        ..Options::default()
    })
    .await?;
    let sim = world.add_cluster(Shape::new("large", 1), 1).await?;
    let table = |name| TableSpec {
        keyspace: "shop".to_owned(),
        name: format!("t{name}"),
        tablets: false,
        copies: 1,
    };
    let tables: Vec<TableSpec> = (0..SSTABLES / 1000).map(table).collect();
    world.sims[sim].create(&tables).await?;
    for (seed, table) in (0..).zip(&tables) {
        world.sims[sim].load(table, seed, 1 << 20, 1000).await?;
    }
    let cluster = world
        .api
        .add_cluster("large", &world.sims[sim].nodes[0].address)
        .await?;
    world.api.workers(&cluster, 1, 3).await?;
    let properties = json!({"location": ["s3:thetis"]});
    let ended = world
        .api
        .done(&cluster, "backup", properties, LIMIT)
        .await?;
    let stored = null.below("backup/sst/");
    let sstables = stored.keys().filter(|key| key.ends_with("-Data.db"));
    let sstables = sstables.count();
    ensure!(sstables >= SSTABLES, "only {sstables} SSTables");
    ensure!(
        ended.progress["files"].as_u64() == Some(stored.len() as u64),
        "{} files are stored: {}",
        stored.len(),
        ended.progress
    );
    let uploader = world.find("uploader").next().context("an uploader")?;
    small_enough(
        &format!("{sstables} SSTables, {} files", stored.len()),
        peak(uploader.id().context("it runs")?)?,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_of_8_gib_fits_into_256_mib() -> Result<()> {
    let direct = Direct::start().await?;
    let bytes = 8 << 30;
    // Sparse: it takes no room on the disk.
    File::create(direct.data().join("large"))?.set_len(bytes)?;
    let file = ChunkFile {
        path: "large".to_owned(),
        key: "backup/sst/large".to_owned(),
        bytes,
        crc32: None,
    };
    let took = direct.upload(&[vec![file]], LIMIT).await?;
    let tally = direct.null.tally();
    eprintln!("8 GiB in {took:.1?}: {tally:?}");
    ensure!(tally.bytes >= bytes, "each byte was sent: {tally:?}");
    small_enough("one file of 8 GiB", direct.peak()?)
}
