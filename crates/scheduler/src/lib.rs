//! Decides what is to be done, and answers users.
//!
//! Every replica serves the HTTP API; one of them leads. The leader begins runs, folds what workers
//! say happened, publishes the jobs that follow, and ends runs. What a run is to do next is
//! `workflow`'s to say; this crate saves, publishes and acknowledges, in that order.
//!
//! # Promises
//! * A cluster has one mutating run at a time: a second one is refused, with the name of the first.
//! * A request, from the API or published by anyone, begins a run or is refused with a reason; never
//!   both, and never neither.
//! * A leader that lost its lease without noticing cannot overwrite what its successor wrote: each
//!   record carries the term it was written in, and is written by compare-and-set.
//! * Before a run's first job goes out, the bucket holds what it takes to go on with it.
//!
//! # Crashes
//! Nothing is remembered that is not saved. A new leader takes the open runs over and publishes what
//! is due; if NATS has lost everything, it rebuilds clusters, tasks and open runs from the bucket.
//!
//! # Not here
//! Nodes and data: both are reached through workers alone. Credentials of clusters are kept, and not
//! used: nothing here logs in to a node.

mod access;
mod api;
mod ask;
mod checks;
mod close;
mod clusters;
mod copies;
mod driver;
mod health;
mod leader;
mod ledger;
mod methods;
mod metrics;
mod notices;
mod progress;
mod proofs;
mod properties;
mod purge;
mod record;
mod recover;
mod requests;
mod secrets;
mod start;
mod suspend;
mod timetable;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use protocol::{Cluster, ClusterId, Task};
use queue::Queue;
use service::{Config, Context, Error};
use store::Stores;
use tokio::net::TcpListener;
use tracing::{info, warn};
use uuid::Uuid;

pub use api::{ErrorBody, document, shape};

use crate::{
    access::{Access, Sparing},
    checks::Checks,
    ledger::Ledger,
    metrics::Metrics,
    record::Record,
    secrets::Keys,
    suspend::Suspensions,
};

/// How many ended runs a leader remembers, should NATS lose them.
const REMEMBERED: usize = 32;

/// Serves the API, and leads whenever it can, until `ctx.stop`.
///
/// # Errors
/// When NATS refuses, the stores' settings are wrong, or `scheduler.listen` cannot be had.
pub async fn run(ctx: Context) -> Result<(), Error> {
    let stores =
        Stores::new(ctx.config.store.clone()).map_err(|e| Error::new("reading `store.*`", e))?;
    let listener = TcpListener::bind(&ctx.config.scheduler.listen)
        .await
        .map_err(|e| {
            Error::new(
                format!(
                    "listening on `scheduler.listen` ({})",
                    ctx.config.scheduler.listen
                ),
                e,
            )
        })?;
    let access = Access::read(&ctx.config)?;
    let keys = Keys::read(&ctx.config)?;
    let tls = api::tls::acceptor(&ctx.config.scheduler.tls)?;
    let settings = ctx.config.nats.answered_at("scheduler");
    let Some(queue) = service::connect(&settings, "thetis-scheduler", &ctx.stop).await? else {
        return Ok(());
    };
    ctx.registry.connected(&queue, &stores);
    let metrics = ctx.registry.register("scheduler", Metrics::register);
    ctx.registry.collect(metrics.board.clone());
    let app = App {
        ledger: Ledger::new(&queue),
        queue,
        stores,
        config: Arc::clone(&ctx.config),
        checks: Arc::default(),
        access: Arc::new(access),
        refusals: Arc::default(),
        keys: Arc::new(keys),
        metrics: Arc::new(metrics),
        memory: Arc::default(),
    };
    let instance = format!(
        "{}-{}",
        std::process::id(),
        &Uuid::new_v4().simple().to_string()[..8]
    );
    let address = listener
        .local_addr()
        .map(|a| a.to_string())
        .unwrap_or_default();
    let scheme = if tls.is_some() { "https" } else { "http" };
    if app.access.open() && !is_loopback(&listener) {
        warn!(
            "anybody who reaches the API may ask for anything: set `scheduler.tokens_file` or `scheduler.tls.client_ca`"
        );
    }
    info!(
        api = format!("{scheme}://{address}/api/v1"),
        instance, "serving the API"
    );
    app.access
        .learn(&app.ledger)
        .await
        .map_err(|e| Error::new("reading the tokens that were made", e))?;
    ctx.health.ready(true);
    let serving = Box::pin(api::serve(app.clone(), listener, tls, ctx.stop.clone()));
    let (access, ledger) = (Arc::clone(&app.access), app.ledger.clone());
    let logs = app.queue.clone();
    let (served, (), (), ()) = tokio::join!(
        async {
            let served = serving.await;
            ctx.stop.cancel();
            served
        },
        Box::pin(leader::run(app, &instance, &ctx.stop)),
        access.follow(&ledger, &ctx.stop),
        async {
            let answered = logs.answer_logs("scheduler", ctx.stop.clone(), service::logged);
            if let Err(cause) = answered.await {
                warn!(error = %service::Chain(&cause), "nobody can be told what was logged here");
            }
        }
    );
    served.map_err(|e| Error::new("serving the API", e))
}

fn is_loopback(listener: &TcpListener) -> bool {
    listener
        .local_addr()
        .is_ok_and(|address| address.ip().is_loopback())
}

/// What everything in this crate works with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) queue: Queue,
    pub(crate) stores: Stores,
    pub(crate) ledger: Ledger,
    pub(crate) config: Arc<Config>,
    pub(crate) checks: Arc<Checks>,
    pub(crate) access: Arc<Access>,
    /// Messages that were refused.
    pub(crate) refusals: Arc<Sparing>,
    /// What credentials of clusters are encrypted with.
    pub(crate) keys: Arc<Option<Keys>>,
    pub(crate) metrics: Arc<Metrics>,
    memory: Arc<Mutex<Memory>>,
}

impl App {
    /// Not to be held across an `await`.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the last sweep of this process saw. Only of use if NATS loses it.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) tasks: Arc<Vec<Task>>,
    pub(crate) suspended: Suspensions,
    /// When each cluster was last backed up, in milliseconds since 1970.
    pub(crate) good: BTreeMap<ClusterId, u64>,
    /// What was last proven of each cluster's backups.
    pub(crate) proven: BTreeMap<ClusterId, proofs::Proof>,
    /// The last runs that ended, each from its end on: what is left of one whose descriptor is
    /// gone.
    pub(crate) ended: Vec<Record>,
}

impl Memory {
    /// The cluster was backed up.
    pub(crate) fn good(&mut self, cluster: ClusterId, at_ms: u64) {
        let last = self.good.entry(cluster).or_default();
        *last = at_ms.max(*last);
    }

    /// A backup of the cluster was proven to be restorable.
    pub(crate) fn proven(&mut self, cluster: ClusterId, proof: proofs::Proof) {
        self.proven.entry(cluster).or_default().merge(proof);
    }

    /// The run has ended.
    pub(crate) fn ended(&mut self, record: Record) {
        self.ended.retain(|known| known.run != record.run);
        if self.ended.len() >= REMEMBERED {
            self.ended.remove(0);
        }
        self.ended.push(record);
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So that several services can run in one process.
    #[test]
    fn it_can_be_spawned() {
        fn send<T: Send>(_: impl FnOnce(Context) -> T) {}
        send(run);
    }
}
