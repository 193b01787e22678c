//! The last step of a backup: to remove what need not be kept any more.
//!
//! One uploader does it for the whole cluster, while the run still keeps others out. Whatever comes
//! of it, the backup is done; what was not removed is left to the next one.
//!
//! A purge that did not say it has done everything may still be at work somewhere, out of reach. So
//! the run rests before it ends: long enough that the last of its deletions is past when another run
//! begins to rely on what the buckets hold. See [`Run::leaves_off`](crate::Run::leaves_off). A copy
//! of one that has done everything finds nothing to do.

use protocol::{Job, NodeId, Purge, Purged, Retention};
use serde::{Deserialize, Serialize};

use super::{Backup, Phase};
use crate::{
    absence::Workers,
    course::Folded,
    limit,
    wait::{Step, Wait, Why},
};

/// How far the purge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Purging {
    /// Whose uploader is asked.
    node: NodeId,
    /// When it was asked, or the rest began, on the run's clock.
    since_ms: u64,
    /// Whether another node was asked before, whose uploader was away and may be back.
    moved: bool,
    /// Whether nobody is asked any more, and the run rests.
    resting: bool,
    /// Whether nothing is waited for.
    pub(super) done: bool,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Backups of which nothing is left.
    pub backups: u64,
    /// Objects, and their bytes as far as they are known.
    pub objects: u64,
    /// See `objects`.
    pub bytes: u64,
}

impl Removed {
    pub(crate) fn of(purged: &Purged) -> Self {
        Self {
            backups: purged.backups.len() as u64,
            objects: purged.objects,
            bytes: purged.bytes,
        }
    }
}

impl Backup {
    /// Begins the purge. There are parts, or the run would have failed at its inspection.
    pub(super) fn begin_purge(&mut self) {
        self.phase = Phase::Purge;
        self.purging = self.parts.keys().next().map(|node| Purging {
            node: *node,
            since_ms: self.life.now_ms(),
            moved: false,
            resting: false,
            done: false,
        });
    }

    /// Whether nothing of the purge is waited for.
    pub(super) fn purge_over(&self) -> bool {
        self.phase == Phase::Purge && self.purging.is_none_or(|purging| purging.done)
    }

    pub(crate) fn rests(&self) -> bool {
        self.life.ended.is_none() && self.purging.is_some_and(|purging| purging.resting)
    }

    pub(super) fn purge_wait(&self) -> Option<Wait> {
        let purging = self
            .purging
            .filter(|purging| !purging.resting && !purging.done)?;
        Some(Wait::node(purging.node, Step::Purge, purging.since_ms))
    }

    /// The job, as far as the run knows it: the driver adds what tasks keep and which backups are
    /// open. Without that, nothing goes.
    pub(super) fn purge_job(&self, node: NodeId) -> Job {
        Job::Purge(Purge {
            cluster: self.spec.cluster,
            run: self.spec.run,
            node,
            locations: self.spec.request.location.clone(),
            tasks: Vec::new(),
            unknown: Retention::default(),
            open: Vec::new(),
            restored: Vec::new(),
            named: Vec::new(),
            force: false,
        })
    }

    pub(super) fn purged(&mut self, purged: &Purged) -> Folded {
        let now_ms = self.life.now_ms();
        let Some(purging) = self
            .purging
            .as_mut()
            .filter(|purging| !purging.done && !purging.resting)
        else {
            return Folded::Known;
        };
        if purged.obstacles.is_empty() && !purged.contended && !purging.moved {
            purging.done = true;
        } else {
            (purging.resting, purging.since_ms) = (true, now_ms);
        }
        if !purged.obstacles.is_empty() {
            let obstacles = purged.obstacles.join("; ");
            self.life.remark(&format!(
                "not all old backups could be removed: {obstacles}"
            ));
        }
        self.removed = Some(Removed::of(purged));
        Folded::Changed
    }

    /// Has another node's uploader do it, if that of the first is away; else leaves it.
    pub(super) fn give_up_purge(&mut self, wait: &Wait, why: Why, absent: &Workers) {
        let worker = wait.step.worker();
        let there = |node: &&NodeId| !absent.contains(&(**node, worker));
        let other = match why {
            Why::Absent => self.parts.keys().find(there).copied(),
            Why::Late => None,
        };
        match (&mut self.purging, other) {
            (Some(purging), Some(other)) => (purging.node, purging.moved) = (other, true),
            (_, _) => {
                let excuse = self.life.excuse(wait, why);
                self.leave_purge(&excuse);
            }
        }
    }

    /// Asks nobody to purge any more; false if nobody was asked.
    pub(super) fn leave_purge(&mut self, why: &str) -> bool {
        let now_ms = self.life.now_ms();
        let Some(purging) = self
            .purging
            .as_mut()
            .filter(|purging| !purging.done && !purging.resting)
        else {
            return false;
        };
        (purging.resting, purging.since_ms) = (true, now_ms);
        self.life
            .remark(&format!("old backups stay until the next backup: {why}"));
        true
    }

    /// Ends the rest when its time is up; true if it did.
    pub(super) fn rest(&mut self) -> bool {
        let now_ms = self.life.now_ms();
        let Some(purging) = self
            .purging
            .as_mut()
            .filter(|purging| purging.resting && !purging.done)
        else {
            return false;
        };
        purging.done = now_ms.saturating_sub(purging.since_ms) >= limit::REST_MS;
        purging.done
    }
}
