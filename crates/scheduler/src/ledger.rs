//! Clusters, tasks and runs as they lie in NATS' key-value buckets.

use std::collections::BTreeMap;

use protocol::{Cluster, ClusterId, Control, Progress, RunId, Task, TaskId, TaskKind};
use queue::{Bucket, Changes, Error, Kv, Queue, Revision};
use serde::{Deserialize, Serialize};

use crate::{
    access::Made,
    api::ApiError,
    record::{Lock, Record},
    secrets::Sealed,
    suspend::{Suspension, Suspensions},
    timetable::Due,
};

/// Says that the buckets are the ones we have written to before, and not new and empty ones.
const CANARY: &str = "canary";

/// What lies under the canary's key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Canary {
    /// When it was put there, in milliseconds since 1970.
    pub(crate) since_ms: u64,
}

/// The buckets.
#[derive(Clone)]
pub(crate) struct Ledger {
    clusters: Kv<Cluster>,
    tasks: Kv<Task>,
    runs: Kv<Record>,
    locks: Kv<Lock>,
    canary: Kv<Canary>,
    dues: Kv<Due>,
    suspensions: Kv<Suspension>,
    secrets: Kv<Sealed>,
    tokens: Kv<Made>,
    pub(crate) control: Kv<Control>,
    progress: Kv<Progress>,
}

impl Ledger {
    pub(crate) fn new(queue: &Queue) -> Self {
        Self {
            clusters: queue.bucket(Bucket::Clusters),
            tasks: queue.bucket(Bucket::Tasks),
            runs: queue.bucket(Bucket::Runs),
            locks: queue.bucket(Bucket::Runs),
            canary: queue.bucket(Bucket::Runs),
            dues: queue.bucket(Bucket::Runs),
            suspensions: queue.bucket(Bucket::Runs),
            secrets: queue.bucket(Bucket::Runs),
            tokens: queue.bucket(Bucket::Runs),
            control: queue.bucket(Bucket::Control),
            progress: queue.bucket(Bucket::Progress),
        }
    }

    /// All clusters, in order of name.
    pub(crate) async fn clusters(&self) -> Result<Vec<Cluster>, Error> {
        let mut all: Vec<Cluster> = self
            .clusters
            .list("")
            .await?
            .into_iter()
            .map(|(_, c, _)| c)
            .collect();
        all.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(all)
    }

    /// The cluster with this identity.
    pub(crate) async fn cluster_by_id(&self, id: ClusterId) -> Result<Option<Cluster>, Error> {
        Ok(self
            .clusters
            .get(&id.to_string())
            .await?
            .map(|(cluster, _)| cluster))
    }

    /// The cluster that `text` names, by identity or name.
    pub(crate) async fn cluster(&self, text: &str) -> Result<Cluster, ApiError> {
        if let Ok(id) = text.parse::<ClusterId>()
            && let Some(cluster) = self.cluster_by_id(id).await?
        {
            return Ok(cluster);
        }
        let all = self.clusters().await?;
        if let Some(cluster) = all.iter().find(|cluster| cluster.name == text) {
            return Ok(cluster.clone());
        }
        let names: Vec<&str> = all.iter().map(|cluster| cluster.name.as_str()).collect();
        let known = if names.is_empty() {
            "none is registered; register one with `thetis cluster add`".to_owned()
        } else {
            format!("registered are {}", names.join(", "))
        };
        Err(ApiError::not_found(format!(
            "there is no cluster `{text}`: {known}"
        )))
    }

    /// Registers a cluster; false if it is there already.
    pub(crate) async fn new_cluster(&self, cluster: &Cluster) -> Result<bool, Error> {
        Ok(self
            .clusters
            .create(&cluster.id.to_string(), cluster)
            .await?
            .is_some())
    }

    /// Changes a registered cluster as long as `change` says there is something to change.
    pub(crate) async fn change_cluster(
        &self,
        id: ClusterId,
        change: impl Fn(&mut Cluster) -> bool,
    ) -> Result<Option<Cluster>, Error> {
        let key = id.to_string();
        while let Some((mut cluster, revision)) = self.clusters.get(&key).await? {
            if !change(&mut cluster)
                || self
                    .clusters
                    .update(&key, &cluster, revision)
                    .await?
                    .is_some()
            {
                return Ok(Some(cluster));
            }
        }
        Ok(None)
    }

    pub(crate) async fn remove_cluster(&self, id: ClusterId) -> Result<(), Error> {
        self.locks.delete(&lock_key(id)).await?;
        self.suspensions.delete(&suspension_key(id)).await?;
        self.secrets.delete(&secret_key(id)).await?;
        self.clusters.delete(&id.to_string()).await
    }

    /// A cluster's tasks, oldest first.
    pub(crate) async fn tasks(&self, cluster: ClusterId) -> Result<Vec<Task>, Error> {
        let mut tasks = self.tasks_ever(cluster).await?;
        tasks.retain(|task| !task.deleted);
        Ok(tasks)
    }

    /// A cluster's tasks, oldest first, also those that were deleted and have made backups.
    pub(crate) async fn tasks_ever(&self, cluster: ClusterId) -> Result<Vec<Task>, Error> {
        Ok(self
            .tasks
            .list(&cluster.to_string())
            .await?
            .into_iter()
            .map(|(_, task, _)| task)
            .collect())
    }

    /// The tasks of all clusters, also those that were deleted and have made backups.
    pub(crate) async fn all_tasks(&self) -> Result<Vec<Task>, Error> {
        Ok(self
            .tasks
            .list("")
            .await?
            .into_iter()
            .map(|(_, task, _)| task)
            .collect())
    }

    /// The task with this identity.
    pub(crate) async fn task_by_id(
        &self,
        cluster: ClusterId,
        id: TaskId,
    ) -> Result<Option<Task>, Error> {
        let found = self.tasks.get(&task_key(cluster, id)).await?;
        Ok(found.map(|(task, _)| task).filter(|task| !task.deleted))
    }

    /// The task that `text` names, by identity or name.
    pub(crate) async fn task(
        &self,
        cluster: &Cluster,
        kind: TaskKind,
        text: &str,
    ) -> Result<Task, ApiError> {
        if let Ok(id) = text.parse::<TaskId>()
            && let Some(task) = self.task_by_id(cluster.id, id).await?
            && task.kind() == kind
        {
            return Ok(task);
        }
        let named = |task: &Task| task.kind() == kind && !task.name.is_empty() && task.name == text;
        let found = self.tasks(cluster.id).await?.into_iter().find(named);
        found.ok_or_else(|| {
            ApiError::not_found(format!(
                "cluster {} has no {kind} task `{text}`; `thetis tasks` lists those it has",
                cluster.name
            ))
        })
    }

    pub(crate) async fn save_task(&self, task: &Task) -> Result<(), Error> {
        self.tasks
            .put(&task_key(task.cluster, task.id), task)
            .await
            .map(drop)
    }

    /// Writes a task unless it is there.
    pub(crate) async fn new_task(&self, task: &Task) -> Result<(), Error> {
        self.tasks
            .create(&task_key(task.cluster, task.id), task)
            .await
            .map(drop)
    }

    /// Writes a task unless it is there and was not deleted.
    pub(crate) async fn revive_task(&self, task: &Task) -> Result<(), Error> {
        let key = task_key(task.cluster, task.id);
        while self.tasks.create(&key, task).await?.is_none() {
            let Some((found, revision)) = self.tasks.get(&key).await? else {
                continue;
            };
            if !found.deleted || self.tasks.update(&key, task, revision).await?.is_some() {
                break;
            }
        }
        Ok(())
    }

    pub(crate) async fn remove_task(&self, task: &Task) -> Result<(), Error> {
        self.dues.delete(&due_key(task.cluster, task.id)).await?;
        self.tasks.delete(&task_key(task.cluster, task.id)).await
    }

    /// A cluster's runs, newest first.
    pub(crate) async fn runs(&self, cluster: ClusterId) -> Result<Vec<Record>, Error> {
        Ok(self
            .runs_with_revisions(cluster)
            .await?
            .into_iter()
            .map(|(record, _)| record)
            .collect())
    }

    /// A cluster's runs, newest first.
    pub(crate) async fn runs_with_revisions(
        &self,
        cluster: ClusterId,
    ) -> Result<Vec<(Record, Revision)>, Error> {
        let listed = self.runs.list(&cluster.to_string()).await?;
        let mut runs: Vec<_> = listed
            .into_iter()
            .map(|(_, record, revision)| (record, revision))
            .collect();
        runs.sort_by_key(|(record, _)| std::cmp::Reverse((record.asked_ms, record.run)));
        Ok(runs)
    }

    pub(crate) async fn run(
        &self,
        cluster: ClusterId,
        run: RunId,
    ) -> Result<Option<(Record, Revision)>, Error> {
        self.runs.get(&run_key(cluster, run)).await
    }

    /// Writes a run that is not there; `None` if it is.
    pub(crate) async fn new_run(&self, record: &Record) -> Result<Option<Revision>, Error> {
        self.runs
            .create(&run_key(record.cluster, record.run), record)
            .await
    }

    /// Writes a run whose revision is `revision`; `None` if it is not.
    pub(crate) async fn save_run(
        &self,
        record: &Record,
        revision: Revision,
    ) -> Result<Option<Revision>, Error> {
        self.runs
            .update(&run_key(record.cluster, record.run), record, revision)
            .await
    }

    pub(crate) async fn remove_run(&self, record: &Record) -> Result<(), Error> {
        self.runs.delete(&run_key(record.cluster, record.run)).await
    }

    /// The run that works on the cluster or is about to.
    pub(crate) async fn open_run(&self, cluster: ClusterId) -> Result<Option<Record>, Error> {
        Ok(self
            .runs(cluster)
            .await?
            .into_iter()
            .find(|run| !run.status.ended() && run.exclusive()))
    }

    /// Locks the cluster for `run`. If another run holds the lock and has not ended, says which.
    pub(crate) async fn lock(
        &self,
        cluster: ClusterId,
        run: RunId,
    ) -> Result<Option<RunId>, Error> {
        let (key, mine) = (lock_key(cluster), Lock { run });
        loop {
            if self.locks.create(&key, &mine).await?.is_some() {
                return Ok(None);
            }
            let Some((lock, revision)) = self.locks.get(&key).await? else {
                continue;
            };
            if lock.run == run {
                return Ok(None);
            }
            let held = self
                .run(cluster, lock.run)
                .await?
                .is_some_and(|(holder, _)| !holder.status.ended());
            if held {
                return Ok(Some(lock.run));
            }
            if self.locks.update(&key, &mine, revision).await?.is_some() {
                return Ok(None);
            }
        }
    }

    /// Gives the lock back, if `run` has it.
    pub(crate) async fn unlock(&self, cluster: ClusterId, run: RunId) -> Result<(), Error> {
        let key = lock_key(cluster);
        match self.locks.get(&key).await? {
            Some((lock, revision)) if lock.run == run => {
                self.locks.delete_at(&key, revision).await.map(drop)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the run was told to stop, and why.
    pub(crate) async fn told_to_stop(&self, run: RunId) -> Result<Option<Control>, Error> {
        let found = self.control.get(&run.to_string()).await?;
        Ok(found.map(|(control, _)| control))
    }

    /// The credentials kept for a cluster.
    pub(crate) async fn secrets(&self, cluster: ClusterId) -> Result<Option<Sealed>, Error> {
        let found = self.secrets.get(&secret_key(cluster)).await?;
        Ok(found.map(|(sealed, _)| sealed))
    }

    pub(crate) async fn keep_secrets(
        &self,
        cluster: ClusterId,
        sealed: &Sealed,
    ) -> Result<(), Error> {
        self.secrets
            .put(&secret_key(cluster), sealed)
            .await
            .map(drop)
    }

    /// The credentials kept for each cluster.
    pub(crate) async fn all_secrets(&self) -> Result<Vec<(ClusterId, Sealed, Revision)>, Error> {
        let listed = self.secrets.list("secret").await?.into_iter();
        let read = listed.filter_map(|(key, sealed, revision)| {
            Some((key.rsplit('.').next()?.parse().ok()?, sealed, revision))
        });
        Ok(read.collect())
    }

    /// Puts others in the place of those of `revision`; false if they have changed.
    pub(crate) async fn replace_secrets(
        &self,
        cluster: ClusterId,
        sealed: &Sealed,
        revision: Revision,
    ) -> Result<bool, Error> {
        let key = secret_key(cluster);
        Ok(self.secrets.update(&key, sealed, revision).await?.is_some())
    }

    /// Tokens that were made, by name.
    pub(crate) async fn tokens(&self) -> Result<BTreeMap<String, Made>, Error> {
        let listed = self.tokens.list("token").await?.into_iter();
        let named =
            listed.filter_map(|(key, made, _)| Some((Self::token_name(&key)?.to_owned(), made)));
        Ok(named.collect())
    }

    /// Tokens as they are made and revoked.
    pub(crate) fn watch_tokens(&self) -> Changes<Made> {
        self.tokens.watch("token")
    }

    /// The name in the key of a token.
    pub(crate) fn token_name(key: &str) -> Option<&str> {
        key.strip_prefix("token.")
    }

    /// Keeps a new token; false if there is one of that name.
    pub(crate) async fn make_token(&self, name: &str, made: &Made) -> Result<bool, Error> {
        let key = format!("token.{name}");
        Ok(self.tokens.create(&key, made).await?.is_some())
    }

    /// Revokes a token; false if there is none of that name.
    pub(crate) async fn revoke_token(&self, name: &str) -> Result<bool, Error> {
        let key = format!("token.{name}");
        let there = self.tokens.get(&key).await?.is_some();
        if there {
            self.tokens.delete(&key).await?;
        }
        Ok(there)
    }

    /// All suspensions.
    pub(crate) async fn suspensions(&self) -> Result<Suspensions, Error> {
        let listed = self.suspensions.list("suspended").await?.into_iter();
        let read = listed.filter_map(|(key, suspension, _)| {
            let cluster = key.rsplit('.').next()?.parse().ok()?;
            Some((cluster, suspension))
        });
        Ok(read.collect())
    }

    /// The suspension of a cluster, if it is suspended.
    pub(crate) async fn suspension(
        &self,
        cluster: ClusterId,
    ) -> Result<Option<(Suspension, Revision)>, Error> {
        self.suspensions.get(&suspension_key(cluster)).await
    }

    pub(crate) async fn suspend(
        &self,
        cluster: ClusterId,
        suspension: &Suspension,
    ) -> Result<(), Error> {
        let key = suspension_key(cluster);
        self.suspensions.put(&key, suspension).await.map(drop)
    }

    /// Ends a suspension, unless it was changed since.
    pub(crate) async fn end_suspension(
        &self,
        cluster: ClusterId,
        revision: Revision,
    ) -> Result<(), Error> {
        let key = suspension_key(cluster);
        self.suspensions.delete_at(&key, revision).await.map(drop)
    }

    /// Work in hand of a run, each with the identity, as text, of the node that has it.
    pub(crate) async fn in_hand(&self, run: RunId) -> Result<Vec<(String, Progress)>, Error> {
        let listed = self.progress.list(&run.to_string()).await?;
        let node = |key: &str| key.split('.').nth(1).unwrap_or_default().to_owned();
        Ok(listed
            .into_iter()
            .map(|(key, progress, _)| (node(&key), progress))
            .collect())
    }

    /// Whether the buckets are new: nothing was ever written to them, or it was lost.
    pub(crate) async fn is_new(&self) -> Result<bool, Error> {
        Ok(self.canary.get(CANARY).await?.is_none())
    }

    /// Since when the buckets are the ones there are; `None` if they are new.
    pub(crate) async fn since_ms(&self) -> Result<Option<u64>, Error> {
        let found = self.canary.get(CANARY).await?;
        Ok(found.map(|(canary, _)| canary.since_ms))
    }

    /// Up to when a task's activations were looked after.
    pub(crate) async fn due(
        &self,
        cluster: ClusterId,
        task: TaskId,
    ) -> Result<Option<(Due, Revision)>, Error> {
        self.dues.get(&due_key(cluster, task)).await
    }

    /// Up to when the activations of all tasks were looked after.
    pub(crate) async fn dues(&self) -> Result<Vec<(TaskId, Due, Revision)>, Error> {
        let listed = self.dues.list("due").await?.into_iter();
        let read = listed.filter_map(|(key, due, revision)| {
            let task = key.rsplit('.').next()?.parse().ok()?;
            Some((task, due, revision))
        });
        Ok(read.collect())
    }

    /// Notes up to when a task's activations are looked after, whatever was noted before.
    pub(crate) async fn put_due(
        &self,
        cluster: ClusterId,
        task: TaskId,
        due: Due,
    ) -> Result<(), Error> {
        self.dues.put(&due_key(cluster, task), &due).await.map(drop)
    }

    /// Notes up to when they were. `None` if somebody else did meanwhile, which stands.
    pub(crate) async fn set_due(
        &self,
        (cluster, task): (ClusterId, TaskId),
        due: Due,
        revision: Option<Revision>,
    ) -> Result<Option<Revision>, Error> {
        let key = due_key(cluster, task);
        match revision {
            Some(revision) => self.dues.update(&key, &due, revision).await,
            None => self.dues.create(&key, &due).await,
        }
    }

    /// Marks the buckets as known.
    pub(crate) async fn mark(&self, now_ms: u64) -> Result<(), Error> {
        self.canary
            .create(CANARY, &Canary { since_ms: now_ms })
            .await
            .map(drop)
    }
}

fn task_key(cluster: ClusterId, task: TaskId) -> String {
    format!("{cluster}.{task}")
}

fn due_key(cluster: ClusterId, task: TaskId) -> String {
    format!("due.{cluster}.{task}")
}

fn secret_key(cluster: ClusterId) -> String {
    format!("secret.{cluster}")
}

fn suspension_key(cluster: ClusterId) -> String {
    format!("suspended.{cluster}")
}

fn run_key(cluster: ClusterId, run: RunId) -> String {
    format!("{cluster}.{run}")
}

fn lock_key(cluster: ClusterId) -> String {
    format!("lock.{cluster}")
}
