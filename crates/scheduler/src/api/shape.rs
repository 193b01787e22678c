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

/// What a cluster is registered with, or changed to. What is absent stays as it is; credentials that
/// are `set` do, too.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ClusterUpdate {
    /// The identity to give it; a new one when absent. Naming the old one gives a cluster that is
    /// registered again access to its old backups.
    pub id: Option<String>,
    /// Its name; the host when absent.
    pub name: Option<String>,
    /// The address of one of its nodes, or the name the cluster has for itself.
    pub host: Option<String>,
    /// What its users note about it.
    pub labels: Option<BTreeMap<String, String>>,
    /// The user and password for CQL.
    pub username: Option<String>,
    /// See `username`.
    pub password: Option<String>,
    /// The key for Alternator.
    pub alternator_access_key_id: Option<String>,
    /// See `alternator_access_key_id`.
    pub alternator_secret_access_key: Option<String>,
    /// The client's certificate for CQL and its key: PEM, in base 64.
    pub ssl_user_cert_file: Option<String>,
    /// See `ssl_user_cert_file`.
    pub ssl_user_key_file: Option<String>,
    /// The port of ScyllaDB Manager's agents: taken and not used, as Thetis has none.
    pub port: Option<i64>,
    /// The token of ScyllaDB Manager's agents: taken and not kept.
    pub auth_token: Option<String>,
    /// Taken and not used: Thetis does not repair.
    pub without_repair: Option<bool>,
    /// Whether CQL is spoken without TLS even if the node offers it.
    pub force_tls_disabled: Option<bool>,
    /// Whether CQL is spoken to the port without TLS even if the node offers one with it.
    pub force_non_ssl_session_port: Option<bool>,
    /// What no version knows.
    #[serde(flatten)]
    #[schema(ignore)]
    pub other: Map<String, Value>,
}

/// A registered cluster. Credentials that are kept are shown as `set`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ClusterBody {
    /// Its identity.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The address it was registered by.
    pub host: String,
    /// What its users note about it.
    pub labels: BTreeMap<String, String>,
    /// Its nodes when last looked at.
    pub nodes: Vec<NodeBody>,
    /// Since when it is suspended; absent if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended_since: Option<String>,
    /// `set` if a user for CQL is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// `set` if a password for CQL is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// `set` if a key for Alternator is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternator_access_key_id: Option<String>,
    /// See `alternator_access_key_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternator_secret_access_key: Option<String>,
    /// `set`, in base 64, if a client's certificate is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl_user_cert_file: Option<String>,
    /// See `ssl_user_cert_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl_user_key_file: Option<String>,
}

/// Which credentials to forget. With none of these the cluster itself is forgotten.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ClusterDeletion {
    /// Forgets the user and password for CQL.
    pub cql_creds: bool,
    /// Forgets the key for Alternator.
    pub alternator_creds: bool,
    /// Forgets the client's certificate.
    pub ssl_user_cert: bool,
}

/// How a cluster is suspended, or the suspension ended.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct SuspendQuery {
    /// At the end: starts tasks that were stopped for it.
    pub start_tasks: bool,
    /// At the end: makes up for activations that were due meanwhile.
    pub start_tasks_missed_activation: bool,
    /// Tasks that are started at the end begin anew.
    pub no_continue: bool,
    /// This type of task may run all the same.
    pub allow_task_type: String,
    /// `stop_running_tasks`, or `fail_if_running_tasks`, which answers 409 while something runs.
    pub suspend_policy: String,
}

/// How a cluster is suspended.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct SuspendDetails {
    /// Whether it is.
    pub suspended: bool,
    /// The type of task that may run all the same; empty if there is none.
    pub allow_task_type: String,
    /// Since when.
    pub since: Option<String>,
    /// Until when, if it ends by itself.
    pub until: Option<String>,
}

/// How fast a cluster's work may go for now: bytes that each node may read from its disk, or write to
/// it, in MiB per second; 0 is for no limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Throttle {
    /// Of every node; as tasks say when absent.
    pub rate: Option<u32>,
    /// Of the work of some tasks.
    pub tasks: Vec<TaskThrottle>,
    /// Of some nodes.
    pub nodes: Vec<NodeThrottle>,
}

/// How fast the work of a task may go.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TaskThrottle {
    /// The task.
    pub task_id: String,
    /// In MiB per second.
    pub rate: u32,
}

/// How fast work may go on a node.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NodeThrottle {
    /// The node.
    pub host_id: String,
    /// Its address; empty if it has left the cluster.
    pub address: String,
    /// In MiB per second.
    pub rate: u32,
}

/// What to say of how fast work may go: of the cluster, or of a task or a node in it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ThrottleUpdate {
    /// In MiB per second; 0 is for no limit, and absent takes back what was said.
    #[serde(default)]
    pub rate: Option<u32>,
    /// `<type>/<id or name>`.
    #[serde(default)]
    pub task: Option<String>,
    /// Address or host id.
    #[serde(default)]
    pub node: Option<String>,
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
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
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
    /// Whether CQL is spoken within TLS.
    pub ssl: bool,
    /// How CQL answers the worker beside it: `UP`, `DOWN`, `TIMEOUT`, or empty when no worker could be asked.
    pub cql_status: String,
    /// Milliseconds that took.
    pub cql_rtt_ms: f64,
    /// What went wrong.
    pub cql_cause: String,
    /// How the REST API answers the worker beside it, as for `cql_status`; `DOWN` if there is no worker.
    pub rest_status: String,
    /// Milliseconds that took.
    pub rest_rtt_ms: f64,
    /// What went wrong, or what to do.
    pub rest_cause: String,
    /// Bytes of memory of its machine.
    pub total_ram: u64,
    /// Seconds since ScyllaDB was started.
    pub uptime: u64,
    /// CPUs of its machine.
    pub cpu_count: u32,
    /// ScyllaDB's version.
    pub scylla_version: String,
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
    /// Milliseconds since it last said that it lives, as far as its clock and the scheduler's agree.
    /// It says so every 2 s, and is not listed any more after 7 s.
    #[serde(default)]
    pub heartbeat_age_ms: u64,
}

/// When a task runs by itself. One without cron, interval and start runs at once, one with an
/// interval and no start at once as well, and then as often as it says.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Schedule {
    /// A cron expression of five fields, `@daily` and the like, or `@every 6h`.
    pub cron: String,
    /// When it may run: begins and ends of windows in turn, as `23:00`, `06:00` for each night or `SAT-00:00`,
    /// `MON-06:00` for a weekend. What does not fit in is stopped at the end (`WAITING`) and goes on in the
    /// next.
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
    /// `backup`, `restore`, `validate_backup` or `suspend`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Its name; may be empty.
    #[serde(default)]
    pub name: String,
    /// What its users note about it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The older form of labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether it may run; it may not when this is absent, as with ScyllaDB Manager. A new task that may
    /// runs at once, unless its schedule says when.
    #[serde(default)]
    pub enabled: bool,
    /// When it runs by itself.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// What it does: `location`, `keyspace`, `dc`, `snapshot_tag`, ...
    #[serde(default)]
    #[schema(value_type = Object)]
    pub properties: Map<String, Value>,
}

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskBody {
    /// Its cluster.
    pub cluster_id: String,
    /// `backup`, `restore`, `validate_backup` or `suspend`.
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
    /// `backup`, `restore`, `validate_backup` or `suspend`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its task.
    pub task_id: String,
    /// Its identity.
    pub id: String,
    /// `NEW`, `RUNNING`, `STOPPING`, `STOPPED`, `WAITING`, `DONE`, `ERROR` or `ABORTED`.
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
    /// The place, as `<provider>:<bucket>[/<prefix>]`.
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

/// A token to make.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is called, in notes on who changed what: letters, digits, `-` and `_`.
    pub name: String,
    /// What who shows it may do: `viewer`, `operator` or `admin`.
    pub role: String,
    /// How long it holds, as `90d`, or `never`; 90 days when absent.
    #[serde(default)]
    pub expires_in: Option<String>,
}

/// A token that was made just now.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// When it ends; never when absent.
    pub expires_at: Option<String>,
    /// What to show. It cannot be seen again.
    pub token: String,
}

/// A token, without what has to be shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TokenBody {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// When it was made.
    pub created_at: Option<String>,
    /// Who had it made.
    pub created_by: String,
    /// When it ends; never when absent.
    pub expires_at: Option<String>,
    /// Whether that is over.
    pub expired: bool,
}

/// How credentials stand to the key of now.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Rotated {
    /// How many were encrypted anew.
    pub rotated: u64,
    /// How many had it already.
    pub current: u64,
    /// Those that no key opens, as `<cluster>/<name>`: give them again.
    pub unreadable: Vec<String>,
}

/// Which notes on changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only those of a cluster, by id or name.
    pub cluster: Option<String>,
    /// How far back, as `24h`, or from when on; 7 days when absent. They are kept for a year.
    pub since: Option<String>,
    /// The last so many; 100 when absent.
    pub limit: Option<usize>,
}

/// A note on a change.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AuditBody {
    /// When.
    pub at: Option<String>,
    /// Who: the name of a token or a certificate, or a run that removed backups.
    pub who: String,
    /// The role; empty of a run.
    pub role: String,
    /// `http` or `nats`; empty of a run.
    pub over: String,
    /// What was asked: method and path; or what was done.
    pub action: String,
    /// The status answered, 2xx if it was done; 0 of a run.
    pub status: u16,
    /// What it has made, or removed.
    pub target: String,
    /// SHA-256 of what was asked, or of the list of what was removed: see the documentation of messages.
    pub hash: String,
    /// How many strangers' requests before this one are not noted.
    pub unnoted: u64,
}

/// All there is to know of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct BundleBody {
    /// When this was gathered.
    pub made_at: Option<String>,
    /// The version of the scheduler.
    pub version: String,
    /// How the scheduler is configured; secrets are `***`.
    pub config: String,
    /// The cluster.
    pub cluster: Value,
    /// The task.
    pub task: Value,
    /// The run as the scheduler keeps it, with its plan.
    pub run: Value,
    /// How far it is.
    pub progress: Value,
    /// What happened, as far as it is kept, oldest first.
    pub events: Vec<Value>,
    /// Who changed what of the cluster since the run was asked for.
    pub audit: Vec<AuditBody>,
    /// The cluster's workers that live.
    pub workers: Vec<Value>,
    /// What waits in the queue, by who takes it.
    pub queue: BTreeMap<String, Value>,
    /// What was logged of the run, by each process that answers.
    pub logs: Vec<LogsBody>,
}

/// What a process has logged of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct LogsBody {
    /// A node's host id, or `scheduler`.
    pub who: String,
    /// The process.
    pub process: String,
    /// Its version.
    pub version: String,
    /// Lines, each a JSON object, oldest first.
    pub lines: Vec<String>,
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
    /// What it may read from its disk now, in bytes per second; absent without a limit.
    pub rate_limit: Option<u64>,
    /// Who set that limit, and why; empty without one.
    pub limited_by: String,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub completed_at: Option<String>,
    /// What is on it; empty where nodes have very many tables.
    pub keyspaces: Vec<KeyspaceProgress>,
}

/// A keyspace of a backup or a restore. All sizes in bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct KeyspaceProgress {
    /// Its name.
    pub keyspace: String,
    /// Its bytes.
    pub size: u64,
    /// Of these, uploaded by this backup.
    pub uploaded: u64,
    /// Of these, found in the bucket.
    pub skipped: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Of these, in the cluster.
    pub restored: u64,
    /// Of these, at least downloaded.
    pub downloaded: u64,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub completed_at: Option<String>,
    /// Its tables.
    pub tables: Vec<TableProgress>,
}

/// A table of a backup or a restore. All sizes in bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TableProgress {
    /// Its name.
    pub table: String,
    /// What went wrong with it.
    pub error: String,
    /// Its bytes.
    pub size: u64,
    /// Of these, uploaded by this backup: of whole chunks.
    pub uploaded: u64,
    /// Of these, found in the bucket.
    pub skipped: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Of these, in the cluster: of whole batches.
    pub restored: u64,
    /// Of these, at least downloaded.
    pub downloaded: u64,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub completed_at: Option<String>,
    /// Who brought its files to the bucket, and why, of a backup by `native`, `auto` or `rclone`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<TableMethod>,
}

/// Who brought files of a table to the bucket.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TableMethod {
    /// `native` is ScyllaDB itself, `tablets` its cluster as a whole, `agent` Thetis' own engine, `rclone` an
    /// rclone beside the node.
    pub method: String,
    /// Why.
    pub reason: String,
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
    /// Bytes it had the cluster take in.
    pub streamed_bytes: u64,
    /// Milliseconds that took.
    pub stream_duration: u64,
}

/// What a backup task would do.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct BackupTarget {
    /// The cluster.
    pub cluster_id: String,
    /// The datacenters taken.
    pub dc: Vec<String>,
    /// Where to.
    pub location: Vec<String>,
    /// What is taken.
    pub units: Vec<BackupUnit>,
    /// Bytes that takes on all nodes.
    pub size: u64,
    /// How many backups are kept; all if this and the others are 0.
    pub retention: u32,
    /// For how many days.
    pub retention_days: u32,
    /// How files get there.
    pub method: String,
    /// Limits of bandwidth: none in this version.
    pub rate_limit: Vec<String>,
    /// Nodes at once: all in this version.
    pub snapshot_parallel: Vec<String>,
    /// Nodes at once: all in this version.
    pub upload_parallel: Vec<String>,
    /// Each node of these datacenters.
    pub hosts: Vec<TargetHost>,
    /// Token ranges that no node could be asked for; the backup would fail.
    pub uncovered: Vec<String>,
    /// What it would take.
    pub estimate: Estimate,
    /// What else is worth knowing of how files get there.
    pub notes: Vec<String>,
}

/// A node that a task would work on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TargetHost {
    /// Its address.
    pub host: String,
    /// Its host id.
    pub host_id: String,
    /// Its datacenter.
    pub dc: String,
    /// Whether it is up.
    pub up: bool,
    /// Bytes of what is taken; absent if its worker did not say.
    pub size: Option<u64>,
}

/// What a run would take, as far as earlier ones tell.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Estimate {
    /// Bytes to move.
    pub bytes: u64,
    /// Seconds; absent if no run of the cluster tells how fast it is.
    pub seconds: Option<u64>,
    /// Objects to write or read; absent as `seconds`.
    pub objects: Option<u64>,
    /// What writing those costs, at `scheduler.price_1000_puts`.
    pub cost_requests: Option<f64>,
    /// What keeping the bytes costs a month, at `scheduler.price_gib_month`.
    pub cost_month: Option<f64>,
    /// What this was reckoned from, for people.
    pub basis: String,
}

/// What a restore task would do.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RestoreTarget {
    /// The cluster to restore into.
    pub cluster_id: String,
    /// Where from.
    pub location: Vec<String>,
    /// The backup.
    pub snapshot_tag: String,
    /// What is restored.
    pub units: Vec<RestoreUnit>,
    /// Its bytes, of all replicas in the backup.
    pub size: u64,
    /// As ScyllaDB Manager names them; see `view_count`.
    #[schema(value_type = Vec<Object>)]
    pub views: Vec<Value>,
    /// SSTables a batch, by shard: chosen by size in this version.
    pub batch_size: u32,
    /// Nodes at once: all.
    pub parallel: u32,
    /// Files of one batch at once.
    pub transfers: u32,
    /// Limits of bandwidth: none in this version.
    pub rate_limit: Vec<String>,
    /// Whether tables are compacted meanwhile.
    pub allow_compaction: bool,
    /// As with ScyllaDB Manager's agents: never.
    pub unpin_agent_cpu: bool,
    /// Tables of the backup that the cluster lacks; the restore would fail.
    pub missing: Vec<String>,
    /// What else is in the way; the restore would fail.
    pub objections: Vec<String>,
    /// Keyspaces, types, functions and tables that would be made.
    pub created: u32,
    /// Views and indexes that would be made, or made again.
    pub view_count: u32,
    /// What a person should know.
    pub remarks: Vec<String>,
    /// What each node's disk would have to take in.
    pub rooms: Vec<TargetRoom>,
    /// What it would take.
    pub estimate: Estimate,
}

/// What a node's disk would have to take in.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TargetRoom {
    /// The node's host id.
    pub host_id: String,
    /// Bytes that come, before they are compacted.
    pub needed: u64,
    /// Bytes that are free for them.
    pub free: u64,
}

/// A keyspace that would be restored.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RestoreUnit {
    /// Its name.
    pub keyspace: String,
    /// Its bytes.
    pub size: u64,
    /// Its tables.
    pub tables: Vec<RestoreTable>,
}

/// A table that would be restored.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RestoreTable {
    /// Its name.
    pub table: String,
    /// Its bytes.
    pub size: u64,
    /// How its deleted rows are dropped: not known in this version.
    pub tombstone_gc: String,
    /// Who would bring it, where that is a question.
    pub methods: Vec<TableMethod>,
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
    /// When it was last proven to be restorable, however deep (RFC 3339); empty if never.
    pub last_proven_restorable_timestamp: String,
    /// The same, by depth.
    pub proven: SnapshotProofs,
}

/// When a backup was last proven to be restorable (RFC 3339); empty if never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SnapshotProofs {
    /// Each object was seen, with its size.
    pub present: String,
    /// Each byte was read, and its checksum compared.
    pub content: String,
    /// It was restored, and all rows were read.
    pub drill: String,
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
