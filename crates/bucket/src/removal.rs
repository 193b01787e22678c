//! Removing backups of a whole cluster: decided on what all its buckets show, done node by node.
//!
//! # Promises
//! * A round decides anew on a fresh look, and the rounds end when nothing is left to do or nothing
//!   gets done. Coming back after a crash does what is left.
//! * What stands in the way on one node is told, and hinders none of the others.
//!
//! # Not here
//! What goes is the caller's to decide, mostly by [`catalog::retention`]; locks are its business, too.

use std::collections::{BTreeMap, BTreeSet};

use catalog::retention::{self, Decision, DeleteError, NodeWork, Policy, Question};
use futures::{StreamExt as _, stream};
use protocol::{ClusterId, Purge, Retention, SnapshotTag, TaskId};
use store::Store;

use crate::{
    Error,
    error::chain,
    purge::{self, purge},
    retention::{Survey, survey},
};

/// Nodes purged at once.
const NODES: usize = 4;
/// The most rounds. Two do all there is to do, where nothing goes wrong.
const ROUNDS: usize = 5;
/// The most obstacles that are told one by one.
const TOLD: usize = 5;

/// What a purge is told, as decisions need it.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    job: &'a Purge,
    tasks: BTreeMap<TaskId, Policy>,
    named: BTreeSet<SnapshotTag>,
    unknown: Option<Retention>,
}

impl<'a> Terms<'a> {
    /// `blind` are places that cannot be looked through, without their datacenters. A task that has
    /// backups there keeps everything, for half of a backup looks like a whole one.
    #[must_use]
    pub fn new(job: &'a Purge, blind: &BTreeSet<String>) -> Self {
        let policies = job.tasks.iter().map(|task| {
            let hidden = task.location.iter().any(|at| blind.contains(&at.remote()));
            let policy = match (hidden, task.deleted) {
                (true, _) => Policy::Live(Retention::default()),
                (false, true) => Policy::Deleted(task.retention),
                (false, false) => Policy::Live(task.retention),
            };
            (task.task, policy)
        });
        let unknown = Some(job.unknown);
        Self {
            job,
            tasks: policies.collect(),
            named: job.named.iter().cloned().collect(),
            unknown: unknown.filter(|kept| !kept.is_unset() && blind.is_empty()),
        }
    }

    /// Decides on what the buckets show. `now_ms` as in [`Question::now_ms`]. What is named and not
    /// there counts as removed before.
    ///
    /// # Errors
    /// [`DeleteError`], if backups are named that must not go.
    pub fn decide(&self, survey: &Survey, now_ms: Option<u64>) -> Result<Decision, DeleteError> {
        let question = Question {
            cluster: self.job.cluster,
            manifests: &survey.manifests,
            pinned: &survey.pinned,
            tasks: &self.tasks,
            unknown: self.unknown,
            open: &self.open(survey),
            now_ms,
            forced: self.job.force,
        };
        match self.named.is_empty() {
            true => Ok(retention::decide(&question)),
            false => {
                let there = survey.manifests.iter().map(|found| &found.key);
                let there = there.filter(|key| key.owner.cluster == self.job.cluster);
                let there: BTreeSet<&SnapshotTag> = there.map(|key| &key.tag).collect();
                let named = self.named.iter().filter(|tag| there.contains(tag));
                retention::delete(&question, &named.cloned().collect())
            }
        }
    }

    /// What nobody may take away now.
    fn open(&self, survey: &Survey) -> BTreeSet<(TaskId, SnapshotTag)> {
        let open = self.job.open.iter();
        let open = open.map(|one| (one.task, one.tag.clone()));
        let keys = survey.manifests.iter().map(|found| &found.key);
        let restored = keys.filter(|key| self.job.restored.contains(&key.tag));
        open.chain(restored.map(|key| (key.task, key.tag.clone())))
            .collect()
    }
}

/// What was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// What was decided at first, of every backup.
    pub decision: Decision,
    /// Backups of which nothing is left.
    pub backups: Vec<(TaskId, SnapshotTag)>,
    /// Objects removed, whether or not they were there.
    pub objects: u64,
    /// Their bytes, as far as they are known: Manager's manifests tell none, and are not counted.
    pub bytes: u64,
    /// What stood in the way, for people; a few at most.
    pub obstacles: Vec<String>,
    /// Whether `guard` ended it.
    pub stopped: bool,
}

/// Removes what `decide` says from `stores`, which must be all places where the cluster has backups
/// that are decided on. `guard` is asked before each request that changes something, and on the way
/// to it; once it says no, no request follows. With `dry_run` nothing is changed.
///
/// # Errors
/// Those of `decide`, and [`Error`] if the buckets cannot be looked through.
pub async fn remove<E: From<Error>>(
    stores: &[Store],
    cluster: ClusterId,
    mut decide: impl FnMut(&Survey) -> Result<Decision, E> + Send,
    guard: &(impl Fn() -> bool + Sync),
    dry_run: bool,
) -> Result<Removed, E> {
    let first = survey(stores, cluster).await?;
    let decision = decide(&first)?;
    let goes = decision.backups.iter().filter(|backup| backup.goes());
    let goes: BTreeSet<_> = goes.map(|one| (one.task, one.tag.clone())).collect();
    let mut removed = Removed {
        decision: decision.clone(),
        backups: Vec::new(),
        objects: 0,
        bytes: 0,
        obstacles: Vec::new(),
        stopped: false,
    };
    let mut work = decision.work();
    for _ in 0..ROUNDS {
        removed.obstacles.clear();
        let moved = removed.round(stores, work, guard, dry_run).await;
        if dry_run {
            removed.backups = goes.into_iter().collect();
            return Ok(removed);
        }
        if !moved || removed.stopped {
            break;
        }
        work = decide(&survey(stores, cluster).await?)?.work();
        if work.is_empty() {
            break;
        }
    }
    let left = survey(stores, cluster).await?;
    let left: BTreeSet<_> = left
        .manifests
        .iter()
        .map(|found| (found.key.task, &found.key.tag))
        .collect();
    let gone = goes
        .into_iter()
        .filter(|(task, tag)| !left.contains(&(*task, tag)));
    removed.backups = gone.collect();
    Ok(removed)
}

impl Removed {
    /// Does what each node's place is to have done; says whether anything was.
    async fn round(
        &mut self,
        stores: &[Store],
        work: Vec<NodeWork>,
        guard: &(impl Fn() -> bool + Sync),
        dry_run: bool,
    ) -> bool {
        let purges: Vec<_> = work
            .into_iter()
            .filter_map(|work| {
                let store = stores
                    .iter()
                    .find(|store| *store.location() == work.location)?;
                Some(async move {
                    let done = purge(store, &work, guard, dry_run).await;
                    (
                        format!("node {} in {}", work.owner.node, work.location),
                        done,
                    )
                })
            })
            .collect();
        let mut purges = stream::iter(purges).buffer_unordered(NODES);
        let mut moved = false;
        while let Some((place, done)) = purges.next().await {
            match done {
                Ok(report) => moved |= self.add(&place, report),
                Err(cause) => self.obstacle(format!("{place}: {}", chain(&cause))),
            }
        }
        moved
    }

    fn add(&mut self, place: &str, report: purge::Report) -> bool {
        let objects = report.files + report.manifests;
        self.objects += objects;
        self.bytes += report.bytes;
        self.stopped |= report.stopped;
        for failed in report.failures {
            self.obstacle(format!(
                "{place}: {} objects: {}",
                failed.keys, failed.cause
            ));
        }
        objects + report.unsealed > 0
    }

    fn obstacle(&mut self, text: String) {
        if self.obstacles.len() < TOLD {
            self.obstacles.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{NodeId, RunId, TaskRetention};

    use super::*;

    fn retention(retention: u32) -> Retention {
        Retention {
            retention,
            ..Retention::default()
        }
    }

    #[test]
    fn a_task_with_a_place_that_is_hidden_keeps_everything() {
        let ids = [TaskId::generate(), TaskId::generate(), TaskId::generate()];
        let task = |at: usize, deleted, places: &[&str]| TaskRetention {
            task: ids[at],
            deleted,
            location: places.iter().map(|place| place.parse().unwrap()).collect(),
            retention: retention(2),
        };
        let job = Purge {
            cluster: ClusterId::generate(),
            run: RunId::generate(),
            node: NodeId::generate(),
            locations: Vec::new(),
            tasks: vec![
                task(0, false, &["dc1:s3:a", "dc2:s3:b"]),
                task(1, false, &["s3:a"]),
                task(2, true, &["dc9:s3:b"]),
            ],
            unknown: Retention::default(),
            open: Vec::new(),
            restored: Vec::new(),
            named: Vec::new(),
            force: false,
        };
        let kept = |blind: &[&str]| {
            let blind = blind.iter().map(|&place| place.to_owned()).collect();
            let terms = Terms::new(&job, &blind);
            ids.map(|id| terms.tasks[&id])
        };
        let two = Policy::Live(retention(2));
        assert_eq!(kept(&[]), [two, two, Policy::Deleted(retention(2))]);
        let all = Policy::Live(Retention::default());
        assert_eq!(kept(&["s3:b"]), [all, two, all]);
    }
}
