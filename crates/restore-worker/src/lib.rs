//! Brings a backup's SSTables from the bucket into a cluster, whatever its topology.
//!
//! # Promises
//! * A batch is reported, and its receipt written, only after the node has taken in all of it.
//! * A file is loaded only if it has the size the backup lists and, where known, the checksum; and
//!   `Data.db` only if it matches its SSTable's own digest.
//! * The table's `upload` directory is used by one worker of a node at a time, and files there that
//!   are not Thetis' are never touched.
//! * What a node is switched to for the restore is noted in the bucket before it is switched.
//!
//! # Crashes
//! Nothing is remembered between jobs but on the node's disk, below `.thetis/` in the data
//! directory: what is downloaded, and what was being loaded. A batch cut short is taken up there,
//! or begun again on another node; loading rows twice changes nothing.
//!
//! # Not here
//! When to do what is the scheduler's. Nothing is ever deleted from the bucket.

mod again;
mod batch;
mod download;
mod failure;
mod load;
mod metrics;
mod names;
mod native;
mod plan;
mod prepare;
mod room;
mod schema;
mod spread;
mod staging;

use std::{sync::Arc, time::Duration};

use protocol::{Cluster, ClusterId, Fact, Job, NodeId, Presence, WorkerKind};
use queue::{Bucket, Consumer, Context as JobContext, Handler, JobError, Queue, Takes};
use scylla::{DataDir, Node};
use service::{Beside, Context, Error, Login, Natively, Pacer, pause};
use store::Stores;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{again::Failed, failure::Failure, metrics::Metrics};

/// How often to look whether the node's cluster is registered.
const LOOK: Duration = Duration::from_secs(2);

/// Runs a restore-worker until `ctx.stop`.
///
/// # Errors
/// When NATS or the stores' settings refuse it at the start.
pub async fn run(ctx: Context) -> Result<(), Error> {
    let Some(beside) = Beside::start(&ctx, WorkerKind::Restore).await? else {
        return Ok(());
    };
    let pacer = Pacer::new(&ctx, &beside, "restore", ctx.config.restore.rate_limit);
    let worker = Arc::new(RestoreWorker {
        id: beside.id(),
        node: beside.node.clone(),
        data_dir: DataDir::new(&beside.data_dir),
        stores: beside.stores.clone(),
        login: beside.login.clone(),
        queue: beside.queue.clone(),
        cluster_name: beside.presence.cluster_name.clone(),
        natively: Natively::new(&beside),
        transfers: ctx.config.restore.transfers,
        slots: ctx.config.restore.slots,
        line: Semaphore::new(1),
        loading: Mutex::new(()),
        failed: Failed::default(),
        pacer: pacer.clone(),
        min_free_percent: ctx.config.restore.min_free_percent,
        metrics: ctx.registry.register("restore", Metrics::register),
    });
    let bound = Consumer::beside(beside.id(), Takes::Restores, 1);
    let own_batches = Consumer::beside(beside.id(), Takes::Batches, ctx.config.restore.slots);
    let presence = || Presence {
        native: worker.natively.told(),
        ..Presence::clone(&beside.presence)
    };
    worker.natively.first_look().await;
    let adviser = Arc::new(Adviser(Arc::clone(&worker)));
    let questions = ["prepare_schema", "plan_restore"];
    let (announced, worked, bound_batches, shared, answered, (), ()) = tokio::join!(
        beside.queue.announce(presence, ctx.stop.clone()),
        beside
            .queue
            .work(bound, Arc::clone(&worker), ctx.stop.clone()),
        beside
            .queue
            .work(own_batches, Arc::clone(&worker), ctx.stop.clone()),
        take_batches(
            &beside,
            Arc::clone(&worker),
            ctx.config.restore.slots,
            &ctx.stop
        ),
        beside
            .queue
            .answer(&questions, beside.id(), adviser, ctx.stop.clone()),
        pacer.follow(&ctx.stop),
        worker.natively.look_on(&ctx.stop),
    );
    announced
        .and(worked)
        .and(bound_batches)
        .and(shared)
        .and(answered)
        .map_err(|e| Error::new("working for the queue", e))
}

/// Takes batches of the node's datacenter, once the node's cluster is registered, and for as long
/// as it is registered as the same.
async fn take_batches(
    beside: &Beside,
    worker: Arc<RestoreWorker>,
    slots: usize,
    stop: &CancellationToken,
) -> Result<(), queue::Error> {
    let mut told = false;
    while !stop.is_cancelled() {
        let Some(cluster) = registered(beside).await else {
            if !told {
                info!(node = %beside.id(), "this node's cluster is not registered yet; see `thetis cluster add`");
                told = true;
            }
            pause(stop, LOOK).await;
            continue;
        };
        let consumer = Consumer::of_batches(cluster, &beside.presence.dc, slots);
        let until = stop.child_token();
        let work = beside
            .queue
            .work(consumer, Arc::clone(&worker), until.clone());
        let watch = async {
            while registered(beside).await.is_none_or(|now| now == cluster)
                && !pause(&until, LOOK).await
            {}
            until.cancel();
        };
        tokio::join!(work, watch).0?;
    }
    Ok(())
}

/// The registered cluster that has this node. `None` also while nobody can say.
async fn registered(beside: &Beside) -> Option<ClusterId> {
    let clusters = match beside
        .queue
        .bucket::<Cluster>(Bucket::Clusters)
        .list("")
        .await
    {
        Ok(clusters) => clusters,
        Err(error) => {
            warn!(error = %service::Chain(&error), "cannot look up this node's cluster");
            return None;
        }
    };
    let has_node = |cluster: &Cluster| cluster.nodes.iter().any(|node| node.node == beside.id());
    clusters
        .into_iter()
        .find_map(|(_, cluster, _)| has_node(&cluster).then_some(cluster.id))
}

/// Says what a restore would do, to whoever asks past the queue. It changes nothing.
struct Adviser(Arc<RestoreWorker>);

impl Handler for Adviser {
    async fn handle(&self, job: Job, ctx: JobContext) -> Result<Option<Fact>, JobError> {
        let told = if let Job::PrepareSchema(job) = &job
            && job.dry
        {
            Box::pin(self.0.prepare_schema(job.clone(), &ctx)).await
        } else if let Job::PlanRestore(job) = &job
            && job.dry
        {
            Box::pin(self.0.plan(job.clone(), &ctx)).await
        } else {
            Err(Failure::NotMine { kind: job.kind() })
        };
        told.map(Some).map_err(|failure| failure.verdict())
    }

    fn node(&self) -> Option<NodeId> {
        Some(self.0.id)
    }
}

/// What a restore-worker needs for each job.
struct RestoreWorker {
    id: NodeId,
    node: Node,
    data_dir: DataDir,
    stores: Stores,
    login: Login,
    queue: Queue,
    /// The name the cluster has for itself.
    cluster_name: String,
    /// Which stores the node knows by itself.
    natively: Natively,
    transfers: usize,
    /// Batches that the node may have in hand.
    slots: usize,
    /// Whose turn it is to download.
    line: Semaphore,
    /// Whose turn it is to load, of this worker's.
    loading: Mutex<()>,
    /// What failed here.
    failed: Failed,
    pacer: Pacer,
    min_free_percent: u8,
    metrics: Metrics,
}

impl RestoreWorker {
    async fn work(&self, job: Job, ctx: &JobContext) -> Result<Option<Fact>, Failure> {
        match job {
            Job::PlanRestore(job) => self.plan(job, ctx).await.map(Some),
            Job::PrepareSchema(job) => self.prepare_schema(job, ctx).await.map(Some),
            Job::ProveRestore(job) => self.read_back(job, ctx).await.map(Some),
            Job::SettleSchema(job) => self.settle_schema(job, ctx).await.map(Some),
            Job::PrepareNode(job) => self.prepare(job, ctx).await.map(Some),
            Job::LoadBatch(job) => self.load_batch(job, ctx).await,
            Job::PutBack(job) => self.put_back(job, ctx).await.map(Some),
            Job::Request(_)
            | Job::Inspect(_)
            | Job::Ping(_)
            | Job::SetBalancing(_)
            | Job::TakeSnapshot(_)
            | Job::Index(_)
            | Job::StoreSchema(_)
            | Job::Upload(_)
            | Job::Seal(_)
            | Job::DropSnapshot(_)
            | Job::Purge(_)
            | Job::Validate(_)
            | Job::ClearSnapshots(_) => Err(Failure::NotMine { kind: job.kind() }),
        }
    }
}

impl Handler for RestoreWorker {
    async fn handle(&self, job: Job, ctx: JobContext) -> Result<Option<Fact>, JobError> {
        let batch = if let Job::LoadBatch(batch) = &job {
            Some(batch.clone())
        } else {
            None
        };
        let work = Box::pin(self.work(job, &ctx));
        let done = ctx.stop.run_until_cancelled(work).await;
        if let Some(job) = batch {
            match &done {
                Some(Ok(_)) => {}
                Some(Err(failure)) => self.failed.note(&job, ctx.attempt, failure),
                None => self.leave_off(&job).await,
            }
        }
        match done {
            Some(done) => done.map_err(|failure| failure.verdict()),
            None => Err(JobError::Stopped),
        }
    }

    fn node(&self) -> Option<NodeId> {
        Some(self.id)
    }
}
