//! Doing to the bucket what `catalog` says, and telling of it.

use std::{collections::BTreeMap, time::Duration};

use catalog::{
    key::ManifestKey,
    purge::{Batch, Phase, Step, Steps},
};
use futures::{StreamExt as _, stream};
use store::Store;
use tokio::time::timeout;

use super::{Failed, Report, read::Copy};

/// Requests in flight.
const REQUESTS: usize = 4;

/// How long one of them may take. Whoever holds the guard can therefore tell when the last change
/// comes at the latest: so long after it says no.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Batches that may fail before the rest is not even tried.
const FAILURES: usize = 10;

/// A purge under way.
pub(super) struct Purge<'a, G> {
    pub(super) store: &'a Store,
    pub(super) guard: &'a G,
    /// The finished manifests that are to be unfinished ones.
    pub(super) copies: BTreeMap<ManifestKey, Copy>,
    pub(super) report: Report,
}

/// What became of a batch.
enum Outcome {
    Done(Batch),
    /// Why, and whether the same may happen to others.
    Failed(Batch, String, bool),
    Stopped,
}

impl<G: Fn() -> bool + Sync> Purge<'_, G> {
    /// Reports all steps as done.
    pub(super) fn pretend(&mut self, steps: Steps) {
        for step in steps {
            if let Step::Delete(batch) = step {
                self.done(&batch);
            }
        }
    }

    /// Does all steps. The manifests are last, and stay if anything before them failed.
    pub(super) async fn run(&mut self, steps: Steps) {
        let mut steps = steps.peekable();
        while let Some(step) = steps.next() {
            let first = match step {
                Step::Unseal(key) => {
                    if !self.unseal(&key).await {
                        return;
                    }
                    continue;
                }
                Step::Delete(first) => first,
            };
            let phase = first.phase;
            if phase == Phase::Manifests && !self.report.failures.is_empty() {
                return;
            }
            let same = |step: &Step| matches!(step, Step::Delete(batch) if batch.phase == phase);
            let more = std::iter::from_fn(|| steps.next_if(same));
            let more = more.filter_map(|step| match step {
                Step::Delete(batch) => Some(batch),
                Step::Unseal(_) => None,
            });
            if !self.phase(std::iter::once(first).chain(more)).await {
                return;
            }
        }
    }

    /// Deletes all batches of a phase; `false` if it is no use to go on.
    async fn phase(&mut self, batches: impl Iterator<Item = Batch>) -> bool {
        let (store, guard) = (self.store, self.guard);
        let deletions = batches.map(|batch| async move {
            if !guard() {
                return Outcome::Stopped;
            }
            match timeout(LIMIT, store.delete(&batch.keys)).await {
                Ok(Ok(())) => Outcome::Done(batch),
                Ok(Err(cause)) => Outcome::Failed(batch, cause.to_string(), cause.retry()),
                Err(_) => Outcome::Failed(batch, late(), true),
            }
        });
        let mut deletions = stream::iter(deletions).buffer_unordered(REQUESTS);
        while let Some(outcome) = deletions.next().await {
            match outcome {
                Outcome::Done(batch) => self.done(&batch),
                Outcome::Failed(batch, cause, hopeless) => {
                    self.failed(batch.keys.len(), cause);
                    if hopeless || self.report.failures.len() >= FAILURES {
                        return false;
                    }
                }
                Outcome::Stopped => {
                    self.report.stopped = true;
                    return false;
                }
            }
        }
        true
    }

    /// Makes a finished manifest an unfinished one; `false` if that could not be done, so that
    /// nothing may be deleted.
    async fn unseal(&mut self, key: &ManifestKey) -> bool {
        let (guard, temporary) = (self.guard, key.with_temporary(true).to_string());
        let Some(copy) = self.copies.get(key) else {
            return true;
        };
        if !guard() {
            self.report.stopped = true;
            return false;
        }
        let put = self
            .store
            .put_file(&temporary, &copy.path, copy.bytes, None, &|_| ())
            .await;
        if let Err(cause) = put {
            self.failed(1, cause.to_string());
            return false;
        }
        if !guard() {
            self.report.stopped = true;
            return false;
        }
        let finished = [key.to_string()];
        let cause = match timeout(LIMIT, self.store.delete(&finished)).await {
            Ok(Ok(())) => {
                self.report.unsealed += 1;
                return true;
            }
            Ok(Err(cause)) => cause.to_string(),
            Err(_) => late(),
        };
        self.failed(1, cause);
        false
    }

    fn done(&mut self, batch: &Batch) {
        let keys = batch.keys.len() as u64;
        match batch.phase {
            Phase::Components | Phase::Versions | Phase::Lists => {
                self.report.files += keys;
                self.report.bytes += batch.bytes;
            }
            Phase::Schemas => {}
            Phase::Manifests => {
                self.report.manifests += keys;
                let gone = batch.keys.iter().filter_map(|key| key.parse().ok());
                let gone = gone.map(|key: ManifestKey| (key.task, key.tag));
                self.report.backups.extend(gone);
            }
        }
    }

    fn failed(&mut self, keys: usize, cause: String) {
        self.report.failures.push(Failed { keys, cause });
    }
}

fn late() -> String {
    format!("not deleted within {} s", LIMIT.as_secs())
}
