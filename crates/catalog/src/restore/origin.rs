//! What a backup knows of the nodes it was made of.

use std::collections::BTreeMap;

use protocol::{Location, NodeId, TableRef};

use super::{RestoreError, taken};
use crate::{
    Filter, Manifest,
    key::{Owner, TableDir},
    manifest::Replication,
};

/// A node of a backup, and what of it decides where its data may go as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The node.
    pub node: NodeId,
    /// Its datacenter.
    pub dc: String,
    /// Its rack; empty if not known.
    pub rack: String,
    /// Where its objects lie.
    pub location: Location,
    /// Its tokens.
    pub tokens: Vec<i64>,
    /// What it had of each keyspace, as [`Manifest::ranges`].
    pub ranges: BTreeMap<String, Vec<(i64, i64)>>,
    /// Keys of ScyllaDB's own lists of each table that is spread by tablets.
    pub tablets: BTreeMap<TableRef, Vec<String>>,
}

impl Origin {
    /// Of a manifest's tables that `filter` takes.
    ///
    /// # Errors
    /// [`RestoreError::Segment`] if a name cannot be part of a key.
    pub fn new(
        manifest: &Manifest,
        location: &Location,
        filter: &Filter,
    ) -> Result<Self, RestoreError> {
        let owner = Owner::new(manifest.cluster, &manifest.dc, manifest.node)?;
        let mut tablets = BTreeMap::<TableRef, Vec<String>>::new();
        for entry in manifest.index.iter().filter(|entry| taken(entry, filter)) {
            if entry.replication != Some(Replication::Tablets) {
                continue;
            }
            let dir = TableDir::new(&owner, &entry.keyspace, &entry.table, entry.version)?;
            let table = TableRef {
                keyspace: entry.keyspace.clone(),
                table: entry.table.clone(),
            };
            let lists = tablets.entry(table).or_default();
            for name in &entry.scylla_manifests {
                lists.push(dir.component(name)?);
            }
        }
        let mut tokens = manifest.info.tokens.clone();
        tokens.sort_unstable();
        Ok(Self {
            node: manifest.node,
            dc: manifest.dc.clone(),
            rack: manifest.info.rack.clone(),
            location: location.clone(),
            tokens,
            ranges: manifest.ranges.clone(),
            tablets,
        })
    }
}
