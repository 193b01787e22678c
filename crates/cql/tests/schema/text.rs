//! One statement: guarded, without its id, its options, its end.

use std::collections::{BTreeMap, BTreeSet};

use cql::{Kind, Value, drop};

use crate::{FUNCTION, INDEX, KEYSPACE, ROLE, TABLE, TYPE, VIEW, one};

#[test]
fn if_not_exists_is_put_where_it_belongs() {
    for (text, expected) in [
        (
            "CREATE KEYSPACE a WITH x = 1",
            "CREATE KEYSPACE IF NOT EXISTS a WITH x = 1",
        ),
        (
            "create table a.b (c int)",
            "create table IF NOT EXISTS a.b (c int)",
        ),
        (
            "CREATE INDEX ON a.b (c)",
            "CREATE INDEX IF NOT EXISTS ON a.b (c)",
        ),
        (
            "CREATE CUSTOM INDEX i ON a.b (c) USING 'x'",
            "CREATE CUSTOM INDEX IF NOT EXISTS i ON a.b (c) USING 'x'",
        ),
        ("CREATE ROLE 'a b'", "CREATE ROLE IF NOT EXISTS 'a b'"),
        (
            "CREATE SERVICE LEVEL s",
            "CREATE SERVICE LEVEL IF NOT EXISTS s",
        ),
        (
            "CREATE TYPE IF NOT EXISTS a.b (c int)",
            "CREATE TYPE IF NOT EXISTS a.b (c int)",
        ),
        (
            "CREATE OR REPLACE FUNCTION a.b () x",
            "CREATE OR REPLACE FUNCTION a.b () x",
        ),
        ("GRANT a TO b", "GRANT a TO b"),
        ("CREATE TRIGGER a ON b", "CREATE TRIGGER a ON b"),
    ] {
        assert_eq!(one(text).with_if_not_exists().unwrap().text(), expected);
    }
}

#[test]
fn ids_are_taken_out_wherever_they_stand() {
    let id = "ID = 1b4d4b70-7f5a-11f0-9e2c-000000000001";
    for (options, expected) in [
        (format!(" WITH {id}"), ""),
        (format!(" WITH {id} AND a = 1"), " WITH a = 1"),
        (
            format!(" WITH a = 1\n  AND {id}\n  AND b = 2"),
            " WITH a = 1\n  AND b = 2",
        ),
        (
            format!(" WITH a = {{'id': 'ID'}} and {id}"),
            " WITH a = {'id': 'ID'}",
        ),
    ] {
        let table = "CREATE TABLE a.b (id int PRIMARY KEY)";
        let without = one(&format!("{table}{options}")).without_id().unwrap();
        assert_eq!(without.text(), format!("{table}{expected}"));
    }
}

#[test]
fn options_are_read_and_set() {
    let table = one(TABLE.split_once(";\nALTER").unwrap().0);
    let gc = table.tombstone_gc().unwrap().unwrap();
    let expected = [
        ("mode", "timeout"),
        ("propagation_delay_in_seconds", "3600"),
    ];
    let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(gc, BTreeMap::from(expected));
    assert_eq!(
        cql::tombstone_gc("shop", "Us\"ers", &gc),
        "ALTER TABLE \"shop\".\"Us\"\"ers\" WITH tombstone_gc = \
            {'mode': 'timeout', 'propagation_delay_in_seconds': '3600'}"
    );
    let comment = table.option("comment").unwrap().unwrap();
    assert_eq!(comment, Value::Text("a; -- \"b\" it's".to_owned()));
    let altered = cql::alter_option(Kind::View, ("a", "b"), "comment", &comment).unwrap();
    assert_eq!(
        altered,
        "ALTER MATERIALIZED VIEW \"a\".\"b\" WITH comment = 'a; -- \"b\" it''s'"
    );
    assert_eq!(table.option("cdc").unwrap(), None);
    assert_eq!(
        one(KEYSPACE).datacenters().unwrap(),
        BTreeSet::from(["dc1".to_owned(), "dc2".to_owned()])
    );
}

#[test]
fn drops_name_what_was_made() {
    for (text, expected) in [
        (KEYSPACE, "DROP KEYSPACE IF EXISTS \"shop\""),
        (TYPE, "DROP TYPE IF EXISTS \"shop\".\"address\""),
        (
            FUNCTION,
            "DROP FUNCTION IF EXISTS \"shop\".\"twice\" (int, address)",
        ),
        (INDEX, "DROP INDEX IF EXISTS \"shop\".\"users_home\""),
        (
            VIEW,
            "DROP MATERIALIZED VIEW IF EXISTS \"shop\".\"by_price\"",
        ),
        (ROLE, "DROP ROLE IF EXISTS \"ada\""),
    ] {
        assert_eq!(drop(one(text).subject()).unwrap(), expected);
    }
    assert_eq!(drop(one("GRANT a TO b").subject()), None);
    assert_eq!(drop(one("CREATE INDEX ON a.b (c)").subject()), None);
}
