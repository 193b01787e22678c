//! Events: messages that say what happened.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BackupId, ClusterId, NodeId, RunId, RunStatus, SnapshotTag, TableMethod, TableRef, Unit,
};

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The node it happened on; `None` for the scheduler's own events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// The cluster was looked at.
    Inspected(Inspected),
    /// The node was looked after.
    Pinged(Pinged),
    /// Tablet balancing is as asked.
    BalancingSet {
        /// Whether it is on.
        enabled: bool,
    },
    /// The node's snapshot is complete.
    SnapshotTaken,
    /// The node's plan lies in the bucket.
    Indexed(Indexed),
    /// The schema lies in the bucket.
    SchemaStored,
    /// A chunk's receipt lies in the bucket.
    ChunkStored(ChunkStored),
    /// The node's manifest is published.
    Sealed(Sealed),
    /// The node's snapshot is gone.
    SnapshotDropped,
    /// What need not be kept is gone from the buckets.
    Purged(Purged),
    /// It is known whether the backups are whole.
    Validated(Validated),
    /// No backup's snapshot is left on the node.
    SnapshotsCleared(SnapshotsCleared),
    /// The restore's plan lies in the bucket.
    RestorePlanned(RestorePlanned),
    /// The schema is ready for the restore.
    SchemaPrepared(SchemaPrepared),
    /// All rows of a drill can be read.
    RestoreProven(RestoreProven),
    /// The schema is as it was before the restore, or as it is to be after it.
    SchemaSettled(SchemaSettled),
    /// The node is ready to take in data.
    NodePrepared(NodePrepared),
    /// A batch is in the cluster.
    BatchLoaded(BatchLoaded),
    /// The node is as it was before the restore.
    NodePutBack,
    /// A job failed for good.
    Failed(Failed),
    /// A message from outside was refused.
    Refused {
        /// What is wrong with it, for the person who sent it.
        reason: String,
    },
    /// A run began.
    RunStarted,
    /// A run ended.
    RunEnded(RunEnded),
}

impl Fact {
    /// The kind, as it stands in the message and in its subject.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Inspected(_) => "inspected",
            Self::Pinged(_) => "pinged",
            Self::BalancingSet { .. } => "balancing_set",
            Self::SnapshotTaken => "snapshot_taken",
            Self::Indexed(_) => "indexed",
            Self::SchemaStored => "schema_stored",
            Self::ChunkStored(_) => "chunk_stored",
            Self::Sealed(_) => "sealed",
            Self::SnapshotDropped => "snapshot_dropped",
            Self::Purged(_) => "purged",
            Self::Validated(_) => "validated",
            Self::SnapshotsCleared(_) => "snapshots_cleared",
            Self::RestorePlanned(_) => "restore_planned",
            Self::SchemaPrepared(_) => "schema_prepared",
            Self::RestoreProven(_) => "restore_proven",
            Self::SchemaSettled(_) => "schema_settled",
            Self::NodePrepared(_) => "node_prepared",
            Self::BatchLoaded(_) => "batch_loaded",
            Self::NodePutBack => "node_put_back",
            Self::Failed(_) => "failed",
            Self::Refused { .. } => "refused",
            Self::RunStarted => "run_started",
            Self::RunEnded(_) => "run_ended",
        }
    }
}

/// What the cluster looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Inspected {
    /// The cluster's name, as its nodes know it.
    pub cluster_name: String,
    /// Every node of the ring, wherever it is.
    pub nodes: Vec<NodeInfo>,
    /// What the keyspace globs chose.
    pub units: Vec<Unit>,
    /// Token ranges without a live replica in the chosen datacenters, one text for each keyspace.
    #[serde(default)]
    pub uncovered: Vec<String>,
    /// What the chosen tables take on the node that answers, in order of name, if that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<TableSize>,
}

/// How a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pinged {
    /// ScyllaDB's version; empty when it does not say.
    pub scylla_version: String,
    /// Milliseconds since ScyllaDB was started.
    pub uptime_ms: u64,
    /// CPUs of the machine.
    pub cpus: u32,
    /// Memory of the machine in bytes.
    pub memory: u64,
    /// How the REST API answers.
    pub rest: Probe,
    /// How the port for CQL answers.
    pub cql: Probe,
    /// Whether that speaks TLS.
    pub cql_tls: bool,
    /// Bytes free for the database's data.
    pub disk_free: u64,
    /// Bytes that its file system has; 0 when that is not known.
    pub disk_total: u64,
}

/// How something answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Probe {
    /// Microseconds from the question to the answer.
    pub round_trip_us: u64,
    /// Whether that was too long to wait for an answer.
    pub timeout: bool,
    /// What went wrong, for a person; empty if nothing did.
    pub cause: String,
}

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeInfo {
    /// Its host id.
    pub node: NodeId,
    /// Its address, for people.
    pub address: String,
    /// Its datacenter.
    pub dc: String,
    /// Its rack.
    pub rack: String,
    /// Whether the node that answered sees it alive and in normal operation.
    pub up: bool,
    /// Whether its datacenter is among those asked for.
    pub chosen: bool,
}

/// How large one node's part of a backup is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Indexed {
    /// Chunks to upload.
    pub chunks: u32,
    /// Files in the backup, and their bytes.
    pub files: u64,
    /// See `files`.
    pub bytes: u64,
    /// Of these, files the bucket has already, and their bytes.
    pub skipped_files: u64,
    /// See `skipped_files`.
    pub skipped_bytes: u64,
    /// Bytes of each table, in order of name.
    #[serde(default)]
    pub tables: Vec<TableSize>,
}

/// How large a table is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableSize {
    /// The table.
    #[serde(flatten)]
    pub table: TableRef,
    /// Its bytes.
    pub bytes: u64,
    /// Of these, bytes the bucket has already.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_bytes: u64,
}

impl TableSize {
    /// A table of so many bytes.
    #[must_use]
    pub fn new(table: TableRef, bytes: u64) -> Self {
        Self {
            table,
            bytes,
            skipped_bytes: 0,
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A chunk that is in the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChunkStored {
    /// Its number.
    pub chunk: u32,
    /// Its files, and their bytes.
    pub files: u64,
    /// See `files`.
    pub bytes: u64,
    /// Bytes of each table in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableSize>,
    /// Who stored it, of tables for which that was a question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<TableMethod>,
}

/// A node's part of a backup, published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sealed {
    /// Files the manifest lists, and their bytes.
    pub files: u64,
    /// See `files`.
    pub bytes: u64,
}

/// What was removed from the buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Purged {
    /// Backups of which nothing is left.
    pub backups: Vec<BackupId>,
    /// Objects removed, and their bytes as far as they are known.
    pub objects: u64,
    /// See `objects`.
    pub bytes: u64,
    /// What could not be removed or decided on, for a person; a few at most. The next purge tries
    /// again.
    #[serde(default)]
    pub obstacles: Vec<String>,
    /// Whether another worker may still be at it: one that had the job before and was lost.
    #[serde(default)]
    pub contended: bool,
}

/// What a look at the backups has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Validated {
    /// Each node in each place.
    pub nodes: Vec<NodeValidated>,
    /// Backups with something missing or wrong; the newest, if there are many.
    pub broken_snapshots: Vec<SnapshotTag>,
    /// What is wrong, for a person; the first of it, if there is much.
    pub faults: Vec<String>,
    /// Whether all is as it should be: orphans do no harm.
    pub sound: bool,
    /// Why orphans could not be told, or not be deleted; for a person.
    #[serde(default)]
    pub obstacles: Vec<String>,
    /// Whether another worker may still be at it: one that had the job before and was lost.
    #[serde(default)]
    pub contended: bool,
}

/// What was found of a node in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeValidated {
    /// The datacenter.
    pub dc: String,
    /// The node's address, as its newest manifest has it; empty if none says it.
    pub host: String,
    /// The node; it may have left the cluster.
    pub node: NodeId,
    /// The place, as `<provider>:<bucket>[/<prefix>]`.
    pub location: String,
    /// Manifests looked at.
    pub manifests: u64,
    /// Files listed.
    pub scanned_files: u64,
    /// Files that backups list and the bucket has not.
    pub missing_files: u64,
    /// Files that have another size or content than they should, or cannot be read.
    pub wrong_files: u64,
    /// Files that nothing means, and their bytes.
    pub orphaned_files: u64,
    /// See `orphaned_files`.
    pub orphaned_bytes: u64,
    /// Orphans that were deleted.
    pub deleted_files: u64,
    /// Files whose content could be compared, and their bytes.
    pub checkable_files: u64,
    /// See `checkable_files`.
    pub checkable_bytes: u64,
    /// Files whose content was compared, and their bytes.
    pub checked_files: u64,
    /// See `checked_files`.
    pub checked_bytes: u64,
    /// Backups that this breaks; the newest, if there are many.
    pub broken_snapshots: Vec<SnapshotTag>,
}

/// What was deleted from a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotsCleared {
    /// The snapshots.
    pub tags: Vec<SnapshotTag>,
}

/// How large a restore is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestorePlanned {
    /// The batches of each datacenter, or each node; numbers run on from one to the next.
    pub dcs: Vec<DcBatches>,
    /// The tables to be restored.
    pub tables: Vec<TableSize>,
    /// SSTables, files and bytes in all.
    pub sstables: u64,
    /// See `sstables`.
    pub files: u64,
    /// See `sstables`.
    pub bytes: u64,
    /// Who brings which table, where that was a question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<TableMethod>,
}

/// The batches for one datacenter, or for one node of it: `count` of them, from `first` on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DcBatches {
    /// The datacenter.
    pub dc: String,
    /// The node, where not any may take them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The first batch's number.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// A schema that is ready for a restore, or that does not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchemaPrepared {
    /// Why the backup can't come into this cluster, for people; then nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objection: Option<String>,
    /// Keyspaces, types, functions and tables that were lacking and are there now.
    pub created: u32,
    /// Views and indexes that will be made again at the end, or for the first time.
    pub views: u32,
    /// Whether a keyspace of the tables is spread by tablets.
    pub tablets: bool,
    /// What each node has to take in, and whether it can. Told only of a restore that has not begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<Room>,
    /// What a person should know: what the backup holds and is left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// What a restore needs of a node's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// The node.
    pub node: NodeId,
    /// Bytes that come: all copies that the backup has, to each replica, before they are compacted.
    pub needed: u64,
    /// Bytes that are free for them, without what has to stay free.
    pub free: u64,
}

/// A backup that was restored and read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreProven {
    /// Tables.
    pub tables: u32,
    /// Their rows.
    pub rows: u64,
}

/// A schema that is as it is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchemaSettled {
    /// Views and indexes that are there again, and built.
    pub views: u32,
    /// Tables that keep tombstones as before.
    pub tables: u32,
    /// Views and indexes that are still being built: ask again.
    #[serde(default)]
    pub building: u32,
    /// Whether all that a drill has made is gone.
    #[serde(default)]
    pub scrapped: bool,
}

/// What was on before a node was made ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodePrepared {
    /// Tables whose automatic compaction was on and now is off.
    pub compacting: Vec<TableRef>,
}

/// A batch that is in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchLoaded {
    /// Its number.
    pub batch: u32,
    /// Its files, and their bytes.
    pub files: u64,
    /// See `files`.
    pub bytes: u64,
    /// How long the download took, in milliseconds.
    pub download_ms: u64,
    /// How long the node took to load it, in milliseconds.
    pub load_ms: u64,
    /// The table it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableRef>,
}

/// A job that failed for good: trying again would not help, or has been tried enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// The job's kind.
    pub job: String,
    /// Its part: a chunk's or batch's number, else 0.
    #[serde(default)]
    pub part: u32,
    /// What went wrong, for a person: what, where, what to do.
    pub reason: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunEnded {
    /// `DONE`, `ERROR`, `STOPPED` or `ABORTED`.
    pub status: RunStatus,
    /// Why, for a person; empty when done without remark.
    #[serde(default)]
    pub cause: String,
}
