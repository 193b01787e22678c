//! Repair: all live replicas of a table get the newest version of each row. And what a repair allows afterwards:
//! when compaction may forget a tombstone.

use std::collections::BTreeMap;
use std::io;

use crate::cluster::{Sim, Target};
use crate::replica::{Fresh, Replica};
use crate::schema::options::{Gc, Setting};
use crate::sstable::frame::Entry;

/// Rows written together.
const BATCH: usize = 1000;

/// Brings the replicas of `target` together; they are flushed.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn table(sim: &Sim, target: &Target) -> io::Result<()> {
    let started = now();
    if target.placement.local {
        return Ok(());
    }
    let live: Vec<usize> = sim
        .nodes
        .iter()
        .filter(|node| node.live())
        .map(|node| node.index)
        .collect();
    for (node, rows) in lacking(sim, target, &live) {
        let Some(replica) = sim.nodes[node].replica(target.id) else {
            continue;
        };
        for rows in rows.chunks(BATCH) {
            let fetched = rows
                .iter()
                .filter_map(|(entry, source)| fetch(sim, target, entry, *source).transpose());
            replica.write(fetched.collect::<io::Result<_>>()?, &target.placement)?;
        }
        replica.flush(&target.placement)?;
    }
    if live.len() == sim.nodes.len() {
        let mut repaired = sim.repaired.lock().expect("no panic while held");
        repaired.insert(target.id, started);
    }
    Ok(())
}

/// Newest versions that owners among `live` lack, and who has them.
fn lacking(sim: &Sim, target: &Target, live: &[usize]) -> BTreeMap<usize, Vec<(Entry, usize)>> {
    let mut all: Vec<(Entry, usize)> = Vec::new();
    for node in live {
        if let Some(replica) = sim.nodes[*node].replica(target.id) {
            all.extend(replica.rows().into_iter().map(|row| (row, *node)));
        }
    }
    all.sort_unstable_by_key(|(entry, node)| (entry.order(), *node));
    let mut lacking = BTreeMap::<usize, Vec<(Entry, usize)>>::new();
    for versions in all.chunk_by(|(a, _), (b, _)| a.same_key(b)) {
        let (newest, source) = versions[0];
        let has = |node: &usize| {
            let same = |(entry, at): &(Entry, usize)| at == node && entry.order() == newest.order();
            versions.iter().any(same)
        };
        let owners = &target.placement.replicas[target.placement.range(newest.token)];
        for node in owners
            .iter()
            .filter(|node| live.contains(node) && !has(node))
        {
            lacking.entry(*node).or_default().push((newest, source));
        }
    }
    lacking
}

fn fetch(sim: &Sim, target: &Target, entry: &Entry, source: usize) -> io::Result<Option<Fresh>> {
    let Some(replica) = sim.nodes[source].replica(target.id) else {
        return Ok(None);
    };
    let (rows, _) = replica.scan((entry.token, entry.token), usize::MAX)?;
    Ok(rows.into_iter().find(|row| row.entry.same_key(entry)))
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Which tombstones compaction may forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purge {
    None,
    All,
    /// Those of before that time, seconds.
    Before(i64),
}

impl Purge {
    /// As the table's options say, and what happened to the table.
    pub(crate) fn of(sim: &Sim, replica: &Replica) -> Self {
        let on = replica
            .tombstone_gc
            .load(std::sync::atomic::Ordering::Relaxed);
        let model = sim.model();
        let Some((_, table)) = model
            .table(&replica.keyspace, &replica.table)
            .filter(|_| on)
        else {
            return Self::None;
        };
        let options = &table.definition.options;
        match options.gc() {
            Gc::Disabled => Self::None,
            Gc::Immediate => Self::All,
            Gc::Timeout => Self::Before(now() - options.number("gc_grace_seconds")),
            Gc::Repair => {
                let repaired = sim.repaired.lock().expect("no panic while held");
                let delay = match options.get("tombstone_gc") {
                    Some(Setting::Map(map)) => map
                        .get("propagation_delay_in_seconds")
                        .and_then(|delay| delay.parse::<i64>().ok())
                        .unwrap_or_default(),
                    _ => 0,
                };
                let at = repaired.get(&table.id);
                at.map_or(Self::None, |at| Self::Before(at - delay))
            }
        }
    }

    /// Whether a tombstone with that value may go.
    pub(crate) fn allows(self, value: &[u8]) -> bool {
        let deleted = <[u8; 8]>::try_from(value).map(i64::from_be_bytes);
        match self {
            Self::None => false,
            Self::All => true,
            Self::Before(time) => deleted.is_ok_and(|deleted| deleted < time),
        }
    }
}
