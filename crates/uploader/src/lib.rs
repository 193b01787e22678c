//! Brings the files of a snapshot to the bucket, publishes what has been proven to be there, looks
//! whether it still is, and removes what need not be kept.
//!
//! Takes `upload`, `seal`, `purge` and `validate` jobs of one node. As many uploaders as wanted share its work.
//!
//! # Promises
//! * A component exists under its key only when all its bytes do, and `Data.db` only when it
//!   matches the digest ScyllaDB wrote beside it.
//! * A chunk that has its receipt is not stored again.
//! * A manifest is published only when each component it lists has a receipt, or was seen in the
//!   bucket when the plan was made and is still there; a published manifest is never changed.
//! * Nothing is deleted that a manifest refers to which is to be kept, and nothing at all once the run
//!   is over or NATS has not been heard of for 10 s. See [`bucket::purge`] for the order of things.
//! * Memory stays below `store.memory_mb` plus one plan, whatever the number or size of files; while
//!   backups are validated, plus what [`bucket::validate`] takes: 50 bytes an object of two nodes.
//!
//! # Crashes
//! Nothing is remembered between jobs. A job cut short is delivered again; a chunk without its
//! receipt is stored again, under the same keys, but for the `Data.db` of unique SSTables that are there.
//!
//! # Not here
//! Which files belong to a backup is `snapshot-worker`'s; when to seal, and what tasks keep,
//! `scheduler`'s.

mod chunk;
mod errand;
mod failure;
mod metrics;
mod native;
mod purge;
mod rclone;
mod seal;
mod share;
mod validate;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::future::OptionFuture;
use protocol::{Fact, Job, Method, NodeId, Presence, WorkerKind};
use queue::{Consumer, Context as JobContext, Handler, JobError, Queue, Takes};
use scylla::DataDir;
use service::{Beside, Context, Error, Pacer, UploaderConfig};
use store::Stores;

use crate::{failure::Failure, metrics::Metrics, native::Native, rclone::Rclone};

/// How long an upload that was told to stop may take to call off ScyllaDB, or rclone.
const CALL_OFF: Duration = Duration::from_millis(1_800);

/// Runs an uploader until `ctx.stop`.
///
/// # Errors
/// When NATS or the stores' settings refuse it at the start.
pub async fn run(ctx: Context) -> Result<(), Error> {
    let Some(beside) = Beside::start(&ctx, WorkerKind::Upload).await? else {
        return Ok(());
    };
    let pacer = Pacer::new(&ctx, &beside, "uploader", ctx.config.uploader.rate_limit);
    let uploader = Arc::new(Uploader {
        node: beside.id(),
        dc: beside.presence.dc.clone(),
        data_dir: beside.data_dir.clone(),
        stores: beside.stores.clone(),
        queue: beside.queue.clone(),
        transfers: ctx.config.uploader.transfers,
        native: Native::new(&beside, ctx.config.uploader.native_check),
        rclone: Rclone::new(beside.stores.rclone().await, DataDir::new(&beside.data_dir)),
        pacer: pacer.clone(),
        metrics: ctx.registry.register("uploader", Metrics::register),
    });
    let slots = ctx.config.uploader.slots;
    let of_backups = Consumer::beside(beside.id(), Takes::Uploads, slots);
    let of_validations = Consumer::beside(beside.id(), Takes::Validations, 1);
    let work = |consumer| {
        beside
            .queue
            .work(consumer, Arc::clone(&uploader), ctx.stop.clone())
    };
    let presence = || Presence {
        native: uploader.native.can.told(),
        rclone: uploader.rclone.told(),
        ..Presence::clone(&beside.presence)
    };
    tokio::join!(uploader.native.can.first_look(), uploader.rclone.look());
    let (announced, worked, validated, (), (), ()) = tokio::join!(
        beside.queue.announce(presence, ctx.stop.clone()),
        work(of_backups),
        work(of_validations),
        follow(&pacer, &beside, &ctx),
        uploader.native.can.look_on(&ctx.stop),
        uploader.rclone.look_on(&ctx.stop),
    );
    announced
        .and(worked)
        .and(validated)
        .map_err(|e| Error::new("working for the queue", e))
}

/// Keeps the limit as all who have a say want it, until the end.
async fn follow(pacer: &Pacer, beside: &Beside, ctx: &Context) {
    let UploaderConfig {
        adaptive,
        safe_rate,
        ..
    } = ctx.config.uploader;
    let url = ctx.config.node.metrics.as_deref();
    let heed =
        OptionFuture::from(adaptive.then(|| pacer.heed(&beside.node, url, safe_rate, &ctx.stop)));
    tokio::join!(pacer.follow(&ctx.stop), heed);
}

/// What an uploader needs for each job.
struct Uploader {
    node: NodeId,
    dc: String,
    data_dir: PathBuf,
    stores: Stores,
    queue: Queue,
    transfers: usize,
    native: Native,
    rclone: Rclone,
    pacer: Pacer,
    metrics: Metrics,
}

impl Handler for Uploader {
    async fn handle(&self, job: Job, ctx: JobContext) -> Result<Option<Fact>, JobError> {
        let others = matches!(&job, Job::Upload(job) if job.method != Method::Agent);
        let call_off = if others { CALL_OFF } else { Duration::ZERO };
        let stopped = async {
            ctx.stop.cancelled().await;
            tokio::time::sleep(call_off).await;
        };
        let work = async {
            match job {
                Job::Upload(job) => self.upload(&job, &ctx).await,
                Job::Seal(job) => self.seal(&job, &ctx).await,
                Job::Purge(job) => self.purge(&job, &ctx).await,
                Job::Validate(job) => self.validate(&job, &ctx).await,
                Job::Request(_)
                | Job::Inspect(_)
                | Job::Ping(_)
                | Job::SetBalancing(_)
                | Job::TakeSnapshot(_)
                | Job::Index(_)
                | Job::StoreSchema(_)
                | Job::DropSnapshot(_)
                | Job::ClearSnapshots(_)
                | Job::PlanRestore(_)
                | Job::PrepareSchema(_)
                | Job::ProveRestore(_)
                | Job::SettleSchema(_)
                | Job::PrepareNode(_)
                | Job::LoadBatch(_)
                | Job::PutBack(_) => Err(Failure::NotMine { kind: job.kind() }),
            }
        };
        tokio::select! {
            done = Box::pin(work) => done.map_err(|failure| failure.verdict()),
            () = stopped => Err(JobError::Stopped),
        }
    }

    fn node(&self) -> Option<NodeId> {
        Some(self.node)
    }
}
