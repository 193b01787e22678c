//! What a user's request comes down to: what is checked at once, and what is left to the leader.
//!
//! Starting writes a new run into bucket `runs` and publishes a request for it, which wakes the
//! leader. Stopping writes into bucket `control`, which the workers and the leader watch.

use protocol::{Cluster, Control, Job, Request, RunId, Task};
use store::Error as StoreError;

use crate::{
    App,
    api::ApiError,
    properties::{self, Wish},
    record::Record,
};

/// Says at once why a run cannot begin now, as far as that can be known.
pub(crate) async fn may_start(app: &App, cluster: &Cluster, task: &Task) -> Result<(), ApiError> {
    if let Some(open) = app.ledger.open_run(cluster.id).await? {
        return Err(ApiError::conflict(busy(&cluster.name, &open)));
    }
    locations(app, task).await
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
        .map(|run| run.run);
    app.ledger.new_run(&record).await?;
    let request = Request {
        cluster: record.cluster,
        run: record.run,
        task: Some(record.task),
        backup: record.backup.clone(),
        restore: record.restore.clone(),
    };
    app.queue.publish_job(&Job::Request(request)).await?;
    Ok(record.run)
}

/// A task that was changed since begins anew: what it left off is not what is wanted now.
fn same(record: &Record, wish: &Wish) -> bool {
    record.wish().as_ref() == Ok(wish)
}

/// Stops the task's run, if one is under way; says which.
pub(crate) async fn stop(app: &App, task: &Task) -> Result<Option<RunId>, ApiError> {
    let runs = app.ledger.runs(task.cluster).await?;
    let Some(open) = runs
        .iter()
        .find(|run| run.task == task.id && !run.status.ended())
    else {
        return Ok(None);
    };
    app.ledger
        .control
        .put(&open.run.to_string(), &Control::Stop)
        .await?;
    Ok(Some(open.run))
}

/// Forgets a task with its runs.
pub(crate) async fn forget(app: &App, task: &Task) -> Result<(), ApiError> {
    let runs = app.ledger.runs(task.cluster).await?;
    let of_task: Vec<&Record> = runs.iter().filter(|run| run.task == task.id).collect();
    if let Some(open) = of_task.iter().find(|run| !run.status.ended()) {
        return Err(ApiError::conflict(format!(
            "run {} of this task is under way; stop it first",
            open.run
        )));
    }
    app.ledger.remove_task(task).await?;
    for run in of_task {
        app.ledger.remove_run(run).await?;
    }
    let wish = properties::of_task(task).map_err(ApiError::bad)?;
    crate::copies::forget_task(app, wish.locations(), task).await;
    Ok(())
}

/// Why nothing else can run on the cluster.
pub(crate) fn busy(cluster: &str, open: &Record) -> String {
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
        StoreError::Unavailable { .. } | StoreError::DiskFull { .. } => ApiError::upstream(message),
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
