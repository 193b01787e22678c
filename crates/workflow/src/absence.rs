//! Which workers that a run needs are away, and since when.

use std::collections::BTreeSet;

use protocol::{NodeId, WorkerKind};
use serde::{Deserialize, Serialize};

/// A worker that is needed and away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Absence {
    node: NodeId,
    worker: WorkerKind,
    since_ms: u64,
}

/// Those that are away; a worker that is back, or needed no longer, is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Absences {
    away: Vec<Absence>,
}

/// Workers, by node and kind.
pub(crate) type Workers = BTreeSet<(NodeId, WorkerKind)>;

impl Absences {
    /// Notes who of `needed` is `absent` at `now_ms`; true if that is news.
    pub(crate) fn note(&mut self, needed: &Workers, absent: &Workers, now_ms: u64) -> bool {
        let since = |(node, worker): &(NodeId, WorkerKind)| {
            let (node, worker) = (*node, *worker);
            let since_ms = self.since(node, worker).unwrap_or(now_ms);
            Absence {
                node,
                worker,
                since_ms,
            }
        };
        let away: Vec<Absence> = needed.intersection(absent).map(since).collect();
        let news = away != self.away;
        self.away = away;
        news
    }

    /// Whether `worker` of `node` has been away for `limit_ms`.
    pub(crate) fn beyond(
        &self,
        node: NodeId,
        worker: WorkerKind,
        now_ms: u64,
        limit_ms: u64,
    ) -> bool {
        self.since(node, worker)
            .is_some_and(|since| now_ms.saturating_sub(since) >= limit_ms)
    }

    fn since(&self, node: NodeId, worker: WorkerKind) -> Option<u64> {
        let one = self
            .away
            .iter()
            .find(|away| away.node == node && away.worker == worker);
        one.map(|away| away.since_ms)
    }
}
