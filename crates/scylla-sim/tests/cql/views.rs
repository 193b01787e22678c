//! Views and indexes follow their table, however rows come into it.

use std::fs;
use std::path::{Path, PathBuf};

use driver::client::session::Session;
use driver::statement::Consistency;
use serde_json::json;

use crate::harness::{Sim, rows, rows_at, run, until};

const KS: &str =
    "CREATE KEYSPACE ks WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}";
const VIEW: &str = "CREATE MATERIALIZED VIEW ks.mv AS SELECT k, v FROM ks.t
    WHERE v IS NOT NULL AND k IS NOT NULL PRIMARY KEY (v, k)";

async fn table(sim: &Sim) -> Session {
    let session = sim.session().await;
    run(&session, KS).await;
    run(
        &session,
        "CREATE TABLE ks.t (k int PRIMARY KEY, v int, w text)",
    )
    .await;
    session
}

async fn built(sim: &Sim, view: &str) {
    let path = format!("/storage_service/view_build_statuses/ks/{view}");
    let success = || async {
        let statuses = sim.rest(1, "GET", &path).await;
        statuses
            .as_array()
            .unwrap()
            .iter()
            .all(|node| node["value"] == "SUCCESS")
    };
    until("the view is built", success).await;
}

async fn sorted(session: &Session, text: &str) -> Vec<String> {
    let mut found = rows_at(session, text, Consistency::All).await;
    found.sort();
    found
}

/// The directory of a table on a node.
fn dir(sim: &Sim, node: usize, table: &str) -> PathBuf {
    let keyspace = sim.cluster.nodes()[node - 1].data.join("ks");
    let start = format!("{table}-");
    let mut found = fs::read_dir(keyspace)
        .unwrap()
        .map(|item| item.unwrap().path());
    found
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(&start)
        })
        .unwrap()
}

fn copy(from: &Path, to: &Path) {
    for item in fs::read_dir(from).unwrap() {
        let path = item.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_file() && name != "manifest.json" && name != "schema.cql" {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_reach_views_and_indexes() {
    let sim = Sim::start().await;
    let session = table(&sim).await;
    run(&session, VIEW).await;
    run(&session, "CREATE INDEX by_w ON ks.t (w)").await;
    for (k, v) in [(1, 10), (2, 10), (3, 30)] {
        run(
            &session,
            &format!("INSERT INTO ks.t (k, v, w) VALUES ({k}, {v}, 'w{v}')"),
        )
        .await;
    }
    assert_eq!(
        sorted(&session, "SELECT k FROM ks.mv WHERE v = 10").await,
        ["1", "2"]
    );
    assert_eq!(
        sorted(&session, "SELECT k, v FROM ks.t WHERE w = 'w10'").await,
        ["1, 10", "2, 10"]
    );
    run(&session, "UPDATE ks.t SET v = 20, w = 'w20' WHERE k = 1").await;
    run(&session, "DELETE FROM ks.t WHERE k = 2").await;
    run(&session, "UPDATE ks.t SET v = null WHERE k = 3").await;
    assert_eq!(sorted(&session, "SELECT v, k FROM ks.mv").await, ["20, 1"]);
    assert_eq!(
        sorted(&session, "SELECT k FROM ks.t WHERE w = 'w20'").await,
        ["1"]
    );
    assert!(
        sorted(&session, "SELECT k FROM ks.t WHERE w = 'w10'")
            .await
            .is_empty()
    );
    run(&session, "TRUNCATE ks.t").await;
    assert!(sorted(&session, "SELECT * FROM ks.mv").await.is_empty());
    let snapshots = dir(&sim, 1, "t").join("snapshots");
    let tags: Vec<String> = fs::read_dir(snapshots)
        .unwrap()
        .map(|tag| tag.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        matches!(tags.as_slice(), [tag] if tag.ends_with("-t")),
        "{tags:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_view_is_built_in_its_time() {
    let sim = Sim::start().await;
    let session = table(&sim).await;
    run(&session, "INSERT INTO ks.t (k, v) VALUES (1, 10)").await;
    sim.admin("PUT", "/views", json!({"build_ms": 3_600_000}))
        .await;
    run(&session, VIEW).await;
    let statuses = sim
        .rest(1, "GET", "/storage_service/view_build_statuses/ks/mv")
        .await;
    assert_eq!(statuses[0]["value"], "STARTED");
    assert!(rows(&session, "SELECT * FROM ks.mv").await.is_empty());
    assert!(
        rows(&session, "SELECT * FROM system.built_views")
            .await
            .is_empty()
    );
    run(&session, "DROP MATERIALIZED VIEW ks.mv").await;
    sim.admin("PUT", "/views", json!({"build_ms": 0})).await;
    run(&session, VIEW).await;
    built(&sim, "mv").await;
    assert_eq!(rows(&session, "SELECT v, k FROM ks.mv").await, ["10, 1"]);
    run(&session, "CREATE INDEX ON ks.t (v)").await;
    built(&sim, "t_v_idx_index").await;
    assert_eq!(
        sim.rest(1, "GET", "/column_family/built_indexes/ks:t")
            .await,
        json!(["t_v_idx"])
    );
    assert_eq!(
        rows(&session, "SELECT k FROM ks.t WHERE v = 10").await,
        ["1"]
    );
    run(&session, "DROP INDEX ks.t_v_idx").await;
    let names = sim.rest(1, "GET", "/column_family/name").await;
    assert!(
        !names
            .as_array()
            .unwrap()
            .contains(&json!("ks:t_v_idx_index"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_rows_reach_the_views_of_their_table() {
    let sim = Sim::start().await;
    let session = table(&sim).await;
    for k in 0..20 {
        run(
            &session,
            &format!("INSERT INTO ks.t (k, v, w) VALUES ({k}, {}, 'x')", k + 100),
        )
        .await;
    }
    let before = sorted(&session, "SELECT * FROM ks.t").await;
    sim.rest(1, "POST", "/storage_service/snapshots?tag=T&kn=ks&cf=t")
        .await;
    run(&session, "TRUNCATE ks.t").await;
    run(&session, VIEW).await;
    built(&sim, "mv").await;
    // A row that was written since stays as it is.
    run(&session, "INSERT INTO ks.t (k, v, w) VALUES (0, 7, 'new')").await;
    let at = dir(&sim, 1, "t");
    copy(&at.join("snapshots/T"), &at.join("upload"));
    sim.rest(
        1,
        "POST",
        "/storage_service/sstables/ks?cf=t&load_and_stream=true",
    )
    .await;
    let after = sorted(&session, "SELECT * FROM ks.t").await;
    assert_eq!(after.len(), 20);
    let same = after.iter().filter(|row| before.contains(row)).count();
    assert_eq!(same, 19, "{after:?}");
    let mut expected: Vec<String> = (1..20).map(|k| format!("{}, {k}", k + 100)).collect();
    expected.push("7, 0".to_owned());
    expected.sort();
    assert_eq!(sorted(&session, "SELECT v, k FROM ks.mv").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_taken_over_as_they_are_reach_no_view() {
    let sim = Sim::start().await;
    let session = sim.session().await;
    run(&session, "CREATE KEYSPACE ks WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3} AND tablets = {'enabled': false}").await;
    run(
        &session,
        "CREATE TABLE ks.t (k int PRIMARY KEY, v int, w text)",
    )
    .await;
    run(&session, "INSERT INTO ks.t (k, v) VALUES (1, 10)").await;
    sim.rest(1, "POST", "/storage_service/snapshots?tag=T&kn=ks&cf=t")
        .await;
    run(&session, "TRUNCATE ks.t").await;
    run(&session, VIEW).await;
    built(&sim, "mv").await;
    let at = dir(&sim, 1, "t");
    copy(&at.join("snapshots/T"), &at.join("upload"));
    sim.rest(1, "POST", "/storage_service/sstables/ks?cf=t")
        .await;
    assert_eq!(sorted(&session, "SELECT k FROM ks.t").await, ["1"]);
    assert!(sorted(&session, "SELECT k FROM ks.mv").await.is_empty());
}
