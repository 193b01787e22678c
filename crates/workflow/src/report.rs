//! A run as users see it.

use protocol::{Method, NodeId, RunId, RunStatus, SnapshotTag, TaskId, TaskKind, Validated};
use serde::{Deserialize, Serialize};

use crate::Removed;

/// How far a run is. Sizes are in bytes, times in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What the run does.
    pub kind: TaskKind,
    /// The task.
    pub task: TaskId,
    /// The run.
    pub run: RunId,
    /// The run it continues, or itself.
    pub origin: RunId,
    /// How it stands.
    pub status: RunStatus,
    /// Why; see [`Run::cause`](crate::Run::cause).
    pub cause: String,
    /// `INIT`, `SNAPSHOT`, `INDEX`, `UPLOAD`, `SEAL`, `DROP_SNAPSHOT`, `PURGE`, `DONE` of a backup; `INIT`,
    /// `PLAN`, `PREPARE`, `DATA`, `PUT_BACK`, `DONE` of a restore; `PURGE`, `VALIDATE` or
    /// `DROP_SNAPSHOT`, and `DONE`, of an errand. Of a run that failed or was
    /// stopped, the stage it had come to.
    pub stage: String,
    /// The backup made or restored; `None` of an errand.
    pub snapshot_tag: Option<SnapshotTag>,
    /// When it began.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Bytes of the backup, or to be restored.
    pub size: u64,
    /// Bytes brought to the bucket.
    pub uploaded: u64,
    /// Bytes the bucket had already.
    pub skipped: u64,
    /// Bytes that did not get to the bucket because their node failed.
    pub failed: u64,
    /// Bytes brought into the cluster.
    pub restored: u64,
    /// Files of the backup, or to be restored.
    pub files: u64,
    /// Chunks (of a backup) or batches (of a restore) done, and all that are known of.
    pub parts_done: u64,
    /// See `parts_done`.
    pub parts: u64,
    /// Each node that takes part.
    pub hosts: Vec<Host>,
    /// Each table, in order of name, on all nodes.
    pub tables: Vec<Table>,
    /// What was removed; `None` before that is known, and of a restore.
    pub removed: Option<Removed>,
    /// What a look at the backups has found.
    pub validated: Option<Validated>,
    /// Snapshots of backups that were deleted from nodes by an errand.
    pub cleared: u64,
    /// Events that no history of the run explains.
    pub impossible: u32,
}

/// A node's part of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its host id.
    pub node: NodeId,
    /// Its address.
    pub address: String,
    /// Its datacenter.
    pub dc: String,
    /// How far it is, in the words of [`Report::stage`]; `WAIT` while it waits for others.
    pub stage: String,
    /// Bytes of its part of the backup.
    pub size: u64,
    /// See [`Report::uploaded`].
    pub uploaded: u64,
    /// See [`Report::skipped`].
    pub skipped: u64,
    /// See [`Report::failed`].
    pub failed: u64,
    /// Files of its part of the backup, or files it has brought into the cluster.
    pub files: u64,
    /// Of these, those the bucket had already.
    pub files_skipped: u64,
    /// Chunks stored or batches loaded by it.
    pub parts_done: u32,
    /// Its chunks; 0 for a restore, where batches belong to no node.
    pub parts: u32,
    /// Bytes it has brought into the cluster.
    pub restored: u64,
    /// Milliseconds it spent downloading, summed over batches.
    pub download_ms: u64,
    /// Milliseconds it spent loading, summed over batches.
    pub load_ms: u64,
    /// Each table of its part of a backup, in order of name; none of a restore, where tables belong
    /// to no node, and none where nodes have very many.
    pub tables: Vec<Table>,
}

/// A table's part of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its keyspace.
    pub keyspace: String,
    /// Its name.
    pub table: String,
    /// Its bytes.
    pub size: u64,
    /// Of these, bytes the bucket had already.
    pub skipped: u64,
    /// Of these, bytes brought to the bucket, or into the cluster.
    pub done: u64,
    /// Who brought them and why, where that was a question.
    #[serde(default)]
    pub methods: Vec<(Method, String)>,
}
