//! A run as it lies in bucket `runs`, and the lock that keeps runs of a cluster apart.

use protocol::{
    BackupRequest, ClusterId, RestoreRequest, RunId, RunStatus, SnapshotTag, TaskId, TaskKind,
};
use serde::{Deserialize, Serialize};
use workflow::Run;

use crate::properties::Wish;

/// A run. Key `<cluster>.<run>`.
///
/// Made by whoever is asked for it; from then on written by the leader alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The cluster.
    pub cluster: ClusterId,
    /// The task.
    pub task: TaskId,
    /// The run.
    pub run: RunId,
    /// What was asked for: exactly one of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupRequest>,
    /// See `backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreRequest>,
    /// The run to go on from, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<RunId>,
    /// How it stands.
    pub status: RunStatus,
    /// Why it stands so.
    #[serde(default)]
    pub cause: String,
    /// When it was asked for, in milliseconds since 1970.
    pub asked_ms: u64,
    /// When it ended; 0 while it has not.
    #[serde(default)]
    pub ended_ms: u64,
    /// The term of the leader that wrote this. One of another term must not be overwritten.
    #[serde(default)]
    pub epoch: u64,
    /// Whether all is tidied up after its end.
    #[serde(default)]
    pub closed: bool,
    /// The run's course; `None` before it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Run>,
}

impl Record {
    /// A run that nobody has begun.
    pub(crate) fn new(
        cluster: ClusterId,
        task: TaskId,
        run: RunId,
        wish: Wish,
        now_ms: u64,
    ) -> Self {
        let (backup, restore) = wish.into_parts();
        Self {
            cluster,
            task,
            run,
            backup,
            restore,
            resumes: None,
            status: RunStatus::New,
            cause: String::new(),
            asked_ms: now_ms,
            ended_ms: 0,
            epoch: 0,
            closed: false,
            work: None,
        }
    }

    /// What was asked for.
    pub(crate) fn wish(&self) -> Result<Wish, String> {
        Wish::of_parts(self.backup.clone(), self.restore.clone())
    }

    /// The kind of its task.
    pub(crate) fn kind(&self) -> TaskKind {
        if self.restore.is_some() {
            TaskKind::Restore
        } else {
            TaskKind::Backup
        }
    }

    /// Ends it before it began.
    pub(crate) fn end(&mut self, status: RunStatus, cause: impl Into<String>, now_ms: u64) {
        self.status = status;
        self.cause = cause.into();
        self.ended_ms = now_ms;
        self.closed = self.work.is_none();
    }

    /// Takes status and cause over from the run's course; true if it has ended just now.
    pub(crate) fn follow(&mut self, now_ms: u64) -> bool {
        let Some(work) = &self.work else { return false };
        let ended = work.status().ended() && !self.status.ended();
        self.status = work.status();
        work.cause().clone_into(&mut self.cause);
        if ended {
            self.ended_ms = now_ms;
        }
        ended
    }

    /// The run that began the work: itself, unless it continues another.
    pub(crate) fn origin(&self) -> RunId {
        match self.work.as_ref().map(Run::spec) {
            Some(workflow::Spec::Backup(spec)) => spec.origin,
            Some(workflow::Spec::Restore(spec)) => spec.origin,
            None => self.run,
        }
    }

    /// The snapshot it took, if it is a backup that began.
    pub(crate) fn tag(&self) -> Option<SnapshotTag> {
        match self.work.as_ref()?.spec() {
            workflow::Spec::Backup(spec) => Some(spec.tag),
            workflow::Spec::Restore(_) => None,
        }
    }

    /// Whether it can be continued, as far as it alone tells.
    pub(crate) fn resumable(&self) -> bool {
        self.work.is_some()
            && match self.status {
                RunStatus::Stopped | RunStatus::Error => true,
                RunStatus::New
                | RunStatus::Running
                | RunStatus::Stopping
                | RunStatus::Done
                | RunStatus::Aborted => false,
            }
    }
}

/// The one run that may change a cluster now. Key `lock.<cluster>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lock {
    pub(crate) run: RunId,
}

/// Snapshots nobody needs any more: those of backups that are done, and of those that failed or
/// were stopped and are not the newest of their task. `runs` are those of one cluster, newest
/// first.
pub(crate) fn stale(runs: &[Record]) -> Vec<SnapshotTag> {
    let mut needed = Vec::new();
    let mut tags = Vec::new();
    for (at, record) in runs.iter().enumerate() {
        let Some(tag) = record.tag() else { continue };
        let newest = !runs[..at]
            .iter()
            .any(|newer| newer.task == record.task && newer.tag().is_some());
        if !record.status.ended() || (newest && record.resumable()) {
            needed.push(tag);
        } else if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags.retain(|tag| !needed.contains(tag));
    tags
}

#[cfg(test)]
pub(crate) mod tests {
    use protocol::{Event, Fact};
    use workflow::{BackupSpec, Input};

    use super::*;

    /// A backup run taken at second `tag`; `end` is put into its course where that is possible.
    pub(crate) fn backup(task: TaskId, tag: u64, status: RunStatus) -> Record {
        let (cluster, run) = (ClusterId(uuid::Uuid::nil()), RunId::generate());
        let request = BackupRequest {
            location: vec!["s3:a".parse().unwrap()],
            ..BackupRequest::default()
        };
        let mut record = Record::new(cluster, task, run, Wish::Backup(request.clone()), tag);
        record.work = Some(Run::backup(BackupSpec {
            cluster,
            run,
            origin: run,
            task,
            tag: catalog::tag::at(tag),
            request,
            cluster_name: "c".into(),
            scout: protocol::NodeId(uuid::Uuid::nil()),
            stale: vec![],
            started_ms: tag,
            unsettled: false,
        }));
        record.status = status;
        record
    }

    #[test]
    fn the_snapshot_of_a_run_that_can_go_on_is_kept() {
        let (one, two) = (TaskId::generate(), TaskId::generate());
        let runs = [
            backup(one, 60, RunStatus::Running),
            backup(two, 50, RunStatus::Stopped),
            backup(two, 40, RunStatus::Error),
            backup(one, 30, RunStatus::Stopped),
            backup(one, 20, RunStatus::Done),
        ];
        let tags = [40, 30, 20].map(catalog::tag::at);
        assert_eq!(stale(&runs), tags);
    }

    #[test]
    fn a_record_ends_when_its_course_does() {
        let mut record = backup(TaskId::generate(), 1, RunStatus::Running);
        assert!(!record.follow(5));
        record.work.as_mut().unwrap().apply(&Input::Stop);
        let event = Event {
            cluster: record.cluster,
            run: record.run,
            node: None,
            fact: Fact::RunStarted,
        };
        record.work.as_mut().unwrap().apply(&Input::Event(&event));
        assert!(record.follow(7));
        assert_eq!((record.status, record.ended_ms), (RunStatus::Stopped, 7));
        assert!(!record.follow(9) && record.resumable());
    }
}
