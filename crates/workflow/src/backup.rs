//! A backup run.
//!
//! Inspect the cluster; if tablets are to be backed up, switch balancing off; take all snapshots at
//! once; balancing on again. Each node then plans and uploads at its own pace. When all nodes have
//! all chunks in the bucket, each publishes its manifest; when all have, each drops its snapshot.
//!
//! A snapshot is dropped only when every manifest is published, so that a run that fails before can
//! be continued. A snapshot that cannot be dropped does not fail the run: the backup is whole, and
//! the next one drops what was left. For the same reason a run that has only this left to do is not
//! stopped but done.

mod fold;
mod inspect;
mod report;

use std::collections::BTreeMap;

use protocol::{
    ClusterId, DropSnapshot, Event, Failed, Index, Inspect, Job, Location, NodeId, RunId, Seal,
    SetBalancing, TakeSnapshot, Unit, Upload,
};
use serde::{Deserialize, Serialize};

use crate::{
    BackupSpec,
    absence::Workers,
    bitmap::Bitmap,
    course::{Course, Folded, failure},
    life::{Life, Verdict},
    report::Report,
    wait::{Step, Wait, Who, Why},
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
    /// Bytes on all nodes, by keyspace and table.
    tables: BTreeMap<String, BTreeMap<String, u64>>,
}

/// How far the run as a whole is. What nodes do in [`Phase::Work`] is in their parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Inspect,
    Balance,
    Work,
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
}

impl Backup {
    pub(crate) fn new(spec: BackupSpec) -> Self {
        Self {
            life: Life::new(spec.unsettled),
            spec,
            phase: Phase::Inspect,
            units: Vec::new(),
            parts: BTreeMap::new(),
            tables: BTreeMap::new(),
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
        let dc = self.life.ring.get(node).map_or("", |member| &member.dc);
        let location = Location::serving(&self.spec.request.location, dc);
        location
            .expect("nodes without a location fail the run at its inspection")
            .clone()
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
}

impl Course for Backup {
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
        if self.life.verdict.is_none() {
            match self.phase {
                Phase::Inspect => waits.push(Wait::node(self.spec.scout, Step::Inspect, 0)),
                Phase::Balance => {}
                Phase::Work => waits.extend(self.parts.iter().filter_map(|(node, part)| {
                    self.step(part)
                        .map(|step| Wait::node(*node, step, part.since_ms))
                })),
            }
        }
        waits
    }

    fn jobs(&self, wait: &Wait) -> Vec<Job> {
        let Who::Node(node) = wait.who else {
            return Vec::new();
        };
        let one = match wait.step {
            Step::Inspect => self.inspect_job(node),
            Step::BalancingOff => self.balancing_job(node, false),
            Step::BalancingOn => self.balancing_job(node, true),
            Step::Snapshot => self.snapshot_job(node),
            Step::Index => self.index_job(node),
            Step::Upload => return self.upload_jobs(node),
            Step::Seal => self.seal_job(node),
            Step::Drop => self.drop_job(node),
            Step::Plan | Step::Prepare | Step::Load | Step::PutBack => return Vec::new(),
        };
        vec![one]
    }

    fn lacks(&self, wait: &Wait, number: u32) -> bool {
        match (wait.step, &wait.who) {
            (Step::Upload, Who::Node(node)) => self
                .parts
                .get(node)
                .is_some_and(|part| number < part.chunks && !part.stored.contains(number)),
            (Step::BalancingOn, _) => number == 1,
            (
                Step::Inspect
                | Step::BalancingOff
                | Step::Snapshot
                | Step::Index
                | Step::Upload
                | Step::Seal
                | Step::Drop
                | Step::Plan
                | Step::Prepare
                | Step::Load
                | Step::PutBack,
                _,
            ) => number == 0,
        }
    }

    fn fold(&mut self, event: &Event) -> Folded {
        self.fold_event(event)
    }

    fn give_up(&mut self, wait: &Wait, why: Why, absent: &Workers) {
        let excuse = self.life.excuse(wait, why);
        match (wait.step, why) {
            (Step::Drop, _) => self.leave_one(wait, &excuse),
            (Step::BalancingOff, Why::Absent) => {
                let Life {
                    balancing,
                    ring,
                    clock,
                    ..
                } = &mut self.life;
                if !balancing.turn_off_elsewhere(absent, ring, clock.now_ms()) {
                    self.fail_at(wait, excuse);
                }
            }
            (
                Step::Inspect
                | Step::BalancingOff
                | Step::BalancingOn
                | Step::Snapshot
                | Step::Index
                | Step::Upload
                | Step::Seal
                | Step::Plan
                | Step::Prepare
                | Step::Load
                | Step::PutBack,
                _,
            ) => self.fail_at(wait, excuse),
        }
    }

    fn job_failed(&mut self, wait: &Wait, node: Option<NodeId>, failed: &Failed) {
        let failure = failure(&self.life, wait, node, failed);
        if wait.step == Step::Drop {
            self.leave_one(wait, &failure);
        } else {
            self.fail_at(wait, failure);
        }
    }

    fn tick_undos(&mut self) -> bool {
        false
    }

    fn stop(&mut self) -> bool {
        if self.phase == Phase::Work && self.slowest() >= At::Sealed {
            return self.leave_snapshots("the run was told to stop when all else was done");
        }
        self.life.verdict = Some(Verdict::Stopped);
        true
    }

    fn settle(&mut self) {
        let life = &mut self.life;
        if life.ended.is_some() {
            return;
        }
        let now_ms = life.clock.now_ms();
        if life.verdict.is_none() && self.phase == Phase::Balance && life.balancing.off() {
            self.begin_work();
        }
        let worked = self.phase == Phase::Work;
        let over = self.life.verdict.is_some() || worked && self.slowest() == At::Dropped;
        if over || worked && self.slowest() > At::Snapshot {
            let scout = self.life.ring.up_or(self.spec.scout);
            self.life.balancing.turn_on(scout, now_ms);
        }
        if over && self.life.balancing.settled() {
            self.life.end();
        }
    }
}

impl Backup {
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

    fn inspect_job(&self, node: NodeId) -> Job {
        let BackupSpec {
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
            dc: request.dc.clone(),
        })
    }

    fn balancing_job(&self, node: NodeId, enabled: bool) -> Job {
        let BackupSpec { cluster, run, .. } = self.spec;
        Job::SetBalancing(SetBalancing {
            cluster,
            run,
            node,
            enabled,
        })
    }

    fn snapshot_job(&self, node: NodeId) -> Job {
        let BackupSpec {
            cluster,
            run,
            tag,
            stale,
            ..
        } = &self.spec;
        Job::TakeSnapshot(TakeSnapshot {
            cluster: *cluster,
            run: *run,
            node,
            tag: tag.clone(),
            units: self.units.clone(),
            stale: stale
                .iter()
                .filter(|stale| *stale != tag)
                .cloned()
                .collect(),
        })
    }

    fn index_job(&self, node: NodeId) -> Job {
        let BackupSpec {
            cluster,
            run,
            origin,
            task,
            tag,
            cluster_name,
            ..
        } = &self.spec;
        Job::Index(Index {
            cluster: *cluster,
            run: *run,
            origin: *origin,
            node,
            task: *task,
            cluster_name: cluster_name.clone(),
            tag: tag.clone(),
            units: self.units.clone(),
            location: self.location(node),
        })
    }

    fn upload_jobs(&self, node: NodeId) -> Vec<Job> {
        let BackupSpec {
            cluster,
            run,
            origin,
            ..
        } = self.spec;
        let Some(part) = self.parts.get(&node) else {
            return Vec::new();
        };
        let location = self.location(node);
        let job = |chunk| {
            Job::Upload(Upload {
                cluster,
                run,
                origin,
                node,
                location: location.clone(),
                chunk,
            })
        };
        part.stored.missing(0..part.chunks).map(job).collect()
    }

    fn seal_job(&self, node: NodeId) -> Job {
        let BackupSpec {
            cluster,
            run,
            origin,
            task,
            tag,
            ..
        } = &self.spec;
        Job::Seal(Seal {
            cluster: *cluster,
            run: *run,
            origin: *origin,
            node,
            location: self.location(node),
            task: *task,
            tag: tag.clone(),
        })
    }

    fn drop_job(&self, node: NodeId) -> Job {
        let BackupSpec {
            cluster, run, tag, ..
        } = &self.spec;
        Job::DropSnapshot(DropSnapshot {
            cluster: *cluster,
            run: *run,
            node,
            tag: tag.clone(),
        })
    }
}
