//! What is remembered of a backup.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use catalog::TableEntry;
use protocol::NodeId;
use store::Store;

use crate::{
    Error,
    listing::{BackupId, Listed},
    reading,
};

/// What a backup holds in one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it is known by.
    pub id: BackupId,
    /// The cluster's name then.
    pub cluster_name: Arc<str>,
    /// The versions of ScyllaDB that ran on the nodes, as far as the manifests say.
    pub scylla_versions: BTreeSet<Arc<str>>,
    /// Key of its schema file; empty if the manifests name none.
    pub schema: Arc<str>,
    /// All nodes of the cluster; empty if the manifests do not say.
    pub cluster_nodes: BTreeSet<NodeId>,
    /// The nodes, by datacenter and id.
    pub nodes: Vec<NodeHeld>,
    /// The tables, by keyspace and name.
    pub tables: Vec<TableHeld>,
}

/// What a backup holds of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeHeld {
    /// Its datacenter.
    pub dc: Arc<str>,
    /// It.
    pub node: NodeId,
    /// Length of its manifest as it lies in the bucket, in bytes.
    pub manifest_bytes: u64,
    /// Files of all tables.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a backup holds of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableHeld {
    /// The keyspace.
    pub keyspace: Arc<str>,
    /// The table. Several of one name, one after the other, are one here.
    pub table: Arc<str>,
    /// Files of all nodes.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The nodes that have it, as places in [`Held::nodes`]; empty if all have.
    pub nodes: Vec<u32>,
}

impl TableHeld {
    /// Whether the node at a place in [`Held::nodes`] has it.
    #[must_use]
    pub fn is_on(&self, node: u32) -> bool {
        self.nodes.is_empty() || self.nodes.binary_search(&node).is_ok()
    }
}

impl Held {
    /// Whether it was read from just these manifests. Both are by datacenter and node.
    ///
    /// A manifest never changes, so its length is enough to tell one from another that was put in
    /// its place.
    pub(super) fn is_of(&self, manifests: &[&Listed]) -> bool {
        let same = |(node, listed): (&NodeHeld, &&Listed)| {
            let owner = &listed.key.owner;
            *node.dc == *owner.dc && node.node == owner.node && node.manifest_bytes == listed.bytes
        };
        self.nodes.len() == manifests.len() && self.nodes.iter().zip(manifests).all(same)
    }
}

/// Names that come again and again, each kept once.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashSet<Arc<str>>>);

impl Names {
    fn one(&self, name: &str) -> Arc<str> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.get(name) {
            return Arc::clone(name);
        }
        let name: Arc<str> = name.into();
        known.insert(Arc::clone(&name));
        name
    }
}

/// What one manifest says.
pub(super) struct One {
    cluster_name: Arc<str>,
    scylla_version: Arc<str>,
    schema: Arc<str>,
    cluster_nodes: Vec<NodeId>,
    node: NodeHeld,
    tables: Tables,
}

/// Files and bytes, by keyspace and table.
type Tables = BTreeMap<(Arc<str>, Arc<str>), (u64, u64)>;

/// Reads a manifest.
pub(super) async fn of(store: &Store, listed: &Listed, names: Arc<Names>) -> Result<One, Error> {
    let known = Arc::clone(&names);
    let each = move |tables: &mut Tables, entry: TableEntry| {
        let table = (known.one(&entry.keyspace), known.one(&entry.table));
        let sum = tables.entry(table).or_default();
        sum.0 += entry.files.len() as u64;
        sum.1 = sum.1.saturating_add(entry.bytes);
        Ok(())
    };
    let at = (&listed.key, listed.bytes);
    let (head, tables) = reading::visit(store, at, Tables::new(), each).await?;
    let bytes = tables.values().map(|sum| sum.1);
    Ok(One {
        node: NodeHeld {
            dc: names.one(&head.dc),
            node: head.node,
            manifest_bytes: listed.bytes,
            files: tables.values().map(|sum| sum.0).sum(),
            bytes: bytes.fold(0, u64::saturating_add),
        },
        cluster_name: names.one(&head.info.cluster_name),
        scylla_version: names.one(&head.info.scylla_version),
        schema: names.one(&head.schema),
        cluster_nodes: head.nodes,
        tables,
    })
}

/// What the manifests of a backup say together.
#[derive(Default)]
pub(super) struct Summed(Vec<One>);

impl Summed {
    pub(super) fn add(&mut self, one: One) {
        self.0.push(one);
    }

    pub(super) fn finish(mut self, id: BackupId) -> Held {
        let place = |one: &One| (Arc::clone(&one.node.dc), one.node.node);
        self.0.sort_by_cached_key(place);
        let said = |of: fn(&One) -> &Arc<str>| {
            let said = self.0.iter().map(of).find(|text| !text.is_empty());
            said.cloned().unwrap_or_default()
        };
        let versions = self.0.iter().map(|one| &one.scylla_version);
        let mut held = Held {
            cluster_name: said(|one| &one.cluster_name),
            schema: said(|one| &one.schema),
            scylla_versions: versions.filter(|text| !text.is_empty()).cloned().collect(),
            cluster_nodes: self
                .0
                .iter()
                .flat_map(|one| &one.cluster_nodes)
                .copied()
                .collect(),
            nodes: Vec::with_capacity(self.0.len()),
            tables: Vec::new(),
            id,
        };
        let mut tables = BTreeMap::<_, TableHeld>::new();
        let count = self.0.len();
        for (at, one) in (0..).zip(self.0) {
            held.nodes.push(one.node);
            for ((keyspace, table), (files, bytes)) in one.tables {
                let key = (Arc::clone(&keyspace), Arc::clone(&table));
                let sum = tables.entry(key).or_insert_with(|| TableHeld {
                    keyspace,
                    table,
                    files: 0,
                    bytes: 0,
                    nodes: Vec::new(),
                });
                sum.files += files;
                sum.bytes = sum.bytes.saturating_add(bytes);
                sum.nodes.push(at);
            }
        }
        held.tables = tables.into_values().collect();
        for table in &mut held.tables {
            if table.nodes.len() == count {
                table.nodes = Vec::new();
            }
        }
        held
    }
}
