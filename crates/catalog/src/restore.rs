//! Restores: which manifests make up a backup, and which of its SSTables go into which batch.

mod batches;
mod choose;
mod collect;
mod cut;
mod methods;
mod origin;
mod tablets;
mod twins;

use protocol::{
    ClusterId, Location, Method, NodeId, RestorePlanned, RunId, SnapshotTag, TableMethod, TableRef,
};
use serde::{Deserialize, Serialize};

pub use self::{
    batches::{Places, batches},
    choose::choose,
    collect::{Sourced, collect, collect_table, resolve, taken},
    cut::Cut,
    methods::{Carrier, Fit, carriers, methods},
    origin::Origin,
    tablets::{TabletList, obstacle, of_replica},
    twins::{Member, Twin, twins},
};
use crate::{Document, IdKind, InvalidSegment, segment};

/// Why there is no plan for a restore.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// No such backup.
    #[error("there is no backup `{tag}`{}", of(cluster.as_ref()))]
    NoBackup {
        /// The tag asked for.
        tag: SnapshotTag,
        /// The cluster asked for.
        cluster: Option<ClusterId>,
    },
    /// Several clusters have a backup of that tag.
    #[error("several clusters have a backup `{tag}`: {}; name one", list(clusters))]
    SeveralClusters {
        /// The tag asked for.
        tag: SnapshotTag,
        /// They.
        clusters: Vec<ClusterId>,
    },
    /// Several tasks of the cluster have a backup of that tag.
    #[error("several tasks have a backup `{tag}` of cluster {cluster}")]
    SeveralTasks {
        /// The tag asked for.
        tag: SnapshotTag,
        /// The cluster.
        cluster: ClusterId,
    },
    /// A node's manifest was never finished.
    #[error(
        "backup `{tag}` was never finished: {} have no manifest",
        nodes(unfinished)
    )]
    Unfinished {
        /// The tag asked for.
        tag: SnapshotTag,
        /// The nodes without one.
        unfinished: Vec<NodeId>,
    },
    /// An object that the backup lists is not in the bucket.
    #[error("`{key}` is missing from the bucket, but backup `{tag}` of node {node} lists it")]
    Missing {
        /// The object.
        key: String,
        /// The backup.
        tag: SnapshotTag,
        /// Whose it is.
        node: NodeId,
    },
    /// An object is not the one that the backup lists.
    #[error("`{key}` has {found} bytes, but backup `{tag}` of node {node} lists {expected}")]
    Size {
        /// The object.
        key: String,
        /// The backup.
        tag: SnapshotTag,
        /// Whose it is.
        node: NodeId,
        /// Bytes it has.
        found: u64,
        /// Bytes it should have.
        expected: u64,
    },
    /// An SSTable without the file that lists the others.
    #[error("{table}: backup `{tag}` of node {node} lists no TOC of SSTable `{sstable}`")]
    NoToc {
        /// The table.
        table: TableRef,
        /// The SSTable.
        sstable: String,
        /// The backup.
        tag: SnapshotTag,
        /// Whose it is.
        node: NodeId,
    },
    /// A name cannot be part of a key.
    #[error(transparent)]
    Segment(#[from] InvalidSegment),
    /// ScyllaDB itself was asked for, and cannot.
    #[error(
        "ScyllaDB itself cannot restore {}. Use method `auto` or `agent`",
        reasons(tables)
    )]
    NotNative {
        /// Which tables, and why.
        tables: Vec<TableMethod>,
    },
    /// Nodes were to get back what they had, and cannot.
    #[error("a restore one to one is not possible: {why}. Leave `one_to_one` out")]
    NotOneToOne {
        /// What is in the way.
        why: String,
    },
    /// There is nowhere to restore to.
    #[error("no datacenter has a node that can take data")]
    NoDatacenter,
}

fn of(cluster: Option<&ClusterId>) -> String {
    cluster.map_or_else(String::new, |cluster| format!(" of cluster {cluster}"))
}

fn list<T: ToString>(of: &[T]) -> String {
    let texts: Vec<String> = of.iter().map(T::to_string).collect();
    texts.join(", ")
}

fn nodes(of: &[NodeId]) -> String {
    format!("{} nodes ({})", of.len(), list(of))
}

/// Tables by the reasons that they share; the first few of each.
fn reasons(tables: &[TableMethod]) -> String {
    const NAMED: usize = 5;
    let mut by = std::collections::BTreeMap::<&str, Vec<String>>::new();
    for told in tables {
        let of = by.entry(&told.reason).or_default();
        of.push(told.table.to_string());
    }
    let text = |(reason, names): (&str, Vec<String>)| {
        let some = names[..names.len().min(NAMED)].join(", ");
        match names.len().saturating_sub(NAMED) {
            0 => format!("{some}: {reason}"),
            more => format!("{some} and {more} more tables: {reason}"),
        }
    };
    let texts: Vec<String> = by.into_iter().map(text).collect();
    texts.join("; ")
}

/// A restore's plan, without the files: those are in its batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePlan {
    /// The run that planned.
    pub origin: RunId,
    /// The cluster that was backed up.
    pub source: ClusterId,
    /// The backup.
    pub tag: SnapshotTag,
    /// How large it is, and which batches each datacenter takes.
    pub totals: RestorePlanned,
    /// Which node takes the place of which of the backup, if it is one to one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub twins: Vec<Twin>,
}

impl Document for RestorePlan {
    const WHAT: &'static str = "restore plan";
}

/// SSTables of one table that are downloaded and loaded together: the grain of restore work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its number, from 0.
    pub batch: u32,
    /// The datacenter whose nodes may take it.
    pub dc: String,
    /// Where the objects lie.
    pub location: Location,
    /// The table to load into.
    #[serde(flatten)]
    pub table: TableRef,
    /// Who brings it there: [`Method::Agent`], [`Method::Native`], or with [`Method::Auto`] the latter
    /// for as long as it goes well. With [`Method::Tablets`] it is the whole table.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub method: Method,
    /// ScyllaDB's own lists of the table, for [`Method::Tablets`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists: Option<Lists>,
    /// The node that takes it and nobody else, for it owns every row of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<NodeId>,
    /// Kind of the SSTables' ids.
    pub ids: IdKind,
    /// The node they come from, if their ids are integers and so mean nothing elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// They.
    pub sstables: Vec<BatchSsTable>,
}

/// Where ScyllaDB's own lists of a table's SSTables lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lists {
    /// The snapshot they are of.
    pub snapshot: SnapshotTag,
    /// Their keys, a node an entry.
    pub keys: Vec<String>,
}

fn is_usual(method: &Method) -> bool {
    *method == Method::default()
}

impl Document for Batch {
    const WHAT: &'static str = "batch";
}

impl Batch {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sstables.iter().map(BatchSsTable::bytes).sum()
    }

    /// Number of files.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.sstables.iter().map(|s| s.files.len() as u64).sum()
    }
}

/// An SSTable to be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSsTable {
    /// Its name, as in `mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big`.
    #[serde(deserialize_with = "segment::name")]
    pub name: String,
    /// All its files.
    pub files: Vec<BatchFile>,
}

impl BatchSsTable {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Whether a file of it lies under another name than its own: a later backup put another in its
    /// place.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        let is_named = |file: &BatchFile| file.key.rsplit('/').next() == Some(&*file.name);
        !self.files.iter().all(is_named)
    }
}

/// A file to be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFile {
    /// Its name on disk.
    #[serde(deserialize_with = "segment::name")]
    pub name: String,
    /// Where it lies.
    #[serde(deserialize_with = "segment::path")]
    pub key: String,
    /// Its bytes.
    pub bytes: u64,
    /// Its CRC-32, if the backup says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32: Option<u32>,
}

/// Proof that a batch is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchReceipt {
    /// The node that loaded it.
    pub node: NodeId,
    /// What was loaded, and how long it took.
    #[serde(flatten)]
    pub loaded: protocol::BatchLoaded,
}

impl Document for BatchReceipt {
    const WHAT: &'static str = "batch receipt";
}

/// How a node was before a restore changed it. Written before the first change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The node.
    pub node: NodeId,
    /// Tables whose automatic compaction was on.
    pub compacting: Vec<TableRef>,
}

impl Document for Undo {
    const WHAT: &'static str = "undo record";
}

#[cfg(test)]
mod tests;
