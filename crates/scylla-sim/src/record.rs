//! What the simulator remembers of the requests it got: counts, and those it disliked.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use serde::Serialize;

/// Violations kept; more are only counted.
const KEPT: usize = 1000;

/// A request that real nodes may let pass and a careful client never sends.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Violation {
    /// Number of the node, from 1.
    pub(crate) node: usize,
    /// Method and path with query.
    pub(crate) request: String,
    pub(crate) problem: String,
}

#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// By method and route, then node.
    calls: Mutex<BTreeMap<String, BTreeMap<usize, u64>>>,
    violations: Mutex<Vec<Violation>>,
}

impl Recorder {
    pub(crate) fn called(&self, node: usize, route: String) {
        *self
            .calls()
            .entry(route)
            .or_default()
            .entry(node + 1)
            .or_default() += 1;
    }

    pub(crate) fn disliked(&self, node: usize, request: &str, problem: impl Into<String>) {
        let mut list = self.violations();
        if list.len() < KEPT {
            let violation = Violation {
                node: node + 1,
                request: request.into(),
                problem: problem.into(),
            };
            tracing::debug!(
                node = violation.node,
                request,
                problem = violation.problem,
                "violation"
            );
            list.push(violation);
        }
    }

    pub(crate) fn calls(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<usize, u64>>> {
        self.calls.lock().expect("no panic while held")
    }

    pub(crate) fn violations(&self) -> MutexGuard<'_, Vec<Violation>> {
        self.violations.lock().expect("no panic while held")
    }
}
