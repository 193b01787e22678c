//! Whether a table can come back tablet by tablet: each replica then fetches the SSTables of its rack,
//! as ScyllaDB's own manifests list them, and takes them over as they are.
//!
//! # Promises
//! * A table is found fit only if nothing of it can be lost that way: every rack had every tablet, each
//!   SSTable lies inside one, and the manifests list just what the backup holds.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{NodeId, SnapshotTag};
use serde::Deserialize;

use super::Sourced;

/// What a restore by tablets reads of a `manifest.json`. Whatever is missing makes it unfit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TabletList {
    node: Owner,
    snapshot: Snapshot,
    table: Table,
    #[serde(default)]
    sstables: Vec<Listed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Owner {
    host_id: NodeId,
    datacenter: String,
    rack: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Snapshot {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Table {
    tablets_type: String,
    tablet_count: u64,
}

/// An SSTable. Fields that only have to be there begin with an underscore.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Listed {
    #[serde(rename = "id")]
    _id: String,
    toc_name: String,
    first_token: i64,
    last_token: i64,
    tablet_id: u64,
    #[serde(rename = "repaired_at")]
    _repaired_at: i64,
    #[serde(rename = "data_size")]
    _data_size: u64,
    #[serde(rename = "index_size")]
    _index_size: u64,
}

impl TabletList {
    /// Reads one.
    ///
    /// # Errors
    /// What it lacks, for a person.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body).map_err(|e| {
            format!(
                "a list that ScyllaDB wrote with its snapshot does not say all that is needed: {e}"
            )
        })
    }
}

/// The TOCs of what a replica in `rack` takes over that has the tokens `has`: ranges behind the first up to
/// and with the second.
pub fn of_replica<'a>(
    lists: &'a [TabletList],
    rack: &'a str,
    has: &'a [(i64, i64)],
) -> impl Iterator<Item = &'a str> {
    let lists = lists.iter().filter(move |list| list.node.rack == rack);
    let own = move |one: &&Listed| {
        let held = |(start, end): &(i64, i64)| *start < one.last_token && one.last_token <= *end;
        has.iter().any(held)
    };
    let owned = lists.flat_map(move |list| list.sstables.iter().filter(own));
    owned.map(|one| one.toc_name.as_str())
}

/// Why a table cannot come back by tablets into a datacenter that has `racks`; `None` if it can.
///
/// `lists` are ScyllaDB's manifests of all nodes, `sstables` what the backup holds of the table.
#[must_use]
pub fn obstacle(
    tag: &SnapshotTag,
    lists: &[TabletList],
    sstables: &[&Sourced],
    dc: &str,
    racks: &BTreeSet<String>,
) -> Option<String> {
    let Some(first) = lists.first() else {
        return Some("the backup has none of ScyllaDB's own lists of it".to_owned());
    };
    let Table { tablet_count, .. } = first.table;
    if first.table.tablets_type != "powof2" || !tablet_count.is_power_of_two() {
        return Some(format!(
            "it had {tablet_count} tablets, which is no power of two"
        ));
    }
    let mut held = BTreeMap::<&str, BTreeSet<u64>>::new();
    let mut listed = BTreeSet::new();
    for list in lists {
        if list.table != first.table {
            return Some(
                "its tablets were being split or merged when the snapshot was taken".to_owned(),
            );
        }
        if list.snapshot.name != tag.to_string() {
            return Some(format!(
                "a list of it is of snapshot {}",
                list.snapshot.name
            ));
        }
        if list.node.datacenter != dc {
            return Some(format!(
                "it comes from datacenter {}, and goes to {dc}",
                list.node.datacenter
            ));
        }
        let rack = held.entry(&list.node.rack).or_default();
        for one in &list.sstables {
            let of = |token| tablet_of(token, tablet_count);
            if of(one.first_token) != one.tablet_id || of(one.last_token) != one.tablet_id {
                return Some(format!(
                    "its SSTable {} crosses the border of a tablet",
                    one.toc_name
                ));
            }
            rack.insert(one.tablet_id);
            listed.insert((list.node.host_id, one.toc_name.as_str()));
        }
    }
    if !held.keys().copied().eq(racks.iter().map(String::as_str)) {
        let names = |racks: Vec<&str>| racks.join(", ");
        return Some(format!(
            "it comes from racks {}, and the datacenter has {}",
            names(held.into_keys().collect()),
            names(racks.iter().map(String::as_str).collect())
        ));
    }
    let all: BTreeSet<u64> = held.values().flatten().copied().collect();
    if let Some((rack, _)) = held.iter().find(|(_, tablets)| **tablets != all) {
        return Some(format!("rack {rack} had not all of its tablets"));
    }
    let stored: BTreeSet<(NodeId, &str)> = sstables
        .iter()
        .filter_map(|one| {
            let mut files = one.sstable.files.iter();
            let toc = files.find(|file| file.name.ends_with(crate::sstable::TOC))?;
            Some((one.node, toc.name.as_str()))
        })
        .collect();
    (stored != listed)
        .then(|| "ScyllaDB's own lists of it are not what the backup holds".to_owned())
}

/// The tablet that a token is in, of `count`, which is a power of two.
fn tablet_of(token: i64, count: u64) -> u64 {
    let place = token.cast_unsigned() ^ (1 << 63);
    match count {
        1 => 0,
        _ => place >> (64 - count.trailing_zeros()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        document::tests::id,
        restore::tests::{manifest, sourced},
    };

    const NAME: &str = "mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big";

    fn list(node: &str, rack: &str, tablets: &[u64]) -> TabletList {
        let node: NodeId = id(node);
        let one = |tablet: &u64| {
            let first = i64::MIN + (i64::MAX / 4 + 1) * i64::try_from(*tablet).unwrap();
            format!(
                r#"{{"id":"a","toc_name":"{NAME}-TOC.txt","first_token":{first},"last_token":{},"tablet_id":{tablet},
                "repaired_at":0,"data_size":5,"index_size":5}}"#,
                first + 9
            )
        };
        let sstables: Vec<String> = tablets.iter().map(one).collect();
        let text = format!(
            r#"{{"manifest":{{"version":"1.0"}},"node":{{"host_id":"{node}","datacenter":"dc1","rack":"{rack}"}},
            "snapshot":{{"name":"sm_20260131235959UTC"}},"table":{{"tablets_type":"powof2","tablet_count":8}},
            "sstables":[{}]}}"#,
            sstables.join(",")
        );
        TabletList::read(text.as_bytes()).unwrap()
    }

    fn said(lists: &[TabletList], dc: &str, racks: &[&str]) -> String {
        let all: Vec<Sourced> = ["01", "02"]
            .iter()
            .flat_map(|node| sourced(&manifest(node, "dc1", &[NAME], 5)))
            .collect();
        let all: Vec<&Sourced> = all.iter().collect();
        let racks = racks.iter().map(|rack| (*rack).to_owned()).collect();
        let tag = "sm_20260131235959UTC".parse().unwrap();
        obstacle(&tag, lists, &all, dc, &racks).unwrap_or_default()
    }

    #[test]
    fn every_rack_must_have_had_every_tablet() {
        let fine = [list("01", "r1", &[3]), list("02", "r2", &[3])];
        assert_eq!(said(&fine, "dc1", &["r1", "r2"]), "");
        for (lists, dc, racks, why) in [
            (fine.to_vec(), "dc2", vec!["r1", "r2"], "goes to dc2"),
            (
                fine.to_vec(),
                "dc1",
                vec!["r1"],
                "racks r1, r2, and the datacenter has r1",
            ),
            (
                fine.to_vec(),
                "dc1",
                vec!["r1", "r2", "r3"],
                "has r1, r2, r3",
            ),
            (
                vec![list("01", "r1", &[3]), list("02", "r2", &[])],
                "dc1",
                vec!["r1", "r2"],
                "rack r2 had not all",
            ),
            (
                vec![list("01", "r1", &[3])],
                "dc1",
                vec!["r1"],
                "not what the backup holds",
            ),
            (vec![], "dc1", vec!["r1"], "none of ScyllaDB's own lists"),
        ] {
            let said = said(&lists, dc, &racks);
            assert!(said.contains(why), "{said}, not {why}");
        }
        let mut bad = fine.clone();
        bad[1].table.tablet_count = 16;
        assert!(said(&bad, "dc1", &["r1", "r2"]).contains("split or merged"));
        let mut bad = fine.clone();
        bad[1].snapshot.name = "other".into();
        assert!(said(&bad, "dc1", &["r1", "r2"]).contains("of snapshot other"));
        let mut bad = fine;
        bad[0].sstables[0].last_token = i64::MAX;
        assert!(said(&bad, "dc1", &["r1", "r2"]).contains("crosses the border"));
        for list in &mut bad {
            list.table.tablet_count = 6;
        }
        assert!(said(&bad, "dc1", &["r1", "r2"]).contains("no power of two"));
    }

    #[test]
    fn a_replica_takes_over_what_its_rack_had_of_its_tokens() {
        let lists = [list("01", "r1", &[3]), list("02", "r2", &[3])];
        let took = |rack, has: &[(i64, i64)]| of_replica(&lists, rack, has).count();
        let tablet = (i64::MIN + (i64::MAX / 4 + 1) * 3 - 1, -1);
        assert_eq!(took("r1", &[(i64::MIN, -5), tablet]), 1);
        assert_eq!(took("r3", &[tablet]), 0);
        assert_eq!(took("r2", &[(0, i64::MAX)]), 0);
    }

    #[test]
    fn tokens_are_in_the_tablets_that_scylladb_says() {
        // From the reference of its manifests: of eight, the fourth is from -2^61 to -1.
        assert_eq!(tablet_of(-2_305_843_009_213_693_952, 8), 3);
        assert_eq!(tablet_of(-1, 8), 3);
        assert_eq!((tablet_of(0, 8), tablet_of(i64::MAX, 8)), (4, 7));
        assert_eq!(
            (
                tablet_of(i64::MIN, 8),
                tablet_of(i64::MIN, 1),
                tablet_of(i64::MAX, 1)
            ),
            (0, 0, 0)
        );
        let said = TabletList::read(br#"{"files":["mc-1-big-Data.db"]}"#).unwrap_err();
        assert!(said.contains("missing field `node`"), "{said}");
    }
}
