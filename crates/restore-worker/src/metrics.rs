//! What a restore-worker counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::{Registry, Unit},
};
use protocol::Method;

/// Who brought it into the cluster: `agent` or `native`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct By {
    pub(crate) method: &'static str,
}

/// Counters, all growing from the process' start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) received: Counter,
    pub(crate) batches: Family<By, Counter>,
    pub(crate) loaded: Family<By, Counter>,
    pub(crate) sstables: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_with_unit(
            "received",
            "Payload that came from the bucket",
            Unit::Bytes,
            metrics.received.clone(),
        );
        for method in [Method::Agent, Method::Native, Method::Tablets] {
            let by = By {
                method: method.as_str(),
            };
            drop(metrics.batches.get_or_create(&by));
            drop(metrics.loaded.get_or_create(&by));
        }
        registry.register(
            "batches",
            "Batches loaded, by who brought them",
            metrics.batches.clone(),
        );
        registry.register_with_unit(
            "loaded",
            "Payload that nodes have taken in, by who brought it",
            Unit::Bytes,
            metrics.loaded.clone(),
        );
        registry.register("sstables", "SSTables loaded", metrics.sstables.clone());
        metrics
    }
}
