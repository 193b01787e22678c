//! What an uploader counts.

use prometheus_client::{
    metrics::counter::Counter,
    registry::{Registry, Unit},
};

/// Counters, all growing from the process' start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) files: Counter,
    pub(crate) sent: Counter,
    pub(crate) chunks: Counter,
    pub(crate) sealed: Counter,
    pub(crate) purged: Counter,
    pub(crate) deleted: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("files", "Components stored", metrics.files.clone());
        registry.register_with_unit(
            "sent",
            "Payload that reached the bucket",
            Unit::Bytes,
            metrics.sent.clone(),
        );
        registry.register(
            "chunks",
            "Chunks stored with their receipt",
            metrics.chunks.clone(),
        );
        registry.register("sealed", "Manifests published", metrics.sealed.clone());
        registry.register("purged", "Backups removed", metrics.purged.clone());
        registry.register(
            "deleted",
            "Objects of removed backups deleted",
            metrics.deleted.clone(),
        );
        metrics
    }
}
