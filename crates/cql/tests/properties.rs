//! What holds of any text.

use std::collections::BTreeMap;

use catalog::schema::Row;
use cql::{
    Datacenters, Renames, Schema, Statement, Unmapped, differences, join, quote, split, text,
};
use proptest::prelude::*;

/// Pieces of which texts are made that look like CQL and are mostly none.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "CREATE",
            "ALTER",
            "TABLE",
            "KEYSPACE",
            "TYPE",
            "MATERIALIZED VIEW",
            "INDEX",
            "ON",
            "FROM",
            "WITH",
            "AND",
            "ID",
            "=",
            "(",
            ")",
            "{",
            "}",
            "[",
            "]",
            "<",
            ">",
            ",",
            ".",
            ":",
            ";",
            "'",
            "''",
            "\"",
            "\"\"",
            "$$",
            "$",
            "--",
            "//",
            "/*",
            "*/",
            "\n",
            " ",
            "replication",
            "'class'",
            "'NetworkTopologyStrategy'",
            "'dc1'",
            "3",
            "PRIMARY KEY",
            "DROP",
            "ADD",
            "GRANT",
            "ROLE",
            "PASSWORD",
            "FUNCTION",
            "AGGREGATE",
            "é",
            "0x",
            "1e-",
            "1b4d4b70-7f5a-11f0-9e2c-000000000001",
            "a",
            "\"B\"",
            "IF NOT EXISTS",
            "OR REPLACE",
        ])
        .prop_map(str::to_owned),
        "[ -~é\\n]{0,4}",
    ]
}

fn scrap() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 0..40).prop_map(|pieces| pieces.join(" "))
}

fn renames() -> Renames {
    let place = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    Renames {
        keyspaces: BTreeMap::from([place("a", "Z")]),
        tables: BTreeMap::from([(place("b", "a"), place("a", "c"))]),
    }
}

fn texts(statements: &[Statement]) -> Vec<&str> {
    statements.iter().map(Statement::text).collect()
}

/// Names of all sorts.
fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 _'\"$;é-]{1,12}"
}

proptest! {
    #[test]
    fn joined_statements_split_again(scrap in scrap()) {
        if let Ok(statements) = split(&scrap) {
            for statement in &statements {
                let at = statement.at();
                prop_assert_eq!(&scrap[at..at + statement.text().len()], statement.text());
            }
            let joined = join(&statements);
            let again = split(&joined).unwrap();
            prop_assert_eq!(texts(&again), texts(&statements));
        }
    }

    #[test]
    fn nothing_panics_and_rewrites_can_be_read(scrap in scrap()) {
        let row = Row { keyspace: "a".into(), kind: "x".into(), name: "n".into(), cql_stmt: scrap };
        let Ok(schema) = Schema::read(std::slice::from_ref(&row)) else { return Ok(()) };
        prop_assert_eq!(differences(&schema, &schema), []);
        let _ = schema.renamed(&renames());
        let _ = format!("{schema:?}");
        for statement in schema.objects.iter().flat_map(|o| &o.statements) {
            for rewritten in [
                statement.with_if_not_exists(), statement.without_id(), statement.renamed(&renames()),
                statement.map_datacenters(&Datacenters::default()),
            ].into_iter().flatten() {
                let again = split(rewritten.text()).unwrap();
                prop_assert_eq!(texts(&again), [rewritten.text()]);
                let _ = (rewritten.option("id"), rewritten.tombstone_gc(), rewritten.datacenters());
            }
            let guarded = statement.with_if_not_exists().unwrap();
            let twice = guarded.with_if_not_exists().unwrap();
            prop_assert_eq!(twice.text(), guarded.text());
            prop_assert_eq!(guarded.text().replacen("IF NOT EXISTS ", "", 1),
                statement.text().replacen("IF NOT EXISTS ", "", 1));
        }
    }

    #[test]
    fn a_replication_is_mapped_and_the_rest_stays(
        keyspace in name(),
        replicas in proptest::collection::btree_map(name(), 0_u64..9, 1..6),
        targets in proptest::collection::vec(name(), 6),
        comment in "[ -~]{0,20}",
        space in proptest::sample::select(vec!["", " ", "\n", " /* 'x': } */ ", "--y\n"]),
    ) {
        // Keys of a replication that mean something else are no datacenters.
        let write = |replicas: &BTreeMap<String, u64>| {
            let entries = replicas.iter();
            let entries = entries.map(|(dc, n)| format!("{}{space}: '{n}'{space}", text(dc)));
            entries.collect::<Vec<_>>().join(",")
        };
        let statement = |inner: &str| format!(
            "CREATE KEYSPACE{space} {} WITH {space}replication={{'class':\
                'NetworkTopologyStrategy',{inner}}}{space} AND x = {}",
            quote(&keyspace), text(&comment),
        );
        let map: BTreeMap<_, _> = replicas.keys().cloned().zip(targets).collect();
        let before = split(&statement(&write(&replicas))).unwrap().remove(0);
        let datacenters = Datacenters { map: map.clone(), unmapped: Unmapped::Refuse };
        let after = before.map_datacenters(&datacenters).unwrap();
        let mut expected = BTreeMap::<String, u64>::new();
        for (dc, n) in &replicas {
            let most = expected.entry(map[dc].clone()).or_default();
            *most = (*most).max(*n);
        }
        let mut found = after.option("replication").unwrap().unwrap().as_map().unwrap();
        found.remove("class");
        let expected: BTreeMap<_, _> = expected.iter().map(|(k, v)| (k.clone(), v.to_string())).collect();
        prop_assert_eq!(found, expected);
        let ends = |statement: &Statement| {
            let text = statement.text();
            let from = text.find('{').unwrap();
            let to = text.rfind("AND x").unwrap();
            (text[..from].to_owned(), text[to..].to_owned())
        };
        prop_assert_eq!(ends(&after), ends(&before));
    }

    #[test]
    fn a_table_is_renamed_and_the_rest_stays(
        (keyspace, table) in (name(), name()),
        (to_keyspace, to_table) in (name(), name()),
        comment in "[ -~]{0,20}",
    ) {
        let body = format!("(a int PRIMARY KEY) WITH comment = {}", text(&comment));
        let before = format!("CREATE TABLE {}.{} {body}", quote(&keyspace), quote(&table));
        let before = split(&before).unwrap().remove(0);
        let to = (to_keyspace, to_table);
        let tables = BTreeMap::from([((keyspace, table), to.clone())]);
        let renames = Renames { tables, ..Renames::default() };
        let after = before.renamed(&renames).unwrap();
        prop_assert_eq!(after.text(), format!("CREATE TABLE {}.{} {body}", quote(&to.0), quote(&to.1)));
        prop_assert_eq!((&after.subject().keyspace, &after.subject().name), (&to.0, &to.1));
    }
}

#[test]
fn nesting_without_end_is_refused_and_long_lists_are_read() {
    let deep = format!(
        "ALTER TABLE a.b WITH x = {}1{}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let deep = split(&deep).unwrap().remove(0);
    assert!(
        deep.option("x")
            .unwrap_err()
            .to_string()
            .contains("too deep")
    );
    let wide = format!("ALTER TABLE a.b WITH x = [{}1]", "1,".repeat(100_000));
    let wide = split(&wide).unwrap().remove(0);
    assert!(wide.option("x").unwrap().is_some());
}
