//! `thetis tasks`.

use clap::Args;
use jiff::Timestamp;

use crate::{
    args::ClusterArg,
    error::Failure,
    human::{age, time},
    output::note,
    shape::Task,
    table::{Align, Columns},
    verbs::Client,
};

/// Characters of a cause that a table shows; `thetis progress` shows all.
const CAUSE: usize = 60;

/// Which tasks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis tasks -c prod
  thetis tasks -c prod --type backup --status ERROR
  thetis tasks -c prod --output json")]
pub(crate) struct TasksArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Also tasks that may not run
    #[arg(long, short)]
    all: bool,
    /// Only tasks of this type
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    kind: Option<String>,
    /// Only tasks whose last run has this status
    #[arg(long, short, value_name = "STATUS")]
    status: Option<String>,
}

pub(crate) async fn run(client: &Client, args: TasksArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let status = args.status.map(|status| status.to_ascii_uppercase());
    let mut query = Vec::new();
    if args.all {
        query.push(("all", "true"));
    }
    query.extend(args.kind.as_deref().map(|kind| ("type", kind)));
    query.extend(status.as_deref().map(|status| ("status", status)));
    let asked = client
        .api
        .get(&["cluster", &cluster, "tasks"], &query)
        .await;
    let answer = client.known(&cluster, asked).await?;
    client.output.answer(&answer, |tasks: Vec<Task>| {
        table(tasks, client.output.colour())
    })
}

/// A line for each task; a star before one that may not run.
pub(crate) fn table(tasks: Vec<Task>, colour: bool) -> String {
    if tasks.is_empty() {
        note("no tasks found");
        return String::new();
    }
    let now = Timestamp::now();
    let mut columns = Columns::new(
        colour,
        &[
            ("TASK", Align::Left),
            ("NAME", Align::Left),
            ("SCHEDULE", Align::Left),
            ("STATUS", Align::Left),
            ("SUCCESS", Align::Right),
            ("ERROR", Align::Right),
            ("LAST SUCCESS", Align::Left),
            ("LAST ERROR", Align::Left),
            ("NEXT", Align::Left),
            ("CAUSE", Align::Left),
        ],
    );
    for task in tasks {
        columns.row([
            format!("{}{}", if task.enabled { "" } else { "*" }, task.label()),
            task.name.clone(),
            task.schedule.text(),
            state(&task),
            task.success_count.to_string(),
            task.error_count.to_string(),
            age(task.last_success.as_deref(), now),
            age(task.last_error.as_deref(), now),
            time(task.next_activation.as_deref()),
            short(task.cause.as_deref().unwrap_or_default()),
        ]);
    }
    columns.text()
}

/// The status, and whether it is kept from running.
fn state(task: &Task) -> String {
    match task.suspended {
        true => format!("{}, suspended", task.status),
        false => task.status.clone(),
    }
}

/// The beginning of the first line.
fn short(cause: &str) -> String {
    let line = cause.lines().next().unwrap_or_default();
    match line.char_indices().nth(CAUSE) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cause_is_cut_between_characters() {
        assert_eq!(short("a\nb"), "a");
        assert_eq!(short(&"ä".repeat(61)), format!("{}…", "ä".repeat(60)));
    }
}
