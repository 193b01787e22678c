//! Keyspaces in other datacenters.

use cql::{Datacenters, Statement, Unmapped};

use crate::{KEYSPACE, one};

fn datacenters(map: &[(&str, &str)], unmapped: Unmapped) -> Datacenters {
    let owned = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
    let map = map.iter().map(owned).collect();
    Datacenters { map, unmapped }
}

#[test]
fn datacenters_are_mapped_and_nothing_else_is_touched() {
    let keyspace = one(KEYSPACE);
    let map = |map: &[_], unmapped| keyspace.map_datacenters(&datacenters(map, unmapped));
    let said = |s: Statement| s.text().to_owned();
    let before = KEYSPACE.trim_end_matches(';');
    let both = map(&[("dc1", "eu"), ("dc2", "it's")], Unmapped::Refuse).unwrap();
    let expected = before.replace("'dc1'", "'eu'").replace("'dc2'", "'it''s'");
    assert_eq!(said(both), expected);
    let swapped = map(&[("dc1", "dc2"), ("dc2", "dc1")], Unmapped::Refuse).unwrap();
    let expected = before.replace("'dc1': '3', 'dc2'", "'dc2': '3', 'dc1'");
    assert_eq!(said(swapped), expected);
    let merged = map(&[("dc2", "eu"), ("dc1", "eu")], Unmapped::Refuse).unwrap();
    let expected = before.replace("'dc1': '3', 'dc2': '2'", "'eu': '3'");
    assert_eq!(said(merged), expected);
    let dropped = map(&[("dc2", "eu")], Unmapped::Drop).unwrap();
    let expected = before.replace("'dc1': '3', 'dc2': '2'", "'eu': '2'");
    assert_eq!(said(dropped), expected);
    let kept = map(&[("dc2", "dc1")], Unmapped::Keep).unwrap();
    let expected = before.replace(", 'dc2': '2'", "");
    assert_eq!(said(kept), expected);
    let refused = map(&[("dc2", "eu")], Unmapped::Refuse).unwrap_err();
    assert!(refused.to_string().contains("`dc1`"), "{refused}");
    let none = map(&[], Unmapped::Drop).unwrap_err();
    assert!(none.to_string().contains("`shop`"), "{none}");
}

#[test]
fn replicas_by_rack_are_united() {
    let text = "ALTER KEYSPACE a WITH replication={'dc1':['r1','r2'],'dc2' : [ 'r2', 'r3'],\
        'dc3': 1,'class':'NetworkTopologyStrategy'}";
    let map = datacenters(&[("dc1", "x"), ("dc2", "x")], Unmapped::Keep);
    let mapped = one(text).map_datacenters(&map).unwrap();
    let expected = "ALTER KEYSPACE a WITH replication={'x':['r1', 'r2', 'r3'],\
        'dc3': 1,'class':'NetworkTopologyStrategy'}";
    assert_eq!(mapped.text(), expected);
    let map = datacenters(&[("dc1", "x"), ("dc3", "x")], Unmapped::Drop);
    let mapped = one(text).map_datacenters(&map).unwrap();
    let expected = "ALTER KEYSPACE a WITH replication={'x':2,'class':'NetworkTopologyStrategy'}";
    assert_eq!(mapped.text(), expected);
    let map = datacenters(&[("dc3", "x")], Unmapped::Drop);
    let mapped = one(text).map_datacenters(&map).unwrap();
    let expected = "ALTER KEYSPACE a WITH replication={'x': 1,'class':'NetworkTopologyStrategy'}";
    assert_eq!(mapped.text(), expected);
}

#[test]
fn keyspaces_without_datacenters_stay() {
    let map = datacenters(&[("dc1", "x")], Unmapped::Refuse);
    for text in [
        "CREATE KEYSPACE a WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "CREATE KEYSPACE a WITH replication = \
            {'class': 'NetworkTopologyStrategy', 'replication_factor': 3, 'initial': 8}",
        "ALTER KEYSPACE a WITH durable_writes = false",
        "CREATE TABLE a.dc1 (dc1 int PRIMARY KEY) WITH comment = 'dc1'",
    ] {
        assert_eq!(one(text).map_datacenters(&map).unwrap().text(), text);
    }
    let wrong = "CREATE KEYSPACE a WITH replication = \
        {'class': 'NetworkTopologyStrategy', 'dc1': 'many'}";
    let error = one(wrong).map_datacenters(&map).unwrap_err();
    assert!(error.to_string().contains("`'many'`"), "{error}");
    assert!(
        one("CREATE KEYSPACE a WITH replication = 3")
            .map_datacenters(&map)
            .is_err()
    );
}
