//! The bodies of requests and answers, as ScyllaDB Manager's clients know them.
//!
//! Additions of ours are extra fields, which those clients skip.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// Which version answers.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The version of the scheduler.
    pub version: String,
}

/// What a cluster is registered with.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ClusterUpdate {
    /// The identity to give it; a new one when absent. Naming the old one gives a cluster that is
    /// registered again access to its old backups.
    #[serde(default)]
    pub id: Option<String>,
    /// Its name; the host when absent.
    #[serde(default)]
    pub name: String,
    /// The address of one of its nodes, or the name the cluster has for itself.
    #[serde(default)]
    pub host: String,
    /// Everything else: credentials and ports of ScyllaDB Manager's agents, which Thetis has not.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub other: Map<String, Value>,
}

/// A registered cluster.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClusterBody {
    /// Its identity.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The address it was registered by.
    pub host: String,
    /// Labels; none in this version.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its nodes when last looked at.
    #[serde(default)]
    pub nodes: Vec<NodeBody>,
}

/// A node of a registered cluster.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeBody {
    /// Its host id.
    pub host_id: String,
    /// Its address.
    pub host: String,
    /// Its datacenter.
    pub dc: String,
    /// Its rack.
    pub rack: String,
}

/// How a node is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Its datacenter.
    pub dc: String,
    /// Its rack.
    pub rack: String,
    /// Its address.
    pub host: String,
    /// Its host id.
    pub host_id: String,
    /// `UN` when the cluster sees it up and in normal operation, `DN` when not, empty when no node
    /// could be asked.
    pub status: String,
    /// `UP` when a worker beside it answers, else `DOWN`.
    pub rest_status: String,
    /// The version of its workers.
    pub agent_version: String,
    /// The workers beside it.
    pub workers: Vec<WorkerBody>,
}

/// A worker that is alive.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkerBody {
    /// `snapshot`, `upload` or `restore`.
    pub kind: String,
    /// Tells it from others of its kind beside the same node.
    pub instance: String,
    /// Its version.
    pub version: String,
}

/// When a task runs by itself. One without cron, interval and start runs at once, one with an
/// interval and no start at once as well, and then as often as it says.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Schedule {
    /// A cron expression of five fields, `@daily` and the like, or `@every 6h`.
    pub cron: String,
    /// When it may run: not there yet.
    pub window: Vec<String>,
    /// The time zone of the two above; UTC when empty.
    pub timezone: String,
    /// Not before this (RFC 3339).
    pub start_date: Option<String>,
    /// How often it runs, as `7d`: the older form of `@every`.
    pub interval: String,
    /// How often a failed run is tried again.
    pub num_retries: i64,
    /// How long to wait before the first time, as `10m`; doubled each time, up to 3 hours.
    pub retry_wait: String,
}

/// What a task is made from.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskUpdate {
    /// `backup`, `restore` or `validate_backup`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Its name; may be empty.
    #[serde(default)]
    pub name: String,
    /// Labels: none in this version.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Tags: none in this version.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether it may run. A new task that may runs at once.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// When it runs by itself.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// What it does: `location`, `keyspace`, `dc`, `snapshot_tag`, ...
    #[serde(default)]
    #[schema(value_type = Object)]
    pub properties: Map<String, Value>,
}

fn yes() -> bool {
    true
}

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskBody {
    /// Its cluster.
    pub cluster_id: String,
    /// `backup`, `restore` or `validate_backup`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its identity.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether it may run.
    pub enabled: bool,
    /// When it runs.
    pub schedule: Schedule,
    /// What it does.
    #[schema(value_type = Object)]
    pub properties: Map<String, Value>,
}

/// A task as it has just been made, or started.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskStarted {
    /// The task.
    #[serde(flatten)]
    pub task: TaskBody,
    /// The run that was begun; `None` when the task may not run.
    pub run_id: Option<String>,
}

/// A task as it has just been stopped.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskStopped {
    /// The run that is stopping; `None` when none was under way.
    pub run_id: Option<String>,
}

/// A task in a list, with how it went so far.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskListItem {
    /// The task.
    #[serde(flatten)]
    pub task: TaskBody,
    /// The status of its latest run; `NEW` when it has none.
    pub status: String,
    /// Runs that ended well.
    pub success_count: u64,
    /// Runs that did not.
    pub error_count: u64,
    /// When the last one ended well.
    pub last_success: Option<String>,
    /// When the last one did not.
    pub last_error: Option<String>,
    /// Whether its cluster is suspended.
    pub suspended: bool,
    /// When it runs next.
    pub next_activation: Option<String>,
    /// How often the latest run was tried again.
    pub retry: u32,
    /// Its latest run.
    pub run_id: Option<String>,
    /// Why that ended as it did.
    pub cause: String,
}

/// The tasks of a cluster.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct TaskFilter {
    /// Also those that may not run.
    pub all: bool,
    /// Only this type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Only those whose latest run has this status.
    pub status: String,
    /// Only this one.
    pub task_id: String,
    /// Accepted for the sake of ScyllaDB Manager's clients; changes nothing.
    pub short: bool,
}

/// How a task is started.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct StartQuery {
    /// Goes on from where the last run was stopped or failed; begins anew when false.
    #[serde(rename = "continue")]
    pub resume: bool,
}

impl Default for StartQuery {
    fn default() -> Self {
        Self { resume: true }
    }
}

/// How a task is stopped.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct StopQuery {
    /// Also forbids it to run again.
    pub disable: bool,
}

/// How far back to look.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// Runs at most; 10 when absent.
    pub limit: Option<usize>,
}

/// A run of a task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskRun {
    /// Its cluster.
    pub cluster_id: String,
    /// `backup`, `restore` or `validate_backup`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its task.
    pub task_id: String,
    /// Its identity.
    pub id: String,
    /// `NEW`, `RUNNING`, `STOPPING`, `STOPPED`, `DONE`, `ERROR` or `ABORTED`.
    pub status: String,
    /// Why it ended as it did; empty when there is nothing to say.
    pub cause: String,
    /// When it began.
    pub start_time: Option<String>,
    /// When it ended.
    pub end_time: Option<String>,
}

/// A run of a task, and how far it is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskRunProgress<P> {
    /// The run.
    pub run: TaskRun,
    /// How far it is; `null` before it began.
    pub progress: Option<P>,
}

/// How far a backup is. All sizes in bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct BackupProgress {
    /// The backup's tag.
    pub snapshot_tag: String,
    /// The datacenters taken.
    pub dcs: Vec<String>,
    /// What it is doing: `INIT`, `SNAPSHOT`, `INDEX`, `UPLOAD`, `SEAL`, `DROP_SNAPSHOT`, `PURGE`, `DONE`.
    pub stage: String,
    /// Bytes in the backup.
    pub size: u64,
    /// Of these, uploaded by this backup.
    pub uploaded: u64,
    /// Of these, found in the bucket.
    pub skipped: u64,
    /// Of these, failed.
    pub failed: u64,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub completed_at: Option<String>,
    /// Its nodes.
    pub hosts: Vec<HostProgress>,
    /// What is in the backup, all nodes together.
    pub keyspaces: Vec<KeyspaceProgress>,
    /// Files in the backup.
    pub files: u64,
    /// Chunks known of, and of these, uploaded.
    pub parts: u64,
    /// See `parts`.
    pub parts_done: u64,
    /// What was removed of older backups; missing before that is known.
    pub removed: Option<Removed>,
}

/// What a deletion of backups, or of snapshots on nodes, has deleted, or would.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Deletion {
    /// The run that deletes; empty if nothing is to be deleted in fact.
    pub run_id: String,
    /// How it stands; empty if nothing is to be deleted in fact.
    pub status: String,
    /// The backups.
    pub snapshot_tags: Vec<String>,
    /// Snapshots deleted from nodes.
    pub snapshots: u64,
    /// Objects that go with the backups.
    pub objects: u64,
    /// Their bytes, as far as they are known: manifests of ScyllaDB Manager tell none.
    pub bytes: u64,
    /// What could not be looked at.
    pub obstacles: Vec<String>,
}

/// A validation and what it has found.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ValidateRun {
    /// The run.
    pub run: TaskRun,
    /// Each node in each place; empty before the end.
    pub progress: Vec<ValidateProgress>,
    /// What is wrong, for people; the first of it, if there is much.
    pub faults: Vec<String>,
    /// Why orphans could not be told, or not be deleted.
    pub obstacles: Vec<String>,
}

/// What a validation has found of a node in one place. All sizes in bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ValidateProgress {
    /// The datacenter.
    pub dc: String,
    /// The node's address, as its newest manifest has it.
    pub host: String,
    /// Its host id.
    pub host_id: String,
    /// The place, as `<provider>:<bucket>`.
    pub location: String,
    /// Manifests looked at.
    pub manifests: u64,
    /// Files listed.
    pub scanned_files: u64,
    /// Backups that are broken; the newest, if there are many.
    pub broken_snapshots: Vec<String>,
    /// Files that backups list and the bucket has not.
    pub missing_files: u64,
    /// Files of another size or content than they should have, or that cannot be read.
    pub wrong_files: u64,
    /// Files that no backup needs, and their bytes.
    pub orphaned_files: u64,
    /// See `orphaned_files`.
    pub orphaned_bytes: u64,
    /// Of these, deleted.
    pub deleted_files: u64,
    /// Files whose content can be compared, and their bytes.
    pub checkable_files: u64,
    /// See `checkable_files`.
    pub checkable_bytes: u64,
    /// Files whose content was compared, and their bytes.
    pub checked_files: u64,
    /// See `checked_files`.
    pub checked_bytes: u64,
    /// When the validation began.
    pub started_at: Option<String>,
    /// When it ended.
    pub completed_at: Option<String>,
}

/// A pinned backup.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct PinBody {
    /// Its tag.
    pub snapshot_tag: String,
    /// Why it is pinned.
    pub reason: String,
    /// Since when.
    pub since: Option<String>,
}

/// What to say of a pin.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PinUpdate {
    /// Why the backup is pinned.
    pub reason: String,
}

/// What a purge has removed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// Backups of which nothing is left.
    pub backups: u64,
    /// Objects.
    pub objects: u64,
    /// Their bytes, as far as they are known: manifests of ScyllaDB Manager tell none.
    pub bytes: u64,
}

/// How far one node's part of a backup is. All sizes in bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct HostProgress {
    /// Its address.
    pub host: String,
    /// Its host id.
    pub host_id: String,
    /// Its datacenter.
    pub dc: String,
    /// What it is at, in a word.
    pub stage: String,
    /// Bytes of its part.
    pub size: u64,
    /// Of these, uploaded.
    pub uploaded: u64,
    /// Of these, found in the bucket.
    pub skipped: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Files of its part, and of these, found in the bucket.
    pub files: u64,
    /// See `files`.
    pub skipped_files: u64,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub completed_at: Option<String>,
    /// Always empty: sizes by table are told for all nodes together.
    pub keyspaces: Vec<KeyspaceProgress>,
}

/// A keyspace of a backup or a restore.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct KeyspaceProgress {
    /// Its name.
    pub keyspace: String,
    /// Bytes of it.
    pub size: u64,
    /// Its tables.
    pub tables: Vec<TableProgress>,
}

/// A table of a backup or a restore.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TableProgress {
    /// Its name.
    pub table: String,
    /// Bytes of it.
    pub size: u64,
}

/// How far a restore is. All sizes in bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RestoreProgress {
    /// The backup's tag.
    pub snapshot_tag: String,
    /// What it is doing: `INIT`, `PLAN`, `PREPARE`, `DATA`, `PUT_BACK`, `DONE`.
    pub stage: String,
    /// Bytes to restore.
    pub size: u64,
    /// Of these, in the cluster.
    pub restored: u64,
    /// Of these, at least downloaded.
    pub downloaded: u64,
    /// Of these, failed.
    pub failed: u64,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub completed_at: Option<String>,
    /// What is restored.
    pub keyspaces: Vec<KeyspaceProgress>,
    /// The nodes that take part.
    pub hosts: Vec<RestoreHost>,
    /// Views: none in this version.
    #[schema(value_type = Vec<Object>)]
    pub views: Vec<Value>,
    /// Files to restore.
    pub files: u64,
    /// Batches to load, and of these, loaded.
    pub parts: u64,
    /// See `parts`.
    pub parts_done: u64,
}

/// A node of a restore.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RestoreHost {
    /// Its address.
    pub host: String,
    /// Its host id.
    pub host_id: String,
    /// Bytes it brought into the cluster.
    pub restored_bytes: u64,
    /// Milliseconds it spent on that after the download.
    pub restore_duration: u64,
    /// Bytes it downloaded.
    pub downloaded_bytes: u64,
    /// Milliseconds it spent on that.
    pub download_duration: u64,
}

/// The backups of one task.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct BackupListItem {
    /// The cluster that was backed up.
    pub cluster_id: String,
    /// That cluster's name, as the newest backup has it.
    pub cluster_name: String,
    /// The task.
    pub task_id: String,
    /// What the backups hold.
    pub units: Vec<BackupUnit>,
    /// The backups, newest first.
    pub snapshot_info: Vec<SnapshotInfo>,
}

/// A keyspace in a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupUnit {
    /// Its name.
    pub keyspace: String,
    /// Its tables.
    pub tables: Vec<String>,
    /// Whether these are all it has; not known from a bucket alone.
    pub all_tables: bool,
}

/// A backup.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct SnapshotInfo {
    /// Its tag.
    pub snapshot_tag: String,
    /// The nodes in it.
    pub nodes: u64,
    /// Its bytes.
    pub size: u64,
    /// Where it lies.
    pub locations: Vec<String>,
    /// The datacenters whose nodes it holds.
    pub dcs: Vec<String>,
    /// Whether all nodes it knows of are finished and can be read.
    pub complete: bool,
}

/// What a backup holds of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupFilesInfo {
    /// The bucket.
    pub location: String,
    /// Key of the backup's schema; empty if there is none.
    pub schema: String,
    /// Its tables.
    pub files: Vec<BackupFiles>,
}

/// What a backup holds of a table on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupFiles {
    /// The keyspace.
    pub keyspace: String,
    /// The table.
    pub table: String,
    /// Which table of that name: its id without dashes.
    pub version: String,
    /// The directory's key, under which the files lie.
    pub path: String,
    /// Names of the objects.
    pub files: Vec<String>,
    /// Names of files that the backup lists and the bucket has not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Names of ScyllaDB's own manifests.
    pub scylla_manifests: Vec<String>,
    /// Bytes of the files.
    pub size: u64,
}

/// The schema of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupSchema {
    /// What makes it, in the order in which it can be made.
    pub schema: Vec<SchemaStatement>,
}

/// A part of a schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SchemaStatement {
    /// The keyspace; empty for what belongs to none, as a role.
    pub keyspace: String,
    /// What it makes: `keyspace`, `table`, `view`, `type`, `role`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What makes it: one or more statements of CQL.
    pub cql_stmt: String,
}

/// Milliseconds since 1970 as clients read times; `None` for 0.
pub(crate) fn time(ms: u64) -> Option<String> {
    let ms = i64::try_from(ms).ok().filter(|&ms| ms > 0)?;
    Some(jiff::Timestamp::from_millisecond(ms).ok()?.to_string())
}
