//! What the API answers, as far as tables show it. Fields that are missing are empty, so that other
//! versions' answers can be read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// `GET /version`.
#[derive(Debug, Deserialize)]
pub(crate) struct Version {
    pub(crate) version: String,
}

/// `POST /tokens`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MadeToken {
    pub(crate) expires_at: Option<String>,
    pub(crate) token: String,
}

/// `GET /tokens`, an item.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Token {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) created_at: Option<String>,
    pub(crate) created_by: String,
    pub(crate) expires_at: Option<String>,
    pub(crate) expired: bool,
}

/// `POST /secrets/rotation`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rotated {
    pub(crate) rotated: u64,
    pub(crate) current: u64,
    pub(crate) unreadable: Vec<String>,
}

/// `GET /audit`, an item.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Audit {
    pub(crate) at: Option<String>,
    pub(crate) who: String,
    pub(crate) role: String,
    pub(crate) over: String,
    pub(crate) action: String,
    pub(crate) status: u16,
    pub(crate) target: String,
    pub(crate) hash: String,
    pub(crate) unnoted: u64,
}

/// `GET .../{run}/bundle`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Bundle {
    pub(crate) version: String,
    pub(crate) config: String,
    pub(crate) cluster: Value,
    pub(crate) task: Value,
    pub(crate) run: Value,
    pub(crate) progress: Value,
    pub(crate) events: Vec<Value>,
    pub(crate) audit: Vec<Value>,
    pub(crate) workers: Value,
    pub(crate) queue: Value,
    pub(crate) logs: Vec<Logs>,
}

/// What a process has logged of a run.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Logs {
    pub(crate) who: String,
    pub(crate) process: String,
    pub(crate) version: String,
    pub(crate) lines: Vec<String>,
}

/// `GET /clusters`, an item.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cluster {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) nodes: Vec<ClusterNode>,
}

/// A node of a registered cluster.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClusterNode {
    pub(crate) dc: String,
}

/// `GET /cluster/{id}/status`, an item.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeStatus {
    pub(crate) dc: String,
    pub(crate) rack: String,
    pub(crate) host: String,
    pub(crate) host_id: String,
    pub(crate) status: String,
    pub(crate) ssl: bool,
    pub(crate) cql_status: String,
    pub(crate) cql_rtt_ms: f64,
    pub(crate) cql_cause: String,
    pub(crate) rest_status: String,
    pub(crate) rest_rtt_ms: f64,
    pub(crate) rest_cause: String,
    pub(crate) total_ram: u64,
    pub(crate) uptime: u64,
    pub(crate) cpu_count: u32,
    pub(crate) scylla_version: String,
    pub(crate) agent_version: String,
    pub(crate) workers: Vec<Worker>,
}

/// A worker that is alive.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Worker {
    pub(crate) kind: String,
    pub(crate) heartbeat_age_ms: u64,
}

/// `GET /cluster/{id}/tasks`, an item; and what making or starting a task answers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Task {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) success_count: u64,
    pub(crate) error_count: u64,
    pub(crate) last_success: Option<String>,
    pub(crate) last_error: Option<String>,
    pub(crate) next_activation: Option<String>,
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    pub(crate) suspended: bool,
    pub(crate) schedule: Schedule,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) properties: Map<String, Value>,
    pub(crate) run_id: Option<String>,
    pub(crate) cause: Option<String>,
}

impl Task {
    /// `<type>/<id>`: how a task is named on the command line.
    pub(crate) fn label(&self) -> String {
        format!("{}/{}", self.kind, self.id)
    }

    /// `<type>/<name>`, if it has a name: how people know it. It names the task just as well.
    pub(crate) fn title(&self) -> String {
        if self.name.is_empty() {
            return self.label();
        }
        format!("{}/{}", self.kind, self.name)
    }

    /// Whether its latest run is under way.
    pub(crate) fn active(&self) -> bool {
        !self.status.is_empty()
            && (self.status == "NEW" && self.run_id.is_some() || under_way(&self.status))
    }
}

fn yes() -> bool {
    true
}

/// When a task runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Schedule {
    pub(crate) cron: String,
    pub(crate) interval: String,
    pub(crate) timezone: String,
    pub(crate) window: Vec<String>,
    pub(crate) start_date: Option<String>,
    pub(crate) num_retries: u64,
    pub(crate) retry_wait: String,
}

impl Schedule {
    /// In a few words.
    pub(crate) fn text(&self) -> String {
        let mut words = vec![self.cron.clone()];
        if !self.interval.is_empty() {
            words.push(format!("@every {}", self.interval));
        }
        if !self.cron.is_empty() && !matches!(self.timezone.as_str(), "" | "UTC") {
            words.push(self.timezone.clone());
        }
        if !self.window.is_empty() {
            words.push(format!("[{}]", self.window.join(",")));
        }
        words.retain(|word| !word.is_empty());
        words.join(" ")
    }
}

/// A task and its runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TaskInfo {
    pub(crate) task: Task,
    pub(crate) runs: Vec<Run>,
}

/// `GET /cluster/{id}/tasks/backup/target`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BackupTarget {
    pub(crate) dc: Vec<String>,
    pub(crate) location: Vec<String>,
    pub(crate) units: Vec<BackupUnit>,
    pub(crate) size: u64,
    pub(crate) method: String,
    pub(crate) retention: u64,
    pub(crate) retention_days: u64,
    pub(crate) hosts: Vec<TargetHost>,
    pub(crate) uncovered: Vec<String>,
    pub(crate) estimate: Estimate,
    pub(crate) notes: Vec<String>,
}

/// A keyspace to back up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BackupUnit {
    pub(crate) keyspace: String,
    pub(crate) tables: Vec<String>,
    pub(crate) all_tables: bool,
}

/// A node to back up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TargetHost {
    pub(crate) host: String,
    pub(crate) up: bool,
    pub(crate) size: Option<u64>,
}

/// What a run would take.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Estimate {
    pub(crate) seconds: Option<u64>,
    pub(crate) objects: Option<u64>,
    pub(crate) cost_requests: Option<f64>,
    pub(crate) cost_month: Option<f64>,
    pub(crate) basis: String,
}

/// `GET /cluster/{id}/tasks/restore/target`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RestoreTarget {
    pub(crate) location: Vec<String>,
    pub(crate) snapshot_tag: String,
    pub(crate) units: Vec<RestoreUnit>,
    pub(crate) size: u64,
    pub(crate) allow_compaction: bool,
    pub(crate) missing: Vec<String>,
    pub(crate) objections: Vec<String>,
    pub(crate) created: u32,
    pub(crate) view_count: u32,
    pub(crate) remarks: Vec<String>,
    pub(crate) rooms: Vec<TargetRoom>,
    pub(crate) estimate: Estimate,
}

/// What a node's disk would have to take in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TargetRoom {
    pub(crate) host_id: String,
    pub(crate) needed: u64,
    pub(crate) free: u64,
}

/// A keyspace to restore.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RestoreUnit {
    pub(crate) keyspace: String,
    pub(crate) size: u64,
    pub(crate) tables: Vec<RestoreTable>,
}

/// A table to restore.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RestoreTable {
    pub(crate) table: String,
    pub(crate) size: u64,
    pub(crate) methods: Vec<TableMethod>,
}

/// Whether a run of this status is under way. A new one is: the leader has not begun it yet.
fn under_way(status: &str) -> bool {
    matches!(status, "RUNNING" | "STOPPING" | "WAITING")
}

/// `PUT .../task/{type}/{id}/stop`.
#[derive(Debug, Deserialize)]
pub(crate) struct Stopped {
    /// The run that is stopped; `None` if none was under way.
    pub(crate) run_id: Option<String>,
}

/// `GET .../task/{type}/{id}/{run}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "AnyProgress")]
pub(crate) struct RunProgress {
    pub(crate) run: Run,
    /// Of a run that moves data.
    pub(crate) progress: Option<Progress>,
    /// What a validation has found, by node and place.
    pub(crate) checked: Vec<Checked>,
    /// What is wrong, and what could not be looked at or deleted.
    pub(crate) remarks: Vec<String>,
}

/// The same as it is answered: what `progress` is depends on the kind of run.
#[derive(Deserialize)]
struct AnyProgress {
    run: Run,
    #[serde(default)]
    progress: Option<Either>,
    #[serde(default)]
    faults: Vec<String>,
    #[serde(default)]
    obstacles: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Either {
    Checked(Vec<Checked>),
    Moved(Box<Progress>),
}

impl From<AnyProgress> for RunProgress {
    fn from(any: AnyProgress) -> Self {
        let (progress, checked) = match any.progress {
            None => (None, Vec::new()),
            Some(Either::Moved(progress)) => (Some(*progress), Vec::new()),
            Some(Either::Checked(checked)) => (None, checked),
        };
        Self {
            run: any.run,
            progress,
            checked,
            remarks: [any.faults, any.obstacles].concat(),
        }
    }
}

/// What a validation has found of a node in one place. Sizes in bytes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Checked {
    pub(crate) dc: String,
    pub(crate) host: String,
    pub(crate) host_id: String,
    pub(crate) location: String,
    pub(crate) manifests: u64,
    pub(crate) scanned_files: u64,
    pub(crate) broken_snapshots: Vec<String>,
    pub(crate) missing_files: u64,
    pub(crate) wrong_files: u64,
    pub(crate) orphaned_files: u64,
    pub(crate) orphaned_bytes: u64,
    pub(crate) deleted_files: u64,
    pub(crate) checkable_bytes: u64,
    pub(crate) checked_bytes: u64,
}

/// A run of a task.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Run {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) task_id: String,
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) cause: Option<String>,
    pub(crate) start_time: Option<String>,
    pub(crate) end_time: Option<String>,
}

impl Run {
    /// Whether it has ended.
    pub(crate) fn ended(&self) -> bool {
        !(self.status == "NEW" || under_way(&self.status))
    }
}

/// How far a run of either kind is; what a kind has not is zero. Sizes in bytes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    pub(crate) snapshot_tag: String,
    pub(crate) stage: String,
    pub(crate) dcs: Vec<String>,
    pub(crate) size: u64,
    pub(crate) uploaded: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    pub(crate) restored: u64,
    pub(crate) downloaded: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) keyspaces: Vec<Keyspace>,
    pub(crate) removed: Option<Removed>,
}

/// What a backup's purge has removed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Removed {
    pub(crate) backups: u64,
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

/// A node's part of a run. Sizes in bytes, durations in milliseconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Host {
    pub(crate) host: String,
    pub(crate) dc: String,
    pub(crate) stage: String,
    pub(crate) size: u64,
    pub(crate) uploaded: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    pub(crate) rate_limit: Option<u64>,
    pub(crate) limited_by: String,
    pub(crate) keyspaces: Vec<Keyspace>,
    pub(crate) restored_bytes: u64,
    pub(crate) restore_duration: u64,
    pub(crate) downloaded_bytes: u64,
    pub(crate) download_duration: u64,
}

/// A keyspace's part of a restore.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Keyspace {
    pub(crate) keyspace: String,
    pub(crate) size: u64,
    pub(crate) tables: Vec<Table>,
}

/// A table's part of a run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Table {
    pub(crate) table: String,
    pub(crate) size: u64,
    pub(crate) uploaded: u64,
    pub(crate) skipped: u64,
    pub(crate) restored: u64,
    pub(crate) methods: Vec<TableMethod>,
}

/// Who brought files of a table to the bucket.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TableMethod {
    pub(crate) method: String,
    pub(crate) reason: String,
}

/// `GET /cluster/{id}/backups`, an item.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Backup {
    pub(crate) cluster_id: String,
    pub(crate) task_id: String,
    pub(crate) units: Vec<Unit>,
    pub(crate) snapshot_info: Vec<Snapshot>,
}

/// A keyspace of a backup.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Unit {
    pub(crate) keyspace: String,
    pub(crate) tables: Vec<String>,
}

/// A backup.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Snapshot {
    pub(crate) snapshot_tag: String,
    pub(crate) nodes: u64,
    pub(crate) size: u64,
    pub(crate) locations: Vec<String>,
    /// Whether all its nodes are finished; older schedulers do not say.
    pub(crate) complete: Option<bool>,
    pub(crate) proven: Proofs,
}

/// When a backup was last proven to be restorable; empty if never.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Proofs {
    pub(crate) present: String,
    pub(crate) content: String,
    pub(crate) drill: String,
}

/// `GET /cluster/{id}/throttle`: how fast a cluster's work may go for now, in MiB per second; 0 is for no limit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Throttle {
    pub(crate) rate: Option<u32>,
    pub(crate) tasks: Vec<TaskThrottle>,
    pub(crate) nodes: Vec<NodeThrottle>,
}

/// The same of a task.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TaskThrottle {
    pub(crate) task_id: String,
    pub(crate) rate: u32,
}

/// The same of a node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeThrottle {
    pub(crate) host_id: String,
    pub(crate) address: String,
    pub(crate) rate: u32,
}
