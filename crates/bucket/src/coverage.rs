//! Which ranges of tokens a backup holds, on how many nodes, and which it lacks.
//!
//! What tells it, in this order:
//!
//! 1. Ranges that Thetis wrote into the manifests.
//! 2. For tables that are spread by tablets: ScyllaDB's own manifests beside the SSTables. They
//!    name only tablets that had SSTables on the node, so a gap may be an empty tablet.
//! 3. For others: the nodes' tokens. They tell which node comes first for a range, not which other
//!    nodes hold it; so a gap is a range whose first node is missing from the backup, and other
//!    nodes may hold all of it.
//!
//! # Memory
//! The ranges of each table and node: 16 bytes each.

mod ring;

use std::collections::{BTreeMap, BTreeSet};

use catalog::{
    Filter, Manifest, TableEntry, TableVersion,
    key::{Owner, TableDir},
    manifest::Replication,
};
use futures::{StreamExt as _, stream};
use protocol::{ClusterId, NodeId, SnapshotTag};
use serde::{Deserialize, Serialize};
use store::Store;

pub use self::ring::{Range, Segment, primary, spread};
use crate::{
    Error,
    error::chain,
    listing::{Backup, Listed},
    reading,
};

/// Manifests, of either kind, read at once.
const READS: usize = 16;

/// What a backup holds of the ring.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The backup.
    pub snapshot_tag: SnapshotTag,
    /// The nodes it holds.
    pub nodes: BTreeSet<NodeId>,
    /// Nodes that the cluster had and the backup does not hold, as far as it knows.
    pub missing_nodes: BTreeSet<NodeId>,
    /// Manifests that cannot be read, and why. Their nodes count as missing.
    pub unreadable: Vec<String>,
    /// What it holds of each keyspace or, by tablets, of each table.
    pub groups: Vec<Group>,
}

/// What a backup holds of a keyspace or a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// The keyspace.
    pub keyspace: String,
    /// The table, where each has ranges of its own.
    pub table: Option<String>,
    /// What tells it.
    pub source: Source,
    /// How much of the ring how many nodes hold, the fewest first; empty if nothing tells it.
    pub copies: Vec<Copies>,
    /// Ranges that no node holds.
    pub gaps: Vec<Range>,
    /// Nodes of the backup whose manifests do not tell their ranges, though others' do.
    pub silent_nodes: BTreeSet<NodeId>,
}

/// What tells which ranges a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Ranges in the backup's manifests.
    Ranges,
    /// ScyllaDB's own manifests. A gap may be a tablet without data.
    ScyllaManifests,
    /// The nodes' tokens. Nothing is known of replicas.
    Tokens,
    /// Nothing.
    Nothing,
}

/// How much of the ring is held by so many nodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Copies {
    /// So many nodes.
    pub copies: u32,
    /// In how many ranges.
    pub ranges: u64,
    /// How much of the ring, in percent.
    pub percent: f64,
}

impl Coverage {
    /// Whether something is known to be missing.
    #[must_use]
    pub fn lacks(&self) -> bool {
        !self.missing_nodes.is_empty() || self.groups.iter().any(|group| !group.gaps.is_empty())
    }
}

/// Finds out what a backup holds of the tables that `filter` takes.
///
/// # Errors
/// Those of the buckets, but not of single manifests.
pub async fn of(stores: &[Store], backup: &Backup, filter: &Filter) -> Result<Coverage, Error> {
    let mut coverage = Coverage {
        cluster_id: backup.id.cluster,
        snapshot_tag: backup.id.tag.clone(),
        nodes: BTreeSet::new(),
        missing_nodes: BTreeSet::new(),
        unreadable: Vec::new(),
        groups: Vec::new(),
    };
    let mut nodes = Vec::new();
    let reads = backup
        .nodes
        .iter()
        .map(|listed| async move { (listed, Told::read(stores, listed, filter).await) });
    let mut reads = stream::iter(reads).buffered(READS);
    while let Some((listed, told)) = reads.next().await {
        let node = listed.key.owner.node;
        match told {
            Ok(told) => {
                coverage.missing_nodes.extend(&told.cluster_nodes);
                nodes.push(told);
            }
            Err(error @ Error::Store(store::Error::NoBucket { .. })) => return Err(error),
            Err(error) => {
                coverage.unreadable.push(chain(&error));
            }
        }
        coverage.missing_nodes.insert(node);
    }
    for told in nodes.iter().filter(|told| told.finished) {
        coverage.nodes.insert(told.owner.node);
        coverage.missing_nodes.remove(&told.owner.node);
    }
    coverage.groups = groups(stores, &nodes).await;
    Ok(coverage)
}

/// What a manifest tells.
struct Told {
    bucket: usize,
    owner: Owner,
    finished: bool,
    tokens: Vec<i64>,
    ranges: BTreeMap<String, Vec<Range>>,
    cluster_nodes: Vec<NodeId>,
    tables: Vec<Table>,
}

/// What a manifest tells of a table.
struct Table {
    keyspace: String,
    table: String,
    version: TableVersion,
    tablets: bool,
    ranges: Vec<Range>,
    scylla_manifests: Vec<String>,
}

impl Told {
    async fn read(stores: &[Store], listed: &Listed, filter: &Filter) -> Result<Self, Error> {
        let filter = filter.clone();
        let each = move |tables: &mut Vec<Table>, entry: TableEntry| {
            if filter.takes(&entry.keyspace, &entry.table) {
                tables.push(Table::from(entry));
            }
            Ok(())
        };
        let store = &stores[listed.bucket];
        let at = (&listed.key, listed.bytes);
        let (head, tables) = reading::visit(store, at, Vec::new(), each).await?;
        let Manifest {
            info,
            ranges,
            nodes: cluster_nodes,
            ..
        } = head;
        Ok(Self {
            bucket: listed.bucket,
            owner: listed.key.owner.clone(),
            finished: !listed.key.temporary,
            tokens: info.tokens,
            ranges,
            cluster_nodes,
            tables,
        })
    }
}

impl From<TableEntry> for Table {
    fn from(entry: TableEntry) -> Self {
        Self {
            tablets: entry.replication == Some(Replication::Tablets),
            keyspace: entry.keyspace,
            table: entry.table,
            version: entry.version,
            ranges: entry.ranges,
            scylla_manifests: entry.scylla_manifests,
        }
    }
}

/// What the nodes hold of each keyspace and table.
async fn groups(stores: &[Store], nodes: &[Told]) -> Vec<Group> {
    let mut keyspaces = BTreeSet::new();
    let mut tables = BTreeSet::new();
    for table in nodes.iter().flat_map(|node| &node.tables) {
        if table.tablets {
            tables.insert((table.keyspace.as_str(), table.table.as_str()));
        } else {
            keyspaces.insert(table.keyspace.as_str());
        }
    }
    let mut groups: Vec<Group> = keyspaces
        .into_iter()
        .map(|keyspace| by_vnodes(nodes, keyspace))
        .collect();
    for (keyspace, table) in tables {
        groups.push(by_tablets(stores, nodes, keyspace, table).await);
    }
    groups.sort_by(|a, b| (&a.keyspace, &a.table).cmp(&(&b.keyspace, &b.table)));
    groups
}

fn by_vnodes(nodes: &[Told], keyspace: &str) -> Group {
    let finished: Vec<&Told> = nodes.iter().filter(|node| node.finished).collect();
    if finished.iter().any(|node| !node.ranges.is_empty()) {
        let ranges = finished.iter().map(|node| {
            let ranges = node.ranges.get(keyspace);
            ranges.map(Vec::as_slice).unwrap_or_default()
        });
        let silent = finished.iter().filter(|node| node.ranges.is_empty());
        let silent = silent.map(|node| node.owner.node).collect();
        return group((keyspace, None), Source::Ranges, ranges).silent(silent);
    }
    // An unfinished node has its place on the ring all the same.
    let tokens: Vec<&[i64]> = nodes.iter().map(|node| node.tokens.as_slice()).collect();
    if tokens.iter().all(|tokens| tokens.is_empty()) {
        return Group::unknown(keyspace, None);
    }
    let shares = primary(&tokens);
    let held = nodes.iter().zip(&shares);
    let held = held.filter(|(node, _)| node.finished);
    let ranges = held.map(|(_, share)| share.as_slice());
    group((keyspace, None), Source::Tokens, ranges)
}

async fn by_tablets(stores: &[Store], nodes: &[Told], keyspace: &str, table: &str) -> Group {
    let fits = |one: &&Table| one.tablets && one.keyspace == keyspace && one.table == table;
    let finished = nodes.iter().filter(|node| node.finished);
    let told: Vec<(&Told, Vec<&Table>)> = finished
        .map(|node| (node, node.tables.iter().filter(fits).collect()))
        .collect();
    let ours = told.iter().map(|(_, tables)| {
        let ranges = tables.iter().flat_map(|table| table.ranges.iter().copied());
        ranges.collect::<Vec<Range>>()
    });
    let ours: Vec<Vec<Range>> = ours.collect();
    let of = (keyspace, Some(table));
    if ours.iter().any(|ranges| !ranges.is_empty()) {
        return group(of, Source::Ranges, ours.iter().map(Vec::as_slice));
    }
    let reads = told
        .iter()
        .map(|(node, tables)| scylla(stores, node, tables));
    let scylla: Vec<Option<Vec<Range>>> = stream::iter(reads).buffered(READS).collect().await;
    if scylla.iter().all(Option::is_none) {
        return Group::unknown(keyspace, Some(table));
    }
    let silent = told.iter().zip(&scylla).filter(|(_, said)| said.is_none());
    let silent = silent.map(|((node, _), _)| node.owner.node).collect();
    let ranges = scylla
        .iter()
        .map(|said| said.as_deref().unwrap_or_default());
    group(of, Source::ScyllaManifests, ranges).silent(silent)
}

fn group<'a>(
    (keyspace, table): (&str, Option<&str>),
    source: Source,
    ranges: impl Iterator<Item = &'a [Range]>,
) -> Group {
    let segments = spread(ranges);
    let mut copies = BTreeMap::<u32, (u64, f64)>::new();
    for segment in &segments {
        let sum = copies.entry(segment.copies).or_default();
        sum.0 += 1;
        sum.1 += segment.percent();
    }
    let gaps = segments.iter().filter(|segment| segment.copies == 0);
    Group {
        source,
        gaps: gaps.map(|segment| segment.range).collect(),
        copies: copies
            .into_iter()
            .map(|(copies, (ranges, percent))| Copies {
                copies,
                ranges,
                percent,
            })
            .collect(),
        ..Group::unknown(keyspace, table)
    }
}

impl Group {
    fn unknown(keyspace: &str, table: Option<&str>) -> Self {
        Self {
            keyspace: keyspace.to_owned(),
            table: table.map(str::to_owned),
            source: Source::Nothing,
            copies: Vec::new(),
            gaps: Vec::new(),
            silent_nodes: BTreeSet::new(),
        }
    }

    fn silent(mut self, nodes: BTreeSet<NodeId>) -> Self {
        self.silent_nodes = nodes;
        self
    }
}

/// The part of ScyllaDB's own manifest that tells ranges.
#[derive(Deserialize)]
struct ScyllaManifest {
    #[serde(default)]
    tablets: Option<Vec<Tablet>>,
}

/// Both tokens are in it.
#[derive(Deserialize)]
struct Tablet {
    first_token: i64,
    last_token: i64,
}

/// What ScyllaDB's own manifests tell of a node's table; `None` if there are none, or one cannot be
/// read: half of what a node holds would look like a gap.
async fn scylla(stores: &[Store], node: &Told, tables: &[&Table]) -> Option<Vec<Range>> {
    let mut ranges = Vec::new();
    let mut any = false;
    for table in tables {
        let dir = TableDir::new(&node.owner, &table.keyspace, &table.table, table.version).ok()?;
        for name in &table.scylla_manifests {
            let key = dir.component(name).ok()?;
            let body = stores[node.bucket].get(&key).await.ok()?;
            let read: ScyllaManifest = serde_json::from_slice(&body).ok()?;
            any = true;
            let tablets = read.tablets.unwrap_or_default().into_iter();
            ranges.extend(
                tablets
                    .filter(|tablet| tablet.first_token <= tablet.last_token)
                    .map(|tablet| (tablet.first_token.saturating_sub(1), tablet.last_token))
                    // The ring's beginning alone is no token of a row.
                    .filter(|(after, to)| after < to),
            );
        }
    }
    any.then_some(ranges)
}
