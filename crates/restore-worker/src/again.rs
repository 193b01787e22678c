//! A batch that failed here is another node's, if there is one that lives.
//!
//! What is wrong may be wrong with this node alone: its disk, its way to the bucket, its database.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use protocol::{LoadBatch, Presence, RunId, WorkerKind};
use queue::{Context as JobContext, JobError};

use crate::{RestoreWorker, failure::Failure};

/// Failures that are remembered at most; a restore with more has other troubles.
const MOST: usize = 1_000;

/// Batches that failed here: at which attempt, and why.
#[derive(Debug, Default)]
pub(crate) struct Failed(Mutex<HashMap<(RunId, u32), (u64, String)>>);

impl Failed {
    /// Remembers that an attempt failed here. One that was only left to others did not.
    pub(crate) fn note(&self, job: &LoadBatch, attempt: u64, failure: &Failure) {
        let JobError::Retry(why) = failure.verdict() else {
            return;
        };
        if matches!(failure, Failure::LeftToOthers { .. }) {
            return;
        }
        let mut failed = self.lock();
        if failed.len() >= MOST {
            failed.clear();
        }
        failed.insert((job.origin, job.batch), (attempt, why));
    }

    /// Why the attempt before this one failed, if that was here.
    fn just_now(&self, job: &LoadBatch, attempt: u64) -> Option<String> {
        let failed = self.lock();
        let (before, why) = failed.get(&(job.origin, job.batch))?;
        (before + 1 == attempt).then(|| why.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(RunId, u32), (u64, String)>> {
        self.0.lock().expect("nothing panics with this lock")
    }
}

impl RestoreWorker {
    /// Leaves a batch whose last attempt failed here to another node that may take it, once for each failure.
    pub(crate) async fn leave_to_others(
        &self,
        job: &LoadBatch,
        ctx: &JobContext,
    ) -> Result<(), Failure> {
        let Some(why) = self.failed.just_now(job, ctx.attempt) else {
            return Ok(());
        };
        let others = |other: &Presence| {
            job.node.is_none()
                && other.worker == WorkerKind::Restore
                && other.node != self.id
                && (&*other.dc, &*other.cluster_name) == (&*job.dc, &*self.cluster_name)
        };
        match self.queue.workers().await?.iter().any(others) {
            true => Err(Failure::LeftToOthers { why }),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{ClusterId, Pace};

    use super::*;

    #[test]
    fn a_failure_counts_for_the_next_attempt_and_no_more() {
        let job = |batch| LoadBatch {
            cluster: ClusterId::generate(),
            run: RunId::generate(),
            origin: RunId(uuid()),
            dc: "dc1".into(),
            node: None,
            location: "s3:backups".parse().unwrap(),
            batch,
            task: None,
            pace: Pace::default(),
        };
        let failed = Failed::default();
        let lost = |batch| Failure::Lost { batch, tries: 3 };
        failed.note(&job(1), 2, &lost(1));
        let why = failed.just_now(&job(1), 3).unwrap();
        assert!(why.contains("forgotten"), "{why}");
        // Nor is it left to others once more, or when no node could do it.
        failed.note(&job(1), 3, &Failure::LeftToOthers { why });
        failed.note(&job(3), 1, &Failure::NoBatch { batch: 3 });
        assert_eq!(failed.just_now(&job(3), 2), None);
        assert_eq!(failed.just_now(&job(1), 4), None);
        assert_eq!(failed.just_now(&job(2), 3), None);
    }

    fn uuid() -> uuid::Uuid {
        uuid::Uuid::from_u128(7)
    }
}
