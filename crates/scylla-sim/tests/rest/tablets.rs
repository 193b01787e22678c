//! Tablet-aware restore, from backups made natively, node by node.

use std::fs;
use std::path::PathBuf;

use scylla_sim::Endpoint;
use serde_json::{Value, json};

use crate::harness::{Answer, Sim, until};

const ENDPOINT: &str = "http://127.0.0.1:9000";
const RESTORE: &str = "POST /storage_service/tablets/restore?keyspace=ks&table=t&snapshot=T";

/// A cluster with a backup of `ks.t`'s snapshot `T`, of four tablets.
async fn start() -> Sim {
    let sim = Sim::with(|config| {
        let store = config.dir.join("store");
        fs::create_dir_all(store.join("b")).unwrap();
        config
            .endpoints
            .insert(ENDPOINT.into(), Endpoint::Dir(store));
        config.restore_tick = std::time::Duration::from_millis(10);
    })
    .await;
    sim.schema().await;
    sim.load("ks", "t").await;
    backup(&sim, "T", "restore-prefix/snap1").await;
    sim
}

async fn backup(sim: &Sim, tag: &str, prefix: &str) {
    for node in 1..=3 {
        let take = format!("POST /storage_service/snapshots?tag={tag}&kn=ks&cf=t");
        sim.done(node, &take).await;
        let request = format!(
            "POST /storage_service/backup?endpoint=http%3A%2F%2F127.0.0.1%3A9000&bucket=b\
             &prefix={prefix}%2Fnode{node}%2Ft&keyspace=ks&table=t&snapshot={tag}"
        );
        let status = wait(sim, node, &begin(sim, node, &request, "").await).await;
        assert_eq!(status["state"], "done", "{status}");
    }
}

fn location(prefix: &str) -> Value {
    json!({"datacenter": "dc1", "endpoint": ENDPOINT, "bucket": "b", "prefix": prefix, "manifests":
        ["node1/t/manifest.json", "node2/t/manifest.json", "node3/t/manifest.json"]})
}

fn body() -> String {
    json!([location("restore-prefix/snap1")]).to_string()
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

async fn truncate(sim: &Sim) {
    sim.admin("POST", "/tables/ks/t/truncate?snapshot=false", Value::Null)
        .await;
}

fn refusal(status: u16, message: &str) -> Answer {
    let message = Value::from(message);
    (
        status,
        format!("{{\"message\": {message}, \"code\": {status}}}"),
    )
}

fn manifest(sim: &Sim, node: usize) -> PathBuf {
    let path = format!("store/b/restore-prefix/snap1/node{node}/t/manifest.json");
    sim.dir.path().join(path)
}

/// Changes a stored manifest.
fn edit(sim: &Sim, node: usize, change: impl FnOnce(&mut Value)) {
    let path = manifest(sim, node);
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

async fn schema(sim: &Sim, table: &str) -> (usize, Value) {
    let found = sim.look("/cluster").await["keyspaces"]["ks"]["tables"][table].clone();
    let tablets = found["tablets"].as_array().unwrap().len();
    (tablets, found["hint"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_table_comes_back_file_by_file() {
    let sim = start().await;
    let before = sim.fingerprint("ks", "t").await;
    truncate(&sim).await;
    assert_eq!(sim.fingerprint("ks", "t").await["rows"], 0);
    let id = begin(&sim, 2, RESTORE, &body()).await;
    let status = wait(&sim, 2, &id).await;
    let expected = json!({"id": id, "type": "restore_tablets", "kind": "node", "scope": "node", "state": "done",
        "is_abortable": true, "error": "", "parent_id": "none", "shard": 0, "keyspace": "ks", "table": "",
        "progress_units": "sstables"});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&status[name], value, "{name}");
    }
    let after = sim.fingerprint("ks", "t").await;
    let files = |print: &Value| -> f64 {
        let nodes = print["nodes"].as_array().unwrap();
        nodes.iter().map(|n| n["sstables"].as_f64().unwrap()).sum()
    };
    assert_eq!(files(&before), files(&after));
    assert_eq!(status["progress_total"], json!(files(&before)));
    assert_eq!(status["progress_total"], status["progress_completed"]);
    assert_eq!(after["table"], before["table"]);
    assert_eq!(after["replicas_consistent"], true);
    assert_eq!(after["corrupt"], json!([]));
    let list = sim
        .get(2, "/task_manager/list_module_tasks/sstables_loader")
        .await;
    assert_eq!(list[0]["task_id"], json!(id));
    // Once more: everything is there already.
    let id = begin(&sim, 1, RESTORE, &body()).await;
    assert_eq!(wait(&sim, 1, &id).await["state"], "done");
    assert_eq!(files(&sim.fingerprint("ks", "t").await), files(&before));
    assert_eq!(sim.violations().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_table_is_split_to_the_tablets_of_the_manifests() {
    let sim = start().await;
    let before = sim.fingerprint("ks", "t").await;
    for (name, tablets, hint) in [
        ("fewer", json!(2), json!(2)),
        ("more", json!(16), json!(16)),
        ("free", Value::Null, json!(4)),
    ] {
        let new = json!({"keyspace": "ks", "name": name, "tablets": tablets});
        sim.admin("POST", "/tables", new).await;
        let own = json!({"keyspace": "ks", "table": name, "rows": 100, "seed": 9});
        sim.admin("POST", "/load", own).await;
        let request = RESTORE.replace("table=t", &format!("table={name}"));
        let id = begin(&sim, 1, &request, &body()).await;
        let status = wait(&sim, 1, &id).await;
        assert_eq!(status["state"], "done", "{status}");
        assert_eq!(schema(&sim, name).await, (4, hint), "{name}");
        let after = sim.fingerprint("ks", name).await;
        assert_eq!(
            (&after["rows"], &after["replicas_consistent"]),
            (&json!(500), &json!(true))
        );
        assert_eq!(after["corrupt"], json!([]));
        sim.admin(
            "POST",
            &format!("/tables/ks/{name}/truncate?snapshot=false"),
            Value::Null,
        )
        .await;
        let id = begin(&sim, 1, &request, &body()).await;
        assert_eq!(wait(&sim, 1, &id).await["state"], "done");
        let after = sim.fingerprint("ks", name).await;
        assert_eq!(after["table"], before["table"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_balancing_another_tablet_count_is_waited_for() {
    let sim = start().await;
    sim.admin(
        "POST",
        "/tables",
        json!({"keyspace": "ks", "name": "u", "tablets": 2}),
    )
    .await;
    sim.done(1, "POST /storage_service/tablets/balancing?enabled=false")
        .await;
    let request = RESTORE.replace("table=t", "table=u");
    let id = begin(&sim, 1, &request, &body()).await;
    let (status, _) = sim
        .call(1, &format!("GET /task_manager/wait_task/{id}?timeout=1"))
        .await;
    assert_eq!(status, 408);
    assert_eq!(schema(&sim, "u").await, (2, json!(4)));
    // The same count needs no balancer.
    let same = begin(&sim, 1, RESTORE, &body()).await;
    assert_eq!(wait(&sim, 1, &same).await["state"], "done");
    sim.done(1, &format!("POST /task_manager/abort_task/{id}"))
        .await;
    let status = wait(&sim, 1, &id).await;
    assert_eq!(
        status["error"],
        "seastar::abort_requested_exception (abort requested)"
    );
    until("the hint is back", async || {
        schema(&sim, "u").await == (2, json!(2))
    })
    .await;
    let id = begin(&sim, 1, &request, &body()).await;
    sim.done(1, "POST /storage_service/tablets/balancing?enabled=true")
        .await;
    assert_eq!(wait(&sim, 1, &id).await["state"], "done");
    assert_eq!(schema(&sim, "u").await, (4, json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_named_before_the_task_is_made() {
    let sim = start().await;
    let refused = async |request: &str, body: &Value, status: u16, message: &str| {
        let answer = sim.call_with(1, request, &body.to_string()).await;
        assert_eq!(answer, refusal(status, message), "{request}");
    };
    let path = "POST /storage_service/tablets/restore?";
    let good = location("restore-prefix/snap1");
    let list = json!([good]);
    for (query, missing) in [
        ("table=t&snapshot=T", "keyspace"),
        ("keyspace=ks&snapshot=T", "table"),
        ("keyspace=ks&table=t", "snapshot"),
        ("", "keyspace"),
    ] {
        let text = format!("Missing mandatory parameter '{missing}'");
        refused(&format!("{path}{query}"), &list, 400, &text).await;
    }
    let many = "backup locations (in body) must contain exactly one entry";
    let wrong = [
        (good, "backup locations (in body) must be a JSON array"),
        (json!([]), many),
        (json!([{}, {}]), many),
        (
            json!([1]),
            "backup location (in body) must be a JSON object",
        ),
        (
            json!([{"manifests": 1}]),
            "backup location entry must have 'manifests' array",
        ),
        (
            json!([{"manifests": []}]),
            "backup location 'manifests' array must not be empty",
        ),
    ];
    for (body, text) in &wrong {
        refused(RESTORE, body, 400, text).await;
    }
    // The body comes first, then the table, then the endpoint.
    let unknown = RESTORE.replace("table=t", "table=x");
    refused(&unknown, &json!([]), 400, many).await;
    let mut elsewhere = list.clone();
    elsewhere[0]["endpoint"] = json!("X");
    let text = "Can't find a column family x in keyspace ks";
    refused(&unknown, &elsewhere, 400, text).await;
    let text = "std::invalid_argument (endpoint X not found)";
    refused(RESTORE, &elsewhere, 500, text).await;
    let vnodes = RESTORE.replace("keyspace=ks", "keyspace=vks");
    refused(&vnodes, &list, 400, "Keyspace vks does not use tablets").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_checked_before_the_answer() {
    let sim = start().await;
    let list = body();
    let key = "restore-prefix/snap1/node2/t/manifest.json";
    let other = RESTORE.replace("snapshot=T", "snapshot=U");
    let text = format!(
        "std::runtime_error (Manifest {} belongs to snapshot 'T', expected 'U')",
        key.replace("node2", "node1")
    );
    assert_eq!(sim.call_with(1, &other, &list).await, refusal(500, &text));
    edit(&sim, 2, |m| m["table"]["tablet_count"] = json!(8));
    let text = format!(
        "std::runtime_error (Inconsistent tablet_count values in manifest {key}: expected 4, got 8)"
    );
    assert_eq!(sim.call_with(1, RESTORE, &list).await, refusal(500, &text));
    edit(&sim, 2, |m| m["table"]["tablet_count"] = json!(4));
    edit(&sim, 2, |m| {
        m["sstables"][0].as_object_mut().unwrap().remove("id");
    });
    let (status, text) = sim.call_with(1, RESTORE, &list).await;
    assert_eq!(status, 500);
    assert!(text.contains("missing field `id`"), "{text}");
    fs::write(manifest(&sim, 2), "{").unwrap();
    let (status, text) = sim.call_with(1, RESTORE, &list).await;
    assert_eq!(status, 500);
    assert!(text.contains(&format!("Invalid manifest {key}")), "{text}");
    fs::remove_file(manifest(&sim, 2)).unwrap();
    let text = "storage_io_error (S3 request failed. Code: 404. Reason: Not Found)";
    assert_eq!(sim.call_with(1, RESTORE, &list).await, refusal(500, text));
    let tasks = "/task_manager/list_module_tasks/sstables_loader";
    assert_eq!(sim.get(1, tasks).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_snapshot_is_joined_and_another_rejected() {
    let sim = start().await;
    backup(&sim, "U", "restore-prefix/snap2").await;
    let before = sim.fingerprint("ks", "t").await;
    truncate(&sim).await;
    let trouble = json!([{"operation": "restore_tablets", "step_ms": 50}]);
    sim.admin("PUT", "/nodes/1/trouble", trouble).await;
    let first = begin(&sim, 1, RESTORE, &body()).await;
    until("progress", async || {
        let status = sim
            .get(1, &format!("/task_manager/task_status/{first}"))
            .await;
        status["progress_completed"] != json!(0.0)
    })
    .await;
    let joined = begin(&sim, 2, RESTORE, &body()).await;
    let other = RESTORE.replace("snapshot=T", "snapshot=U");
    let body = json!([location("restore-prefix/snap2")]).to_string();
    let rejected = begin(&sim, 3, &other, &body).await;
    let table = &sim.look("/cluster").await["keyspaces"]["ks"]["tables"]["t"]["id"];
    let table = table.as_str().unwrap();
    let text = format!(
        "std::runtime_error (Table {table} is already being restored from a different snapshot T)"
    );
    let status = wait(&sim, 3, &rejected).await;
    assert_eq!(
        (&status["state"], &status["error"]),
        (&json!("failed"), &json!(text))
    );
    let status = wait(&sim, 2, &joined).await;
    assert_eq!(status["state"], "done", "{status}");
    assert_eq!(status["progress_total"], status["progress_completed"]);
    assert_ne!(status["progress_total"], json!(0.0));
    assert_eq!(wait(&sim, 1, &first).await["state"], "done");
    assert_eq!(sim.fingerprint("ks", "t").await["table"], before["table"]);
    let again = begin(&sim, 3, &other, &body).await;
    assert_eq!(wait(&sim, 3, &again).await["state"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sstable_across_a_tablet_border_fails_the_task() {
    let sim = start().await;
    truncate(&sim).await;
    for node in 1..=3 {
        edit(&sim, node, |m| m["table"]["tablet_count"] = json!(8));
    }
    let id = begin(&sim, 1, RESTORE, &body()).await;
    let status = wait(&sim, 1, &id).await;
    assert_eq!(status["state"], "failed");
    assert_eq!(
        status["error"],
        "std::logic_error (sstables_partially_contained)"
    );
    assert_eq!(schema(&sim, "t").await, (8, json!(4)), "the hint is back");
    assert_eq!(sim.fingerprint("ks", "t").await["rows"], 0);
    for node in 1..=3 {
        edit(&sim, node, |m| m["table"]["tablet_count"] = json!(3));
    }
    let id = begin(&sim, 1, RESTORE, &body()).await;
    let error = wait(&sim, 1, &id).await["error"].clone();
    assert!(error.as_str().unwrap().contains("not a power of two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_or_a_node_that_is_down_fails_the_task() {
    let sim = start().await;
    truncate(&sim).await;
    let folder = manifest(&sim, 3).with_file_name("");
    let data = crate::harness::files(&folder);
    let data = data.iter().find(|name| name.ends_with("Data.db")).unwrap();
    let mut bytes = fs::read(folder.join(data)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(folder.join(data), bytes).unwrap();
    let id = begin(&sim, 1, RESTORE, &body()).await;
    let error = wait(&sim, 1, &id).await["error"].clone();
    assert!(
        error.as_str().unwrap().contains("Digest mismatch"),
        "{error}"
    );
    sim.admin("POST", "/nodes/3/down", json!({})).await;
    let id = begin(&sim, 1, RESTORE, &body()).await;
    let error = wait(&sim, 1, &id).await["error"].clone();
    assert!(error.as_str().unwrap().ends_with("is down)"), "{error}");
}
