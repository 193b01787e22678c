//! A backup run.
//!
//! Inspect the cluster; store its schema; if tablets are to be backed up, switch balancing off; take all
//! snapshots at once; balancing on again. Each node then plans and uploads at its own pace. When all nodes have
//! all chunks in the bucket, each publishes its manifest; when all have, each drops its snapshot.
//! At last, one of them removes old backups from the buckets.
//!
//! Without the schema the run goes on, with a remark: the data is worth more.
//!
//! A snapshot is dropped only when every manifest is published, so that a run that fails before can
//! be continued. A snapshot that cannot be dropped, or old backups that cannot be removed, do not fail
//! the run: the backup is whole, and the next one does what was left. For the same reason a run that
//! has only this left to do is not stopped but done.

mod admit;
mod course;
mod fold;
mod inspect;
mod jobs;
mod purge;
mod report;

use std::collections::BTreeMap;

use protocol::{Location, NodeId, RunId, Unit};
use serde::{Deserialize, Serialize};

use self::purge::Purging;
pub use self::purge::Removed;

use crate::{
    BackupSpec,
    bitmap::Bitmap,
    life::Life,
    limit,
    methods::Methods,
    report::Report,
    tables::Tables,
    wait::{Step, Wait, Who},
};

/// A backup run: see [`Run`](crate::Run).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    spec: BackupSpec,
    life: Life,
    phase: Phase,
    units: Vec<Unit>,
    /// The nodes that are backed up.
    parts: BTreeMap<NodeId, Part>,
    /// Tables on all nodes.
    tables: Tables,
    /// Who moved them, where that was told.
    #[serde(default, skip_serializing_if = "Methods::is_empty")]
    methods: Methods,
    /// Whether the schema lies in the bucket.
    #[serde(default)]
    schema: bool,
    /// When it was asked for, on the run's clock.
    #[serde(default)]
    schema_since_ms: u64,
    /// The purge, once it has begun.
    purging: Option<Purging>,
    removed: Option<Removed>,
}

/// How far the run as a whole is. What nodes do in [`Phase::Work`] is in their parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Inspect,
    Schema,
    Balance,
    Work,
    Purge,
}

/// How far a node is: the step it is at, or after `Stored`, what it has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum At {
    /// To take its snapshot.
    Snapshot,
    /// To plan its upload.
    Index,
    /// To upload its chunks.
    Upload,
    /// All chunks are in the bucket.
    Stored,
    /// The manifest is published.
    Sealed,
    /// The snapshot is dropped, or left for the next backup to drop.
    Dropped,
}

/// A node's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    at: At,
    /// Whether it may be at it, or has to wait for others of its datacenter; see [`Backup::admit`].
    #[serde(default = "yes")]
    admitted: bool,
    /// When it began this step or last showed progress, on the run's clock.
    since_ms: u64,
    /// Chunks planned; 0 until the plan is known.
    chunks: u32,
    stored: Bitmap,
    files: u64,
    bytes: u64,
    skipped_files: u64,
    skipped_bytes: u64,
    uploaded: u64,
    /// Its tables; none where nodes have very many.
    #[serde(default)]
    tables: Tables,
    /// Who moved them, where that was told; nothing where nodes have very many.
    #[serde(default, skip_serializing_if = "Methods::is_empty")]
    methods: Methods,
}

fn yes() -> bool {
    true
}

impl Backup {
    pub(crate) fn new(spec: BackupSpec) -> Self {
        Self {
            life: Life::new(spec.unsettled),
            spec,
            phase: Phase::Inspect,
            units: Vec::new(),
            parts: BTreeMap::new(),
            tables: Tables::default(),
            methods: Methods::default(),
            schema: false,
            schema_since_ms: 0,
            purging: None,
            removed: None,
        }
    }

    pub(crate) fn spec(&self) -> &BackupSpec {
        &self.spec
    }

    /// What a run that continues this one is told.
    pub(crate) fn continued(&self, run: RunId, now_ms: u64) -> BackupSpec {
        BackupSpec {
            run,
            started_ms: now_ms,
            unsettled: self.life.balancing.left_off(),
            ..self.spec.clone()
        }
    }

    pub(crate) fn set_scout(&mut self, node: NodeId) -> bool {
        let changes =
            self.life.working() && self.phase == Phase::Inspect && self.spec.scout != node;
        if changes {
            self.spec.scout = node;
        }
        changes
    }

    pub(crate) fn report(&self) -> Report {
        report::of(self)
    }

    /// The step that the slowest node is at.
    fn slowest(&self) -> At {
        self.parts
            .values()
            .map(|part| part.at)
            .min()
            .unwrap_or(At::Snapshot)
    }

    /// What `part` is waited for, if it is not the others that are.
    fn step(&self, part: &Part) -> Option<Step> {
        match part.at {
            At::Snapshot | At::Index | At::Upload if !part.admitted => None,
            At::Snapshot => Some(Step::Snapshot),
            At::Index => Some(Step::Index),
            At::Upload => Some(Step::Upload),
            At::Stored if self.slowest() == At::Stored => Some(Step::Seal),
            At::Sealed if self.slowest() == At::Sealed => Some(Step::Drop),
            At::Stored | At::Sealed | At::Dropped => None,
        }
    }

    /// Where a node's files go. The inspection made sure that there is such a place.
    fn location(&self, node: NodeId) -> Location {
        let location = Location::serving(&self.spec.request.location, self.dc(node));
        location
            .expect("nodes without a location fail the run at its inspection")
            .clone()
    }

    fn dc(&self, node: NodeId) -> &str {
        self.life.ring.get(node).map_or("", |member| &member.dc)
    }

    /// Counts tables for all nodes together only, if there are very many.
    fn bound_tables(&mut self) {
        let parts = self.parts.values();
        let counted: usize = parts
            .map(|part| part.tables.len() + part.methods.len())
            .sum();
        if counted > limit::NODE_TABLES {
            for part in self.parts.values_mut() {
                part.tables = Tables::default();
                part.methods = Methods::default();
            }
        }
    }

    /// Leaves the snapshots that are not dropped yet to the next backup; false if there are none.
    fn leave_snapshots(&mut self, why: &str) -> bool {
        let left = self
            .parts
            .iter_mut()
            .filter(|(_, part)| part.at == At::Sealed);
        let mut names = Vec::new();
        for (node, part) in left {
            part.at = At::Dropped;
            names.push(self.life.ring.name(*node));
        }
        if !names.is_empty() {
            let names = names.join(", ");
            self.life.remark(&format!(
                "the snapshot stays on {names} until the next backup: {why}"
            ));
        }
        !names.is_empty()
    }

    fn fail_at(&mut self, wait: &Wait, cause: String) {
        if let (true, Who::Node(node)) = (self.life.working(), &wait.who) {
            self.life.culprit = Some(*node);
        }
        self.life.fail(cause);
    }

    /// Leaves one node's snapshot to the next backup.
    fn leave_one(&mut self, wait: &Wait, why: &str) {
        if let Who::Node(node) = &wait.who
            && let Some(part) = self.parts.get_mut(node)
            && part.at == At::Sealed
        {
            part.at = At::Dropped;
            let name = self.life.ring.name(*node);
            self.life.remark(&format!(
                "the snapshot stays on {name} until the next backup: {why}"
            ));
        }
    }

    /// Has all nodes begin, with their snapshots.
    fn begin_work(&mut self) {
        self.phase = Phase::Work;
        let now_ms = self.life.now_ms();
        for part in self.parts.values_mut() {
            part.since_ms = now_ms;
        }
    }
}
