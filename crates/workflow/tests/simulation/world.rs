//! The world around a run: nodes, workers, a bucket, a queue, saved state, schedulers and faults.
//!
//! Everything is a set or a flag, every move is one step, and which step comes next is chance.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    BackupRequest, ClusterId, DcLimit, DeleteRequest, Event, Fact, Job, NodeId, RestoreRequest,
    RunId, SnapshotTag, TaskId, ValidateRequest, WorkerKind, subject,
};
use uuid::Uuid;
use workflow::{BackupSpec, Errand, ErrandSpec, RestoreSpec, Run, Spec};

use crate::{
    chance::Chance,
    scenario::{Scenario, Work},
    scheduler::Scheduler,
};

/// A run that needs more steps does not end.
const MOST_STEPS: u64 = 60_000;

/// A run whose state is wiped again and again never ends, and nobody could change that.
const MOST_WIPES: u32 = 3;

/// A node of the cluster.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) dc: String,
    pub(crate) down_until: Option<u64>,
    pub(crate) hung: bool,
    pub(crate) lost: bool,
    pub(crate) snapshots: BTreeSet<SnapshotTag>,
    pub(crate) compaction: bool,
}

/// A chunk: the run that planned it, its node, its number.
pub(crate) type Chunk = (RunId, NodeId, u32);

/// What lies in the bucket.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// Chunks of each node's plan.
    pub(crate) plans: BTreeMap<(RunId, NodeId), u32>,
    pub(crate) chunks: BTreeSet<Chunk>,
    pub(crate) receipts: BTreeSet<Chunk>,
    /// The chunks each manifest lists.
    pub(crate) manifests: BTreeMap<(SnapshotTag, NodeId), Vec<Chunk>>,
    pub(crate) restore_plans: BTreeMap<RunId, Vec<protocol::DcBatches>>,
    pub(crate) undos: BTreeSet<(RunId, NodeId)>,
    /// Restores that have noted how the schema was, and whether it is as it is to be.
    pub(crate) shielded: BTreeMap<RunId, bool>,
    /// Whether all is gone that need not be kept.
    pub(crate) purged: bool,
    /// The open run's descriptor.
    pub(crate) descriptor: Option<Spec>,
}

/// A job in the queue.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) job: Job,
    pub(crate) attempts: u32,
    pub(crate) held: bool,
    pub(crate) visible_ms: u64,
}

/// A job in the hands of a worker.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(crate) worker: (NodeId, WorkerKind),
    pub(crate) subject: String,
    pub(crate) job: Job,
    pub(crate) stage: Stage,
    pub(crate) taken_ms: u64,
    /// How long it may go on with a purge after it was told not to.
    pub(crate) deaf_ms: u64,
}

/// How far a worker is with a job.
#[derive(Debug)]
pub(crate) enum Stage {
    Taken,
    Done(Box<Event>),
    Told,
}

/// Everything.
pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) scenario: Scenario,
    pub(crate) now_ms: u64,
    pub(crate) steps: u64,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    /// Workers that are dead, and when they are back.
    pub(crate) dead: BTreeMap<(NodeId, WorkerKind), u64>,
    pub(crate) balancing: bool,
    /// Whether views are dropped and tombstones kept.
    pub(crate) shielded: bool,
    /// Whether keyspaces of a drill are there.
    pub(crate) scratch: bool,
    pub(crate) bucket: Bucket,
    /// Batches that are in the cluster.
    pub(crate) loaded: BTreeSet<(RunId, u32)>,
    pub(crate) queue: BTreeMap<String, Message>,
    pub(crate) hands: Vec<Hand>,
    pub(crate) events: Vec<(u64, Event)>,
    pub(crate) next_event: u64,
    /// The run, with its revision.
    pub(crate) saved: Option<(u64, Run)>,
    pub(crate) revision: u64,
    pub(crate) wipes: u32,
    /// Whether to tell what happens.
    pub(crate) verbose: bool,
    /// The user's wish that the run stop.
    pub(crate) control: bool,
    /// When workers were told of it.
    pub(crate) control_ms: u64,
    pub(crate) schedulers: [Scheduler; 2],
    pub(crate) scheduler_steps: u64,
    /// The scheduler's step, counted over both, at which it dies.
    pub(crate) die_at: Option<u64>,
    pub(crate) worker_steps: u64,
    /// The workers' step, counted over all, at which the one that makes it is killed.
    pub(crate) kill_at: Option<u64>,
    /// What the world has seen that must not be.
    pub(crate) wrongs: Vec<String>,
    pub(crate) uploads: BTreeMap<Chunk, u32>,
}

pub(crate) fn node_id(number: u64) -> NodeId {
    NodeId(Uuid::from_u128(
        0x4000_8000_0000_0000_0000 + u128::from(number),
    ))
}

pub(crate) fn run_id(number: u128) -> RunId {
    RunId(Uuid::from_u128(0xF000_4000_8000_0000_0000_0000 + number))
}

pub(crate) fn tag() -> SnapshotTag {
    "sm_20260101000000UTC".parse().expect("a tag")
}

/// Of a backup before this one.
fn old() -> SnapshotTag {
    "sm_20250101000000UTC".parse().expect("a tag")
}

impl World {
    pub(crate) fn new(seed: u64, scenario: Scenario) -> Self {
        let mut nodes = BTreeMap::new();
        for (dc, count) in scenario.dcs.iter().enumerate() {
            for _ in 0..*count {
                let node = Node {
                    dc: format!("dc{dc}"),
                    down_until: None,
                    hung: false,
                    lost: false,
                    snapshots: match scenario.work {
                        Work::Clear => BTreeSet::from([old()]),
                        Work::Backup | Work::Restore | Work::Delete | Work::Validate => {
                            BTreeSet::new()
                        }
                    },
                    compaction: true,
                };
                nodes.insert(node_id(nodes.len() as u64 + 1), node);
            }
        }
        let mut world = Self {
            chance: Chance::new(seed),
            scenario,
            now_ms: 1_767_225_600_000,
            steps: 0,
            nodes,
            dead: BTreeMap::new(),
            balancing: true,
            shielded: false,
            scratch: false,
            bucket: Bucket::default(),
            loaded: BTreeSet::new(),
            queue: BTreeMap::new(),
            hands: Vec::new(),
            events: Vec::new(),
            next_event: 0,
            saved: None,
            revision: 0,
            wipes: 0,
            verbose: false,
            control: false,
            control_ms: 0,
            schedulers: [Scheduler::default(), Scheduler::default()],
            scheduler_steps: 0,
            die_at: None,
            worker_steps: 0,
            kill_at: None,
            wrongs: Vec::new(),
            uploads: BTreeMap::new(),
        };
        let run = world.first_run();
        world.open(run);
        world
    }

    fn first_run(&self) -> Run {
        let (cluster, run) = (ClusterId(Uuid::from_u128(7)), run_id(1));
        let (origin, task, scout) = (run, TaskId(Uuid::from_u128(9)), node_id(1));
        let location = vec!["s3:backups".parse().expect("a location")];
        let (started_ms, unsettled) = (self.now_ms, false);
        let errand = |errand| {
            Run::errand(ErrandSpec {
                cluster,
                run,
                task,
                errand,
                scout,
                started_ms,
            })
        };
        match self.scenario.work {
            Work::Backup => {
                let limit = DcLimit {
                    dc: None,
                    limit: self.scenario.parallel,
                };
                let request = BackupRequest {
                    location,
                    snapshot_parallel: vec![limit.clone()],
                    upload_parallel: vec![limit],
                    ..BackupRequest::default()
                };
                let (tag, cluster_name) = (tag(), "test".to_owned());
                let stale = vec![old()];
                Run::backup(BackupSpec {
                    cluster,
                    run,
                    origin,
                    task,
                    tag,
                    request,
                    cluster_name,
                    scout,
                    stale,
                    started_ms,
                    unsettled,
                })
            }
            Work::Delete => {
                let request = DeleteRequest {
                    location,
                    snapshot_tag: vec![tag()],
                    force: false,
                };
                errand(Errand::Delete(request))
            }
            Work::Validate => errand(Errand::Validate(ValidateRequest {
                location,
                delete_orphaned_files: true,
                ..ValidateRequest::default()
            })),
            Work::Clear => errand(Errand::Clear {
                nodes: self.nodes.keys().copied().collect(),
                before: tag(),
            }),
            Work::Restore => {
                let request = RestoreRequest {
                    drill: self.scenario.drill,
                    one_to_one: self.scenario.one_to_one,
                    ..RestoreRequest::new(location, tag())
                };
                Run::restore(RestoreSpec {
                    cluster,
                    run,
                    origin,
                    task,
                    request,
                    scout,
                    started_ms,
                    unsettled,
                    shielded: workflow::Shield::No,
                })
            }
        }
    }

    /// Begins a run: descriptor first, then state.
    pub(crate) fn open(&mut self, run: Run) {
        self.bucket.descriptor = Some(run.spec());
        self.control = false;
        self.revision += 1;
        self.saved = Some((self.revision, run));
    }

    /// The run as saved; only a wipe leaves none.
    pub(crate) fn run(&self) -> Option<&Run> {
        self.saved.as_ref().map(|(_, run)| run)
    }

    pub(crate) fn ended(&self) -> bool {
        self.run().is_some_and(|run| run.status().ended())
    }

    pub(crate) fn alive(&self, worker: (NodeId, WorkerKind)) -> bool {
        !self.dead.contains_key(&worker)
    }

    /// Tells what happens, when a seed is played alone.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            println!(
                "{:6} {:10} {}",
                self.steps,
                self.now_ms % 1_000_000_000,
                what()
            );
        }
    }

    /// Publishes a job; refused, and false, while one with its subject waits or is in hand.
    pub(crate) fn publish_job(&mut self, job: Job) -> bool {
        self.tell(|| format!("publish {}", subject::of_job(&job)));
        let visible_ms = self.now_ms;
        let message = Message {
            job,
            attempts: 0,
            held: false,
            visible_ms,
        };
        let subject = subject::of_job(&message.job);
        let new = !self.queue.contains_key(&subject);
        if new {
            self.queue.insert(subject, message);
        }
        new
    }

    pub(crate) fn publish_event(&mut self, event: Event) {
        self.tell(|| format!("tell    {:?} {:?}", event.node, event.fact));
        self.next_event += 1;
        self.events.push((self.next_event, event));
    }

    /// Whether `event` tells that something was switched which the run is not waiting for.
    ///
    /// A lost answer is made good by asking again, for as long as the run waits for it. Nobody waits
    /// for the answer of a late copy of a job: lost as well, it would leave behind what nobody knows
    /// of. Nor does anybody ask again for what amends a run that has ended. These are the only faults
    /// that this world does not add up.
    pub(crate) fn unawaited(&self, event: &Event) -> bool {
        let kind = match &event.fact {
            Fact::BalancingSet { enabled: false } => "set_balancing",
            Fact::NodePrepared(_) => "prepare_node",
            Fact::BalancingSet { enabled: true }
            | Fact::Inspected(_)
            | Fact::Pinged(_)
            | Fact::SnapshotTaken
            | Fact::Indexed(_)
            | Fact::SchemaStored
            | Fact::ChunkStored(_)
            | Fact::Sealed(_)
            | Fact::SnapshotDropped
            | Fact::Purged(_)
            | Fact::Validated(_)
            | Fact::SnapshotsCleared(_)
            | Fact::RestorePlanned(_)
            | Fact::SchemaPrepared(_)
            | Fact::SchemaSettled(_)
            | Fact::RestoreProven(_)
            | Fact::BatchLoaded(_)
            | Fact::NodePutBack
            | Fact::Failed(_)
            | Fact::Refused { .. }
            | Fact::RunStarted
            | Fact::RunEnded(_) => return false,
        };
        let due = self.run().map(Run::due).unwrap_or_default();
        !due.iter()
            .any(|job| job.kind() == kind && job.part() == 0 && job.node() == event.node)
    }

    /// Whether a job may have switched something that only its next copy would tell of: a late one,
    /// whose worker died with it in hand. See [`World::unawaited`].
    fn unheard(&self, message: &Message) -> bool {
        message.attempts > 0
            && message.job.switches_off()
            && !self
                .run()
                .is_some_and(|run| run.due().contains(&message.job))
    }

    /// Goes on until the run has ended.
    pub(crate) fn run_to_end(&mut self) {
        while !self.ended() {
            self.step();
            assert!(
                self.steps < MOST_STEPS,
                "the run does not end: {:#?}",
                self.run()
            );
        }
    }

    /// One step, of whoever.
    pub(crate) fn step(&mut self) {
        self.steps += 1;
        self.now_ms += self.chance.below(60);
        let now_ms = self.now_ms;
        self.dead.retain(|_, until| *until > now_ms);
        self.nodes
            .values_mut()
            .for_each(|node| node.down_until = node.down_until.filter(|t| *t > now_ms));
        self.faults();
        match self.chance.below(10) {
            0..=4 => {
                let idle = self
                    .schedulers
                    .iter()
                    .all(|one| matches!(one, Scheduler::Idle));
                if !self.work() && self.events.is_empty() && idle {
                    self.now_ms += self.chance.below(6_000);
                }
            }
            5..=8 => self.schedule(),
            _ => self.now_ms += self.chance.below(500),
        }
    }

    /// Lets everything that is still under way come to rest, without further faults.
    pub(crate) fn come_to_rest(&mut self) {
        self.calm_down();
        let steps = self.steps;
        while !(self.queue.is_empty() && self.hands.is_empty() && self.events.is_empty()) {
            self.step();
            self.forget_the_lost();
            assert!(
                self.steps < steps + MOST_STEPS,
                "no rest: {:#?}",
                self.queue
            );
        }
    }

    /// No more faults; what is lost for good stays lost.
    pub(crate) fn calm_down(&mut self) {
        self.scenario.faults = crate::scenario::Faults::default();
        (self.die_at, self.kill_at) = (None, None);
        let (nodes, now_ms) = (&mut self.nodes, self.now_ms);
        for node in nodes.values_mut().filter(|node| !node.lost) {
            (node.down_until, node.hung) = (None, false);
        }
        self.dead.retain(|(node, _), _| nodes[node].lost);
        self.queue
            .values_mut()
            .for_each(|message| message.visible_ms = message.visible_ms.min(now_ms));
        self.forget_the_lost();
    }

    /// Drops what waits for those who will never come.
    fn forget_the_lost(&mut self) {
        let nodes = &self.nodes;
        let there = |node: NodeId| !nodes[&node].lost;
        let anyone = |dc: &str| nodes.values().any(|node| node.dc == dc && !node.lost);
        self.hands.retain(|hand| there(hand.worker.0));
        self.queue.retain(|_, message| {
            if let Job::LoadBatch(job) = &message.job {
                anyone(&job.dc)
            } else {
                message.job.node().is_none_or(there)
            }
        });
    }

    /// As if a good operator had come by: what was lost is back, with its disks.
    pub(crate) fn heal(&mut self) {
        self.nodes.values_mut().for_each(|node| node.lost = false);
        self.dead.clear();
        self.calm_down();
    }

    fn faults(&mut self) {
        let faults = self.scenario.faults.clone();
        let node = node_id(1 + self.chance.below(self.nodes.len() as u64));
        let kind = [
            WorkerKind::Snapshot,
            WorkerKind::Upload,
            WorkerKind::Restore,
        ];
        let worker = (node, kind[self.chance.index(3)]);
        if self.chance.happens(faults.kill_worker) {
            self.kill(worker, 120_000);
        }
        if self.chance.happens(faults.node_down) {
            let until = self.now_ms + self.chance.below(600_000);
            self.nodes.get_mut(&node).expect("a node").down_until = Some(until);
        }
        if self.chance.happens(faults.node_hangs) {
            self.nodes.get_mut(&node).expect("a node").hung = true;
        }
        if self.chance.happens(faults.node_lost) {
            self.nodes.get_mut(&node).expect("a node").lost = true;
            self.last_words(node);
            for kind in kind {
                self.kill((node, kind), 1);
                self.dead.insert((node, kind), u64::MAX);
            }
        }
        if !self.ended() && self.chance.happens(faults.job_lost) {
            let nth = self.chance.index(self.queue.len());
            if let Some(subject) = self.queue.keys().nth(nth).cloned()
                && !self.unheard(&self.queue[&subject])
            {
                self.queue.remove(&subject);
            }
        }
        if !self.ended() && self.chance.happens(faults.queue_wiped) {
            self.queue.clear();
            let mut events = std::mem::take(&mut self.events);
            events.retain(|(_, event)| self.unawaited(event));
            self.events = events;
        }
        if !self.ended() && self.wipes < MOST_WIPES && self.chance.happens(faults.all_wiped) {
            self.wipes += 1;
            self.queue.clear();
            self.events.clear();
            self.saved = None;
            self.control = false;
        }
        if self.chance.happens(faults.stop) {
            self.tell_workers();
        }
    }

    /// Tells the workers to leave off what they have in hand.
    pub(crate) fn tell_workers(&mut self) {
        if !self.control {
            (self.control, self.control_ms) = (true, self.now_ms);
        }
    }

    /// A node that is lost for good still tells what nobody would ask it for: see
    /// [`World::unawaited`].
    fn last_words(&mut self, node: NodeId) {
        let told = self
            .hands
            .iter()
            .filter(|hand| hand.worker.0 == node)
            .filter_map(|hand| {
                let Stage::Done(event) = &hand.stage else {
                    return None;
                };
                self.unawaited(event).then(|| Event::clone(event))
            });
        for event in told.collect::<Vec<_>>() {
            self.publish_event(event);
        }
    }

    /// Kills a worker: what it held is delivered again some time later.
    pub(crate) fn kill(&mut self, worker: (NodeId, WorkerKind), away_ms: u64) {
        let back = self.now_ms + self.chance.below(away_ms);
        let again = self.now_ms + self.chance.below(60_000);
        self.dead.entry(worker).or_insert(back);
        for hand in self.hands.extract_if(.., |hand| hand.worker == worker) {
            if let Some(message) = self.queue.get_mut(&hand.subject) {
                (message.held, message.visible_ms) = (false, again);
            }
        }
    }
}
