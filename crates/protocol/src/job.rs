//! Jobs: messages that ask a worker for one piece of work.
//!
//! A job may arrive twice, late, or after its run has ended; each is therefore safe to do again,
//! and says so. What happened comes back as an [`Event`](crate::Event).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ClusterId, DcLimit, Location, NodeId, Pace, Retention, RunId, SnapshotTag, TableSize, TaskId,
    TaskKind,
};

/// Anything that may be asked of a service.
#[expect(
    clippy::large_enum_variant,
    reason = "a request is the largest and the rarest; each job is on its way to bytes"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Job {
    /// Asks the scheduler to begin a run. What users publish.
    Request(Request),
    /// Asks a snapshot-worker what the cluster looks like.
    Inspect(Inspect),
    /// Asks a snapshot-worker how its node is.
    Ping(Ping),
    /// Asks a snapshot-worker to switch the cluster's tablet balancing.
    SetBalancing(SetBalancing),
    /// Asks a snapshot-worker to take its node's snapshot.
    TakeSnapshot(TakeSnapshot),
    /// Asks a snapshot-worker to plan its node's upload.
    Index(Index),
    /// Asks a snapshot-worker to store the cluster's schema.
    StoreSchema(StoreSchema),
    /// Asks an uploader to store one chunk.
    Upload(Upload),
    /// Asks an uploader to publish its node's manifest.
    Seal(Seal),
    /// Asks a snapshot-worker to delete its node's snapshot.
    DropSnapshot(DropSnapshot),
    /// Asks an uploader to remove the backups of the cluster that need not be kept any more.
    Purge(Purge),
    /// Asks an uploader whether the cluster's backups are whole.
    Validate(Validate),
    /// Asks a snapshot-worker to delete all snapshots that backups have left on its node.
    ClearSnapshots(ClearSnapshots),
    /// Asks a restore-worker to plan a restore.
    PlanRestore(PlanRestore),
    /// Asks a restore-worker to make the cluster's schema ready for a restore.
    PrepareSchema(PrepareSchema),
    /// Asks a restore-worker to read all rows of a restore that is a drill.
    ProveRestore(ProveRestore),
    /// Asks a restore-worker to put the cluster's schema back after a restore.
    SettleSchema(SettleSchema),
    /// Asks a restore-worker to make its node ready to take in data.
    PrepareNode(PrepareNode),
    /// Asks any restore-worker of a datacenter to bring one batch into its node.
    LoadBatch(LoadBatch),
    /// Asks a restore-worker to put its node back as it was before the restore.
    PutBack(PutBack),
}

impl Job {
    /// Every kind.
    pub const KINDS: [&str; 20] = [
        "request",
        "inspect",
        "ping",
        "set_balancing",
        "take_snapshot",
        "index",
        "store_schema",
        "upload",
        "seal",
        "drop_snapshot",
        "purge",
        "validate",
        "clear_snapshots",
        "plan_restore",
        "prepare_schema",
        "prove_restore",
        "settle_schema",
        "prepare_node",
        "load_batch",
        "put_back",
    ];

    /// The kind, as it stands in the message and in its subject.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Inspect(_) => "inspect",
            Self::Ping(_) => "ping",
            Self::SetBalancing(_) => "set_balancing",
            Self::TakeSnapshot(_) => "take_snapshot",
            Self::Index(_) => "index",
            Self::StoreSchema(_) => "store_schema",
            Self::Upload(_) => "upload",
            Self::Seal(_) => "seal",
            Self::DropSnapshot(_) => "drop_snapshot",
            Self::Purge(_) => "purge",
            Self::Validate(_) => "validate",
            Self::ClearSnapshots(_) => "clear_snapshots",
            Self::PlanRestore(_) => "plan_restore",
            Self::PrepareSchema(_) => "prepare_schema",
            Self::ProveRestore(_) => "prove_restore",
            Self::SettleSchema(_) => "settle_schema",
            Self::PrepareNode(_) => "prepare_node",
            Self::LoadBatch(_) => "load_batch",
            Self::PutBack(_) => "put_back",
        }
    }

    /// Whether it switches off what has to be switched on again, of which only its answer tells.
    #[must_use]
    pub fn switches_off(&self) -> bool {
        match self {
            Self::SetBalancing(job) => !job.enabled,
            Self::PrepareNode(_) => true,
            Self::Request(_)
            | Self::Inspect(_)
            | Self::Ping(_)
            | Self::TakeSnapshot(_)
            | Self::Index(_)
            | Self::StoreSchema(_)
            | Self::Upload(_)
            | Self::Seal(_)
            | Self::DropSnapshot(_)
            | Self::Purge(_)
            | Self::Validate(_)
            | Self::ClearSnapshots(_)
            | Self::PlanRestore(_)
            | Self::PrepareSchema(_)
            | Self::ProveRestore(_)
            | Self::SettleSchema(_)
            | Self::LoadBatch(_)
            | Self::PutBack(_) => false,
        }
    }

    /// The cluster and the run this job belongs to.
    #[must_use]
    pub fn owner(&self) -> (ClusterId, RunId) {
        match self {
            Self::Request(job) => (job.cluster, job.run),
            Self::Inspect(job) => (job.cluster, job.run),
            Self::Ping(job) => (job.cluster, job.run),
            Self::SetBalancing(job) => (job.cluster, job.run),
            Self::TakeSnapshot(job) => (job.cluster, job.run),
            Self::Index(job) => (job.cluster, job.run),
            Self::StoreSchema(job) => (job.cluster, job.run),
            Self::Upload(job) => (job.cluster, job.run),
            Self::Seal(job) => (job.cluster, job.run),
            Self::DropSnapshot(job) => (job.cluster, job.run),
            Self::Purge(job) => (job.cluster, job.run),
            Self::Validate(job) => (job.cluster, job.run),
            Self::ClearSnapshots(job) => (job.cluster, job.run),
            Self::PlanRestore(job) => (job.cluster, job.run),
            Self::PrepareSchema(job) => (job.cluster, job.run),
            Self::ProveRestore(job) => (job.cluster, job.run),
            Self::SettleSchema(job) => (job.cluster, job.run),
            Self::PrepareNode(job) => (job.cluster, job.run),
            Self::LoadBatch(job) => (job.cluster, job.run),
            Self::PutBack(job) => (job.cluster, job.run),
        }
    }

    /// The node the job is bound to; `None` for a request, and for a batch any node may take.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        match self {
            Self::Request(_) => None,
            Self::LoadBatch(job) => job.node,
            Self::Inspect(job) => Some(job.node),
            Self::Ping(job) => Some(job.node),
            Self::SetBalancing(job) => Some(job.node),
            Self::TakeSnapshot(job) => Some(job.node),
            Self::Index(job) => Some(job.node),
            Self::StoreSchema(job) => Some(job.node),
            Self::Upload(job) => Some(job.node),
            Self::Seal(job) => Some(job.node),
            Self::DropSnapshot(job) => Some(job.node),
            Self::Purge(job) => Some(job.node),
            Self::Validate(job) => Some(job.node),
            Self::ClearSnapshots(job) => Some(job.node),
            Self::PlanRestore(job) => Some(job.node),
            Self::PrepareSchema(job) => Some(job.node),
            Self::ProveRestore(job) => Some(job.node),
            Self::SettleSchema(job) => Some(job.node),
            Self::PrepareNode(job) => Some(job.node),
            Self::PutBack(job) => Some(job.node),
        }
    }

    /// The part of the run's work this job is: a chunk's or batch's number, else 0.
    #[must_use]
    pub fn part(&self) -> u32 {
        match self {
            Self::Upload(job) => job.chunk,
            Self::LoadBatch(job) => job.batch,
            Self::SetBalancing(job) => u32::from(job.enabled),
            Self::Request(_)
            | Self::Inspect(_)
            | Self::Ping(_)
            | Self::TakeSnapshot(_)
            | Self::Index(_)
            | Self::StoreSchema(_)
            | Self::Seal(_)
            | Self::DropSnapshot(_)
            | Self::Purge(_)
            | Self::Validate(_)
            | Self::ClearSnapshots(_)
            | Self::PlanRestore(_)
            | Self::PrepareSchema(_)
            | Self::ProveRestore(_)
            | Self::SettleSchema(_)
            | Self::PrepareNode(_)
            | Self::PutBack(_) => 0,
        }
    }
}

/// How files get from a node to the bucket, or back.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By Thetis' own engine beside the node.
    #[default]
    Agent,
    /// By ScyllaDB itself.
    Native,
    /// By an rclone that is started beside the node.
    Rclone,
    /// By the cluster as a whole, a table at a time: each replica fetches what its rack has stored. Only
    /// back, and only for tables that are spread by tablets in the same way; others go as with `auto`.
    Tablets,
    /// By ScyllaDB itself where it can, else by Thetis' own engine.
    Auto,
}

/// Asks for a run, from inside or outside.
///
/// Answered by `run_started` or `refused`. The run's identity is the asker's to choose, so that
/// asking twice begins one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// The cluster to work on.
    pub cluster: ClusterId,
    /// The run to begin. A run that exists already is left as it is.
    pub run: RunId,
    /// The task it belongs to; a new one-off task when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// What is asked for: exactly one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupRequest>,
    /// See `backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreRequest>,
    /// See `backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<DeleteRequest>,
    /// See `backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<ValidateRequest>,
    /// See `backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear: Option<ClearRequest>,
}

/// What a user may say of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupRequest {
    /// Where to; one for all datacenters or one for each.
    pub location: Vec<Location>,
    /// Keyspaces and tables to take: globs such as `shop`, `shop.*`, `!shop.tmp*`; empty is all.
    #[serde(default)]
    pub keyspace: Vec<String>,
    /// Datacenters to take, as globs; empty is all.
    #[serde(default)]
    pub dc: Vec<String>,
    /// How files get to the bucket.
    #[serde(default)]
    pub method: Method,
    /// Bytes each node may read for it, in MiB per second; what workers are set to where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limit: Vec<DcLimit>,
    /// Nodes of a datacenter that take their snapshots at once; all where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshot_parallel: Vec<DcLimit>,
    /// Nodes of a datacenter that plan and upload at once; all where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upload_parallel: Vec<DcLimit>,
    /// Files each node sends at once; what workers are set to when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfers: Option<u32>,
    /// What components are stored as, as `STANDARD_IA`; what workers are set to when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// What the task's backups are kept by; all are kept when nothing is said.
    #[serde(flatten)]
    pub retention: Retention,
}

/// What a user may say of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreRequest {
    /// Where from.
    pub location: Vec<Location>,
    /// The backup to restore.
    pub snapshot_tag: SnapshotTag,
    /// The cluster that was backed up; needed only where one bucket holds the tag of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cluster: Option<ClusterId>,
    /// Keyspaces and tables to restore, as in [`BackupRequest::keyspace`].
    #[serde(default)]
    pub keyspace: Vec<String>,
    /// How files get from the bucket.
    #[serde(default)]
    pub method: Method,
    /// Bytes each node may write for it, in MiB per second; without a limit where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limit: Vec<DcLimit>,
    /// Files each node fetches at once; what workers are set to when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfers: Option<u32>,
    /// What of the backup.
    #[serde(default)]
    pub what: Restored,
    /// Other datacenters for those the backup's keyspaces name. None, or all that they name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dc_mapping: Vec<DcMapping>,
    /// Other names for keyspaces or tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rename: Vec<Rename>,
    /// Whether roles, their rights and service levels come back as well.
    #[serde(default)]
    pub with_roles: bool,
    /// Whether data may come into tables that hold some: rows of both are kept, the newer of each.
    #[serde(default)]
    pub merge: bool,
    /// Whether each node gets back what the node with its tokens had, and nothing else.
    #[serde(default)]
    pub one_to_one: bool,
    /// Whether it is a drill: into keyspaces of its own, whose rows are read and which are dropped then.
    #[serde(default)]
    pub drill: bool,
    /// Restores nothing, but puts back what the restore that began with this run has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<RunId>,
}

/// What a restore brings back.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Restored {
    /// Rows, and before them the schema if the backup holds one.
    #[default]
    All,
    /// The schema alone.
    Schema,
    /// Rows alone: the tables are there.
    Tables,
}

/// A datacenter of the backup, and the one of the cluster that takes its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct DcMapping {
    /// The backup's.
    pub from: String,
    /// The cluster's. Several of the backup may go to one.
    pub to: String,
}

/// A keyspace or a table of the backup, and the name it comes back by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Rename {
    /// `<keyspace>` or `<keyspace>.<table>` of the backup.
    pub from: String,
    /// The same of the cluster, and of the same form.
    pub to: String,
}

impl RestoreRequest {
    /// All of a backup, as it is, by Thetis' own engine.
    #[must_use]
    pub fn new(location: Vec<Location>, snapshot_tag: SnapshotTag) -> Self {
        Self {
            location,
            snapshot_tag,
            source_cluster: None,
            keyspace: Vec::new(),
            method: Method::default(),
            rate_limit: Vec::new(),
            transfers: None,
            what: Restored::default(),
            dc_mapping: Vec::new(),
            rename: Vec::new(),
            with_roles: false,
            merge: false,
            one_to_one: false,
            drill: false,
            undo: None,
        }
    }
}

/// What the names of keyspaces begin with that drills make.
pub const SCRATCH: &str = "thetis_drill_";

/// The most characters that a keyspace's name may have.
const LONGEST: usize = 48;

/// The keyspace that a drill makes in place of `keyspace`.
#[must_use]
pub fn scratch(keyspace: &str) -> String {
    let whole = format!("{SCRATCH}{keyspace}");
    if whole.len() <= LONGEST {
        return whole;
    }
    // Long names differ at their ends, as a rule; FNV tells those apart that do not.
    let hash = keyspace.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{}{hash:08x}", &whole[..LONGEST - 8])
}

/// The name that `table` of the backup comes back by: its own or its keyspace's, if one of them is renamed.
#[must_use]
pub fn renamed(renames: &[Rename], table: &TableRef) -> TableRef {
    let of = |name: &str| renames.iter().find(|rename| rename.from == name);
    let own = of(&table.to_string()).and_then(|own| own.to.split_once('.'));
    if let Some((keyspace, table)) = own {
        return TableRef {
            keyspace: keyspace.to_owned(),
            table: table.to_owned(),
        };
    }
    TableRef {
        keyspace: of(&table.keyspace)
            .map_or(&table.keyspace, |keyspace| &keyspace.to)
            .clone(),
        table: table.table.clone(),
    }
}

/// What a user may say of a deletion of backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeleteRequest {
    /// Where they lie: all places, or what is left looks like a backup that lacks nodes.
    pub location: Vec<Location>,
    /// The backups, whatever task made them.
    pub snapshot_tag: Vec<SnapshotTag>,
    /// Whether they go even if they are pinned, or the last good ones.
    #[serde(default)]
    pub force: bool,
}

/// What a user may say of a validation of backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValidateRequest {
    /// Where they lie; where the cluster's tasks have backed up to, when empty.
    #[serde(default)]
    pub location: Vec<Location>,
    /// The backup; all of the cluster, and what none of them needs, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_tag: Option<SnapshotTag>,
    /// Whether files are read and their checksums compared, not names and sizes alone.
    #[serde(default)]
    pub checksum: bool,
    /// How many bytes to read at most for that; 0 for all.
    #[serde(default)]
    pub max_bytes: u64,
    /// Whether what no backup needs is deleted.
    #[serde(default)]
    pub delete_orphaned_files: bool,
}

/// What a user may say of the deletion of snapshots that backups have left on nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClearRequest {}

/// What a user may say of a suspension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SuspendRequest {
    /// How long it lasts, in milliseconds; until somebody ends it when 0.
    pub duration_ms: u64,
    /// Tasks of this type may run all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<TaskKind>,
    /// Whether it fails while something runs, and does not stop that.
    pub fail_if_running: bool,
    /// Whether tasks that are started after its end begin anew.
    pub no_continue: bool,
    /// Whether tasks that were stopped for it are started at its end.
    pub start_tasks: bool,
}

/// A keyspace with the tables of it that a run works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unit {
    /// The keyspace.
    pub keyspace: String,
    /// Its tables, in order of name.
    pub tables: Vec<String>,
    /// Whether these are all its base tables.
    pub all_tables: bool,
    /// Whether the keyspace is spread by tablets; by vnodes otherwise.
    pub tablets: bool,
}

/// A table, by name.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct TableRef {
    /// Its keyspace.
    pub keyspace: String,
    /// Its name.
    pub table: String,
}

impl std::fmt::Display for TableRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.keyspace, self.table)
    }
}

/// Asks what the cluster looks like and what of it the globs choose.
///
/// Answered by `inspected`. Changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Inspect {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The node to ask; any node knows the whole cluster.
    pub node: NodeId,
    /// Keyspace globs, as in [`BackupRequest::keyspace`].
    pub keyspace: Vec<String>,
    /// Datacenter globs.
    pub dc: Vec<String>,
    /// Whether to say how much space the chosen tables take on the node.
    #[serde(default)]
    pub sizes: bool,
}

/// Asks how a node is.
///
/// Answered by `pinged`. Changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ping {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run: of nobody, but each job has one.
    pub run: RunId,
    /// The node.
    pub node: NodeId,
}

/// Asks for the cluster's tablet balancing to be on or off.
///
/// Answered by `balancing_set`. Cluster-wide and persistent on ScyllaDB's side, so a run that
/// switches it off must switch it on again whatever happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetBalancing {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The node to tell; any will do.
    pub node: NodeId,
    /// Whether balancing shall be on.
    pub enabled: bool,
}

/// Asks for a snapshot of one node.
///
/// Answered by `snapshot_taken`. A complete snapshot of that tag is kept; an incomplete one, left
/// by a worker that died, is taken again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakeSnapshot {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: NodeId,
    /// The snapshot's name.
    pub tag: SnapshotTag,
    /// What to take.
    pub units: Vec<Unit>,
    /// Snapshots of runs that have ended for good, to delete first.
    pub stale: Vec<SnapshotTag>,
}

/// Asks for the plan of one node's upload: which files, in which chunks, under which keys.
///
/// Answered by `indexed`. A plan that lies in the bucket already is kept as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Index {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The run that took the snapshot: its plan is the one continued.
    pub origin: RunId,
    /// The node.
    pub node: NodeId,
    /// The task, part of the manifest's key.
    pub task: TaskId,
    /// The cluster's name, for the manifest.
    pub cluster_name: String,
    /// The snapshot to plan.
    pub tag: SnapshotTag,
    /// What was taken.
    pub units: Vec<Unit>,
    /// Where it goes.
    pub location: Location,
    /// Whether the schema lies there.
    #[serde(default)]
    pub schema: bool,
}

/// Asks for the schema of the whole cluster to be stored beside the backup.
///
/// Answered by `schema_stored`. One that lies there already is kept: it is the snapshot's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreSchema {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The node that is asked for it; any would do.
    pub node: NodeId,
    /// The task, part of the schema's key.
    pub task: TaskId,
    /// The backup.
    pub tag: SnapshotTag,
    /// Where it goes: to each of these.
    pub location: Vec<Location>,
}

/// Asks for one chunk of a plan to be stored.
///
/// Answered by `chunk_stored`. A chunk that has its receipt is not stored again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upload {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The run whose plan it is.
    pub origin: RunId,
    /// The node.
    pub node: NodeId,
    /// Where it goes.
    pub location: Location,
    /// The chunk's number in the plan, from 0.
    pub chunk: u32,
    /// The task, for what operators say of it while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Who moves the files.
    #[serde(default)]
    pub method: Method,
    /// How fast.
    #[serde(default)]
    pub pace: Pace,
    /// What components are stored as, as `STANDARD_IA`; what the worker is set to when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

/// Asks for a node's manifest to be published, once all its chunks are proven.
///
/// Answered by `sealed`. Refuses when a receipt is missing; a manifest already published stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seal {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The run whose plan it is.
    pub origin: RunId,
    /// The node.
    pub node: NodeId,
    /// Where the plan and the manifest lie.
    pub location: Location,
    /// The task, part of the manifest's key.
    pub task: TaskId,
    /// The backup's tag.
    pub tag: SnapshotTag,
}

/// Asks for a node's snapshot to be deleted.
///
/// Answered by `snapshot_dropped`, also when there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropSnapshot {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: NodeId,
    /// The snapshot's name.
    pub tag: SnapshotTag,
}

/// Asks for the backups of a cluster to be removed that need not be kept any more, or for those that
/// a user names, from all nodes and all places, whatever task made them.
///
/// Answered by `purged`. Whoever gets it looks at the buckets anew, so doing it again does what is
/// left to be done. What this does not speak of stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Purge {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The node whose uploader does it; any would do that reaches all places.
    pub node: NodeId,
    /// Where backups of the cluster may lie.
    pub locations: Vec<Location>,
    /// What the cluster's tasks keep. A task that is not among these keeps what `unknown` says.
    pub tasks: Vec<TaskRetention>,
    /// What is kept of tasks that nobody knows; all, if nothing is set.
    pub unknown: Retention,
    /// Backups whose runs are open or can be continued.
    pub open: Vec<BackupId>,
    /// Backups that are being restored, or whose restore can be continued.
    pub restored: Vec<SnapshotTag>,
    /// If there are any here, these go and no others, whatever tasks keep.
    pub named: Vec<SnapshotTag>,
    /// Whether those go even if they are pinned, or the last good ones.
    pub force: bool,
}

/// Asks whether the backups of a cluster are whole.
///
/// Answered by `validated`. Without orphans to delete it changes nothing; with them, doing it again
/// does what is left to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Validate {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The node whose uploader does it; any would do that reaches all places.
    pub node: NodeId,
    /// What to check.
    #[serde(flatten)]
    pub request: ValidateRequest,
}

/// Asks for all snapshots of one node to be deleted that backups have taken, whatever tool made them.
///
/// Answered by `snapshots_cleared`, also when there are none. Snapshots that a user took stay, and
/// those of later backups: the job may be late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClearSnapshots {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: NodeId,
    /// Snapshots with this tag or a later one stay.
    pub before: SnapshotTag,
}

/// Which backup.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct BackupId {
    /// The task that made it.
    pub task: TaskId,
    /// Its tag.
    pub tag: SnapshotTag,
}

/// What a task keeps of its backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskRetention {
    /// The task.
    pub task: TaskId,
    /// Whether it was deleted, so that its backups go by age alone.
    pub deleted: bool,
    /// Where its backups lie.
    pub location: Vec<Location>,
    /// What they are kept by.
    #[serde(flatten)]
    pub retention: Retention,
}

/// Asks for the plan of a restore: which SSTables, in which batches, for which datacenter.
///
/// Answered by `restore_planned`. A plan that lies in the bucket already is kept as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanRestore {
    /// The cluster to restore into.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The run whose plan it is.
    pub origin: RunId,
    /// The node that plans.
    pub node: NodeId,
    /// Where the backup lies. The plan is written to the first.
    pub location: Vec<Location>,
    /// The backup.
    pub tag: SnapshotTag,
    /// The cluster that was backed up, where the tag alone is not enough.
    pub source_cluster: Option<ClusterId>,
    /// Keyspace globs, as in [`BackupRequest::keyspace`].
    pub keyspace: Vec<String>,
    /// The datacenters that can take batches, with their number of nodes.
    pub dcs: Vec<DcNodes>,
    /// Whether tables may be lacking, because the schema is restored afterwards.
    #[serde(default)]
    pub schema: bool,
    /// Other names for keyspaces or tables, as in [`RestoreRequest::rename`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rename: Vec<Rename>,
    /// Whether it is a drill, as in [`RestoreRequest::drill`].
    #[serde(default)]
    pub drill: bool,
    /// Other datacenters, as in [`RestoreRequest::dc_mapping`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dc_mapping: Vec<DcMapping>,
    /// Who is to bring the SSTables: with `auto` and `tablets`, the plan says for each table.
    #[serde(default)]
    pub method: Method,
    /// Whether batches are bound to nodes, as in [`RestoreRequest::one_to_one`].
    #[serde(default)]
    pub one_to_one: bool,
    /// Whether to say only what would be planned, or what is in the way.
    #[serde(default)]
    pub dry: bool,
}

/// A datacenter and how many of its nodes can work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DcNodes {
    /// The datacenter.
    pub dc: String,
    /// Its nodes.
    pub nodes: u32,
}

/// Asks for the cluster's schema to be made ready: what is lacking made, views and indexes of the tables
/// dropped, and tombstones kept.
///
/// Answered by `schema_prepared`. How everything was is noted first, and what an earlier attempt has
/// noted stays noted. Refuses, and changes nothing, where the backup and the cluster do not agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrepareSchema {
    /// The cluster to restore into.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The run whose undo record is kept.
    pub origin: RunId,
    /// The node.
    pub node: NodeId,
    /// What is restored. The undo record is kept in its first location.
    pub request: RestoreRequest,
    /// The tables that rows come into, by the cluster's names, and what the backup has of each.
    pub tables: Vec<TableSize>,
    /// Those of them whose replicas get what replicas had, and not every row of every copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub as_stored: Vec<TableRef>,
    /// The cluster's datacenters.
    pub dcs: Vec<String>,
    /// The cluster's nodes.
    pub nodes: Vec<NodeId>,
    /// Whether to say only what would be done, or what is in the way.
    #[serde(default)]
    pub dry: bool,
}

/// Asks for all rows of these tables to be read, from all replicas.
///
/// Answered by `restore_proven`. Changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProveRestore {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: NodeId,
    /// The tables.
    pub tables: Vec<TableRef>,
}

/// Asks for views and indexes to be made again, and for tombstones to be kept as before.
///
/// Answered by `schema_settled`, also when nothing had been changed: when the views are built, or after
/// some minutes, if that takes longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettleSchema {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The run whose undo record it is.
    pub origin: RunId,
    /// The node.
    pub node: NodeId,
    /// Where the undo record is kept.
    pub location: Location,
    /// Whether all that was made is dropped, too: of a drill only.
    #[serde(default)]
    pub scrap: bool,
    /// Whether the restore is given up: then it can't be continued, and views it would have made are not made.
    pub undo: bool,
}

/// Asks for a node to be made ready: automatic compaction off for the tables.
///
/// Answered by `node_prepared`, which says what was on, so that it can be put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrepareNode {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The run whose undo record is kept: that of an interrupted one, when continued.
    pub origin: RunId,
    /// The node.
    pub node: NodeId,
    /// Where the undo record is kept.
    pub location: Location,
    /// The tables to be restored.
    pub tables: Vec<TableRef>,
}

/// Asks for one batch of SSTables to be downloaded, checked and loaded.
///
/// Answered by `batch_loaded`. Loading again changes nothing: rows keep their timestamps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadBatch {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The run whose plan it is.
    pub origin: RunId,
    /// The datacenter whose nodes may take it.
    pub dc: String,
    /// The node that has to take it, where not any may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Where the plan lies.
    pub location: Location,
    /// The batch's number in the plan, from 0.
    pub batch: u32,
    /// The task, for what operators say of it while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// How fast each node goes.
    #[serde(default)]
    pub pace: Pace,
}

/// Asks for what `prepare_node` changed to be put back.
///
/// Answered by `node_put_back`, also when nothing had been changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PutBack {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run.
    pub run: RunId,
    /// The run whose undo record it is.
    pub origin: RunId,
    /// The node.
    pub node: NodeId,
    /// Where the undo record is kept.
    pub location: Location,
}
