//! The schema: made, described, made again from its description.

use driver::client::session::Session;
use serde_json::json;

use crate::harness::{Sim, refused, rows, run, until};

const KS: &str =
    "CREATE KEYSPACE ks WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}";

async fn described(session: &Session) -> Vec<String> {
    let result = run(session, "DESCRIBE SCHEMA WITH INTERNALS")
        .await
        .into_rows_result()
        .unwrap();
    let rows = result
        .rows::<(Option<String>, String, String, String)>()
        .unwrap();
    rows.map(|row| row.unwrap())
        .filter(|row| row.0.is_some())
        .map(|row| row.3)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_described_schema_makes_the_same_schema_again() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    for text in [
        KS,
        "CREATE KEYSPACE \"Odd\" WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 2} AND tablets = {'enabled': false}",
        "CREATE KEYSPACE simple WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 2} AND durable_writes = false",
        "CREATE TYPE ks.inner (\"a;b\" int)",
        "CREATE TYPE ks.a_first (x frozen<inner>)",
        "CREATE TABLE ks.t (a int, b text, c int, v text, \"w\"\"; $$\" frozen<a_first>, PRIMARY KEY ((a, b), c))
            WITH CLUSTERING ORDER BY (c DESC) AND comment = 'it''s; -- $$ /*' AND gc_grace_seconds = 5
            AND tombstone_gc = {'mode': 'immediate'} AND compaction = {'class': 'LeveledCompactionStrategy'}
            AND tablets = {'min_tablet_count': 4}",
        "ALTER TABLE ks.t ADD gone int",
        "ALTER TABLE ks.t DROP gone",
        "ALTER TABLE ks.t ADD again int",
        "ALTER TABLE ks.t DROP again",
        "ALTER TABLE ks.t ADD again int",
        "CREATE MATERIALIZED VIEW ks.by_v AS SELECT a, b, c, v FROM ks.t
            WHERE v IS NOT NULL AND a IS NOT NULL AND b IS NOT NULL AND c IS NOT NULL PRIMARY KEY (v, a, b, c)",
        "CREATE INDEX ON ks.t (v)",
        "CREATE INDEX local ON ks.t ((a, b), again)",
        "CREATE TABLE \"Odd\".\"Table\" (\"Select\" int PRIMARY KEY, v counter)",
    ] {
        run(&session, text).await;
    }
    sim.admin(
        "POST",
        "/tables",
        json!({"keyspace": "simple", "name": "plain"}),
    )
    .await;
    let first = described(&session).await;
    assert_eq!(first.len(), 11, "{first:#?}");
    assert!(
        first[5].contains("'it''s; -- $$ /*'") && first[5].contains("DROP gone USING TIMESTAMP"),
        "{}",
        first[5]
    );
    let other = Sim::start().await;
    let again = other.session().await;
    for statements in &first {
        // One row of a table with dropped columns has several statements, each on its own line.
        for text in statements.split(";\n") {
            run(&again, text).await;
        }
    }
    assert_eq!(described(&again).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_or_lacks_is_refused_in_the_servers_words() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    run(&session, KS).await;
    run(&session, "CREATE TABLE ks.t (k int PRIMARY KEY, v int)").await;
    run(&session, "CREATE MATERIALIZED VIEW ks.mv AS SELECT * FROM ks.t WHERE v IS NOT NULL AND k IS NOT NULL PRIMARY KEY (v, k)").await;
    for (text, expected) in [
        (KS, "Cannot add existing keyspace \"ks\""),
        (
            "CREATE TABLE ks.t (k int PRIMARY KEY)",
            "Cannot add already existing table \"t\" to keyspace \"ks\"",
        ),
        (
            "DROP TABLE ks.t",
            "Cannot drop table when materialized views still depend on it (ks.{mv})",
        ),
        (
            "DROP TABLE ks.nope",
            "Cannot drop non existing table 'nope' in keyspace 'ks'.",
        ),
        (
            "DROP INDEX ks.nope",
            "Index 'nope' could not be found in any of the tables of keyspace 'ks'",
        ),
        ("SELECT * FROM ks.nope", "unconfigured table nope"),
        (
            "SELECT * FROM system.peers_v2",
            "unconfigured table peers_v2",
        ),
        (
            "CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'dcX': 1}",
            "Unrecognized strategy option {dcX} passed to org.apache.cassandra.locator.NetworkTopologyStrategy for keyspace k",
        ),
        (
            "CREATE TABLE ks.x (k int PRIMARY KEY) WITH tombstone_gc = {'mode': 'never'}",
            "Invalid value for tombstone_gc option mode: never",
        ),
        (
            "CREATE TABLE ks.x (k int PRIMARY KEY) WITH nope = 1",
            "Unknown property 'nope'",
        ),
        (
            "INSERT INTO ks.mv (v, k) VALUES (1, 1)",
            "Cannot directly modify a materialized view",
        ),
        ("SELEC 1", "line 1:0 no viable alternative at input 'SELEC'"),
    ] {
        assert_eq!(refused(&session, text).await, expected, "{text}");
    }
    run(
        &session,
        "CREATE TABLE IF NOT EXISTS ks.t (k int PRIMARY KEY)",
    )
    .await;
    run(&session, "DROP TABLE IF EXISTS ks.nope").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn system_tables_tell_what_the_rest_api_tells() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    run(&session, KS).await;
    let before = sim.rest(1, "GET", "/storage_service/schema_version").await;
    run(&session, "CREATE TABLE ks.t (k int PRIMARY KEY) WITH ID = 5a1c395e-b41f-11e5-9f22-ba0be0483c18 AND tombstone_gc = {'mode': 'disabled'}").await;
    let version = sim.rest(1, "GET", "/storage_service/schema_version").await;
    assert_ne!(version, before);
    let version = version.as_str().unwrap();
    let local = rows(
        &session,
        "SELECT schema_version FROM system.local WHERE key = 'local'",
    )
    .await;
    assert_eq!(local, [version]);
    let peers = rows(&session, "SELECT schema_version FROM system.peers").await;
    assert_eq!(peers, [version, version]);
    let names = sim.rest(1, "GET", "/column_family/name").await;
    assert!(names.as_array().unwrap().contains(&json!("ks:t")));
    let id = rows(
        &session,
        "SELECT id FROM system_schema.tables WHERE keyspace_name = 'ks' AND table_name = 't'",
    )
    .await;
    assert_eq!(id, ["5a1c395e-b41f-11e5-9f22-ba0be0483c18"]);
    let dir = sim
        .dir
        .path()
        .join("node-2/data/ks/t-5a1c395eb41f11e59f22ba0be0483c18");
    assert!(dir.is_dir());
    let extensions = rows(
        &session,
        "SELECT extensions FROM system_schema.tables WHERE keyspace_name = 'ks'",
    )
    .await;
    let word = |text: &str| {
        text.bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert!(
        extensions[0].contains(&format!(
            "02000000{}{}08000000{}",
            "04000000",
            word("mode"),
            word("disabled")
        )),
        "{extensions:?}"
    );
    sim.admin(
        "PUT",
        "/nodes/2/schema_version",
        json!({"version": "5a1c395e-b41f-11e5-9f22-ba0be0483c18"}),
    )
    .await;
    let disagree = || async { session.check_schema_agreement().await.unwrap().is_none() };
    until("a node disagrees", disagree).await;
    sim.admin("PUT", "/nodes/2/schema_version", json!({"version": null}))
        .await;
    assert!(session.check_schema_agreement().await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_learns_of_changes_and_a_restart_keeps_them() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    run(&session, KS).await;
    run(&session, "CREATE TABLE ks.t (k int PRIMARY KEY, v text)").await;
    run(&session, "INSERT INTO ks.t (k, v) VALUES (1, 'kept')").await;
    session.refresh_metadata().await.unwrap();
    let state = session.get_cluster_state();
    let table = &state.get_keyspace("ks").unwrap().tables["t"];
    assert_eq!(table.partition_key, ["k"]);
    let before = described(&session).await;
    drop(session);
    let Sim { cluster, dir, http } = sim;
    cluster.shutdown().await.unwrap();
    let cluster = scylla_sim::Cluster::start(scylla_sim::Config::new(dir.path()))
        .await
        .unwrap();
    let sim = Sim { cluster, dir, http };
    let session = sim.session().await;
    assert_eq!(described(&session).await, before);
    assert_eq!(rows(&session, "SELECT v FROM ks.t").await, ["'kept'"]);
}
