//! What a table holds, told in a few numbers: equal before a backup and after its restore.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::Serialize;

use crate::cluster::{Sim, Target};
use crate::sstable::frame::Entry;
use crate::sstable::reader::{self, Check};

/// A table's content. `table` and `rows` do not depend on how many nodes or SSTables hold it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Fingerprint {
    pub(crate) keyspace: String,
    pub(crate) table_name: String,
    /// Of the newest version of each row of the whole cluster, in any order; 16 hex digits.
    pub(crate) table: String,
    pub(crate) rows: u64,
    /// Bytes of the newest values.
    pub(crate) value_bytes: u64,
    /// Every owner of every row has its newest version.
    pub(crate) replicas_consistent: bool,
    /// Owners that lack the newest version of a row.
    pub(crate) missing: u64,
    /// Rows on nodes that do not own them.
    pub(crate) extra: u64,
    pub(crate) nodes: Vec<Part>,
    /// SSTables whose bytes differ from their checksums; only looked for by a deep fingerprint.
    pub(crate) corrupt: Vec<PathBuf>,
}

/// One node's part of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Part {
    pub(crate) address: Ipv4Addr,
    /// Newest rows it holds, owned or not.
    pub(crate) rows: u64,
    pub(crate) owned: u64,
    /// Of all rows it holds.
    pub(crate) hash: String,
    pub(crate) sstables: usize,
    pub(crate) disk_bytes: u64,
}

/// Compares all replicas of `target`; `deep` also reads every file.
pub(crate) fn of(sim: &Sim, target: &Target, deep: bool) -> Fingerprint {
    let mut print = Fingerprint {
        keyspace: target.keyspace.clone(),
        table_name: target.name.clone(),
        ..Fingerprint::default()
    };
    let mut all: Vec<(Entry, usize)> = Vec::new();
    for node in &sim.nodes {
        let Some(replica) = node.replica(target.id) else {
            continue;
        };
        let rows = replica.rows();
        let live: Vec<_> = replica.live().clone();
        let live_rows = rows.iter().filter(|row| !row.traits.dead).count();
        let owned = rows
            .iter()
            .filter(|row| !row.traits.dead)
            .filter(|row| target.placement.owns(node.index, row.token))
            .count();
        print.nodes.push(Part {
            address: node.member.address,
            rows: live_rows as u64,
            owned: owned as u64,
            hash: hex(rows
                .iter()
                .filter(|row| !row.traits.dead)
                .map(Entry::fingerprint)),
            sstables: live.len(),
            disk_bytes: replica.disk_bytes(),
        });
        print.extra += (live_rows - owned) as u64;
        all.extend(rows.into_iter().map(|row| (row, node.index)));
        if deep {
            let broken = |name| reader::open(&replica.dir, name, Check::Full).is_err();
            let corrupt = live.iter().filter(|table| broken(&table.name));
            print
                .corrupt
                .extend(corrupt.map(|table| replica.dir.join(table.name.file("Data.db"))));
        }
    }
    compare(&mut print, all, target);
    print.replicas_consistent = print.missing == 0 && print.extra == 0;
    print
}

/// Walks the rows key by key, the newest version of each first.
fn compare(print: &mut Fingerprint, mut all: Vec<(Entry, usize)>, target: &Target) {
    all.sort_unstable_by_key(|(entry, node)| (entry.order(), *node));
    let mut newest = Vec::new();
    for versions in all.chunk_by(|(a, _), (b, _)| a.same_key(b)) {
        let (first, _) = versions[0];
        if first.traits.dead {
            print.missing += undead(versions, target);
            continue;
        }
        newest.push(first);
        print.value_bytes += u64::from(first.value_len);
        let placement = &target.placement;
        if placement.local {
            continue;
        }
        let same = |entry: &Entry| entry.fingerprint() == first.fingerprint();
        let has = |node: &usize| versions.iter().any(|(entry, at)| at == node && same(entry));
        let owners = &placement.replicas[placement.range(first.token)];
        print.missing += owners.iter().filter(|node| !has(node)).count() as u64;
    }
    print.rows = newest.len() as u64;
    print.table = hex(newest.iter().map(Entry::fingerprint));
}

/// Owners that still show a row whose newest version is a tombstone.
fn undead(versions: &[(Entry, usize)], target: &Target) -> u64 {
    let shows = |(entry, node): &&(Entry, usize)| {
        let newest = versions.iter().find(|(_, at)| at == node);
        !entry.traits.dead
            && newest.is_some_and(|(newest, _)| newest == entry)
            && target.placement.owns(*node, entry.token)
    };
    versions.iter().filter(shows).count() as u64
}

fn hex(fingerprints: impl Iterator<Item = u64>) -> String {
    format!("{:016x}", fingerprints.fold(0u64, u64::wrapping_add))
}
