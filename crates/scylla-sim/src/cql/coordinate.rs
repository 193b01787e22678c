//! Reads and writes of one table, over as many replicas as the consistency level asks for.

use std::collections::BTreeMap;

use cassandra_protocol::consistency::Consistency;

use super::fail::Fail;
use crate::cluster::{Sim, Target};
use crate::node::Node;
use crate::replica::Fresh;

/// A node that does the work of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coordinator<'a> {
    pub(crate) sim: &'a Sim,
    pub(crate) node: &'a Node,
    pub(crate) cl: Consistency,
}

impl Coordinator<'_> {
    /// The replicas a request goes to, of those `all`: the coordinator itself before its datacenter
    /// before the others, and no more than needed.
    ///
    /// # Errors
    /// When fewer live than needed.
    fn chosen(&self, all: &[usize]) -> Result<Vec<usize>, Fail> {
        let dc = |node: usize| self.sim.nodes[node].member.dc.as_str();
        let own = self.node.member.dc.as_str();
        if self.cl == Consistency::EachQuorum {
            let mut by_dc = BTreeMap::<&str, Vec<usize>>::new();
            all.iter()
                .for_each(|node| by_dc.entry(dc(*node)).or_default().push(*node));
            let each = by_dc
                .into_values()
                .map(|nodes| self.take(&nodes, nodes.len() / 2 + 1));
            return Ok(each.collect::<Result<Vec<_>, Fail>>()?.concat());
        }
        let local: Vec<usize> = all
            .iter()
            .copied()
            .filter(|node| dc(*node) == own)
            .collect();
        match self.cl {
            Consistency::Any | Consistency::One => self.take(all, 1),
            Consistency::Two => self.take(all, 2),
            Consistency::Three => self.take(all, 3),
            Consistency::Quorum | Consistency::Serial => self.take(all, all.len() / 2 + 1),
            Consistency::All => self.take(all, all.len()),
            Consistency::LocalOne => self.take(&local, 1),
            Consistency::LocalQuorum | Consistency::LocalSerial => {
                self.take(&local, local.len() / 2 + 1)
            }
            Consistency::EachQuorum | _ => Err(Fail::invalid(format!(
                "Invalid consistency level {}",
                self.cl
            ))),
        }
    }

    fn take(&self, nodes: &[usize], needed: usize) -> Result<Vec<usize>, Fail> {
        let member = |node: usize| &self.sim.nodes[node].member;
        let mut live: Vec<usize> = nodes
            .iter()
            .copied()
            .filter(|node| self.live(*node))
            .collect();
        if live.len() < needed {
            return Err(Fail::unavailable(self.cl, needed, live.len()));
        }
        let far = |node: &usize| {
            (
                *node != self.node.index,
                member(*node).dc != self.node.member.dc,
            )
        };
        live.sort_by_key(far);
        live.truncate(needed);
        Ok(live)
    }

    fn live(&self, node: usize) -> bool {
        node == self.node.index || self.sim.nodes[node].live()
    }

    /// Rows with tokens of `range`, the newest version of each and tombstones too: at least `want` if there
    /// are so many, whole partitions, by token. Also how far they go.
    ///
    /// # Errors
    /// When replicas lack, or a file cannot be read.
    pub(crate) fn read(
        &self,
        target: &Target,
        range: (i64, i64),
        want: usize,
    ) -> Result<(Vec<Fresh>, i64), Fail> {
        let placement = &target.placement;
        let local = [self.node.index];
        let ranges: Vec<&[usize]> = if placement.local {
            vec![&local]
        } else {
            placement.replicas.iter().map(Vec::as_slice).collect()
        };
        let single = range.0 == range.1 && !placement.local;
        let only = single.then(|| placement.range(range.0));
        let mut chosen: Vec<Vec<usize>> = vec![Vec::new(); ranges.len()];
        for (at, replicas) in ranges.iter().enumerate() {
            if only.is_none_or(|only| only == at) {
                chosen[at] = self.chosen(replicas)?;
            }
        }
        let mut nodes: Vec<usize> = chosen.concat();
        nodes.sort_unstable();
        nodes.dedup();
        let (mut rows, mut far) = (Vec::new(), range.1);
        for node in nodes {
            let Some(replica) = self.sim.nodes[node].replica(target.id) else {
                continue;
            };
            let (found, until) = replica.scan(range, want)?;
            far = far.min(until);
            let at = |row: &Fresh| {
                if placement.local {
                    0
                } else {
                    placement.range(row.entry.token)
                }
            };
            rows.extend(
                found
                    .into_iter()
                    .filter(|row| chosen[at(row)].contains(&node)),
            );
        }
        Ok((newest(rows, far), far))
    }

    /// What all live replicas hold of one partition.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn held(&self, target: &Target, token: i64) -> Result<Vec<Fresh>, Fail> {
        Ok(self.union(target, (token, token), usize::MAX)?.0)
    }

    /// What all live replicas hold of tokens of `range`: otherwise as [`Self::read`].
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn union(
        &self,
        target: &Target,
        range: (i64, i64),
        want: usize,
    ) -> Result<(Vec<Fresh>, i64), Fail> {
        let (mut rows, mut far) = (Vec::new(), range.1);
        for node in &self.sim.nodes {
            let (true, Some(replica)) = (self.live(node.index), node.replica(target.id)) else {
                continue;
            };
            let (found, until) = replica.scan(range, want)?;
            far = far.min(until);
            let own = |row: &Fresh| self.owners(target, row.entry.token).contains(&node.index);
            rows.extend(found.into_iter().filter(own));
        }
        Ok((newest(rows, far), far))
    }

    /// Writes rows into the memtables of all live replicas.
    ///
    /// # Errors
    /// When fewer live than the consistency level needs; then nothing is written.
    pub(crate) fn write(&self, target: &Target, rows: Vec<Fresh>) -> Result<(), Fail> {
        for row in &rows {
            self.chosen(&self.owners(target, row.entry.token))?;
        }
        self.spread(target, rows)
    }

    /// Writes rows into the memtables of those replicas that live, however few.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn spread(&self, target: &Target, rows: Vec<Fresh>) -> Result<(), Fail> {
        let mut by_node = BTreeMap::<usize, Vec<Fresh>>::new();
        for row in rows {
            let owners = self.owners(target, row.entry.token).into_iter();
            for node in owners.filter(|node| self.live(*node)) {
                by_node.entry(node).or_default().push(row.clone());
            }
        }
        for (node, rows) in by_node {
            if let Some(replica) = self.sim.nodes[node].replica(target.id) {
                replica.write(rows, &target.placement)?;
            }
        }
        Ok(())
    }

    fn owners(&self, target: &Target, token: i64) -> Vec<usize> {
        if target.placement.local {
            return vec![self.node.index];
        }
        target.placement.replicas[target.placement.range(token)].clone()
    }
}

/// The newest version of each row up to the token `far`, by token.
fn newest(mut rows: Vec<Fresh>, far: i64) -> Vec<Fresh> {
    rows.retain(|row| row.entry.token <= far);
    rows.sort_unstable_by_key(|row| row.entry.order());
    rows.dedup_by(|later, kept| later.entry.same_key(&kept.entry));
    rows
}
