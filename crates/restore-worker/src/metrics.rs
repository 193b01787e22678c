//! What a restore-worker counts.

use prometheus_client::{
    metrics::counter::Counter,
    registry::{Registry, Unit},
};

/// Counters, all growing from the process' start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) received: Counter,
    pub(crate) batches: Counter,
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
        registry.register("batches", "Batches loaded", metrics.batches.clone());
        registry.register("sstables", "SSTables loaded", metrics.sstables.clone());
        metrics
    }
}
