//! A cluster and all that befalls it.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{
    key::{Owner, TableDir},
    retention::Policy,
    tag,
};
use protocol::{ClusterId, NodeId, Retention, SnapshotTag, TaskId};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IteratorRandom as _};
use uuid::Uuid;

use crate::{backup::Run, bucket::Bucket, check::Truth, purging::Purger};

/// What the scheduler's clock may be off by, in seconds: from -13 hours to 42 days.
const SKEWS: [i64; 8] = [0, 0, 0, 0, -13 * 3600, -600, 25 * 3600, 42 * 86_400];

const HOUR: u64 = 3600;

pub(crate) struct World {
    pub(crate) rng: StdRng,
    pub(crate) cluster: ClusterId,
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) tasks: BTreeMap<TaskId, Policy>,
    /// Tasks that nobody knows any more.
    pub(crate) forgotten: Vec<TaskId>,
    /// The true time, in seconds since 1970.
    pub(crate) time: u64,
    pub(crate) skew: i64,
    pub(crate) tags: BTreeSet<SnapshotTag>,
    /// Runs that can be gone on with.
    pub(crate) runs: Vec<Run>,
    pub(crate) pinned: BTreeSet<SnapshotTag>,
    pub(crate) truth: Truth,
    pub(crate) purger: Purger,
    /// What has happened, for whoever has to find out why something is wrong.
    pub(crate) log: Vec<String>,
    next: u64,
}

/// A node, with the tables on its disk.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) owner: Owner,
    /// Where its backups go.
    pub(crate) bucket: usize,
    pub(crate) up: bool,
    pub(crate) tables: Vec<Table>,
}

/// A table on one node.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) dir: TableDir,
    /// Whether its SSTables have integers for ids.
    pub(crate) integers: bool,
    /// What the SSTables hold, by name.
    pub(crate) sstables: BTreeMap<String, u64>,
    /// The next integer.
    next: u64,
}

impl World {
    pub(crate) fn new(seed: u64, purger: Purger) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let buckets = match rng.random_bool(0.3) {
            true => vec![Bucket::new("s3:one"), Bucket::new("dc2:s3:two")],
            false => vec![Bucket::new("s3:one")],
        };
        let mut world = Self {
            rng,
            cluster: ClusterId(Uuid::from_u128(0xc1)),
            buckets,
            nodes: Vec::new(),
            tasks: BTreeMap::new(),
            forgotten: Vec::new(),
            time: 1_767_225_600,
            skew: 0,
            tags: BTreeSet::new(),
            runs: Vec::new(),
            pinned: BTreeSet::new(),
            truth: Truth::default(),
            purger,
            log: Vec::new(),
            next: 1,
        };
        for _ in 0..world.rng.random_range(1..=3) {
            world.add_node();
        }
        for _ in 0..world.rng.random_range(1..=2) {
            let task = TaskId(Uuid::from_u128(world.fresh().into()));
            let policy = Policy::Live(world.retention());
            world.tasks.insert(task, policy);
        }
        world
    }

    /// A number that was not used before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.log.push(what.into());
    }

    /// Lets it all happen, and looks at everything after each step.
    pub(crate) fn live(mut self) {
        for _ in 0..self.rng.random_range(10..=30) {
            self.step();
            self.check();
        }
        self.settle();
    }

    fn step(&mut self) {
        self.time += self.rng.random_range(HOUR..=3 * 24 * HOUR);
        match self.rng.random_range(0..100) {
            0..40 => self.back_up(),
            40..60 => self.purge(),
            60..68 => self.compact(),
            68..74 => self.go_on(),
            74..79 => self.delete(),
            79..83 => self.pin(),
            83..87 => self.skew = *SKEWS.iter().choose(&mut self.rng).unwrap(),
            87..91 => self.replace_node(),
            91..94 => self.change_nodes(),
            94..98 => self.change_tasks(),
            _ => self.orphans(),
        }
    }

    fn add_node(&mut self) {
        let id = self.fresh();
        let dc = match self.chance(0.5) {
            true => "dc1",
            false => "dc2",
        };
        let node = NodeId(Uuid::from_u128(id.into()));
        let owner = Owner::new(self.cluster, dc, node).unwrap();
        let bucket = match dc {
            "dc2" => self.buckets.len() - 1,
            _ => 0,
        };
        let table = |name: &str, version: u128, integers| Table {
            dir: TableDir::new(&owner, "shop", name, catalog::TableVersion(version)).unwrap(),
            integers,
            sstables: BTreeMap::new(),
            next: 1,
        };
        let tables = vec![table("users", 7, false), table("orders", 8, true)];
        self.nodes.push(Node {
            bucket,
            up: true,
            tables,
            owner,
        });
        self.fill(self.nodes.len() - 1);
    }

    /// New SSTables appear on a node.
    fn fill(&mut self, node: usize) {
        for table in 0..self.nodes[node].tables.len() {
            for _ in 0..self.rng.random_range(0..=2) {
                let content = self.fresh();
                let table = &mut self.nodes[node].tables[table];
                let name = if table.integers {
                    table.next += 1;
                    format!("me-{}-big", table.next)
                } else {
                    format!("me-3gqe_1lnj_{content:018}-big")
                };
                table.sstables.insert(name, content);
            }
        }
    }

    /// New data, and some SSTables go, as compactions have it. What a backup has stored stays with
    /// it, and with the later ones as long as the node has it.
    pub(crate) fn compact(&mut self) {
        for node in 0..self.nodes.len() {
            for table in &mut self.nodes[node].tables {
                let rng = &mut self.rng;
                table.sstables.retain(|_, _| rng.random_bool(0.7));
            }
            self.fill(node);
        }
    }

    /// A node loses its disk: integers begin anew.
    fn replace_node(&mut self) {
        let node = self.rng.random_range(0..self.nodes.len());
        self.note(format!("node {node} is replaced"));
        for table in &mut self.nodes[node].tables {
            table.next = 1;
            table.sstables.clear();
        }
        self.fill(node);
    }

    fn change_nodes(&mut self) {
        let node = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..4) {
            0 if self.nodes.len() > 1 => {
                self.note(format!("node {node} leaves"));
                self.nodes.remove(node);
            }
            1 if self.nodes.len() < 4 => {
                self.note("a node joins");
                self.add_node();
            }
            _ => {
                self.note(format!("node {node} goes down, or comes up"));
                self.nodes[node].up ^= true;
            }
        }
    }

    fn change_tasks(&mut self) {
        let Some(task) = self.tasks.keys().copied().choose(&mut self.rng) else {
            return;
        };
        let policy = match self.rng.random_range(0..5) {
            0 => Policy::Deleted(self.retention()),
            1 => {
                self.note(format!("task {task} is forgotten"));
                self.tasks.remove(&task);
                self.forgotten.push(task);
                return;
            }
            _ => Policy::Live(self.retention()),
        };
        self.note(format!("task {task} has {policy:?}"));
        self.tasks.insert(task, policy);
    }

    fn retention(&mut self) -> Retention {
        let mut maybe = |probability: f64, most: u32| match self.rng.random_bool(probability) {
            true => self.rng.random_range(1..=most),
            false => 0,
        };
        Retention {
            retention: maybe(0.6, 3),
            retention_days: maybe(0.3, 20),
            keep_daily: maybe(0.15, 3),
            keep_weekly: maybe(0.15, 2),
            keep_monthly: maybe(0.15, 2),
        }
    }

    fn pin(&mut self) {
        if let Some(tag) = self.pinned.iter().next().cloned()
            && self.chance(0.5)
        {
            self.note(format!("{tag} is unpinned"));
            self.pinned.remove(&tag);
        } else if let Some(tag) = self.tags.iter().choose(&mut self.rng).cloned() {
            self.note(format!("{tag} is pinned"));
            self.pinned.insert(tag);
        }
    }

    /// A tag for a backup that begins now, as the scheduler's clock has it.
    pub(crate) fn tag(&mut self) -> SnapshotTag {
        let mut at = self.time.saturating_add_signed(self.skew);
        while self.tags.contains(&tag::at(at)) {
            at += 1;
        }
        let tag = tag::at(at);
        self.tags.insert(tag.clone());
        tag
    }
}
