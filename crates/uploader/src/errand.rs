//! What has to be done for a chunk, whoever does it: by the own engine here, by ScyllaDB or by rclone
//! for those who ask for it.
//!
//! # Promises
//! * What another has stored counts only when its content here was what its digest says just before, and
//!   the bucket lists it with its size.

use std::collections::BTreeMap;

use catalog::{Chunk, ReceiptFile};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{Method, Upload};
use queue::{CancellationToken, Context as JobContext};
use scylla::DataDir;
use service::Chain;
use store::Store;
use tracing::warn;

use crate::{
    Uploader,
    chunk::there,
    failure::Failure,
    metrics::Metrics,
    share::{Part, Share},
};

/// A chunk's upload.
pub(crate) struct Errand<'a> {
    pub(crate) store: &'a Store,
    pub(crate) job: &'a Upload,
    pub(crate) chunk: &'a Chunk,
    pub(crate) ctx: &'a JobContext,
    /// Cancelled when the chunk is to be left off.
    pub(crate) leave: &'a CancellationToken,
    pub(crate) metrics: &'a Metrics,
    pub(crate) transfers: usize,
}

/// What came of the parts of a chunk.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Files that are proven, by their places in the chunk.
    pub(crate) proven: Vec<(usize, ReceiptFile)>,
    /// The first part that was not stored, and why.
    pub(crate) failed: Option<(usize, Failure)>,
}

impl Errand<'_> {
    /// Reads the files as they are here, so that nothing damaged is proven; unless `all`, only those whose
    /// checksum is not known.
    pub(crate) async fn check_files(
        &self,
        data_dir: &DataDir,
        all: bool,
        files: Vec<usize>,
    ) -> Result<Vec<(usize, ReceiptFile)>, Failure> {
        let check = |at: usize| async move {
            let file = &self.chunk.files[at];
            let known = file.crc32.filter(|_| !all);
            let crc32 = match known {
                Some(crc32) => crc32,
                None => {
                    let path = data_dir.path().join(&file.path);
                    let attempt = format!("read {}", path.display());
                    let step = |_| self.ctx.alive.moved(0);
                    let read = self.store.check_file(&path, file.bytes, file.crc32, &step);
                    read.await.map_err(Failure::store(attempt))?.crc32
                }
            };
            let (key, bytes) = (file.key.clone(), file.bytes);
            Ok((at, ReceiptFile { key, bytes, crc32 }))
        };
        let work = stream::iter(files)
            .map(check)
            .buffered(self.transfers)
            .try_collect();
        let done = self.leave.run_until_cancelled(work).await;
        done.unwrap_or(Err(Failure::Stopped))
    }

    /// The files of a part, by their places in the chunk, that the bucket does not list with their sizes.
    pub(crate) async fn missing(&self, part: &Part) -> Result<Vec<usize>, Failure> {
        let files = &self.chunk.files;
        let keys = part.files.iter().map(|at| files[*at].key.as_str());
        let prefix = common(keys);
        let mut left: BTreeMap<&str, usize> = part
            .files
            .iter()
            .map(|at| (files[*at].key.as_str(), *at))
            .collect();
        let mut listed = self.store.list(&prefix);
        let look = async {
            while let Some(object) = listed
                .try_next()
                .await
                .map_err(Failure::store(format!("list `{prefix}`")))?
            {
                self.ctx.alive.moved(0);
                let at = left.get(object.key.as_str()).copied();
                if at.is_some_and(|at| files[at].bytes == object.bytes) {
                    left.remove(object.key.as_str());
                }
            }
            Ok(())
        };
        let looked = self.leave.run_until_cancelled(look).await;
        looked.unwrap_or(Err(Failure::Stopped))?;
        let mut missing: Vec<usize> = left.into_values().collect();
        missing.sort_unstable();
        Ok(missing)
    }
}

/// What all of them begin with.
fn common<'a>(mut keys: impl Iterator<Item = &'a str>) -> String {
    let Some(first) = keys.next() else {
        return String::new();
    };
    let end = keys.fold(first.len(), |end, key| {
        let same = first.bytes().zip(key.bytes());
        end.min(same.take_while(|(a, b)| a == b).count())
    });
    let mut end = end.min(first.len());
    while !first.is_char_boundary(end) {
        end -= 1;
    }
    first[..end].to_owned()
}

impl Uploader {
    /// Stores a chunk's files, whoever has to; the receipts are in the chunk's order. The first failure
    /// ends it; what is stored stays.
    pub(crate) async fn store_shared(
        &self,
        store: &Store,
        job: &Upload,
        chunk: &Chunk,
        ctx: &JobContext,
    ) -> Result<(Vec<ReceiptFile>, Share), Failure> {
        let (mut share, endpoint) = match job.method {
            Method::Agent => (Share::own(chunk), String::new()),
            Method::Rclone => (self.rclone.share(job, chunk), String::new()),
            // None asks for `tablets` here; ScyllaDB is what it means.
            Method::Native | Method::Auto | Method::Tablets => {
                self.native.share(job, chunk, ctx.attempt).await?
            }
        };
        let leave = ctx.stop.child_token();
        let errand = Errand {
            store,
            job,
            chunk,
            ctx,
            leave: &leave,
            metrics: &self.metrics,
            transfers: job.pace.transfers_or(self.transfers),
        };
        let own = async {
            let done = self.store_own(&errand, share.own.clone()).await;
            if done.is_err() {
                leave.cancel();
            }
            done
        };
        let others = async {
            match job.method {
                _ if share.parts.is_empty() => Outcome::default(),
                Method::Rclone => self.rclone.store(&errand, &share.parts).await,
                Method::Agent | Method::Native | Method::Auto | Method::Tablets => {
                    self.native.store(&errand, &endpoint, &share.parts).await
                }
            }
        };
        let (own, outcome) = tokio::join!(own, others);
        let mut proven = own?;
        proven.extend(outcome.proven);
        if let Some((first, failure)) = outcome.failed {
            if job.method != Method::Auto || failure.is_final() {
                return Err(failure);
            }
            let reason = Chain(&failure).to_string();
            warn!(run = %job.run, chunk = job.chunk, error = reason, "going on without ScyllaDB");
            let left = share.take_over(chunk, first, &reason);
            proven.extend(self.store_own(&errand, left).await?);
        }
        proven.sort_unstable_by_key(|(at, _)| *at);
        let files = proven.into_iter().map(|(_, file)| file).collect();
        Ok((files, share))
    }

    /// Stores files by the own engine, several at once.
    async fn store_own(
        &self,
        errand: &Errand<'_>,
        files: Vec<usize>,
    ) -> Result<Vec<(usize, ReceiptFile)>, Failure> {
        // Somebody had this in hand before, and may have stored some of it.
        let again = errand.ctx.attempt > 1 || errand.job.run != errand.job.origin;
        let store = |at: usize| async move {
            let file = errand.chunk.files[at].clone();
            if again && let Some(stored) = there(errand.store, &file).await? {
                return Ok((at, stored));
            }
            let stored = self.store_file(errand.store, file, errand.ctx).await?;
            Ok((at, stored))
        };
        let work = stream::iter(files)
            .map(store)
            // In any order: one that has to wait must not hold up the others.
            .buffer_unordered(errand.transfers)
            .try_collect();
        let done = errand.leave.run_until_cancelled(work).await;
        done.unwrap_or(Err(Failure::Stopped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_part_of_keys_is_listed() {
        for (keys, prefix) in [
            (vec!["a/mt-1-Data.db", "a/mt-1-TOC.txt"], "a/mt-1-"),
            (vec!["a/x", "a/x"], "a/x"),
            (vec!["a/x", "b/x"], ""),
            (vec!["a/é", "a/è"], "a/"),
            (vec!["a/abc", "a/ab"], "a/ab"),
            (vec![], ""),
        ] {
            assert_eq!(common(keys.iter().copied()), prefix);
        }
    }
}
