//! The life of a process: from arguments to exit status.

use std::{future::Future, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    Chain, Config, Error, Health, Registry, admin, certificates::Certificates, runtime,
    telemetry::Telemetry,
};

/// How long a service may take to end. Below Kubernetes' 30 s.
pub const GRACE: Duration = Duration::from_secs(25);

/// The status of a process whose configuration is wrong (`EX_USAGE`).
const STATUS_CONFIG: u8 = 64;

/// What a service gets.
#[derive(Clone)]
pub struct Context {
    /// The configuration, checked.
    pub config: Arc<Config>,
    /// Cancelled when the service shall end.
    pub stop: CancellationToken,
    /// Where its metrics go.
    pub registry: Registry,
    /// Where it says whether it can work.
    pub health: Health,
}

#[derive(Parser)]
#[command(
    version,
    about = "A service of Thetis, backup and restore of ScyllaDB clusters"
)]
struct Arguments {
    /// The configuration file (TOML or YAML); each key can also be set as THETIS_<SECTION>__<KEY>
    #[arg(long, env = "THETIS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and end
    #[arg(long)]
    check_config: bool,
}

/// The `main` of a service: reads arguments and configuration, and runs it to its end.
pub fn main<S, F>(name: &'static str, start: S) -> ExitCode
where
    S: FnOnce(Context) -> F,
    F: Future<Output = Result<(), Error>>,
{
    let arguments = Arguments::parse();
    let config = match Config::load(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    if arguments.check_config {
        return ExitCode::SUCCESS;
    }
    serve(name, config, start)
}

#[expect(
    clippy::print_stderr,
    reason = "there is no log before the configuration is read"
)]
fn refuse(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("thetis: {error}");
    ExitCode::from(STATUS_CONFIG)
}

/// Runs a service with a configuration that has been read, until it ends or a signal asks it to.
pub fn serve<S, F>(name: &'static str, config: Config, start: S) -> ExitCode
where
    S: FnOnce(Context) -> F,
    F: Future<Output = Result<(), Error>>,
{
    let runtime = match runtime::build(&config.runtime) {
        Ok(runtime) => runtime,
        Err(cause) => return refuse(&Error::new("starting threads by `runtime`", cause)),
    };
    runtime.block_on(async {
        let telemetry = match Telemetry::start(name, &config) {
            Ok(telemetry) => telemetry,
            Err(error) => return refuse(&error),
        };
        let status = live(name, config, start).await;
        telemetry.stop();
        status
    })
}

async fn live<S, F>(name: &'static str, config: Config, start: S) -> ExitCode
where
    S: FnOnce(Context) -> F,
    F: Future<Output = Result<(), Error>>,
{
    let listen = config.admin.listen.clone();
    let context = Context {
        config: Arc::new(config),
        stop: CancellationToken::new(),
        registry: Registry::default(),
        health: Health::default(),
    };
    context.registry.collect(Certificates::of(&context.config));
    let admin = match TcpListener::bind(&listen).await {
        Ok(listener) => listener,
        Err(cause) => {
            error!(address = listen, %cause, "cannot listen on `admin.listen`");
            return ExitCode::from(STATUS_CONFIG);
        }
    };
    let address = admin.local_addr().map_or(listen, |a| a.to_string());
    info!(
        service = name,
        version = env!("CARGO_PKG_VERSION"),
        admin = address,
        "starting"
    );
    let service = start(context.clone());
    tokio::select! {
        ended = until_stopped(service, &context.stop) => ended,
        served = admin::serve(admin, context.registry, context.health) => {
            error!(error = ?served.err(), "the admin port stopped answering");
            ExitCode::FAILURE
        }
    }
}

/// Waits for the service's end; a signal asks for it, a second one does not wait.
async fn until_stopped(
    service: impl Future<Output = Result<(), Error>>,
    stop: &CancellationToken,
) -> ExitCode {
    let mut term = signal(SignalKind::terminate()).expect("a process can listen for SIGTERM");
    let mut int = signal(SignalKind::interrupt()).expect("a process can listen for SIGINT");
    let mut service = std::pin::pin!(service);
    tokio::select! {
        ended = &mut service => return status(ended),
        _ = term.recv() => info!("SIGTERM: ending"),
        _ = int.recv() => info!("SIGINT: ending"),
    }
    stop.cancel();
    tokio::select! {
        ended = &mut service => status(ended),
        () = tokio::time::sleep(GRACE) => {
            warn!(grace = ?GRACE, "did not end in time; leaving work to be delivered again");
            ExitCode::FAILURE
        }
        _ = term.recv() => ExitCode::FAILURE,
        _ = int.recv() => ExitCode::FAILURE,
    }
}

fn status(ended: Result<(), Error>) -> ExitCode {
    match ended {
        Ok(()) => {
            info!("ended");
            ExitCode::SUCCESS
        }
        Err(cause) => {
            error!(error = %Chain(&cause), "ended by an error");
            ExitCode::FAILURE
        }
    }
}
