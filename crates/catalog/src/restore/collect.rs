//! Which objects a manifest stands for.

use std::collections::BTreeMap;

use protocol::{Location, NodeId, SnapshotTag, TableRef};

use super::{BatchFile, BatchSsTable, RestoreError};
#[cfg(doc)]
use crate::key::Owner;
use crate::{
    File, Filter, IdKind, Manifest, TableEntry, TableVersion,
    filter::skip,
    key::{ManifestKey, TableDir},
    sstable::{TOC, parse_sstable},
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
    let key = manifest.key(false)?;
    let mut all = Vec::new();
    for entry in &manifest.index {
        if taken(entry, filter) {
            all.extend(collect_table(&key, entry, location, objects)?);
        }
    }
    Ok(all)
}

/// Whether `filter` takes a table, and a restore may.
#[must_use]
pub fn taken(entry: &TableEntry, filter: &Filter) -> bool {
    filter.takes(&entry.keyspace, &entry.table) && skip(&entry.keyspace, &entry.table).is_none()
}

/// As [`collect`], of one table of the manifest under `key`.
///
/// # Errors
/// As [`collect`].
pub fn collect_table(
    key: &ManifestKey,
    entry: &TableEntry,
    location: &Location,
    objects: &BTreeMap<String, u64>,
) -> Result<Vec<Sourced>, RestoreError> {
    let dir = TableDir::new(&key.owner, &entry.keyspace, &entry.table, entry.version)?;
    let table = TableRef {
        keyspace: entry.keyspace.clone(),
        table: entry.table.clone(),
    };
    let source = |(name, files): (&str, Vec<File<'_>>)| {
        let toc = format!("{name}-{TOC}");
        let id = parse_sstable(name).map(|name| name.id);
        let (Ok(id), true) = (id, files.iter().any(|file| file.name == toc)) else {
            return Err(RestoreError::NoToc {
                table: table.clone(),
                sstable: name.to_owned(),
                tag: key.tag.clone(),
                node: key.owner.node,
            });
        };
        let found = files.into_iter().map(|file| find(key, &dir, file, objects));
        Ok(Sourced {
            table: table.clone(),
            version: entry.version,
            node: key.owner.node,
            dc: key.owner.dc.clone(),
            location: location.clone(),
            ids: id.kind(),
            sstable: BatchSsTable {
                name: name.to_owned(),
                files: found.collect::<Result<_, _>>()?,
            },
        })
    };
    entry.sstables().into_iter().map(source).collect()
}

fn find(
    of: &ManifestKey,
    dir: &TableDir,
    file: File<'_>,
    objects: &BTreeMap<String, u64>,
) -> Result<BatchFile, RestoreError> {
    let plain = dir.component(file.name)?;
    let (tag, node) = (of.tag.clone(), of.owner.node);
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
        name: file.name.to_owned(),
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
