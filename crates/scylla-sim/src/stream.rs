//! Load-and-stream: rows of SSTables from anywhere become new SSTables of their replicas.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::answer::Fail;
use crate::cluster::{Sim, Target};
use crate::cql::view::Followers;
use crate::node::{Health, Node};
use crate::replica::Fresh;
use crate::sstable::frame::broken;
use crate::sstable::name::Name;
use crate::sstable::writer::Writer;
use crate::sstable::{SsTable, merge};
use crate::topology::Placement;

/// SSTables read together.
pub(crate) const BATCH: usize = 16;

/// Which replicas get rows, as seen from the node that was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    #[default]
    All,
    Dc,
    Rack,
    Node,
}

impl Scope {
    /// The empty text is the default; `None` if it is none of them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "all" => Some(Self::All),
            "dc" => Some(Self::Dc),
            "rack" => Some(Self::Rack),
            "node" => Some(Self::Node),
            _ => None,
        }
    }

    fn covers(self, called: &Node, other: &Node) -> bool {
        let (a, b) = (&called.member, &other.member);
        match self {
            Self::All => true,
            Self::Dc => a.dc == b.dc,
            Self::Rack => a.dc == b.dc && a.rack == b.rack,
            Self::Node => called.index == other.index,
        }
    }
}

/// Where rows go.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) called: Arc<Node>,
    pub(crate) target: Target,
    pub(crate) scope: Scope,
    pub(crate) primary_only: bool,
}

/// The receiving nodes of each range of tokens.
fn receivers(sim: &Sim, route: &Route) -> Vec<Vec<usize>> {
    let placement = &route.target.placement;
    let ranges = if placement.local {
        vec![vec![route.called.index]]
    } else {
        placement.replicas.clone()
    };
    let mut all = Vec::with_capacity(ranges.len());
    for replicas in ranges {
        let covered = |node: &usize| route.scope.covers(&route.called, &sim.nodes[*node]);
        let mut nodes: Vec<usize> = replicas.into_iter().filter(covered).collect();
        nodes.truncate(if route.primary_only { 1 } else { usize::MAX });
        all.push(nodes);
    }
    all
}

/// One open SSTable per receiver; the tablet it is of.
struct Sink<'a> {
    sim: &'a Sim,
    target: &'a Target,
    open: HashMap<usize, (usize, Writer)>,
}

impl Sink<'_> {
    /// The writer at `node` for `tablet`; that of an earlier tablet is finished first.
    fn writer(&mut self, node: usize, tablet: usize) -> io::Result<&mut Writer> {
        if self
            .open
            .get(&node)
            .is_some_and(|(open, _)| *open != tablet)
        {
            self.close(node)?;
        }
        match self.open.entry(node) {
            std::collections::hash_map::Entry::Occupied(open) => Ok(&mut open.into_mut().1),
            std::collections::hash_map::Entry::Vacant(free) => {
                let receiver = &self.sim.nodes[node];
                if receiver.health() != Health::Up {
                    let address = receiver.member.address;
                    return Err(io::Error::other(format!("node {address} is down")));
                }
                let replica = receiver
                    .replica(self.target.id)
                    .ok_or_else(|| io::Error::other("the table is gone"))?;
                Ok(&mut free.insert((tablet, replica.writer()?)).1)
            }
        }
    }

    fn close(&mut self, node: usize) -> io::Result<()> {
        if let Some((_, writer)) = self.open.remove(&node) {
            let table = writer.finish()?;
            let replica = self.sim.nodes[node].replica(self.target.id);
            replica
                .ok_or_else(|| io::Error::other("the table is gone"))?
                .attach(table);
        }
        Ok(())
    }
}

/// How many ranges (tablets) of the table have a receiver in scope.
pub(crate) fn ranges_in_scope(sim: &Sim, route: &Route) -> usize {
    receivers(sim, route)
        .iter()
        .filter(|nodes| !nodes.is_empty())
        .count()
}

/// What ScyllaDB says of an SSTable that could not be opened.
pub(crate) fn text(dir: &Path, name: &Name, e: &io::Error) -> String {
    if e.kind() != io::ErrorKind::InvalidData {
        return Fail::io(e).message;
    }
    let file = dir.join(name.file("Data.db"));
    format!(
        "sstables::malformed_sstable_exception (Failed to read partition from SSTable {} due to {e})",
        file.display()
    )
}

/// Streams the rows of one batch of SSTables, each with its directory, to their replicas; the table's views and
/// indexes follow.
///
/// # Errors
/// When a file cannot be read or a receiver is down; some rows may have arrived by then.
pub(crate) fn batch<T: Borrow<SsTable>>(
    sim: &Sim,
    route: &Route,
    tables: &[(PathBuf, T)],
) -> io::Result<()> {
    let receivers = receivers(sim, route);
    let placement = &route.target.placement;
    let mut sink = Sink {
        sim,
        target: &route.target,
        open: HashMap::new(),
    };
    let Target { keyspace, name, .. } = &route.target;
    let mut followers = Followers::named(sim, route.called.index, keyspace, name)
        .map_err(|fail| io::Error::other(fail.to_string()))?;
    let tables = tables
        .iter()
        .map(|(dir, table)| (dir.as_path(), table.borrow()));
    merge::newest(tables, |entry, key, value| {
        let range = if placement.local {
            0
        } else {
            placement.range(entry.token)
        };
        if let Some(followers) = followers.as_mut().filter(|_| !receivers[range].is_empty()) {
            let (key, value) = (key.to_vec(), value.to_vec());
            let row = followers.row(&Fresh { entry, key, value });
            row.map_err(|fail| io::Error::other(fail.to_string()))?;
        }
        for node in &receivers[range] {
            sink.writer(*node, placement.tablet(entry.token))?
                .push(entry, key, value)?;
        }
        Ok(())
    })?;
    let open: Vec<usize> = sink.open.keys().copied().collect();
    open.into_iter().try_for_each(|node| sink.close(node))?;
    let written = followers.map_or(Ok(()), Followers::write);
    written.map_err(|fail| io::Error::other(fail.to_string()))
}

/// Takes the SSTables of one batch into `node` alone, under new generations.
///
/// Rows the node does not own are left out, if `cleanup`.
pub(crate) fn adopt(
    node: &Node,
    target: &Target,
    dir: &Path,
    table: &SsTable,
    cleanup: bool,
) -> io::Result<()> {
    let replica = node
        .replica(target.id)
        .ok_or_else(|| broken("the table is gone"))?;
    let placement: &Placement = &target.placement;
    let mut writer = None;
    merge::newest([(dir, table)], |entry, key, value| {
        if cleanup && !placement.owns(node.index, entry.token) {
            return Ok(());
        }
        if writer.is_none() {
            writer = Some(replica.writer()?);
        }
        writer
            .as_mut()
            .map_or(Ok(()), |writer| writer.push(entry, key, value))
    })?;
    if let Some(writer) = writer {
        replica.attach(writer.finish()?);
    }
    Ok(())
}
