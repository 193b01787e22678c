//! What a purge is told: what tasks keep, and what nobody may take away, as both are when the job is
//! published. A user may have changed a policy while the backup ran.

use std::collections::BTreeSet;

use bucket::{
    listing,
    removal::{self, Removed, Terms},
    retention::Survey,
};
use catalog::retention::DeleteError;
use protocol::{
    BackupId, ClusterId, DeleteRequest, NodeId, Purge, Retention, RunId, SnapshotTag, Task,
    TaskRetention,
};

use crate::{
    App, copies,
    record::{self, Record},
};

/// Completes the job that a run asks for.
///
/// # Errors
/// Those of NATS. Without all that it needs to be told, a purge must not begin.
pub(crate) async fn complete(app: &App, job: Purge) -> Result<Purge, queue::Error> {
    let ledger = &app.ledger;
    // While it is still being found out what NATS has lost, a task may be unknown to us alone.
    let unknown = match ledger.is_new().await? {
        true => Retention::default(),
        false => Retention {
            retention_days: app.config.scheduler.unknown_retention_days,
            ..Retention::default()
        },
    };
    let tasks = ledger.tasks_ever(job.cluster).await?;
    let runs = ledger.runs(job.cluster).await?;
    let mut restored = Vec::new();
    for cluster in ledger.clusters().await? {
        restored.extend(restores(&ledger.runs(cluster.id).await?, &job));
    }
    restored.sort();
    restored.dedup();
    let tasks: Vec<TaskRetention> = tasks.iter().filter_map(keeps).collect();
    let places = tasks.iter().flat_map(|task| &task.location);
    let locations = copies::unique(job.locations.iter().chain(places));
    Ok(Purge {
        locations,
        tasks,
        unknown,
        open: record::needed(&runs)
            .into_iter()
            .map(|(task, tag)| BackupId { task, tag })
            .collect(),
        restored,
        ..job
    })
}

/// What a task keeps; `None` of one that makes no backups.
fn keeps(task: &Task) -> Option<TaskRetention> {
    let backup = task.backup.as_ref()?;
    Some(TaskRetention {
        task: task.id,
        deleted: task.deleted,
        location: backup.location.clone(),
        retention: backup.retention,
    })
}

/// Backups of the cluster that runs, those of one cluster, restore or can go on restoring.
fn restores(runs: &[Record], job: &Purge) -> Vec<SnapshotTag> {
    let going = runs.iter().filter(|run| record::goes_on(run, runs));
    let wanted = going.filter_map(|run| run.parts.restore.as_ref());
    let ours = wanted.filter(|wanted| wanted.source_cluster.is_none_or(|id| id == job.cluster));
    ours.map(|wanted| wanted.snapshot_tag.clone()).collect()
}

/// What a deletion would do, in all places.
///
/// # Errors
/// [`bucket::Error::Delete`], if a backup is not there or must not go; those of NATS and the buckets.
pub(crate) async fn preview(
    app: &App,
    cluster: ClusterId,
    request: &DeleteRequest,
) -> Result<Removed, Unfit> {
    let nobody = NodeId(uuid::Uuid::nil());
    let job = Purge {
        cluster,
        run: RunId(uuid::Uuid::nil()),
        node: nobody,
        locations: request.location.clone(),
        tasks: Vec::new(),
        unknown: Retention::default(),
        open: Vec::new(),
        restored: Vec::new(),
        named: request.snapshot_tag.clone(),
        force: request.force,
    };
    let job = complete(app, job).await?;
    let stores = listing::open(&app.stores, &job.locations).await?;
    let terms = Terms::new(&job, &BTreeSet::new());
    let decide = |survey: &Survey| {
        let there = |tag: &SnapshotTag| survey.manifests.iter().any(|found| found.key.tag == *tag);
        let missing = job.named.iter().filter(|tag| !there(tag)).cloned();
        let missing: Vec<SnapshotTag> = missing.collect();
        match missing.is_empty() {
            true => Ok::<_, bucket::Error>(terms.decide(survey, None)?),
            false => Err(DeleteError::NotFound(missing).into()),
        }
    };
    Ok(removal::remove(&stores, cluster, decide, &|| true, true).await?)
}

/// Why it cannot be said what a deletion would do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error(transparent)]
    Bucket(#[from] bucket::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
}
