//! Rows: written, read back at each consistency level, paged, stored in SSTables.

use driver::statement::{Consistency, Statement};
use futures::StreamExt as _;
use serde_json::json;

use crate::harness::{Sim, refused, rows, rows_at, run};

const KS: &str =
    "CREATE KEYSPACE ks WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}";

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_what_was_written_last() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    run(&session, KS).await;
    run(&session, "CREATE TABLE ks.t (a int, b text, c int, v text, w list<int>, PRIMARY KEY ((a, b), c)) WITH CLUSTERING ORDER BY (c DESC)").await;
    for c in 1..=3 {
        run(
            &session,
            &format!("INSERT INTO ks.t (a, b, c, v) VALUES (1, 'x', {c}, 'v{c}')"),
        )
        .await;
    }
    run(&session, "INSERT INTO ks.t (a, b, c) VALUES (2, 'y', 1)").await;
    run(
        &session,
        "UPDATE ks.t SET w = [1, 2] WHERE a = 1 AND b = 'x' AND c = 2",
    )
    .await;
    run(
        &session,
        "DELETE FROM ks.t WHERE a = 1 AND b = 'x' AND c = 1",
    )
    .await;
    let expected = ["1, 'x', 3, 'v3', null", "1, 'x', 2, 'v2', [1,2]"];
    assert_eq!(
        rows(&session, "SELECT * FROM ks.t WHERE a = 1 AND b = 'x'").await,
        expected
    );
    sim.admin("POST", "/flush", json!({})).await;
    assert_eq!(
        rows(&session, "SELECT * FROM ks.t WHERE a = 1 AND b = 'x'").await,
        expected
    );
    let ascending = "SELECT c FROM ks.t WHERE a = 1 AND b = 'x' ORDER BY c ASC";
    assert_eq!(rows(&session, ascending).await, ["2", "3"]);
    assert_eq!(
        rows(
            &session,
            "SELECT c FROM ks.t WHERE a = 1 AND b = 'x' AND c > 2"
        )
        .await,
        ["3"]
    );
    assert_eq!(rows(&session, "SELECT count(*) FROM ks.t").await, ["3"]);
    assert_eq!(
        rows(
            &session,
            "SELECT c FROM ks.t WHERE a = 1 AND b = 'x' LIMIT 1"
        )
        .await,
        ["3"]
    );
    run(
        &session,
        "DELETE v FROM ks.t WHERE a = 1 AND b = 'x' AND c = 3",
    )
    .await;
    assert_eq!(
        rows(
            &session,
            "SELECT v FROM ks.t WHERE a = 1 AND b = 'x' AND c = 3"
        )
        .await,
        ["null"]
    );
    let filter = refused(&session, "SELECT * FROM ks.t WHERE v = 'v2'").await;
    assert!(filter.contains("ALLOW FILTERING"), "{filter}");
    assert_eq!(
        rows(
            &session,
            "SELECT c FROM ks.t WHERE v = 'v2' ALLOW FILTERING"
        )
        .await,
        ["2"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn older_writes_do_not_undo_newer_ones() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    run(&session, KS).await;
    run(&session, "CREATE TABLE ks.t (k int PRIMARY KEY, v int)").await;
    run(
        &session,
        "INSERT INTO ks.t (k, v) VALUES (1, 2) USING TIMESTAMP 20",
    )
    .await;
    run(
        &session,
        "INSERT INTO ks.t (k, v) VALUES (1, 1) USING TIMESTAMP 10",
    )
    .await;
    run(&session, "DELETE FROM ks.t USING TIMESTAMP 15 WHERE k = 1").await;
    assert_eq!(
        rows(&session, "SELECT v, writetime(v) FROM ks.t").await,
        ["2, 20"]
    );
    run(&session, "DELETE FROM ks.t USING TIMESTAMP 20 WHERE k = 1").await;
    assert!(rows(&session, "SELECT * FROM ks.t").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_and_batches_bind_every_type() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    run(&session, KS).await;
    run(&session, "CREATE TYPE ks.u (a int, b text)").await;
    run(
        &session,
        "CREATE TABLE ks.t (k uuid PRIMARY KEY, b boolean, d double, m map<text, int>, s set<int>, t timestamp, u frozen<u>, x blob)",
    )
    .await;
    let insert = session
        .prepare("INSERT INTO ks.t (k, b, d, m, s, x) VALUES (?, ?, ?, ?, ?, ?)")
        .await
        .unwrap();
    let key = uuid::Uuid::from_u128(7);
    let map = std::collections::BTreeMap::from([("a", 1), ("b", 2)]);
    let values = (key, true, 1.5f64, map, vec![3, 4], vec![0xabu8]);
    session.execute_unpaged(&insert, values).await.unwrap();
    let text =
        format!("UPDATE ks.t SET t = '2026-01-01', u = {{a: 1, b: 'it''s'}} WHERE k = {key}");
    run(&session, &text).await;
    let select = session
        .prepare("SELECT b, d, m, s, x, t, u.a FROM ks.t")
        .await;
    assert!(select.is_err(), "fields of types are not selected");
    let select = session
        .prepare("SELECT b, d, m, s, x, t FROM ks.t WHERE k = ?")
        .await
        .unwrap();
    let result = session
        .execute_unpaged(&select, (key,))
        .await
        .unwrap()
        .into_rows_result()
        .unwrap();
    type Found = (
        bool,
        f64,
        std::collections::BTreeMap<String, i32>,
        Vec<i32>,
        Vec<u8>,
        driver::value::CqlTimestamp,
    );
    let found = result.single_row::<Found>().unwrap();
    let map = std::collections::BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
    let january = driver::value::CqlTimestamp(1_767_225_600_000);
    assert_eq!(found, (true, 1.5, map, vec![3, 4], vec![0xab], january));
    assert_eq!(
        rows(&session, "SELECT u FROM ks.t").await,
        ["{a:1,b:'it''s'}"]
    );
    run(&session, "BEGIN BATCH INSERT INTO ks.t (k, b) VALUES (uuid(), true); DELETE FROM ks.t WHERE k = 00000000-0000-0000-0000-000000000007; APPLY BATCH").await;
    assert_eq!(rows(&session, "SELECT b FROM ks.t").await, ["true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_admin_api_are_read_page_by_page() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    for (keyspace, tablets) in [("ks", true), ("vks", false)] {
        let made = json!({"name": keyspace, "tablets": tablets, "replication": 3});
        sim.admin("POST", "/keyspaces", made).await;
        sim.admin(
            "POST",
            "/tables",
            json!({"keyspace": keyspace, "name": "t"}),
        )
        .await;
        sim.load(keyspace, "t", 500).await;
        let mut statement = Statement::new(format!("SELECT key, value FROM {keyspace}.t"));
        statement.set_page_size(64);
        let pager = session.query_iter(statement, &[]).await.unwrap();
        let mut stream = pager.rows_stream::<(Vec<u8>, Vec<u8>)>().unwrap();
        let mut keys = std::collections::BTreeSet::new();
        while let Some(row) = stream.next().await {
            let (key, value) = row.unwrap();
            assert!((16..=64).contains(&value.len()));
            assert!(keys.insert(key), "a row came twice");
        }
        assert_eq!(keys.len(), 500);
        assert_eq!(
            rows(&session, &format!("SELECT count(*) FROM {keyspace}.t")).await,
            ["500"]
        );
        let hex: String = keys
            .first()
            .unwrap()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let one = rows(
            &session,
            &format!("SELECT key FROM {keyspace}.t WHERE key = 0x{hex}"),
        )
        .await;
        assert_eq!(one, [format!("0x{hex}")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_a_row_shows_at_one_and_not_at_all() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    run(&session, KS).await;
    run(&session, "CREATE TABLE ks.t (k int PRIMARY KEY, v int)").await;
    sim.admin("POST", "/nodes/3/down", json!({})).await;
    let one = sim.builder(1).await.build().await.unwrap();
    run(&one, "INSERT INTO ks.t (k, v) VALUES (1, 1)").await;
    let unavailable = {
        let mut statement = Statement::new("SELECT * FROM ks.t");
        statement.set_consistency(Consistency::All);
        one.query_unpaged(statement, &[])
            .await
            .unwrap_err()
            .to_string()
    };
    assert!(
        unavailable.contains("Not enough nodes are alive"),
        "{unavailable}"
    );
    sim.admin("POST", "/nodes/3/up", json!({})).await;
    let third = sim.address(3).await;
    let only = sim.builder(3).await.build().await.unwrap();
    let mut at_third = Vec::new();
    for cl in [Consistency::One, Consistency::All] {
        let mut statement = Statement::new("SELECT * FROM ks.t");
        statement.set_consistency(cl);
        let node = only.get_cluster_state();
        let node = node
            .get_nodes_info()
            .iter()
            .find(|n| n.address.to_string() == third)
            .unwrap();
        statement.set_load_balancing_policy(Some(
            driver::policies::load_balancing::SingleTargetLoadBalancingPolicy::new(
                driver::policies::load_balancing::NodeIdentifier::Node(node.clone()),
                None,
            ),
        ));
        let found = only
            .query_unpaged(statement, &[])
            .await
            .unwrap()
            .into_rows_result()
            .unwrap();
        at_third.push(found.rows_num());
    }
    assert_eq!(at_third, [0, 1]);
    assert_eq!(
        rows_at(&session, "SELECT v FROM ks.t", Consistency::Quorum).await,
        ["1"]
    );
}
