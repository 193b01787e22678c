//! Native backup and restore, and the task manager they run under.

use std::fs;

use scylla_sim::Endpoint;
use serde_json::{Value, json};

use crate::harness::{Sim, files, until};

/// A cluster with an endpoint `store` that has the bucket `b`, and a snapshot `T` of `ks.t` on every node.
async fn start() -> Sim {
    let mut root = None;
    let sim = Sim::with(|config| {
        let store = config.dir.join("store");
        fs::create_dir_all(store.join("b")).unwrap();
        config
            .endpoints
            .insert("store".into(), Endpoint::Dir(store.clone()));
        root = Some(store);
    })
    .await;
    sim.schema().await;
    sim.load("ks", "t").await;
    for node in 1..=3 {
        sim.done(node, "POST /storage_service/snapshots?tag=T&kn=ks&cf=t")
            .await;
    }
    sim
}

fn backup(prefix: &str) -> String {
    format!(
        "POST /storage_service/backup?endpoint=store&bucket=b&prefix={prefix}&keyspace=ks&table=t&snapshot=T"
    )
}

async fn begin(sim: &Sim, node: usize, request: &str, body: &str) -> String {
    let (status, text) = sim.call_with(node, request, body).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn wait(sim: &Sim, node: usize, id: &str) -> Value {
    sim.get(node, &format!("/task_manager/wait_task/{id}?timeout=20"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_uploads_every_file_and_a_restore_brings_the_rows_back() {
    let sim = start().await;
    let before = sim.fingerprint("ks", "t").await;
    for node in 1..=3 {
        let id = begin(&sim, node, &backup(&format!("p%2F{node}")), "").await;
        let status = wait(&sim, node, &id).await;
        assert_eq!(status["state"], "done", "{status}");
        let expected = json!({"id": id, "type": "backup", "kind": "node", "scope": "node", "is_abortable": true,
            "error": "", "parent_id": "none", "sequence_number": 0, "shard": 0, "keyspace": "ks", "table": "",
            "entity": "", "progress_units": "bytes"});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&status[name], value, "{name}");
        }
        assert_eq!(status["progress_total"], status["progress_completed"]);
        assert_eq!(status.get("children_ids"), None);
        let stored = sim.dir.path().join(format!("store/b/p/{node}"));
        assert_eq!(
            files(&stored),
            files(&sim.table_dir(node, "ks", "t").join("snapshots/T"))
        );
    }
    sim.admin("POST", "/tables/ks/t/truncate?snapshot=false", Value::Null)
        .await;
    // A sub-directory in the body; one node restores what all need.
    let stored = files(&sim.dir.path().join("store/b/p/1"));
    let tocs: Vec<_> = stored
        .iter()
        .filter(|n| n.ends_with("TOC.txt"))
        .map(|n| format!("1/{n}"))
        .collect();
    let request = "POST /storage_service/restore?endpoint=store&bucket=b&prefix=p&keyspace=ks&table=t&scope=all";
    let id = begin(&sim, 2, request, &json!(tocs).to_string()).await;
    let status = wait(&sim, 2, &id).await;
    assert_eq!(status["state"], "done", "{status}");
    assert_eq!(
        (&status["type"], &status["progress_units"]),
        (&json!("download_sstables"), &json!("batches"))
    );
    assert_eq!(
        (&status["progress_total"], &status["progress_completed"]),
        (&json!(8.0), &json!(8.0))
    );
    let after = sim.fingerprint("ks", "t").await;
    assert_eq!(
        (&after["table"], &after["replicas_consistent"]),
        (&before["table"], &json!(true))
    );
    assert_eq!(
        files(&sim.dir.path().join("store/b/p/1")),
        stored,
        "objects stay"
    );
    assert_eq!(sim.violations().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_files_empties_the_snapshot_and_dropped_tables_can_be_backed_up() {
    let sim = start().await;
    let dir = sim.table_dir(1, "ks", "t").join("snapshots/T");
    sim.admin("DELETE", "/tables/ks/t?snapshot=false", Value::Null)
        .await;
    let id = begin(&sim, 1, &format!("{}&move_files=true", backup("p")), "").await;
    assert_eq!(wait(&sim, 1, &id).await["state"], "done");
    assert_eq!(files(&dir), [""; 0]);
    assert!(files(&sim.dir.path().join("store/b/p")).contains(&"manifest.json".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn some_mistakes_fail_the_call_and_some_the_task() {
    let sim = start().await;
    let url = |endpoint: &str, table: &str, tail: &str| {
        format!("?endpoint={endpoint}&bucket=b&prefix=p&keyspace=ks&table={table}{tail}")
    };
    let missing = "std::invalid_argument (snapshot S not found for table ks.t)";
    let call = format!(
        "POST /storage_service/backup{}",
        url("store", "t", "&snapshot=S")
    );
    sim.fails(1, &call, 500, missing).await;
    let call = format!("POST /storage_service/backup{}", url("store", "t", ""));
    sim.fails(1, &call, 400, "The snapshot name must be specified")
        .await;
    let call = format!(
        "POST /storage_service/backup{}",
        url("X", "t", "&snapshot=T")
    );
    let id = begin(&sim, 1, &call, "").await;
    let status = wait(&sim, 1, &id).await;
    assert_eq!(status["state"], "failed");
    assert_eq!(
        status["error"],
        "std::invalid_argument (endpoint X not found)"
    );
    assert_ne!(status["end_time"], "1970-01-01T00:00:00Z");
    let call = format!(
        "POST /storage_service/backup{}",
        url("store", "t", "&snapshot=T").replace("=b&", "=none&")
    );
    let id = begin(&sim, 1, &call, "").await;
    assert!(
        wait(&sim, 1, &id).await["error"]
            .as_str()
            .unwrap()
            .contains("Code: 404")
    );

    let restore = |endpoint: &str, table: &str, tail: &str| {
        format!(
            "POST /storage_service/restore{}",
            url(endpoint, table, tail)
        )
    };
    let refused = async |request: &str, body: &str, status: u16, text: &str| {
        let (found, message) = sim.call_with(1, request, body).await;
        assert_eq!(found, status, "{message}");
        assert!(message.contains(text), "{message}");
    };
    refused(
        &restore("X", "t", ""),
        "[]",
        500,
        "std::invalid_argument (endpoint X not found)",
    )
    .await;
    refused(
        &restore("store", "t", "&scope=world"),
        "[]",
        400,
        "invalid scope parameter value",
    )
    .await;
    refused(
        &restore("store", "t", ""),
        "{}",
        400,
        "malformatted sstables in body",
    )
    .await;
    refused(&restore("store", "t", ""), "", 500, "").await;

    let failed = async |request: &str, body: &str, text: &str| {
        let id = begin(&sim, 1, request, body).await;
        let status = wait(&sim, 1, &id).await;
        assert_eq!(status["state"], "failed");
        assert!(status["error"].as_str().unwrap().contains(text), "{status}");
    };
    failed(
        &restore("store", "x", ""),
        "[]",
        "no_such_column_family (Can't find a column family",
    )
    .await;
    failed(
        &restore("store", "t", ""),
        r#"["mt-1-big-TOC.txt"]"#,
        "Not Found",
    )
    .await;
    let both = restore("store", "t", "&scope=node&primary_replica_only=true");
    failed(
        &both,
        "[]",
        "std::runtime_error (Node scoped streaming of primary replica only is not supported)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_backup_blocks_snapshots_and_other_backups() {
    let sim = start().await;
    sim.admin(
        "PUT",
        "/nodes/1/trouble",
        json!([{"operation": "backup", "times": 1}]),
    )
    .await;
    let stuck = begin(&sim, 1, &backup("p"), "").await;
    let second = begin(&sim, 1, &backup("q"), "").await;
    let (status, text) = sim
        .call(
            1,
            &format!("GET /task_manager/wait_task/{second}?timeout=1"),
        )
        .await;
    assert_eq!(
        (status, text.as_str()),
        (408, "{\"message\": \"timedout\", \"code\": 408}")
    );
    let waiting = sim
        .get(1, &format!("/task_manager/task_status/{second}"))
        .await;
    assert_eq!(waiting["state"], "running");
    assert_eq!(
        (&waiting["progress_total"], &waiting["progress_completed"]),
        (&json!(0.0), &json!(0.0))
    );
    assert_eq!(waiting["end_time"], "1970-01-01T00:00:00Z");
    for request in [
        "GET /storage_service/snapshots",
        "DELETE /storage_service/snapshots?tag=X",
    ] {
        let call = sim.try_call(1, request, "");
        let slow = tokio::time::timeout(std::time::Duration::from_millis(300), call).await;
        assert!(slow.is_err(), "{request} waits");
    }
    // Stuck as it is, it does not hear of its abortion; a restart forgets it and all others.
    sim.done(1, &format!("POST /task_manager/abort_task/{stuck}"))
        .await;
    assert_eq!(
        sim.get(1, &format!("/task_manager/task_status/{stuck}"))
            .await["state"],
        "running"
    );
    sim.admin("POST", "/nodes/1/restart", json!({})).await;
    let unknown = format!("task with id {stuck} not found");
    sim.fails(
        1,
        &format!("GET /task_manager/task_status/{stuck}"),
        400,
        &unknown,
    )
    .await;
    assert_eq!(
        sim.get(1, "/task_manager/list_module_tasks/snapshot").await,
        json!([])
    );
    sim.get(1, "/storage_service/snapshots").await;
    assert_eq!(
        sim.violations().await,
        ["asks for snapshots while a native backup blocks the answer"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_listed_aborted_and_forgotten() {
    let sim = start().await;
    sim.admin(
        "PUT",
        "/nodes/1/trouble",
        json!([{"operation": "backup", "step_ms": 50}]),
    )
    .await;
    let id = begin(&sim, 1, &backup("p"), "").await;
    until("it has begun", async || {
        sim.get(1, &format!("/task_manager/task_status/{id}")).await["progress_completed"]
            != json!(0.0)
    })
    .await;
    let list = sim
        .get(1, "/task_manager/list_module_tasks/snapshot?keyspace=ks")
        .await;
    assert_eq!(list[0]["task_id"], json!(id));
    assert_eq!(list[0]["state"], "running");
    assert_eq!(
        sim.get(1, "/task_manager/list_module_tasks/snapshot?table=t")
            .await,
        json!([])
    );
    assert_eq!(
        sim.get(1, "/task_manager/list_module_tasks/repair").await,
        json!([])
    );
    let unknown = "std::runtime_error (module x not found)";
    sim.fails(1, "GET /task_manager/list_module_tasks/x", 400, unknown)
        .await;
    sim.done(1, &format!("POST /task_manager/abort_task/{id}"))
        .await;
    let status = wait(&sim, 1, &id).await;
    assert_eq!(status["state"], "failed");
    assert_eq!(
        status["error"],
        "seastar::abort_requested_exception (abort requested)"
    );
    sim.done(1, &format!("POST /task_manager/abort_task/{id}"))
        .await;
    // Other nodes know nothing of it, and this one only for a while.
    let gone = format!("task with id {id} not found");
    sim.fails(2, &format!("GET /task_manager/wait_task/{id}"), 400, &gone)
        .await;
    assert_eq!(
        sim.call(1, "POST /task_manager/user_ttl?user_ttl=0").await,
        (200, "3600".into())
    );
    sim.fails(
        1,
        &format!("GET /task_manager/task_status/{id}"),
        400,
        &gone,
    )
    .await;
    let (status, text) = sim.call(1, "GET /task_manager/task_status/zzz").await;
    assert_eq!(status, 500);
    assert!(text.contains("marshal_exception (marshaling error: invalid UUID: 'zzz')"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_fails_in_its_middle_when_told_to() {
    let sim = start().await;
    let error = "storage_io_error (S3 request failed. Code: 503. Reason: Slow Down)";
    let trouble = json!([{"operation": "backup", "after": 3, "times": 1, "error": error}]);
    sim.admin("PUT", "/nodes/1/trouble", trouble).await;
    let id = begin(&sim, 1, &backup("p"), "").await;
    let status = wait(&sim, 1, &id).await;
    assert_eq!(
        (&status["state"], &status["error"]),
        (&json!("failed"), &json!(error))
    );
    assert_eq!(files(&sim.dir.path().join("store/b/p")).len(), 3);
    let id = begin(&sim, 1, &backup("p"), "").await;
    assert_eq!(wait(&sim, 1, &id).await["state"], "done");
}
