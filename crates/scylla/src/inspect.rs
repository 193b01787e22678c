//! What the cluster looks like, and what of it a run would work on.

use std::collections::{BTreeMap, BTreeSet};

use catalog::filter::{DcFilter, Filter, skip};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{Inspect, Inspected, NodeInfo, TableRef, TableSize, Unit};

use crate::{
    Error, Node,
    node::{Keyspaces, Range, Replication, ViewBuild},
};

/// Questions asked at once: a cluster may have thousands of tables.
const AT_ONCE: usize = 16;

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
    /// Only users' keyspaces are looked at, and of those only the ones that the chosen datacenters
    /// hold something of. Tables that ScyllaDB fills itself are left out: logs of changes, Paxos
    /// state, and views with the tables behind indexes. The latter are told from tables by what
    /// the node says of their build: of a view that some node has begun to build it says so, and
    /// of anything else that it knows nothing. A view that nobody has begun to build is taken for
    /// a table.
    ///
    /// # Errors
    /// [`InspectError`].
    pub async fn inspect(&self, ask: &Inspect) -> Result<Inspected, InspectError> {
        let tables = Filter::new(&ask.keyspace)?;
        let dcs = DcFilter::new(&ask.dc)?;
        let nodes = self.look_at_nodes(&dcs).await?;
        let chosen = self.choose_units(&tables).await?;
        let (units, uncovered) = self.look_for_holes(&nodes, chosen).await?;
        let sizes = match ask.sizes {
            true => self.weigh(&units).await?,
            false => Vec::new(),
        };
        Ok(Inspected {
            cluster_name: self.cluster_name().await?,
            nodes,
            units,
            uncovered,
            sizes,
        })
    }

    async fn look_at_nodes(&self, dcs: &DcFilter) -> Result<Vec<NodeInfo>, Error> {
        let live: BTreeSet<String> = self.live().await?.into_iter().collect();
        let moving: BTreeSet<String> = self.moving().await?.into_iter().collect();
        let all = self.host_ids().await?.into_iter();
        let look = all.map(async |(address, node)| {
            let (dc, rack) = (self.datacenter(&address), self.rack(&address));
            let (dc, rack) = futures::try_join!(dc, rack)?;
            Ok(NodeInfo {
                up: live.contains(&address) && !moving.contains(&address),
                chosen: dcs.takes(&dc),
                node,
                address,
                dc,
                rack,
            })
        });
        stream::iter(look).buffered(AT_ONCE).try_collect().await
    }

    /// What the tables take on this node.
    async fn weigh(&self, units: &[Unit]) -> Result<Vec<TableSize>, Error> {
        let tables = units.iter().flat_map(|unit| {
            unit.tables.iter().map(|table| TableRef {
                keyspace: unit.keyspace.clone(),
                table: table.clone(),
            })
        });
        let tables: Vec<TableRef> = tables.collect();
        let weigh = tables.into_iter().map(async |table: TableRef| {
            let bytes = self.disk_space(&table).await?;
            Ok(TableSize::new(table, bytes))
        });
        stream::iter(weigh).buffered(AT_ONCE).try_collect().await
    }

    async fn choose_units(&self, filter: &Filter) -> Result<Vec<Unit>, Error> {
        let mut here: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for TableRef { keyspace, table } in self.tables().await? {
            if skip(&keyspace, &table).is_none() {
                here.entry(keyspace).or_default().push(table);
            }
        }
        let mut units = Vec::new();
        for (keyspace, tablets) in self.users_keyspaces().await? {
            let tables = here.remove(&keyspace).unwrap_or_default();
            // Views of a keyspace of which nothing is wanted need not be known.
            if !tables.iter().any(|table| filter.takes(&keyspace, table)) {
                continue;
            }
            let mut tables = self.without_views(&keyspace, tables).await?;
            let total = tables.len();
            tables.retain(|table| filter.takes(&keyspace, table));
            tables.sort();
            units.push(Unit {
                all_tables: tables.len() == total,
                keyspace,
                tables,
                tablets,
            });
        }
        units.retain(|unit| !unit.tables.is_empty());
        Ok(units)
    }

    /// Names of users' keyspaces, and whether tablets spread them.
    async fn users_keyspaces(&self) -> Result<BTreeMap<String, bool>, Error> {
        let mut keyspaces = BTreeMap::new();
        // A node that does not know of tablets lists all of them twice: they have none.
        for replication in [Replication::Tablets, Replication::Vnodes] {
            let user = self.keyspaces(Keyspaces::User, replication).await?;
            let spread = self.keyspaces(Keyspaces::NonLocal, replication).await?;
            let spread: BTreeSet<String> = spread.into_iter().collect();
            let tablets = replication == Replication::Tablets;
            let both = user.into_iter().filter(|name| spread.contains(name));
            keyspaces.extend(both.map(|name| (name, tablets)));
        }
        Ok(keyspaces)
    }

    async fn without_views(
        &self,
        keyspace: &str,
        tables: Vec<String>,
    ) -> Result<Vec<String>, Error> {
        let look = tables.into_iter().map(async |table| {
            let table = TableRef {
                keyspace: keyspace.to_owned(),
                table,
            };
            let builds = self.view_build(&table).await?;
            let view = builds.values().any(|state| *state != ViewBuild::Unknown);
            Ok((!view).then_some(table.table))
        });
        let all: Vec<Option<String>> = stream::iter(look).buffered(AT_ONCE).try_collect().await?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Leaves out units that the chosen datacenters hold nothing of; of the rest, tells the ranges
    /// that no live node there holds, a text for each keyspace.
    async fn look_for_holes(
        &self,
        nodes: &[NodeInfo],
        units: Vec<Unit>,
    ) -> Result<(Vec<Unit>, Vec<String>), Error> {
        let addresses = |of: &dyn Fn(&NodeInfo) -> bool| {
            let nodes = nodes.iter().filter(|node| of(node));
            nodes.map(|node| &*node.address).collect::<BTreeSet<_>>()
        };
        let chosen = addresses(&|node| node.chosen);
        let able = addresses(&|node| node.chosen && node.up);
        let held = |range: &Range, by: &BTreeSet<&str>| {
            range.endpoints.iter().any(|one| by.contains(&**one))
        };
        let (mut kept, mut texts) = (Vec::new(), Vec::new());
        for unit in units {
            let ranges = self.ranges_of(&unit).await?;
            if !ranges.is_empty() && !ranges.iter().any(|range| held(range, &chosen)) {
                continue;
            }
            let open: Vec<&Range> = ranges.iter().filter(|range| !held(range, &able)).collect();
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
            kept.push(unit);
        }
        Ok((kept, texts))
    }

    /// Token ranges of a unit: of the keyspace, or of each table where tablets spread it.
    async fn ranges_of(&self, unit: &Unit) -> Result<Vec<Range>, Error> {
        if !unit.tablets {
            return self.ranges(&unit.keyspace, None).await;
        }
        let mut look = Vec::with_capacity(unit.tables.len());
        for table in &unit.tables {
            look.push(self.ranges(&unit.keyspace, Some(table)));
        }
        stream::iter(look).buffered(AT_ONCE).try_concat().await
    }
}
