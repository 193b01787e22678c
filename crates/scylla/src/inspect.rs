//! What the cluster looks like, and what of it a run would work on.

use std::collections::{BTreeMap, BTreeSet};

use catalog::filter::{DcFilter, Filter, skip};
use protocol::{Inspect, Inspected, NodeInfo, TableRef, Unit};

use crate::{
    Error, Node,
    node::{Keyspaces, Range, Replication},
};

/// Why a cluster was not inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A glob is none.
    #[error(transparent)]
    Pattern(#[from] catalog::InvalidPattern),
    /// The node did not answer as it should.
    #[error(transparent)]
    Node(#[from] Error),
}

impl Node {
    /// Looks at the cluster through this node. Changes nothing.
    ///
    /// Only users' keyspaces are looked at. Tables that ScyllaDB fills itself are left out: logs of
    /// changes, Paxos state, and the tables behind indexes, told by the name `<index>_index` beside
    /// a base table; views can't be told from tables without CQL and are taken like them.
    ///
    /// # Errors
    /// [`InspectError`].
    pub async fn inspect(&self, ask: &Inspect) -> Result<Inspected, InspectError> {
        let tables = Filter::new(&ask.keyspace)?;
        let dcs = DcFilter::new(&ask.dc)?;
        let nodes = self.look_at_nodes(&dcs).await?;
        let units = self.choose_units(&tables).await?;
        let uncovered = self.look_for_holes(&nodes, &units).await?;
        Ok(Inspected {
            cluster_name: self.cluster_name().await?,
            nodes,
            units,
            uncovered,
        })
    }

    async fn look_at_nodes(&self, dcs: &DcFilter) -> Result<Vec<NodeInfo>, Error> {
        let live: BTreeSet<String> = self.live().await?.into_iter().collect();
        let moving: BTreeSet<String> = self.moving().await?.into_iter().collect();
        let mut nodes = Vec::new();
        for (address, node) in self.host_ids().await? {
            let dc = self.datacenter(&address).await?;
            let rack = self.rack(&address).await?;
            let up = live.contains(&address) && !moving.contains(&address);
            let chosen = dcs.takes(&dc);
            nodes.push(NodeInfo {
                node,
                address,
                dc,
                rack,
                up,
                chosen,
            });
        }
        Ok(nodes)
    }

    async fn choose_units(&self, filter: &Filter) -> Result<Vec<Unit>, Error> {
        let mut keyspaces = BTreeMap::new();
        for replication in [Replication::Vnodes, Replication::Tablets] {
            let tablets = replication == Replication::Tablets;
            let user = self.keyspaces(Keyspaces::User, replication).await?;
            let spread: BTreeSet<String> = self
                .keyspaces(Keyspaces::NonLocal, replication)
                .await?
                .into_iter()
                .collect();
            keyspaces.extend(
                user.into_iter()
                    .filter(|name| spread.contains(name))
                    .map(|name| (name, tablets)),
            );
        }
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for TableRef { keyspace, table } in self.tables().await? {
            all.entry(keyspace).or_default().push(table);
        }
        let unit = |(keyspace, tablets): (String, bool)| {
            let mut here = all.remove(&keyspace)?;
            let total = here.len();
            here.retain(|table| skip(&keyspace, table).is_none() && filter.takes(&keyspace, table));
            here.sort();
            let all_tables = here.len() == total;
            (!here.is_empty()).then_some(Unit {
                keyspace,
                tables: here,
                all_tables,
                tablets,
            })
        };
        Ok(keyspaces.into_iter().filter_map(unit).collect())
    }

    /// Ranges that no live node of the chosen datacenters holds, a text for each keyspace.
    async fn look_for_holes(
        &self,
        nodes: &[NodeInfo],
        units: &[Unit],
    ) -> Result<Vec<String>, Error> {
        let able: BTreeSet<&str> = nodes
            .iter()
            .filter(|n| n.up && n.chosen)
            .map(|n| &*n.address)
            .collect();
        let mut texts = Vec::new();
        for unit in units {
            let mut ranges: Vec<Range> = Vec::new();
            if unit.tablets {
                for table in &unit.tables {
                    ranges.extend(self.ranges(&unit.keyspace, Some(table)).await?);
                }
            } else {
                ranges = self.ranges(&unit.keyspace, None).await?;
            }
            let held = |range: &Range| {
                range
                    .endpoints
                    .iter()
                    .any(|endpoint| able.contains(&**endpoint))
            };
            let open: Vec<&Range> = ranges.iter().filter(|range| !held(range)).collect();
            if let Some(first) = open.first() {
                texts.push(format!(
                    "{}: {} of {} token ranges have no live replica, the first being ({}, {}]",
                    unit.keyspace,
                    open.len(),
                    ranges.len(),
                    first.start_token,
                    first.end_token
                ));
            }
        }
        Ok(texts)
    }
}
