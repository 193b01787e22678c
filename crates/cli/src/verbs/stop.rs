//! `thetis stop`.

use clap::Args;

use crate::{args::ClusterArg, error::Failure, shape::Stopped, task_arg, verbs::Client};

/// What to stop.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis stop -c prod backup/nightly
  thetis stop -c prod 01920000-0000-7000-8000-0000000000b1
  thetis stop -c prod backup --disable")]
pub(crate) struct StopArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The task: <type>/<id or name>, its id, or its type while there is one of it
    #[arg(value_name = "TASK")]
    task: String,
    /// Also forbid it to run again
    #[arg(long)]
    disable: bool,
}

pub(crate) async fn run(client: &Client, args: StopArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let tasks = client.tasks(&cluster).await?;
    let task = task_arg::resolve(&args.task, &tasks)?;
    let query: &[_] = if args.disable {
        &[("disable", "true")]
    } else {
        &[]
    };
    let path = ["cluster", &cluster, "task", &task.kind, &task.id, "stop"];
    let answer = client.api.put(&path, query).await?;
    let label = task.label();
    client
        .output
        .answer(&answer, |stopped: Stopped| match stopped.run_id {
            Some(_) => {
                format!("{label} is stopping; continue it with: thetis start -c {cluster} {label}")
            }
            None => format!("{label} has no run under way"),
        })
}
