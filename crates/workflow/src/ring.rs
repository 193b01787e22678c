//! The nodes of a cluster, as an inspection found them.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{NodeId, NodeInfo};
use serde::{Deserialize, Serialize};

/// What a run needs to know of a node it may or may not work on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) address: String,
    pub(crate) dc: String,
    pub(crate) up: bool,
}

/// Every node of the ring; empty before the inspection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Ring {
    members: BTreeMap<NodeId, Member>,
}

impl Ring {
    pub(crate) fn of(nodes: &[NodeInfo]) -> Self {
        let member = |info: &NodeInfo| {
            let (address, dc) = (info.address.clone(), info.dc.clone());
            (
                info.node,
                Member {
                    address,
                    dc,
                    up: info.up,
                },
            )
        };
        Self {
            members: nodes.iter().map(member).collect(),
        }
    }

    /// A node that is in `nodes` twice, if there is one: then nothing in it can be trusted.
    pub(crate) fn twice(nodes: &[NodeInfo]) -> Option<NodeId> {
        let mut seen = BTreeSet::new();
        nodes
            .iter()
            .map(|info| info.node)
            .find(|node| !seen.insert(*node))
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members.iter().map(|(node, member)| (*node, member))
    }

    /// The nodes of one datacenter.
    pub(crate) fn in_dc<'a>(&'a self, dc: &'a str) -> impl Iterator<Item = NodeId> + 'a {
        self.iter()
            .filter(move |(_, member)| member.dc == dc)
            .map(|(node, _)| node)
    }

    /// How many nodes each datacenter has, in order of name.
    pub(crate) fn dcs(&self) -> BTreeMap<&str, u32> {
        let mut dcs = BTreeMap::new();
        for member in self.members.values() {
            *dcs.entry(member.dc.as_str()).or_default() += 1;
        }
        dcs
    }

    /// `preferred` if it is up, else the first that is; `preferred` again if none is known to be.
    pub(crate) fn up_or(&self, preferred: NodeId) -> NodeId {
        let up = |node: &NodeId| self.get(*node).is_some_and(|member| member.up);
        let first = || self.iter().map(|(node, _)| node).find(up);
        Some(preferred)
            .filter(up)
            .or_else(first)
            .unwrap_or(preferred)
    }

    /// The node for people: `node <host id> (<address>)`.
    pub(crate) fn name(&self, node: NodeId) -> String {
        match self.get(node) {
            Some(member) => format!("node {node} ({})", member.address),
            None => format!("node {node}"),
        }
    }
}
