//! Having ScyllaDB restore a batch itself, from the bucket.
//!
//! # Promises
//! * A task is judged by its state. A batch whose task is forgotten, as by the node's restart, or was
//!   aborted, is asked for again; loading rows twice changes nothing.
//! * Told to stop, or given up with its run, a task is aborted.
//!
//! # Crashes
//! The node goes on without us. The task's id is noted in the batch's directory, so whoever takes the
//! batch up on this node waits for that task and asks for no other. Who died after it had asked and
//! before it could note the answer left a note of that: then all that the node restores there and
//! nobody knows is waited for first.

use std::{
    collections::BTreeSet,
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use catalog::{Batch, restore::Lists, sstable};
use protocol::{BatchLoaded, LoadBatch, Location, Method};
use queue::Context as JobContext;
use scylla::{NativeRestore, Scope, TabletsRestore, Task, TaskState};
use service::Chain;
use tokio::time::timeout;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::{
    RestoreWorker,
    batch::{millis, of},
    download::alive,
    failure::Failure,
    staging::Staging,
};

/// How long the node waits with its answer for the end of a task.
const POLL: Duration = Duration::from_secs(1);
/// How long a task may show no progress: the node tells of it by whole SSTables, or by tablets.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// How long an aborted task is waited for.
const CALL_OFF: Duration = Duration::from_secs(5);
/// How often a batch is asked for, at one attempt.
const TRIES: u32 = 3;
/// Attempts at a batch after which `auto` leaves ScyllaDB out.
const ATTEMPTS: u64 = 2;

const MODULE: &str = "sstables_loader";
const RESTORE: &str = "download_sstables";
const ABORTED: &str = "abort requested";

/// In a batch's directory: the id of its task.
const TASK: &str = "task";
/// In a batch's directory: that the node may have been asked, though the answer is not known.
const ASKED: &str = "asked";

/// Who brings a batch.
pub(crate) enum Way {
    /// Thetis' own engine.
    Own,
    /// ScyllaDB itself.
    Native(Order),
}

/// What ScyllaDB is asked for.
pub(crate) enum Order {
    /// SSTables, of the node.
    SsTables(NativeRestore),
    /// A table, of the cluster.
    Table(TabletsRestore),
}

impl Way {
    pub(crate) fn method(&self) -> Method {
        match self {
            Self::Own => Method::Agent,
            Self::Native(Order::SsTables(_)) => Method::Native,
            Self::Native(Order::Table(_)) => Method::Tablets,
        }
    }
}

/// How a task ended that did not fail.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    /// The node knows nothing of it any more, or somebody had it aborted.
    Lost,
}

impl RestoreWorker {
    /// Who brings the batch, as its plan says and this node can.
    pub(crate) async fn way(&self, batch: &Batch, ctx: &JobContext) -> Result<Way, Failure> {
        let own = |reason: &str| {
            info!(batch = batch.batch, table = %batch.table, reason, "going on without ScyllaDB");
            Ok(Way::Own)
        };
        let auto = match batch.method {
            Method::Agent | Method::Rclone => return Ok(Way::Own),
            // A whole table may be too much for one node's disk.
            Method::Native | Method::Tablets => false,
            Method::Auto => true,
        };
        if auto && ctx.attempt > ATTEMPTS {
            return own("ScyllaDB was asked at two attempts and did not get it done");
        }
        let found = match self.natively.look().await {
            Ok(found) => found,
            Err(cause) if auto => return own(&Chain(&cause).to_string()),
            Err(cause) => return Err(cause.into()),
        };
        let endpoint = match found.endpoint(batch.location.provider) {
            Ok(endpoint) => endpoint,
            Err(reason) if auto => return own(&reason),
            Err(reason) => return Err(Failure::NoEndpoint { reason }),
        };
        let Some(lists) = &batch.lists else {
            return Ok(Way::Native(Order::SsTables(of_sstables(batch, endpoint))));
        };
        let unfit = match ctx.attempt > ATTEMPTS {
            true => Some("it was asked for at two attempts and did not get done".to_owned()),
            false => self.unspread(&batch.table, &batch.dc).await?,
        };
        if let Some(reason) = unfit {
            info!(batch = batch.batch, table = %batch.table, reason, "going on without tablets");
            return Ok(Way::Native(Order::SsTables(of_sstables(batch, endpoint))));
        }
        Ok(Way::Native(Order::Table(of_table(batch, lists, endpoint))))
    }

    /// Has ScyllaDB load the batch from the bucket, or waits until it has, if it is at it.
    pub(crate) async fn bring_natively(
        &self,
        batch: &Batch,
        order: &Order,
        dir: &Path,
        ctx: &JobContext,
    ) -> Result<BatchLoaded, Failure> {
        let began = Instant::now();
        for _ in 0..TRIES {
            let id = match note(dir, TASK)? {
                Some(id) => id,
                None => match order {
                    Order::SsTables(order) => self.ask(order, dir, ctx).await?,
                    Order::Table(order) => self.ask_for_table(order, dir, ctx).await?,
                },
            };
            debug!(batch = batch.batch, table = %batch.table, task = %id, "ScyllaDB restores");
            let end = self.follow(id, batch, ctx).await;
            if matches!(end, Ok(_) | Err(Failure::Task { .. })) {
                forget(dir, TASK)?;
            }
            match end? {
                End::Done => {
                    if let Order::Table(_) = order {
                        self.check_taken_over(batch, ctx).await?;
                    }
                    return Ok(BatchLoaded {
                        load_ms: millis(began),
                        ..of(batch)
                    });
                }
                End::Lost => {
                    info!(batch = batch.batch, task = %id, "ScyllaDB has forgotten a restore; asking for it again");
                }
            }
        }
        Err(Failure::Lost {
            batch: batch.batch,
            tries: TRIES,
        })
    }

    /// Asks the node for it. The answer is noted.
    async fn ask(
        &self,
        order: &NativeRestore,
        dir: &Path,
        ctx: &JobContext,
    ) -> Result<Uuid, Failure> {
        let asked = dir.join(ASKED);
        if asked
            .try_exists()
            .map_err(Failure::file("look for", &asked))?
        {
            self.outwait_strangers(&order.table.keyspace, ctx).await?;
        }
        fs::write(&asked, "").map_err(Failure::file("write", &asked))?;
        let id = self.node.native_restore(order).await?;
        set_note(dir, TASK, id)?;
        forget(dir, ASKED)?;
        Ok(id)
    }

    /// Asks the cluster for a table. Who asks for one that it is at joins it, so no note is needed.
    async fn ask_for_table(
        &self,
        order: &TabletsRestore,
        dir: &Path,
        ctx: &JobContext,
    ) -> Result<Uuid, Failure> {
        // Else the cluster would wait for its balancer for ever.
        self.node.set_balancing(true).await?;
        let id = alive(ctx, self.node.tablets_restore(order)).await?;
        set_note(dir, TASK, id)?;
        Ok(id)
    }

    /// Waits for the end of all restores of the keyspace by this node that no batch has noted.
    async fn outwait_strangers(&self, keyspace: &str, ctx: &JobContext) -> Result<(), Failure> {
        loop {
            let mut known = BTreeSet::new();
            for dir in Staging::below(self.data_dir.path()).batch_dirs(None)? {
                known.extend(note(&dir, TASK)?);
            }
            let tasks = self.node.tasks(MODULE, Some(keyspace)).await?;
            let stranger = tasks.iter().find(|task| {
                !task.state.ended() && task.kind.ends_with(RESTORE) && !known.contains(&task.id)
            });
            let Some(stranger) = stranger else {
                return Ok(());
            };
            info!(task = %stranger.id, keyspace, "waiting for a restore that ScyllaDB is at already");
            ctx.alive.moved(0);
            match self.node.wait_task(stranger.id, POLL).await {
                Ok(_) | Err(scylla::Error::NoSuchTask { .. }) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
    }

    /// Waits for a task's end, telling how far it is.
    async fn follow(&self, id: Uuid, batch: &Batch, ctx: &JobContext) -> Result<End, Failure> {
        let mut seen = Seen::new(batch.bytes());
        loop {
            let task = match self.node.wait_task(id, POLL).await {
                Ok(Some(task)) => Ok(task),
                Ok(None) => self.node.task(id).await,
                Err(error) => Err(error),
            };
            let task = match task {
                Ok(task) => task,
                Err(scylla::Error::NoSuchTask { .. }) => return Ok(End::Lost),
                Err(error) => return Err(error.into()),
            };
            if let Some(bytes) = seen.step(&task) {
                ctx.alive.moved(bytes);
            }
            match task.state {
                TaskState::Done => return Ok(End::Done),
                TaskState::Failed if task.error.contains(ABORTED) => return Ok(End::Lost),
                TaskState::Failed => {
                    return Err(Failure::Task {
                        table: batch.table.clone(),
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

    /// Leaves off what ScyllaDB does for a batch that was called off.
    pub(crate) async fn leave_off(&self, job: &LoadBatch) {
        let staging = Staging::below(self.data_dir.path());
        self.call_off(&staging.batch_dir(job.origin, job.batch))
            .await;
    }

    /// Has the task of a batch that is given up aborted, if it has one, and waits a little for its end.
    pub(crate) async fn call_off(&self, dir: &Path) {
        let Ok(Some(id)) = note(dir, TASK) else {
            return;
        };
        let work = async {
            self.node.abort_task(id).await?;
            while self.node.wait_task(id, POLL).await?.is_none() {}
            Ok::<_, scylla::Error>(())
        };
        match timeout(CALL_OFF, work).await {
            Ok(Ok(()) | Err(scylla::Error::NoSuchTask { .. })) => {
                // One that stays is no task any more when it is looked for.
                drop(forget(dir, TASK));
            }
            Ok(Err(error)) => {
                warn!(task = %id, error = %Chain(&error), "a restore of ScyllaDB's was not called off");
            }
            Err(_) => {
                warn!(task = %id, "a restore of ScyllaDB's was called off and has not ended yet");
            }
        }
    }
}

/// The cluster takes over the table's SSTables as they are, each replica those of its rack.
fn of_table(batch: &Batch, lists: &Lists, endpoint: &str) -> TabletsRestore {
    let keys: Vec<&str> = lists.keys.iter().map(String::as_str).collect();
    let prefix = folder(&keys);
    TabletsRestore {
        endpoint: endpoint.to_owned(),
        bucket: batch.location.bucket.clone(),
        prefix: batch.location.key(prefix),
        dc: batch.dc.clone(),
        table: batch.table.clone(),
        snapshot: lists.snapshot.to_string(),
        manifests: keys.iter().map(|key| below(key, prefix)).collect(),
    }
}

/// Each row goes to all its replicas, wherever they are. So nothing depends on which node takes which
/// batch, and no repair has to follow.
fn of_sstables(batch: &Batch, endpoint: &str) -> NativeRestore {
    let toc = |at: usize| {
        let sstable = &batch.sstables[at];
        let name = format!("{}-{}", sstable.name, sstable::TOC);
        let file = sstable.files.iter().find(|file| file.name == name);
        file.map(|file| file.key.as_str())
    };
    let keys: Vec<&str> = (0..batch.sstables.len()).filter_map(toc).collect();
    let prefix = folder(&keys);
    let Location { bucket, .. } = &batch.location;
    NativeRestore {
        endpoint: endpoint.to_owned(),
        bucket: bucket.clone(),
        prefix: batch.location.key(prefix),
        table: batch.table.clone(),
        scope: Scope::All,
        primary_replica_only: false,
        tocs: keys.iter().map(|key| below(key, prefix)).collect(),
    }
}

fn below(key: &str, prefix: &str) -> String {
    key[prefix.len()..].trim_start_matches('/').to_owned()
}

/// The folder that all keys lie in, without slash at its end.
fn folder<'a>(keys: &[&'a str]) -> &'a str {
    let Some((first, others)) = keys.split_first() else {
        return "";
    };
    let holds = |end: usize| {
        others
            .iter()
            .all(|key| key.get(..=end) == first.get(..=end))
    };
    let mut ends = first.match_indices('/').map(|(at, _)| at);
    let end = ends.rfind(|end| holds(*end));
    end.map_or("", |end| &first[..end])
}

/// The id that is noted in a batch's directory. Half a note, as after a loss of power, is none.
fn note(dir: &Path, name: &str) -> Result<Option<Uuid>, Failure> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::file("read", path)(e)),
    }
}

fn set_note(dir: &Path, name: &str, id: Uuid) -> Result<(), Failure> {
    let (path, fresh) = (dir.join(name), dir.join("task.new"));
    fs::write(&fresh, id.to_string()).map_err(Failure::file("write", &fresh))?;
    fs::rename(&fresh, &path).map_err(Failure::file("write", &path))
}

fn forget(dir: &Path, name: &str) -> Result<(), Failure> {
    let path = dir.join(name);
    match fs::remove_file(&path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Failure::file("remove", path)(e)),
    }
}

/// What was seen of a task.
struct Seen {
    /// Of the batch.
    bytes: u64,
    told: u64,
    completed: f64,
    moved: tokio::time::Instant,
}

impl Seen {
    fn new(bytes: u64) -> Self {
        Self {
            bytes,
            told: 0,
            completed: 0.0,
            moved: tokio::time::Instant::now(),
        }
    }

    /// Bytes since the last look, by the part that the node says is done; `None` if the task does not
    /// count as alive for this one.
    fn step(&mut self, task: &Task) -> Option<u64> {
        if task.progress_completed > self.completed {
            self.completed = task.progress_completed;
            self.moved = tokio::time::Instant::now();
        }
        let part = match task.progress_total {
            total if total > 0.0 => (self.completed / total).clamp(0.0, 1.0),
            _ => 0.0,
        };
        let done = share(self.bytes, part).max(self.told);
        let more = done - std::mem::replace(&mut self.told, done);
        (self.moved.elapsed() < PATIENCE).then_some(more)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a part from 0 to 1 of fewer than 2^52 bytes"
)]
fn share(bytes: u64, part: f64) -> u64 {
    (bytes as f64 * part) as u64
}

#[cfg(test)]
mod tests {
    use catalog::{BatchFile, BatchSsTable, IdKind};
    use protocol::TableRef;
    use tokio::time::sleep;

    use super::*;

    fn batch(keys: &[&str]) -> Batch {
        let sstable = |key: &&str| {
            let toc = key.rsplit('/').next().unwrap().to_owned();
            let name = toc.strip_suffix("-TOC.txt").unwrap().to_owned();
            let file = |name: String, key: String| BatchFile {
                name,
                key,
                bytes: 50,
                crc32: None,
            };
            let data = key.replace("TOC.txt", "Data.db");
            BatchSsTable {
                files: vec![
                    file(format!("{name}-Data.db"), data),
                    file(toc, (*key).to_owned()),
                ],
                name,
            }
        };
        Batch {
            batch: 3,
            dc: "dc1".into(),
            location: "s3:backups/below".parse().unwrap(),
            table: TableRef {
                keyspace: "shop".into(),
                table: "users".into(),
            },
            method: Method::Native,
            lists: None,
            to: None,
            ids: IdKind::Uuid,
            node: None,
            sstables: keys.iter().map(sstable).collect(),
        }
    }

    #[test]
    fn tocs_are_named_below_the_folder_that_has_them_all() {
        for (keys, prefix, tocs) in [
            (
                vec!["a/b/mt-1-big-TOC.txt"],
                "below/a/b",
                vec!["mt-1-big-TOC.txt"],
            ),
            (
                vec!["a/n1/t/mt-1-big-TOC.txt", "a/n2/t/mt-2-big-TOC.txt"],
                "below/a",
                vec!["n1/t/mt-1-big-TOC.txt", "n2/t/mt-2-big-TOC.txt"],
            ),
            (
                vec![
                    "a/t/mt-1-big-TOC.txt",
                    "a/t/mt-2-big-TOC.txt",
                    "a/t/mt-11-big-TOC.txt",
                ],
                "below/a/t",
                vec!["mt-1-big-TOC.txt", "mt-2-big-TOC.txt", "mt-11-big-TOC.txt"],
            ),
        ] {
            let order = of_sstables(&batch(&keys), "http://store");
            assert_eq!(
                (&*order.prefix, order.tocs),
                (prefix, tocs.iter().map(|&toc| toc.to_owned()).collect())
            );
            assert_eq!((&*order.bucket, order.scope), ("backups", Scope::All));
            assert!(!order.primary_replica_only);
        }
        assert_eq!(folder(&["mt-1-big-TOC.txt", "mt-2-big-TOC.txt"]), "");
        assert_eq!(folder(&[]), "");
    }

    #[test]
    fn a_table_is_asked_for_by_its_lists() {
        let lists = Lists {
            snapshot: "sm_20260131235959UTC".parse().unwrap(),
            keys: vec!["a/n1/t/tag_x.json".into(), "a/n2/t/tag_y.json".into()],
        };
        let order = of_table(&batch(&[]), &lists, "http://store");
        assert_eq!((&*order.prefix, &*order.dc), ("below/a", "dc1"));
        assert_eq!(order.manifests, ["n1/t/tag_x.json", "n2/t/tag_y.json"]);
        assert_eq!(order.snapshot, "sm_20260131235959UTC");
    }

    #[test]
    fn a_task_is_found_again_by_its_note() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(note(dir.path(), TASK).unwrap(), None);
        let id = Uuid::from_u128(7);
        fs::write(dir.path().join(TASK), id.to_string()).unwrap();
        assert_eq!(note(dir.path(), TASK).unwrap(), Some(id));
        forget(dir.path(), TASK).unwrap();
        forget(dir.path(), TASK).unwrap();
        fs::write(dir.path().join(TASK), "").unwrap();
        assert_eq!(note(dir.path(), TASK).unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn progress_is_a_part_of_the_batch_and_a_sign_of_life_for_a_while() {
        let task = |completed, total| Task {
            id: Uuid::nil(),
            kind: RESTORE.to_owned(),
            state: TaskState::Running,
            error: String::new(),
            keyspace: String::new(),
            table: String::new(),
            progress_units: "batches".to_owned(),
            progress_total: total,
            progress_completed: completed,
        };
        let mut seen = Seen::new(1_000);
        assert_eq!(seen.step(&task(0.0, 0.0)), Some(0));
        sleep(PATIENCE / 2).await;
        assert_eq!(seen.step(&task(1.0, 4.0)), Some(250));
        // The total may grow.
        assert_eq!(seen.step(&task(1.0, 8.0)), Some(0));
        sleep(PATIENCE / 2).await;
        assert_eq!(seen.step(&task(4.0, 8.0)), Some(250));
        sleep(PATIENCE).await;
        assert_eq!(seen.step(&task(4.0, 8.0)), None);
        assert_eq!(seen.step(&task(9.0, 8.0)), Some(500));
    }
}
