//! A backup as a course of steps: what is waited for, and what happens when nothing comes.

use protocol::{ClusterId, Event, Failed, Job, NodeId, RunId};

use super::{At, Backup, Phase};
use crate::{
    absence::Workers,
    course::{Course, Folded, failure},
    life::{Life, Verdict},
    wait::{Step, Wait, Who, Why},
};

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
                Phase::Schema => waits.push(self.schema_wait()),
                Phase::Balance => {}
                Phase::Work => waits.extend(self.parts.iter().filter_map(|(node, part)| {
                    self.step(part)
                        .map(|step| Wait::node(*node, step, part.since_ms))
                })),
                Phase::Purge => waits.extend(self.purge_wait()),
            }
        }
        waits
    }

    fn jobs(&self, wait: &Wait) -> Vec<Job> {
        self.jobs_of(wait)
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
                | Step::StoreSchema
                | Step::Upload
                | Step::Seal
                | Step::Drop
                | Step::Purge
                | Step::Validate
                | Step::Clear
                | Step::Plan
                | Step::PrepareSchema
                | Step::Prove
                | Step::SettleSchema
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
            (Step::StoreSchema, _) => self.without_schema(&excuse),
            (Step::Purge, why) => self.give_up_purge(wait, why, absent),
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
                | Step::Validate
                | Step::Clear
                | Step::Plan
                | Step::PrepareSchema
                | Step::Prove
                | Step::SettleSchema
                | Step::Prepare
                | Step::Load
                | Step::PutBack,
                _,
            ) => self.fail_at(wait, excuse),
        }
    }

    fn job_failed(&mut self, wait: &Wait, node: Option<NodeId>, failed: &Failed) {
        let failure = failure(&self.life, wait, node, failed);
        match wait.step {
            Step::Drop => self.leave_one(wait, &failure),
            Step::StoreSchema => self.without_schema(&failed.reason),
            Step::Purge => drop(self.leave_purge(&failure)),
            Step::Inspect
            | Step::BalancingOff
            | Step::BalancingOn
            | Step::Snapshot
            | Step::Index
            | Step::Upload
            | Step::Seal
            | Step::Validate
            | Step::Clear
            | Step::Plan
            | Step::PrepareSchema
            | Step::Prove
            | Step::SettleSchema
            | Step::Prepare
            | Step::Load
            | Step::PutBack => self.fail_at(wait, failure),
        }
    }

    fn tick_undos(&mut self) -> bool {
        self.rest()
    }

    fn stop(&mut self) -> bool {
        let why = "the run was told to stop when all else was done";
        if self.phase == Phase::Purge {
            return self.leave_purge(why);
        }
        if self.phase == Phase::Work && self.slowest() >= At::Sealed {
            self.leave_snapshots(why);
            // Nobody would do a purge any more.
            self.phase = Phase::Purge;
            return true;
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
        if self.phase == Phase::Work {
            self.admit();
        }
        let life = &self.life;
        if life.verdict.is_none() && self.phase == Phase::Work && self.slowest() == At::Dropped {
            self.begin_purge();
        }
        let worked = self.phase >= Phase::Work;
        let over = self.life.verdict.is_some() || self.purge_over();
        if over || worked && self.slowest() > At::Snapshot {
            let scout = self.life.ring.up_or(self.spec.scout);
            self.life.balancing.turn_on(scout, now_ms);
        }
        if over && self.life.balancing.settled() {
            self.life.end();
        }
    }
}
