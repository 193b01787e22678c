//! Records: what services keep in the key-value buckets, and read of each other there.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BackupRequest, ClusterId, NativeUpload, NodeId, RestoreRequest, RunId, SuspendRequest, TaskId,
    Throttles, ValidateRequest,
};

/// A registered cluster. Bucket `clusters`, key `<cluster>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cluster {
    /// Its identity, part of every key in the bucket.
    pub id: ClusterId,
    /// Its name, for people; unique.
    pub name: String,
    /// The address it was registered by.
    pub host: String,
    /// What its users note about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its nodes when last looked at. Workers find their cluster by these.
    pub nodes: Vec<ClusterNode>,
    /// How fast its work may go for now. Workers watch it.
    #[serde(default, skip_serializing_if = "Throttles::is_empty")]
    pub throttles: Throttles,
}

/// A node of a registered cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterNode {
    /// Its host id.
    pub node: NodeId,
    /// Its address.
    pub address: String,
    /// Its datacenter.
    pub dc: String,
    /// Its rack.
    pub rack: String,
}

/// What a user asked for. Bucket `tasks`, key `<cluster>.<task>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Its identity.
    pub id: TaskId,
    /// The cluster it works on.
    pub cluster: ClusterId,
    /// Its name, for people; may be empty.
    #[serde(default)]
    pub name: String,
    /// What its users note about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The older form of labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whether it may run.
    pub enabled: bool,
    /// Whether a user deleted it: what is left of it says how long its backups are kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// When it runs by itself; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Since when it has its schedule, in milliseconds since 1970.
    #[serde(default)]
    pub scheduled_ms: u64,
    /// What to do: exactly one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupRequest>,
    /// See `backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreRequest>,
    /// See `backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<ValidateRequest>,
    /// See `backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<SuspendRequest>,
}

impl Task {
    /// Which kind of task this is.
    #[must_use]
    pub fn kind(&self) -> TaskKind {
        if self.restore.is_some() {
            TaskKind::Restore
        } else if self.validate.is_some() {
            TaskKind::Validate
        } else if self.suspend.is_some() {
            TaskKind::Suspend
        } else {
            TaskKind::Backup
        }
    }
}

/// When a task runs, as its user gave it; what is empty is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Schedule {
    /// A cron expression, `@daily` and the like, or `@every 6h`.
    pub cron: String,
    /// How often, as `7d`: the older form of `@every`.
    pub interval: String,
    /// Name of the time zone; UTC when empty.
    pub timezone: String,
    /// When it may run: begins and ends of windows in turn.
    pub window: Vec<String>,
    /// Not before this, as RFC 3339 has it.
    pub start_date: String,
    /// How often a run that failed is tried again.
    pub num_retries: u32,
    /// How long to wait before the first time, as `10m`; doubled each time.
    pub retry_wait: String,
}

/// The kinds of task.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Copies a cluster to a bucket.
    Backup,
    /// Copies a backup into a cluster.
    Restore,
    /// Deletes backups. Its runs belong to no task that is kept.
    #[serde(rename = "delete_backup")]
    Delete,
    /// Says whether backups are whole.
    #[serde(rename = "validate_backup")]
    Validate,
    /// Deletes snapshots that backups have left on nodes. Its runs belong to no task that is kept.
    #[serde(rename = "clear_snapshots")]
    Clear,
    /// Keeps a cluster's other tasks from running for a while.
    Suspend,
}

impl TaskKind {
    /// The name in paths, arguments and outputs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Delete => "delete_backup",
            Self::Validate => "validate_backup",
            Self::Clear => "clear_snapshots",
            Self::Suspend => "suspend",
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far a run is, for users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunStatus {
    /// Accepted; the leader has not begun it.
    New,
    /// Under way.
    Running,
    /// Told to stop, and tidying up.
    Stopping,
    /// Stopped by a user. Can be continued.
    Stopped,
    /// Stopped because its window has closed. Goes on when one opens.
    Waiting,
    /// Ended well.
    Done,
    /// Ended badly; the cause says why. Can be continued.
    Error,
    /// Given up by Thetis itself, as when its task was deleted.
    Aborted,
}

impl RunStatus {
    /// Whether the run has ended.
    #[must_use]
    pub fn ended(self) -> bool {
        match self {
            Self::New | Self::Running | Self::Stopping => false,
            Self::Stopped | Self::Waiting | Self::Done | Self::Error | Self::Aborted => true,
        }
    }

    /// The name shown to users.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Waiting => "WAITING",
            Self::Done => "DONE",
            Self::Error => "ERROR",
            Self::Aborted => "ABORTED",
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kinds of worker.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum WorkerKind {
    /// Takes and lists snapshots.
    Snapshot,
    /// Moves files to the bucket.
    Upload,
    /// Moves files from the bucket.
    Restore,
}

impl WorkerKind {
    /// The name in keys and subjects.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Upload => "upload",
            Self::Restore => "restore",
        }
    }
}

/// A worker that is alive. Bucket `leases`, key `worker.<kind>.<node>.<instance>`, renewed while
/// it lives and gone soon after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Presence {
    /// The node it works for.
    pub node: NodeId,
    /// What it does.
    pub worker: WorkerKind,
    /// Distinguishes workers of one kind and node.
    pub instance: String,
    /// The node's address.
    pub address: String,
    /// The node's datacenter.
    pub dc: String,
    /// The node's rack.
    pub rack: String,
    /// The name the node's cluster has for itself.
    pub cluster_name: String,
    /// The worker's own version.
    pub version: String,
    /// When it last said so, in milliseconds since 1970 as its clock has it.
    #[serde(default)]
    pub said_ms: u64,
    /// What the node can upload and restore by itself; uploaders and restore-workers say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<NativeUpload>,
    /// The version of the rclone that it can have files stored by; only an uploader says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rclone: Option<String>,
}

/// What shall become of a run. Bucket `control`, key `<run>`, watched by every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Leave off at once; nothing more of this run is to be done.
    Stop,
    /// The same, since the task's window has closed: the run goes on when one opens.
    Wait,
}

/// Work in hand that no event tells of yet. Bucket `progress`, key `<run>.<node>.<instance>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Bytes of unfinished chunks or batches moved so far.
    pub bytes: u64,
    /// The run's identity again, so that a listing needs no key parsing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The node that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// How fast it may go, in bytes per second; without a limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u64>,
    /// Why, for people; empty without a limit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub limited_by: String,
}
