//! Plans: which files of a snapshot go to the bucket, in which chunks, under which keys.
//!
//! A file may have to take the place of another one that an older backup needs: an SSTable's id may
//! be used again. Then the plan says where the old one is to be kept: under its key with the tag of
//! this backup behind it, as Manager does and as [`crate::restore::resolve`] finds it.

mod compare;

use std::collections::BTreeMap;

use protocol::{Indexed, RunId, SnapshotTag, TableRef, TableSize, TaskId, Unit};
use serde::{Deserialize, Serialize};

use self::compare::{Verdict, compare, digest_of};
use crate::{
    Document, IdKind, InvalidSegment, Limits, Name, TableVersion,
    key::{ManifestKey, Owner, TableDir},
    manifest::{File, Files, Replication, TableEntry},
    pack, segment,
    sstable::{DATA, InvalidName},
};

/// A table of a snapshot, as it lies on a node's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTable {
    /// The keyspace.
    pub keyspace: String,
    /// The table.
    pub table: String,
    /// Which table of that name.
    pub version: TableVersion,
    /// Where the files lie, below the data directory, without slashes at either end.
    pub dir: String,
    /// Its SSTables; none if it is empty.
    pub sstables: Vec<SsTable>,
}

/// An SSTable of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SsTable {
    /// Its name, as in `mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big`.
    pub name: String,
    /// All files its TOC lists.
    pub files: Vec<LocalFile>,
    /// CRC-32 of `Data.db`, if its digest could be read.
    pub crc32: Option<u32>,
    /// The digest file's content, for an SSTable with an integer id: tells whether one of that id
    /// in the bucket is the same.
    pub digest: Option<Vec<u8>>,
}

impl SsTable {
    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A file on a node's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// What the bucket holds of a node already.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    /// Bytes of each object below [`Owner::components`], by key.
    pub objects: BTreeMap<String, u64>,
    /// Contents of the objects that [`digests`] names, by key.
    pub digests: BTreeMap<String, Vec<u8>>,
    /// Components with integer ids that finished backups of the node list, by key; each with the newest
    /// such backup. What none of them lists may be half of one SSTable and half of another.
    pub listed: BTreeMap<String, SnapshotTag>,
}

impl Remote {
    /// Notes what a table of a finished backup lists.
    ///
    /// # Errors
    /// [`InvalidSegment`] if a name cannot be part of a key.
    pub fn list(&mut self, of: &ManifestKey, entry: &TableEntry) -> Result<(), InvalidSegment> {
        let dir = TableDir::new(&of.owner, &entry.keyspace, &entry.table, entry.version)?;
        for file in entry.files.iter() {
            let kind = file.name.parse::<Name>().map(|name| name.id.kind());
            if kind != Ok(IdKind::Integer) {
                continue;
            }
            let newest = self.listed.entry(dir.component(file.name)?);
            let newest = newest.or_insert_with(|| of.tag.clone());
            if *newest < of.tag {
                newest.clone_from(&of.tag);
            }
        }
        Ok(())
    }
}

/// What a plan is made for.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The node.
    pub owner: &'a Owner,
    /// The run that took the snapshot.
    pub origin: RunId,
    /// The task.
    pub task: TaskId,
    /// The snapshot.
    pub tag: &'a SnapshotTag,
    /// What was taken: tells how each keyspace is spread.
    pub units: &'a [Unit],
    /// How large chunks may be.
    pub limits: Limits,
}

/// A node's plan, without the files: those are in its chunks and in the temporary manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// The run that took the snapshot.
    pub origin: RunId,
    /// The node.
    pub node: protocol::NodeId,
    /// Its datacenter, as in the keys.
    pub dc: String,
    /// The task.
    pub task: TaskId,
    /// The snapshot.
    pub tag: SnapshotTag,
    /// How large it is.
    pub totals: Indexed,
}

impl Document for NodePlan {
    const WHAT: &'static str = "node plan";
}

/// A part of a node's plan: the grain of upload work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its number, from 0.
    pub chunk: u32,
    /// Its files: whole SSTables.
    pub files: Vec<ChunkFile>,
}

impl Document for Chunk {
    const WHAT: &'static str = "chunk";
}

impl Chunk {
    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A file to be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkFile {
    /// Where it lies, below the data directory.
    #[serde(deserialize_with = "segment::path")]
    pub path: String,
    /// Where it goes.
    #[serde(deserialize_with = "segment::path")]
    pub key: String,
    /// Its bytes.
    pub bytes: u64,
    /// Its CRC-32 by the SSTable's own digest: another one means that the file is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32: Option<u32>,
    /// What lies under `key`, to be kept before this takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaced>,
}

/// An object of the bucket that another is to take the place of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// Where it is to be kept.
    #[serde(deserialize_with = "segment::path")]
    pub kept: String,
    /// Its bytes, when the plan was made.
    pub bytes: u64,
}

/// Proof that a chunk is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The chunk's number.
    pub chunk: u32,
    /// What was stored, in the chunk's order.
    pub files: Vec<ReceiptFile>,
    /// Who stored it, of tables for which that was a question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<protocol::TableMethod>,
}

impl Document for Receipt {
    const WHAT: &'static str = "receipt";
}

/// A file that is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptFile {
    /// Where it lies.
    pub key: String,
    /// Its bytes.
    pub bytes: u64,
    /// CRC-32 of what was sent.
    pub crc32: u32,
}

/// A plan with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The plan; to be written last.
    pub plan: NodePlan,
    /// Its chunks.
    pub chunks: Vec<Chunk>,
    /// The manifest's entries: all files, stored already or not.
    pub index: Vec<TableEntry>,
    /// How many files take the place of others.
    pub replaced: u64,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A name cannot be part of a key.
    #[error(transparent)]
    Segment(#[from] InvalidSegment),
    /// A file's name is no SSTable component's.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A file's name is another SSTable's.
    #[error("`{file}` does not belong to SSTable `{sstable}`")]
    Stranger {
        /// The file.
        file: String,
        /// The SSTable it was listed with.
        sstable: String,
    },
}

/// Keys of the digests in the bucket that must be read before planning: of SSTables whose ids are
/// integers, which say little of their content.
///
/// # Errors
/// [`PlanError::Segment`] or [`PlanError::Name`].
pub fn digests(
    owner: &Owner,
    local: &[LocalTable],
    objects: &BTreeMap<String, u64>,
) -> Result<Vec<String>, PlanError> {
    let mut keys = Vec::new();
    for table in local {
        let dir = TableDir::new(owner, &table.keyspace, &table.table, table.version)?;
        for sstable in &table.sstables {
            let id = crate::sstable::parse_sstable(&sstable.name)?.id;
            if let (IdKind::Integer, Some(name)) = (id.kind(), digest_of(sstable)) {
                keys.push(dir.component(name)?);
            }
        }
    }
    keys.retain(|key| objects.contains_key(key));
    Ok(keys)
}

/// Plans a node's upload.
///
/// An SSTable that the bucket holds already is not stored again: same names, same sizes and, when
/// its id is an integer, same digest, and listed by a finished backup. Of one that the bucket holds another of the same name of, each
/// file that is there is to be kept ([`ChunkFile::replaces`]).
///
/// # Errors
/// What is wrong with a name.
///
/// # Panics
/// Never: a node has fewer than 2^32 SSTables.
pub fn plan(
    frame: &Frame<'_>,
    mut local: Vec<LocalTable>,
    remote: &Remote,
) -> Result<Planned, PlanError> {
    local.sort_by(|a, b| {
        let key = |t: &'_ LocalTable| (t.keyspace.clone(), t.table.clone(), t.version);
        key(a).cmp(&key(b))
    });
    let mut work = Work::default();
    for table in local {
        work.take(frame, table, remote)?;
    }
    let mut totals = work.totals;
    let boxes = pack::pack(work.to_store, frame.limits);
    let chunks: Vec<Chunk> = (0..)
        .zip(boxes)
        .map(|(chunk, items)| Chunk {
            chunk,
            files: items.into_iter().flat_map(|(_, files)| files).collect(),
        })
        .collect();
    totals.chunks = u32::try_from(chunks.len()).expect("a node has fewer than 2^32 SSTables");
    totals.tables = work.sizes.into_iter().collect();
    Ok(Planned {
        plan: NodePlan {
            origin: frame.origin,
            node: frame.owner.node,
            dc: frame.owner.dc.clone(),
            task: frame.task,
            tag: frame.tag.clone(),
            totals,
        },
        chunks,
        index: work.index,
        replaced: work.replaced,
    })
}

/// A plan in the making.
#[derive(Default)]
struct Work {
    totals: Indexed,
    sizes: Sizes,
    to_store: Vec<(u64, Vec<ChunkFile>)>,
    index: Vec<TableEntry>,
    replaced: u64,
}

/// Bytes by table, and those of them that are skipped: a table may have several versions.
#[derive(Default)]
struct Sizes(BTreeMap<(String, String), (u64, u64)>);

impl Sizes {
    fn into_iter(self) -> impl Iterator<Item = TableSize> {
        let sizes = self.0.into_iter();
        sizes.map(|((keyspace, table), (bytes, skipped_bytes))| TableSize {
            table: TableRef { keyspace, table },
            bytes,
            skipped_bytes,
        })
    }
}

impl Work {
    fn take(
        &mut self,
        frame: &Frame<'_>,
        table: LocalTable,
        remote: &Remote,
    ) -> Result<(), PlanError> {
        let dir = TableDir::new(frame.owner, &table.keyspace, &table.table, table.version)?;
        let (mut files, mut skipped) = (Files::new(), 0);
        for sstable in &table.sstables {
            let bytes = sstable.bytes();
            self.totals.files += sstable.files.len() as u64;
            self.totals.bytes += bytes;
            let mut stored = stored_files(&dir, &table.dir, sstable)?;
            for (file, local) in stored.iter().zip(&sstable.files) {
                files.push(File {
                    name: &local.name,
                    bytes: Some(file.bytes),
                    crc32: file.crc32,
                });
            }
            match compare(&dir, sstable, remote)? {
                Verdict::Skip => {
                    self.totals.skipped_files += sstable.files.len() as u64;
                    self.totals.skipped_bytes += bytes;
                    skipped += bytes;
                }
                Verdict::Store(replaced) => {
                    self.replaced += replaced.len() as u64;
                    for (file, local) in stored.iter_mut().zip(&sstable.files) {
                        file.replaces = replaced.get(&*local.name).map(|bytes| Replaced {
                            kept: format!("{}.{}", file.key, frame.tag),
                            bytes: *bytes,
                        });
                    }
                    self.to_store.push((bytes, stored));
                }
            }
        }
        files.sort();
        let bytes = table.sstables.iter().map(SsTable::bytes).sum();
        let name = (table.keyspace.clone(), table.table.clone());
        let size = self.sizes.0.entry(name).or_default();
        *size = (size.0 + bytes, size.1 + skipped);
        let unit = frame.units.iter().find(|u| u.keyspace == table.keyspace);
        self.index.push(TableEntry {
            replication: unit.map(|unit| match unit.tablets {
                true => Replication::Tablets,
                false => Replication::Vnodes,
            }),
            files,
            bytes,
            ..TableEntry::new(&table.keyspace, &table.table, table.version)
        });
        Ok(())
    }
}

fn stored_files(dir: &TableDir, below: &str, of: &SsTable) -> Result<Vec<ChunkFile>, PlanError> {
    let files = of.files.iter().map(|file| {
        let name: Name = file.name.parse()?;
        if name.sstable != of.name {
            return Err(PlanError::Stranger {
                file: file.name.clone(),
                sstable: of.name.clone(),
            });
        }
        Ok(ChunkFile {
            path: format!("{below}/{}", file.name),
            key: dir.component(&file.name)?,
            bytes: file.bytes,
            crc32: of.crc32.filter(|_| name.component == DATA),
            replaces: None,
        })
    });
    files.collect()
}

#[cfg(test)]
pub(crate) mod tests;
