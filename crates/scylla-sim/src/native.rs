//! Native backup and restore: the tasks behind `/storage_service/backup` and `/restore`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde::Deserialize;

use crate::answer::Fail;
use crate::bucket::Bucket;
use crate::cluster::Sim;
use crate::node::Node;
use crate::schema::Kind;
use crate::sstable::name::Name;
use crate::sstable::reader::{self, Check};
use crate::stream::{self, BATCH, Scope};
use crate::task::{End, Operation, Task};

pub(crate) static BACKUP: Operation = Operation {
    module: "snapshot",
    kind: "node",
    name: "backup",
    scope: "node",
    units: "bytes",
    abortable: true,
    user: true,
};

pub(crate) static RESTORE: Operation = Operation {
    module: "sstables_loader",
    kind: "node",
    name: "download_sstables",
    scope: "node",
    units: "batches",
    abortable: true,
    user: true,
};

/// What a task ends with when it is aborted.
pub(crate) const ABORTED: &str = "seastar::abort_requested_exception (abort requested)";

/// Trouble for coming native tasks of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Trouble {
    /// `backup`, `download_sstables` or `restore_tablets`.
    operation: String,
    /// Steps (files, or batches) that go well first.
    after: usize,
    /// Tasks to strike.
    times: u32,
    /// What the task fails with; none: it is stuck and ignores aborts until the node restarts.
    error: Option<String>,
    /// Before each step, milliseconds; strikes whatever `times` says.
    step_ms: u64,
}

/// The trouble one task has met.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    trouble: Trouble,
    struck: bool,
}

impl Fate {
    /// What awaits a new task of the operation.
    pub(crate) fn of(node: &Node, operation: &Operation) -> Self {
        let mut trouble = node.trouble.lock().expect("no panic while held");
        let Some(found) = trouble.iter_mut().find(|t| t.operation == operation.name) else {
            return Self {
                trouble: Trouble::default(),
                struck: false,
            };
        };
        let fate = Self {
            trouble: found.clone(),
            struck: found.times > 0,
        };
        found.times = found.times.saturating_sub(1);
        fate
    }

    /// Lets the step number `step` pass, fail, or hang.
    pub(crate) async fn step(&self, step: usize) -> Result<(), String> {
        tokio::time::sleep(std::time::Duration::from_millis(self.trouble.step_ms)).await;
        match &self.trouble.error {
            _ if !self.struck || step < self.trouble.after => Ok(()),
            Some(error) => Err(error.clone()),
            None => std::future::pending().await,
        }
    }

    /// Stuck tasks do not even hear of their abortion.
    fn deaf(&self) -> bool {
        self.struck && self.trouble.error.is_none()
    }
}

/// Runs `work` as the body of `task`, which ends with it, with its abortion or with the simulator.
pub(crate) async fn run(
    sim: Arc<Sim>,
    task: Arc<Task>,
    fate: Fate,
    work: impl Future<Output = Result<(), String>>,
) {
    let aborted = async {
        task.abort.cancelled().await;
        if fate.deaf() {
            std::future::pending::<()>().await;
        }
    };
    let end = tokio::select! {
        () = sim.stop.cancelled() => return,
        () = task.restarted.cancelled() => return,
        () = aborted => Err(ABORTED.to_owned()),
        end = work => end,
    };
    task.finish(end.map_or_else(End::Failed, |()| End::Done));
}

/// The directory of a snapshot, also of a dropped table.
pub(crate) fn snapshot_dir(
    node: &Node,
    keyspace: &str,
    table: &str,
    tag: &str,
) -> io::Result<Option<PathBuf>> {
    let found = crate::snapshot::find(&node.data)?;
    let wanted = found
        .into_iter()
        .find(|f| f.keyspace == keyspace && f.table == table && f.tag == tag);
    Ok(wanted.map(|found| found.dir))
}

/// A backup as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Backup {
    pub(crate) bucket: Result<Bucket, String>,
    pub(crate) prefix: String,
    pub(crate) dir: PathBuf,
    pub(crate) move_files: bool,
}

/// Uploads every file of the snapshot, holding the node's snapshot lock all along.
///
/// # Errors
/// The first one; what was uploaded stays.
pub(crate) async fn backup(
    node: Arc<Node>,
    task: Arc<Task>,
    fate: Fate,
    order: Backup,
) -> Result<(), String> {
    let _writing = node.snapshot_lock.write().await;
    let bucket = order.bucket?;
    for (step, path) in files(&order.dir)
        .map_err(|e| Fail::from(e).message)?
        .into_iter()
        .enumerate()
    {
        fate.step(step).await?;
        let size = fs::metadata(&path)
            .map_err(|e| Fail::from(e).message)?
            .len();
        task.total.fetch_add(size, Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        bucket
            .put(&format!("{}/{name}", order.prefix), &path)
            .await?;
        task.completed.fetch_add(size, Relaxed);
        if order.move_files
            && let Err(e) = fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), error = %e, "cannot remove a file after its upload");
        }
    }
    Ok(())
}

/// Loose files first, then those of one SSTable after the other.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for item in fs::read_dir(dir)? {
        let item = item?;
        if item.file_type()?.is_file() {
            files.push(item.path());
        }
    }
    let name = |path: &PathBuf| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    files.sort_by_cached_key(|path| {
        let name = name(path);
        (Name::parse(&name).is_some(), name)
    });
    Ok(files)
}

/// A restore as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Restore {
    pub(crate) bucket: Bucket,
    pub(crate) prefix: String,
    pub(crate) keyspace: String,
    pub(crate) table: String,
    /// Keys of TOCs below the prefix.
    pub(crate) tocs: Vec<String>,
    pub(crate) scope: Scope,
    pub(crate) primary_only: bool,
}

/// Streams the SSTables of the order to their replicas, batch by batch.
///
/// # Errors
/// The first one; what has been streamed by then stays.
pub(crate) async fn restore(
    sim: Arc<Sim>,
    node: Arc<Node>,
    task: Arc<Task>,
    fate: Fate,
    order: Restore,
) -> Result<(), String> {
    let target = sim
        .target(&order.keyspace, &order.table)
        .map_err(|fail| format!("data_dictionary::no_such_column_family ({})", fail.message))?;
    if target.kind != Kind::Table {
        return Err(
            "std::runtime_error (Loading Materialized View SSTables is not supported. \
                    Re-create the view instead.)"
                .into(),
        );
    }
    if order.primary_only && order.scope == Scope::Node {
        return Err(
            "std::runtime_error (Node scoped streaming of primary replica only is not supported)"
                .into(),
        );
    }
    let route = stream::Route {
        called: Arc::clone(&node),
        target,
        scope: order.scope,
        primary_only: order.primary_only,
    };
    let progress = Progress::new(&sim, &route, &task, order.tocs.len());
    let room = Room::new(&node, &task).map_err(|e| Fail::from(e).message)?;
    for (step, tocs) in order.tocs.chunks(BATCH).enumerate() {
        fate.step(step).await?;
        let mut tables = Vec::new();
        for toc in tocs {
            let (dir, name) = room.download(&order.bucket, &order.prefix, toc).await?;
            tables.push((dir, name));
        }
        let (sim, route) = (Arc::clone(&sim), route.clone());
        let work = tokio::task::spawn_blocking(move || load(&sim, &route, &tables));
        work.await.map_err(|e| e.to_string())??;
        progress.advance(&task, (step * BATCH + tocs.len()) as u64);
    }
    progress.advance(&task, order.tocs.len() as u64);
    Ok(())
}

fn load(sim: &Sim, route: &stream::Route, tables: &[(PathBuf, Name)]) -> Result<(), String> {
    let mut open = Vec::new();
    for (dir, name) in tables {
        open.push((
            dir.clone(),
            reader::open(dir, name, Check::Full).map_err(|e| stream::text(dir, name, &e))?,
        ));
    }
    stream::batch(sim, route, &open).map_err(|e| Fail::from(e).message)?;
    tables
        .iter()
        .try_for_each(|(dir, _)| fs::remove_dir_all(dir))
        .map_err(|e| Fail::from(e).message)
}

/// How progress is counted: SSTables for vnodes, tablets by shard for tablets.
struct Progress {
    /// What will be counted at the end; less than the total if some tablets are out of scope.
    reached: u64,
    tocs: u64,
}

impl Progress {
    fn new(sim: &Sim, route: &stream::Route, task: &Task, tocs: usize) -> Self {
        let tocs = tocs as u64;
        let (total, reached) = match route.target.tablets {
            0 => (tocs, tocs),
            tablets => {
                let shards = sim.config.shards as u64;
                (
                    tablets as u64 * shards,
                    stream::ranges_in_scope(sim, route) as u64 * shards,
                )
            }
        };
        task.total.store(total, Relaxed);
        Self { reached, tocs }
    }

    fn advance(&self, task: &Task, done: u64) {
        task.completed
            .store(self.reached * done / self.tocs.max(1), Relaxed);
    }
}

/// Where downloaded SSTables lie until they are streamed; removed when dropped.
pub(crate) struct Room(PathBuf);

impl Room {
    pub(crate) fn new(node: &Node, task: &Task) -> io::Result<Self> {
        let dir = node.data.with_file_name(format!("restore-{}", task.id));
        fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    /// Brings all files that a TOC lists; returns where they are and their name.
    pub(crate) async fn download(
        &self,
        bucket: &Bucket,
        prefix: &str,
        toc: &str,
    ) -> Result<(PathBuf, Name), String> {
        let (folder, file) = toc
            .rsplit_once('/')
            .map_or((String::new(), toc), |(folder, file)| {
                (format!("{folder}/"), file)
            });
        let alien = || format!("sstables::malformed_sstable_exception (invalid TOC name {toc})");
        let (name, _) = Name::parse(file)
            .filter(|(_, c)| *c == "TOC.txt")
            .ok_or_else(alien)?;
        let dir = self.0.join(uuid::Uuid::new_v4().to_string());
        fs::create_dir_all(&dir).map_err(|e| Fail::from(e).message)?;
        let slash = if prefix.is_empty() { "" } else { "/" };
        let key = |component: &str| format!("{prefix}{slash}{folder}{}", name.file(component));
        let local = |component: &str| dir.join(name.file(component));
        bucket.get(&key("TOC.txt"), &local("TOC.txt")).await?;
        let list = fs::read_to_string(local("TOC.txt")).map_err(|e| Fail::from(e).message)?;
        for component in list.lines().filter(|component| *component != "TOC.txt") {
            bucket.get(&key(component), &local(component)).await?;
        }
        Ok((dir, name))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Left over files cost space, nothing else.
        let _ = fs::remove_dir_all(&self.0);
    }
}
