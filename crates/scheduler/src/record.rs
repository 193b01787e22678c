//! A run as it lies in bucket `runs`, and the lock that keeps runs of a cluster apart.

use std::fmt;

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use protocol::{ClusterId, Location, RunId, RunStatus, SnapshotTag, TaskId, TaskKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};
use tracing::warn;
use workflow::{Errand, Run, Spec};

use crate::properties::{Parts, Wish};

/// A run. Key `<cluster>.<run>`.
///
/// Made by whoever is asked for it; from then on written by the leader alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub(crate) struct Record {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// The task.
    pub(crate) task: TaskId,
    /// The run.
    pub(crate) run: RunId,
    /// What was asked for.
    pub(crate) parts: Parts,
    /// The run to go on from, if any.
    pub(crate) resumes: Option<RunId>,
    /// How it stands.
    pub(crate) status: RunStatus,
    /// Why it stands so.
    pub(crate) cause: String,
    /// When it was asked for, in milliseconds since 1970.
    pub(crate) asked_ms: u64,
    /// When it ended; 0 while it has not.
    pub(crate) ended_ms: u64,
    /// The term of the leader that wrote this. One of another term must not be overwritten.
    pub(crate) epoch: u64,
    /// Whether all is tidied up after its end.
    pub(crate) closed: bool,
    /// Whether it was stopped because its window has closed.
    pub(crate) waits: bool,
    /// The trace it is part of, as W3C's `traceparent`; empty if there is none.
    pub(crate) trace: String,
    /// The run's course; `None` before it began.
    pub(crate) work: Option<Run>,
}

/// How a record is written: the course packed, so that it stays below what NATS takes in one
/// message, and with what it takes to begin it anew, should another build not read it.
#[derive(Serialize, Deserialize)]
struct Wire {
    cluster: ClusterId,
    task: TaskId,
    run: RunId,
    #[serde(flatten)]
    parts: Parts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resumes: Option<RunId>,
    status: RunStatus,
    #[serde(default)]
    cause: String,
    asked_ms: u64,
    #[serde(default)]
    ended_ms: u64,
    #[serde(default)]
    epoch: u64,
    #[serde(default)]
    closed: bool,
    #[serde(default)]
    waits: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    trace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spec: Option<Spec>,
    /// JSON, compressed.
    #[serde(default)]
    work: Packed,
}

impl From<Record> for Wire {
    fn from(record: Record) -> Self {
        Self {
            cluster: record.cluster,
            task: record.task,
            run: record.run,
            parts: record.parts,
            resumes: record.resumes,
            status: record.status,
            cause: record.cause,
            asked_ms: record.asked_ms,
            ended_ms: record.ended_ms,
            epoch: record.epoch,
            closed: record.closed,
            waits: record.waits,
            trace: record.trace,
            spec: record.work.as_ref().map(Run::spec),
            work: record.work.as_ref().map(Packed::new).unwrap_or_default(),
        }
    }
}

impl From<Wire> for Record {
    fn from(wire: Wire) -> Self {
        let work = wire.work.open();
        if work.is_none() && wire.spec.is_some() {
            warn!(run = %wire.run, "the run was saved by another build and is begun anew");
        }
        Self {
            cluster: wire.cluster,
            task: wire.task,
            run: wire.run,
            parts: wire.parts,
            resumes: wire.resumes,
            cause: wire.cause,
            asked_ms: wire.asked_ms,
            ended_ms: wire.ended_ms,
            epoch: wire.epoch,
            closed: wire.closed,
            waits: wire.waits,
            trace: wire.trace,
            work: work.or_else(|| wire.spec.filter(|_| !wire.status.ended()).map(Run::rebuild)),
            status: wire.status,
        }
    }
}

/// A course as bytes; none for one that did not begin.
#[derive(Default)]
struct Packed(Vec<u8>);

impl Packed {
    fn new(work: &Run) -> Self {
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
        serde_json::to_writer(&mut packed, work).expect("a run is plain data");
        Self(packed.finish().expect("memory takes all that is written"))
    }

    /// `None` if there is none, or none this build can read.
    fn open(&self) -> Option<Run> {
        serde_json::from_reader(DeflateDecoder::new(&self.0[..])).ok()
    }
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_byte_buf(Bytes)
    }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Packed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Packed, E> {
        Ok(Packed(bytes.to_vec()))
    }
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
        Self {
            cluster,
            task,
            run,
            parts: wish.into(),
            resumes: None,
            status: RunStatus::New,
            cause: String::new(),
            asked_ms: now_ms,
            ended_ms: 0,
            epoch: 0,
            closed: false,
            waits: false,
            trace: queue::traceparent(),
            work: None,
        }
    }

    /// What was asked for.
    pub(crate) fn wish(&self) -> Result<Wish, String> {
        Wish::of_parts(self.parts.clone())
    }

    /// Whether nothing else may run on the cluster meanwhile.
    pub(crate) fn exclusive(&self) -> bool {
        self.wish().is_ok_and(|wish| wish.exclusive())
    }

    /// Where it goes to or comes from; nowhere, if that was left open and it has not begun.
    pub(crate) fn locations(&self) -> Vec<Location> {
        match self.work.as_ref().map(Run::spec) {
            Some(Spec::Errand(spec)) => match spec.errand {
                Errand::Delete(request) => request.location,
                Errand::Validate(request) => request.location,
                Errand::Clear { .. } => Vec::new(),
            },
            Some(Spec::Backup(_) | Spec::Restore(_)) | None => {
                let wish = self.wish();
                wish.map(|wish| wish.locations().to_vec())
                    .unwrap_or_default()
            }
        }
    }

    /// The kind of its task.
    pub(crate) fn kind(&self) -> TaskKind {
        self.wish().map_or(TaskKind::Backup, |wish| wish.kind())
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
        if self.waits && self.status == RunStatus::Stopped {
            self.status = RunStatus::Waiting;
        }
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
            Some(workflow::Spec::Errand(spec)) => spec.run,
            None => self.run,
        }
    }

    /// The snapshot it took, if it is a backup that began.
    pub(crate) fn tag(&self) -> Option<SnapshotTag> {
        match self.work.as_ref()?.spec() {
            workflow::Spec::Backup(spec) => Some(spec.tag),
            workflow::Spec::Restore(_) | workflow::Spec::Errand(_) => None,
        }
    }

    /// Whether it is removing backups now.
    pub(crate) fn purges(&self) -> bool {
        let stage = self.work.as_ref().map(|work| work.report().stage);
        !self.status.ended() && stage.as_deref() == Some("PURGE")
    }

    /// Whether what it has begun is new enough to go on with: snapshots of a backup hold disk space for
    /// as long as they are kept. `runs` are those of its cluster; 0 hours are for ever.
    pub(crate) fn fresh(&self, runs: &[Self], now_ms: u64, hours: u32) -> bool {
        let origin = self.origin();
        let first = runs.iter().find(|run| run.run == origin).unwrap_or(self);
        let age_ms = now_ms.saturating_sub(first.asked_ms);
        self.parts.backup.is_none() || hours == 0 || age_ms <= u64::from(hours) * 3_600_000
    }

    /// Whether it can be continued, as far as it alone tells.
    pub(crate) fn resumable(&self) -> bool {
        self.work.is_some()
            && (self.parts.backup.is_some() || self.parts.restore.is_some())
            && match self.status {
                RunStatus::Stopped | RunStatus::Waiting | RunStatus::Error => true,
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

/// Whether a run is under way, or is the newest of its task that has begun and can be gone on with.
/// `runs` are those of its cluster, newest first.
pub(crate) fn goes_on(record: &Record, runs: &[Record]) -> bool {
    let newest = runs
        .iter()
        .find(|run| run.task == record.task && run.work.is_some());
    !record.status.ended()
        || record.resumable() && newest.is_some_and(|newest| newest.run == record.run)
}

/// The backups of runs that go on. `runs` are those of one cluster, newest first.
pub(crate) fn needed(runs: &[Record]) -> Vec<(TaskId, SnapshotTag)> {
    let going = runs.iter().filter(|run| goes_on(run, runs));
    going
        .filter_map(|run| Some((run.task, run.tag()?)))
        .collect()
}

/// Snapshots nobody needs any more: those of backups that are done, and of those that failed or
/// were stopped and are not the newest of their task. `runs` are those of one cluster, newest
/// first.
pub(crate) fn stale(runs: &[Record]) -> Vec<SnapshotTag> {
    let needed: Vec<SnapshotTag> = needed(runs).into_iter().map(|(_, tag)| tag).collect();
    let mut tags = Vec::new();
    for tag in runs.iter().filter_map(Record::tag) {
        if !needed.contains(&tag) && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

#[cfg(test)]
pub(crate) mod tests {
    use protocol::{BackupRequest, Event, Fact};
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
        let open = [(one, catalog::tag::at(60)), (two, catalog::tag::at(50))];
        assert_eq!(needed(&runs), open);
    }

    #[test]
    fn a_record_is_read_as_it_was_written_or_begun_anew() {
        let record = backup(TaskId::generate(), 1, RunStatus::Running);
        let mut wire = Wire::from(record.clone());
        assert_eq!(Record::from(Wire::from(record.clone())), record);
        wire.work = Packed(b"of another build".to_vec());
        let anew = Record::from(wire);
        assert_eq!(anew.tag(), record.tag());
        let fresh = Record {
            work: None,
            status: RunStatus::New,
            ..record
        };
        assert_eq!(Record::from(Wire::from(fresh.clone())), fresh);
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
        record.waits = true;
        assert!(!record.follow(9) && record.resumable());
        assert_eq!(record.status, RunStatus::Waiting);
    }
}
