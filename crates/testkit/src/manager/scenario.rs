//! A bucket of a seed's choosing: all that can happen, happens to some.

use std::collections::BTreeSet;

use super::{
    backup::Backup,
    cluster::{Cluster, NodeAt, TableAt},
    manifest::{Era, Schema},
    random::Random,
    sstable::{Ids, Table},
    tag::tag_at,
    truth::Bucket,
};

/// 2026-01-01.
const START: u64 = 1_767_225_600;
const DAY: u64 = 86_400;

/// Makes a bucket: of one to three clusters, each with some nodes, tables, tasks and backups, whose
/// tags may be equal across clusters. The same seed makes the same bucket.
#[must_use]
pub fn random_bucket(seed: u64) -> Bucket {
    let mut random = Random::new(seed);
    let clusters = (0..random.between(1, 3)).map(|_| cluster(&mut random));
    let clusters: Vec<Cluster> = clusters.collect();
    let mut bucket = Bucket::of(clusters);
    if random.chance(50) {
        bucket.clutter(random.number());
    }
    if random.chance(30) {
        bucket.clutter_v1(random.number());
    }
    bucket
}

fn cluster(random: &mut Random) -> Cluster {
    let name = *random.pick(&["prod", "Test Cluster", "übung \"7\"", ""]);
    let mut cluster = Cluster::new(random.number(), name);
    let dcs = ["dc1", "eu-central_1.a", "DC 2"];
    for dc in &dcs[..=random.index(2)] {
        for rack in 0..random.between(1, 3) {
            cluster.node(dc, &format!("rack{rack}"));
        }
    }
    let tables = random.between(1, 3);
    for number in 0..tables {
        cluster.table(table(random, number));
    }
    let tasks: Vec<String> = (0..random.between(1, 3)).map(|_| cluster.task()).collect();
    let mut time = START;
    let mut tags = Vec::new();
    for _ in 0..random.between(1, 7) {
        // Whole days: so tags of different clusters meet.
        time += DAY * random.between(1, 4);
        events(random, &mut cluster);
        let task = random.pick(&tasks);
        let backup = backup(random, &cluster, task, &tag_at(time));
        cluster.backup(&backup);
        tags.push(backup.tag);
        if random.chance(15) {
            let tag = random.pick(&tags).clone();
            match random.chance(60) {
                true => cluster.purge(&[&tag]),
                false => cluster.forget(&[&tag]),
            }
        }
    }
    if random.chance(40) {
        cluster.clutter();
    }
    cluster
}

fn table(random: &mut Random, number: u64) -> Table {
    let keyspace = *random.pick(&["shop", "system_schema", "Mixed_Case"]);
    let name = format!("{}{number}", random.pick(&["users", "by_day_index", "t"]));
    let (ids, format) = *random.pick(&[
        (Ids::Uuid, "me"),
        (Ids::Uuid, "ms"),
        (Ids::Uuid, "mt"),
        (Ids::Integer, "mc"),
        (Ids::Integer, "md"),
        (Ids::Integer, "me"),
        (Ids::Integer, "la"),
        (Ids::Integer, "ka"),
    ]);
    Table {
        ids,
        format,
        tablets: ids == Ids::Uuid && random.chance(60),
        compressed: random.chance(80),
        ..Table::new(keyspace, &name)
    }
}

/// What happens between two backups.
fn events(random: &mut Random, cluster: &mut Cluster) {
    cluster.live();
    let node = NodeAt(random.index(cluster.nodes.len()));
    let alive = cluster.nodes.iter().filter(|node| node.alive).count();
    if random.chance(30) {
        cluster.set_up_anew(node);
        cluster.live();
    }
    if random.chance(10) && alive > 1 {
        cluster.decommission(node);
    }
    if random.chance(10) {
        let table = TableAt(random.index(cluster.tables.len()));
        cluster.recreate(table);
    }
}

fn backup(random: &mut Random, cluster: &Cluster, task: &str, tag: &str) -> Backup {
    let mut some_nodes = |percent: u64| -> BTreeSet<NodeAt> {
        let unlucky = random.chance(percent);
        let nodes = (0..cluster.nodes.len()).map(NodeAt);
        nodes.filter(|_| unlucky && random.chance(50)).collect()
    };
    let (skipped, unfinished) = (some_nodes(15), some_nodes(20));
    let era = *random.pick(&Era::ALL);
    let schemas = match era {
        Era::Current if random.chance(40) => vec![Schema::Cql, Schema::Alternator],
        Era::Current | Era::Middle => vec![Schema::Cql],
        Era::Oldest => vec![Schema::Legacy],
    };
    let tables = (0..cluster.tables.len()).map(TableAt);
    let some: BTreeSet<TableAt> = tables.filter(|_| random.chance(60)).collect();
    Backup {
        era,
        shuffled: random.chance(40),
        schemas: if random.chance(85) { schemas } else { vec![] },
        tables: random.chance(20).then_some(some),
        skipped,
        unfinished,
        shadowed: random.chance(15),
        scylla_manifests: random.chance(70),
        ..Backup::new(task, tag)
    }
}
