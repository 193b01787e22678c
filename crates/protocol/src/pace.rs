//! How fast work may go, as tasks and operators say it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{NodeId, TaskId};

/// A number for one datacenter.
///
/// Written `[<dc>:]<number>`, as in `100` or `dc1:50`. One without a datacenter holds for every
/// datacenter that has none of its own; 0 is for no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String", extend("examples" = ["100", "dc1:50"]))]
pub struct DcLimit {
    /// The datacenter; `None` for all that have no limit of their own.
    pub dc: Option<String>,
    /// The number; 0 is for no limit.
    pub limit: u32,
}

/// A text that is no limit.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no limit: write [<dc>:]<number>, as in 100 or dc1:50; 0 is for no limit")]
pub struct InvalidLimit(String);

impl DcLimit {
    /// The limit of a datacenter; `None` where none is given, or none is wanted.
    #[must_use]
    pub fn serving(limits: &[Self], dc: &str) -> Option<u32> {
        let own = limits.iter().find(|limit| limit.dc.as_deref() == Some(dc));
        let found = own.or_else(|| limits.iter().find(|limit| limit.dc.is_none()));
        found.map(|found| found.limit).filter(|limit| *limit > 0)
    }
}

impl FromStr for DcLimit {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidLimit(text.to_owned());
        let (dc, number) = match text.rsplit_once(':') {
            Some((dc, number)) => (Some(dc), number),
            None => (None, text),
        };
        let in_dc = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if dc.is_some_and(|dc| dc.is_empty() || !dc.bytes().all(in_dc))
            || !number.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(invalid());
        }
        Ok(Self {
            dc: dc.map(str::to_owned),
            limit: number.parse().map_err(|_| invalid())?,
        })
    }
}

impl fmt::Display for DcLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.dc {
            Some(dc) => write!(f, "{dc}:{}", self.limit),
            None => write!(f, "{}", self.limit),
        }
    }
}

impl From<DcLimit> for String {
    fn from(limit: DcLimit) -> Self {
        limit.to_string()
    }
}

impl TryFrom<String> for DcLimit {
    type Error = InvalidLimit;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// How fast a job may go on its node, as its task wants it. The worker's own settings, and what
/// operators say while it runs, may make it slower, or faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pace {
    /// Bytes read from the node's disk, or written to it, in MiB per second; without a limit when
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
    /// Files moved at once; what the worker is set to when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfers: Option<u32>,
}

impl Pace {
    /// Files to move at once, where a worker moves `usual` if nothing is said.
    #[must_use]
    pub fn transfers_or(&self, usual: usize) -> usize {
        let said = self.transfers.and_then(|count| usize::try_from(count).ok());
        said.filter(|count| *count > 0).unwrap_or(usual)
    }
}

/// What operators want of a cluster's work for now, whatever tasks say: bytes read from a node's
/// disk, or written to it, in MiB per second; 0 is for no limit. Part of the cluster's record, and
/// held until it is taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Throttles {
    /// For every node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<u32>,
    /// For the work of a task, on every node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<TaskId, u32>,
    /// For a node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<NodeId, u32>,
}

impl Throttles {
    /// What holds for the work of a task on a node: what is said of the node, else of the task, else
    /// of the cluster.
    #[must_use]
    pub fn of(&self, task: Option<TaskId>, node: NodeId) -> Option<u32> {
        let of_task = || task.and_then(|task| self.tasks.get(&task));
        let of_node = self.nodes.get(&node);
        of_node.or_else(of_task).copied().or(self.cluster)
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_written() {
        for text in ["100", "dc1:50", "eu-west_1.a:0"] {
            assert_eq!(text.parse::<DcLimit>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "dc1:",
            ":5",
            "-1",
            "+1",
            "1.5",
            "a b:1",
            "4294967296",
            "dc1:x",
        ] {
            let said = text.parse::<DcLimit>().unwrap_err().to_string();
            assert!(said.contains(&format!("`{text}`")), "{said}");
        }
    }

    #[test]
    fn a_datacenter_has_its_own_limit_or_the_common_one() {
        let limits = |texts: &[&str]| -> Vec<DcLimit> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let some = limits(&["100", "dc1:50", "dc2:0"]);
        assert_eq!(DcLimit::serving(&some, "dc1"), Some(50));
        assert_eq!(DcLimit::serving(&some, "dc2"), None);
        assert_eq!(DcLimit::serving(&some, "dc3"), Some(100));
        assert_eq!(DcLimit::serving(&limits(&["dc1:50"]), "dc3"), None);
    }

    #[test]
    fn what_is_said_of_less_counts_more() {
        let (task, node) = (TaskId::generate(), NodeId::generate());
        let mut throttles = Throttles::default();
        assert!(throttles.is_empty());
        assert_eq!(throttles.of(Some(task), node), None);
        throttles.cluster = Some(10);
        assert_eq!(throttles.of(Some(task), node), Some(10));
        throttles.tasks.insert(task, 20);
        assert_eq!(throttles.of(Some(task), node), Some(20));
        assert_eq!(throttles.of(None, node), Some(10));
        throttles.nodes.insert(node, 0);
        assert_eq!(throttles.of(Some(task), node), Some(0));
        assert_eq!(throttles.of(Some(task), NodeId::generate()), Some(20));
    }
}
