//! Which objects a manifest stands for.

use std::collections::BTreeMap;

use protocol::{Location, NodeId, SnapshotTag, TableRef};

use super::{BatchFile, BatchSsTable, RestoreError};
use crate::{
    Filter, IdKind, Manifest, TableVersion,
    filter::skip,
    key::{Owner, TableDir},
    sstable::TOC,
};

/// An SSTable of a backup, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced {
    /// The table.
    pub table: TableRef,
    /// Which table of that name.
    pub version: TableVersion,
    /// The node.
    pub node: NodeId,
    /// The node's datacenter.
    pub dc: String,
    /// Where the objects lie.
    pub location: Location,
    /// Kind of its id.
    pub ids: IdKind,
    /// It.
    pub sstable: BatchSsTable,
}

/// Lists the SSTables of a manifest that `filter` takes, and finds each file in the bucket.
///
/// `objects` are the bytes of all objects below [`Owner::components`], by key.
///
/// # Errors
/// [`RestoreError::Missing`], [`RestoreError::Size`] or [`RestoreError::NoToc`] if the bucket does
/// not hold what the manifest lists.
pub fn collect(
    manifest: &Manifest,
    location: &Location,
    filter: &Filter,
    objects: &BTreeMap<String, u64>,
) -> Result<Vec<Sourced>, RestoreError> {
    let owner = Owner::new(manifest.cluster, &manifest.dc, manifest.node)?;
    let mut all = Vec::new();
    for entry in &manifest.index {
        let taken = filter.takes(&entry.keyspace, &entry.table)
            && skip(&entry.keyspace, &entry.table).is_none();
        if !taken {
            continue;
        }
        let dir = TableDir::new(&owner, &entry.keyspace, &entry.table, entry.version)?;
        let table = TableRef {
            keyspace: entry.keyspace.clone(),
            table: entry.table.clone(),
        };
        for (name, parts) in entry.sstables() {
            let Some((first, _)) = parts.iter().find(|(name, _)| name.component == TOC) else {
                return Err(RestoreError::NoToc {
                    table,
                    sstable: name,
                    tag: manifest.tag.clone(),
                    node: manifest.node,
                });
            };
            let ids = first.id.kind();
            let files = parts
                .iter()
                .map(|(_, file)| find(manifest, &dir, file, objects));
            all.push(Sourced {
                table: table.clone(),
                version: entry.version,
                node: manifest.node,
                dc: manifest.dc.clone(),
                location: location.clone(),
                ids,
                sstable: BatchSsTable {
                    files: files.collect::<Result<_, _>>()?,
                    name,
                },
            });
        }
    }
    Ok(all)
}

fn find(
    manifest: &Manifest,
    dir: &TableDir,
    file: &crate::FileEntry,
    objects: &BTreeMap<String, u64>,
) -> Result<BatchFile, RestoreError> {
    let plain = dir.component(&file.name)?;
    let (tag, node) = (manifest.tag.clone(), manifest.node);
    let Some((key, bytes)) = resolve(&plain, &tag, objects) else {
        let key = plain;
        return Err(RestoreError::Missing { key, tag, node });
    };
    if let Some(expected) = file.bytes.filter(|expected| *expected != bytes) {
        return Err(RestoreError::Size {
            key,
            tag,
            node,
            found: bytes,
            expected,
        });
    }
    Ok(BatchFile {
        name: file.name.clone(),
        key,
        bytes,
        crc32: file.crc32,
    })
}

/// Finds the object that `key` stood for when backup `tag` was made, and its bytes.
///
/// A backup that had to put another file in its place moved it to `<key>.<tag of that backup>`: so
/// the first such tag after `tag` has it, or else it is still where it was.
#[must_use]
pub fn resolve(
    key: &str,
    tag: &SnapshotTag,
    objects: &BTreeMap<String, u64>,
) -> Option<(String, u64)> {
    let prefix = format!("{key}.");
    let moved = objects
        .range(prefix.clone()..)
        .take_while(|(other, _)| other.starts_with(&prefix))
        .find(|(other, _)| {
            let since = other[prefix.len()..].parse::<SnapshotTag>();
            since.is_ok_and(|since| since > *tag)
        });
    let (key, bytes) = moved.or_else(|| objects.get_key_value(key))?;
    Some((key.clone(), *bytes))
}
