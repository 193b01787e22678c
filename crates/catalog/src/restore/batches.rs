//! Which SSTables are loaded together, and where.

use std::collections::BTreeMap;

use protocol::{DcBatches, DcNodes, Location, NodeId, RestorePlanned, TableRef, TableSize};

use super::{Batch, RestoreError, Sourced};
use crate::{IdKind, Limits, TableVersion, pack};

/// SSTables that may share a batch: of one table and one place. Ids that are integers mean nothing
/// outside their node's table, so those SSTables stay among themselves.
type Group = (TableRef, Location, String, Option<(NodeId, TableVersion)>);

/// Packs SSTables into batches, gives each to a datacenter, and says how large it all is.
///
/// A datacenter that bears the name of the source's takes what comes from there; the others share
/// the rest by their numbers of nodes. Numbers run on from one datacenter to the next, the largest
/// batches of each first.
///
/// # Errors
/// [`RestoreError::NoDatacenter`] if there is none with a node.
///
/// # Panics
/// Never: there are fewer than 2^32 batches.
pub fn batches(
    sstables: Vec<Sourced>,
    dcs: &[DcNodes],
    limits: Limits,
) -> Result<(Vec<Batch>, RestorePlanned), RestoreError> {
    let mut places: Vec<Place> = dcs.iter().filter_map(Place::new).collect();
    if places.is_empty() {
        return Err(RestoreError::NoDatacenter);
    }
    let mut totals = RestorePlanned::default();
    let mut sizes = BTreeMap::<TableRef, u64>::new();
    let mut groups = BTreeMap::<Group, Vec<(u64, Sourced)>>::new();
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
        );
        groups.entry(group).or_default().push((bytes, one));
    }
    let mut all: Vec<(u64, Group, Vec<Sourced>)> = Vec::new();
    for (group, items) in groups {
        for packed in pack::pack(items, limits) {
            let bytes = packed.iter().map(|(bytes, _)| bytes).sum();
            let items = packed.into_iter().map(|(_, item)| item).collect();
            all.push((bytes, group.clone(), items));
        }
    }
    all.sort_by_key(|(bytes, _, _)| std::cmp::Reverse(*bytes));
    for (bytes, group, items) in all {
        let batch = of(group, items);
        Place::choose(&mut places, &batch.dc).put(bytes, batch);
    }
    let batches = number(places, &mut totals);
    let table_size = |(table, bytes)| TableSize::new(table, bytes);
    totals.tables = sizes.into_iter().map(table_size).collect();
    Ok((batches, totals))
}

/// A batch that still bears its source's datacenter.
fn of((table, location, dc, alone): Group, items: Vec<Sourced>) -> Batch {
    Batch {
        batch: 0,
        dc,
        location,
        table,
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
