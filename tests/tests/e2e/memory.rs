//! However many files, however large: an uploader's memory stays the same.

use std::{
    fs::{self, File},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use catalog::{
    ChunkFile, Document as _, Frame, Limits, LocalFile, LocalTable, Manifest, Planned, Remote,
    SsTable, TableVersion,
    key::{ManifestKey, OwnKey, Owner},
    plan::plan,
};
use protocol::{ClusterId, Job, RunId, Seal, TaskId};
use testkit::eventually;
use tests::Direct;

/// The most an uploader may take, in bytes.
const MOST: u64 = 256 << 20;
/// SSTables of the large node, in tables of a thousand.
const SSTABLES: usize = 10_000;
/// Bytes of each of their files.
const BYTES: usize = 64;
/// Files of each SSTable.
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
const LIMIT: Duration = Duration::from_secs(300);

fn small_enough(what: &str, peak: u64) -> Result<()> {
    eprintln!("{what}: the uploader's memory peaked at {} MiB", peak >> 20);
    ensure!(peak < MOST, "{what}: {} MiB", peak >> 20);
    Ok(())
}

/// A plan for many SSTables, with its manifest. All of them are the same few files on the disk, for an
/// uploader does not care, and those are quickly made.
fn planned(direct: &Direct, seal: &Seal) -> Result<(Planned, Manifest)> {
    let owner = Owner::new(seal.cluster, "dc1", seal.node)?;
    for component in COMPONENTS {
        fs::write(direct.data().join(component), [7; BYTES])?;
    }
    let sstable = |number: usize| {
        let name = format!("me-{number}-big");
        let file = |component| LocalFile {
            name: format!("{name}-{component}"),
            bytes: BYTES as u64,
        };
        SsTable {
            files: COMPONENTS.map(file).into(),
            name,
            ..SsTable::default()
        }
    };
    let table = |number: usize| LocalTable {
        keyspace: "shop".to_owned(),
        table: format!("t{number}"),
        version: TableVersion(number as u128),
        dir: "shop".to_owned(),
        sstables: (0..1000).map(sstable).collect(),
    };
    let frame = Frame {
        owner: &owner,
        origin: seal.origin,
        task: seal.task,
        tag: &seal.tag,
        units: &[],
        limits: Limits::CHUNK,
    };
    let tables = (0..SSTABLES / 1000).map(table).collect();
    let mut planned = plan(&frame, tables, &Remote::default())?;
    for file in planned.chunks.iter_mut().flat_map(|chunk| &mut chunk.files) {
        let (_, component) = file.path.rsplit_once('-').context("a component")?;
        file.path = component.to_owned();
    }
    let key = ManifestKey {
        owner,
        task: seal.task,
        tag: seal.tag.clone(),
        temporary: true,
    };
    let manifest = Manifest {
        index: planned.index.clone(),
        ..Manifest::new(&key)
    };
    Ok((planned, manifest))
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sstables_fit_into_256_mib() -> Result<()> {
    let direct = Direct::start().await?;
    let run = RunId::generate();
    let seal = Seal {
        cluster: ClusterId::generate(),
        run,
        origin: run,
        node: direct.node(),
        location: "s3:thetis".parse()?,
        task: TaskId::generate(),
        tag: "sm_20260131235959UTC".parse()?,
    };
    let (planned, manifest) = planned(&direct, &seal)?;
    let null = &direct.store;
    let temporary = manifest.key(true)?.to_string();
    null.put(&temporary, manifest.to_bytes()).await?;
    let plan_key = OwnKey::NodePlan(run, seal.node).to_string();
    null.put(&plan_key, planned.plan.to_json()).await?;
    let took = direct.upload_chunks(run, &planned.chunks, LIMIT).await?;
    let files = null.below("backup/sst/").await?.len();
    ensure!(files == SSTABLES * COMPONENTS.len(), "{files} files");

    let key = manifest.key(false)?;
    direct.publish(Job::Seal(seal)).await?;
    let sealed = eventually("the manifest", LIMIT, async || {
        null.body(&key.to_string()).await?.context("not sealed yet")
    });
    let sealed = Manifest::read(&sealed.await.context(direct.uploader.log())?[..], &key)?;
    ensure!(sealed.files() == files as u64, "{} files", sealed.files());
    eprintln!("{SSTABLES} SSTables, {files} files in {took:.1?}");
    small_enough("10,000 SSTables", direct.peak()?)
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
        replaces: None,
    };
    let took = direct.upload(&[vec![file]], LIMIT).await?;
    let tally = direct.store.tally().await?;
    eprintln!("8 GiB in {took:.1?}: {tally:?}");
    ensure!(tally.bytes >= bytes, "each byte was sent: {tally:?}");
    small_enough("one file of 8 GiB", direct.peak()?)
}
