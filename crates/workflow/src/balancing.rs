//! The cluster's tablet balancing: off while it must hold still, and surely on again.
//!
//! Any node can switch it for the whole cluster, so a node that does not answer is passed over for
//! another. It is asked to be on until a node says that it is.

use std::collections::BTreeSet;

use protocol::{NodeId, WorkerKind};
use serde::{Deserialize, Serialize};

use crate::{
    absence::Workers,
    course::Folded,
    limit,
    ring::Ring,
    undo::Undo,
    wait::{Step, Wait},
};

/// Where balancing stands, as far as the run knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Balancing {
    /// As it was found.
    #[default]
    Untouched,
    /// An earlier attempt may have left it off.
    Unknown,
    /// Asked to be off.
    TurningOff {
        node: NodeId,
        since_ms: u64,
        round: u32,
    },
    /// Off; `node` did it.
    Off { node: NodeId },
    /// Asked to be on, until it is: see [`TurningOn`]. Stays when done, to see late changes.
    TurningOn(TurningOn),
}

/// Asked to be on, until it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TurningOn {
    /// The node told.
    node: NodeId,
    undo: Undo,
    /// Nodes that were told and failed, or did not answer.
    tried: BTreeSet<NodeId>,
    /// Since when no node has a worker that could be told.
    alone_ms: Option<u64>,
    /// Whether this run switched it off. If not, one failure of each node is enough to give up:
    /// the cluster may be too old to know tablets.
    sure: bool,
}

impl Balancing {
    /// Asks for it to be off, by `node`.
    pub(crate) fn turn_off(&mut self, node: NodeId, now_ms: u64) {
        *self = Self::TurningOff {
            node,
            since_ms: now_ms,
            round: 0,
        };
    }

    /// Asks another node instead of an absent one; false if there is none.
    pub(crate) fn turn_off_elsewhere(
        &mut self,
        absent: &Workers,
        ring: &Ring,
        now_ms: u64,
    ) -> bool {
        let other = ring
            .iter()
            .find(|(node, member)| member.up && !absent.contains(&(*node, WorkerKind::Snapshot)));
        match (&mut *self, other) {
            (
                Self::TurningOff {
                    node,
                    since_ms,
                    round,
                },
                Some((other, _)),
            ) => {
                (*node, *since_ms, *round) = (other, now_ms, *round + 1);
                true
            }
            (
                Self::TurningOff { .. }
                | Self::Untouched
                | Self::Unknown
                | Self::Off { .. }
                | Self::TurningOn(_),
                _,
            ) => false,
        }
    }

    /// Asks for it to be on if it was switched off, or may have been. `scout` is told where no
    /// other node is known. True if anything had to be done.
    pub(crate) fn turn_on(&mut self, scout: NodeId, now_ms: u64) -> bool {
        let (node, sure) = match self {
            Self::Untouched | Self::TurningOn(_) => return false,
            Self::Unknown => (scout, false),
            // The same node, which does one after the other.
            Self::TurningOff { node, .. } | Self::Off { node } => (*node, true),
        };
        *self = Self::TurningOn(TurningOn {
            node,
            undo: Undo::ask(now_ms),
            tried: BTreeSet::new(),
            alone_ms: None,
            sure,
        });
        true
    }

    /// What the run knows for certain not to need its help: for a run that will not touch it.
    pub(crate) fn forget_unknown(&mut self) {
        if *self == Self::Unknown {
            *self = Self::Untouched;
        }
    }

    /// Whether there is nothing left to do about it.
    pub(crate) fn settled(&self) -> bool {
        match self {
            Self::Untouched => true,
            Self::Unknown | Self::TurningOff { .. } | Self::Off { .. } => false,
            Self::TurningOn(on) => !on.undo.open(),
        }
    }

    /// Whether it is surely off.
    pub(crate) fn off(&self) -> bool {
        match self {
            Self::Off { .. } => true,
            Self::Untouched | Self::Unknown | Self::TurningOff { .. } | Self::TurningOn(_) => false,
        }
    }

    /// Whether it may have been left off, for a person to put on.
    pub(crate) fn left_off(&self) -> bool {
        match self {
            Self::TurningOn(on) => on.undo.given_up(),
            Self::Untouched | Self::Unknown | Self::TurningOff { .. } | Self::Off { .. } => false,
        }
    }

    /// Why it could not be put on when last it could not; else empty.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::TurningOn(on) => &on.undo.reason,
            Self::Untouched | Self::Unknown | Self::TurningOff { .. } | Self::Off { .. } => "",
        }
    }

    /// What is waited for.
    pub(crate) fn wait(&self) -> Option<Wait> {
        match self {
            Self::TurningOff {
                node,
                since_ms,
                round,
            } => Some(Wait {
                round: *round,
                ..Wait::node(*node, Step::BalancingOff, *since_ms)
            }),
            Self::TurningOn(on) if on.undo.asked() => Some(Wait {
                round: on.undo.round,
                ..Wait::node(on.node, Step::BalancingOn, on.undo.since_ms)
            }),
            Self::Untouched | Self::Unknown | Self::Off { .. } | Self::TurningOn(_) => None,
        }
    }

    /// Folds in that `node` says it is on or off.
    pub(crate) fn set(&mut self, node: NodeId, enabled: bool, now_ms: u64) -> Folded {
        match (&mut *self, enabled) {
            (Self::TurningOff { .. }, false) => {
                *self = Self::Off { node };
                Folded::Changed
            }
            (Self::TurningOn(on), true) => on.undo.acknowledged(),
            (Self::TurningOn(on), false) => on.undo.changed_again(now_ms),
            (Self::Untouched, _) => Folded::Impossible,
            // Of an attempt before this one, which the run was rebuilt to repeat.
            (Self::Unknown | Self::Off { .. }, _) | (Self::TurningOff { .. }, true) => {
                Folded::Known
            }
        }
    }

    /// Folds in that `node` could not put it on.
    pub(crate) fn on_failed(
        &mut self,
        node: NodeId,
        reason: &str,
        ring: &Ring,
        now_ms: u64,
    ) -> Folded {
        match self {
            Self::TurningOn(on) if on.undo.asked() && on.node == node => {
                on.failed(reason, ring, now_ms);
                Folded::Changed
            }
            Self::Untouched
            | Self::Unknown
            | Self::TurningOff { .. }
            | Self::Off { .. }
            | Self::TurningOn(_) => Folded::Known,
        }
    }

    /// Looks whether the node told can still be hoped for; true if anything changed.
    pub(crate) fn tick(&mut self, absent: &Workers, ring: &Ring, now_ms: u64) -> bool {
        match self {
            Self::TurningOn(on) if on.undo.open() => on.tick(absent, ring, now_ms),
            Self::Untouched
            | Self::Unknown
            | Self::TurningOff { .. }
            | Self::Off { .. }
            | Self::TurningOn(_) => false,
        }
    }
}

impl TurningOn {
    fn failed(&mut self, reason: &str, ring: &Ring, now_ms: u64) {
        let _paused = self.undo.failed(reason);
        self.tried.insert(self.node);
        match candidates(self.node, ring).find(|node| !self.tried.contains(node)) {
            Some(next) => self.tell(next, now_ms),
            None if !self.sure => self.undo.give_up(),
            None => self.tried.clear(),
        }
    }

    fn tick(&mut self, absent: &Workers, ring: &Ring, now_ms: u64) -> bool {
        let here = |node: &NodeId| !absent.contains(&(*node, WorkerKind::Snapshot));
        if !candidates(self.node, ring).any(|node| here(&node)) {
            return self.nobody_here(now_ms);
        }
        let mut changed = self.alone_ms.take().is_some();
        if now_ms.saturating_sub(self.undo.since_ms) >= limit::BALANCING_ON_MS {
            self.undo.give_up();
            return true;
        }
        changed |= self.undo.tick(now_ms);
        let silent = now_ms.saturating_sub(self.undo.asked_ms) >= limit::BALANCING_ON_TRY_MS;
        if self.undo.asked() && (silent || !here(&self.node)) {
            self.tried.insert(self.node);
            if !candidates(self.node, ring).any(|node| here(&node) && !self.tried.contains(&node)) {
                self.tried.clear();
            }
            let mut fresh =
                candidates(self.node, ring).filter(|node| here(node) && !self.tried.contains(node));
            if let Some(next) = fresh.next() {
                self.tell(next, now_ms);
                changed = true;
            }
        }
        changed
    }

    fn nobody_here(&mut self, now_ms: u64) -> bool {
        match self.alone_ms {
            None => self.alone_ms = Some(now_ms),
            Some(since) if now_ms.saturating_sub(since) >= limit::ABSENT_MS => self.undo.give_up(),
            Some(_) => return false,
        }
        true
    }

    fn tell(&mut self, node: NodeId, now_ms: u64) {
        self.node = node;
        self.undo.ask_again(now_ms);
    }
}

/// Who can be told: every node of the ring, those that were up first; `node` where none is known.
fn candidates(node: NodeId, ring: &Ring) -> impl Iterator<Item = NodeId> {
    let with = |up: bool| {
        ring.iter()
            .filter(move |(_, member)| member.up == up)
            .map(|(node, _)| node)
    };
    let alone = ring.iter().next().is_none().then_some(node);
    with(true).chain(with(false)).chain(alone)
}
