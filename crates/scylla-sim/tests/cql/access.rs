//! Logging in, and what roles may do.

use crate::harness::{Sim, refused, run};

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_log_in_may_ask() {
    let sim = Sim::with(|config| config.cql_auth = true).await;
    let wrong = sim
        .builder(1)
        .await
        .user("cassandra", "wrong")
        .build()
        .await
        .err()
        .unwrap();
    let text = format!("{wrong:?}");
    assert!(
        text.contains("Username and/or password are incorrect"),
        "{text}"
    );
    assert!(
        sim.builder(1).await.build().await.is_err(),
        "nobody comes in without a name"
    );
    let root = sim
        .builder(1)
        .await
        .user("cassandra", "cassandra")
        .build()
        .await
        .unwrap();
    run(
        &root,
        "CREATE ROLE alice WITH PASSWORD = 'secret' AND LOGIN = true",
    )
    .await;
    let alice = sim
        .builder(2)
        .await
        .user("alice", "secret")
        .build()
        .await
        .unwrap();
    let text =
        "CREATE KEYSPACE ks WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}";
    assert_eq!(
        refused(&alice, text).await,
        "User alice has no CREATE permission on <all keyspaces> or any of its parents"
    );
    run(&root, "GRANT CREATE ON ALL KEYSPACES TO alice").await;
    run(&alice, text).await;
    run(&alice, "CREATE TABLE ks.t (k int PRIMARY KEY)").await;
    run(&alice, "INSERT INTO ks.t (k) VALUES (1)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn described_roles_and_service_levels_work_elsewhere() {
    let sim = Sim::with(|config| config.cql_auth = true).await;
    let root = sim
        .builder(1)
        .await
        .user("cassandra", "cassandra")
        .build()
        .await
        .unwrap();
    for text in [
        "CREATE KEYSPACE ks WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}",
        "CREATE ROLE \"Odd; Role\"",
        "CREATE ROLE alice WITH PASSWORD = 'it''s' AND LOGIN = true",
        "GRANT \"Odd; Role\" TO alice",
        "GRANT SELECT ON KEYSPACE ks TO \"Odd; Role\"",
        "CREATE SERVICE LEVEL sl WITH timeout = 500ms AND workload_type = 'batch'",
        "ATTACH SERVICE LEVEL sl TO alice",
    ] {
        run(&root, text).await;
    }
    let describe = "DESCRIBE SCHEMA WITH INTERNALS AND PASSWORDS";
    let first = statements(&root, describe).await;
    let other = Sim::with(|config| config.cql_auth = true).await;
    let there = other
        .builder(1)
        .await
        .user("cassandra", "cassandra")
        .build()
        .await
        .unwrap();
    for text in &first {
        run(&there, text).await;
    }
    let second = statements(&there, describe).await;
    assert_eq!(second.len(), first.len(), "{second:#?}");
    // The superuser of each cluster keeps its own password.
    let same = |text: &&String| !text.contains("cassandra WITH HASHED");
    let (a, b): (Vec<_>, Vec<_>) = (
        first.iter().filter(same).collect(),
        second.iter().filter(same).collect(),
    );
    assert_eq!(a, b);
    let alice = other
        .builder(1)
        .await
        .user("alice", "it's")
        .build()
        .await
        .unwrap();
    run(&there, "CREATE TABLE ks.t (k int PRIMARY KEY)").await;
    run(&alice, "SELECT * FROM ks.t").await;
    assert_eq!(
        refused(&alice, "INSERT INTO ks.t (k) VALUES (1)").await,
        "User alice has no MODIFY permission on <table ks.t> or any of its parents"
    );
    assert!(
        refused(&alice, describe)
            .await
            .contains("can only be issued by a superuser")
    );
}

async fn statements(session: &driver::client::session::Session, text: &str) -> Vec<String> {
    let result = run(session, text).await.into_rows_result().unwrap();
    let rows = result
        .rows::<(Option<String>, String, String, String)>()
        .unwrap();
    rows.map(|row| row.unwrap().3).collect()
}
