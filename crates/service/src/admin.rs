//! The admin port: `/metrics`, `/healthz`, `/readyz`.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get,
};
use prometheus_client::encoding::text::encode;
use queue::Queue;
use store::Stores;
use tokio::net::TcpListener;

use crate::connections::Connections;

/// Where metrics are registered; shared by all services of a process.
#[derive(Clone, Debug)]
pub struct Registry {
    metrics: Arc<Mutex<prometheus_client::registry::Registry>>,
    connections: Connections,
}

impl Default for Registry {
    fn default() -> Self {
        let connections = Connections::default();
        let mut metrics = prometheus_client::registry::Registry::default();
        metrics.register_collector(Box::new(connections.clone()));
        Self {
            metrics: Arc::new(Mutex::new(metrics)),
            connections,
        }
    }
}

impl Registry {
    /// Has what goes to NATS and to the stores counted, under `thetis_queue_` and `thetis_store_`.
    pub fn connected(&self, queue: &Queue, stores: &Stores) {
        self.connections.add(queue.stats(), stores.requests());
    }

    /// Has `collector` asked at each scrape, for metrics whose names it makes itself.
    pub fn collect(&self, collector: impl prometheus_client::collector::Collector) {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.register_collector(Box::new(collector));
    }

    /// Registers metrics under `thetis_<service>_`.
    pub fn register<T>(
        &self,
        service: &str,
        register: impl FnOnce(&mut prometheus_client::registry::Registry) -> T,
    ) -> T {
        let mut registry = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        register(
            registry
                .sub_registry_with_prefix("thetis")
                .sub_registry_with_prefix(service),
        )
    }

    /// All metrics now, as `/metrics` answers.
    ///
    /// # Errors
    /// When a collector fails.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(
            &mut text,
            &self.metrics.lock().unwrap_or_else(PoisonError::into_inner),
        )?;
        Ok(text)
    }
}

/// Whether a process can do its work. Alive it is as long as it answers.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<AtomicBool>);

impl Health {
    /// Says whether the process can do its work now.
    pub fn ready(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Answers on `listener` until dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    registry: Registry,
    health: Health,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .with_state(registry)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(health));
    axum::serve(listener, routes).await
}

async fn metrics(State(registry): State<Registry>) -> impl IntoResponse {
    match registry.text() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(e) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            e.to_string(),
        ),
    }
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    if health.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
