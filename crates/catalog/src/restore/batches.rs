//! Which SSTables are loaded together, and where.

use std::collections::BTreeMap;

use protocol::{DcBatches, DcNodes, Location, Method, NodeId, RestorePlanned, TableRef, TableSize};

use super::{Batch, Carrier, Cut, RestoreError, Sourced, Twin, cut};
use crate::{IdKind, TableVersion};

/// Who may take batches.
#[derive(Clone, Copy, Debug)]
pub enum Places<'a> {
    /// Any node of a datacenter.
    Dcs(&'a [DcNodes]),
    /// Of each node of the backup, the one that takes its place.
    Twins(&'a [Twin]),
}

/// SSTables that may share a batch.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    table: TableRef,
    location: Location,
    dc: String,
    /// Ids that are integers mean nothing outside their node's table.
    alone: Option<(NodeId, TableVersion)>,
    /// What lies under another name than its own ScyllaDB itself would not find.
    moved: bool,
    /// The node of the backup whose twin takes them.
    source: Option<NodeId>,
}

impl cut::Sized for Sourced {
    fn size(&self) -> (u64, usize) {
        (self.sstable.bytes(), self.sstable.files.len())
    }

    fn name(&self) -> (&str, &[u8]) {
        (&self.sstable.name, self.node.0.as_bytes())
    }
}

/// Packs SSTables into batches, gives each to a datacenter or a node, and says how large it all is.
///
/// A datacenter that bears the name of the source's takes what comes from there; the others share
/// the rest by their numbers of nodes. Numbers run on from one place to the next, the largest
/// batches of each first. Nodes have `shards` each; `carriers` are those of tables that are not
/// Thetis' own engine's as a matter of course. What goes by tablets is one batch a table. The same
/// SSTables make the same batches, in whatever order they come.
///
/// # Errors
/// [`RestoreError::NoDatacenter`] if there is none with a node.
///
/// # Panics
/// Never: there are fewer than 2^32 batches.
pub fn batches(
    sstables: Vec<Sourced>,
    to: Places<'_>,
    shards: u32,
    carriers: &BTreeMap<TableRef, Carrier>,
) -> Result<(Vec<Batch>, RestorePlanned), RestoreError> {
    let mut places: Vec<Place> = match to {
        Places::Dcs(dcs) => dcs.iter().filter_map(Place::new).collect(),
        Places::Twins(twins) => twins.iter().map(Place::of).collect(),
    };
    if places.is_empty() {
        return Err(RestoreError::NoDatacenter);
    }
    let mut totals = RestorePlanned::default();
    let bound = matches!(to, Places::Twins(_));
    let groups = group(sstables, bound, &mut totals);
    let nodes = places.iter().map(|place| place.nodes).sum();
    let cut = Cut::new(shards, nodes, totals.bytes, totals.sstables);
    let own = Carrier::default();
    let mut all: Vec<(Option<NodeId>, Batch)> = Vec::new();
    for (group, items) in groups {
        let carrier = carriers.get(&group.table).unwrap_or(&own);
        let packed = match carrier.method {
            Method::Tablets => vec![items],
            Method::Agent | Method::Native | Method::Rclone | Method::Auto => cut.pack(items),
        };
        all.extend(
            packed
                .into_iter()
                .map(|items| (group.source, of(&group, carrier, items))),
        );
    }
    all.sort_by_key(|(_, batch)| std::cmp::Reverse(batch.bytes()));
    for (source, batch) in all {
        Place::choose(&mut places, source, &batch.dc).put(batch.bytes(), batch);
    }
    let batches = number(places, &mut totals);
    Ok((batches, totals))
}

/// Puts together what may share a batch, and counts it.
fn group(
    sstables: Vec<Sourced>,
    bound: bool,
    totals: &mut RestorePlanned,
) -> BTreeMap<Group, Vec<Sourced>> {
    let mut sizes = BTreeMap::<TableRef, u64>::new();
    let mut groups = BTreeMap::<Group, Vec<Sourced>>::new();
    for one in sstables {
        let bytes = one.sstable.bytes();
        totals.sstables += 1;
        totals.files += one.sstable.files.len() as u64;
        totals.bytes += bytes;
        *sizes.entry(one.table.clone()).or_default() += bytes;
        let group = Group {
            table: one.table.clone(),
            location: one.location.clone(),
            dc: one.dc.clone(),
            alone: (one.ids == IdKind::Integer).then_some((one.node, one.version)),
            moved: one.sstable.is_moved(),
            source: bound.then_some(one.node),
        };
        groups.entry(group).or_default().push(one);
    }
    let table_size = |(table, bytes)| TableSize::new(table, bytes);
    totals.tables = sizes.into_iter().map(table_size).collect();
    groups
}

/// A batch that still bears its source's datacenter.
fn of(group: &Group, carrier: &Carrier, items: Vec<Sourced>) -> Batch {
    Batch {
        batch: 0,
        dc: group.dc.clone(),
        location: group.location.clone(),
        table: group.table.clone(),
        method: carrier.method,
        lists: carrier.lists.clone(),
        to: None,
        ids: match group.alone {
            Some(_) => IdKind::Integer,
            None => IdKind::Uuid,
        },
        node: group.alone.map(|(node, _)| node),
        sstables: items.into_iter().map(|item| item.sstable).collect(),
    }
}

fn number(places: Vec<Place>, totals: &mut RestorePlanned) -> Vec<Batch> {
    let mut numbered = Vec::new();
    let count = |of: usize| u32::try_from(of).expect("there are fewer than 2^32 batches");
    for place in places {
        totals.dcs.push(DcBatches {
            dc: place.dc.clone(),
            node: place.node,
            first: count(numbered.len()),
            count: count(place.batches.len()),
        });
        for mut batch in place.batches {
            batch.batch = count(numbered.len());
            batch.dc.clone_from(&place.dc);
            batch.to = place.node;
            numbered.push(batch);
        }
    }
    numbered
}

/// A datacenter, or a node, and what it is to take.
struct Place {
    dc: String,
    node: Option<NodeId>,
    /// Of the backup, whose place the node takes.
    source: Option<NodeId>,
    nodes: u32,
    bytes: u64,
    batches: Vec<Batch>,
}

impl Place {
    fn new(dc: &DcNodes) -> Option<Self> {
        (dc.nodes > 0).then(|| Self {
            dc: dc.dc.clone(),
            node: None,
            source: None,
            nodes: dc.nodes,
            bytes: 0,
            batches: Vec::new(),
        })
    }

    fn of(twin: &Twin) -> Self {
        Self {
            dc: twin.dc.clone(),
            node: Some(twin.node),
            source: Some(twin.source),
            nodes: 1,
            bytes: 0,
            batches: Vec::new(),
        }
    }

    /// The place of what comes from a node of the backup that has a twin, or else from a datacenter.
    fn choose<'a>(places: &'a mut [Self], source: Option<NodeId>, dc: &str) -> &'a mut Self {
        let own = places.iter().position(|place| match source {
            Some(_) => place.source == source,
            None => place.dc == dc,
        });
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
