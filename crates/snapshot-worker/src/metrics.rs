//! What a snapshot-worker tells: the disk space that snapshots hold on its node.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use protocol::SnapshotTag;
use queue::CancellationToken;
use scylla::{Handover, Node};
use service::Chain;
use tracing::debug;

/// How often the node is asked. It looks through all snapshot directories for the answer.
const EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TakenBy {
    taken_by: &'static str,
}

/// Disk space that snapshots hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    held: Family<TakenBy, Gauge<u64, AtomicU64>>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_with_unit(
            "held",
            "Disk space of the node that only snapshots hold: those that a backup took, and other ones",
            Unit::Bytes,
            metrics.held.clone(),
        );
        metrics
    }

    /// Asks the node until `stop`. It answers after a native backup, if one runs.
    pub(crate) async fn look_on(&self, node: &Node, stop: &CancellationToken) {
        loop {
            match stop.run_until_cancelled(node.snapshots()).await {
                None => return,
                Some(Ok(found)) => {
                    for (taken_by, ours) in [("backup", true), ("other", false)] {
                        let some = found.iter();
                        let some = some.filter(|part| is_ours(&part.tag) == ours);
                        let bytes = some.map(|part| part.live).sum();
                        self.held.get_or_create(&TakenBy { taken_by }).set(bytes);
                    }
                }
                // What is not known is not shown.
                Some(Err(error)) => {
                    self.held.clear();
                    debug!(error = %Chain(&error), "snapshots not looked at");
                }
            }
            if service::pause(stop, EVERY).await {
                return;
            }
        }
    }
}

/// Whether backups made it: a snapshot, or what an upload by ScyllaDB was given of one.
fn is_ours(name: &str) -> bool {
    name.parse::<SnapshotTag>().is_ok() || name.parse::<Handover>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_uploads_are_given_is_ours() {
        for (name, ours) in [
            ("sm_20260131235959UTC", true),
            (
                "thetis_6f1e0000-0000-4000-8000-000000000001_12_sm_20260131235959UTC",
                true,
            ),
            ("thetis_mine", false),
            ("before-upgrade", false),
        ] {
            assert_eq!(is_ours(name), ours, "{name}");
        }
    }
}
