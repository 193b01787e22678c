//! Which node of the cluster takes the place of which node of the backup.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{NodeId, TableRef};
use serde::{Deserialize, Serialize};

use super::{Origin, RestoreError};

/// A node of the cluster that data may come back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its datacenter.
    pub dc: String,
    /// Its tokens.
    pub tokens: Vec<i64>,
}

/// A node of the cluster that has the tokens of one of the backup's, and so gets its data back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Twin {
    /// The node of the cluster.
    pub node: NodeId,
    /// Its datacenter.
    pub dc: String,
    /// The node of the backup.
    pub source: NodeId,
    /// What that had of each keyspace: the one must have no less. Ranges of tokens behind the first up
    /// to and with the second.
    pub ranges: BTreeMap<String, Vec<(i64, i64)>>,
}

/// Finds for each node of the backup the one with its tokens, and the other way round.
///
/// # Errors
/// [`RestoreError::NotOneToOne`] where there is none, or where something that the backup does not
/// know would have to be believed.
pub fn twins(
    origins: &[Origin],
    members: &[Member],
    tables: &BTreeSet<TableRef>,
) -> Result<Vec<Twin>, RestoreError> {
    let refused = |why: String| Err(RestoreError::NotOneToOne { why });
    let (had, has) = (origins.len(), members.len());
    if had != has {
        return refused(format!(
            "the backup is of {had} nodes, the cluster has {has}"
        ));
    }
    let tablets = origins.iter().flat_map(|origin| origin.tablets.keys());
    if let Some(table) = tablets.into_iter().find(|table| tables.contains(table)) {
        return refused(format!(
            "{table} is spread by tablets, which have no place of their own: use method `tablets`, or leave it out"
        ));
    }
    let mut free: BTreeMap<Vec<i64>, &Member> = BTreeMap::new();
    for member in members {
        let mut tokens = member.tokens.clone();
        tokens.sort_unstable();
        free.insert(tokens, member);
    }
    let mut twins = Vec::with_capacity(had);
    for origin in origins {
        let source = origin.node;
        let own = |name: &str| tables.iter().any(|table| table.keyspace == name);
        let mut ranges = origin.ranges.clone();
        ranges.retain(|keyspace, _| own(keyspace));
        let unknown = tables.iter().find(|table| {
            let keyspace = &table.keyspace;
            !origins
                .iter()
                .any(|origin| origin.ranges.contains_key(keyspace))
        });
        if let Some(TableRef { keyspace, .. }) = unknown {
            return refused(format!(
                "the backup does not say which tokens of keyspace {keyspace} each node had"
            ));
        }
        let Some(member) = free
            .remove(&origin.tokens)
            .filter(|_| !origin.tokens.is_empty())
        else {
            return refused(format!(
                "no node of the cluster has the tokens of node {source} of the backup"
            ));
        };
        twins.push(Twin {
            node: member.node,
            dc: member.dc.clone(),
            source,
            ranges,
        });
    }
    Ok(twins)
}

impl Twin {
    /// A range of tokens that the source had of a keyspace and that lies outside of `has`, ranges like
    /// [`Self::ranges`] of the node: rows of it would be dropped when they are loaded.
    #[must_use]
    pub fn lacking(&self, keyspace: &str, has: &[(i64, i64)]) -> Option<(i64, i64)> {
        let mut has: Vec<(i64, i64)> = has.iter().flat_map(unwound).collect();
        has.sort_unstable();
        let had = self.ranges.get(keyspace)?;
        had.iter().flat_map(unwound).find(|(start, end)| {
            let mut covered = *start;
            for (from, to) in &has {
                if *from <= covered && *to > covered {
                    covered = *to;
                }
            }
            covered < *end
        })
    }
}

/// A range as it is, or the two that one around the ring's end is.
fn unwound((start, end): &(i64, i64)) -> impl Iterator<Item = (i64, i64)> + use<> {
    let (start, end) = (*start, *end);
    let [first, second] = match start < end {
        true => [Some((start, end)), None],
        false => [Some((start, i64::MAX)), Some((i64::MIN, end))],
    };
    first.into_iter().chain(second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::id;

    fn origin(node: &str, tokens: &[i64]) -> Origin {
        Origin {
            node: id(node),
            dc: "dc1".into(),
            rack: "r1".into(),
            location: "s3:backups".parse().unwrap(),
            tokens: tokens.to_vec(),
            ranges: [("shop".to_owned(), vec![(0, 10), (20, 30)])].into(),
            tablets: BTreeMap::new(),
        }
    }

    fn member(node: &str, tokens: &[i64]) -> Member {
        Member {
            node: id(node),
            dc: "dc2".into(),
            tokens: tokens.to_vec(),
        }
    }

    fn table(keyspace: &str) -> TableRef {
        TableRef {
            keyspace: keyspace.into(),
            table: "users".into(),
        }
    }

    #[test]
    fn a_node_is_told_by_its_tokens() {
        let had = [origin("01", &[1, 5]), origin("02", &[2, 6])];
        let shop = BTreeSet::from([table("shop")]);
        let found = twins(&had, &[member("0b", &[6, 2]), member("0a", &[5, 1])], &shop).unwrap();
        let pairs: Vec<_> = found.iter().map(|twin| (twin.source, twin.node)).collect();
        assert_eq!(pairs, [(id("01"), id("0a")), (id("02"), id("0b"))]);
        assert_eq!(found[0].dc, "dc2");

        let said = |had: &[Origin], has: &[Member], tables| {
            twins(had, has, tables).unwrap_err().to_string()
        };
        let has = [member("0a", &[1, 5]), member("0b", &[2, 7])];
        let text = said(&had, &has, &shop);
        assert!(
            text.contains(&format!("tokens of node {}", id::<NodeId>("02"))),
            "{text}"
        );
        let text = said(&had, &has[..1], &shop);
        assert!(text.contains("of 2 nodes, the cluster has 1"), "{text}");
        let old = [table("old")].into();
        let text = said(&had, &has, &old);
        assert!(text.contains("tokens of keyspace old"), "{text}");
        let mut tablets = had;
        tablets[1].tablets = [(table("shop"), vec![])].into();
        let text = said(&tablets, &has, &shop);
        assert!(text.contains("shop.users is spread by tablets"), "{text}");
        // Nodes whose tokens nobody knows are not alike.
        let text = said(&[origin("01", &[])], &[member("0a", &[])], &shop);
        assert!(text.contains("has the tokens"), "{text}");
    }

    #[test]
    fn what_a_node_does_not_own_is_seen_before_it_is_dropped() {
        let had = [origin("01", &[1])];
        let twin = &twins(&had, &[member("0a", &[1])], &[table("shop")].into()).unwrap()[0];
        for (has, lacking) in [
            (vec![(0, 10), (20, 30)], None),
            (vec![(0, 5), (15, 40), (5, 12)], None),
            (vec![(i64::MIN, i64::MAX)], None),
            (vec![(0, 9), (20, 30)], Some((0, 10))),
            (vec![(0, 10), (21, 30)], Some((20, 30))),
            (vec![(0, 4), (5, 10), (20, 30)], Some((0, 10))),
            (vec![], Some((0, 10))),
            (vec![(15, 12)], None),
            (vec![(20, 8)], Some((0, 10))),
        ] {
            assert_eq!(twin.lacking("shop", &has), lacking, "{has:?}");
        }
        let mut around = twin.clone();
        around.ranges = [("shop".to_owned(), vec![(90, -90)])].into();
        assert_eq!(around.lacking("shop", &[(80, -80)]), None);
        let ends = [(80, i64::MAX), (i64::MIN, -80)];
        assert_eq!(around.lacking("shop", &ends), None);
        assert_eq!(around.lacking("shop", &ends[..1]), Some((i64::MIN, -90)));
        assert_eq!(twin.lacking("other", &[]), None);
    }
}
