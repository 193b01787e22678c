//! How fast a worker may move bytes, from all who have a say in it.
//!
//! The worker's settings set a most, and the task and the operators say what they want of it: what
//! operators say counts instead of what the task says. Several jobs in hand share one limit, the
//! lowest of theirs; several workers of one kind beside one node share it evenly, so that the node
//! as a whole keeps to it. Where the node's own load is heeded, that can only make it lower. A change
//! holds at once, also for files under way.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use protocol::{Cluster, ClusterId, NodeId, Pace, TaskId, Throttles, WorkerKind};
use queue::{Bucket, Change, Queue};
use scylla::{Metrics, Node};
use store::Stores;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Beside, Chain, Context,
    adaptive::{Adaptive, Reason, Sample},
};

/// How often it is looked whether other workers are gone, and how the node is.
const LOOK: Duration = Duration::from_secs(1);

/// Sets a process' limit. Clones share it.
#[derive(Clone)]
pub struct Pacer {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Queue,
    stores: Stores,
    node: NodeId,
    worker: WorkerKind,
    state: Mutex<State>,
    counts: Counts,
}

#[derive(Default)]
struct State {
    /// The most, in MiB/s; 0 is no limit.
    most: u32,
    jobs: HashMap<u64, Wish>,
    next: u64,
    throttles: HashMap<ClusterId, Throttles>,
    /// Workers of this kind beside this node, and when each was last heard of.
    workers: HashMap<String, Instant>,
    /// What the node bears, in bytes per second, and why; 0 is nothing at all.
    bears: Option<(u64, Reason)>,
    /// What holds now.
    limit: (u64, Cause),
}

/// What a job in hand wants.
struct Wish {
    cluster: ClusterId,
    task: Option<TaskId>,
    pace: Pace,
}

/// Who set the limit that holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Cause {
    #[default]
    Nobody,
    Settings,
    Task,
    Operator,
    Node(Reason),
}

impl Cause {
    /// For people.
    fn text(self) -> String {
        match self {
            Self::Nobody => String::new(),
            Self::Settings => "the worker's own rate_limit".to_owned(),
            Self::Task => "the task's rate_limit".to_owned(),
            Self::Operator => "`thetis throttle`".to_owned(),
            Self::Node(reason) => reason.to_string(),
        }
    }

    /// One word, for metrics.
    fn word(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Settings => "settings",
            Self::Task => "task",
            Self::Operator => "operator",
            Self::Node(reason) => reason.word(),
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct By {
    by: &'static str,
}

/// What is counted, in all workers of a process.
#[derive(Clone, Debug, Default)]
struct Counts {
    rate: Family<By, Gauge>,
    changes: Family<By, Counter>,
}

impl Counts {
    fn register(registry: &mut Registry) -> Self {
        let counts = Self::default();
        registry.register_with_unit(
            "rate_limit",
            "Limit on what is read from the node's disk, or written to it, a second, by who set it; 0 by \
             `nobody` where there is none",
            Unit::Bytes,
            counts.rate.clone(),
        );
        registry.register(
            "rate_limit_changes",
            "Changes of that limit, by who made them",
            counts.changes.clone(),
        );
        counts
    }
}

/// A job's say in the limit, until dropped.
#[must_use]
pub struct Say {
    pacer: Pacer,
    number: u64,
}

impl Pacer {
    /// The limit of what `beside` moves, which is at most `most` MiB/s; 0 is for no limit. Its metrics
    /// are registered under `name`.
    #[must_use]
    pub fn new(ctx: &Context, beside: &Beside, name: &'static str, most: u32) -> Self {
        let pacer = Self {
            inner: Arc::new(Inner {
                queue: beside.queue.clone(),
                stores: beside.stores.clone(),
                node: beside.id(),
                worker: beside.presence.worker,
                state: Mutex::new(State {
                    most,
                    ..State::default()
                }),
                counts: ctx.registry.register(name, Counts::register),
            }),
        };
        let nobody = By {
            by: Cause::Nobody.word(),
        };
        pacer.inner.counts.rate.get_or_create(&nobody).set(0);
        drop(pacer.inner.counts.changes.get_or_create(&nobody));
        pacer.change(|_| {});
        pacer
    }

    /// The node beside which it is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// The limit that holds now, in bytes per second, and why, for people; without one `None`.
    #[must_use]
    pub fn limit(&self) -> (Option<u64>, String) {
        let (rate, cause) = self.inner.lock().limit;
        ((rate > 0).then_some(rate), cause.text())
    }

    /// Takes a job in hand.
    pub fn job(&self, cluster: ClusterId, task: Option<TaskId>, pace: Pace) -> Say {
        let number = self.change(|state| {
            state.next += 1;
            let wish = Wish {
                cluster,
                task,
                pace,
            };
            state.jobs.insert(state.next, wish);
            state.next
        });
        Say {
            pacer: self.clone(),
            number,
        }
    }

    /// Follows what operators say, and which other workers there are, until `stop`.
    pub async fn follow(&self, stop: &CancellationToken) {
        let clusters = self.inner.queue.bucket::<Cluster>(Bucket::Clusters);
        let mut clusters = clusters.watch("");
        let mut workers = self
            .inner
            .queue
            .watch_workers(self.inner.worker, self.inner.node);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(change) = clusters.next() => self.cluster(change),
                Some(change) = workers.next() => match change {
                    Change::Put { key, .. } => self.change(|state| {
                        state.workers.insert(key, Instant::now());
                    }),
                    Change::Delete { key } => self.change(|state| {
                        state.workers.remove(&key);
                    }),
                    Change::Current => {}
                },
                _ = look.tick() => self.change(|state| {
                    state.workers.retain(|_, heard| heard.elapsed() < Queue::PRESENT);
                }),
            }
        }
    }

    /// Makes way for the node's database while jobs are in hand, until `stop`. `safe` is the rate, in
    /// MiB/s, that holds while the node's metrics cannot be read.
    pub async fn heed(&self, node: &Node, url: Option<&str>, safe: u32, stop: &CancellationToken) {
        let safe = u64::from(safe) << 20;
        let mut heeded = Heeded::default();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(look.tick()).await.is_some() {
            if self.inner.lock().jobs.is_empty() {
                heeded = Heeded::default();
                self.change(|state| state.bears = None);
                continue;
            }
            let counted = self.inner.stores.requests();
            let sample = heeded.sample(node, url).await;
            let read = counted.disk_bytes();
            let moved = read - std::mem::replace(&mut heeded.read, read).min(read);
            let control = heeded.control.get_or_insert_with(|| Adaptive::new(safe));
            match sample {
                Looked::First => {}
                Looked::Nothing => control.second(None, moved),
                Looked::Load(sample) => control.second(Some(sample), moved),
            }
            let bears = control.rate();
            self.change(|state| state.bears = Some(bears));
        }
    }

    fn cluster(&self, change: Change<Cluster>) {
        match change {
            Change::Put { value, .. } => self.change(|state| {
                state.throttles.insert(value.id, value.throttles);
            }),
            Change::Delete { key } => self.change(|state| {
                state.throttles.retain(|id, _| id.to_string() != key);
            }),
            Change::Current => {}
        }
    }

    /// Changes what the limit is made of, and the limit with it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let inner = &self.inner;
        let mut state = inner.lock();
        let done = change(&mut state);
        let limit = state.limit_now(inner.node);
        if limit != state.limit {
            let (rate, cause) = limit;
            let by = |cause: Cause| By { by: cause.word() };
            if cause != state.limit.1 {
                info!(
                    bytes_per_second = rate,
                    by = cause.text(),
                    "limit changed; 0 is no limit"
                );
                inner.counts.changes.get_or_create(&by(cause)).inc();
            }
            let shown = i64::try_from(rate).unwrap_or(i64::MAX);
            inner.counts.rate.clear();
            inner.counts.rate.get_or_create(&by(cause)).set(shown);
            state.limit = limit;
            inner.stores.limit_rate(rate);
        }
        done
    }
}

/// What is known of the node's load.
#[derive(Default)]
struct Heeded {
    metrics: Option<Metrics>,
    before: Option<scylla::Counters>,
    control: Option<Adaptive>,
    /// Bytes moved so far, when last looked.
    read: u64,
    told: bool,
}

/// What a look at the node showed.
enum Looked {
    /// Counters, with nothing to compare them with yet.
    First,
    Load(Sample),
    Nothing,
}

impl Heeded {
    async fn sample(&mut self, node: &Node, url: Option<&str>) -> Looked {
        let now = match self.read_counters(node, url).await {
            Ok(now) => now,
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    warn!(error = %Chain(&error), "the node's metrics cannot be read; a safe rate holds");
                }
                self.before = None;
                return Looked::Nothing;
            }
        };
        self.told = false;
        let before = self.before.replace(now.clone());
        let load = before.and_then(|before| now.since(&before));
        load.map_or(Looked::First, |load| {
            Looked::Load(Sample {
                requests: load.requests,
                p99: load.p99,
                busy_percent: load.busy_percent,
            })
        })
    }

    async fn read_counters(
        &mut self,
        node: &Node,
        url: Option<&str>,
    ) -> Result<scylla::Counters, scylla::Error> {
        let metrics = match &self.metrics {
            Some(metrics) => metrics.clone(),
            None => match url {
                Some(url) => Metrics::new(url)?,
                None => Metrics::new(&node.metrics_url().await?)?,
            },
        };
        let read = metrics.read().await;
        // The node may have been restarted on another port.
        self.metrics = read.is_ok().then_some(metrics);
        read
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The limit, in bytes per second, and who set it; 0 is no limit.
    fn limit_now(&self, node: NodeId) -> (u64, Cause) {
        let wishes = self.jobs.values().map(|wish| {
            let said = self.throttles.get(&wish.cluster);
            match said.and_then(|throttles| throttles.of(wish.task, node)) {
                Some(said) => (said, Cause::Operator),
                None => (wish.pace.rate_limit.unwrap_or_default(), Cause::Task),
            }
        });
        let sharers = self.workers.len().max(1) as u64;
        let said = wishes.chain([(self.most, Cause::Settings)]);
        let said = said.filter(|(mib, _)| *mib > 0);
        let said = said.map(|(mib, cause)| (((u64::from(mib) << 20) / sharers).max(1), cause));
        // At one byte a second, nothing moves.
        let bears = self.bears.filter(|(rate, _)| *rate < u64::MAX);
        let bears = bears.map(|(rate, reason)| (rate.max(1), Cause::Node(reason)));
        let lowest = said.chain(bears).min_by_key(|(rate, _)| *rate);
        lowest.unwrap_or_default()
    }
}

impl Drop for Say {
    fn drop(&mut self) {
        self.pacer.change(|state| state.jobs.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn wish(state: &mut State, cluster: ClusterId, task: TaskId, rate_limit: Option<u32>) {
        state.next += 1;
        let pace = Pace {
            rate_limit,
            transfers: None,
        };
        let task = Some(task);
        let wish = Wish {
            cluster,
            task,
            pace,
        };
        state.jobs.insert(state.next, wish);
    }

    #[test]
    fn operators_overrule_tasks_and_settings_overrule_all() {
        let (cluster, task, node) = (
            ClusterId::generate(),
            TaskId::generate(),
            NodeId::generate(),
        );
        let mut state = State::default();
        assert_eq!(state.limit_now(node).0, 0);
        wish(&mut state, cluster, task, None);
        assert_eq!(state.limit_now(node).0, 0);
        wish(&mut state, cluster, task, Some(100));
        assert_eq!(state.limit_now(node).0, 100 * MIB);
        let throttles = Throttles {
            cluster: Some(300),
            ..Throttles::default()
        };
        state.throttles.insert(cluster, throttles);
        assert_eq!(state.limit_now(node).0, 300 * MIB);
        state.most = 50;
        assert_eq!(state.limit_now(node).0, 50 * MIB);
        state.throttles.insert(
            cluster,
            Throttles {
                cluster: Some(300),
                nodes: [(node, 0)].into(),
                ..Throttles::default()
            },
        );
        assert_eq!(state.limit_now(node).0, 50 * MIB);
        state.most = 0;
        assert_eq!(state.limit_now(node).0, 0);
    }

    #[test]
    fn workers_beside_one_node_share_its_limit() {
        let mut state = State {
            most: 30,
            ..State::default()
        };
        for (name, rate) in [("a", 30), ("b", 15), ("c", 10)] {
            state.workers.insert(name.to_owned(), Instant::now());
            assert_eq!(state.limit_now(NodeId::generate()).0, rate * MIB);
        }
    }

    #[test]
    fn a_node_that_needs_it_makes_it_slower_and_never_faster() {
        let node = NodeId::generate();
        let mut state = State {
            most: 30,
            ..State::default()
        };
        for (bears, limit) in [
            ((u64::MAX, Reason::Idle), (30 * MIB, Cause::Settings)),
            ((50 * MIB, Reason::Fine), (30 * MIB, Cause::Settings)),
            (
                (8 * MIB, Reason::Busy),
                (8 * MIB, Cause::Node(Reason::Busy)),
            ),
            ((0, Reason::Probe), (1, Cause::Node(Reason::Probe))),
        ] {
            state.bears = Some(bears);
            assert_eq!(state.limit_now(node), limit);
        }
    }
}
