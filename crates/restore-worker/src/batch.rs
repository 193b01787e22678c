//! One batch: brought into the cluster, and proven by a receipt.

use std::{path::Path, time::Instant};

use catalog::{Batch, BatchReceipt, Document as _, key::OwnKey};
use protocol::{BatchLoaded, Control, Fact, LoadBatch, Location, RunId};
use queue::{Bucket, Context as JobContext};
use scylla::LoadOptions;
use service::telling;
use store::Store;
use tracing::{info, warn};

use crate::{
    RestoreWorker,
    failure::Failure,
    load::Ready,
    metrics::By,
    names::{local_file, local_name},
    native::Way,
    plan::{put, read},
    room::Order,
    staging::{Marked, Staging},
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
        if let Some(loaded) = self.proven(&store, job.origin, job.batch).await? {
            return Ok(Some(loaded));
        }
        let Some(batch) = self.planned(&store, &job).await? else {
            return Ok(None);
        };
        self.leave_to_others(&job, ctx).await?;
        let staging = Staging::below(self.data_dir.path());
        if self.is_over(job.run).await? {
            return Ok(None);
        }
        if self.take_up(&staging, &batch, &job, ctx).await?
            && let Some(loaded) = self.proven(&store, job.origin, job.batch).await?
        {
            return Ok(Some(loaded));
        }
        self.take_in(&batch, &staging, &job, ctx).await
    }

    /// Brings a batch of which nothing is known yet.
    async fn take_in(
        &self,
        batch: &Batch,
        staging: &Staging,
        job: &LoadBatch,
        ctx: &JobContext,
    ) -> Result<Option<Fact>, Failure> {
        let way = self.way(batch, ctx).await?;
        let names = names(batch, job.origin)?;
        let order = self.order(batch, &names, &way);
        let place = staging.admit(job.origin, batch.batch, &order, ctx).await?;
        if self.is_over(job.run).await? {
            Staging::clear_batch(&place.dir)?;
            return Ok(None);
        }
        let part = format!("any.batch-{}", job.batch);
        let _say = self.pacer.job(job.cluster, job.task, job.pace);
        let work = Box::pin(async {
            match &way {
                Way::Own => self.bring(batch, &names, &place.dir, job, ctx).await,
                Way::Native(order) => self.bring_natively(batch, order, &place.dir, ctx).await,
            }
        });
        let loaded = telling(&self.queue, job.run, &part, &ctx.alive, &self.pacer, work).await?;
        self.prove(&job.location, job.origin, &loaded).await?;
        Staging::clear_batch(&place.dir)?;
        self.count(batch, &loaded, &way, job);
        Ok(Some(Fact::BatchLoaded(loaded)))
    }

    /// What the batch's receipt says, if it has one.
    async fn proven(
        &self,
        store: &Store,
        origin: RunId,
        batch: u32,
    ) -> Result<Option<Fact>, Failure> {
        let key = OwnKey::BatchReceipt(origin, batch).to_string();
        let Some(body) = read(store, &key).await? else {
            return Ok(None);
        };
        let read = BatchReceipt::from_json(&body);
        let receipt = read.map_err(|cause| Failure::Unreadable { key, cause })?;
        Ok(Some(Fact::BatchLoaded(receipt.loaded)))
    }

    /// Writes the batch's receipt: this node has taken in all of it.
    pub(crate) async fn prove(
        &self,
        location: &Location,
        origin: RunId,
        loaded: &BatchLoaded,
    ) -> Result<(), Failure> {
        let store = self.open(location).await?;
        let receipt = BatchReceipt {
            node: self.id,
            loaded: loaded.clone(),
        };
        let key = OwnKey::BatchReceipt(origin, loaded.batch).to_string();
        put(&store, key, receipt.to_json()).await
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

    /// Takes up what a worker that died had already moved into `upload/` of this batch, so that it is
    /// neither downloaded nor loaded once more. Whether there was any.
    async fn take_up(
        &self,
        staging: &Staging,
        batch: &Batch,
        job: &LoadBatch,
        ctx: &JobContext,
    ) -> Result<bool, Failure> {
        let mark = staging.mark(&batch.table)?;
        if !mark.is_some_and(|mark| mark.is_of(job.origin, job.batch)) {
            return Ok(false);
        }
        let (upload, _turn) = self.turn(staging, &batch.table, ctx).await?;
        self.finish_earlier(staging, &batch.table, &upload, ctx)
            .await?;
        Ok(true)
    }

    fn order(&self, batch: &Batch, names: &[String], way: &Way) -> Order {
        let mut order = Order {
            percent: self.min_free_percent,
            ..Order::nothing(self.slots)
        };
        match way {
            Way::Own => {
                for (sstable, name) in batch.sstables.iter().zip(names) {
                    let local = |file| (local_file(sstable, file, name), file.bytes);
                    order.files.extend(sstable.files.iter().map(local));
                }
            }
            // Nothing of it gets to the disk before it is loaded.
            Way::Native(_) => {}
        }
        order
    }

    /// Downloads the batch, and loads it.
    async fn bring(
        &self,
        batch: &Batch,
        names: &[String],
        dir: &Path,
        job: &LoadBatch,
        ctx: &JobContext,
    ) -> Result<BatchLoaded, Failure> {
        let transfers = job.pace.transfers_or(self.transfers);
        let download_ms = self.bring_files(batch, names, dir, transfers, ctx).await?;
        Staging::arrived(dir)?;
        let ready = Ready {
            table: &batch.table,
            dir,
            names,
            options: match batch.to {
                Some(_) => LoadOptions::Own,
                None => LoadOptions::Stream,
            },
            batch: Marked {
                origin: job.origin,
                location: job.location.clone(),
                loaded: BatchLoaded {
                    download_ms,
                    ..of(batch)
                },
            },
        };
        self.load(&Staging::below(self.data_dir.path()), ready, ctx)
            .await
    }

    fn count(&self, batch: &Batch, loaded: &BatchLoaded, way: &Way, job: &LoadBatch) {
        let method = way.method();
        let by = By {
            method: method.as_str(),
        };
        let metrics = &self.metrics;
        metrics.batches.get_or_create(&by).inc();
        metrics.loaded.get_or_create(&by).inc_by(loaded.bytes);
        metrics.sstables.inc_by(batch.sstables.len() as u64);
        info!(
            run = %job.run, batch = job.batch, table = %batch.table, sstables = batch.sstables.len(), %method,
            bytes = loaded.bytes, download_ms = loaded.download_ms, load_ms = loaded.load_ms, "batch loaded"
        );
    }
}

/// What is told of the batch, before any of it has happened.
pub(crate) fn of(batch: &Batch) -> BatchLoaded {
    BatchLoaded {
        batch: batch.batch,
        files: batch.files(),
        bytes: batch.bytes(),
        download_ms: 0,
        load_ms: 0,
        table: Some(batch.table.clone()),
    }
}

fn names(batch: &Batch, origin: RunId) -> Result<Vec<String>, Failure> {
    let of = |sstable| local_name(batch, sstable, origin);
    batch.sstables.iter().map(of).collect()
}

pub(crate) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
