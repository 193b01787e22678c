//! How requests are taken and refused before any handler sees them.

use serde_json::{Value, json};

use crate::harness::Sim;

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_wrong_methods_are_not_found() {
    let sim = Sim::start().await;
    for request in [
        "GET /nope",
        "GET /",
        "POST /storage_service/cluster_name",
        "PUT /storage_service/snapshots?tag=T&kn=ks",
        "DELETE /storage_service/keyspaces",
        "GET /storage_service/cluster_name//",
        "POST /storage_service/tablets/backup?snapshot=T",
    ] {
        sim.fails(1, request, 404, "Not found").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trailing_slash_is_nothing_and_segments_are_decoded() {
    let sim = Sim::start().await;
    let name = sim.get(1, "/storage_service/cluster_name/").await;
    assert_eq!(name, "sim");
    let bytes = sim
        .get(1, "/column_family/metrics/total_disk_space_used/ks%3At")
        .await;
    assert_eq!(bytes, 0);
    assert_eq!(
        sim.get(1, "/column_family/").await[0]["type"],
        "ColumnFamilies"
    );
    assert_eq!(sim.violations().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_parameters_are_named_in_order() {
    let sim = Sim::start().await;
    let mut given = String::new();
    for name in ["endpoint", "bucket", "prefix", "keyspace", "table"] {
        for operation in ["backup", "restore"] {
            let missing = format!("Missing mandatory parameter '{name}'");
            for empty in ["", &format!("&{name}=")] {
                let request = format!("POST /storage_service/{operation}?{given}{empty}");
                sim.fails(1, &request, 400, &missing).await;
            }
        }
        given += &format!("&{name}=x");
    }
    sim.fails(
        1,
        "POST /storage_service/sstables/ks",
        400,
        "Missing mandatory parameter 'cf'",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn success_without_result_has_an_empty_body_and_lists_come_in_chunks() {
    let sim = Sim::start().await;
    let empty = sim
        .http
        .post(sim.url(1, "/storage_service/keyspace_flush/ks?cf=t"))
        .send()
        .await
        .unwrap();
    assert_eq!(empty.headers()["content-length"], "0");
    let list = sim
        .http
        .get(sim.url(1, "/column_family/name"))
        .send()
        .await
        .unwrap();
    assert_eq!(list.headers()["transfer-encoding"], "chunked");
    let text = sim
        .http
        .get(sim.url(1, "/storage_service/cluster_name"))
        .send()
        .await
        .unwrap();
    assert_eq!(text.text().await.unwrap(), "\"sim\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_refused_in_scyllas_words() {
    let sim = Sim::start().await;
    let no_table = "Can't find a column family x in keyspace ks";
    let form = "Column family name should be in keyspace:column_family format";
    let tablets = "The keyspace ks has tablet table. Query describe_ring with the table parameter!";
    let cases = [
        (
            "POST /storage_service/keyspace_flush/nope",
            400,
            "Can't find a keyspace nope",
        ),
        (
            "POST /storage_service/keyspace_flush/ks?cf=x",
            400,
            no_table,
        ),
        (
            "DELETE /storage_service/auto_compaction/ks?cf=x",
            400,
            no_table,
        ),
        ("GET /column_family/autocompaction/ks:x", 400, no_table),
        ("GET /column_family/autocompaction/ks", 400, form),
        ("GET /v2/config/nope", 400, "No such config entry: nope"),
        (
            "GET /storage_service/describe_ring/ks",
            500,
            &format!("std::runtime_error ({tablets})"),
        ),
        (
            "GET /storage_service/range_to_endpoint_map/ks",
            400,
            "storage_service/range_to_endpoint_map is per-table in keyspace 'ks'. \
             Please provide table name using 'cf' parameter.",
        ),
        (
            "POST /storage_service/tablets/balancing?enabled=yes",
            500,
            "std::runtime_error (Parameter must be either 'true' or 'false')",
        ),
        (
            "GET /task_manager/list_module_tasks/snapshot?internal=maybe",
            400,
            "internal (maybe): type error - should be bool",
        ),
        (
            "POST /storage_service/repair_async/ks",
            403,
            "Cannot repair tablet keyspace. Use /storage_service/tablets/repair to repair tablet keyspaces.",
        ),
        (
            "POST /storage_service/repair_async/vks?nope=1",
            400,
            "option nope is not supported",
        ),
        (
            "GET /storage_service/repair_status?id=5",
            400,
            "unknown repair id 5",
        ),
    ];
    for (request, status, message) in cases {
        sim.fails(1, request, status, message).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_are_seen_and_put_back() {
    let sim = Sim::start().await;
    sim.done(1, "POST /storage_service/tablets/balancing?enabled=false")
        .await;
    sim.done(2, "DELETE /storage_service/auto_compaction/ks?cf=t")
        .await;
    assert_eq!(
        sim.get(2, "/column_family/autocompaction/ks:t").await,
        false
    );
    assert_eq!(sim.get(1, "/column_family/autocompaction/ks:t").await, true);
    let cluster = sim.look("/cluster").await;
    assert_eq!(cluster["balancing"], false);
    assert_eq!(cluster["switched_off"][0]["node"], 2);
    sim.done(3, "POST /storage_service/tablets/balancing?enabled=true")
        .await;
    sim.done(2, "POST /storage_service/auto_compaction/ks?cf=t")
        .await;
    let cluster = sim.look("/cluster").await;
    assert_eq!(
        (&cluster["balancing"], &cluster["switched_off"]),
        (&json!(true), &json!([]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_and_unknown_parameters_disliked() {
    let sim = Sim::start().await;
    let before: Value = sim
        .get(1, "/storage_service/keyspaces?type=user&kind=any")
        .await;
    assert_eq!(before, json!(["ks", "vks"]));
    let route = "GET /storage_service/keyspaces";
    assert_eq!(sim.look("/calls").await[route], json!({"1": 1}));
    assert_eq!(sim.violations().await, ["unknown query parameter `kind`"]);
    sim.admin("DELETE", "/calls", Value::Null).await;
    sim.admin("DELETE", "/violations", Value::Null).await;
    assert_eq!(sim.look("/calls").await, json!({}));
    assert_eq!(sim.violations().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn repairs_succeed() {
    let sim = Sim::start().await;
    let request = "POST /storage_service/repair_async/vks?columnFamilies=t";
    assert_eq!(sim.call(1, request).await, (200, "1".into()));
    assert_eq!(
        sim.get(1, "/storage_service/repair_status?id=1&timeout=5")
            .await,
        "SUCCESSFUL"
    );
    assert_eq!(
        sim.get(1, "/storage_service/repair_status/?id=1").await,
        "SUCCESSFUL"
    );
    let request =
        "POST /storage_service/tablets/repair?ks=ks&table=t&tokens=all&await_completion=false";
    let (status, text) = sim.call(1, request).await;
    let id: Value = serde_json::from_str(&text).unwrap();
    let id = id["tablet_task_id"].as_str().unwrap();
    assert_eq!(status, 200);
    // A cluster task: any node knows it.
    let task = sim
        .get(3, &format!("/task_manager/wait_task/{id}?timeout=5"))
        .await;
    assert_eq!(
        (&task["state"], &task["type"]),
        (&json!("done"), &json!("user_repair"))
    );
}
