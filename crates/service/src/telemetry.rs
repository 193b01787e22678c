//! Logs and traces. The last lines of the log are also kept in memory.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing_subscriber::{
    EnvFilter, Layer, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    Config, ConfigError, LogFormat,
    recent::{Keep, SERVICE},
};

/// Keeps traces flowing; what is left goes out when it is shut down.
pub(crate) struct Telemetry(SdkTracerProvider);

impl Telemetry {
    /// Starts logs to standard error and, where an endpoint is configured, traces by OTLP.
    ///
    /// Trace contexts travel in message headers in any case.
    pub(crate) fn start(name: &'static str, config: &Config) -> Result<Self, ConfigError> {
        let filter = EnvFilter::try_new(&config.log.level).map_err(|e| ConfigError::Value {
            key: "log.level",
            reason: e.to_string(),
        })?;
        let provider = provider(name, config.telemetry.otlp_endpoint.as_deref())?;
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        opentelemetry::global::set_tracer_provider(provider.clone());
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = match config.log.format {
            LogFormat::Text => lines.with_ansi(false).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        let kept = tracing_subscriber::fmt::layer().with_writer(Keep);
        let kept = kept.json().flatten_event(true);
        let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer(name));
        SERVICE.get_or_init(|| name);
        // A second service in one process (tests, `thetis standalone`) shares what the first set up.
        let _already_set = tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .with(kept)
            .with(traces)
            .try_init();
        Ok(Self(provider))
    }

    /// Sends what is left.
    pub(crate) fn stop(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::debug!(%error, "the last traces were not sent");
        }
    }
}

fn provider(name: &'static str, endpoint: Option<&str>) -> Result<SdkTracerProvider, ConfigError> {
    let resource = Resource::builder()
        .with_service_name(format!("thetis-{name}"))
        .build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let Some(endpoint) = endpoint else {
        return Ok(builder.build());
    };
    // It is called on a thread of the processor's own, where there is no runtime: hence the blocking client.
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .build()
        .map_err(|e| ConfigError::Value {
            key: "telemetry.otlp_endpoint",
            reason: e.to_string(),
        })?;
    Ok(builder.with_batch_exporter(exporter).build())
}
