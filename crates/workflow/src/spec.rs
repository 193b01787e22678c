//! What a run is told at its start, and all that is needed to begin it anew.

use std::collections::BTreeSet;

use protocol::{
    BackupRequest, ClusterId, DeleteRequest, NodeId, RestoreRequest, RunId, SnapshotTag, TaskId,
    TaskKind, ValidateRequest,
};
use serde::{Deserialize, Serialize};

/// What a backup run is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSpec {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The run that took the snapshot first; the run itself unless it continues another.
    pub origin: RunId,
    /// The task.
    pub task: TaskId,
    /// The snapshot's and the backup's name.
    pub tag: SnapshotTag,
    /// What the user asked for.
    pub request: BackupRequest,
    /// The cluster's registered name, for the manifests.
    pub cluster_name: String,
    /// The node asked what the cluster looks like. Best one whose snapshot-worker is alive.
    pub scout: NodeId,
    /// Snapshots of runs that have ended for good, to delete before the new one is taken.
    pub stale: Vec<SnapshotTag>,
    /// When the run began, in milliseconds since 1970.
    pub started_ms: u64,
    /// Whether an earlier attempt may have left tablet balancing off. Then it is put on again even
    /// if this run fails before it touches it.
    #[serde(default)]
    pub unsettled: bool,
}

/// What a restore run is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreSpec {
    /// The cluster to restore into.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The run that planned first; the run itself unless it continues another.
    pub origin: RunId,
    /// The task.
    pub task: TaskId,
    /// What the user asked for.
    pub request: RestoreRequest,
    /// The node asked what the cluster looks like, and to plan. Best one whose workers are alive.
    pub scout: NodeId,
    /// When the run began, in milliseconds since 1970.
    pub started_ms: u64,
    /// Whether an earlier attempt may have left balancing or automatic compaction off. Then they
    /// are put back even if this run fails before it touches them.
    #[serde(default)]
    pub unsettled: bool,
    /// Whether an earlier attempt has left views dropped and tombstones kept.
    #[serde(default)]
    pub shielded: Shield,
}

/// Whether views of the restored tables are dropped, and their tombstones kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shield {
    /// They are not.
    #[default]
    No,
    /// Nobody knows.
    Perhaps,
    /// They are.
    Surely,
}

/// What an errand's run is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrandSpec {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The task; of a validation alone one that is kept.
    pub task: TaskId,
    /// What the user asked for.
    pub errand: Errand,
    /// The node whose uploader is to do it, if one does it for all. Best one that is alive.
    pub scout: NodeId,
    /// When the run began, in milliseconds since 1970.
    pub started_ms: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Errand {
    /// Backups are deleted.
    Delete(DeleteRequest),
    /// It is found out whether backups are whole. At least one location is given.
    Validate(ValidateRequest),
    /// Snapshots that backups have left on nodes are deleted.
    Clear {
        /// The nodes.
        nodes: BTreeSet<NodeId>,
        /// Snapshots of this and later backups stay.
        before: SnapshotTag,
    },
}

impl Errand {
    /// Which kind of task it is.
    #[must_use]
    pub fn kind(&self) -> TaskKind {
        match self {
            Self::Delete(_) => TaskKind::Delete,
            Self::Validate(_) => TaskKind::Validate,
            Self::Clear { .. } => TaskKind::Clear,
        }
    }

    /// Whether objects in buckets may be deleted.
    #[must_use]
    pub fn deletes_objects(&self) -> bool {
        match self {
            Self::Delete(_) => true,
            Self::Validate(request) => request.delete_orphaned_files,
            Self::Clear { .. } => false,
        }
    }
}

/// A run's descriptor: what lies in the bucket for as long as it is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// Of a backup.
    Backup(BackupSpec),
    /// Of a restore.
    Restore(RestoreSpec),
    /// Of an errand.
    Errand(ErrandSpec),
}
