//! Keys of what only Thetis needs, below `thetis/`.

use std::{fmt, str::FromStr};

use protocol::{ClusterId, NodeId, RunId, SnapshotTag, TaskId};

use super::{InvalidKey, labelled, strict};

/// A note of Thetis' own. `origin` is the run that began the work; runs that continue it use the
/// same keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnKey {
    /// An open run's descriptor.
    Run(RunId),
    /// A node's plan. Written after its chunks: where it is, all of them are.
    NodePlan(RunId, NodeId),
    /// A chunk of a node's plan.
    Chunk(RunId, NodeId, u32),
    /// A chunk's receipt: proof that all of it is stored.
    Receipt(RunId, NodeId, u32),
    /// A restore's plan. Written after its batches.
    RestorePlan(RunId),
    /// A batch of a restore's plan.
    Batch(RunId, u32),
    /// A batch's receipt: proof that all of it is in the cluster.
    BatchReceipt(RunId, u32),
    /// How a node was before a restore changed it.
    Undo(RunId, NodeId),
    /// How the schema was before a restore changed it. It outlives the run's other notes.
    SchemaUndo(ClusterId, RunId),
    /// A copy of a registered cluster.
    Cluster(ClusterId),
    /// A copy of a task.
    Task(ClusterId, TaskId),
    /// A short form of all manifests of a cluster, so that they need not be read again.
    Catalog(ClusterId),
    /// When a cluster's backups were last proven to be restorable.
    Proofs(ClusterId),
    /// Says that a backup is to be kept.
    Pin(ClusterId, SnapshotTag),
}

impl OwnKey {
    /// Prefix of all open runs' notes.
    pub const RUNS: &str = "thetis/runs/";
    /// Prefix of all notes on schemas that restores have changed.
    pub const UNDOS: &str = "thetis/undo/";
    /// Prefix of all copies of clusters.
    pub const CLUSTERS: &str = "thetis/clusters/";
    /// Prefix of all copies of tasks.
    pub const TASKS: &str = "thetis/tasks/";
    /// Prefix of all short forms of manifests.
    pub const CATALOGS: &str = "thetis/catalog/";
    /// Prefix of all pins.
    pub const PINS: &str = "thetis/pins/";

    /// Prefix of all notes of a run, ending in `/`.
    #[must_use]
    pub fn of_run(origin: RunId) -> String {
        format!("{}{origin}/", Self::RUNS)
    }

    /// Prefix of all notes on one node of a backup, ending in `/`.
    #[must_use]
    pub fn of_node(origin: RunId, node: NodeId) -> String {
        format!("{}{origin}/node/{node}/", Self::RUNS)
    }

    /// Prefix of all receipts of a node's plan, ending in `/`.
    #[must_use]
    pub fn receipts(origin: RunId, node: NodeId) -> String {
        format!("{}receipt/", Self::of_node(origin, node))
    }

    /// Prefix of all batches of a restore, ending in `/`.
    #[must_use]
    pub fn batches(origin: RunId) -> String {
        format!("{}{origin}/restore/batch/", Self::RUNS)
    }

    /// Prefix of all receipts of a restore's batches, ending in `/`.
    #[must_use]
    pub fn batch_receipts(origin: RunId) -> String {
        format!("{}{origin}/restore/receipt/", Self::RUNS)
    }

    /// Prefix of all notes on a cluster's schema, ending in `/`.
    #[must_use]
    pub fn undos(cluster: ClusterId) -> String {
        format!("{}{cluster}/", Self::UNDOS)
    }

    /// Prefix of all pins of a cluster's backups, ending in `/`.
    #[must_use]
    pub fn pins(cluster: ClusterId) -> String {
        format!("{}{cluster}/", Self::PINS)
    }

    fn read(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix(Self::CATALOGS) {
            return Some(Self::Catalog(name.strip_suffix(".json.gz")?.parse().ok()?));
        }
        let text = text.strip_suffix(".json")?;
        if let Some(cluster) = text.strip_prefix("thetis/proofs/") {
            return Some(Self::Proofs(cluster.parse().ok()?));
        }
        if let Some(cluster) = text.strip_prefix(Self::CLUSTERS) {
            return Some(Self::Cluster(cluster.parse().ok()?));
        }
        if let Some(rest) = text.strip_prefix(Self::TASKS) {
            let (cluster, task) = rest.split_once('/')?;
            return Some(Self::Task(cluster.parse().ok()?, task.parse().ok()?));
        }
        if let Some(rest) = text.strip_prefix(Self::UNDOS) {
            let (cluster, origin) = rest.split_once('/')?;
            return Some(Self::SchemaUndo(
                cluster.parse().ok()?,
                origin.parse().ok()?,
            ));
        }
        if let Some(rest) = text.strip_prefix(Self::PINS) {
            let (cluster, tag) = rest.split_once('/')?;
            return Some(Self::Pin(cluster.parse().ok()?, tag.parse().ok()?));
        }
        let (origin, rest) = text.strip_prefix(Self::RUNS)?.split_once('/')?;
        let origin: RunId = origin.parse().ok()?;
        match rest.split_once('/') {
            None => (rest == "run").then_some(Self::Run(origin)),
            Some(("restore", rest)) => Self::read_restore(origin, rest),
            Some(_) => {
                let mut parts = rest.split('/');
                let node = labelled(&mut parts, "node")?.parse().ok()?;
                match (parts.next()?, parts.next(), parts.next()) {
                    ("plan", None, None) => Some(Self::NodePlan(origin, node)),
                    ("chunk", Some(n), None) => Some(Self::Chunk(origin, node, n.parse().ok()?)),
                    ("receipt", Some(n), None) => {
                        Some(Self::Receipt(origin, node, n.parse().ok()?))
                    }
                    _ => None,
                }
            }
        }
    }

    fn read_restore(origin: RunId, rest: &str) -> Option<Self> {
        match rest.split_once('/') {
            None => (rest == "plan").then_some(Self::RestorePlan(origin)),
            Some(("batch", n)) => Some(Self::Batch(origin, n.parse().ok()?)),
            Some(("receipt", n)) => Some(Self::BatchReceipt(origin, n.parse().ok()?)),
            Some(("undo", node)) => Some(Self::Undo(origin, node.parse().ok()?)),
            Some(_) => None,
        }
    }
}

impl fmt::Display for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = Self::RUNS;
        match self {
            Self::Run(run) => write!(f, "{runs}{run}/run.json"),
            Self::NodePlan(run, node) => write!(f, "{runs}{run}/node/{node}/plan.json"),
            Self::Chunk(run, node, n) => write!(f, "{runs}{run}/node/{node}/chunk/{n:06}.json"),
            Self::Receipt(run, node, n) => {
                write!(f, "{runs}{run}/node/{node}/receipt/{n:06}.json")
            }
            Self::RestorePlan(run) => write!(f, "{runs}{run}/restore/plan.json"),
            Self::Batch(run, n) => write!(f, "{runs}{run}/restore/batch/{n:06}.json"),
            Self::BatchReceipt(run, n) => write!(f, "{runs}{run}/restore/receipt/{n:06}.json"),
            Self::Undo(run, node) => write!(f, "{runs}{run}/restore/undo/{node}.json"),
            Self::SchemaUndo(cluster, run) => write!(f, "{}{cluster}/{run}.json", Self::UNDOS),
            Self::Cluster(cluster) => write!(f, "{}{cluster}.json", Self::CLUSTERS),
            Self::Task(cluster, task) => write!(f, "{}{cluster}/{task}.json", Self::TASKS),
            Self::Catalog(cluster) => write!(f, "{}{cluster}.json.gz", Self::CATALOGS),
            Self::Proofs(cluster) => write!(f, "thetis/proofs/{cluster}.json"),
            Self::Pin(cluster, tag) => write!(f, "{}{cluster}/{tag}.json", Self::PINS),
        }
    }
}

strict!(OwnKey, "one of Thetis' notes");
