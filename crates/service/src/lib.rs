//! What every process of Thetis shares: arguments, configuration, logs, traces, metrics, health and
//! the way to end.
//!
//! A service is a library with one `async fn run(Context)`, and a `main` that hands it to [`main`].
//!
//! # Promises
//! * A configuration that is wrong ends the process at once with status 64 and a text that names
//!   the key, the value's place and the environment variable.
//! * SIGTERM and SIGINT ask the service to end and wait at most [`GRACE`]; a second signal does not
//!   wait.
//! * `/metrics`, `/healthz` and `/readyz` answer on `admin.listen` while the process lives.
//!
//! # Not here
//! What a service does.

mod adaptive;
mod admin;
mod beside;
mod certificates;
mod config;
mod connections;
mod error;
mod life;
mod login;
mod natively;
mod pacer;
mod recent;
mod runtime;
mod telemetry;
mod telling;

pub use admin::{Health, Registry};
pub use beside::{Beside, connect, pause};
pub use config::{
    AdminConfig, Config, ConfigError, LogConfig, LogFormat, NodeConfig, NotifyConfig,
    RestoreConfig, RuntimeConfig, SchedulerConfig, TelemetryConfig, TlsConfig, UploaderConfig,
    WebhookConfig, reference,
};
pub use error::{Chain, Error};
pub use life::{Context, GRACE, main, serve};
pub use login::Login;
pub use natively::Natively;
pub use pacer::{Pacer, Say};
pub use recent::logged;
pub use telling::telling;
