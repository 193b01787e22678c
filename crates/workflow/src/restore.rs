//! A restore run.
//!
//! Inspect the cluster, all nodes of which must be up; plan; if tablets are to be restored, switch
//! balancing off; make each node ready; load every batch, each on any node of its datacenter. At
//! the end, whatever end it is, put every node back as it was and balancing on again.
//!
//! A run that has only the putting back left to do is not stopped but goes on to its end. A node
//! that has no worker is not waited for then, with a remark: what was changed there is lost when it
//! restarts anyway. A node that has one, but cannot be put back, fails the run.

mod fold;
mod plan;
mod report;

use std::collections::BTreeMap;

use protocol::{
    ClusterId, DcNodes, Event, Failed, Inspect, Job, LoadBatch, Location, NodeId, PlanRestore,
    PrepareNode, PutBack, RunId, SetBalancing, TableRef, Unit,
};
use serde::{Deserialize, Serialize};

use crate::{
    RestoreSpec,
    absence::Workers,
    bitmap::Bitmap,
    course::{Course, Folded, failure},
    life::{Life, Verdict},
    report::Report,
    undo::Undo,
    wait::{Step, Wait, Who, Why},
};

/// A restore run: see [`Run`](crate::Run).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    spec: RestoreSpec,
    life: Life,
    phase: Phase,
    /// When the phase began, on the run's clock.
    since_ms: u64,
    units: Vec<Unit>,
    hosts: BTreeMap<NodeId, Host>,
    shares: Vec<Share>,
    batches: u32,
    loaded: Bitmap,
    files: u64,
    bytes: u64,
    restored: u64,
    /// Bytes of the backup, by keyspace and table.
    tables: BTreeMap<String, BTreeMap<String, u64>>,
}

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Inspect,
    Plan,
    Balance,
    Prepare,
    Load,
    PutBack,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Host {
    prepared: bool,
    /// Set when the node is to be put back.
    back: Option<Undo>,
    batches: u32,
    files: u64,
    bytes: u64,
    download_ms: u64,
    load_ms: u64,
}

/// A datacenter's batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    dc: String,
    first: u32,
    end: u32,
    /// When the last of them was loaded, on the run's clock.
    since_ms: u64,
}

impl Restore {
    pub(crate) fn new(spec: RestoreSpec) -> Self {
        Self {
            life: Life::new(spec.unsettled),
            spec,
            phase: Phase::Inspect,
            since_ms: 0,
            units: Vec::new(),
            hosts: BTreeMap::new(),
            shares: Vec::new(),
            batches: 0,
            loaded: Bitmap::default(),
            files: 0,
            bytes: 0,
            restored: 0,
            tables: BTreeMap::new(),
        }
    }

    pub(crate) fn spec(&self) -> &RestoreSpec {
        &self.spec
    }

    /// What a run that continues this one is told.
    pub(crate) fn continued(&self, run: RunId, now_ms: u64) -> RestoreSpec {
        let left = |host: &Host| host.back.as_ref().is_some_and(Undo::given_up);
        let unseen = self.spec.unsettled && self.hosts.is_empty();
        let unsettled = self.life.balancing.left_off() || self.hosts.values().any(left) || unseen;
        RestoreSpec {
            run,
            started_ms: now_ms,
            unsettled,
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

    /// The job that puts `node` back; none if there is no place where its undo record could be.
    pub(crate) fn put_back(&self, node: NodeId) -> Option<Job> {
        let RestoreSpec {
            cluster,
            run,
            origin,
            ..
        } = self.spec;
        let location = self.home()?.clone();
        Some(Job::PutBack(PutBack {
            cluster,
            run,
            origin,
            node,
            location,
        }))
    }

    /// Where the plan and the undo records lie.
    fn home(&self) -> Option<&Location> {
        self.spec.request.location.first()
    }

    fn go(&mut self, phase: Phase) {
        self.phase = phase;
        self.since_ms = self.life.now_ms();
    }

    fn planner(&self) -> NodeId {
        self.life.ring.up_or(self.spec.scout)
    }

    /// The batches of a datacenter that are not loaded.
    fn missing<'a>(&'a self, dc: &'a str) -> impl Iterator<Item = u32> + 'a {
        let shares = self.shares.iter().filter(move |share| share.dc == dc);
        shares.flat_map(|share| self.loaded.missing(share.first..share.end))
    }

    fn fail_at(&mut self, wait: &Wait, cause: String) {
        if let (true, Who::Node(node)) = (self.life.working(), &wait.who) {
            self.life.culprit = Some(*node);
        }
        self.life.fail(cause);
    }

    /// Begins to put back whatever this run, or one before it, may have changed.
    fn begin_putting_back(&mut self) {
        let now_ms = self.life.now_ms();
        if self.phase >= Phase::Prepare || self.spec.unsettled {
            for host in self.hosts.values_mut() {
                host.back.get_or_insert_with(|| Undo::ask(now_ms));
            }
        }
        if self.spec.unsettled && self.hosts.is_empty() {
            self.life.remark(
                "an earlier attempt may have left automatic compaction off on some nodes: start the \
                 restore again, or restart these nodes",
            );
        }
        let planner = self.planner();
        self.life.balancing.turn_on(planner, now_ms);
    }

    /// Does without a node's being put back.
    fn leave(&mut self, wait: &Wait, why: Why) {
        let Who::Node(node) = wait.who else {
            return;
        };
        let excuse = self.life.excuse(wait, why);
        if let Some(undo) = self
            .hosts
            .get_mut(&node)
            .and_then(|host| host.back.as_mut())
        {
            undo.give_up();
        }
        let text = format!(
            "automatic compaction may still be off on {}: {excuse}",
            self.life.ring.name(node)
        );
        match why {
            Why::Absent => self.life.remark(&text),
            Why::Late => self.fail_putting_back(&text),
        }
    }

    fn fail_putting_back(&mut self, text: &str) {
        if self.life.working() {
            self.life.fail(text.to_owned());
        } else {
            self.life.remark(text);
        }
    }
}

impl Course for Restore {
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
        if self.life.ended.is_some() {
            return Vec::new();
        }
        let mut waits: Vec<Wait> = self.life.balancing.wait().into_iter().collect();
        waits.extend(
            self.hosts
                .iter()
                .filter_map(|(node, host)| put_back_wait(*node, host)),
        );
        if self.life.verdict.is_some() {
            return waits;
        }
        match self.phase {
            Phase::Inspect => waits.push(Wait::node(self.spec.scout, Step::Inspect, self.since_ms)),
            Phase::Plan => waits.push(Wait::node(self.planner(), Step::Plan, self.since_ms)),
            Phase::Prepare => {
                let unprepared = self.hosts.iter().filter(|(_, host)| !host.prepared);
                waits.extend(
                    unprepared.map(|(node, _)| Wait::node(*node, Step::Prepare, self.since_ms)),
                );
            }
            Phase::Load => {
                waits.extend(self.shares.iter().filter_map(|share| self.load_wait(share)))
            }
            Phase::Balance | Phase::PutBack => {}
        }
        waits
    }

    fn jobs(&self, wait: &Wait) -> Vec<Job> {
        let one = match (wait.step, &wait.who) {
            (Step::Inspect, Who::Node(node)) => Some(self.inspect_job(*node)),
            (Step::BalancingOff, Who::Node(node)) => Some(self.balancing_job(*node, false)),
            (Step::BalancingOn, Who::Node(node)) => Some(self.balancing_job(*node, true)),
            (Step::Plan, Who::Node(node)) => Some(self.plan_job(*node)),
            (Step::Prepare, Who::Node(node)) => self.prepare_job(*node),
            (Step::PutBack, Who::Node(node)) => self.put_back(*node),
            (Step::Load, Who::Dc(dc)) => return self.load_jobs(dc),
            (
                Step::Inspect
                | Step::BalancingOff
                | Step::BalancingOn
                | Step::Plan
                | Step::Prepare
                | Step::PutBack
                | Step::Load
                | Step::Snapshot
                | Step::Index
                | Step::Upload
                | Step::Seal
                | Step::Drop,
                Who::Node(_) | Who::Dc(_),
            ) => None,
        };
        one.into_iter().collect()
    }

    fn lacks(&self, wait: &Wait, number: u32) -> bool {
        match (wait.step, &wait.who) {
            (Step::Load, Who::Dc(dc)) => self.missing(dc).any(|batch| batch == number),
            (Step::BalancingOn, _) => number == 1,
            (
                Step::Inspect
                | Step::BalancingOff
                | Step::Plan
                | Step::Prepare
                | Step::PutBack
                | Step::Load
                | Step::Snapshot
                | Step::Index
                | Step::Upload
                | Step::Seal
                | Step::Drop,
                _,
            ) => number == 0,
        }
    }

    fn fold(&mut self, event: &Event) -> Folded {
        self.fold_event(event)
    }

    fn give_up(&mut self, wait: &Wait, why: Why, absent: &Workers) {
        match (wait.step, why) {
            (Step::PutBack, _) => self.leave(wait, why),
            (Step::BalancingOff, Why::Absent) => {
                let Life {
                    balancing,
                    ring,
                    clock,
                    ..
                } = &mut self.life;
                if !balancing.turn_off_elsewhere(absent, ring, clock.now_ms()) {
                    self.fail_at(wait, self.life.excuse(wait, why));
                }
            }
            (
                Step::Inspect
                | Step::BalancingOff
                | Step::BalancingOn
                | Step::Plan
                | Step::Prepare
                | Step::Load
                | Step::Snapshot
                | Step::Index
                | Step::Upload
                | Step::Seal
                | Step::Drop,
                _,
            ) => self.fail_at(wait, self.life.excuse(wait, why)),
        }
    }

    fn job_failed(&mut self, wait: &Wait, node: Option<NodeId>, failed: &Failed) {
        if let (Step::PutBack, Who::Node(node)) = (wait.step, &wait.who) {
            let now_ms = self.life.now_ms();
            if let Some(undo) = self.hosts.get_mut(node).and_then(|host| host.back.as_mut()) {
                let _paused = undo.failed(now_ms);
            }
            return;
        }
        let failure = failure(&self.life, wait, node, failed);
        self.fail_at(wait, failure);
    }

    fn tick_undos(&mut self) -> bool {
        let now_ms = self.life.now_ms();
        let mut changed = false;
        for undo in self
            .hosts
            .values_mut()
            .filter_map(|host| host.back.as_mut())
        {
            changed |= undo.tick(now_ms);
        }
        changed
    }

    fn stop(&mut self) -> bool {
        if self.phase == Phase::PutBack {
            return false;
        }
        self.life.verdict = Some(Verdict::Stopped);
        true
    }

    fn settle(&mut self) {
        if self.life.ended.is_some() {
            return;
        }
        if self.life.verdict.is_none() {
            self.go_on();
        }
        let over = self.life.verdict.is_some() || self.phase == Phase::PutBack;
        if !over {
            return;
        }
        self.begin_putting_back();
        let open = |host: &Host| host.back.as_ref().is_some_and(Undo::open);
        if self.life.balancing.settled() && !self.hosts.values().any(open) {
            self.life.end();
        }
    }
}

fn put_back_wait(node: NodeId, host: &Host) -> Option<Wait> {
    let undo = host.back.as_ref().filter(|undo| undo.asked())?;
    let wait = Wait::node(node, Step::PutBack, undo.since_ms);
    Some(Wait {
        round: undo.round,
        ..wait
    })
}

impl Restore {
    /// Goes from phase to phase as far as what is known allows.
    fn go_on(&mut self) {
        if self.phase == Phase::Balance && self.life.balancing.off() {
            self.go(Phase::Prepare);
        }
        if self.phase == Phase::Prepare && self.hosts.values().all(|host| host.prepared) {
            self.go(Phase::Load);
            let now_ms = self.life.now_ms();
            self.shares
                .iter_mut()
                .for_each(|share| share.since_ms = now_ms);
        }
        if self.phase == Phase::Load && self.loaded.count() == self.batches {
            self.go(Phase::PutBack);
        }
    }

    fn load_wait(&self, share: &Share) -> Option<Wait> {
        self.loaded.missing(share.first..share.end).next()?;
        let who = Who::Dc(share.dc.clone());
        Some(Wait {
            who,
            step: Step::Load,
            since_ms: share.since_ms,
            round: 0,
        })
    }

    fn inspect_job(&self, node: NodeId) -> Job {
        let RestoreSpec {
            cluster,
            run,
            request,
            ..
        } = &self.spec;
        Job::Inspect(Inspect {
            cluster: *cluster,
            run: *run,
            node,
            keyspace: request.keyspace.clone(),
            dc: Vec::new(),
        })
    }

    fn balancing_job(&self, node: NodeId, enabled: bool) -> Job {
        let RestoreSpec { cluster, run, .. } = self.spec;
        Job::SetBalancing(SetBalancing {
            cluster,
            run,
            node,
            enabled,
        })
    }

    fn plan_job(&self, node: NodeId) -> Job {
        let RestoreSpec {
            cluster,
            run,
            origin,
            request,
            ..
        } = &self.spec;
        let dcs = self.life.ring.dcs().into_iter();
        Job::PlanRestore(PlanRestore {
            cluster: *cluster,
            run: *run,
            origin: *origin,
            node,
            location: request.location.clone(),
            tag: request.snapshot_tag.clone(),
            source_cluster: request.source_cluster,
            keyspace: request.keyspace.clone(),
            dcs: dcs
                .map(|(dc, nodes)| DcNodes {
                    dc: dc.to_owned(),
                    nodes,
                })
                .collect(),
        })
    }

    fn prepare_job(&self, node: NodeId) -> Option<Job> {
        let RestoreSpec {
            cluster,
            run,
            origin,
            ..
        } = self.spec;
        let tables = self.tables.iter().flat_map(|(keyspace, tables)| {
            tables.keys().map(|table| TableRef {
                keyspace: keyspace.clone(),
                table: table.clone(),
            })
        });
        Some(Job::PrepareNode(PrepareNode {
            cluster,
            run,
            origin,
            node,
            location: self.home()?.clone(),
            tables: tables.collect(),
        }))
    }

    fn load_jobs(&self, dc: &str) -> Vec<Job> {
        let RestoreSpec {
            cluster,
            run,
            origin,
            ..
        } = self.spec;
        let Some(location) = self.home() else {
            return Vec::new();
        };
        let job = |batch| {
            let (dc, location) = (dc.to_owned(), location.clone());
            Job::LoadBatch(LoadBatch {
                cluster,
                run,
                origin,
                dc,
                location,
                batch,
            })
        };
        self.missing(dc).map(job).collect()
    }
}
