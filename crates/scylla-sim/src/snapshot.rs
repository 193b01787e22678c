//! Snapshots on disk: hard links, `schema.cql`, `manifest.json`; taking, listing, deleting.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::cluster::Target;
use crate::replica::Replica;
use crate::sstable::SsTable;
use crate::topology::{Member, last_token};

/// What to put into a snapshot besides the files.
pub(crate) struct Label<'a> {
    pub(crate) tag: &'a str,
    pub(crate) member: &'a Member,
    pub(crate) target: &'a Target,
    pub(crate) cql: String,
    /// Seconds after which it goes by itself.
    pub(crate) ttl: Option<u64>,
    /// Stop half-way, as when the disk is full.
    pub(crate) disk_full: bool,
}

/// Links all live SSTables of `replica`; `manifest.json` comes last.
///
/// # Errors
/// When a file cannot be linked or written; what is there by then stays.
pub(crate) fn take(replica: &Replica, label: &Label<'_>) -> io::Result<()> {
    let dir = replica.dir.join("snapshots").join(label.tag);
    fs::create_dir_all(&dir)?;
    let live = replica.live();
    let whole = live.len();
    for (at, table) in live.iter().enumerate() {
        if label.disk_full && at >= whole / 2 {
            break;
        }
        for component in &table.components {
            let file = table.name.file(component);
            fs::hard_link(replica.dir.join(&file), dir.join(&file))?;
        }
    }
    if label.disk_full {
        return Err(io::Error::from_raw_os_error(28));
    }
    let manifest = manifest(&live, label);
    drop(live);
    fs::write(dir.join("schema.cql"), &label.cql)?;
    let text = serde_json::to_vec(&manifest).expect("plain data");
    let hidden = dir.join("manifest.json.tmp");
    fs::write(&hidden, text)?;
    fs::rename(hidden, dir.join("manifest.json"))
}

/// `manifest.json`, version 1.0.
fn manifest(live: &[std::sync::Arc<SsTable>], label: &Label<'_>) -> Value {
    let Label {
        tag,
        member,
        target,
        ttl,
        ..
    } = label;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut snapshot = json!({ "name": tag, "created_at": now });
    if let Some(ttl) = ttl {
        snapshot["expires_at"] = Value::from(now + ttl);
    }
    let mut manifest = json!({
        "manifest": { "version": "1.0", "scope": "node" },
        "node": { "host_id": member.host_id, "datacenter": member.dc, "rack": member.rack },
        "snapshot": snapshot,
        "table": {
            "keyspace_name": target.keyspace,
            "table_name": target.name,
            "table_id": target.id,
            "tablets_type": if target.tablets == 0 { "none" } else { "powof2" },
            "tablet_count": target.tablets,
        },
    });
    if !live.is_empty() {
        manifest["sstables"] = live.iter().map(|table| sstable(table, target)).collect();
        if target.tablets > 0 {
            manifest["tablets"] = tablets(live, target);
        }
    }
    manifest
}

fn sstable(table: &SsTable, target: &Target) -> Value {
    let token = |entry: Option<&crate::sstable::frame::Entry>| entry.map_or(0, |entry| entry.token);
    let first = token(table.entries.first());
    // Compressed ones claim twice their size: what a manifest tells is not the size of a file.
    let compressed = table.components.iter().any(|c| c == "CompressionInfo.db");
    let mut value = json!({
        "id": table.id,
        "toc_name": table.name.file("TOC.txt"),
        "data_size": if compressed { table.data_bytes * 2 } else { table.data_bytes },
        "index_size": table.index_bytes,
        "first_token": first,
        "last_token": token(table.entries.last()),
        "repaired_at": 0,
    });
    if target.tablets > 0 {
        value["tablet_id"] = Value::from(target.placement.tablet(first));
    }
    value
}

/// The tablets that have SSTables here.
fn tablets(live: &[std::sync::Arc<SsTable>], target: &Target) -> Value {
    let of = |table: &std::sync::Arc<SsTable>| {
        table
            .entries
            .first()
            .map(|entry| target.placement.tablet(entry.token))
    };
    let used: BTreeSet<usize> = live.iter().filter_map(of).collect();
    let describe = |tablet: usize| {
        let first = if tablet == 0 {
            i64::MIN
        } else {
            last_token(target.tablets, tablet - 1) + 1
        };
        json!({
            "id": tablet,
            "first_token": first,
            "last_token": last_token(target.tablets, tablet),
            "repair_time": 0,
            "repaired_at": 0,
        })
    };
    used.into_iter().map(describe).collect()
}

/// A snapshot of one table directory, found on disk.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) keyspace: String,
    /// The directory's name without the id.
    pub(crate) table: String,
    /// The table's id, 32 hex digits.
    pub(crate) id: String,
    pub(crate) tag: String,
    pub(crate) table_dir: PathBuf,
    pub(crate) dir: PathBuf,
}

/// Every snapshot below a data directory, also of dropped tables.
pub(crate) fn find(data: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for keyspace in folders(data)? {
        for table_dir in folders(&keyspace)? {
            let folder = name(&table_dir);
            let Some((table, id)) = folder.rsplit_once('-') else {
                continue;
            };
            let snapshots = match folders(&table_dir.join("snapshots")) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            for dir in snapshots {
                found.push(Found {
                    keyspace: name(&keyspace),
                    table: table.to_owned(),
                    id: id.to_owned(),
                    tag: name(&dir),
                    table_dir: table_dir.clone(),
                    dir,
                });
            }
        }
    }
    Ok(found)
}

fn folders(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut list = Vec::new();
    for item in fs::read_dir(dir)? {
        let item = item?;
        if item.file_type()?.is_dir() {
            list.push(item.path());
        }
    }
    list.sort();
    Ok(list)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Bytes allocated to the SSTable files of a snapshot, and how many of them only it still holds.
pub(crate) fn sizes(found: &Found) -> io::Result<(u64, u64)> {
    let (mut total, mut live) = (0, 0);
    for item in fs::read_dir(&found.dir)? {
        let item = item?;
        let file = item.file_name();
        if file == "manifest.json" || file == "schema.cql" {
            continue;
        }
        let meta = item.metadata()?;
        let same = |dir: &Path| fs::metadata(dir.join(&file)).is_ok_and(|m| m.ino() == meta.ino());
        let bytes = meta.blocks() * 512;
        total += bytes;
        let shared =
            meta.nlink() > 1 && (same(&found.table_dir) || same(&found.table_dir.join("staging")));
        if !shared {
            live += bytes;
        }
    }
    Ok((total, live))
}

/// Deletes a snapshot, and the directory of a dropped table that it was the last of.
pub(crate) fn delete(found: &Found, dropped: bool) -> io::Result<()> {
    match fs::remove_dir_all(&found.dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    if dropped && folders(&found.table_dir.join("snapshots"))?.is_empty() {
        fs::remove_dir_all(&found.table_dir)?;
    }
    Ok(())
}
