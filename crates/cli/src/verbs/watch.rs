//! `thetis watch`.

use std::{io::Write as _, time::Duration};

use clap::Args;
use jiff::Timestamp;
use tokio::time::sleep;

use crate::{
    args::ClusterArg,
    error::Failure,
    output::{note, print},
    progress::{follow::Watched, line},
    shape::Task,
    verbs::{Client, tasks::table},
};

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// Clears the screen and goes to its beginning.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// What to watch.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis watch -c prod
  thetis watch -c prod --all

Shows the tasks of a cluster and how far their runs are, until it is interrupted. Without a terminal it
prints a line whenever something has changed.")]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Also tasks that may not run
    #[arg(long, short)]
    all: bool,
}

pub(crate) async fn run(client: &Client, args: WatchArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    tokio::select! {
        ended = watch(client, &cluster, args.all) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn watch(client: &Client, cluster: &str, all: bool) -> Result<(), Failure> {
    let (mut told, mut quiet) = (Vec::new(), false);
    loop {
        match look(client, cluster, all).await {
            Ok(seen) => {
                quiet = false;
                show(client, cluster, &seen, &mut told)?;
            }
            Err(failure) if failure.passing => {
                if !quiet {
                    note(&failure.message);
                    quiet = true;
                }
            }
            Err(failure) => return Err(failure),
        }
        sleep(PAUSE).await;
    }
}

/// Each task, and how far its run is if one is under way.
async fn look(
    client: &Client,
    cluster: &str,
    all: bool,
) -> Result<Vec<(Task, Option<String>)>, Failure> {
    let tasks = client.tasks(cluster).await?;
    let mut seen = Vec::new();
    for task in tasks {
        if !all && !task.enabled && !task.active() {
            continue;
        }
        let run = match (&task.run_id, task.active()) {
            (Some(run), true) => {
                let watched = Watched {
                    cluster,
                    kind: &task.kind,
                    task: &task.id,
                    run,
                    fresh: false,
                };
                Some(line(&watched.look(&client.api).await?.1))
            }
            (Some(_) | None, _) => None,
        };
        seen.push((task, run));
    }
    Ok(seen)
}

fn show(
    client: &Client,
    cluster: &str,
    seen: &[(Task, Option<String>)],
    told: &mut Vec<String>,
) -> Result<(), Failure> {
    if client.output.live() {
        let tasks = seen.iter().map(|(task, _)| task.clone()).collect();
        let mut text = format!(
            "{CLEAR}{cluster}, {}\n\n{}\n",
            Timestamp::now().strftime("%H:%M:%S UTC"),
            table(tasks, client.output.colour())
        );
        for (task, run) in seen {
            if let Some(run) = run {
                text.push_str(&format!("\n{}  {run}", task.title()));
            }
        }
        let mut out = std::io::stdout().lock();
        // Nobody is left to look on if this fails.
        let _nobody_looks = writeln!(out, "{text}").and_then(|()| out.flush());
        return Ok(());
    }
    let now: Vec<String> = seen
        .iter()
        .map(|(task, run)| {
            let state = run.clone().unwrap_or_else(|| task.status.clone());
            format!("{} {state}", task.title())
        })
        .collect();
    for line in now.iter().filter(|line| !told.contains(line)) {
        print(&format!("{} {line}", Timestamp::now().strftime("%H:%M:%S")))?;
    }
    *told = now;
    Ok(())
}
