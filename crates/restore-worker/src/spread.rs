//! How data lay over the nodes of the backup, and whether it can come back as it lay: each node's to the
//! node that has its tokens, or each rack's to the replicas of that rack.
//!
//! # Promises
//! * What comes back that way goes to fewer nodes than by streaming, so it is looked at twice: when it is
//!   planned, and again when the tables are there and nothing is loaded.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{
    Batch, Document as _, RestorePlan,
    key::OwnKey,
    restore::{Fit, Lists, Member, Origin, Sourced, TabletList, Twin, obstacle, of_replica, twins},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{Location, PlanRestore, RunId, TableRef};
use queue::Context as JobContext;
use scylla::Range;
use store::Store;

use crate::{
    RestoreWorker,
    failure::Failure,
    plan::{REQUESTS, read},
};

impl RestoreWorker {
    /// Which node takes the place of which of the backup.
    pub(crate) async fn twins(
        &self,
        origins: &[Origin],
        sstables: &[Sourced],
    ) -> Result<Vec<Twin>, Failure> {
        let tables: BTreeSet<TableRef> = sstables.iter().map(|one| one.table.clone()).collect();
        let mut members = Vec::new();
        for (address, node) in self.node.host_ids().await? {
            members.push(Member {
                node,
                dc: self.node.datacenter(&address).await?,
                tokens: self.node.tokens(&address).await?,
            });
        }
        Ok(twins(origins, &members, &tables)?)
    }

    /// Makes sure, before anything is loaded, that this node owns all that its twin of the backup did.
    pub(crate) async fn check_owner(&self, store: &Store, origin: RunId) -> Result<(), Failure> {
        let key = OwnKey::RestorePlan(origin).to_string();
        let Some(body) = read(store, &key).await? else {
            return Ok(());
        };
        let plan =
            RestorePlan::from_json(&body).map_err(|cause| Failure::Unreadable { key, cause })?;
        if plan.twins.is_empty() {
            return Ok(());
        }
        let twin = plan.twins.iter().find(|twin| twin.node == self.id);
        let twin = twin.ok_or(Failure::NoTwin)?;
        let own = self.node.address_of(self.id).await?;
        for keyspace in twin.ranges.keys() {
            let ranges = self.node.ranges(keyspace, None).await?;
            let mine = ranges.iter().filter(|range| range.endpoints.contains(&own));
            let mine: Vec<(i64, i64)> = mine.filter_map(Range::tokens).collect();
            if let Some((start, end)) = twin.lacking(keyspace, &mine) {
                return Err(Failure::NotOwner {
                    keyspace: keyspace.clone(),
                    source_node: twin.source,
                    start,
                    end,
                });
            }
        }
        Ok(())
    }

    /// Which tables that had tablets can come back by them, as far as can be told before they are made.
    pub(crate) async fn fit(
        &self,
        job: &PlanRestore,
        origins: &[Origin],
        sstables: &[Sourced],
        ctx: &JobContext,
    ) -> Result<Fit, Failure> {
        if job.drill {
            // ScyllaDB remembers for days what it has restored of a snapshot, by the table's name.
            return Ok(unfit(origins, "a drill may be held again and again"));
        }
        let mut of = BTreeMap::<&TableRef, Vec<&Sourced>>::new();
        for one in sstables {
            of.entry(&one.table).or_default().push(one);
        }
        let there: BTreeSet<TableRef> = self.node.tables().await?.into_iter().collect();
        let mut racks = BTreeMap::<String, BTreeSet<String>>::new();
        let mut fit = Fit::new();
        for (table, sstables) in of {
            let Some(dc) = sstables.first().map(|one| &one.dc) else {
                continue;
            };
            let lists: Vec<(&Location, &String)> = origins
                .iter()
                .flat_map(|origin| {
                    let lists = origin.tablets.get(table).into_iter().flatten();
                    lists.map(|list| (&origin.location, list))
                })
                .collect();
            if !origins
                .iter()
                .any(|origin| origin.tablets.contains_key(table))
            {
                continue;
            }
            if !racks.contains_key(dc) {
                racks.insert(dc.clone(), self.racks(dc).await?);
            }
            let mut why = match there.contains(table) {
                true => self.unspread(table, dc).await?,
                false => None,
            };
            if lists.iter().any(|(location, _)| *location != lists[0].0) {
                why = Some("it lies in more than one location".to_owned());
            }
            if why.is_none() {
                why = match self.read_lists(&lists, ctx).await? {
                    Ok(read) => obstacle(&job.tag, &read, &sstables, dc, &racks[dc]),
                    Err(why) => Some(why),
                };
            }
            let lists = Lists {
                snapshot: job.tag.clone(),
                keys: lists.into_iter().map(|(_, key)| key.clone()).collect(),
            };
            fit.insert(table.clone(), why.map_or(Ok(lists), Err));
        }
        Ok(fit)
    }

    /// Makes sure that what this node's rack had of its tablets is here, where the cluster says that it has
    /// restored a table by them.
    pub(crate) async fn check_taken_over(
        &self,
        batch: &Batch,
        ctx: &JobContext,
    ) -> Result<(), Failure> {
        let Some(lists) = &batch.lists else {
            return Ok(());
        };
        let keys: Vec<_> = lists
            .keys
            .iter()
            .map(|key| (&batch.location, key))
            .collect();
        // They were readable a moment ago.
        let Ok(lists) = self.read_lists(&keys, ctx).await? else {
            return Ok(());
        };
        let TableRef { keyspace, table } = &batch.table;
        let own = self.node.address_of(self.id).await?;
        let rack = self.node.rack(&own).await?;
        let ranges = self.node.ranges(keyspace, Some(table)).await?;
        let mine = ranges.iter().filter(|range| range.endpoints.contains(&own));
        let mine: Vec<(i64, i64)> = mine.filter_map(Range::tokens).collect();
        let bytes: BTreeMap<&str, u64> = batch
            .sstables
            .iter()
            .map(|sstable| (sstable.name.as_str(), sstable.bytes()))
            .collect();
        let name = |toc: &'_ str| {
            toc.rsplit_once('-')
                .map(|(name, _)| bytes.get(name).copied())
        };
        let expected: u64 = of_replica(&lists, &rack, &mine)
            .filter_map(|toc| name(toc).flatten())
            .sum();
        let found = self.node.disk_space(&batch.table).await?;
        // A node may write some small component anew.
        if found < expected / 10 * 9 {
            return Err(Failure::PassedOver {
                table: batch.table.clone(),
                found,
                expected,
            });
        }
        Ok(())
    }

    async fn read_lists(
        &self,
        lists: &[(&Location, &String)],
        ctx: &JobContext,
    ) -> Result<Result<Vec<TabletList>, String>, Failure> {
        let mut reads = Vec::with_capacity(lists.len());
        for (location, key) in lists {
            let store = self.open(location).await?;
            let key = (*key).clone();
            reads.push(async move {
                ctx.alive.moved(0);
                let body = read(&store, &key).await?;
                Ok::<_, Failure>(body.ok_or_else(|| format!("`{key}` is not in the bucket")))
            });
        }
        let bodies: Vec<Result<_, String>> =
            stream::iter(reads).buffered(REQUESTS).try_collect().await?;
        let read = bodies.into_iter().map(|body| TabletList::read(&body?));
        Ok(read.collect())
    }

    /// Why not every rack of the datacenter, and no other, has a replica of each tablet of the table:
    /// then what a rack has stored would have nowhere to go. `None` if it is so.
    pub(crate) async fn unspread(
        &self,
        table: &TableRef,
        dc: &str,
    ) -> Result<Option<String>, Failure> {
        let ranges = match self.node.ranges(&table.keyspace, Some(&table.table)).await {
            Ok(ranges) => ranges,
            Err(cause @ scylla::Error::Refused { .. }) => return Ok(Some(cause.to_string())),
            Err(cause) => return Err(cause.into()),
        };
        let racks = self.racks(dc).await?;
        let mut places = BTreeMap::<String, (String, String)>::new();
        for range in &ranges {
            let mut held = BTreeSet::new();
            for address in &range.endpoints {
                if !places.contains_key(address) {
                    let place = (
                        self.node.datacenter(address).await?,
                        self.node.rack(address).await?,
                    );
                    places.insert(address.clone(), place);
                }
                let (at, rack) = &places[address];
                if at != dc {
                    return Ok(Some(format!("datacenter {at} has replicas of it, too")));
                }
                held.insert(rack.clone());
            }
            if held != racks {
                return Ok(Some(
                    "not every rack of the cluster has a replica of each of its tablets".to_owned(),
                ));
            }
        }
        Ok(None)
    }

    /// The racks of a datacenter.
    async fn racks(&self, dc: &str) -> Result<BTreeSet<String>, Failure> {
        let mut racks = BTreeSet::new();
        for address in self.node.host_ids().await?.into_keys() {
            if self.node.datacenter(&address).await? == dc {
                racks.insert(self.node.rack(&address).await?);
            }
        }
        Ok(racks)
    }
}

/// No table that had tablets can, for one reason.
pub(crate) fn unfit(origins: &[Origin], why: &str) -> Fit {
    let tables = origins.iter().flat_map(|origin| origin.tablets.keys());
    tables
        .map(|table| (table.clone(), Err(why.to_owned())))
        .collect()
}
