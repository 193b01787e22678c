//! What a run is told at its start, and all that is needed to begin it anew.

use protocol::{BackupRequest, ClusterId, NodeId, RestoreRequest, RunId, SnapshotTag, TaskId};
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
}

/// A run's descriptor: what lies in the bucket for as long as it is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// Of a backup.
    Backup(BackupSpec),
    /// Of a restore.
    Restore(RestoreSpec),
}
