//! What can go wrong: tombstones forgotten too early, statements that fail or whose answer is lost.

use driver::client::session::Session;
use driver::statement::Consistency;
use serde_json::json;

use crate::harness::{Sim, refused, rows, rows_at, run};

const KS: &str =
    "CREATE KEYSPACE ks WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}";

/// Deletes row 1 of a table with the given `tombstone_gc`, compacts, lets the old row come back by a refresh.
async fn resurrects(sim: &Sim, session: &Session, table: &str, gc: &str, repair: bool) -> bool {
    run(
        session,
        &format!("CREATE TABLE ks.{table} (k int PRIMARY KEY, v int) WITH tombstone_gc = {gc}"),
    )
    .await;
    run(
        session,
        &format!("INSERT INTO ks.{table} (k, v) VALUES (1, 1)"),
    )
    .await;
    sim.rest(
        1,
        "POST",
        &format!("/storage_service/snapshots?tag=T&kn=ks&cf={table}"),
    )
    .await;
    run(session, &format!("DELETE FROM ks.{table} WHERE k = 1")).await;
    let place = json!({"keyspace": "ks", "table": table});
    sim.admin("POST", "/flush", place.clone()).await;
    if repair {
        // A repair of the same second is not yet after the deletion.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        let path = format!("/storage_service/tablets/repair?ks=ks&table={table}&tokens=all");
        sim.rest(1, "POST", &path).await;
    }
    sim.admin("POST", "/compact", place).await;
    let keyspace = sim.cluster.nodes()[0].data.join("ks");
    let start = format!("{table}-");
    let mut dirs = std::fs::read_dir(keyspace)
        .unwrap()
        .map(|item| item.unwrap().path());
    let dir = dirs
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(&start)
        })
        .unwrap();
    for item in std::fs::read_dir(dir.join("snapshots/T")).unwrap() {
        let path = item.unwrap().path();
        if path
            .extension()
            .is_some_and(|end| end != "json" && end != "cql")
        {
            std::fs::copy(&path, dir.join("upload").join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = format!("/storage_service/sstables/ks?cf={table}&load_and_stream=true");
    sim.rest(1, "POST", &path).await;
    let found = rows_at(
        session,
        &format!("SELECT v FROM ks.{table}"),
        Consistency::All,
    )
    .await;
    !found.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_are_forgotten_as_the_table_says() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    run(&session, KS).await;
    let repaired = "{'mode': 'repair', 'propagation_delay_in_seconds': '0'}";
    for (table, gc, repair, expected) in [
        ("a", "{'mode': 'disabled'}", false, false),
        ("b", "{'mode': 'immediate'}", false, true),
        ("c", "{'mode': 'timeout'}", false, false),
        ("d", repaired, false, false),
        ("e", repaired, true, true),
    ] {
        assert_eq!(
            resurrects(&sim, &session, table, gc, repair).await,
            expected,
            "{gc} {repair}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_rows_do_not_count_in_fingerprints() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    run(&session, KS).await;
    run(
        &session,
        "CREATE TABLE ks.t (k int PRIMARY KEY, v int) WITH tombstone_gc = {'mode': 'immediate'}",
    )
    .await;
    run(&session, "INSERT INTO ks.t (k, v) VALUES (1, 1)").await;
    let print = || async {
        sim.admin("GET", "/fingerprint?keyspace=ks&table=t", json!(null))
            .await[0]
            .clone()
    };
    let before = print().await;
    run(&session, "INSERT INTO ks.t (k, v) VALUES (2, 2)").await;
    assert_ne!(print().await["table"], before["table"]);
    run(&session, "DELETE FROM ks.t WHERE k = 2").await;
    let after = print().await;
    let told = |print: &serde_json::Value| {
        (
            print["table"].clone(),
            print["rows"].clone(),
            print["replicas_consistent"].clone(),
        )
    };
    assert_eq!(told(&after), told(&before));
    assert_eq!(after["rows"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_gives_replicas_what_they_missed() {
    let sim = Sim::start().await;
    let session = sim.builder(1).await.build().await.unwrap();
    run(&session, KS).await;
    run(&session, "CREATE TABLE ks.t (k int PRIMARY KEY, v int)").await;
    sim.admin("POST", "/nodes/3/down", json!({})).await;
    run(&session, "INSERT INTO ks.t (k, v) VALUES (1, 1)").await;
    sim.admin("POST", "/nodes/3/up", json!({})).await;
    let path = "/fingerprint?keyspace=ks&table=t&deep=true";
    assert_eq!(sim.admin("GET", path, json!(null)).await[0]["missing"], 1);
    sim.rest(
        2,
        "POST",
        "/storage_service/tablets/repair?ks=ks&table=t&tokens=all",
    )
    .await;
    let print = sim.admin("GET", path, json!(null)).await[0].clone();
    assert_eq!(
        (&print["missing"], &print["rows"], &print["corrupt"]),
        (&json!(0), &json!(1), &json!([]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_fail_as_often_as_they_are_told_to() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    run(&session, KS).await;
    let fault = json!({"method": "CQL", "query": "ALTER TABLE", "times": 1,
        "action": {"kind": "status", "status": 0x1001, "message": "too much to do"}});
    sim.admin("POST", "/faults", fault).await;
    run(&session, "CREATE TABLE ks.t (k int PRIMARY KEY)").await;
    let alter = "ALTER TABLE ks.t WITH tombstone_gc = {'mode': 'disabled'}";
    assert_eq!(refused(&session, alter).await, "too much to do");
    let gc = "SELECT create_statement FROM system.none";
    assert!(refused(&session, gc).await.contains("unconfigured"));
    run(&session, alter).await;
    let timeout = json!({"method": "CQL", "query": "INSERT", "when": "after", "times": 1,
        "action": {"kind": "status", "status": 0x1100, "message": "no answer in time"}});
    sim.admin("POST", "/faults", timeout).await;
    let failed = session
        .query_unpaged("INSERT INTO ks.t (k) VALUES (1)", &[])
        .await
        .unwrap_err();
    assert!(failed.to_string().contains("write"), "{failed}");
    assert_eq!(
        rows(&session, "SELECT k FROM ks.t").await,
        ["1"],
        "it had its effect"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_be_lost_after_the_effect() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    run(&session, KS).await;
    let fault = json!({"method": "CQL", "query": "CREATE TABLE", "when": "after", "times": 1, "action": {"kind": "reset"}});
    sim.admin("POST", "/faults", fault).await;
    let create = "CREATE TABLE ks.t (k int PRIMARY KEY)";
    let lost = session.query_unpaged(create, &[]).await.unwrap_err();
    let again = sim.session().await;
    assert_eq!(
        refused(&again, create).await,
        "Cannot add already existing table \"t\" to keyspace \"ks\"",
        "{lost}"
    );
}
