//! `thetis progress`.

use clap::Args;
use jiff::Timestamp;

use crate::{
    api::Answer,
    args::ClusterArg,
    error::Failure,
    output::Output,
    progress::{
        details::Details,
        follow::{Watched, verdict},
        text,
    },
    shape::RunProgress,
    task_arg,
    verbs::Client,
};

/// Which run to look at.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis progress -c prod
  thetis progress -c prod backup/nightly --wait
  thetis progress -c prod backup/nightly --run ~1 --details
  thetis progress -c prod 01920000-0000-7000-8000-0000000000b1 --output json

On a terminal, a run under way is shown until it ends; elsewhere, and with --output json, it is printed once.
The exit status tells how a run ended only when it was seen to end.")]
pub(crate) struct ProgressArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The task: <type>/<id or name>, its id, or its type; the one under way, or the last, when absent
    #[arg(value_name = "TASK")]
    task: Option<String>,
    /// Which of its runs: an id, `latest`, or `~N` for N runs back
    #[arg(long, value_name = "RUN", default_value = "latest")]
    run: String,
    /// Wait for the end; the exit status is 0 only if it is DONE
    #[arg(long)]
    wait: bool,
    /// Also show each table, and of a backup, on each node
    #[arg(long)]
    details: bool,
    /// With --details, only this node
    #[arg(long, value_name = "ADDRESS", requires = "details")]
    host: Option<String>,
    /// With --details, only this keyspace
    #[arg(long, short = 'K', value_name = "KEYSPACE", requires = "details")]
    keyspace: Option<String>,
}

pub(crate) async fn run(client: &Client, args: ProgressArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let tasks = client.tasks(&cluster).await?;
    let task = match &args.task {
        Some(text) => task_arg::resolve(text, &tasks)?,
        None => task_arg::latest(&tasks)?,
    };
    let mut watched = Watched {
        cluster: &cluster,
        kind: &task.kind,
        task: &task.id,
        run: &args.run,
        fresh: false,
    };
    let (mut answer, mut last) = watched.look(&client.api).await?;
    let follow = args.wait || (client.output.live() && !last.run.ended());
    let id = last.run.id.clone();
    if follow && !last.run.ended() {
        // This very run, even if another one of the task begins meanwhile.
        watched.run = if id.is_empty() { &args.run } else { &id };
        (answer, last) = watched.follow(&client.api, client.output).await?;
    }
    let details = args.details.then_some(Details {
        host: args.host,
        keyspace: args.keyspace,
    });
    show_with(client.output, &answer, details.as_ref())?;
    if follow {
        verdict(&last, &cluster)
    } else {
        Ok(())
    }
}

/// Prints a run's progress.
pub(crate) fn show(output: Output, answer: &Answer) -> Result<(), Failure> {
    show_with(output, answer, None)
}

fn show_with(output: Output, answer: &Answer, more: Option<&Details>) -> Result<(), Failure> {
    output.answer(answer, |all: RunProgress| {
        let mut shown = text(&all, output.colour(), Timestamp::now());
        if let Some(details) = more {
            shown.push_str(&details.text(&all, output.colour()));
        }
        shown
    })
}
