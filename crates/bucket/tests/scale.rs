//! What a purge takes of a large node. Alone in its process, whose peak it looks at.
//!
//! Only manifests are there: deleting an absent object is as much work as deleting one.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    mem::MaybeUninit,
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use bucket::purge::{Report, purge};
use catalog::{
    key::{ManifestKey, Owner},
    retention::NodeWork,
};
use flate2::{Compression, write::GzEncoder};
use protocol::{ClusterId, Location, NodeId, TaskId};
use rustix::fs::inotify;
use store::{LocalSettings, Settings, Stores};
use uuid::Uuid;

const BACKUPS: u64 = 200;
const TABLES: u64 = 5;
/// SSTables of a table in one backup.
const SSTABLES: u64 = 500;
/// Of those, as many are in no older backup.
const NEW: u64 = 25;
const COMPONENTS: [&str; 10] = [
    "CompressionInfo.db",
    "Data.db",
    "Digest.crc32",
    "Filter.db",
    "Index.db",
    "Partitions.db",
    "Scylla.db",
    "Statistics.db",
    "Summary.db",
    "TOC.txt",
];

/// The most memory the process may take, in bytes.
const LIMIT: u64 = 256 << 20;

fn key(backup: u64) -> ManifestKey {
    let cluster = ClusterId(Uuid::from_u128(0xc1));
    let node = NodeId(Uuid::from_u128(1));
    ManifestKey {
        owner: Owner::new(cluster, "dc1", node).expect("`dc1` may be in a key"),
        task: TaskId(Uuid::from_u128(0xb1)),
        tag: catalog::tag::at(1_767_225_600 + backup * 3600),
        temporary: false,
    }
}

/// A backup's manifest. Not compressed, for that takes longest.
fn write(folder: &Path, backup: u64) -> Result<()> {
    let mut json = String::from(r#"{"version":"v2","index":["#);
    for table in 0..TABLES {
        let comma = if table == 0 { "" } else { "," };
        write!(
            json,
            r#"{comma}{{"keyspace":"shop","table":"t{table}","version":"{table:032x}","files":["#
        )?;
        let first = backup * NEW;
        for sstable in first..first + SSTABLES {
            for (at, component) in COMPONENTS.iter().enumerate() {
                let comma = if sstable == first && at == 0 { "" } else { "," };
                write!(
                    json,
                    r#"{comma}"mt-3gqe_1lnj_{sstable:018}-big-{component}""#
                )?;
            }
        }
        json.push_str(r#"],"size":1}"#);
    }
    json.push_str("]}");
    let path = folder.join(key(backup).to_string());
    fs::create_dir_all(path.parent().context("a key has slashes")?)?;
    let mut gzip = GzEncoder::new(fs::File::create(path)?, Compression::none());
    gzip.write_all(json.as_bytes())?;
    gzip.finish()?;
    Ok(())
}

#[tokio::test]
async fn a_purge_of_a_large_node_takes_little_memory_and_reads_nothing_twice() -> Result<()> {
    let root = tempfile::tempdir()?;
    let folder = root.path().join("backups");
    fs::create_dir(&folder)?;
    let began = Instant::now();
    for backup in 0..BACKUPS {
        write(&folder, backup)?;
    }
    let written = began.elapsed();
    let location: Location = "localstorage:backups".parse()?;
    let settings = Settings {
        localstorage: LocalSettings {
            root: Some(root.path().to_owned()),
        },
        ..Settings::default()
    };
    let store = Stores::new(settings)?.open(&location).await?;
    let work = NodeWork {
        location,
        owner: key(0).owner,
        stale: vec![key(0)],
        unseal: Vec::new(),
        kept: (1..BACKUPS).map(key).collect(),
        schemas: Vec::new(),
        forced: false,
    };
    let opened = Opened::watch(&folder.join(key(0).owner.manifests()))?;
    let began = Instant::now();
    let report = purge(&store, &work, &|| true, false).await?;
    let took = began.elapsed();
    let peak = peak()?;
    eprintln!(
        "written in {written:?}, purged in {took:?}, with {} MiB",
        peak >> 20
    );

    let per_sstable = TABLES * COMPONENTS.len() as u64;
    let expected = Report {
        backups: [(key(0).task, key(0).tag)].into(),
        unsealed: 1,
        manifests: 1,
        files: NEW * per_sstable,
        kept: (SSTABLES - NEW) * per_sstable,
        ..Report::default()
    };
    ensure!(report == expected, "{report:?}");
    let opened = opened.count()?;
    let once: BTreeMap<String, u32> = (0..BACKUPS).map(|n| (name(&key(n)), 1)).collect();
    ensure!(opened == once, "{opened:?}");
    ensure!(peak < LIMIT, "the process took {peak} bytes");
    Ok(())
}

fn name(key: &ManifestKey) -> String {
    let key = key.to_string();
    key.rsplit('/').next().unwrap_or_default().to_owned()
}

/// How often each file of a directory is opened, as the kernel counts.
struct Opened(rustix::fd::OwnedFd);

impl Opened {
    fn watch(dir: &Path) -> io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&events, dir, inotify::WatchFlags::OPEN)?;
        Ok(Self(events))
    }

    fn count(self) -> Result<BTreeMap<String, u32>> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        let mut counts = BTreeMap::new();
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(counts),
                Err(e) => return Err(e.into()),
            };
            let lost = event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
            ensure!(!lost, "too many files were opened to count");
            // The directory itself has no name.
            if let Some(name) = event.file_name() {
                *counts.entry(name.to_str()?.to_owned()).or_default() += 1;
            }
        }
    }
}

/// The most memory this process ever had, in bytes.
fn peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("a peak in kB")?.trim().parse()?;
    Ok(kib * 1024)
}
