//! Takes a node's snapshot, stores the schema beside it, and plans which of its files go to the bucket.
//!
//! # Promises
//! * A snapshot is reported only when ScyllaDB has finished it for every table asked for.
//! * A plan is complete or not there: `plan.json` is written after all it refers to.
//! * What the bucket holds already, by name and size (and digest, for ids that are used again), is
//!   not planned; what it holds under the same name with other content stops the plan.
//! * A snapshot is deleted only by its tag, and only one that a backup took.
//!
//! # Crashes
//! Nothing is remembered between jobs. An incomplete snapshot is taken again under its tag; a plan
//! without its last object is made again.
//!
//! # Not here
//! What comes next is the scheduler's to decide; data is moved by uploaders.

mod failure;
mod index;
mod metrics;
mod schema;
mod snapshot;

use std::{sync::Arc, time::Duration};

use protocol::{Fact, Job, NodeId, Pinged, Presence, WorkerKind};
use queue::{Consumer, Context as JobContext, Handler, JobError, Takes};
use scylla::{DataDir, Node};
use service::{Beside, Context, Error, Login};
use store::Stores;

use crate::failure::Failure;

/// Jobs in hand at once. They wait for the node, mostly.
const SLOTS: usize = 4;
/// How often a job that waits for the node says that it is alive.
const PULSE: Duration = Duration::from_secs(10);

/// Runs a snapshot-worker until `ctx.stop`.
///
/// # Errors
/// When NATS or the stores' settings refuse it at the start.
pub async fn run(ctx: Context) -> Result<(), Error> {
    let Some(beside) = Beside::start(&ctx, WorkerKind::Snapshot).await? else {
        return Ok(());
    };
    let worker = Arc::new(SnapshotWorker {
        id: beside.id(),
        node: beside.node.clone(),
        data_dir: DataDir::new(&beside.data_dir),
        dc: beside.presence.dc.clone(),
        rack: beside.presence.rack.clone(),
        address: beside.presence.address.clone(),
        stores: beside.stores.clone(),
        login: beside.login.clone(),
    });
    let consumer = Consumer::beside(beside.id(), Takes::Snapshots, SLOTS);
    let metrics = ctx
        .registry
        .register("snapshot", metrics::Metrics::register);
    let (announced, worked, answered, ()) = tokio::join!(
        beside
            .queue
            .announce(|| Presence::clone(&beside.presence), ctx.stop.clone()),
        beside
            .queue
            .work(consumer, Arc::clone(&worker), ctx.stop.clone()),
        beside
            .queue
            .answer(&["inspect", "ping"], beside.id(), worker, ctx.stop.clone()),
        metrics.look_on(&beside.node, &ctx.stop),
    );
    announced
        .and(worked)
        .and(answered)
        .map_err(|e| Error::new("working for the queue", e))
}

/// What a snapshot-worker needs for each job.
struct SnapshotWorker {
    id: NodeId,
    node: Node,
    data_dir: DataDir,
    dc: String,
    rack: String,
    address: String,
    stores: Stores,
    login: Login,
}

impl SnapshotWorker {
    /// How the node is, its disk included.
    async fn ping(&self) -> Pinged {
        let mut found = self.node.ping().await;
        // Where it can't be known, 0 says so.
        if let Ok(disk) = rustix::fs::statvfs(self.data_dir.path()) {
            found.disk_free = disk.f_bavail.saturating_mul(disk.f_frsize);
            found.disk_total = disk.f_blocks.saturating_mul(disk.f_frsize);
        }
        found
    }

    async fn work(&self, job: Job, ctx: &JobContext) -> Result<Fact, Failure> {
        match job {
            Job::Inspect(job) => Ok(Fact::Inspected(self.node.inspect(&job).await?)),
            Job::Ping(_) => Ok(Fact::Pinged(self.ping().await)),
            Job::SetBalancing(job) => {
                if job.enabled || !ctx.over {
                    self.node.set_balancing(job.enabled).await?;
                }
                Ok(Fact::BalancingSet {
                    enabled: job.enabled,
                })
            }
            Job::TakeSnapshot(job) => self.take_snapshot(job).await,
            Job::Index(job) => self.index(job, ctx).await,
            Job::StoreSchema(job) => self.store_schema(job, ctx).await,
            Job::DropSnapshot(job) => self.drop_snapshot(&job.tag).await,
            Job::ClearSnapshots(job) => self.clear_snapshots(&job).await,
            Job::Request(_)
            | Job::Upload(_)
            | Job::Seal(_)
            | Job::Purge(_)
            | Job::Validate(_)
            | Job::PlanRestore(_)
            | Job::PrepareSchema(_)
            | Job::ProveRestore(_)
            | Job::SettleSchema(_)
            | Job::PrepareNode(_)
            | Job::LoadBatch(_)
            | Job::PutBack(_) => Err(Failure::NotMine { kind: job.kind() }),
        }
    }
}

impl Handler for SnapshotWorker {
    async fn handle(&self, job: Job, ctx: JobContext) -> Result<Option<Fact>, JobError> {
        // The node moves no bytes that could be counted; each of its calls has a limit of its own.
        let pulse = async {
            loop {
                tokio::time::sleep(PULSE).await;
                ctx.alive.moved(0);
            }
        };
        let work = async {
            tokio::select! {
                done = self.work(job, &ctx) => done,
                never = pulse => never,
            }
        };
        match ctx.stop.run_until_cancelled(Box::pin(work)).await {
            Some(Ok(fact)) => Ok(Some(fact)),
            Some(Err(failure)) => Err(failure.verdict()),
            None => Err(JobError::Stopped),
        }
    }

    fn node(&self) -> Option<NodeId> {
        Some(self.id)
    }
}
