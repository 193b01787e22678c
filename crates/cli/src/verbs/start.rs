//! `thetis start`.

use clap::Args;

use crate::{
    args::ClusterArg,
    error::Failure,
    output::note,
    task_arg,
    verbs::{Client, done},
};

/// What to start.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis start -c prod backup/nightly
  thetis start -c prod restore --wait
  thetis start -c prod backup/nightly --no-continue")]
pub(crate) struct StartArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The task: <type>/<id or name>, its id, or its type while there is one of it
    #[arg(value_name = "TASK")]
    task: String,
    /// Begin anew instead of going on from where the last run was stopped or failed
    #[arg(long)]
    no_continue: bool,
    /// Wait for the end; the exit status is 0 only if it is DONE
    #[arg(long)]
    wait: bool,
}

pub(crate) async fn run(client: &Client, args: StartArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let tasks = client.tasks(&cluster).await?;
    let task = task_arg::resolve(&args.task, &tasks)?;
    let resume = if args.no_continue { "false" } else { "true" };
    let path = ["cluster", &cluster, "task", &task.kind, &task.id, "start"];
    let answer = client.api.put(&path, &[("continue", resume)]).await?;
    if args.wait {
        if client.output.for_people() {
            note(&task.label());
        }
        return client.wait(&cluster, &answer.read()?).await;
    }
    if client.output.for_people() {
        let label = task.label();
        return done(
            client.output,
            &format!("{label} is running; follow it with: thetis progress -c {cluster} {label}"),
        );
    }
    client
        .output
        .answer(&answer, |_: serde::de::IgnoredAny| String::new())
}
