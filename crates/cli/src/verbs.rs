//! The verbs, one file each.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod bucket;
pub(crate) mod cluster;
pub(crate) mod completion;
pub(crate) mod info;
pub(crate) mod location;
pub(crate) mod progress;
pub(crate) mod restore;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod support_bundle;
pub(crate) mod suspend;
pub(crate) mod target;
pub(crate) mod tasks;
pub(crate) mod throttle;
pub(crate) mod token;
pub(crate) mod update;
pub(crate) mod verify;
pub(crate) mod version;
pub(crate) mod watch;

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::{
    api::Api,
    args::{Asking, ClusterArg, Running, ScheduleArgs},
    error::{Exit, Failure},
    output::{Output, note, print},
    progress::follow::{Watched, verdict},
    shape::{Cluster, Task},
};

/// What a verb works with.
pub(crate) struct Client {
    pub(crate) api: Api,
    pub(crate) output: Output,
}

/// Does what needs no API.
pub(crate) fn run(output: Output, verb: &Running) -> ExitCode {
    use serve::Which;
    match verb {
        Running::Bucket(verb) => crate::finish(crate::wait(bucket::run(output, verb))),
        Running::Location(verb) => crate::finish(crate::wait(location::run(output, verb))),
        Running::Completion(args) => completion::run(args),
        Running::Node(args) => serve::run(Which::Node, args),
        Running::Standalone(args) => serve::run(Which::Standalone, args),
        Running::Scheduler(args) => serve::run(Which::Scheduler, args),
        Running::SnapshotWorker(args) => serve::run(Which::SnapshotWorker, args),
        Running::Uploader(args) => serve::run(Which::Uploader, args),
        Running::RestoreWorker(args) => serve::run(Which::RestoreWorker, args),
    }
}

/// Asks the API.
pub(crate) async fn ask(client: &Client, verb: Asking) -> Result<(), Failure> {
    match verb {
        Asking::Cluster(verb) => cluster::run(client, verb).await,
        Asking::Status(args) => cluster::status(client, &args).await,
        Asking::Backup(args) => backup::run(client, *args).await,
        Asking::Restore(args) => restore::run(client, *args).await,
        Asking::Verify(args) => verify::run(client, *args).await,
        Asking::Tasks(args) => tasks::run(client, args).await,
        Asking::Progress(args) => progress::run(client, args).await,
        Asking::Stop(args) => stop::run(client, args).await,
        Asking::Start(args) => start::run(client, args).await,
        Asking::Watch(args) => watch::run(client, args).await,
        Asking::Info(args) => info::run(client, args).await,
        Asking::Update(args) => update::run(client, args).await,
        Asking::Suspend(args) => suspend::suspend(client, args).await,
        Asking::Resume(args) => suspend::resume(client, args).await,
        Asking::Throttle(args) => throttle::run(client, args).await,
        Asking::SupportBundle(args) => support_bundle::run(client, &args).await,
        Asking::Token(verb) => token::run(client, verb).await,
        Asking::Secret(verb) => secret::run(client, verb).await,
        Asking::Audit(args) => audit::run(client, &args).await,
        Asking::Version => version::run(client).await,
    }
}

impl Client {
    /// The cluster meant: the one named, else the only one there is.
    pub(crate) async fn cluster(&self, arg: &ClusterArg) -> Result<String, Failure> {
        if let Some(name) = arg.cluster.as_ref().filter(|name| !name.is_empty()) {
            return Ok(name.clone());
        }
        let all: Vec<Cluster> = self.api.get(&["clusters"], &[]).await?.read()?;
        match &all[..] {
            [only] if only.name.is_empty() => Ok(only.id.clone()),
            [only] => Ok(only.name.clone()),
            [] => Err(Failure::new(Exit::NotFound, "no cluster is registered")
                .advise("begin with: thetis cluster add --name NAME --host ADDRESS")),
            _ => Err(Failure::new(
                Exit::Usage,
                "which cluster? name one with --cluster or THETIS_CLUSTER",
            )
            .advise(names(&all))),
        }
    }

    /// All tasks of a cluster; an unknown cluster is told which there are.
    pub(crate) async fn tasks(&self, cluster: &str) -> Result<Vec<Task>, Failure> {
        let asked = self
            .api
            .get(&["cluster", cluster, "tasks"], &[("all", "true")])
            .await;
        self.known(cluster, asked).await?.read()
    }

    /// Adds the clusters there are to a failure that comes from naming none of them.
    pub(crate) async fn known<T>(
        &self,
        cluster: &str,
        asked: Result<T, Failure>,
    ) -> Result<T, Failure> {
        let failure = match asked {
            Err(failure) if failure.exit == Exit::NotFound => failure,
            Ok(_) | Err(_) => return asked,
        };
        let Ok(answer) = self.api.get(&["clusters"], &[]).await else {
            return Err(failure);
        };
        let all: Vec<Cluster> = answer.read().unwrap_or_default();
        if all
            .iter()
            .any(|known| known.id.eq_ignore_ascii_case(cluster) || known.name == cluster)
        {
            return Err(failure);
        }
        Err(failure.advise(names(&all)))
    }

    /// Makes a task, which begins a run, and waits for the run's end if asked to.
    pub(crate) async fn submit(
        &self,
        cluster: &str,
        task: Value,
        wait: bool,
    ) -> Result<(), Failure> {
        let asked = self.api.post(&["cluster", cluster, "tasks"], &task).await;
        let answer = self.known(cluster, asked).await?;
        let made: Task = answer.read()?;
        if wait {
            if self.output.for_people() {
                note(&made.label());
            }
            return self.wait(cluster, &made).await;
        }
        self.output.answer(&answer, |task: Task| task.label())?;
        if self.output.live() && made.run_id.is_none() {
            note(&format!("see when it runs: thetis tasks -c {cluster}"));
        } else if self.output.live() {
            note(&format!(
                "follow it: thetis progress -c {cluster} {}",
                made.label()
            ));
        }
        Ok(())
    }

    /// Waits for the end of a task's run that was begun just now; fails unless it is a good one.
    ///
    /// `task` is what beginning it was answered with.
    pub(crate) async fn wait(&self, cluster: &str, task: &Task) -> Result<(), Failure> {
        let Some(run) = task.run_id.as_deref() else {
            return Err(Failure::new(
                Exit::Failed,
                format!("{} has no run to wait for", task.label()),
            ));
        };
        let watched = Watched {
            cluster,
            kind: &task.kind,
            task: &task.id,
            run,
            fresh: true,
        };
        let (answer, last) = watched.follow(&self.api, self.output).await?;
        progress::show(self.output, &answer)?;
        verdict(&last, cluster)
    }
}

fn names(all: &[Cluster]) -> String {
    if all.is_empty() {
        return "no cluster is registered; begin with: thetis cluster add --name NAME --host ADDRESS".to_owned();
    }
    let lines = all
        .iter()
        .map(|cluster| format!("  {} {}", cluster.name, cluster.id));
    std::iter::once("these are registered:".to_owned())
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The body that makes a task. Properties that are empty are left to the API's defaults.
pub(crate) fn task(
    kind: &str,
    name: Option<&str>,
    properties: Map<String, Value>,
    given: &ScheduleArgs,
) -> Value {
    let filled =
        |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    let properties: Map<String, Value> = properties
        .into_iter()
        .filter(|(_, value)| filled(value))
        .collect();
    let mut task = json!({"type": kind, "name": name.unwrap_or_default(), "enabled": true, "properties": properties});
    let (schedule, labels) = (given.body(), given.labels());
    if !schedule.is_null() {
        task["schedule"] = schedule;
    }
    if !labels.is_empty() {
        task["labels"] = json!(labels);
    }
    task
}

/// Says that something was done, for people only.
pub(crate) fn done(output: Output, text: &str) -> Result<(), Failure> {
    if output.for_people() {
        print(text)
    } else {
        Ok(())
    }
}
