//! `thetis suspend` and `thetis resume`.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    args::{ClusterArg, ScheduleArgs},
    error::Failure,
    verbs::{Client, done, task},
};

/// A suspension.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis suspend -c prod
  thetis suspend -c prod --duration 2h --on-resume-start-tasks
  thetis suspend -c prod --suspend-policy fail_if_running_tasks --allow-task-type validate_backup
  thetis suspend -c prod --cron @weekly --duration 4h --name maintenance

While a cluster is suspended, none of its tasks begins but those of the type that is allowed. With
--duration, --cron or --start-date this is a task, whose type/id is printed.")]
pub(crate) struct SuspendArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// How long, as 30m or 2h; until `thetis resume` when absent
    #[arg(long, value_name = "SPAN")]
    duration: Option<String>,
    /// Tasks of this type may run all the same
    #[arg(long, value_name = "TYPE")]
    allow_task_type: Option<String>,
    /// What to do while something runs: stop_running_tasks or fail_if_running_tasks
    #[arg(long, value_name = "POLICY", default_value = "stop_running_tasks")]
    suspend_policy: String,
    /// Tasks that are started at its end begin anew
    #[arg(long)]
    no_continue: bool,
    /// At its end, start the tasks that were stopped for it
    #[arg(long, requires = "duration")]
    on_resume_start_tasks: bool,
    #[command(flatten)]
    schedule: ScheduleArgs,
    /// A name for the task
    #[arg(long)]
    name: Option<String>,
}

/// The end of a suspension.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis resume -c prod
  thetis resume -c prod --start-tasks
  thetis resume -c prod --start-tasks-missed-activation")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Start the tasks that were stopped for the suspension
    #[arg(long)]
    start_tasks: bool,
    /// Make up for what was due meanwhile
    #[arg(long)]
    start_tasks_missed_activation: bool,
    /// Tasks that are started begin anew
    #[arg(long)]
    no_continue: bool,
}

pub(crate) async fn suspend(client: &Client, args: SuspendArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let schedule = args.schedule.body();
    let allowed = args.allow_task_type.as_deref().unwrap_or_default();
    if args.duration.is_some() || !schedule.is_null() || args.name.is_some() {
        let mut properties = Map::new();
        properties.insert("duration".to_owned(), json!(args.duration));
        properties.insert("allow_task_type".to_owned(), json!(args.allow_task_type));
        properties.insert("suspend_policy".to_owned(), json!(args.suspend_policy));
        properties.insert("no_continue".to_owned(), json!(args.no_continue));
        properties.insert("start_tasks".to_owned(), json!(args.on_resume_start_tasks));
        let task = task("suspend", args.name.as_deref(), properties, &args.schedule);
        return client.submit(&cluster, task, false).await;
    }
    let no_continue = args.no_continue.to_string();
    let query = [
        ("allow_task_type", allowed),
        ("suspend_policy", args.suspend_policy.as_str()),
        ("no_continue", &no_continue),
    ];
    set(client, &cluster, true, &query).await?;
    done(
        client.output,
        &format!("cluster {cluster} is suspended; end that with: thetis resume -c {cluster}"),
    )
}

pub(crate) async fn resume(client: &Client, args: ResumeArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let flags = [
        args.start_tasks,
        args.start_tasks_missed_activation,
        args.no_continue,
    ]
    .map(|flag| flag.to_string());
    let query = [
        ("start_tasks", flags[0].as_str()),
        ("start_tasks_missed_activation", &flags[1]),
        ("no_continue", &flags[2]),
    ];
    set(client, &cluster, false, &query).await?;
    done(
        client.output,
        &format!("tasks of cluster {cluster} may run again"),
    )
}

async fn set(
    client: &Client,
    cluster: &str,
    suspended: bool,
    query: &[(&str, &str)],
) -> Result<(), Failure> {
    let path = ["cluster", cluster, "suspended"];
    let asked = client.api.set(&path, query, &Value::Bool(suspended)).await;
    client.known(cluster, asked).await.map(drop)
}
