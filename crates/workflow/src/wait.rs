//! What a run waits for: one step, of one node or datacenter, since a time.

use protocol::{NodeId, WorkerKind};

use crate::limit;

/// The steps that are asked of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Inspect,
    BalancingOff,
    BalancingOn,
    Snapshot,
    Index,
    StoreSchema,
    Upload,
    Seal,
    Drop,
    Purge,
    Validate,
    Clear,
    Plan,
    PrepareSchema,
    Prepare,
    Load,
    Prove,
    SettleSchema,
    PutBack,
}

impl Step {
    /// Which worker takes the step.
    pub(crate) fn worker(self) -> WorkerKind {
        match self {
            Self::Inspect
            | Self::BalancingOff
            | Self::BalancingOn
            | Self::Snapshot
            | Self::Index
            | Self::StoreSchema
            | Self::Drop
            | Self::Clear => WorkerKind::Snapshot,
            Self::Upload | Self::Seal | Self::Purge | Self::Validate => WorkerKind::Upload,
            Self::Plan
            | Self::PrepareSchema
            | Self::Prepare
            | Self::Load
            | Self::Prove
            | Self::SettleSchema
            | Self::PutBack => WorkerKind::Restore,
        }
    }

    /// The kind of its job.
    pub(crate) fn job(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::BalancingOff | Self::BalancingOn => "set_balancing",
            Self::Snapshot => "take_snapshot",
            Self::Index => "index",
            Self::StoreSchema => "store_schema",
            Self::Upload => "upload",
            Self::Seal => "seal",
            Self::Drop => "drop_snapshot",
            Self::Purge => "purge",
            Self::Validate => "validate",
            Self::Clear => "clear_snapshots",
            Self::Plan => "plan_restore",
            Self::PrepareSchema => "prepare_schema",
            Self::Prepare => "prepare_node",
            Self::Load => "load_batch",
            Self::Prove => "prove_restore",
            Self::SettleSchema => "settle_schema",
            Self::PutBack => "put_back",
        }
    }

    /// How long it may take, since it was begun or last showed progress.
    pub(crate) fn limit_ms(self) -> u64 {
        match self {
            Self::Inspect => limit::INSPECT_MS,
            Self::BalancingOff => limit::BALANCING_OFF_MS,
            Self::BalancingOn => limit::BALANCING_ON_MS,
            Self::Snapshot => limit::SNAPSHOT_MS,
            Self::Index => limit::INDEX_MS,
            Self::StoreSchema => limit::STORE_SCHEMA_MS,
            Self::Upload => limit::UPLOAD_MS,
            Self::Seal => limit::SEAL_MS,
            Self::Drop => limit::DROP_MS,
            Self::Purge => limit::PURGE_MS,
            Self::Validate => limit::VALIDATE_MS,
            Self::Clear => limit::DROP_MS,
            Self::Plan => limit::PLAN_MS,
            Self::PrepareSchema => limit::PREPARE_SCHEMA_MS,
            Self::Prepare => limit::PREPARE_MS,
            Self::Load => limit::LOAD_MS,
            Self::Prove => limit::PROVE_MS,
            Self::SettleSchema => limit::SETTLE_SCHEMA_MS,
            Self::PutBack => limit::PUT_BACK_MS,
        }
    }

    /// How long its worker may be absent.
    pub(crate) fn absent_ms(self) -> u64 {
        match self {
            Self::Inspect => limit::ABSENT_INSPECT_MS,
            Self::BalancingOff
            | Self::BalancingOn
            | Self::Snapshot
            | Self::Index
            | Self::StoreSchema
            | Self::Upload
            | Self::Seal
            | Self::Drop
            | Self::Purge
            | Self::Validate
            | Self::Clear
            | Self::Plan
            | Self::PrepareSchema
            | Self::Prepare
            | Self::Load
            | Self::Prove
            | Self::SettleSchema
            | Self::PutBack => limit::ABSENT_MS,
        }
    }

    /// What a node that is late has not done.
    pub(crate) fn undone(self) -> &'static str {
        match self {
            Self::Inspect => "did not say what the cluster looks like",
            Self::BalancingOff => "did not switch tablet balancing off",
            Self::BalancingOn => "did not switch tablet balancing on",
            Self::Snapshot => "did not take its snapshot",
            Self::Index => "did not plan its upload",
            Self::StoreSchema => "did not store the schema",
            Self::Upload => "uploaded nothing",
            Self::Seal => "did not publish its manifest",
            Self::Drop => "did not delete its snapshot",
            Self::Purge => "did not remove old backups",
            Self::Validate => "did not say whether the backups are whole",
            Self::Clear => "did not delete what backups have left there",
            Self::Plan => "did not plan the restore",
            Self::PrepareSchema => "did not make the schema ready for the restore",
            Self::Prepare => "was not made ready for the restore",
            Self::Load => "loaded nothing",
            Self::Prove => "did not read what was restored",
            Self::SettleSchema => "did not make views and indexes again",
            Self::PutBack => "was not put back as it was before the restore",
        }
    }
}

/// The name of a worker's program, for people.
pub(crate) fn program(worker: WorkerKind) -> &'static str {
    match worker {
        WorkerKind::Snapshot => "snapshot-worker",
        WorkerKind::Upload => "uploader",
        WorkerKind::Restore => "restore-worker",
    }
}

/// Whose step it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// One node's.
    Node(NodeId),
    /// Any node's of a datacenter.
    Dc(String),
}

/// A step that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) who: Who,
    pub(crate) step: Step,
    /// On the run's clock.
    pub(crate) since_ms: u64,
    /// Goes up when the same is asked again, and has to be published again.
    pub(crate) round: u32,
    /// How long it may last.
    pub(crate) limit_ms: u64,
}

impl Wait {
    pub(crate) fn new(who: Who, step: Step, since_ms: u64) -> Self {
        Self {
            who,
            step,
            since_ms,
            round: 0,
            limit_ms: step.limit_ms(),
        }
    }

    pub(crate) fn node(node: NodeId, step: Step, since_ms: u64) -> Self {
        Self::new(Who::Node(node), step, since_ms)
    }

    /// Whether both ask for the same, so that the jobs of one are the jobs of the other, but for
    /// parts that are done.
    pub(crate) fn asks_as(&self, other: &Self) -> bool {
        self.step == other.step && self.round == other.round && self.who == other.who
    }
}

/// Why a step is waited for no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its time is up.
    Late,
    /// There is no worker for it.
    Absent,
}
