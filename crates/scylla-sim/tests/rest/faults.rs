//! Nodes that are away and requests that go wrong.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Sim, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_down_refuses_and_is_known_to_be() {
    let sim = Sim::start().await;
    sim.get(2, "/storage_service/cluster_name").await;
    sim.admin("POST", "/nodes/2/down", Value::Null).await;
    let refused = sim
        .try_call(2, "GET /storage_service/cluster_name", "")
        .await
        .unwrap_err();
    assert!(refused.is_connect());
    assert_eq!(
        sim.get(1, "/gossiper/endpoint/down").await,
        json!([sim.address(2)])
    );
    assert_eq!(
        sim.get(1, "/gossiper/endpoint/live").await,
        json!([sim.address(1), sim.address(3)])
    );
    let versions = sim.get(1, "/storage_proxy/schema_versions").await;
    assert_eq!(versions.as_array().unwrap().len(), 1);
    assert_eq!(
        versions[0]["value"],
        json!([sim.address(1), sim.address(3)])
    );
    sim.admin("POST", "/nodes/2/up", Value::Null).await;
    assert_eq!(sim.get(2, "/gossiper/endpoint/down").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_node_accepts_and_never_answers() {
    let sim = Sim::start().await;
    sim.admin("POST", "/nodes/3/hang", Value::Null).await;
    let call = sim.try_call(3, "GET /storage_service/cluster_name", "");
    assert!(
        tokio::time::timeout(Duration::from_millis(200), call)
            .await
            .is_err()
    );
    let versions = sim.get(1, "/storage_proxy/schema_versions").await;
    let hung = json!({"key": "UNREACHABLE", "value": [sim.address(3)]});
    assert!(versions.as_array().unwrap().contains(&hung), "{versions}");
    sim.admin("POST", "/nodes/3/up", Value::Null).await;
    sim.get(3, "/storage_service/cluster_name").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_appear_one_after_the_other_while_a_node_boots() {
    let sim = Sim::start().await;
    sim.done(1, "DELETE /storage_service/auto_compaction/ks")
        .await;
    sim.admin("POST", "/nodes/1/restart", json!({"stage": 0}))
        .await;
    let routes = [
        "/v2/config/api_port",
        "/storage_service/host_id",
        "/storage_service/active_repair",
        "/storage_service/keyspaces",
        "/storage_service/snapshots",
        "",
        "/storage_service/operation_mode",
    ];
    for stage in 0..=6 {
        sim.admin("PUT", "/nodes/1/stage", json!({"stage": stage}))
            .await;
        for (at, route) in routes
            .iter()
            .enumerate()
            .filter(|(_, route)| !route.is_empty())
        {
            let request = format!("GET {route}");
            if at <= stage {
                sim.get(1, route).await;
            } else {
                sim.fails(1, &request, 404, "Not found").await;
            }
        }
    }
    // Switches are volatile.
    assert_eq!(sim.get(1, "/column_family/autocompaction/ks:t").await, true);
    sim.admin("POST", "/nodes/1/restart", json!({"boot_ms": 120}))
        .await;
    sim.fails(1, "GET /storage_service/operation_mode", 404, "Not found")
        .await;
    until("it is back", async || {
        sim.call(1, "GET /storage_service/operation_mode").await.0 == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_struck_as_often_as_wanted() {
    let sim = Sim::start().await;
    let take = "POST /storage_service/snapshots?tag=T&kn=ks&cf=t";
    let status =
        json!({"kind": "status", "status": 500, "message": "std::bad_alloc (std::bad_alloc)"});
    let rule = json!({"node": "1", "method": "POST", "path": "/storage_service/snapshots", "skip": 1, "times": 2,
        "action": status});
    sim.admin("POST", "/faults", rule).await;
    sim.done(1, take).await;
    for _ in 0..2 {
        sim.fails(1, take, 500, "std::bad_alloc (std::bad_alloc)")
            .await;
    }
    sim.fails(
        1,
        take,
        500,
        "std::runtime_error (Keyspace ks: snapshot T already exists.)",
    )
    .await;
    sim.done(2, take).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_has_had_its_effect() {
    let sim = Sim::start().await;
    let rule = json!({"path": "/storage_service/snapshots", "times": 1, "when": "after", "action": {"kind": "reset"}});
    let id = sim.admin("POST", "/faults", rule).await["id"].clone();
    let lost = sim
        .try_call(1, "POST /storage_service/snapshots?tag=T&kn=ks&cf=t", "")
        .await;
    assert!(!lost.unwrap_err().is_connect());
    assert_eq!(
        sim.get(1, "/storage_service/snapshots").await[0]["key"],
        "T"
    );
    sim.admin("DELETE", &format!("/faults/{id}"), Value::Null)
        .await;
    let rule = json!({"query": "type=user", "action": {"kind": "delay", "ms": 150}});
    sim.admin("POST", "/faults", rule).await;
    let start = Instant::now();
    sim.get(1, "/storage_service/keyspaces?type=user").await;
    assert!(start.elapsed() >= Duration::from_millis(150));
    sim.admin("DELETE", "/faults", Value::Null).await;
    assert_eq!(sim.look("/faults").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_disagree_when_told_to() {
    let sim = Sim::start().await;
    let other = "5e0d9c8a-0000-1000-8000-000000000001";
    sim.admin("PUT", "/nodes/2/schema_version", json!({"version": other}))
        .await;
    let versions = sim.get(1, "/storage_proxy/schema_versions").await;
    assert_eq!(versions.as_array().unwrap().len(), 2);
    assert!(
        versions
            .as_array()
            .unwrap()
            .contains(&json!({"key": other, "value": [sim.address(2)]}))
    );
    sim.admin("PUT", "/nodes/2/schema_version", json!({"version": null}))
        .await;
    assert_eq!(
        sim.get(1, "/storage_proxy/schema_versions")
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_built_when_told_to() {
    let sim = Sim::start().await;
    let view = json!({"keyspace": "ks", "name": "v", "kind": "view", "base": "t"});
    sim.admin("POST", "/tables", view).await;
    let path = "/storage_service/view_build_statuses/ks/v";
    let status = async || sim.get(1, path).await[0].clone();
    assert_eq!(
        status().await,
        json!({"key": sim.address(1), "value": "SUCCESS"})
    );
    sim.admin("POST", "/views/ks/v", json!({"status": "STARTED"}))
        .await;
    assert_eq!(status().await["value"], "STARTED");
}
