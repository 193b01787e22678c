//! Copies of clusters, tasks and open runs in the bucket: what a scheduler rebuilds from when NATS
//! has lost everything.
//!
//! They lie in a run's first location, are written before its first job goes out, and hold no
//! secret. A run's descriptor goes when the run has ended.

use std::collections::BTreeMap;

use catalog::{Document, RunDescriptor, key::OwnKey};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{Cluster, ClusterId, Location, Task};
use serde::{Deserialize, Serialize};
use service::Chain;
use store::{Store, Stores};
use tracing::warn;
use workflow::Spec;

use crate::{
    App,
    properties::{self, Wish},
    record::Record,
};

/// How many objects are read at once.
const READS: usize = 16;
/// How many keys one request deletes at most.
const DELETES: usize = 1_000;

/// A cluster's copy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClusterCopy {
    pub(crate) cluster: Cluster,
}

impl Document for ClusterCopy {
    const WHAT: &'static str = "copy of a cluster";
}

/// A task's copy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TaskCopy {
    pub(crate) task: Task,
}

impl Document for TaskCopy {
    const WHAT: &'static str = "copy of a task";
}

/// What a bucket knows of clusters, tasks and open runs.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) runs: Vec<Spec>,
}

/// Writes the copies that belong to a run which is about to begin.
pub(crate) async fn keep(
    stores: &Stores,
    location: &Location,
    (cluster, task, spec): (&Cluster, Option<&Task>, &Spec),
) -> Result<(), store::Error> {
    let store = stores.open(location).await?;
    let (origin, run, of_task) = match spec {
        Spec::Backup(spec) => (spec.origin, spec.run, spec.task),
        Spec::Restore(spec) => (spec.origin, spec.run, spec.task),
        Spec::Errand(spec) => (spec.run, spec.run, spec.task),
    };
    let descriptor = RunDescriptor {
        cluster: cluster.id,
        run,
        task: of_task,
        spec: serde_json::to_value(spec).expect("a spec is plain data"),
    };
    let task = task.map(|task| {
        let copy = TaskCopy { task: task.clone() };
        (OwnKey::Task(cluster.id, task.id), copy.to_json())
    });
    let bodies = [
        (
            OwnKey::Cluster(cluster.id),
            ClusterCopy {
                cluster: cluster.clone(),
            }
            .to_json(),
        ),
        (OwnKey::Run(origin), descriptor.to_json()),
    ];
    for (key, body) in task.into_iter().chain(bodies) {
        store.put(&key.to_string(), body.into()).await?;
    }
    Ok(())
}

/// Removes the descriptor of a run that has ended, unless it is that of another run by now, and,
/// if the run is done, all notes on it.
pub(crate) async fn drop_run(stores: &Stores, record: &Record) -> Result<(), store::Error> {
    let locations = record.locations();
    let Some(first) = locations.first() else {
        return Ok(());
    };
    let key = OwnKey::Run(record.origin()).to_string();
    let store = stores.open(first).await?;
    match store.get(&key).await {
        Ok(bytes) => {
            let ours = RunDescriptor::from_json(&bytes).is_ok_and(|found| found.run == record.run);
            if !ours {
                return Ok(());
            }
        }
        Err(store::Error::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    if record.status == protocol::RunStatus::Done {
        drop_notes(stores, record).await?;
    }
    // Last, so that what is cut short is found and done again.
    store.delete(&[key]).await
}

/// Removes plans, receipts and other notes of a run, but not its descriptor.
pub(crate) async fn drop_notes(stores: &Stores, record: &Record) -> Result<(), store::Error> {
    let (below, but) = (
        OwnKey::of_run(record.origin()),
        OwnKey::Run(record.origin()).to_string(),
    );
    for location in unique(record.locations().iter()) {
        remove_below(&stores.open(&location).await?, &below, &but).await?;
    }
    Ok(())
}

async fn remove_below(store: &Store, prefix: &str, but: &str) -> Result<(), store::Error> {
    let mut pages = std::pin::pin!(store.list(prefix).try_ready_chunks(DELETES));
    loop {
        let page = match pages.next().await {
            None => return Ok(()),
            Some(Ok(page)) => page,
            Some(Err(error)) => return Err(error.1),
        };
        let keys: Vec<String> = page
            .into_iter()
            .map(|object| object.key)
            .filter(|key| key != but)
            .collect();
        if !keys.is_empty() {
            store.delete(&keys).await?;
        }
    }
}

/// Removes a task's copy where its last properties say it may lie. What cannot be removed now would
/// come back only if NATS lost everything; so that is no reason to fail.
pub(crate) async fn forget_task(app: &App, locations: &[Location], task: &Task) {
    forget(app, locations, OwnKey::Task(task.cluster, task.id)).await;
}

/// Notes where its copy may lie that a task was deleted. What cannot be noted now would come back as
/// a task, if NATS lost everything, and be one that keeps its backups; so that is no reason to fail.
pub(crate) async fn keep_deleted(app: &App, locations: &[Location], task: &Task) {
    let key = OwnKey::Task(task.cluster, task.id).to_string();
    let body = bytes::Bytes::from(TaskCopy { task: task.clone() }.to_json());
    for location in locations.iter().take(1) {
        let noted = async {
            app.stores
                .open(location)
                .await?
                .put(&key, body.clone())
                .await
        };
        if let Err(error) = noted.await {
            warn!(%location, key, error = %Chain(&error), "not noted in the bucket that the task is deleted");
        }
    }
}

/// As [`forget_task`], for a cluster.
pub(crate) async fn forget_cluster(app: &App, locations: &[Location], cluster: &Cluster) {
    forget(app, locations, OwnKey::Cluster(cluster.id)).await;
}

async fn forget(app: &App, locations: &[Location], key: OwnKey) {
    let key = key.to_string();
    for location in unique(locations.iter().chain(&app.config.scheduler.locations)) {
        let removed = async {
            app.stores
                .open(&location)
                .await?
                .delete(std::slice::from_ref(&key))
                .await
        };
        if let Err(error) = removed.await {
            warn!(%location, key, error = %Chain(&error), "copy not removed from the bucket");
        }
    }
}

/// Where something goes to or comes from; if that is left open, where the cluster's tasks have backed
/// up to.
pub(crate) async fn places(
    app: &App,
    cluster: ClusterId,
    wish: &Wish,
) -> Result<Vec<Location>, queue::Error> {
    match (wish, wish.locations()) {
        (Wish::Validate(_), []) => used(app, cluster).await,
        (_, locations) => Ok(locations.to_vec()),
    }
}

/// Where the cluster's tasks have backed up to.
pub(crate) async fn used(app: &App, cluster: ClusterId) -> Result<Vec<Location>, queue::Error> {
    let tasks = app.ledger.tasks_ever(cluster).await?;
    let wishes: Vec<_> = tasks
        .iter()
        .filter_map(|task| properties::of_task(task).ok())
        .collect();
    Ok(unique(wishes.iter().flat_map(|wish| wish.locations())))
}

/// The same store once, whatever the datacenter.
pub(crate) fn unique<'a>(locations: impl Iterator<Item = &'a Location>) -> Vec<Location> {
    let by_remote: BTreeMap<String, Location> =
        locations.map(|l| (l.remote(), l.clone())).collect();
    by_remote.into_values().collect()
}

/// Reads all copies in a bucket. What cannot be read is left out with a warning.
pub(crate) async fn find(stores: &Stores, location: &Location) -> Result<Found, store::Error> {
    let store = stores.open(location).await?;
    let mut found = Found::default();
    for ClusterCopy { cluster } in documents(&store, OwnKey::CLUSTERS, |key| {
        matches!(key, OwnKey::Cluster(_))
    })
    .await?
    {
        found.clusters.push(cluster);
    }
    for TaskCopy { task } in
        documents(&store, OwnKey::TASKS, |key| matches!(key, OwnKey::Task(..))).await?
    {
        found.tasks.push(task);
    }
    let runs: Vec<RunDescriptor> =
        documents(&store, OwnKey::RUNS, |key| matches!(key, OwnKey::Run(_))).await?;
    for run in runs {
        match serde_json::from_value(run.spec) {
            Ok(spec) => found.runs.push(spec),
            Err(error) => warn!(run = %run.run, %error, "run descriptor not understood, left out"),
        }
    }
    Ok(found)
}

async fn documents<D: Document>(
    store: &Store,
    prefix: &str,
    wanted: fn(&OwnKey) -> bool,
) -> Result<Vec<D>, store::Error> {
    let mut keys = Vec::new();
    let mut objects = std::pin::pin!(store.list(prefix));
    while let Some(object) = objects.try_next().await? {
        if object.key.parse::<OwnKey>().is_ok_and(|key| wanted(&key)) {
            keys.push(object.key);
        }
    }
    let read = keys.into_iter().map(|key| async move {
        match store.get(&key).await {
            Ok(bytes) => Ok(D::from_json(&bytes)
                .inspect_err(|error| warn!(key, %error, "left out"))
                .ok()),
            Err(store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    });
    let found: Vec<Option<D>> = stream::iter(read)
        .buffer_unordered(READS)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}
