//! What a user's request comes down to: what is checked at once, and what is left to the leader.
//!
//! Starting writes a new run into bucket `runs` and publishes a request for it, which wakes the
//! leader. Stopping writes into bucket `control`, which the workers and the leader watch.

use protocol::{Cluster, Control, Job, Request, Retention, RunId, RunStatus, SuspendRequest, Task};
use store::Error as StoreError;

use crate::{
    App,
    api::ApiError,
    methods,
    properties::{self, Parts, Wish},
    record::Record,
    suspend,
};

/// Says at once why a run cannot begin now, as far as that can be known.
pub(crate) async fn may_start(app: &App, cluster: &Cluster, task: &Task) -> Result<(), ApiError> {
    let wish = properties::of_task(task).map_err(ApiError::bad)?;
    suspend::allows(app, cluster, task.kind()).await?;
    let runs = app.ledger.runs(cluster.id).await?;
    let in_the_way = |run: &&Record| {
        let same = run.task == task.id;
        !run.status.ended() && (same || wish.exclusive() && run.exclusive())
    };
    if let Some(open) = runs.iter().find(in_the_way) {
        return Err(ApiError::conflict(busy(&cluster.name, open)));
    }
    able(app, cluster, &wish).await?;
    locations(app, task).await
}

/// Whether the nodes can do what a backup wants them to do themselves.
pub(crate) async fn able(app: &App, cluster: &Cluster, wish: &Wish) -> Result<(), ApiError> {
    let Wish::Backup(request) = wish else {
        return Ok(());
    };
    let workers = app.queue.workers().await?;
    match methods::objection(request, cluster, &workers) {
        Some(objection) => Err(ApiError::bad(objection)),
        None => Ok(()),
    }
}

/// Asks the buckets of a task whether they can be used.
pub(crate) async fn locations(app: &App, task: &Task) -> Result<(), ApiError> {
    let wish = properties::of_task(task).map_err(ApiError::bad)?;
    for location in wish.locations() {
        app.checks
            .check(&app.stores, location)
            .await
            .map_err(|e| refused(&e))?;
    }
    Ok(())
}

/// Asks for a run of `task`: one that goes on from the last one if that is possible and wanted.
pub(crate) async fn start(
    app: &App,
    cluster: &Cluster,
    task: &Task,
    resume: bool,
) -> Result<RunId, ApiError> {
    let wish = properties::of_task(task).map_err(ApiError::bad)?;
    if let Wish::Suspend(request) = &wish {
        return suspend_now(app, cluster, task, request).await;
    }
    let runs = app.ledger.runs(cluster.id).await?;
    // One that never began has nothing to go on from.
    let latest = runs
        .iter()
        .find(|run| run.task == task.id && run.work.is_some());
    let mut record = Record::new(
        cluster.id,
        task.id,
        RunId::generate(),
        wish.clone(),
        crate::now_ms(),
    );
    record.resumes = latest
        .filter(|run| resume && run.resumable() && same(run, &wish))
        .filter(|run| run.fresh(&runs, record.asked_ms, app.config.scheduler.continue_hours))
        .map(|run| run.run);
    submit(app, &record).await?;
    Ok(record.run)
}

/// A run that is over as soon as it is asked for.
async fn suspend_now(
    app: &App,
    cluster: &Cluster,
    task: &Task,
    request: &SuspendRequest,
) -> Result<RunId, ApiError> {
    suspend::suspend(app, cluster, request).await?;
    let (run, now_ms) = (RunId::generate(), crate::now_ms());
    let wish = Wish::Suspend(request.clone());
    let mut record = Record::new(cluster.id, task.id, run, wish, now_ms);
    record.end(RunStatus::Done, "", now_ms);
    app.ledger.new_run(&record).await?;
    Ok(run)
}

/// Writes a run down and wakes the leader.
pub(crate) async fn submit(app: &App, record: &Record) -> Result<(), ApiError> {
    app.ledger.new_run(record).await?;
    let Parts {
        backup,
        restore,
        delete,
        validate,
        clear,
        suspend: _,
    } = record.parts.clone();
    let request = Request {
        cluster: record.cluster,
        run: record.run,
        task: Some(record.task),
        backup,
        restore,
        delete,
        validate,
        clear,
    };
    app.queue.publish_job(&Job::Request(request)).await?;
    Ok(())
}

/// A task that was changed since begins anew: what it left off is not what is wanted now. How long
/// backups are kept is no part of that.
fn same(record: &Record, wish: &Wish) -> bool {
    let plain = |wish: Wish| match wish {
        Wish::Backup(mut backup) => {
            backup.retention = Retention::default();
            Wish::Backup(backup)
        }
        other @ (Wish::Restore(_)
        | Wish::Delete(_)
        | Wish::Validate(_)
        | Wish::Clear(_)
        | Wish::Suspend(_)) => other,
    };
    record.wish().map(plain) == Ok(plain(wish.clone()))
}

/// Stops the task's run, if one is under way; says which.
pub(crate) async fn stop(app: &App, task: &Task) -> Result<Option<RunId>, ApiError> {
    let runs = app.ledger.runs_with_revisions(task.cluster).await?;
    let mut of_task = runs.iter().filter(|(run, _)| run.task == task.id);
    let latest = of_task.clone().next();
    if let Some((waiting, revision)) = latest.filter(|(run, _)| run.status == RunStatus::Waiting) {
        // It has left off already; now it is not gone on with by itself either.
        let stopped = Record {
            status: RunStatus::Stopped,
            waits: false,
            ..waiting.clone()
        };
        if app.ledger.save_run(&stopped, *revision).await?.is_some() {
            return Ok(Some(stopped.run));
        }
        return Err(ApiError::conflict(format!(
            "run {} goes on just now; try again",
            stopped.run
        )));
    }
    let Some((open, _)) = of_task.find(|(run, _)| !run.status.ended()) else {
        return Ok(None);
    };
    app.ledger
        .control
        .put(&open.run.to_string(), &Control::Stop)
        .await?;
    Ok(Some(open.run))
}

/// Deletes a task with its runs; one that is under way is stopped, and goes when it has ended. What the
/// task kept its backups by is remembered for as long as the cluster is, if it has made any.
pub(crate) async fn delete(app: &App, task: &Task) -> Result<(), ApiError> {
    let runs = app.ledger.runs(task.cluster).await?;
    let of_task: Vec<&Record> = runs.iter().filter(|run| run.task == task.id).collect();
    let begun = of_task.iter().any(|run| run.work.is_some());
    let open: Vec<&&Record> = of_task.iter().filter(|run| !run.status.ended()).collect();
    if open.is_empty() && (task.backup.is_none() || !begun) {
        return forget(app, task).await;
    }
    let deleted = Task {
        deleted: true,
        ..task.clone()
    };
    // First where it cannot be lost; cut short, the task is there still.
    let wish = properties::of_task(task).map_err(ApiError::bad)?;
    crate::copies::keep_deleted(app, wish.locations(), &deleted).await;
    app.ledger.save_task(&deleted).await?;
    for run in open {
        let control = &app.ledger.control;
        control.put(&run.run.to_string(), &Control::Stop).await?;
    }
    for run in of_task.into_iter().filter(|run| run.closed) {
        app.ledger.remove_run(run).await?;
    }
    Ok(())
}

/// The task's runs, if all have ended.
fn ended<'a>(runs: &'a [Record], task: &Task) -> Result<Vec<&'a Record>, ApiError> {
    let of_task: Vec<&Record> = runs.iter().filter(|run| run.task == task.id).collect();
    match of_task.iter().find(|run| !run.status.ended()) {
        None => Ok(of_task),
        Some(open) => Err(ApiError::conflict(format!(
            "run {} of this task is under way; stop it first",
            open.run
        ))),
    }
}

/// Forgets a task with its runs, and that it was ever there.
pub(crate) async fn forget(app: &App, task: &Task) -> Result<(), ApiError> {
    let runs = app.ledger.runs(task.cluster).await?;
    let of_task = ended(&runs, task)?;
    app.ledger.remove_task(task).await?;
    for run in of_task {
        app.ledger.remove_run(run).await?;
    }
    let wish = properties::of_task(task).map_err(ApiError::bad)?;
    let places = crate::copies::places(app, task.cluster, &wish).await?;
    crate::copies::forget_task(app, &places, task).await;
    Ok(())
}

/// Why nothing else can run on the cluster.
pub(crate) fn busy(cluster: &str, open: &Record) -> String {
    for (is, what) in [
        (open.parts.delete.is_some(), "backups"),
        (open.parts.clear.is_some(), "snapshots"),
    ] {
        if is {
            return format!(
                "cluster {cluster} is busy: run {} deletes {what}; wait for its end",
                open.run
            );
        }
    }
    format!(
        "cluster {cluster} is busy: {kind} run {run} of task {task} is {status}; wait for its end, or stop it with \
         `thetis stop {kind}/{task}`",
        kind = open.kind(),
        run = open.run,
        task = open.task,
        status = open.status,
    )
}

/// What to answer when a bucket does not do as asked.
pub(crate) fn refused(error: &StoreError) -> ApiError {
    let message = error.to_string();
    match error {
        StoreError::Unavailable { .. }
        | StoreError::DiskFull { .. }
        | StoreError::Rclone { .. } => ApiError::upstream(message),
        StoreError::Denied { .. } => ApiError::forbidden(message),
        StoreError::NotFound { .. }
        | StoreError::NoBucket { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Torn { .. }
        | StoreError::Refused { .. }
        | StoreError::Local { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Key { .. }
        | StoreError::Settings(_) => ApiError::bad(message),
    }
}
