//! What backup and restore runs have in common: time, nodes, balancing, and how they end.

use std::collections::BTreeSet;

use protocol::{NodeId, RunStatus};
use serde::{Deserialize, Serialize};

use crate::{
    absence::{Absences, Workers},
    balancing::Balancing,
    clock::Clock,
    limit,
    ring::Ring,
    wait::{Step, Wait, Who, Why, program},
};

/// Why the run's work is over before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Failed,
    Stopped,
}

impl Verdict {
    fn status(self) -> RunStatus {
        match self {
            Self::Failed => RunStatus::Error,
            Self::Stopped => RunStatus::Stopped,
        }
    }
}

/// What backup and restore runs have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) clock: Clock,
    pub(crate) absences: Absences,
    pub(crate) ring: Ring,
    pub(crate) balancing: Balancing,
    /// Set when no more work is to be asked for; what was changed is then put back.
    pub(crate) verdict: Option<Verdict>,
    /// The node whose step failed the run.
    pub(crate) culprit: Option<NodeId>,
    pub(crate) cause: String,
    pub(crate) ended: Option<RunStatus>,
    pub(crate) impossible: u32,
}

impl Life {
    pub(crate) fn new(unsettled: bool) -> Self {
        let balancing = if unsettled {
            Balancing::Unknown
        } else {
            Balancing::Untouched
        };
        Self {
            clock: Clock::default(),
            absences: Absences::default(),
            ring: Ring::default(),
            balancing,
            verdict: None,
            culprit: None,
            cause: String::new(),
            ended: None,
            impossible: 0,
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub(crate) fn status(&self) -> RunStatus {
        match (self.ended, self.verdict) {
            (Some(status), _) => status,
            (None, Some(Verdict::Stopped)) => RunStatus::Stopping,
            (None, Some(Verdict::Failed) | None) => RunStatus::Running,
        }
    }

    /// Whether work may still be asked for.
    pub(crate) fn working(&self) -> bool {
        self.ended.is_none() && self.verdict.is_none()
    }

    /// When the run ended, on the wall clock; `started_ms` of one that was never ticked.
    pub(crate) fn ended_ms(&self, started_ms: u64) -> Option<u64> {
        self.ended
            .map(|_| self.clock.wall_ms().unwrap_or(started_ms))
    }

    /// Fails the run, unless it is over already: the first failure is the cause.
    pub(crate) fn fail(&mut self, cause: String) {
        if self.working() {
            self.verdict = Some(Verdict::Failed);
            let remarks = std::mem::replace(&mut self.cause, cause);
            self.remark(&remarks);
        }
    }

    /// Adds to the cause what is worth knowing beside it.
    pub(crate) fn remark(&mut self, text: &str) {
        if text.is_empty() || self.cause.contains(text) {
            return;
        }
        if !self.cause.is_empty() {
            self.cause.push_str("; ");
        }
        self.cause.push_str(text);
    }

    /// Ends the run: as its verdict says, or done.
    pub(crate) fn end(&mut self) {
        if self.balancing.left_off() {
            let address = self
                .ring
                .iter()
                .next()
                .map_or("<node>", |(_, member)| &member.address);
            let reason = match self.balancing.reason() {
                "" => "no node could be told to switch it on".to_owned(),
                reason => format!("no node could switch it on ({reason})"),
            };
            let remark = format!(
                "tablet balancing may still be off, since {reason}: run `curl -X POST \
                 'http://{address}:10000/storage_service/tablets/balancing?enabled=true'` on one \
                 node of the cluster"
            );
            self.remark(&remark);
        }
        self.absences = Absences::default();
        self.ended = Some(self.verdict.map_or(RunStatus::Done, Verdict::status));
    }

    /// The workers that `waits` need.
    pub(crate) fn needs(&self, waits: &[Wait]) -> Workers {
        let mut needs = BTreeSet::new();
        for wait in waits {
            let worker = wait.step.worker();
            match &wait.who {
                Who::Node(node) => drop(needs.insert((*node, worker))),
                Who::Dc(dc) => needs.extend(self.ring.in_dc(dc).map(|node| (node, worker))),
            }
            match wait.step {
                // Any node can be told, so all are of interest.
                Step::BalancingOff | Step::BalancingOn | Step::Purge => {
                    needs.extend(self.ring.iter().map(|(node, _)| (node, worker)));
                }
                Step::Inspect
                | Step::Snapshot
                | Step::Index
                | Step::StoreSchema
                | Step::Upload
                | Step::Seal
                | Step::Drop
                | Step::Validate
                | Step::Clear
                | Step::Plan
                | Step::PrepareSchema
                | Step::Prove
                | Step::SettleSchema
                | Step::Prepare
                | Step::Load
                | Step::PutBack => {}
            }
        }
        needs
    }

    /// Whether `wait` has lasted too long.
    pub(crate) fn overdue(&self, wait: &Wait) -> Option<Why> {
        let now_ms = self.now_ms();
        let (worker, absent_ms) = (wait.step.worker(), wait.step.absent_ms());
        let away = |node| self.absences.beyond(node, worker, now_ms, absent_ms);
        let absent = match &wait.who {
            Who::Node(node) => away(*node),
            Who::Dc(dc) => self.ring.in_dc(dc).all(away),
        };
        let late = now_ms.saturating_sub(wait.since_ms) >= wait.limit_ms;
        match (absent, late) {
            (true, _) => Some(Why::Absent),
            (false, true) => Some(Why::Late),
            (false, false) => None,
        }
    }

    /// `wait` and why it was given up, for people.
    pub(crate) fn excuse(&self, wait: &Wait, why: Why) -> String {
        let whose = match &wait.who {
            Who::Node(node) => self.ring.name(*node),
            Who::Dc(dc) => format!("datacenter {dc}"),
        };
        match why {
            Why::Late => {
                format!(
                    "{whose} {} within {}",
                    wait.step.undone(),
                    limit::text(wait.limit_ms)
                )
            }
            Why::Absent => {
                let program = program(wait.step.worker());
                let time = limit::text(wait.step.absent_ms());
                format!("no {program} on {whose} for {time}: start `thetis node` there")
            }
        }
    }
}
