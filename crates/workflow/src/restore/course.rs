//! A restore as a course of steps: what is waited for, and what happens when nothing comes.

use protocol::{ClusterId, Event, Failed, Job, NodeId, RunId};

use super::{Host, Phase, Restore};
use crate::{
    absence::Workers,
    course::{Course, Folded, failure},
    life::{Life, Verdict},
    undo::Undo,
    wait::{Step, Wait, Who, Why},
};

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
        waits.extend(self.scrap_wait());
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
            Phase::Schema => waits.push(Wait::node(
                self.planner(),
                Step::PrepareSchema,
                self.since_ms,
            )),
            Phase::Settle => waits.push(self.settle_wait()),
            Phase::Prove => waits.push(Wait::node(self.planner(), Step::Prove, self.since_ms)),
            Phase::Balance | Phase::PutBack => {}
        }
        waits
    }

    fn jobs(&self, wait: &Wait) -> Vec<Job> {
        self.jobs_of(wait)
    }

    fn lacks(&self, wait: &Wait, number: u32) -> bool {
        match (wait.step, &wait.who) {
            (Step::Load, who) => self
                .share(who)
                .is_some_and(|share| self.missing(share).any(|batch| batch == number)),
            (Step::BalancingOn, _) => number == 1,
            (
                Step::Inspect
                | Step::BalancingOff
                | Step::Plan
                | Step::PrepareSchema
                | Step::Prove
                | Step::SettleSchema
                | Step::Prepare
                | Step::PutBack
                | Step::Snapshot
                | Step::Index
                | Step::StoreSchema
                | Step::Upload
                | Step::Seal
                | Step::Drop
                | Step::Purge
                | Step::Validate
                | Step::Clear,
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
            (Step::SettleSchema, _) if self.scrap.is_some() => {
                let excuse = self.life.excuse(wait, why);
                self.leave_scrap(&excuse);
            }
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
                | Step::PrepareSchema
                | Step::Prove
                | Step::SettleSchema
                | Step::Prepare
                | Step::Load
                | Step::Snapshot
                | Step::Index
                | Step::StoreSchema
                | Step::Upload
                | Step::Seal
                | Step::Drop
                | Step::Purge
                | Step::Validate
                | Step::Clear,
                _,
            ) => self.fail_at(wait, self.life.excuse(wait, why)),
        }
    }

    fn job_failed(&mut self, wait: &Wait, node: Option<NodeId>, failed: &Failed) {
        if let (Step::PutBack, Who::Node(node)) = (wait.step, &wait.who) {
            if let Some(undo) = self.hosts.get_mut(node).and_then(|host| host.back.as_mut()) {
                let _paused = undo.failed(&failed.reason);
            }
            return;
        }
        if let (Step::SettleSchema, Some(undo)) = (wait.step, &mut self.scrap) {
            let _paused = undo.failed(&failed.reason);
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
            .chain(&mut self.scrap)
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
        if self.life.verdict.is_some() {
            self.tell_left();
        }
        self.begin_putting_back();
        let open = |host: &Host| host.back.as_ref().is_some_and(Undo::open);
        let scrapping = self.scrap.as_ref().is_some_and(Undo::open);
        if self.life.balancing.settled() && !scrapping && !self.hosts.values().any(open) {
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
