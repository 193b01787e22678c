//! The workers: each job has its effect, then its event, then its acknowledgement, and a worker
//! may die between any two.

use std::collections::BTreeSet;

use protocol::{
    BatchLoaded, ChunkStored, DcBatches, Event, Fact, Failed, Indexed, Inspected, Job, NodeId,
    NodeInfo, NodePrepared, Purged, RestorePlanned, RestoreProven, RunId, SchemaPrepared,
    SchemaSettled, Sealed, SnapshotTag, SnapshotsCleared, TableRef, TableSize, Unit, Validated,
    WorkerKind,
};
use workflow::survives_stop;

use crate::world::{Hand, Stage, World};

/// A job that failed so often is given up, as the queue does.
const ATTEMPTS: u32 = 8;

/// How long a worker may go on with a purge after its run was told to stop: until its last word
/// from the server is too old, and its last request is over.
const DEAF_MS: u64 = 40_000;

/// Why a job was not done.
enum Trouble {
    Retry(String),
    Refuse(String),
    /// It never ends.
    Hang,
}

fn kind_of(job: &Job) -> WorkerKind {
    match job {
        Job::Inspect(_)
        | Job::Ping(_)
        | Job::SetBalancing(_)
        | Job::TakeSnapshot(_)
        | Job::Index(_)
        | Job::StoreSchema(_)
        | Job::DropSnapshot(_)
        | Job::ClearSnapshots(_) => WorkerKind::Snapshot,
        Job::Upload(_) | Job::Seal(_) | Job::Purge(_) | Job::Validate(_) => WorkerKind::Upload,
        Job::PlanRestore(_)
        | Job::PrepareSchema(_)
        | Job::ProveRestore(_)
        | Job::SettleSchema(_)
        | Job::PrepareNode(_)
        | Job::LoadBatch(_)
        | Job::PutBack(_) => WorkerKind::Restore,
        Job::Request(_) => unreachable!("no run publishes a request"),
    }
}

impl World {
    /// One step of any worker; false if none has anything to do.
    pub(crate) fn work(&mut self) -> bool {
        let busy: Vec<usize> = (0..self.hands.len())
            .filter(|hand| !self.nodes[&self.hands[*hand].worker.0].hung)
            .collect();
        if (busy.is_empty() || self.chance.below(3) == 0) && self.take() {
            return true;
        }
        if busy.is_empty() {
            return false;
        }
        let hand = busy[self.chance.index(busy.len())];
        self.worker_steps += 1;
        if self.kill_at == Some(self.worker_steps) {
            self.kill(self.hands[hand].worker, 20_000);
            return true;
        }
        let hand = self.hands.swap_remove(hand);
        self.tell(|| format!("work    {} {:?}", hand.subject, hand.stage));
        self.go_on_with(hand);
        true
    }

    /// Has a worker take a job.
    fn take(&mut self) -> bool {
        let ready: Vec<String> = self
            .queue
            .iter()
            .filter(|(_, message)| !message.held && message.visible_ms <= self.now_ms)
            .map(|(subject, _)| subject.clone())
            .collect();
        if ready.is_empty() {
            return false;
        }
        let subject = ready[self.chance.index(ready.len())].clone();
        let job = self.queue[&subject].job.clone();
        let kind = kind_of(&job);
        let mut workers: Vec<NodeId> = match (&job, job.node()) {
            (Job::LoadBatch(job), None) => self
                .nodes
                .iter()
                .filter(|(_, node)| node.dc == job.dc)
                .map(|(node, _)| *node)
                .collect(),
            (_, Some(node)) => vec![node],
            (_, None) => unreachable!("only batches are bound to no node"),
        };
        workers.retain(|node| self.alive((*node, kind)));
        if workers.is_empty() {
            return false;
        }
        let worker = (workers[self.chance.index(workers.len())], kind);
        let message = self.queue.get_mut(&subject).expect("just seen");
        message.held = true;
        message.attempts += 1;
        self.tell(|| format!("take    {subject} by {worker:?}"));
        self.hands.push(Hand {
            worker,
            subject,
            job,
            stage: Stage::Taken,
            taken_ms: self.now_ms,
            deaf_ms: self.chance.below(DEAF_MS),
        });
        true
    }

    fn go_on_with(&mut self, mut hand: Hand) {
        match std::mem::replace(&mut hand.stage, Stage::Told) {
            Stage::Taken => self.begin(hand),
            Stage::Done(event) => {
                let lost = self.chance.happens(self.scenario.faults.event_lost);
                if !lost || self.unawaited(&event) {
                    if self.chance.happens(self.scenario.faults.event_twice) {
                        self.publish_event((*event).clone());
                    }
                    self.publish_event(*event);
                }
                self.hands.push(hand);
            }
            Stage::Told => {
                if self.chance.happens(self.scenario.faults.job_again) {
                    let again = self.now_ms + self.chance.below(100_000);
                    if let Some(message) = self.queue.get_mut(&hand.subject) {
                        (message.held, message.visible_ms) = (false, again);
                    }
                } else {
                    self.queue.remove(&hand.subject);
                }
            }
        }
    }

    fn begin(&mut self, mut hand: Hand) {
        let taken = self.queue.get(&hand.subject);
        let fresh = taken.is_none_or(|message| message.attempts == 1);
        // One that is cut off does not hear of it, and leaves its purge off by itself.
        let deaf = matches!(hand.job, Job::Purge(_) | Job::Validate(_))
            && hand.taken_ms < self.control_ms
            && self.now_ms < self.control_ms + hand.deaf_ms;
        let told = self.control && !deaf;
        if told && (!survives_stop(&hand.job) || fresh && hand.job.switches_off()) {
            self.queue.remove(&hand.subject);
            return;
        }
        let faults = &self.scenario.faults;
        let (fails, refused) = (faults.job_fails, faults.job_refused);
        let attempts = self
            .queue
            .get(&hand.subject)
            .map_or(1, |message| message.attempts);
        let done = if self.chance.happens(refused) {
            Err(Trouble::Refuse("a fault of the world".to_owned()))
        } else if self.chance.happens(fails) {
            Err(Trouble::Retry("a passing fault of the world".to_owned()))
        } else {
            self.do_job(&hand.job.clone(), hand.worker.0)
        };
        let fact = match done {
            Ok(fact) => fact,
            Err(Trouble::Hang) => {
                self.hands.push(hand);
                return;
            }
            Err(Trouble::Retry(_)) if attempts < ATTEMPTS => {
                let again = self.now_ms + self.chance.below(10_000);
                if let Some(message) = self.queue.get_mut(&hand.subject) {
                    (message.held, message.visible_ms) = (false, again);
                }
                return;
            }
            Err(Trouble::Retry(reason) | Trouble::Refuse(reason)) => {
                let (job, part) = (hand.job.kind().to_owned(), hand.job.part());
                Fact::Failed(Failed { job, part, reason })
            }
        };
        let (cluster, run) = hand.job.owner();
        let node = Some(hand.worker.0);
        hand.stage = Stage::Done(Box::new(Event {
            cluster,
            run,
            node,
            fact,
        }));
        self.hands.push(hand);
    }

    fn do_job(&mut self, job: &Job, at: NodeId) -> Result<Fact, Trouble> {
        if self.nodes[&at].hung {
            return Err(Trouble::Hang);
        }
        let touches_node = !matches!(
            job,
            Job::Upload(_) | Job::Seal(_) | Job::Purge(_) | Job::Validate(_) | Job::PlanRestore(_)
        );
        if touches_node && self.nodes[&at].down_until.is_some() {
            return Err(Trouble::Retry(format!("node {at} does not answer")));
        }
        let over = self.control;
        let node = self.nodes.get_mut(&at).expect("a node");
        match job {
            Job::Request(_) => unreachable!("no run publishes a request"),
            Job::Inspect(_) => Ok(self.inspect()),
            Job::Ping(_) => unreachable!("no run asks how a node is"),
            Job::SetBalancing(job) => {
                if job.enabled || !over {
                    self.balancing = job.enabled;
                }
                Ok(Fact::BalancingSet {
                    enabled: job.enabled,
                })
            }
            Job::TakeSnapshot(job) => {
                node.snapshots.retain(|tag| !job.stale.contains(tag));
                node.snapshots.insert(job.tag.clone());
                Ok(Fact::SnapshotTaken)
            }
            Job::Index(job) => self.index(job),
            Job::StoreSchema(_) => Ok(Fact::SchemaStored),
            Job::Upload(job) => self.upload(job),
            Job::Seal(job) => self.seal(job),
            Job::DropSnapshot(job) => {
                self.check_drop(job);
                let node = self.nodes.get_mut(&at).expect("a node");
                node.snapshots.remove(&job.tag);
                Ok(Fact::SnapshotDropped)
            }
            Job::ClearSnapshots(job) => {
                let (gone, kept) = std::mem::take(&mut node.snapshots)
                    .into_iter()
                    .partition(|tag| *tag < job.before);
                node.snapshots = kept;
                let gone: BTreeSet<SnapshotTag> = gone;
                let tags = gone.into_iter().collect();
                Ok(Fact::SnapshotsCleared(SnapshotsCleared { tags }))
            }
            Job::Purge(_) => Ok(Fact::Purged(Purged {
                obstacles: self.remove("PURGE"),
                ..Purged::default()
            })),
            Job::Validate(_) => Ok(Fact::Validated(Validated {
                obstacles: self.remove("VALIDATE"),
                sound: true,
                ..Validated::default()
            })),
            Job::PlanRestore(job) => Ok(self.plan_restore(job)),
            Job::PrepareSchema(job) => {
                // A record that is settled stays so, for jobs that come late.
                let settled = self.bucket.shielded.entry(job.origin).or_insert(false);
                match job.request.drill {
                    true => self.scratch |= !*settled,
                    false => self.shielded |= !*settled,
                }
                Ok(Fact::SchemaPrepared(SchemaPrepared {
                    tablets: self.scenario.tablets,
                    ..SchemaPrepared::default()
                }))
            }
            Job::ProveRestore(_) => Ok(Fact::RestoreProven(RestoreProven::default())),
            Job::SettleSchema(job) => {
                let drill = self.scenario.drill;
                if !drill || job.scrap {
                    self.bucket.shielded.insert(job.origin, true);
                }
                self.scratch &= !job.scrap;
                self.shielded = false;
                Ok(Fact::SchemaSettled(SchemaSettled {
                    scrapped: job.scrap,
                    ..SchemaSettled::default()
                }))
            }
            Job::PrepareNode(_) if over => {
                let compacting = Vec::new();
                Ok(Fact::NodePrepared(NodePrepared { compacting }))
            }
            Job::PrepareNode(job) => {
                let compacting = if node.compaction {
                    vec![table()]
                } else {
                    Vec::new()
                };
                if node.compaction {
                    self.bucket.undos.insert((job.origin, at));
                }
                node.compaction = false;
                Ok(Fact::NodePrepared(NodePrepared { compacting }))
            }
            Job::LoadBatch(job) => {
                self.loaded.insert((job.origin, job.batch));
                let (batch, files, bytes) = (job.batch, 8, 8_000);
                let (download_ms, load_ms) = (10, 20);
                Ok(Fact::BatchLoaded(BatchLoaded {
                    batch,
                    files,
                    bytes,
                    download_ms,
                    load_ms,
                    table: Some(table()),
                }))
            }
            Job::PutBack(job) => {
                if self.bucket.undos.remove(&(job.origin, at)) {
                    node.compaction = true;
                }
                Ok(Fact::NodePutBack)
            }
        }
    }

    fn inspect(&self) -> Fact {
        let info = |(id, node): (&NodeId, &crate::world::Node)| NodeInfo {
            node: *id,
            address: "10.0.0.1".to_owned(),
            dc: node.dc.clone(),
            rack: "r1".to_owned(),
            up: node.down_until.is_none() && !node.lost,
            chosen: true,
        };
        let nodes: Vec<NodeInfo> = self.nodes.iter().map(info).collect();
        let down = nodes.iter().filter(|node| !node.up).count();
        let uncovered = if down > 1 {
            vec!["shop: (1, 2]".to_owned()]
        } else {
            Vec::new()
        };
        let unit = Unit {
            keyspace: "shop".to_owned(),
            tables: vec!["orders".to_owned()],
            all_tables: true,
            tablets: self.scenario.tablets,
        };
        let cluster_name = "test".to_owned();
        Fact::Inspected(Inspected {
            cluster_name,
            nodes,
            units: vec![unit],
            uncovered,
            sizes: Vec::new(),
        })
    }

    fn index(&mut self, job: &protocol::Index) -> Result<Fact, Trouble> {
        let plan = (job.origin, job.node);
        let sealed = self
            .bucket
            .manifests
            .contains_key(&(job.tag.clone(), job.node));
        if !sealed && !self.nodes[&job.node].snapshots.contains(&job.tag) {
            return Err(Trouble::Refuse(format!("no snapshot {}", job.tag)));
        }
        let chunks = match self.bucket.plans.get(&plan) {
            Some(chunks) => *chunks,
            None if sealed => 0,
            None => {
                let chunks = u32::try_from(self.chance.below(5)).expect("small");
                self.bucket.plans.insert(plan, chunks);
                chunks
            }
        };
        let (files, bytes) = (u64::from(chunks) * 8, u64::from(chunks) * 8_000);
        let tables = vec![TableSize::new(table(), bytes)];
        let (skipped_files, skipped_bytes) = (0, 0);
        Ok(Fact::Indexed(Indexed {
            chunks,
            files,
            bytes,
            skipped_files,
            skipped_bytes,
            tables,
        }))
    }

    fn upload(&mut self, job: &protocol::Upload) -> Result<Fact, Trouble> {
        let chunk = (job.origin, job.node, job.chunk);
        if !self.bucket.receipts.contains(&chunk) {
            let planned = self.bucket.plans.get(&(job.origin, job.node));
            if planned.is_none_or(|chunks| job.chunk >= *chunks) {
                return Err(Trouble::Refuse("no such chunk".to_owned()));
            }
            if self.nodes[&job.node].snapshots.is_empty() {
                return Err(Trouble::Refuse("a file is gone".to_owned()));
            }
            self.bucket.chunks.insert(chunk);
            self.bucket.receipts.insert(chunk);
            *self.uploads.entry(chunk).or_default() += 1;
        }
        Ok(Fact::ChunkStored(ChunkStored {
            chunk: job.chunk,
            files: 8,
            bytes: 8_000,
            tables: vec![TableSize::new(table(), 8_000)],
            methods: vec![],
        }))
    }

    fn seal(&mut self, job: &protocol::Seal) -> Result<Fact, Trouble> {
        let key = (job.tag.clone(), job.node);
        if !self.bucket.manifests.contains_key(&key) {
            let Some(chunks) = self.bucket.plans.get(&(job.origin, job.node)) else {
                self.wrongs
                    .push(format!("seal of {} without a plan", job.node));
                return Err(Trouble::Refuse("no plan".to_owned()));
            };
            let list: Vec<_> = (0..*chunks)
                .map(|chunk| (job.origin, job.node, chunk))
                .collect();
            if let Some(missing) = list
                .iter()
                .find(|chunk| !self.bucket.receipts.contains(chunk))
            {
                self.wrongs
                    .push(format!("seal asked for without receipt {missing:?}"));
                return Err(Trouble::Refuse("a receipt is missing".to_owned()));
            }
            if !self
                .hosts()
                .iter()
                .all(|node| self.stored(job.origin, &job.tag, *node))
            {
                self.wrongs
                    .push(format!("{} sealed before all is stored", job.node));
            }
            self.bucket.receipts.retain(|chunk| !list.contains(chunk));
            self.bucket.plans.remove(&(job.origin, job.node));
            self.bucket.manifests.insert(key.clone(), list);
        }
        let files = self.bucket.manifests[&key].len() as u64 * 8;
        Ok(Fact::Sealed(Sealed {
            files,
            bytes: files * 1_000,
        }))
    }

    /// The nodes of the run; none once its state was wiped, since it then may begin anew with others
    /// while late jobs of its first attempt are still carried out.
    fn hosts(&self) -> Vec<NodeId> {
        let run = self.run().filter(|_| self.wipes == 0);
        run.map(|run| run.report().hosts.iter().map(|host| host.node).collect())
            .unwrap_or_default()
    }

    /// Whether all that a node has planned to upload is stored.
    fn stored(&self, origin: RunId, tag: &SnapshotTag, node: NodeId) -> bool {
        let has_all = |chunks: &u32| {
            (0..*chunks).all(|chunk| self.bucket.receipts.contains(&(origin, node, chunk)))
        };
        self.bucket.manifests.contains_key(&(tag.clone(), node))
            || self.bucket.plans.get(&(origin, node)).is_some_and(has_all)
    }

    /// A snapshot goes only when no node needs its own any more.
    fn check_drop(&mut self, job: &protocol::DropSnapshot) {
        let hosts = self.hosts();
        let sealed = |node: &NodeId| {
            self.bucket
                .manifests
                .contains_key(&(job.tag.clone(), *node))
        };
        if !sealed(&job.node) || !hosts.iter().all(sealed) {
            self.wrongs
                .push(format!("snapshot of {} dropped while needed", job.node));
        }
    }

    /// Removes objects of the bucket; says what stands in the way.
    fn remove(&mut self, stage: &str) -> Vec<String> {
        self.check_purge(stage);
        let obstacles = match self.chance.happens(self.scenario.faults.purge_blocked) {
            true => vec!["an object is locked".to_owned()],
            false => Vec::new(),
        };
        self.bucket.purged |= obstacles.is_empty();
        obstacles
    }

    /// Nothing goes once another run may begin, and nothing before all of this one is safe.
    fn check_purge(&mut self, expected: &str) {
        // A run that begins anew does not know of the purge that its first attempt has begun.
        let Some(run) = self.run().filter(|_| self.wipes == 0) else {
            return;
        };
        if self.bucket.purged {
            // There is nothing left to do.
        } else if run.status().ended() {
            self.wrongs
                .push("I2: purged after the run's end".to_owned());
        } else if run.report().stage != expected {
            let stage = run.report().stage;
            self.wrongs
                .push(format!("I2: purged while the run is at {stage}"));
        }
    }

    fn plan_restore(&mut self, job: &protocol::PlanRestore) -> Fact {
        if !self.bucket.restore_plans.contains_key(&job.origin) {
            let mut first = 0;
            let mut plan = Vec::new();
            let empty = self.chance.happens(self.scenario.faults.empty_plan);
            let bound = |(id, node): (&NodeId, &super::world::Node)| (node.dc.clone(), Some(*id));
            let places: Vec<(String, Option<NodeId>)> = match job.one_to_one {
                true => self.nodes.iter().map(bound).collect(),
                false => job.dcs.iter().map(|dc| (dc.dc.clone(), None)).collect(),
            };
            for (dc, node) in places {
                let count = if empty {
                    0
                } else {
                    u32::try_from(self.chance.below(5)).expect("small")
                };
                plan.push(DcBatches {
                    dc,
                    node,
                    first,
                    count,
                });
                first += count;
            }
            self.bucket.restore_plans.insert(job.origin, plan);
        }
        let dcs = self.bucket.restore_plans[&job.origin].clone();
        let tables = vec![TableSize::new(table(), 1)];
        Fact::RestorePlanned(RestorePlanned {
            dcs,
            tables,
            sstables: 1,
            files: 8,
            bytes: 8_000,
            methods: vec![],
        })
    }
}

fn table() -> TableRef {
    TableRef {
        keyspace: "shop".to_owned(),
        table: "orders".to_owned(),
    }
}
