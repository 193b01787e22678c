//! A run of whatever kind, as its driver sees it.

use std::collections::BTreeSet;

use protocol::{ClusterId, Event, Fact, Job, NodeId, RunId, RunStatus, WorkerKind};
use serde::{Deserialize, Serialize};

use crate::{
    Backup, BackupSpec, ErrandRun, ErrandSpec, Report, Restore, RestoreSpec, Shield, Spec,
    course::{self, Course},
};

/// One execution of a task, from its beginning to its end.
///
/// Serialises to MessagePack with named fields and to JSON. A later build may not read what an
/// earlier one saved; [`Run::rebuild`] then begins it anew, which costs time and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// Of a cluster to a bucket.
    Backup(Backup),
    /// Of a bucket into a cluster.
    Restore(Restore),
    /// Of what is neither: see [`Errand`](crate::Errand).
    Errand(ErrandRun),
}

/// What can be folded into a run.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Something happened. Any event may be given; those of other runs change nothing.
    Event(&'a Event),
    /// Time passed.
    Tick {
        /// The wall clock, in milliseconds since 1970. May jump: see [`limit::STEP_MS`](crate::limit::STEP_MS).
        now_ms: u64,
        /// Workers, of those that [`Run::needs`] names, that are not alive. Others are ignored.
        absent: &'a BTreeSet<(NodeId, WorkerKind)>,
    },
    /// A user wants the run to stop.
    Stop,
}

macro_rules! either {
    ($run:expr, $course:ident => $body:expr) => {
        match $run {
            Run::Backup($course) => $body,
            Run::Restore($course) => $body,
            Run::Errand($course) => $body,
        }
    };
}

impl Run {
    /// A backup that nothing has happened to yet.
    #[must_use]
    pub fn backup(spec: BackupSpec) -> Self {
        Self::Backup(Backup::new(spec))
    }

    /// A restore that nothing has happened to yet.
    #[must_use]
    pub fn restore(spec: RestoreSpec) -> Self {
        Self::Restore(Restore::new(spec))
    }

    /// An errand that nothing has happened to yet.
    #[must_use]
    pub fn errand(spec: ErrandSpec) -> Self {
        Self::Errand(ErrandRun::new(spec))
    }

    /// The run that `spec` describes, of which nothing else is known any more: it begins anew, is
    /// quick where the bucket proves what was done, and puts back what may have been changed.
    #[must_use]
    pub fn rebuild(spec: Spec) -> Self {
        match spec {
            Spec::Backup(spec) => Self::backup(BackupSpec {
                unsettled: true,
                ..spec
            }),
            Spec::Restore(spec) => Self::restore(RestoreSpec {
                unsettled: true,
                shielded: spec.shielded.max(Shield::Perhaps),
                ..spec
            }),
            Spec::Errand(spec) => Self::errand(spec),
        }
    }

    /// What the run was told at its start: its descriptor.
    #[must_use]
    pub fn spec(&self) -> Spec {
        match self {
            Self::Backup(backup) => Spec::Backup(backup.spec().clone()),
            Self::Restore(restore) => Spec::Restore(restore.spec().clone()),
            Self::Errand(errand) => Spec::Errand(errand.spec().clone()),
        }
    }

    /// The cluster and the run's identity.
    #[must_use]
    pub fn owner(&self) -> (ClusterId, RunId) {
        either!(self, course => course.owner())
    }

    /// Folds in one input. True if the run has to be saved for it; after false, the run may differ
    /// from the one before in its clock alone, and need not be saved.
    pub fn apply(&mut self, input: &Input<'_>) -> bool {
        either!(self, course => course::apply(course, input))
    }

    /// Every job whose answer would move the run on; none when it has ended.
    ///
    /// Asking again is always right.
    #[must_use]
    pub fn due(&self) -> Vec<Job> {
        either!(self, course => course.waits().iter().flat_map(|wait| course.jobs(wait)).collect())
    }

    /// Those of [`Run::due`] that were not due `before`, an earlier state of this run.
    #[must_use]
    pub fn jobs_after(&self, before: &Self) -> Vec<Job> {
        let old = either!(before, course => course.waits());
        either!(self, course => {
            let new = course.waits().into_iter().filter(|wait| !old.iter().any(|old| old.asks_as(wait)));
            new.flat_map(|wait| course.jobs(&wait)).collect()
        })
    }

    /// The workers whose absence matters now.
    #[must_use]
    pub fn needs(&self) -> BTreeSet<(NodeId, WorkerKind)> {
        either!(self, course => course.life().needs(&course.waits()))
    }

    /// What to do about an event of this run that comes after its end: jobs that put back what a
    /// late copy of a job has changed. None for a run that is open, and for most events.
    ///
    /// The event is to be acknowledged only when the queue has taken each of the jobs as new: a copy
    /// that is in hand already may have had its effect before that which is to be put back.
    #[must_use]
    pub fn amends(&self, event: &Event) -> Vec<Job> {
        if !self.status().ended() || (event.cluster, event.run) != self.owner() {
            return Vec::new();
        }
        let amends = match (&event.fact, event.node, self) {
            (Fact::BalancingSet { enabled: false }, Some(node), _) => Some(self.balancing_on(node)),
            (Fact::NodePrepared(_), Some(node), Self::Restore(restore)) => restore.put_back(node),
            (
                Fact::Inspected(_)
                | Fact::Pinged(_)
                | Fact::BalancingSet { .. }
                | Fact::SnapshotTaken
                | Fact::Indexed(_)
                | Fact::SchemaStored
                | Fact::ChunkStored(_)
                | Fact::Sealed(_)
                | Fact::SnapshotDropped
                | Fact::Purged(_)
                | Fact::Validated(_)
                | Fact::SnapshotsCleared(_)
                | Fact::RestorePlanned(_)
                | Fact::SchemaPrepared(_)
                | Fact::SchemaSettled(_)
                | Fact::RestoreProven(_)
                | Fact::NodePrepared(_)
                | Fact::BatchLoaded(_)
                | Fact::NodePutBack
                | Fact::Failed(_)
                | Fact::Refused { .. }
                | Fact::RunStarted
                | Fact::RunEnded(_),
                _,
                _,
            ) => None,
        };
        amends.into_iter().collect()
    }

    fn balancing_on(&self, node: NodeId) -> Job {
        let (cluster, run) = self.owner();
        Job::SetBalancing(protocol::SetBalancing {
            cluster,
            run,
            node,
            enabled: true,
        })
    }

    /// Whether workers are to leave off what they have in hand, though the run has not ended: it
    /// waits until it can be sure that they have. A restore that has failed waits for that too:
    /// what is put back, a batch in hand would spoil again.
    #[must_use]
    pub fn leaves_off(&self) -> bool {
        match self {
            Self::Backup(backup) => backup.rests(),
            Self::Restore(restore) => restore.gives_up(),
            Self::Errand(errand) => errand.rests(),
        }
    }

    /// How the run stands.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        either!(self, course => course.life().status())
    }

    /// Why it ends or ended as it did, for a person; remarks on a run that is well; else empty.
    #[must_use]
    pub fn cause(&self) -> &str {
        either!(self, course => &course.life().cause)
    }

    /// A new run that continues this one, with the same origin and tag: only of one that ended
    /// `STOPPED` or `ERROR`, and not of an errand.
    ///
    /// All jobs are due anew; those whose work the bucket or the node proves are answered at once.
    #[must_use]
    pub fn resume(&self, run: RunId, now_ms: u64) -> Option<Self> {
        match self.status() {
            RunStatus::Stopped | RunStatus::Error => {}
            RunStatus::New
            | RunStatus::Running
            | RunStatus::Stopping
            | RunStatus::Waiting
            | RunStatus::Done
            | RunStatus::Aborted => return None,
        }
        Some(match self {
            Self::Backup(backup) => Self::backup(backup.continued(run, now_ms)),
            Self::Restore(restore) => Self::restore(restore.continued(run, now_ms)),
            Self::Errand(_) => return None,
        })
    }

    /// Has another node asked what the cluster looks like, while that is not known yet: for a
    /// driver that finds the first one's worker absent. True if that changed the run.
    pub fn set_scout(&mut self, node: NodeId) -> bool {
        match self {
            Self::Backup(backup) => backup.set_scout(node),
            Self::Restore(restore) => restore.set_scout(node),
            Self::Errand(errand) => errand.set_scout(node),
        }
    }

    /// The run for people and for the API.
    #[must_use]
    pub fn report(&self) -> Report {
        match self {
            Self::Backup(backup) => backup.report(),
            Self::Restore(restore) => restore.report(),
            Self::Errand(errand) => errand.report(),
        }
    }
}

/// Whether `job` is to be carried out and answered even for a run that is stopped or has ended:
/// true of those that change switches of a node or a cluster, or put them back, or remove what a drill has made. Only their answers
/// tell whether something has to be put back.
#[must_use]
pub fn survives_stop(job: &Job) -> bool {
    match job {
        Job::SetBalancing(_) | Job::PrepareNode(_) | Job::PutBack(_) => true,
        Job::SettleSchema(job) => job.scrap,
        Job::Request(_)
        | Job::Inspect(_)
        | Job::Ping(_)
        | Job::TakeSnapshot(_)
        | Job::Index(_)
        | Job::StoreSchema(_)
        | Job::Upload(_)
        | Job::Seal(_)
        | Job::DropSnapshot(_)
        | Job::Purge(_)
        | Job::Validate(_)
        | Job::ClearSnapshots(_)
        | Job::PlanRestore(_)
        | Job::PrepareSchema(_)
        | Job::ProveRestore(_)
        | Job::LoadBatch(_) => false,
    }
}
