//! The restore's own place on the node's disk: `<data>/.thetis/`.
//!
//! It is on the same file system as the tables, so that a file gets into `upload/` by renaming;
//! ScyllaDB leaves alone what has no tables in it.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::{BatchLoaded, Location, RunId, TableRef};
use queue::Context as JobContext;
use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::failure::Failure;

/// Between two looks at a lock that another job of the node holds.
pub(crate) const LOCK_PAUSE: Duration = Duration::from_millis(200);
/// How long batches in hand may take to leave off when their run is over. A worker that needs longer
/// is as good as dead: what it still writes, it writes into a directory that is gone.
const LEAVE_OFF: Duration = Duration::from_secs(30);

/// The place.
#[derive(Clone, Debug)]
pub(crate) struct Staging(PathBuf);

/// A batch's directory in hand: nobody else takes it, and the run's is not cleared, until this is
/// dropped, or the process dies.
pub(crate) struct InUse {
    pub(crate) dir: PathBuf,
    pub(crate) _held: File,
}

/// How full a file system is, in bytes.
pub(crate) struct Space {
    pub(crate) free: u64,
    pub(crate) total: u64,
    /// A file takes a whole number of these.
    pub(crate) block: u64,
}

/// What is being loaded: names of files that are Thetis', should its worker die.
#[derive(Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) table: TableRef,
    pub(crate) files: Vec<String>,
    /// Whether all of them are in `upload/`, so that the node may have been asked to load them.
    pub(crate) moved: bool,
    /// The batch they are; unknown in what earlier versions wrote.
    #[serde(default)]
    pub(crate) batch: Option<Marked>,
}

/// A batch that is being loaded, with all that its receipt is made of.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Marked {
    pub(crate) origin: RunId,
    /// Where the plan lies.
    pub(crate) location: Location,
    pub(crate) loaded: BatchLoaded,
}

impl Mark {
    /// Whether it is of that batch.
    pub(crate) fn is_of(&self, origin: RunId, batch: u32) -> bool {
        let of = self.batch.as_ref();
        of.is_some_and(|of| of.origin == origin && of.loaded.batch == batch)
    }
}

impl Staging {
    pub(crate) fn below(data_dir: &Path) -> Self {
        Self(data_dir.join(".thetis"))
    }

    /// Whether anything was ever restored here.
    pub(crate) fn is_there(&self) -> Result<bool, Failure> {
        self.0
            .try_exists()
            .map_err(Failure::file("look for", &self.0))
    }

    /// Where a batch is downloaded to, whether or not anything is there.
    pub(crate) fn batch_dir(&self, origin: RunId, batch: u32) -> PathBuf {
        self.run(origin).join(format!("{batch:06}"))
    }

    /// Directories of batches: of one run, or of all.
    pub(crate) fn batch_dirs(&self, origin: Option<RunId>) -> Result<Vec<PathBuf>, Failure> {
        let runs = match origin {
            Some(origin) => vec![self.run(origin)],
            None => folders(&self.0)?,
        };
        let mut dirs = Vec::new();
        for run in runs {
            dirs.extend(folders(&run)?);
        }
        Ok(dirs)
    }

    /// Waits until no other worker of this node loads. Held until the file is dropped, also by the
    /// death of this process. What is locked is the directory: a disk that is full can be cleared.
    pub(crate) async fn lock(&self, ctx: &JobContext) -> Result<File, Failure> {
        fs::create_dir_all(&self.0).map_err(Failure::file("make", &self.0))?;
        lock(&self.0, ctx).await
    }

    /// What was being loaded into `table` when a worker died; `None` if nothing.
    pub(crate) fn mark(&self, table: &TableRef) -> Result<Option<Mark>, Failure> {
        let path = self.mark_path(table);
        match fs::read(&path) {
            // A mark cut short was never acted on: it is renamed into place.
            Ok(content) => Ok(serde_json::from_slice(&content).ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Failure::file("read", path)(e)),
        }
    }

    /// Everything that was being loaded when a worker died.
    pub(crate) fn marks(&self) -> Result<Vec<Mark>, Failure> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Failure::file("list", &self.0)(e)),
        };
        let mut marks = Vec::new();
        for entry in entries {
            let path = entry.map_err(Failure::file("list", &self.0))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                let content = fs::read(&path).map_err(Failure::file("read", &path))?;
                marks.extend(serde_json::from_slice::<Mark>(&content).ok());
            }
        }
        Ok(marks)
    }

    /// Notes it so that it outlasts a loss of power: what is told of a batch later rests on it.
    pub(crate) fn set_mark(&self, mark: &Mark) -> Result<(), Failure> {
        let path = self.mark_path(&mark.table);
        let fresh = path.with_extension("new");
        let content = serde_json::to_vec(mark).expect("names are plain data");
        let write = || {
            let mut file = File::create(&fresh)?;
            file.write_all(&content)?;
            file.sync_all()
        };
        write().map_err(Failure::file("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(Failure::file("write", &path))?;
        sync(&self.0)
    }

    pub(crate) fn clear_mark(&self, table: &TableRef) -> Result<(), Failure> {
        let path = self.mark_path(table);
        gone(fs::remove_file(&path), &path)
    }

    /// Removes a batch's directory, and the run's with the last of them.
    pub(crate) fn clear_batch(dir: &Path) -> Result<(), Failure> {
        gone(fs::remove_dir_all(dir), dir)?;
        // The run's directory goes when it is empty; other batches may still be in it.
        if let Some(run) = dir.parent() {
            match fs::remove_dir(run) {
                Ok(()) => {}
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
                    ) => {}
                Err(e) => return Err(Failure::file("remove", run)(e)),
            }
        }
        Ok(())
    }

    /// Waits until no batch of the run is in hand here, or is given up.
    pub(crate) async fn outwait(&self, origin: RunId, ctx: &JobContext) -> Result<(), Failure> {
        let left = async {
            while in_hand(&self.batch_dirs(Some(origin))?)? {
                ctx.alive.moved(0);
                sleep(LOCK_PAUSE).await;
            }
            Ok(())
        };
        timeout(LEAVE_OFF, left).await.unwrap_or_else(|_| {
            warn!(run = %origin, "a batch in hand has not left off, clearing all the same");
            Ok(())
        })
    }

    /// Removes all that was downloaded for a run.
    pub(crate) fn clear_run(&self, origin: RunId) -> Result<(), Failure> {
        let dir = self.run(origin);
        gone(fs::remove_dir_all(&dir), &dir)
    }

    pub(crate) fn run(&self, origin: RunId) -> PathBuf {
        self.0.join(origin.to_string())
    }

    /// How full the file system is.
    pub(crate) fn space(&self) -> Result<Space, Failure> {
        let stat = statvfs(&self.0)
            .map_err(|e| Failure::file("ask for free space in", &self.0)(e.into()))?;
        Ok(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            block: stat.f_frsize.max(1),
        })
    }

    fn mark_path(&self, table: &TableRef) -> PathBuf {
        self.0
            .join(format!("loading.{}.{}.json", table.keyspace, table.table))
    }
}

/// Waits until nobody else has locked the directory. Locked until the file is dropped.
async fn lock(dir: &Path, ctx: &JobContext) -> Result<File, Failure> {
    let file = File::open(dir).map_err(Failure::file("open", dir))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                ctx.alive.moved(0);
                sleep(LOCK_PAUSE).await;
            }
            Err(TryLockError::Error(e)) => return Err(Failure::file("lock", dir)(e)),
        }
    }
}

/// Whether one of the directories of batches is in somebody's hands.
fn in_hand(dirs: &[PathBuf]) -> Result<bool, Failure> {
    for dir in dirs {
        if is_held(dir)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether somebody has locked the directory.
pub(crate) fn is_held(dir: &Path) -> Result<bool, Failure> {
    let file = match File::open(dir) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Failure::file("open", dir)(e)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(Failure::file("lock", dir)(e)),
    }
}

/// The directories in a directory, which need not be there.
fn folders(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |e| Failure::file("list", dir)(e);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Makes what was renamed into a directory outlast a loss of power.
pub(crate) fn sync(dir: &Path) -> Result<(), Failure> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(Failure::file("sync", dir))
}

/// What has been removed, or was not there.
fn gone(removed: io::Result<()>, path: &Path) -> Result<(), Failure> {
    match removed {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Failure::file("remove", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use queue::CancellationToken;
    use tokio::time::Instant;

    use super::*;
    use crate::room::Order;

    #[tokio::test]
    async fn a_run_is_cleared_only_when_no_batch_of_it_is_in_hand() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::below(root.path());
        let (run, ctx) = (
            RunId::generate(),
            JobContext::new(1, CancellationToken::new()),
        );
        staging.outwait(run, &ctx).await.unwrap();
        let order = Order::nothing(9);
        let one = staging.admit(run, 1, &order, &ctx).await.unwrap();
        let two = staging.admit(run, 2, &order, &ctx).await.unwrap();
        let dir = two.dir.clone();
        let began = Instant::now();
        let work = async {
            sleep(LOCK_PAUSE / 2).await;
            drop(one);
            sleep(LOCK_PAUSE * 2).await;
            std::fs::write(two.dir.join("file"), "late").unwrap();
            drop(two);
        };
        let clear = async {
            staging.outwait(run, &ctx).await.unwrap();
            assert!(
                std::fs::read(dir.join("file")).is_ok(),
                "it was not waited for"
            );
            staging.clear_run(run).unwrap();
        };
        tokio::join!(work, clear);
        assert!(began.elapsed() < LEAVE_OFF && std::fs::metadata(&dir).is_err());
        // A batch of another run is no concern.
        let other = RunId::generate();
        let _other = staging.admit(other, 1, &order, &ctx).await.unwrap();
        staging.outwait(run, &ctx).await.unwrap();
    }
}
