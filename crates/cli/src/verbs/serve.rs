//! The verbs that run services: one to a process, or several.

use std::{future::Future, path::PathBuf, pin::Pin, process::ExitCode};

use clap::Args;
use futures::{StreamExt as _, stream::FuturesUnordered};
use service::{Config, Context, Error};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    end,
    error::{Exit, Failure},
};

/// How a service is run.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// The configuration file (TOML or YAML); each key can also be set as THETIS_<SECTION>__<KEY>
    #[arg(
        long,
        env = "THETIS_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
    /// Check the configuration and end
    #[arg(long)]
    check_config: bool,
}

/// Which services to run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Node,
    Standalone,
    Scheduler,
    SnapshotWorker,
    Uploader,
    RestoreWorker,
}

/// Runs services until they end or a signal asks them to.
pub(crate) fn run(which: Which, args: &ServiceArgs) -> ExitCode {
    let config = match Config::load(args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            let failure = Failure::new(Exit::Configuration, error.to_string());
            return end(&failure.advise("docs/configuration.md lists every key"));
        }
    };
    if args.check_config {
        return ExitCode::SUCCESS;
    }
    match which {
        Which::Node => service::serve("node", config, |ctx| {
            together(ctx.stop.clone(), workers(&ctx))
        }),
        Which::Standalone => service::serve("standalone", config, |ctx| {
            together(ctx.stop.clone(), everything(&ctx))
        }),
        Which::Scheduler => service::serve("scheduler", config, scheduler::run),
        Which::SnapshotWorker => service::serve("snapshot-worker", config, snapshot_worker::run),
        Which::Uploader => service::serve("uploader", config, uploader::run),
        Which::RestoreWorker => service::serve("restore-worker", config, restore_worker::run),
    }
}

/// A service that is about to run. Its own work is on tasks of their own.
type Running = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

fn workers(ctx: &Context) -> Vec<Running> {
    vec![
        named("snapshot-worker", snapshot_worker::run(ctx.clone())),
        named("uploader", uploader::run(ctx.clone())),
        named("restore-worker", restore_worker::run(ctx.clone())),
    ]
}

fn everything(ctx: &Context) -> Vec<Running> {
    let mut services = workers(ctx);
    services.insert(0, named("scheduler", scheduler::run(ctx.clone())));
    services
}

fn named(
    name: &'static str,
    service: impl Future<Output = Result<(), Error>> + 'static,
) -> Running {
    Box::pin(async move {
        service
            .await
            .map_err(|e| Error::new(format!("running the {name}"), e))
    })
}

/// Runs services until all have ended; the end of one is told to the others by `stop`.
///
/// # Errors
/// The first that a service ended by.
async fn together(stop: CancellationToken, services: Vec<Running>) -> Result<(), Error> {
    let mut running: FuturesUnordered<Running> = services.into_iter().collect();
    let mut ended = Ok(());
    while let Some(result) = running.next().await {
        if !stop.is_cancelled() {
            info!("a service ended; ending the others");
            stop.cancel();
        }
        match (&ended, result) {
            (Ok(()), result) => ended = result,
            (Err(_), Err(another)) => {
                warn!(error = %service::Chain(&another), "another service ended by an error");
            }
            (Err(_), Ok(())) => {}
        }
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_one_service_ends_all() {
        let stop = CancellationToken::new();
        let waits = |name| {
            let stop = stop.clone();
            named(name, async move {
                stop.cancelled().await;
                Ok(())
            })
        };
        let fails = named("uploader", async {
            Err(Error::new("connecting to NATS", "refused"))
        });
        let ended = together(
            stop.clone(),
            vec![waits("scheduler"), fails, waits("restore-worker")],
        )
        .await;
        let error = ended.unwrap_err();
        assert_eq!(
            service::Chain(&error).to_string(),
            "running the uploader: connecting to NATS: refused"
        );
    }
}
