//! `thetis info`.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    args::ClusterArg,
    error::Failure,
    human::{duration, seconds, time},
    shape::{Run, Schedule, TaskInfo},
    table::{Align, Columns},
    task_arg,
    verbs::Client,
};

/// What to look at.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis info -c prod backup/nightly
  thetis info -c prod backup/nightly --limit 30 --cause
  thetis info -c prod backup --output yaml")]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The task: <type>/<id or name>, its id, or its type while there is one of it
    #[arg(value_name = "TASK")]
    task: String,
    /// How many runs to show, the newest
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    limit: usize,
    /// Also why each run ended as it did
    #[arg(long)]
    cause: bool,
}

pub(crate) async fn run(client: &Client, args: InfoArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let tasks = client.tasks(&cluster).await?;
    let task = task_arg::resolve(&args.task, &tasks)?;
    let path = ["cluster", &cluster, "task", &task.kind, &task.id];
    let about: Value = client.api.get(&path, &[]).await?.read()?;
    let limit = args.limit.to_string();
    let history = [&path[..], &["history"]].concat();
    let runs = client.api.get(&history, &[("limit", &limit)]).await?;
    let runs: Value = runs.read()?;
    let (colour, cause) = (client.output.colour(), args.cause);
    client
        .output
        .show(&json!({"task": about, "runs": runs}), |info: TaskInfo| {
            text(&info, colour, cause)
        })
}

fn text(info: &TaskInfo, colour: bool, cause: bool) -> String {
    let TaskInfo { task, runs } = info;
    let Schedule {
        cron,
        interval,
        timezone,
        window,
        start_date,
        num_retries,
        retry_wait,
    } = &task.schedule;
    let retry = match num_retries {
        0 => String::new(),
        count => format!("{count} times, after {retry_wait} at first"),
    };
    let labels: Vec<String> = task
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    let enabled = if task.enabled { "yes" } else { "no" };
    let cron = if cron.is_empty() && !interval.is_empty() {
        format!("@every {interval}")
    } else {
        cron.clone()
    };
    let start = match start_date {
        Some(_) => time(start_date.as_deref()),
        None => String::new(),
    };
    let fields = [
        ("Task", format!("{}/{}", task.kind, task.id)),
        ("Name", task.name.clone()),
        ("Labels", labels.join(", ")),
        ("May run", enabled.to_owned()),
        ("Schedule", cron),
        ("Time zone", timezone.clone()),
        ("Window", window.join(",")),
        ("Not before", start),
        ("Tried again", retry),
    ];
    let filled = fields.iter().filter(|(_, value)| !value.is_empty());
    let mut lines: Vec<String> = filled
        .map(|(name, value)| format!("{:<14}{value}", format!("{name}:")))
        .collect();
    if !task.properties.is_empty() {
        lines.push("Properties:".to_owned());
        let properties = task.properties.iter();
        lines.extend(properties.map(|(key, value)| format!("  {key}: {}", plain(value))));
    }
    lines.push(String::new());
    lines.push(table(runs, colour, cause));
    lines.join("\n")
}

/// A list as its items, a text as it is.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            other.to_string()
        }
    }
}

fn table(runs: &[Run], colour: bool, cause: bool) -> String {
    if runs.is_empty() {
        return "It has not run yet.".to_owned();
    }
    let now = Timestamp::now();
    let headings = [
        ("RUN", Align::Left),
        ("STARTED", Align::Left),
        ("DURATION", Align::Right),
        ("STATUS", Align::Left),
    ];
    let mut columns = Columns::new(colour, &headings);
    let mut causes = Vec::new();
    for run in runs {
        let (start, end) = (run.start_time.as_deref(), run.end_time.as_deref());
        let lasted = seconds(start, end, now);
        columns.row([
            run.id.clone(),
            time(start),
            lasted.map(duration).unwrap_or_default(),
            run.status.clone(),
        ]);
        let text = run.cause.as_deref().unwrap_or_default();
        if cause && !text.is_empty() {
            causes.push(format!("\n{}:\n  {}", run.id, text.replace('\n', "\n  ")));
        }
    }
    let table = columns.text();
    [vec![table], causes].concat().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_shown_with_its_runs() {
        let info = json!({
            "task": {"type": "backup", "id": "t", "name": "nightly", "enabled": true, "labels": {"team": "db"},
                "schedule": {"cron": "0 2 * * *", "timezone": "UTC", "window": ["02:00", "06:00"], "num_retries": 3, "retry_wait": "10m"},
                "properties": {"location": ["s3:a", "s3:b"], "retention": 7}},
            "runs": [{"id": "r2", "status": "ERROR", "start_time": "2026-01-31T02:00:00Z", "end_time": "2026-01-31T02:00:09Z", "cause": "disk full\non n1"},
                {"id": "r1", "status": "DONE", "start_time": "2026-01-30T02:00:00Z", "end_time": "2026-01-30T02:12:31Z"}],
        });
        let shown = text(&serde_json::from_value(info).unwrap(), false, true);
        let expected = "\
Task:         backup/t
Name:         nightly
Labels:       team=db
May run:      yes
Schedule:     0 2 * * *
Time zone:    UTC
Window:       02:00,06:00
Tried again:  3 times, after 10m at first
Properties:
  location: s3:a, s3:b
  retention: 7

RUN  STARTED                  DURATION  STATUS
r2   2026-01-31 02:00:00 UTC        9s  ERROR
r1   2026-01-30 02:00:00 UTC    12m31s  DONE

r2:
  disk full
  on n1";
        assert_eq!(shown, expected);
    }
}
