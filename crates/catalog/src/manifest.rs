//! Manifests: what a backup holds of one node. ScyllaDB Manager's form, `v2`.
//!
//! A manifest is one JSON object, compressed with gzip. Manager writes names of files and the sum
//! of their sizes for each table; Thetis adds what else it knows under keys `thetis`, as each file's
//! size and CRC-32, and Manager skips that. Either is read here, with fields missing, `null` or in
//! any order; keys that are not known are skipped, and one that is known must not come twice.

mod files;
mod read;
mod write;

use std::{collections::BTreeMap, io};

use flate2::{Compression, write::GzEncoder};
use protocol::{ClusterId, NodeId, SnapshotTag, TaskId};
use serde::{Deserialize, Serialize};

pub use self::files::{File, Files};
use crate::{Name, TableVersion, key::ManifestKey};

/// The one version there is.
const VERSION: &str = "v2";

/// The most JSON of one manifest that is read, in bytes: a hundred times what a large node's takes,
/// and an end to one that is made to inflate without any.
pub const LARGEST: u64 = 4 << 30;

/// Why bytes are no manifest this build can read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The bytes stop coming, or are not gzip.
    #[error("cannot read manifest `{key}`")]
    Read {
        /// The manifest.
        key: String,
        /// What the reader says.
        #[source]
        cause: io::Error,
    },
    /// Not JSON, or not of a manifest's shape.
    #[error("manifest `{key}` is not readable: {cause}")]
    Shape {
        /// The manifest.
        key: String,
        /// What is wrong.
        cause: String,
    },
    /// Its content goes on and on.
    #[error("manifest `{key}` inflates to more than {limit} bytes, so it is not read")]
    TooLarge {
        /// The manifest.
        key: String,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// Nothing says what it is.
    #[error("manifest `{key}` names no version; this build reads `{VERSION}`")]
    NoVersion {
        /// The manifest.
        key: String,
    },
    /// Written by a newer build.
    #[error("manifest `{key}` has version `{found}`, but this build reads only `{VERSION}`")]
    Version {
        /// The manifest.
        key: String,
        /// Its version.
        found: String,
    },
    /// It says another thing than its key.
    #[error("manifest `{key}` says of itself {field} `{found}`")]
    Identity {
        /// The manifest.
        key: String,
        /// What is said otherwise.
        field: &'static str,
        /// What it says.
        found: String,
    },
}

/// What a backup holds of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's datacenter.
    pub dc: String,
    /// The node.
    pub node: NodeId,
    /// The task that made the backup.
    pub task: TaskId,
    /// The backup.
    pub tag: SnapshotTag,
    /// The node, as it was then.
    pub info: NodeFacts,
    /// Key of the schema file, from the bucket's root; empty if there is none.
    pub schema: String,
    /// What it holds, a table an entry.
    pub index: Vec<TableEntry>,
    /// What each keyspace that is spread by vnodes had on this node: ranges of tokens behind the
    /// first up to and with the second. Empty if not known, as are all that follow.
    pub ranges: BTreeMap<String, Vec<(i64, i64)>>,
    /// All nodes of the cluster.
    pub nodes: Vec<NodeId>,
    /// When the snapshot was taken, in milliseconds since 1970; 0 if not known.
    pub snapshot_ms: u64,
    /// When this was finished, in milliseconds since 1970; 0 if not known.
    pub sealed_ms: u64,
    /// Which of Thetis' additions, when this was read, had a form that this build does not know, as
    /// `thetis.ranges`; a few at most. They count as not known. Not written.
    pub not_understood: Vec<String>,
}

/// A node, as it was when it was backed up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The cluster's name.
    pub cluster_name: String,
    /// ScyllaDB's version; empty in older backups.
    pub scylla_version: String,
    /// The node's address.
    pub ip: String,
    /// Its rack; empty in older backups.
    pub rack: String,
    /// Its tokens.
    pub tokens: Vec<i64>,
    /// Its shards; 0 if not known.
    pub shard_count: u32,
    /// Its processors; 0 if not known.
    pub cpu_count: u32,
    /// Size of its disk in bytes; 0 if not known.
    pub storage_size: u64,
    /// Who provides the machine; empty if not known.
    pub cloud_provider: String,
    /// The kind of machine; empty if not known.
    pub instance_type: String,
}

/// How a table is spread over nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replication {
    /// By vnodes.
    Vnodes,
    /// By tablets.
    Tablets,
}

/// What a backup holds of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// The keyspace.
    pub keyspace: String,
    /// The table.
    pub table: String,
    /// How it is spread; `None` in older backups.
    pub replication: Option<Replication>,
    /// Which table of that name.
    pub version: TableVersion,
    /// Its files, in order of name when Thetis wrote them.
    pub files: Files,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Names of ScyllaDB's own lists, which lie beside the files and do not count.
    pub scylla_manifests: Vec<String>,
    /// For a table that is spread by tablets, as [`Manifest::ranges`].
    pub ranges: Vec<(i64, i64)>,
}

impl Manifest {
    /// A manifest that goes under `key`, of nothing so far.
    #[must_use]
    pub fn new(key: &ManifestKey) -> Self {
        Self {
            cluster: key.owner.cluster,
            dc: key.owner.dc.clone(),
            node: key.owner.node,
            task: key.task,
            tag: key.tag.clone(),
            info: NodeFacts::default(),
            schema: String::new(),
            index: Vec::new(),
            ranges: BTreeMap::new(),
            nodes: Vec::new(),
            snapshot_ms: 0,
            sealed_ms: 0,
            not_understood: Vec::new(),
        }
    }

    /// Its key, finished or not.
    ///
    /// # Errors
    /// [`crate::InvalidSegment`] if the datacenter's name cannot be part of a key.
    pub fn key(&self, temporary: bool) -> Result<ManifestKey, crate::InvalidSegment> {
        Ok(ManifestKey {
            owner: crate::key::Owner::new(self.cluster, &self.dc, self.node)?,
            task: self.task,
            tag: self.tag.clone(),
            temporary,
        })
    }

    /// Bytes of all files of all tables. What a manifest says need not be true, so this may end at
    /// the largest number.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let tables = self.index.iter().map(|entry| entry.bytes);
        tables.fold(0, u64::saturating_add)
    }

    /// Number of files of all tables.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.index
            .iter()
            .map(|entry| entry.files.len() as u64)
            .sum()
    }

    /// Writes it, compressed. The same manifest always becomes the same bytes.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, writer: impl io::Write) -> io::Result<()> {
        let mut gzip = GzEncoder::new(writer, Compression::default());
        serde_json::to_writer(&mut gzip, &write::Manifest::from(self))?;
        gzip.finish()?.flush()
    }

    /// The manifest as it lies in the bucket.
    ///
    /// # Panics
    /// Never: memory takes all that is written.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)
            .expect("memory takes all that is written");
        bytes
    }

    /// Reads the manifest that lies under `key`. What it does not say of itself, the key says.
    ///
    /// # Errors
    /// [`ManifestError`], which names the key.
    pub fn read(reader: impl io::Read, key: &ManifestKey) -> Result<Self, ManifestError> {
        let mut index = Vec::new();
        let head = Self::visit(reader, key, |entry| {
            index.push(entry);
            Ok::<_, ManifestError>(())
        })?;
        Ok(Self { index, ..head })
    }

    /// As [`Self::read`], but hands over the entries one by one, in their order, as they are read,
    /// and returns the rest with an empty index. Memory holds one entry at a time.
    ///
    /// What was handed over counts only if this returns `Ok`: whether the manifest is the one its
    /// key says, and whole, shows at its end.
    ///
    /// # Errors
    /// [`ManifestError`], which names the key; or the first error of `each`, which ends it.
    pub fn visit<E: From<ManifestError>>(
        reader: impl io::Read,
        key: &ManifestKey,
        each: impl FnMut(TableEntry) -> Result<(), E>,
    ) -> Result<Self, E> {
        read::read(reader, key, LARGEST, each)
    }
}

impl TableEntry {
    /// An entry of a table without files.
    #[must_use]
    pub fn new(keyspace: &str, table: &str, version: TableVersion) -> Self {
        Self {
            keyspace: keyspace.to_owned(),
            table: table.to_owned(),
            replication: None,
            version,
            files: Files::new(),
            bytes: 0,
            scylla_manifests: Vec::new(),
            ranges: Vec::new(),
        }
    }

    /// The SSTables by name, as in `mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big`, each with its files.
    #[must_use]
    pub fn sstables(&self) -> BTreeMap<&str, Vec<File<'_>>> {
        let mut sstables = BTreeMap::<_, Vec<_>>::new();
        for file in self.files.iter() {
            // Names were checked when the entry was read.
            if let Ok(name) = file.name.parse::<Name>() {
                let sstable = &file.name[..name.sstable.len()];
                sstables.entry(sstable).or_default().push(file);
            }
        }
        sstables
    }
}

#[cfg(test)]
mod tests;
