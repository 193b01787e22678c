//! Who owns which token: the vnode ring, tablets, and where their replicas lie.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::Config;
use crate::error::Error;
use crate::hash::mix;

/// One node's place in the cluster; kept in `cluster.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) address: Ipv4Addr,
    pub(crate) host_id: Uuid,
    pub(crate) dc: String,
    pub(crate) rack: String,
    /// Ring positions, ascending.
    pub(crate) tokens: Vec<i64>,
}

/// Number of replicas by datacenter.
pub(crate) type Replication = BTreeMap<String, usize>;

/// The members of a new cluster, with host ids and tokens fixed by the seed.
pub(crate) fn members(config: &Config, base: Ipv4Addr) -> Vec<Member> {
    let mut members = Vec::new();
    for (dc, nodes) in &config.datacenters {
        for turn in 0..*nodes {
            let number = members.len() as u64;
            let seed = mix(config.seed.wrapping_mul(1_000_003).wrapping_add(number));
            let mut tokens: Vec<i64> = (0..config.vnodes as u64)
                .map(|vnode| mix(seed ^ mix(vnode + 1)).cast_signed())
                .collect();
            tokens.sort_unstable();
            members.push(Member {
                address: address(base, members.len()),
                host_id: uuid::Builder::from_random_bytes(
                    ((u128::from(mix(seed ^ 0xa)) << 64) | u128::from(mix(seed ^ 0xb)))
                        .to_be_bytes(),
                )
                .into_uuid(),
                dc: dc.clone(),
                rack: format!("r{}", turn % config.racks.max(1) + 1),
                tokens,
            });
        }
    }
    members
}

/// The `number`th address after `base`.
pub(crate) fn address(base: Ipv4Addr, number: usize) -> Ipv4Addr {
    let number = u32::try_from(number).expect("far fewer nodes than addresses");
    Ipv4Addr::from_bits(base.to_bits().wrapping_add(number))
}

/// Ranges of tokens and their replicas (indexes of members), first replica first.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// Last token of each range, ascending.
    pub(crate) bounds: Vec<i64>,
    /// Replicas of each range.
    pub(crate) replicas: Vec<Vec<usize>>,
    /// Tablets: ranges end at the ring's end and SSTables do not cross them.
    pub(crate) tablets: bool,
    /// Every node has its own rows, for itself.
    pub(crate) local: bool,
}

impl Placement {
    /// Every node keeps its own.
    pub(crate) fn local() -> Self {
        Self {
            bounds: Vec::new(),
            replicas: Vec::new(),
            tablets: false,
            local: true,
        }
    }

    /// Walks the ring for each of its tokens.
    pub(crate) fn vnodes(members: &[Member], replication: &Replication) -> Self {
        let ring = ring(members);
        let replicas = (0..ring.len())
            .map(|start| walk(members, &ring, start, replication))
            .collect();
        let bounds = ring.into_iter().map(|(token, _)| token).collect();
        Self {
            bounds,
            replicas,
            tablets: false,
            local: false,
        }
    }

    /// The next `factor` nodes of the ring, wherever they are.
    pub(crate) fn simple(members: &[Member], factor: usize) -> Self {
        let ring = ring(members);
        let next = |start: usize| {
            let mut nodes = Vec::new();
            for step in 0..ring.len() {
                let node = ring[(start + step) % ring.len()].1;
                if nodes.len() < factor && !nodes.contains(&node) {
                    nodes.push(node);
                }
            }
            nodes
        };
        Self {
            replicas: (0..ring.len()).map(next).collect(),
            bounds: ring.iter().map(|(token, _)| *token).collect(),
            tablets: false,
            local: false,
        }
    }

    /// Tablets as placed when their table was made.
    pub(crate) fn tablets(replicas: &[Vec<usize>]) -> Self {
        let count = replicas.len();
        let bounds = (0..count).map(|tablet| last_token(count, tablet)).collect();
        Self {
            bounds,
            replicas: replicas.to_vec(),
            tablets: true,
            local: false,
        }
    }

    /// The range (for tablets, the tablet) of `token`.
    pub(crate) fn range(&self, token: i64) -> usize {
        match self.bounds.partition_point(|bound| *bound < token) {
            past if past == self.bounds.len() => 0,
            range => range,
        }
    }

    /// Whether `node` is a replica of `token`.
    pub(crate) fn owns(&self, node: usize, token: i64) -> bool {
        self.local || self.replicas[self.range(token)].contains(&node)
    }

    /// The tablet whose SSTables may hold `token`; 0 without tablets.
    pub(crate) fn tablet(&self, token: i64) -> usize {
        if self.tablets { self.range(token) } else { 0 }
    }
}

/// All tokens of the ring with their member, ascending.
pub(crate) fn ring(members: &[Member]) -> Vec<(i64, usize)> {
    let mut ring: Vec<_> = members
        .iter()
        .enumerate()
        .flat_map(|(node, member)| member.tokens.iter().map(move |token| (*token, node)))
        .collect();
    ring.sort_unstable();
    ring
}

/// Replicas in ring order: in each datacenter a new rack first, until all its racks have one.
fn walk(
    members: &[Member],
    ring: &[(i64, usize)],
    start: usize,
    replication: &Replication,
) -> Vec<usize> {
    let mut chosen = Vec::new();
    for (dc, wanted) in replication {
        let mut racks = BTreeSet::new();
        let all: BTreeSet<_> = members
            .iter()
            .filter(|m| m.dc == *dc)
            .map(|m| &m.rack)
            .collect();
        let nodes = members.iter().filter(|m| m.dc == *dc).count();
        let mut order = Vec::new();
        for step in 0..ring.len() {
            if order.len() == nodes {
                break;
            }
            let node = ring[(start + step) % ring.len()].1;
            if members[node].dc == *dc && !order.contains(&node) {
                order.push(node);
            }
        }
        let (mut taken, mut skipped) = (Vec::new(), Vec::new());
        for node in order {
            if racks.insert(&members[node].rack) || racks.len() == all.len() && skipped.is_empty() {
                taken.push(node);
            } else {
                skipped.push(node);
            }
        }
        taken.extend(skipped);
        taken.truncate(*wanted);
        chosen.extend(taken);
    }
    let distance = |node: &usize| {
        (0..ring.len()).position(|step| ring[(start + step) % ring.len()].1 == *node)
    };
    chosen.sort_by_key(distance);
    chosen
}

/// Spreads `count` tablets evenly: each takes different racks first, and the emptiest nodes of them.
///
/// # Errors
/// [`Error::Settings`] when a datacenter has fewer nodes than wanted replicas, or `count` is no power of two.
pub(crate) fn place_tablets(
    members: &[Member],
    replication: &Replication,
    count: usize,
) -> Result<Vec<Vec<usize>>, Error> {
    if !count.is_power_of_two() {
        return Err(Error::settings(format!(
            "{count} tablets: not a power of two"
        )));
    }
    let mut load = vec![0usize; members.len()];
    let mut placed = Vec::with_capacity(count);
    for tablet in 0..count {
        let mut replicas = Vec::new();
        for (dc, wanted) in replication {
            let racks: BTreeSet<_> = members
                .iter()
                .filter(|m| m.dc == *dc)
                .map(|m| &m.rack)
                .collect();
            let racks: Vec<_> = racks.into_iter().collect();
            for turn in 0..*wanted {
                if racks.is_empty() {
                    return Err(Error::settings(format!("no datacenter `{dc}`")));
                }
                let rack = racks[(tablet + turn) % racks.len()];
                let free = |node: &usize| members[*node].dc == *dc && !replicas.contains(node);
                let node = (0..members.len())
                    .filter(free)
                    .min_by_key(|node| (members[*node].rack != *rack, load[*node], *node))
                    .ok_or_else(|| {
                        Error::settings(format!("`{dc}` has fewer than {wanted} nodes"))
                    })?;
                load[node] += 1;
                replicas.push(node);
            }
        }
        placed.push(replicas);
    }
    Ok(placed)
}

/// Last token of `tablet` among `count`, a power of two.
pub(crate) fn last_token(count: usize, tablet: usize) -> i64 {
    if tablet + 1 == count {
        return i64::MAX;
    }
    let width = 1u64 << (64 - count.trailing_zeros());
    let end = width.wrapping_mul(tablet as u64 + 1).wrapping_sub(1);
    (end ^ (1 << 63)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Vec<Member> {
        let mut config = Config::new("unused");
        config.datacenters = vec![("dc1".into(), 6), ("dc2".into(), 2)];
        members(&config, Ipv4Addr::new(127, 0, 9, 1))
    }

    #[test]
    fn tablets_split_the_ring_evenly() {
        assert_eq!(last_token(4, 0), -4611686018427387905);
        assert_eq!(last_token(4, 1), -1);
        assert_eq!(last_token(4, 3), i64::MAX);
        assert_eq!(last_token(1, 0), i64::MAX);
        let placement = Placement::tablets(&vec![vec![0]; 4]);
        assert_eq!(placement.range(i64::MIN + 1), 0);
        assert_eq!(placement.range(-1), 1);
        assert_eq!(placement.range(0), 2);
    }

    #[test]
    fn replicas_lie_in_different_racks() {
        let members = cluster();
        let replication = Replication::from([("dc1".into(), 3), ("dc2".into(), 1)]);
        let vnodes = Placement::vnodes(&members, &replication);
        let tablets = Placement::tablets(&place_tablets(&members, &replication, 16).unwrap());
        for replicas in vnodes.replicas.iter().chain(&tablets.replicas) {
            assert_eq!(replicas.len(), 4);
            let dc1: BTreeSet<_> = replicas
                .iter()
                .filter(|n| members[**n].dc == "dc1")
                .map(|n| &members[*n].rack)
                .collect();
            assert_eq!(dc1.len(), 3);
        }
    }

    #[test]
    fn tablets_need_enough_nodes() {
        let replication = Replication::from([("dc2".into(), 3)]);
        assert!(place_tablets(&cluster(), &replication, 2).is_err());
        assert!(place_tablets(&cluster(), &Replication::new(), 3).is_err());
    }
}
