//! Manifests: what a backup holds of one node. ScyllaDB Manager's form, `v2`.
//!
//! A manifest is one JSON object, compressed with gzip. Manager writes names of files and the sum
//! of their sizes for each table; Thetis adds each file's size and CRC-32 under the key `thetis`,
//! which Manager skips. Either is read here, with fields missing, `null` or in any order.

mod wire;

use std::io;

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use protocol::{ClusterId, NodeId, SnapshotTag, TaskId};
use serde::{Deserialize, Serialize};

use crate::{Name, TableVersion, key::ManifestKey};

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
    pub files: Vec<FileEntry>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Names of ScyllaDB's own lists, which lie beside the files and do not count.
    pub scylla_manifests: Vec<String>,
}

/// A file that a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileEntry {
    /// Its name, without the suffix of an older version. Always one of an SSTable's file.
    pub name: String,
    /// Its bytes; `None` in a backup that Manager made.
    pub bytes: Option<u64>,
    /// Its CRC-32, where it was computed or is known from the SSTable's digest.
    pub crc32: Option<u32>,
}

impl Manifest {
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
        serde_json::to_writer(&mut gzip, &wire::Manifest::from(self))?;
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
        let json = io::BufReader::with_capacity(1 << 16, MultiGzDecoder::new(reader));
        let wire: wire::Manifest = serde_json::from_reader(json).map_err(|cause| {
            let key = key.to_string();
            if cause.is_io() {
                let cause = cause.into();
                ManifestError::Read { key, cause }
            } else {
                let cause = cause.to_string();
                ManifestError::Shape { key, cause }
            }
        })?;
        wire.check(key)
    }
}

impl TableEntry {
    /// The SSTables, each with its files, in order of name.
    #[must_use]
    pub fn sstables(&self) -> std::collections::BTreeMap<String, Vec<(Name, &FileEntry)>> {
        let mut sstables = std::collections::BTreeMap::<_, Vec<_>>::new();
        for file in &self.files {
            // Names were checked when the entry was made.
            if let Ok(name) = file.name.parse::<Name>() {
                sstables
                    .entry(name.sstable.clone())
                    .or_default()
                    .push((name, file));
            }
        }
        sstables
    }
}

#[cfg(test)]
mod tests;
