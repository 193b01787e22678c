//! One batch: downloaded, checked, loaded, and proven by a receipt.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    time::Instant,
};

use catalog::{
    Batch, BatchFile, BatchReceipt, BatchSsTable, Document as _, IdKind, Name,
    key::OwnKey,
    sstable::{self, Id},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{BatchLoaded, Control, Fact, LoadBatch, RunId};
use queue::{Bucket, Context as JobContext};
use service::telling;
use store::Store;
use tracing::{info, warn};

use crate::{
    RestoreWorker,
    failure::Failure,
    plan::{put, read},
    staging::{Space, Staging},
};

impl RestoreWorker {
    /// Brings the batch into the cluster. A batch that has its receipt is answered from it.
    ///
    /// `None` when the plan is gone: the run was given up meanwhile.
    pub(crate) async fn load_batch(
        &self,
        job: LoadBatch,
        ctx: &JobContext,
    ) -> Result<Option<Fact>, Failure> {
        let store = self.open(&job.location).await?;
        let receipt_key = OwnKey::BatchReceipt(job.origin, job.batch).to_string();
        if let Some(body) = read(&store, &receipt_key).await? {
            let read = BatchReceipt::from_json(&body);
            let receipt = read.map_err(|cause| Failure::Unreadable {
                key: receipt_key,
                cause,
            })?;
            return Ok(Some(Fact::BatchLoaded(receipt.loaded)));
        }
        let Some(batch) = self.planned(&store, &job).await? else {
            return Ok(None);
        };
        let staging = Staging::below(self.data_dir.path());
        let place = staging.batch(job.origin, batch.batch)?;
        if self.is_over(job.run).await? {
            Staging::clear_batch(&place.dir)?;
            return Ok(None);
        }
        let part = format!("any.batch-{}", job.batch);
        let _say = self.pacer.job(job.cluster, job.task, job.pace);
        let work = Box::pin(self.bring(&batch, &staging, &place.dir, &job, ctx));
        let loaded = telling(&self.queue, job.run, &part, &ctx.alive, &self.pacer, work).await?;
        let receipt = BatchReceipt {
            node: self.id,
            loaded: loaded.clone(),
        };
        put(&store, receipt_key, receipt.to_json()).await?;
        self.metrics.batches.inc();
        self.metrics.sstables.inc_by(batch.sstables.len() as u64);
        info!(
            run = %job.run, batch = job.batch, table = %batch.table, sstables = batch.sstables.len(),
            bytes = loaded.bytes, download_ms = loaded.download_ms, load_ms = loaded.load_ms, "batch loaded"
        );
        Ok(Some(Fact::BatchLoaded(loaded)))
    }

    async fn planned(&self, store: &Store, job: &LoadBatch) -> Result<Option<Batch>, Failure> {
        let key = OwnKey::Batch(job.origin, job.batch).to_string();
        if let Some(body) = read(store, &key).await? {
            let batch = Batch::from_json(&body);
            return batch
                .map(Some)
                .map_err(|cause| Failure::Unreadable { key, cause });
        }
        let plan_key = OwnKey::RestorePlan(job.origin).to_string();
        let there = store
            .bytes(&plan_key)
            .await
            .map_err(Failure::store(format!("look for `{plan_key}`")))?;
        if there.is_some() {
            return Err(Failure::NoBatch { batch: job.batch });
        }
        warn!(run = %job.run, batch = job.batch, "the plan is gone, so the run has ended; leaving the batch");
        Ok(None)
    }

    /// Whether the run was stopped or has ended. Told before the node is put back, so that a batch
    /// is either outwaited then or learns here that it comes too late.
    async fn is_over(&self, run: RunId) -> Result<bool, Failure> {
        let control = self.queue.bucket::<Control>(Bucket::Control);
        let said = control.get(&run.to_string()).await?;
        Ok(said.is_some())
    }

    async fn bring(
        &self,
        batch: &Batch,
        staging: &Staging,
        dir: &Path,
        job: &LoadBatch,
        ctx: &JobContext,
    ) -> Result<BatchLoaded, Failure> {
        let began = Instant::now();
        let source = self.open(&batch.location).await?;
        let mut names = Vec::new();
        for sstable in &batch.sstables {
            names.push(local_name(batch, sstable, job.origin)?);
        }
        let mut files = Vec::new();
        for (sstable, name) in batch.sstables.iter().zip(&names) {
            for file in &sstable.files {
                files.push((dir.join(local_file(sstable, file, name)), file));
            }
        }
        self.check_space(batch.batch, &files)?;
        let mut downloads = Vec::new();
        for (path, file) in files {
            downloads.push(self.download(&source, path, file, ctx));
        }
        stream::iter(downloads)
            .buffer_unordered(job.pace.transfers_or(self.transfers))
            .try_collect::<()>()
            .await?;
        for (sstable, name) in batch.sstables.iter().zip(&names) {
            check(dir, sstable, name).await?;
        }
        let download_ms = millis(began);
        let load_ms = self.load(staging, dir, &batch.table, &names, ctx).await?;
        Staging::clear_batch(dir)?;
        Ok(BatchLoaded {
            batch: batch.batch,
            files: batch.files(),
            bytes: batch.bytes(),
            download_ms,
            load_ms,
            table: Some(batch.table.clone()),
        })
    }

    /// Refuses what does not fit. What an earlier attempt has brought needs no room any more.
    fn check_space(&self, batch: u32, files: &[(PathBuf, &BatchFile)]) -> Result<(), Failure> {
        let Space { free, total, block } = Staging::space(self.data_dir.path())?;
        let lacking = |(path, file): &(PathBuf, &BatchFile)| {
            let there = std::fs::metadata(path).map_or(0, |there| there.len());
            file.bytes.saturating_sub(there)
        };
        // Each file ends with a block that is not full.
        let blocks = files.iter().map(|file| lacking(file).div_ceil(block));
        let needed = blocks.sum::<u64>().saturating_mul(block);
        let percent = self.min_free_percent;
        let keep = total / 100 * u64::from(percent);
        if free < needed.saturating_add(keep) {
            return Err(Failure::NoSpace {
                batch,
                needed,
                free,
                total,
                percent,
            });
        }
        Ok(())
    }

    /// Downloads a file unless an earlier attempt has; checks it against the backup's checksum.
    async fn download(
        &self,
        source: &Store,
        path: PathBuf,
        file: &BatchFile,
        ctx: &JobContext,
    ) -> Result<(), Failure> {
        if let (Ok(there), Some(expected)) = (std::fs::metadata(&path), file.crc32)
            && there.len() == file.bytes
            && crc32_of(path.clone()).await? == expected
        {
            ctx.alive.moved(0);
            return Ok(());
        }
        let moved = |bytes| {
            self.metrics.received.inc_by(bytes);
            ctx.alive.moved(bytes);
        };
        let done = source.get_file(&file.key, &path, file.bytes, &moved).await;
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

/// The SSTable's name on this node. An id that is used again gets a unique one in its place,
/// the same at every attempt.
fn local_name(batch: &Batch, sstable: &BatchSsTable, origin: RunId) -> Result<String, Failure> {
    match batch.ids {
        IdKind::Uuid => Ok(sstable.name.clone()),
        IdKind::Integer => {
            let name: Name =
                sstable::parse_sstable(&sstable.name).map_err(|_| Failure::Incomplete {
                    sstable: sstable.name.clone(),
                    component: sstable::TOC.to_owned(),
                })?;
            Ok(name.renamed(&unique_id(origin, batch.batch, &sstable.name)))
        }
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

/// The file's name on this node: the SSTable's, with the component.
fn local_file(sstable: &BatchSsTable, file: &BatchFile, name: &str) -> String {
    let component = file.name.strip_prefix(&*sstable.name).unwrap_or(&file.name);
    format!("{name}{component}")
}

pub(crate) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A unique id in place of an integer one: the time of the run, and a hash of what it stands for.
fn unique_id(origin: RunId, batch: u32, sstable: &str) -> Id {
    /// Seconds from the calendar's epoch (1582-10-15) to 1970.
    const GREGORIAN: u64 = 12_219_292_800;
    const DAY: u64 = 86_400;
    let (seconds, nanos) = origin
        .0
        .get_timestamp()
        .map_or((0, 0), |time| time.to_unix());
    let seconds = seconds + GREGORIAN;
    // Without random keys, so that every attempt finds what an earlier one has downloaded.
    let mut hasher = DefaultHasher::new();
    (origin.0.as_bytes(), batch, sstable).hash(&mut hasher);
    // The two highest bits say that it is a UUID of the usual variant.
    let node = (hasher.finish() & (u64::MAX >> 2)) | (1 << 63);
    let text = format!(
        "{}_{}_{}{}",
        base36(seconds / DAY, 4),
        base36(seconds % DAY, 4),
        base36(u64::from(nanos / 100), 5),
        base36(node, 13)
    );
    Id::Uuid(text)
}

fn base36(mut value: u64, width: usize) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut text = vec![b'0'; width];
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(value % 36).expect("below 36")];
        value /= 36;
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_is_one_scylla_reads_and_the_same_each_time() {
        let origin = RunId::generate();
        let id = unique_id(origin, 3, "me-1-big");
        assert_eq!(id, unique_id(origin, 3, "me-1-big"));
        assert_ne!(id, unique_id(origin, 4, "me-1-big"));
        assert_ne!(id, unique_id(origin, 3, "me-2-big"));
        let name = sstable::parse_sstable(&format!("me-{id}-big")).unwrap();
        assert_eq!(name.id, id);
        assert!(
            id.to_string().starts_with("3g") || id.to_string().starts_with("3h"),
            "{id}: of our days"
        );
    }
}
