//! An errand: a run of one job, or one for each node, that nothing follows. What is asked of whom says
//! [`Errand`](crate::spec::Errand): to delete backups, to say whether they are whole, or to delete
//! the snapshots that backups have left.
//!
//! It fails if not all could be done; asking again then does the rest. As with a purge, a run that
//! may have objects deleted, and has no answer that says that everything is done, rests before it ends.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    ClearSnapshots, ClusterId, Event, Fact, Failed, Job, NodeId, Purge, Purged, Retention, RunId,
    SnapshotsCleared, Validate, Validated,
};
use serde::{Deserialize, Serialize};

use crate::{
    Errand, ErrandSpec, Removed,
    absence::Workers,
    course::{Course, Folded, failure, fold_failed},
    life::{Life, Verdict},
    limit,
    report::Report,
    wait::{Step, Wait, Who, Why},
};

/// The most broken backups that a cause names.
const NAMED: usize = 5;

/// An errand's run: see [`Run`](crate::Run).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrandRun {
    spec: ErrandSpec,
    life: Life,
    /// When the jobs were asked for, or the rest began, on the run's clock.
    since_ms: u64,
    /// Whether another node was asked before, whose uploader was away and may be back.
    moved: bool,
    resting: bool,
    over: bool,
    /// The nodes that were asked and have not answered.
    asked: BTreeSet<NodeId>,
    removed: Option<Removed>,
    validated: Option<Validated>,
    /// Snapshots that were deleted, by node.
    cleared: BTreeMap<NodeId, u64>,
    /// Why nodes did not do it, while others are still asked.
    missed: Vec<String>,
}

impl ErrandRun {
    pub(crate) fn new(spec: ErrandSpec) -> Self {
        let asked = match &spec.errand {
            Errand::Delete(_) | Errand::Validate(_) => BTreeSet::from([spec.scout]),
            Errand::Clear { nodes, .. } => nodes.clone(),
        };
        Self {
            spec,
            life: Life::new(false),
            since_ms: 0,
            moved: false,
            resting: false,
            over: asked.is_empty(),
            asked,
            removed: None,
            validated: None,
            cleared: BTreeMap::new(),
            missed: Vec::new(),
        }
    }

    pub(crate) fn spec(&self) -> &ErrandSpec {
        &self.spec
    }

    pub(crate) fn set_scout(&mut self, node: NodeId) -> bool {
        let one = match self.spec.errand {
            Errand::Delete(_) | Errand::Validate(_) => true,
            Errand::Clear { .. } => false,
        };
        let changes = one && self.asks() && self.spec.scout != node;
        if changes {
            (self.spec.scout, self.moved) = (node, true);
            self.asked = BTreeSet::from([node]);
        }
        changes
    }

    pub(crate) fn rests(&self) -> bool {
        self.life.ended.is_none() && self.resting
    }

    pub(crate) fn report(&self) -> Report {
        let stage = match (self.life.ended, self.step()) {
            (Some(_), _) => "DONE",
            (None, Step::Validate) => "VALIDATE",
            (None, Step::Clear) => "DROP_SNAPSHOT",
            (None, _) => "PURGE",
        };
        Report {
            kind: self.spec.errand.kind(),
            task: self.spec.task,
            run: self.spec.run,
            origin: self.spec.run,
            status: self.life.status(),
            cause: self.life.cause.clone(),
            stage: stage.to_owned(),
            snapshot_tag: None,
            started_ms: self.spec.started_ms,
            ended_ms: self.life.ended_ms(self.spec.started_ms),
            size: 0,
            uploaded: 0,
            skipped: 0,
            failed: 0,
            restored: 0,
            files: 0,
            parts_done: 0,
            parts: 0,
            hosts: Vec::new(),
            tables: Vec::new(),
            removed: self.removed,
            validated: self.validated.clone(),
            cleared: self.cleared.values().sum(),
            impossible: self.life.impossible,
        }
    }

    fn step(&self) -> Step {
        match self.spec.errand {
            Errand::Delete(_) => Step::Purge,
            Errand::Validate(_) => Step::Validate,
            Errand::Clear { .. } => Step::Clear,
        }
    }

    /// Whether answers are waited for.
    fn asks(&self) -> bool {
        self.life.working() && !self.resting && !self.over
    }

    /// Asks nobody any more.
    fn leave(&mut self) {
        self.asked.clear();
        match self.spec.errand.deletes_objects() {
            true => (self.resting, self.since_ms) = (true, self.life.now_ms()),
            false => self.over = true,
        }
    }

    fn purged(&mut self, node: Option<NodeId>, purged: &Purged) -> Folded {
        if !self.asks() {
            return Folded::Known;
        }
        self.removed = Some(Removed::of(purged));
        self.answered(node, purged.obstacles.is_empty() && !purged.contended);
        if !purged.obstacles.is_empty() {
            let obstacles = purged.obstacles.join("; ");
            self.life
                .fail(format!("not all could be removed: {obstacles}"));
        }
        Folded::Changed
    }

    /// As with ScyllaDB Manager, orphans that are left are a failure as well.
    fn validated(&mut self, node: Option<NodeId>, found: &Validated) -> Folded {
        if !self.asks() {
            return Folded::Known;
        }
        self.answered(node, found.obstacles.is_empty() && !found.contended);
        let mut wrong = Vec::new();
        let broken = &found.broken_snapshots;
        if !broken.is_empty() {
            let tags: Vec<&str> = broken.iter().take(NAMED).map(|tag| tag.as_str()).collect();
            let more = match broken.len() > NAMED {
                true => ", …",
                false => "",
            };
            wrong.push(format!("broken snapshots: {}{more}", tags.join(", ")));
        }
        if !found.sound {
            wrong.extend(found.faults.first().cloned());
        }
        let left = found.nodes.iter();
        let left: u64 = left
            .map(|node| node.orphaned_files.saturating_sub(node.deleted_files))
            .sum();
        if left > 0 {
            wrong.push(format!("orphaned files: {left}"));
        }
        if self.spec.errand.deletes_objects() {
            wrong.extend(found.obstacles.iter().cloned());
        }
        if !wrong.is_empty() || !found.sound {
            self.life.fail(wrong.join("; "));
        }
        self.validated = Some(found.clone());
        Folded::Changed
    }

    fn cleared(&mut self, node: Option<NodeId>, cleared: &SnapshotsCleared) -> Folded {
        let Some(node) = node.filter(|node| self.asked.contains(node)) else {
            return Folded::Known;
        };
        self.cleared.insert(node, cleared.tags.len() as u64);
        self.answered(Some(node), true);
        Folded::Changed
    }

    /// A node has answered; `clean` if nobody can be at it any more, and everything is done.
    fn answered(&mut self, node: Option<NodeId>, clean: bool) {
        if let Some(node) = node {
            self.asked.remove(&node);
        }
        if !clean || self.moved {
            self.leave();
        } else if self.asked.is_empty() {
            self.over = true;
        }
        self.tell_missed();
    }

    /// Fails if nodes did not do it, once nobody is asked any more.
    fn tell_missed(&mut self) {
        if self.asked.is_empty() && !self.missed.is_empty() {
            let missed = std::mem::take(&mut self.missed);
            self.life.fail(missed.join("; "));
        }
    }

    /// A node does not do it; others go on.
    fn without(&mut self, who: &Who, cause: String) {
        if let Who::Node(node) = who {
            self.asked.remove(node);
        }
        self.missed.push(cause);
        self.tell_missed();
        if self.asked.is_empty() {
            self.leave();
        }
    }
}

impl Course for ErrandRun {
    fn life(&self) -> &Life {
        &self.life
    }

    fn life_mut(&mut self) -> &mut Life {
        &mut self.life
    }

    fn owner(&self) -> (ClusterId, RunId) {
        (self.spec.cluster, self.spec.run)
    }

    fn waits(&self) -> Vec<Wait> {
        if !self.asks() {
            return Vec::new();
        }
        let (step, since_ms) = (self.step(), self.since_ms);
        let waits = self.asked.iter();
        waits
            .map(|node| Wait::node(*node, step, since_ms))
            .collect()
    }

    fn jobs(&self, wait: &Wait) -> Vec<Job> {
        let Who::Node(node) = wait.who else {
            return Vec::new();
        };
        let (cluster, run) = self.owner();
        vec![match &self.spec.errand {
            Errand::Delete(request) => Job::Purge(Purge {
                cluster,
                run,
                node,
                locations: request.location.clone(),
                tasks: Vec::new(),
                unknown: Retention::default(),
                open: Vec::new(),
                restored: Vec::new(),
                named: request.snapshot_tag.clone(),
                force: request.force,
            }),
            Errand::Validate(request) => Job::Validate(Validate {
                cluster,
                run,
                node,
                request: request.clone(),
            }),
            Errand::Clear { before, .. } => Job::ClearSnapshots(ClearSnapshots {
                cluster,
                run,
                node,
                before: before.clone(),
            }),
        }]
    }

    fn lacks(&self, _: &Wait, number: u32) -> bool {
        number == 0
    }

    fn fold(&mut self, event: &Event) -> Folded {
        match (&event.fact, &self.spec.errand) {
            (Fact::Purged(purged), Errand::Delete(_)) => self.purged(event.node, purged),
            (Fact::Validated(found), Errand::Validate(_)) => self.validated(event.node, found),
            (Fact::SnapshotsCleared(cleared), Errand::Clear { .. }) => {
                self.cleared(event.node, cleared)
            }
            (Fact::Failed(failed), _) => fold_failed(self, event.node, failed),
            (Fact::Refused { .. } | Fact::RunStarted | Fact::RunEnded(_), _) => Folded::Known,
            (
                Fact::Inspected(_)
                | Fact::Pinged(_)
                | Fact::BalancingSet { .. }
                | Fact::SnapshotTaken
                | Fact::Indexed(_)
                | Fact::SchemaStored
                | Fact::ChunkStored(_)
                | Fact::Sealed(_)
                | Fact::SnapshotDropped
                | Fact::Purged(_)
                | Fact::Validated(_)
                | Fact::SnapshotsCleared(_)
                | Fact::RestorePlanned(_)
                | Fact::SchemaPrepared(_)
                | Fact::SchemaSettled(_)
                | Fact::RestoreProven(_)
                | Fact::NodePrepared(_)
                | Fact::BatchLoaded(_)
                | Fact::NodePutBack,
                _,
            ) => Folded::Impossible,
        }
    }

    fn give_up(&mut self, wait: &Wait, why: Why, _: &Workers) {
        let excuse = self.life.excuse(wait, why);
        self.without(&wait.who, excuse);
    }

    fn job_failed(&mut self, wait: &Wait, node: Option<NodeId>, failed: &Failed) {
        let failure = failure(&self.life, wait, node, failed);
        self.without(&wait.who, failure);
    }

    fn tick_undos(&mut self) -> bool {
        let rested = self.life.now_ms().saturating_sub(self.since_ms) >= limit::REST_MS;
        let ends = self.resting && !self.over && rested;
        self.over |= ends;
        ends
    }

    fn stop(&mut self) -> bool {
        if self.resting {
            return false;
        }
        self.life.verdict = Some(Verdict::Stopped);
        self.leave();
        true
    }

    fn settle(&mut self) {
        if self.over && self.life.ended.is_none() {
            self.life.end();
        }
    }
}
