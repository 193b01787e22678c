//! Backups as ScyllaDB Manager lists them: by cluster and task.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use catalog::Filter;
use protocol::{ClusterId, SnapshotTag, TaskId};
use serde::Serialize;

use super::{Contents, Held, Summary};

/// Which backups, and what of them.
#[derive(Clone, Debug)]
pub struct Query {
    /// The cluster; `None` for all that were read.
    pub cluster: Option<ClusterId>,
    /// The tables that count. A backup that holds none of them is left out.
    pub filter: Filter,
    /// The oldest.
    pub min: Option<SnapshotTag>,
    /// The newest.
    pub max: Option<SnapshotTag>,
}

/// The backups of one task of one cluster. Names are those of Manager's API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its name, as the newest backup has it.
    pub cluster_name: String,
    /// The task.
    pub task_id: TaskId,
    /// What the backups hold.
    pub units: Vec<Unit>,
    /// The backups, newest first.
    pub snapshot_info: Vec<Snapshot>,
}

/// A keyspace that backups hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Its name.
    pub keyspace: String,
    /// Its tables.
    pub tables: Vec<String>,
    /// Whether these are all it has. A bucket alone does not tell, so it is `false`.
    pub all_tables: bool,
}

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its tag.
    pub snapshot_tag: SnapshotTag,
    /// How many nodes of it hold what counts.
    pub nodes: u64,
    /// Bytes of what counts.
    pub size: u64,
    /// Where it lies.
    pub locations: Vec<String>,
    /// The datacenters whose nodes it holds.
    pub dcs: Vec<String>,
    /// Whether all nodes it knows of are finished and can be read.
    pub complete: bool,
}

impl Contents {
    /// The backups asked for, by cluster and task. Those of which no node is finished are no
    /// backups.
    #[must_use]
    pub fn items(&self, query: &Query) -> Vec<Item> {
        let mut groups = BTreeMap::<_, Group>::new();
        for summary in &self.backups {
            let id = &summary.id;
            let asked = query.cluster.is_none_or(|cluster| cluster == id.cluster)
                && query.min.as_ref().is_none_or(|min| id.tag >= *min)
                && query.max.as_ref().is_none_or(|max| id.tag <= *max);
            if let Some(counted) = asked.then(|| Counted::of(summary, &query.filter)).flatten() {
                let group = groups.entry((id.cluster, id.task)).or_default();
                group.add(summary, counted);
            }
        }
        let items = groups.into_iter();
        items
            .map(|((cluster, task), group)| group.item(cluster, task))
            .collect()
    }
}

/// What counts of a backup.
struct Counted {
    nodes: u64,
    bytes: u64,
    tables: BTreeSet<(Arc<str>, Arc<str>)>,
    locations: Vec<String>,
    dcs: BTreeSet<Arc<str>>,
}

impl Counted {
    /// `None` if nothing counts.
    fn of(summary: &Summary, filter: &Filter) -> Option<Self> {
        let mut counted = Self {
            nodes: 0,
            bytes: 0,
            tables: BTreeSet::new(),
            locations: Vec::new(),
            dcs: BTreeSet::new(),
        };
        for part in &summary.parts {
            let nodes = counted.add(&part.held, filter);
            if nodes > 0 {
                counted.locations.push(part.location.remote());
            }
            counted.nodes += nodes;
        }
        counted.locations.sort();
        (counted.nodes > 0).then_some(counted)
    }

    /// Says how many nodes count. One without tables is a node of the backup all the same.
    fn add(&mut self, held: &Held, filter: &Filter) -> u64 {
        let fits = |table: &&super::TableHeld| filter.takes(&table.keyspace, &table.table);
        let taken: Vec<_> = held.tables.iter().filter(fits).collect();
        let everywhere = taken.iter().any(|table| table.nodes.is_empty());
        let mut nodes = 0;
        for (at, node) in (0..).zip(&held.nodes) {
            let counts = everywhere
                || taken.iter().any(|table| table.is_on(at))
                || !held.tables.iter().any(|table| table.is_on(at));
            if counts {
                nodes += 1;
                self.dcs.insert(Arc::clone(&node.dc));
            }
        }
        for table in taken {
            self.bytes = self.bytes.saturating_add(table.bytes);
            let name = (Arc::clone(&table.keyspace), Arc::clone(&table.table));
            self.tables.insert(name);
        }
        nodes
    }
}

/// The backups of one task of one cluster.
#[derive(Default)]
struct Group {
    tables: BTreeSet<(Arc<str>, Arc<str>)>,
    /// By tag.
    snapshots: BTreeMap<SnapshotTag, Snapshot>,
    named: Option<(SnapshotTag, String)>,
}

impl Group {
    fn add(&mut self, summary: &Summary, counted: Counted) {
        let tag = &summary.id.tag;
        let snapshot = Snapshot {
            snapshot_tag: tag.clone(),
            nodes: counted.nodes,
            size: counted.bytes,
            locations: counted.locations,
            dcs: counted
                .dcs
                .iter()
                .map(|dc| dc.as_ref().to_owned())
                .collect(),
            complete: summary.complete(),
        };
        self.snapshots.insert(tag.clone(), snapshot);
        self.tables.extend(counted.tables);
        if self.named.as_ref().is_none_or(|(newest, _)| newest < tag) {
            self.named = Some((tag.clone(), summary.cluster_name().to_owned()));
        }
    }

    fn item(self, cluster: ClusterId, task: TaskId) -> Item {
        let mut units: Vec<Unit> = Vec::new();
        for (keyspace, table) in self.tables {
            match units.last_mut() {
                Some(unit) if unit.keyspace == *keyspace => unit.tables.push((*table).to_owned()),
                Some(_) | None => units.push(Unit {
                    keyspace: (*keyspace).to_owned(),
                    tables: vec![(*table).to_owned()],
                    all_tables: false,
                }),
            }
        }
        Item {
            cluster_id: cluster,
            cluster_name: self.named.map(|(_, name)| name).unwrap_or_default(),
            task_id: task,
            units,
            snapshot_info: self.snapshots.into_values().rev().collect(),
        }
    }
}
