//! Which SSTables are loaded together, and where.

use std::collections::BTreeMap;

use protocol::{DcBatches, DcNodes, Location, Method, NodeId, RestorePlanned, TableRef, TableSize};

use super::{Batch, Cut, RestoreError, Sourced, cut};
use crate::{IdKind, TableVersion};

/// SSTables that may share a batch: of one table and one place. Ids that are integers mean nothing
/// outside their node's table, so those SSTables stay among themselves; and so do those that lie
/// under another name than their own, for ScyllaDB itself would not find them.
type Group = (
    TableRef,
    Location,
    String,
    Option<(NodeId, TableVersion)>,
    bool,
);

impl cut::Sized for Sourced {
    fn size(&self) -> (u64, usize) {
        (self.sstable.bytes(), self.sstable.files.len())
    }

    fn name(&self) -> (&str, &[u8]) {
        (&self.sstable.name, self.node.0.as_bytes())
    }
}

/// Packs SSTables into batches, gives each to a datacenter, and says how large it all is.
///
/// A datacenter that bears the name of the source's takes what comes from there; the others share
/// the rest by their numbers of nodes. Numbers run on from one datacenter to the next, the largest
/// batches of each first. Nodes have `shards` each; `methods` are those of tables that are not
/// Thetis' own engine's as a matter of course. The same SSTables make the same batches, in whatever
/// order they come.
///
/// # Errors
/// [`RestoreError::NoDatacenter`] if there is none with a node.
///
/// # Panics
/// Never: there are fewer than 2^32 batches.
pub fn batches(
    sstables: Vec<Sourced>,
    dcs: &[DcNodes],
    shards: u32,
    methods: &BTreeMap<TableRef, Method>,
) -> Result<(Vec<Batch>, RestorePlanned), RestoreError> {
    let mut places: Vec<Place> = dcs.iter().filter_map(Place::new).collect();
    if places.is_empty() {
        return Err(RestoreError::NoDatacenter);
    }
    let mut totals = RestorePlanned::default();
    let groups = group(sstables, &mut totals);
    let nodes = places.iter().map(|place| place.nodes).sum();
    let cut = Cut::new(shards, nodes, totals.bytes, totals.sstables);
    let mut all: Vec<Batch> = Vec::new();
    for (group, items) in groups {
        let method = methods.get(&group.0).copied().unwrap_or_default();
        let packed = cut.pack(items).into_iter();
        all.extend(packed.map(|items| of(&group, method, items)));
    }
    all.sort_by_key(|batch| std::cmp::Reverse(batch.bytes()));
    for batch in all {
        Place::choose(&mut places, &batch.dc).put(batch.bytes(), batch);
    }
    let batches = number(places, &mut totals);
    Ok((batches, totals))
}

/// Puts together what may share a batch, and counts it.
fn group(sstables: Vec<Sourced>, totals: &mut RestorePlanned) -> BTreeMap<Group, Vec<Sourced>> {
    let mut sizes = BTreeMap::<TableRef, u64>::new();
    let mut groups = BTreeMap::<Group, Vec<Sourced>>::new();
    for one in sstables {
        let bytes = one.sstable.bytes();
        totals.sstables += 1;
        totals.files += one.sstable.files.len() as u64;
        totals.bytes += bytes;
        *sizes.entry(one.table.clone()).or_default() += bytes;
        let alone = (one.ids == IdKind::Integer).then_some((one.node, one.version));
        let group = (
            one.table.clone(),
            one.location.clone(),
            one.dc.clone(),
            alone,
            one.sstable.is_moved(),
        );
        groups.entry(group).or_default().push(one);
    }
    let table_size = |(table, bytes)| TableSize::new(table, bytes);
    totals.tables = sizes.into_iter().map(table_size).collect();
    groups
}

/// A batch that still bears its source's datacenter.
fn of((table, location, dc, alone, _): &Group, method: Method, items: Vec<Sourced>) -> Batch {
    Batch {
        batch: 0,
        dc: dc.clone(),
        location: location.clone(),
        table: table.clone(),
        method,
        ids: match alone {
            Some(_) => IdKind::Integer,
            None => IdKind::Uuid,
        },
        node: alone.map(|(node, _)| node),
        sstables: items.into_iter().map(|item| item.sstable).collect(),
    }
}

fn number(places: Vec<Place>, totals: &mut RestorePlanned) -> Vec<Batch> {
    let mut numbered = Vec::new();
    let count = |of: usize| u32::try_from(of).expect("there are fewer than 2^32 batches");
    for place in places {
        totals.dcs.push(DcBatches {
            dc: place.dc.clone(),
            first: count(numbered.len()),
            count: count(place.batches.len()),
        });
        for mut batch in place.batches {
            batch.batch = count(numbered.len());
            batch.dc.clone_from(&place.dc);
            numbered.push(batch);
        }
    }
    numbered
}

/// A datacenter and what it is to take.
struct Place {
    dc: String,
    nodes: u32,
    bytes: u64,
    batches: Vec<Batch>,
}

impl Place {
    fn new(dc: &DcNodes) -> Option<Self> {
        (dc.nodes > 0).then(|| Self {
            dc: dc.dc.clone(),
            nodes: dc.nodes,
            bytes: 0,
            batches: Vec::new(),
        })
    }

    fn choose<'a>(places: &'a mut [Self], source: &str) -> &'a mut Self {
        let own = places.iter().position(|place| place.dc == source);
        let at = own.unwrap_or_else(|| {
            let load = |place: &Self| (place.bytes / u64::from(place.nodes), place.batches.len());
            let least = (0..places.len()).min_by_key(|at| load(&places[*at]));
            least.unwrap_or_default()
        });
        &mut places[at]
    }

    fn put(&mut self, bytes: u64, batch: Batch) {
        self.bytes += bytes;
        self.batches.push(batch);
    }
}
