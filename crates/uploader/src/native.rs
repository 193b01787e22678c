//! Having ScyllaDB store files itself.
//!
//! For a table's files of a chunk the node is shown a handover ([`scylla::Handover`]): a snapshot with
//! just these files, which it moves to where the own engine would have put them, under the same
//! names. So whoever stores it, what lies in the bucket is the same, and deduplication is nobody's
//! concern here. What proves a file is that the bucket lists it with its size, and that its content
//! here was what its digest says just before (`uploader.native_check`).
//!
//! # Promises
//! * One task of ours at a time beside a node, whatever the number of uploaders, and none while the
//!   node uploads for somebody else: it would only wait there.
//! * A task is judged by its state; a file by what the bucket lists. So a task that is forgotten, as
//!   by the node's restart, or one whose asker died costs only what it had not stored yet.
//! * Told to stop, it has the task aborted and leaves off within [`CALL_OFF`].
//!
//! # Crashes
//! The node goes on without us. Whoever gets the chunk next waits for that, and asks for the rest. The
//! handover is made anew then; it goes with its chunk, with the seal of its node, or when the next
//! backup takes its snapshot.

use std::{
    fs::{File, TryLockError},
    time::Duration,
};

use catalog::Chunk;
use protocol::{Method, TableRef, Upload};
use scylla::{DataDir, Handover, NativeBackup, Node, Task, TaskState};
use service::{Beside, Chain, Natively};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::{
    errand::{Errand, Outcome},
    failure::Failure,
    share::{Part, Share},
};

/// How long the node waits with its answer for the end of a task.
const POLL: Duration = Duration::from_secs(1);
/// Between two looks at the lock that another chunk of the node holds.
const LOCK_PAUSE: Duration = Duration::from_millis(200);
/// How long a task may show no bytes at all, done or to be done, and count as alive: it waits for the
/// node's snapshot lock, and whoever holds that may have hours to go. A task that has shown any has to
/// move them within `nats.stall_secs`, as everything has to.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// How often a part is asked for, at one attempt at its chunk.
const TRIES: u32 = 3;
/// Attempts at a chunk after which `auto` leaves ScyllaDB out.
const ATTEMPTS: u64 = 2;
/// How long an aborted task may take to end before it is left alone.
const CALL_OFF: Duration = Duration::from_secs(1);

const WHO: &str = "ScyllaDB";
const BACKUP: &str = "backup";
const MODULE: &str = "snapshot";

/// The node, as one that uploads.
pub(crate) struct Native {
    node: Node,
    data_dir: DataDir,
    /// Which stores the node knows.
    pub(crate) can: Natively,
    /// Whether data is compared with its digest first.
    check: bool,
}

/// How a task ended that did not fail.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    /// The node does not know it any more.
    Forgotten,
}

impl Native {
    pub(crate) fn new(beside: &Beside, check: bool) -> Self {
        Self {
            node: beside.node.clone(),
            data_dir: DataDir::new(&beside.data_dir),
            can: Natively::new(beside),
            check,
        }
    }

    /// Shares out a chunk; gives the endpoint by which ScyllaDB gets its part to the bucket, if any.
    pub(crate) async fn share(
        &self,
        job: &Upload,
        chunk: &Chunk,
        attempt: u64,
    ) -> Result<(Share, String), Failure> {
        let auto = job.method == Method::Auto;
        let refused = |reason: &str| Ok((Share::refused(chunk, reason), String::new()));
        if auto && job.storage_class.is_some() {
            return refused("ScyllaDB stores in the bucket's usual class");
        }
        if auto && attempt > ATTEMPTS {
            return refused("ScyllaDB was asked at two attempts and did not get it done");
        }
        let found = match self.can.look().await {
            Ok(found) => found,
            Err(cause) if auto => {
                let cause = Chain(&cause);
                return refused(&format!("what the node can upload is not known: {cause}"));
            }
            Err(cause) => return Err(cause.into()),
        };
        let provider = job.location.provider;
        let endpoint = match auto {
            true => found.ready(provider),
            false => found.endpoint(provider),
        };
        match endpoint {
            Err(reason) => refused(&reason),
            Ok(endpoint) => {
                let why = match auto {
                    true => format!("ScyllaDB {} knows the store", found.scylla_version),
                    false => "asked for".to_owned(),
                };
                Ok((
                    Share::others(chunk, Method::Native, &why),
                    endpoint.to_owned(),
                ))
            }
        }
    }

    /// Has the parts stored, one after the other, until one fails; `endpoint` is how ScyllaDB gets them to the
    /// bucket.
    pub(crate) async fn store(
        &self,
        errand: &Errand<'_>,
        endpoint: &str,
        parts: &[Part],
    ) -> Outcome {
        let mut proven = Vec::new();
        // Others of this node may have their turn while this one reads.
        let files = parts.iter().flat_map(|part| &part.files).copied();
        let files: Vec<usize> = files.collect();
        let checked = match errand.check_files(&self.data_dir, self.check, files).await {
            Ok(checked) => checked,
            Err(failure) => {
                let failed = Some((0, failure));
                return Outcome { proven, failed };
            }
        };
        let turn = match self.turn(errand).await {
            Ok(turn) => turn,
            Err(failure) => {
                let failed = Some((0, failure));
                return Outcome { proven, failed };
            }
        };
        let mut checked = checked.into_iter();
        for (at, part) in parts.iter().enumerate() {
            if let Err(failure) = self.part(errand, endpoint, part).await {
                let failed = Some((at, failure));
                return Outcome { proven, failed };
            }
            proven.extend(checked.by_ref().take(part.files.len()));
        }
        drop(turn);
        Outcome {
            proven,
            failed: None,
        }
    }

    /// Waits until no other chunk of this node is in ScyllaDB's hands. Held until the file is dropped,
    /// also by the death of this process.
    async fn turn(&self, errand: &Errand<'_>) -> Result<File, Failure> {
        let path = self.data_dir.path();
        let failed = |attempt, cause| {
            Failure::from(scylla::Error::File {
                attempt,
                path: path.to_owned(),
                cause,
            })
        };
        let file = File::open(path).map_err(|e| failed("open", e))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {
                    // Whoever has it moves, or is called off.
                    errand.ctx.alive.moved(0);
                    if service::pause(errand.leave, LOCK_PAUSE).await {
                        return Err(Failure::Stopped);
                    }
                }
                Err(TryLockError::Error(e)) => return Err(failed("lock", e)),
            }
        }
    }

    /// Has one part stored, and proven by the bucket.
    async fn part(&self, errand: &Errand<'_>, endpoint: &str, part: &Part) -> Result<(), Failure> {
        let Errand { job, chunk, .. } = errand;
        let handover = Handover {
            tag: part.tag.clone(),
            origin: job.origin,
            chunk: job.chunk,
        };
        let mut tries = 0;
        loop {
            self.outwait_others(errand).await?;
            let missing = errand.missing(part).await?;
            let Some(first) = missing.first() else {
                self.tidy(&handover).await;
                errand.metrics.files.inc_by(part.files.len() as u64);
                return Ok(());
            };
            if tries == TRIES {
                let (who, key) = (WHO, chunk.files[*first].key.clone());
                return Err(Failure::Unproven { who, key, tries });
            }
            tries += 1;
            self.make(&handover, part, errand, &missing).await?;
            let backup = NativeBackup {
                endpoint: endpoint.to_owned(),
                bucket: job.location.bucket.clone(),
                prefix: job.location.key(&part.prefix),
                table: part.table.clone(),
                snapshot: handover.to_string(),
                move_files: true,
            };
            let task = self.node.native_backup(&backup).await?;
            debug!(run = %job.run, chunk = job.chunk, table = %part.table, %task, files = missing.len(), "ScyllaDB uploads");
            let ended = self.follow(errand, task, Some(&part.table)).await;
            match ended {
                Err(Failure::Stopped) => {
                    self.call_off(task).await;
                    self.tidy(&handover).await;
                }
                Err(Failure::Task { .. }) => self.tidy(&handover).await,
                // A node that does not answer may still be at it.
                Ok(_) | Err(_) => {}
            }
            if ended? == End::Forgotten {
                info!(run = %job.run, chunk = job.chunk, %task, "ScyllaDB has forgotten an upload; looking what it has stored");
            }
        }
    }

    async fn make(
        &self,
        handover: &Handover,
        part: &Part,
        errand: &Errand<'_>,
        missing: &[usize],
    ) -> Result<(), Failure> {
        let snapshot = self.data_dir.path().join(&part.snapshot);
        let names = missing.iter().map(|at| {
            let path = &errand.chunk.files[*at].path;
            path.rsplit('/').next().unwrap_or_default().to_owned()
        });
        let (handover, names) = (handover.clone(), names.collect::<Vec<_>>());
        let make = move || {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            handover.make(&snapshot, &names)
        };
        let made = tokio::task::spawn_blocking(make).await;
        made.expect("linking files does not panic")?;
        Ok(())
    }

    /// Waits until the node uploads for nobody else, as for an uploader that died. What that stored need
    /// not be stored again.
    async fn outwait_others(&self, errand: &Errand<'_>) -> Result<(), Failure> {
        for task in self.node.tasks(MODULE, None).await? {
            if !task.state.ended() && task.kind.ends_with(BACKUP) {
                info!(task = %task.id, keyspace = task.keyspace, "waiting for an upload that ScyllaDB is at already");
                match self.follow(errand, task.id, None).await {
                    // How it went is its own asker's concern.
                    Ok(_) | Err(Failure::Task { .. }) => {}
                    Err(failure) => return Err(failure),
                }
            }
        }
        Ok(())
    }

    /// Waits for a task's end. What it moves counts as moved if it is ours, that is, if its table is
    /// given.
    async fn follow(
        &self,
        errand: &Errand<'_>,
        id: Uuid,
        ours: Option<&TableRef>,
    ) -> Result<End, Failure> {
        let mut seen = Seen::default();
        loop {
            let wait = self.node.wait_task(id, POLL);
            let Some(waited) = errand.leave.run_until_cancelled(wait).await else {
                return Err(Failure::Stopped);
            };
            let task = match waited {
                Ok(Some(task)) => Ok(task),
                Ok(None) => self.node.task(id).await,
                Err(error) => Err(error),
            };
            let task = match task {
                Ok(task) => task,
                Err(scylla::Error::NoSuchTask { .. }) => return Ok(End::Forgotten),
                Err(error) => return Err(error.into()),
            };
            if let Some(bytes) = seen.step(&task) {
                let bytes = if ours.is_some() { bytes } else { 0 };
                errand.metrics.sent.inc_by(bytes);
                errand.ctx.alive.moved(bytes);
            }
            match task.state {
                TaskState::Done => return Ok(End::Done),
                TaskState::Failed => {
                    let unknown = || TableRef {
                        keyspace: task.keyspace.clone(),
                        table: "*".to_owned(),
                    };
                    return Err(Failure::Task {
                        who: WHO,
                        table: ours.cloned().unwrap_or_else(unknown),
                        words: task.error,
                    });
                }
                TaskState::Created
                | TaskState::Running
                | TaskState::Suspended
                | TaskState::Other => {}
            }
        }
    }

    /// Has a task aborted, and waits a little for its end: what it still stores does no harm.
    async fn call_off(&self, id: Uuid) {
        let work = async {
            self.node.abort_task(id).await?;
            while self.node.wait_task(id, POLL).await?.is_none() {}
            Ok::<_, scylla::Error>(())
        };
        match timeout(CALL_OFF, work).await {
            Ok(Ok(()) | Err(scylla::Error::NoSuchTask { .. })) => {}
            Ok(Err(error)) => {
                warn!(task = %id, error = %Chain(&error), "an upload of ScyllaDB's was not called off");
            }
            Err(_) => {
                warn!(task = %id, "an upload of ScyllaDB's was called off and has not ended yet")
            }
        }
    }

    /// Removes a handover. One that stays takes space, and goes with the seal or the next backup.
    async fn tidy(&self, handover: &Handover) {
        let wanted = handover.clone();
        self.remove_handovers(move |found| *found == wanted).await;
    }

    /// Removes the handovers that `which` chooses.
    pub(crate) async fn remove_handovers(
        &self,
        which: impl Fn(&Handover) -> bool + Send + 'static,
    ) {
        let data_dir = self.data_dir.clone();
        let remove = move || data_dir.remove_handovers(which);
        let removed = tokio::task::spawn_blocking(remove).await;
        if let Err(error) = removed.expect("removing files does not panic") {
            warn!(error = %Chain(&error), "a handover stays until the next backup");
        }
    }
}

/// What was seen of a task.
struct Seen {
    completed: f64,
    began: Instant,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            completed: 0.0,
            began: Instant::now(),
        }
    }
}

impl Seen {
    /// Bytes since the last look; `None` if the task does not count as alive for this one.
    fn step(&mut self, task: &Task) -> Option<u64> {
        let more = task.progress_completed - self.completed;
        if more >= 1.0 {
            self.completed = task.progress_completed;
            return Some(whole(more));
        }
        let waits = task.progress_total < 1.0 && task.progress_completed < 1.0;
        (waits && self.began.elapsed() < PATIENCE).then_some(0)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at least 1, and nodes count bytes in floats"
)]
fn whole(bytes: f64) -> u64 {
    bytes as u64
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    fn task(total: f64, completed: f64) -> Task {
        Task {
            id: Uuid::nil(),
            kind: BACKUP.to_owned(),
            state: TaskState::Running,
            error: String::new(),
            keyspace: String::new(),
            table: String::new(),
            progress_units: "bytes".to_owned(),
            progress_total: total,
            progress_completed: completed,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_lives_while_it_moves_and_for_a_while_before() {
        let mut seen = Seen::default();
        assert_eq!(seen.step(&task(0.0, 0.0)), Some(0));
        sleep(PATIENCE / 2).await;
        assert_eq!(seen.step(&task(0.0, 0.0)), Some(0));
        assert_eq!(seen.step(&task(100.0, 0.0)), None);
        assert_eq!(seen.step(&task(100.0, 70.0)), Some(70));
        assert_eq!(seen.step(&task(1e16, 70.0)), None);
        assert_eq!(seen.step(&task(1e16, 100.0)), Some(30));
        let mut waiting = Seen::default();
        sleep(PATIENCE).await;
        assert_eq!(waiting.step(&task(0.0, 0.0)), None);
    }
}
