//! Schemas as nodes describe them: read, chosen, rewritten, compared.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod compare;
mod datacenters;
mod rename;
mod text;

use catalog::schema::Row;
use cql::{Kind, Schema, Stage, Statement, Verb, Why, split};

const KEYSPACE: &str = "CREATE KEYSPACE shop WITH replication = {'class': \
    'org.apache.cassandra.locator.NetworkTopologyStrategy', 'dc1': '3', 'dc2': '2'} \
    AND durable_writes = true AND tablets = {'initial': 8};";
const TYPE: &str = "CREATE TYPE shop.address (\n    street text,\n    zip frozen<shop.code>\n);";
const TABLE: &str = "CREATE TABLE shop.users (
    id int,
    \"When\" timestamp,
    home frozen<shop.address>,
    price decimal,
    PRIMARY KEY (id, \"When\")
) WITH ID = 1b4d4b70-7f5a-11f0-9e2c-000000000001
    AND CLUSTERING ORDER BY (\"When\" DESC)
    AND caching = {'keys': 'ALL', 'rows_per_partition': 'ALL'}
    AND comment = 'a; -- \"b\" it''s'
    AND crc_check_chance = 1
    AND tombstone_gc = {'mode': 'timeout', 'propagation_delay_in_seconds': '3600'};
ALTER TABLE shop.users DROP old USING TIMESTAMP 1700000000000000;
/* Do NOT execute this: CREATE TABLE x; */";
const VIEW: &str = "CREATE MATERIALIZED VIEW shop.by_price AS
    SELECT price, id, \"When\"
    FROM shop.users
    WHERE price IS NOT NULL AND id IS NOT NULL AND \"When\" IS NOT NULL
    PRIMARY KEY (price, id, \"When\")
    WITH ID = 1b4d4b70-7f5a-11f0-9e2c-000000000002;";
const INDEX: &str = "CREATE INDEX users_home ON shop.users (home);";
const FUNCTION: &str = "CREATE FUNCTION shop.twice(v int, a shop.address)
    RETURNS NULL ON NULL INPUT RETURNS int LANGUAGE lua AS $$ return v; -- ';' $$;";
const ROLE: &str = "CREATE ROLE IF NOT EXISTS ada WITH HASHED PASSWORD = '$6$secret' AND \
    LOGIN = true AND SUPERUSER = false;";

fn row(keyspace: &str, kind: &str, name: &str, cql: &str) -> Row {
    let [keyspace, kind, name, cql_stmt] = [keyspace, kind, name, cql].map(str::to_owned);
    Row {
        keyspace,
        kind,
        name,
        cql_stmt,
    }
}

fn rows() -> Vec<Row> {
    vec![
        row("", "role", "ada", ROLE),
        row("shop", "keyspace", "shop", KEYSPACE),
        row("shop", "index", "users_home", INDEX),
        row("shop", "view", "by_price", VIEW),
        row("shop", "table", "users", TABLE),
        row("shop", "type", "address", TYPE),
        row("shop", "function", "twice(int)", FUNCTION),
        row(
            "",
            "grant",
            "ada",
            "GRANT SELECT ON TABLE shop.users TO ada;",
        ),
        row("", "grant", "ada", "GRANT CREATE ON KEYSPACE shop TO ada;"),
        row("", "service_level", "s", "ATTACH SERVICE LEVEL s TO ada;"),
    ]
}

fn schema() -> Schema {
    Schema::read(&rows()).unwrap()
}

fn one(text: &str) -> Statement {
    let mut all = split(text).unwrap();
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0)
}

fn texts(schema: &Schema, stage: Stage) -> Vec<String> {
    let statements = schema.stage(stage).flat_map(|o| &o.statements);
    statements.map(|s| s.text().to_owned()).collect()
}

fn names(schema: &Schema) -> Vec<String> {
    let name = |o: &cql::Object| format!("{} {}", o.kind.word(), o.full_name());
    schema.objects.iter().map(name).collect()
}

#[test]
fn objects_come_in_the_order_in_which_they_are_made() {
    let expected = [
        "keyspace shop",
        "type shop.address",
        "function shop.twice(int, address)",
        "table shop.users",
        "index shop.users_home",
        "view shop.by_price",
        "role ada",
        "grant grant select on table shop.users to ada",
        "grant grant create on keyspace shop to ada",
        "grant attach service level s to ada",
    ];
    assert_eq!(names(&schema()), expected);
    let users = schema().objects.swap_remove(3);
    assert_eq!(users.statements.len(), 2);
    assert_eq!(users.statements[1].subject().verb, Verb::Alter);
    assert_eq!(users.statements[1].at(), TABLE.find("ALTER").unwrap());
}

#[test]
fn what_is_chosen_brings_what_it_needs() {
    let mut rows = rows();
    rows.push(row(
        "shop",
        "table",
        "t",
        "CREATE TABLE shop.t (a int PRIMARY KEY)",
    ));
    rows.push(row(
        "bare",
        "keyspace",
        "bare",
        "CREATE KEYSPACE bare WITH x = 1",
    ));
    let all = Schema::read(&rows).unwrap();
    let bare = all.clone().choose(|k, _| k == "bare", true);
    let expected = [
        "keyspace bare",
        "role ada",
        "grant attach service level s to ada",
    ];
    assert_eq!(names(&bare), expected);
    assert!(bare.skipped.iter().all(|s| s.why == Why::Elsewhere));
    assert_eq!(bare.skipped.len(), 2);
    let only = all.clone().choose(|k, t| (k, t) == ("shop", "t"), false);
    let expected = [
        "keyspace shop",
        "type shop.address",
        "function shop.twice(int, address)",
        "table shop.t",
    ];
    assert_eq!(names(&only), expected);
    assert!(only.skipped.iter().all(|s| s.why == Why::Access));
    assert_eq!(only.skipped.len(), 4);
    assert_eq!(
        names(&all.clone().choose(|k, _| k == "bare", false)),
        ["keyspace bare"]
    );
    assert_eq!(all.clone().choose(|_, _| true, true), all);
}

#[test]
fn what_no_restore_makes_is_left_out_with_the_reason() {
    let table = |keyspace: &str, name: &str| {
        let text = format!("CREATE TABLE \"{keyspace}\".\"{name}\" (a int PRIMARY KEY)");
        row(keyspace, "table", name, &text)
    };
    let rows = [
        table("system_replicated_keys", "encrypted_keys"),
        row("shop", "table", "\"t$paxos\"", "/* not this */"),
        table("shop", "t_scylla_cdc_log"),
        table("audit", "audit_log"),
        table("alternator_music", "music"),
        row("shop", "table", "empty", "/* nothing; */ ;"),
        row(
            "shop",
            "table",
            "t",
            "ALTER TABLE shop.t_scylla_cdc_log WITH comment = ''",
        ),
    ];
    let read = Schema::read(&rows).unwrap();
    assert_eq!(read.objects, []);
    let why: Vec<_> = read
        .skipped
        .iter()
        .map(|s| (s.name.as_str(), s.why))
        .collect();
    let expected = [
        ("encrypted_keys", Why::System),
        ("t$paxos", Why::Paxos),
        ("t_scylla_cdc_log", Why::CdcLog),
        ("audit_log", Why::Audit),
        ("music", Why::Alternator),
        ("empty", Why::Empty),
    ];
    assert_eq!(why, expected);
}

#[test]
fn a_row_that_cannot_be_read_is_named() {
    let rows = [row("shop", "table", "t", "CREATE TABLE shop.t (a text 'x")];
    let error = Schema::read(&rows).unwrap_err();
    assert_eq!(error.to_string(), "table `shop.t` of the schema");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "the string that begins at byte 28 never ends");
}

#[test]
fn statements_without_a_keyspace_get_that_of_their_row() {
    let rows = [
        row("\"A\"", "index", "i", "CREATE INDEX i ON t (v)"),
        row("A", "table", "t", "CREATE TABLE t (v int PRIMARY KEY)"),
    ];
    let read = Schema::read(&rows).unwrap();
    assert_eq!(
        texts(&read, Stage::Tables),
        ["CREATE TABLE \"A\".t (v int PRIMARY KEY)"]
    );
    assert_eq!(
        texts(&read, Stage::Views),
        ["CREATE INDEX i ON \"A\".t (v)"]
    );
    assert_eq!(read.objects[1].full_name(), "\"A\".i");
}

#[test]
fn what_is_not_understood_is_kept_and_told() {
    let text = "CREATE FUTURE THING shop.x WITH y = 1";
    let read = Schema::read(&[row("shop", "thing", "x", text)]).unwrap();
    let unknown: Vec<_> = read.stage(Stage::Unknown).collect();
    assert_eq!(unknown[0].full_name(), "shop.x");
    assert_eq!(unknown[0].statements[0].text(), text);
    assert_eq!(unknown[0].drop(), None);
    for text in [
        "CREATE TABLE",
        "CREATE TABLE a.",
        "CREATE TABLE 3 (a)",
        "CREATE",
        "SELECT 1",
    ] {
        assert_eq!(one(text).subject().kind, Kind::Other, "{text}");
    }
}
