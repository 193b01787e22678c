//! Bringing a batch's files from the bucket to the node's disk, each checked.
//!
//! Batches come one after the other, so that the first can be loaded while the second is on its way;
//! but the next begins when of one only so much is left that it would not fill the line.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use catalog::{Batch, BatchFile, BatchSsTable, sstable};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use queue::Context as JobContext;
use store::Store;
use tokio::sync::SemaphorePermit;
use tracing::{Instrument as _, debug_span};

use crate::{RestoreWorker, batch::millis, failure::Failure, names::local_file};

/// Bytes of a batch that are left to come when the next one begins: about what is under way at once.
const NEAR: u64 = 64 << 20;
/// How often something that is waited for counts as alive.
const PULSE: Duration = Duration::from_secs(10);

/// A batch's turn to download: over when little of it is left.
struct Turn<'a> {
    left: AtomicU64,
    permit: Mutex<Option<SemaphorePermit<'a>>>,
}

impl<'a> Turn<'a> {
    fn new(bytes: u64, permit: SemaphorePermit<'a>) -> Self {
        let turn = Self {
            left: AtomicU64::new(bytes),
            permit: Mutex::new(Some(permit)),
        };
        turn.came(0);
        turn
    }

    fn came(&self, bytes: u64) {
        let less = |left: u64| Some(left.saturating_sub(bytes));
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if before.unwrap_or_default().saturating_sub(bytes) <= NEAR {
            self.permit.lock().expect("nothing panics with it").take();
        }
    }
}

impl RestoreWorker {
    /// Has all files of the batch in `dir`, as `names` has it, those that an earlier attempt brought
    /// included. Gives the milliseconds it took, without the wait for its turn.
    pub(crate) async fn bring_files(
        &self,
        batch: &Batch,
        names: &[String],
        dir: &Path,
        transfers: usize,
        ctx: &JobContext,
    ) -> Result<u64, Failure> {
        let source = self.open(&batch.location).await?;
        let wait = async { self.line.acquire().await.expect("it is never closed") };
        let turn = Turn::new(batch.bytes(), alive(ctx, wait).await);
        let began = Instant::now();
        let mut downloads = Vec::new();
        for (sstable, name) in batch.sstables.iter().zip(names) {
            for file in &sstable.files {
                let path = dir.join(local_file(sstable, file, name));
                downloads.push(self.download(&source, path, file, &turn, ctx));
            }
        }
        stream::iter(downloads)
            .buffer_unordered(transfers)
            .try_collect::<()>()
            .await?;
        for (sstable, name) in batch.sstables.iter().zip(names) {
            check(dir, sstable, name).await?;
        }
        Ok(millis(began))
    }

    /// Downloads a file unless an earlier attempt has; checks it against the backup's checksum.
    async fn download(
        &self,
        source: &Store,
        path: PathBuf,
        file: &BatchFile,
        turn: &Turn<'_>,
        ctx: &JobContext,
    ) -> Result<(), Failure> {
        if let (Ok(there), Some(expected)) = (std::fs::metadata(&path), file.crc32)
            && there.len() == file.bytes
            && crc32_of(path.clone()).await? == expected
        {
            ctx.alive.moved(0);
            turn.came(file.bytes);
            return Ok(());
        }
        let moved = |bytes| {
            self.metrics.received.inc_by(bytes);
            ctx.alive.moved(bytes);
            turn.came(bytes);
        };
        let span = debug_span!("file", key = file.key, bytes = file.bytes);
        let getting = source.get_file(&file.key, &path, file.bytes, &moved);
        let done = getting.instrument(span).await;
        let found = done
            .map_err(Failure::store(format!("download `{}`", file.key)))?
            .crc32;
        match file.crc32 {
            Some(expected) if expected != found => {
                let (key, listed) = (file.key.clone(), "backup's manifest");
                Err(Failure::Damaged {
                    key,
                    found,
                    listed,
                    expected,
                })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Waits, which is no reason to be called off: whoever is waited for moves, or is called off itself.
pub(crate) async fn alive<T>(ctx: &JobContext, wait: impl Future<Output = T>) -> T {
    let pulse = async {
        loop {
            ctx.alive.moved(0);
            tokio::time::sleep(PULSE).await;
        }
    };
    tokio::select! {
        done = wait => done,
        never = pulse => never,
    }
}

/// Whether the SSTable is whole: all of its TOC, and `Data.db` as its digest says.
async fn check(dir: &Path, sstable: &BatchSsTable, name: &str) -> Result<(), Failure> {
    let toc = dir.join(format!("{name}-{}", sstable::TOC));
    let toc = tokio::fs::read_to_string(&toc)
        .await
        .map_err(Failure::file("read", &toc))?;
    for component in toc.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let listed = format!("{}-{component}", sstable.name);
        if !sstable.files.iter().any(|file| file.name == listed) {
            return Err(Failure::Incomplete {
                sstable: sstable.name.clone(),
                component: component.to_owned(),
            });
        }
    }
    let digest = dir.join(format!("{name}-{}", sstable::DIGEST));
    let content = match tokio::fs::read(&digest).await {
        Ok(content) => content,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Failure::file("read", digest)(e)),
    };
    let Some(expected) = scylla::read_digest(&content) else {
        return Ok(());
    };
    let data = format!("{}-{}", sstable.name, sstable::DATA);
    let Some(file) = sstable.files.iter().find(|file| file.name == data) else {
        return Ok(());
    };
    let found = match file.crc32 {
        // What was downloaded has been compared with it.
        Some(known) => known,
        None => crc32_of(dir.join(format!("{name}-{}", sstable::DATA))).await?,
    };
    if found != expected {
        let (key, listed) = (file.key.clone(), "SSTable's own digest");
        return Err(Failure::Damaged {
            key,
            found,
            listed,
            expected,
        });
    }
    Ok(())
}

async fn crc32_of(path: PathBuf) -> Result<u32, Failure> {
    let done = tokio::task::spawn_blocking(move || scylla::crc32_of(&path)).await;
    Ok(done.expect("reading a file does not panic")?.0)
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn the_next_begins_when_little_is_left() {
        let line = Semaphore::new(1);
        let turn = Turn::new(3 * NEAR, line.try_acquire().unwrap());
        turn.came(NEAR);
        assert_eq!(line.available_permits(), 0);
        turn.came(NEAR);
        assert_eq!(line.available_permits(), 1);
        turn.came(NEAR);
        turn.came(NEAR);
        drop(Turn::new(NEAR, line.try_acquire().unwrap()));
        assert_eq!(line.available_permits(), 1);
    }
}
