//! The restore's own place on the node's disk: `<data>/.thetis/`.
//!
//! It is on the same file system as the tables, so that a file gets into `upload/` by renaming;
//! ScyllaDB leaves alone what has no tables in it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::{RunId, TableRef};
use queue::Context as JobContext;
use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::failure::Failure;

/// Between two looks at a lock that another job of the node holds.
const LOCK_PAUSE: Duration = Duration::from_millis(200);
/// How long batches in hand may take to leave off when their run is over. A worker that needs longer
/// is as good as dead: what it still writes, it writes into a directory that is gone.
const LEAVE_OFF: Duration = Duration::from_secs(30);

/// The place.
#[derive(Clone, Debug)]
pub(crate) struct Staging(PathBuf);

/// A batch's directory in use: the run's is not cleared until this is dropped, or the process dies.
pub(crate) struct InUse {
    pub(crate) dir: PathBuf,
    _run: File,
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

    /// The directory a batch is downloaded to; it is there afterwards.
    ///
    /// Whoever takes it must ask next whether the run is over: it may have been cleared just before.
    pub(crate) fn batch(&self, origin: RunId, batch: u32) -> Result<InUse, Failure> {
        let run = self.run(origin);
        let dir = run.join(format!("{batch:06}"));
        // The batch's first: a run's directory goes only when nothing is in it.
        fs::create_dir_all(&dir).map_err(Failure::file("make", &dir))?;
        let held = File::open(&run).map_err(Failure::file("open", &run))?;
        held.lock_shared().map_err(Failure::file("lock", &run))?;
        Ok(InUse { dir, _run: held })
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

    pub(crate) fn set_mark(&self, mark: &Mark) -> Result<(), Failure> {
        let path = self.mark_path(&mark.table);
        let fresh = path.with_extension("new");
        let content = serde_json::to_vec(mark).expect("names are plain data");
        fs::write(&fresh, content).map_err(Failure::file("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(Failure::file("write", &path))
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
        let run = self.run(origin);
        if !run.try_exists().map_err(Failure::file("look for", &run))? {
            return Ok(());
        }
        match timeout(LEAVE_OFF, lock(&run, ctx)).await {
            Ok(Ok(_)) => {}
            Ok(Err(Failure::File { cause, .. })) if cause.kind() == io::ErrorKind::NotFound => {}
            Ok(Err(failure)) => return Err(failure),
            Err(_) => {
                warn!(run = %run.display(), "a batch in hand has not left off, clearing all the same")
            }
        }
        Ok(())
    }

    /// Removes all that was downloaded for a run.
    pub(crate) fn clear_run(&self, origin: RunId) -> Result<(), Failure> {
        let dir = self.run(origin);
        gone(fs::remove_dir_all(&dir), &dir)
    }

    fn run(&self, origin: RunId) -> PathBuf {
        self.0.join(origin.to_string())
    }

    /// How full the file system of the data directory is.
    pub(crate) fn space(data_dir: &Path) -> Result<Space, Failure> {
        let stat = statvfs(data_dir)
            .map_err(|e| Failure::file("ask for free space in", data_dir)(e.into()))?;
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

    #[tokio::test]
    async fn a_run_is_cleared_only_when_no_batch_of_it_is_in_hand() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::below(root.path());
        let (run, ctx) = (
            RunId::generate(),
            JobContext::new(1, CancellationToken::new()),
        );
        staging.outwait(run, &ctx).await.unwrap();
        let (one, two) = (
            staging.batch(run, 1).unwrap(),
            staging.batch(run, 2).unwrap(),
        );
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
        let _other = staging.batch(RunId::generate(), 1).unwrap();
        staging.outwait(run, &ctx).await.unwrap();
    }
}
