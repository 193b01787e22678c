//! `thetis stop`.

use clap::Args;

use crate::{
    args::ClusterArg,
    error::Failure,
    shape::Stopped,
    task_arg,
    verbs::{Client, done},
};

/// What to stop.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis stop -c prod backup/nightly
  thetis stop -c prod 01920000-0000-7000-8000-0000000000b1
  thetis stop -c prod backup --disable
  thetis stop -c prod backup/nightly --delete")]
pub(crate) struct StopArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The task: <type>/<id or name>, its id, or its type while there is one of it
    #[arg(value_name = "TASK")]
    task: String,
    /// Also forbid it to run again
    #[arg(long)]
    disable: bool,
    /// Also delete the task with its runs; its backups stay at first, and go by age
    #[arg(long, conflicts_with = "disable")]
    delete: bool,
}

pub(crate) async fn run(client: &Client, args: StopArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let tasks = client.tasks(&cluster).await?;
    let task = task_arg::resolve(&args.task, &tasks)?;
    if args.delete {
        let path = ["cluster", &cluster, "task", &task.kind, &task.id];
        client.api.delete(&path, &[]).await?;
        return done(client.output, &format!("{} is deleted", task.label()));
    }
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
