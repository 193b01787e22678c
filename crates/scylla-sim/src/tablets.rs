//! Tablet-aware restore: each replica takes over, file by file, the SSTables of its datacenter and rack.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Deserialize;
use tokio::sync::watch;
use uuid::Uuid;

use crate::answer::Fail;
use crate::bucket::Bucket;
use crate::cluster::{Sim, Target};
use crate::native::{ABORTED, Fate, Room};
use crate::node::{Health, Node};
use crate::replica::Replica;
use crate::sstable::name::Name;
use crate::sstable::reader::{self, Check};
use crate::stream::{self, Scope};
use crate::task::{Operation, Task};
use crate::topology::Placement;

pub(crate) static OPERATION: Operation = Operation {
    module: "sstables_loader",
    kind: "node",
    name: "restore_tablets",
    scope: "node",
    units: "sstables",
    abortable: true,
    user: true,
};

/// A restore as it was asked for, with its manifests read.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) bucket: Bucket,
    pub(crate) keyspace: String,
    pub(crate) table: String,
    pub(crate) snapshot: String,
    pub(crate) parts: Vec<Part>,
    /// Tablets of the table when the snapshot was taken.
    pub(crate) count: usize,
}

/// One node's part of the snapshot.
#[derive(Debug)]
pub(crate) struct Part {
    /// Where its manifest and SSTables are in the bucket, without slash at the end.
    pub(crate) folder: String,
    pub(crate) dc: String,
    pub(crate) rack: String,
    pub(crate) sstables: Vec<Listed>,
}

/// An SSTable in a manifest. Fields that only have to be there begin with an underscore.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Listed {
    id: Uuid,
    toc_name: String,
    first_token: i64,
    last_token: i64,
    #[serde(rename = "tablet_id")]
    _tablet_id: u64,
    #[serde(rename = "repaired_at")]
    _repaired_at: i64,
    #[serde(rename = "data_size")]
    _data_size: u64,
    #[serde(rename = "index_size")]
    _index_size: u64,
}

/// The restore of a table in flight, whoever asked for it.
#[derive(Debug)]
pub(crate) struct Running {
    snapshot: String,
    total: AtomicU64,
    completed: AtomicU64,
    end: watch::Sender<Option<Result<(), String>>>,
}

impl Running {
    fn report(&self, task: &Task) {
        task.total.store(self.total.load(Relaxed), Relaxed);
        task.completed.store(self.completed.load(Relaxed), Relaxed);
    }

    async fn ended(&self) -> Result<(), String> {
        let mut end = self.end.subscribe();
        let end = end.wait_for(Option::is_some).await;
        // The sender is ours, so it cannot be gone.
        end.map_or(Ok(()), |end| end.clone().unwrap_or(Ok(())))
    }
}

/// Makes a restore known while it runs; dropped before its end, it is aborted for all who joined.
struct Lead {
    sim: Arc<Sim>,
    table: Uuid,
    running: Arc<Running>,
    end: Result<(), String>,
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut restores = self.sim.restores.lock().expect("no panic while held");
        restores.remove(&self.table);
        self.running.end.send_replace(Some(self.end.clone()));
    }
}

/// Whether a task does the work or waits for another that does.
enum Begun {
    First(Lead),
    Joined(Arc<Running>),
}

fn begin(sim: &Arc<Sim>, table: Uuid, snapshot: &str) -> Result<Begun, String> {
    let mut restores = sim.restores.lock().expect("no panic while held");
    if let Some(other) = restores.get(&table) {
        if other.snapshot == snapshot {
            return Ok(Begun::Joined(Arc::clone(other)));
        }
        let other = &other.snapshot;
        let what =
            format!("Table {table} is already being restored from a different snapshot {other}");
        return Err(Fail::runtime(what).message);
    }
    let running = Arc::new(Running {
        snapshot: snapshot.to_owned(),
        total: AtomicU64::new(0),
        completed: AtomicU64::new(0),
        end: watch::Sender::new(None),
    });
    restores.insert(table, Arc::clone(&running));
    Ok(Begun::First(Lead {
        sim: Arc::clone(sim),
        table,
        running,
        end: Err(ABORTED.to_owned()),
    }))
}

/// Restores the table, or joins the restore from the same snapshot that is in flight.
///
/// # Errors
/// The first one of any replica; SSTables attached by then stay.
pub(crate) async fn restore(
    sim: Arc<Sim>,
    node: Arc<Node>,
    task: Arc<Task>,
    fate: Fate,
    order: Order,
) -> Result<(), String> {
    let target = find(&sim, &order)?;
    let tick = sim.config.restore_tick;
    match begin(&sim, target.id, &order.snapshot)? {
        Begun::Joined(running) => follow(&task, &running, tick, running.ended()).await,
        Begun::First(mut lead) => {
            let running = Arc::clone(&lead.running);
            let work = attach_all(&sim, &node, &task, &fate, &order, &running);
            let end = follow(&task, &running, tick, work).await;
            lead.end.clone_from(&end);
            end
        }
    }
}

/// Shows progress in steps until `work` ends.
async fn follow(
    task: &Task,
    running: &Running,
    tick: std::time::Duration,
    work: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            end = &mut work => {
                running.report(task);
                return end;
            }
            () = tokio::time::sleep(tick) => running.report(task),
        }
    }
}

fn find(sim: &Sim, order: &Order) -> Result<Target, String> {
    sim.target(&order.keyspace, &order.table)
        .map_err(|fail| format!("data_dictionary::no_such_column_family ({})", fail.message))
}

async fn attach_all(
    sim: &Arc<Sim>,
    node: &Arc<Node>,
    task: &Task,
    fate: &Fate,
    order: &Order,
    running: &Running,
) -> Result<(), String> {
    let _hint = Hint::set(sim, order)?;
    let target = fit(sim, node, order).await?;
    let picks = picks(sim, node, &target, order)?;
    running.total.store(picks.len() as u64, Relaxed);
    let room = Room::new(node, task).map_err(|e| Fail::from(e).message)?;
    for (step, pick) in picks.into_iter().enumerate() {
        fate.step(step).await?;
        let gone = || Fail::runtime("the table is gone").message;
        let replica = sim.nodes[pick.node].replica(target.id).ok_or_else(gone)?;
        if !replica
            .live()
            .iter()
            .any(|table| table.id == pick.listed.id)
        {
            let toc = &pick.listed.toc_name;
            let (dir, name) = room.download(&order.bucket, pick.folder, toc).await?;
            let work = tokio::task::spawn_blocking(move || attach(&replica, &dir, &name));
            work.await.map_err(|e| e.to_string())??;
        }
        running.completed.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Checks a downloaded SSTable and makes it live under a new generation, with its own identifier.
fn attach(replica: &Replica, dir: &Path, name: &Name) -> Result<(), String> {
    let mut table =
        reader::open(dir, name, Check::Full).map_err(|e| stream::text(dir, name, &e))?;
    let (generation, _) = replica.generations.next();
    table.name.generation = generation;
    let moved = |component: &String| {
        let to = replica.dir.join(table.name.file(component));
        fs::rename(dir.join(name.file(component)), to)
    };
    // The TOC, which makes it exist, comes last.
    let (tocs, others): (Vec<_>, Vec<_>) = table.components.iter().partition(|c| *c == "TOC.txt");
    others
        .into_iter()
        .chain(tocs)
        .try_for_each(moved)
        .map_err(|e| Fail::from(e).message)?;
    replica.attach(table);
    Ok(())
}

/// An SSTable and the replica that takes it.
struct Pick<'a> {
    node: usize,
    folder: &'a str,
    listed: &'a Listed,
}

/// What each replica takes: SSTables of its datacenter and rack that lie inside one of its tablets.
fn picks<'a>(
    sim: &Sim,
    called: &Node,
    target: &Target,
    order: &'a Order,
) -> Result<Vec<Pick<'a>>, String> {
    let mut picks = Vec::new();
    let placement = &target.placement;
    for (tablet, replicas) in placement.replicas.iter().enumerate() {
        let last = placement.bounds[tablet];
        let before = tablet.checked_sub(1).map(|before| placement.bounds[before]);
        let first = before.map_or(i64::MIN, |before| before + 1);
        for node in replicas {
            let member = &ready(sim, called, *node)?.member;
            let ours = |part: &&Part| part.dc == member.dc && part.rack == member.rack;
            for part in order.parts.iter().filter(ours) {
                for listed in &part.sstables {
                    if listed.last_token < first || listed.first_token > last {
                        continue;
                    }
                    if listed.first_token < first || listed.last_token > last {
                        return Err("std::logic_error (sstables_partially_contained)".into());
                    }
                    picks.push(Pick {
                        node: *node,
                        folder: &part.folder,
                        listed,
                    });
                }
            }
        }
    }
    Ok(picks)
}

/// A replica that can take part.
fn ready<'a>(sim: &'a Sim, called: &Node, node: usize) -> Result<&'a Node, String> {
    let node = &sim.nodes[node];
    let Node { member, .. } = node.as_ref();
    if node.health() != Health::Up {
        let what = format!("node {} is down", member.address);
        return Err(Fail::runtime(what).message);
    }
    if member.dc != called.member.dc {
        let what = format!("no snapshot location for datacenter {}", member.dc);
        return Err(Fail::runtime(what).message);
    }
    Ok(node)
}

/// The table's tablet hint while it is that of the manifests; dropped, the old one, if any, comes back.
struct Hint {
    sim: Arc<Sim>,
    keyspace: String,
    table: String,
    before: Option<usize>,
}

impl Hint {
    fn set(sim: &Arc<Sim>, order: &Order) -> Result<Self, String> {
        if !order.count.is_power_of_two() {
            let what = format!("tablet count {} is not a power of two", order.count);
            return Err(Fail::thrown("std::invalid_argument", what).message);
        }
        let swap = |table: &mut crate::schema::Table| table.hint.replace(order.count);
        let before = sim
            .alter(&order.keyspace, &order.table, swap)
            .map_err(|e| Fail::runtime(e).message)?;
        Ok(Self {
            sim: Arc::clone(sim),
            keyspace: order.keyspace.clone(),
            table: order.table.clone(),
            before,
        })
    }
}

impl Drop for Hint {
    fn drop(&mut self) {
        let Some(before) = self.before else {
            return;
        };
        let back = |table: &mut crate::schema::Table| table.hint = Some(before);
        if let Err(e) = self.sim.alter(&self.keyspace, &self.table, back) {
            tracing::warn!(error = %e, "cannot restore a table's tablet hint");
        }
    }
}

/// Waits until the table has as many tablets as the manifests say; the balancer sees to it, if it is on.
async fn fit(sim: &Arc<Sim>, node: &Arc<Node>, order: &Order) -> Result<Target, String> {
    loop {
        let target = find(sim, order)?;
        if target.tablets == order.count {
            return Ok(target);
        }
        let balancing = sim.model().balancing;
        if balancing {
            let (sim, node, count) = (Arc::clone(sim), Arc::clone(node), order.count);
            let work = tokio::task::spawn_blocking(move || resplit(&sim, node, target, count));
            work.await
                .map_err(|e| e.to_string())?
                .map_err(|e| Fail::from(e).message)?;
        } else {
            tokio::time::sleep(sim.config.restore_tick).await;
        }
    }
}

/// Splits or merges all tablets, rewriting the SSTables they have.
fn resplit(sim: &Sim, called: Arc<Node>, old: Target, count: usize) -> io::Result<()> {
    let of = |tablet: usize| old.placement.replicas[tablet * old.tablets / count].clone();
    let replicas: Vec<Vec<usize>> = (0..count).map(of).collect();
    let (mut tables, mut retired) = (Vec::<(PathBuf, _)>::new(), Vec::new());
    for replica in sim.nodes.iter().filter_map(|node| node.replica(old.id)) {
        replica.flush(&old.placement)?;
        let live = replica.live().clone();
        tables.extend(live.iter().map(|t| (replica.dir.clone(), Arc::clone(t))));
        retired.push((replica, live));
    }
    let (keyspace, name) = (old.keyspace.clone(), old.name.clone());
    let route = stream::Route {
        called,
        target: Target {
            tablets: count,
            placement: Arc::new(Placement::tablets(&replicas)),
            ..old
        },
        scope: Scope::All,
        primary_only: false,
    };
    stream::batch(sim, &route, &tables)?;
    sim.alter(&keyspace, &name, |table| table.tablets = replicas)
        .map_err(io::Error::other)?;
    retired
        .into_iter()
        .try_for_each(|(replica, live)| replica.retire(&live))
}
