//! Topology endpoints agree with each other and with the samples.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::Sim;

#[tokio::test(flavor = "multi_thread")]
async fn identity_is_as_in_the_samples() {
    let sim = Sim::with(|config| config.release = "2026.4.0-0.20260821.f4a4091ca28e".into()).await;
    sim.schema().await;
    let nodes = sim.cluster.nodes();
    let get = async |path: &str| sim.get(1, path).await;
    assert_eq!(
        get("/storage_service/scylla_release_version").await,
        "2026.4.0-0.20260821.f4a4091ca28e"
    );
    assert_eq!(get("/storage_service/operation_mode").await, "NORMAL");
    assert_eq!(
        get("/storage_service/hostid/local").await,
        nodes[0].host_id.to_string()
    );
    let hosts: Vec<_> = nodes
        .iter()
        .map(|n| json!({"key": n.address, "value": n.host_id}))
        .collect();
    assert_eq!(get("/storage_service/host_id").await, Value::from(hosts));
    let addresses: Vec<_> = nodes.iter().map(|n| n.address.to_string()).collect();
    assert_eq!(get("/gossiper/endpoint/live").await, json!(addresses));
    assert_eq!(get("/gossiper/endpoint/down").await, json!([]));
    for node in &nodes {
        let ask = async |what: &str| {
            sim.get(2, &format!("/snitch/{what}?host={}", node.address))
                .await
        };
        assert_eq!(ask("datacenter").await, node.dc);
        assert_eq!(ask("rack").await, node.rack);
        assert_eq!(sim.get(node.number, "/snitch/rack").await, node.rack);
    }
    assert_eq!(get("/snitch/rack?host=10.9.9.9").await, "UNKNOWN_RACK");
    assert_eq!(
        get("/system/shard_to_numa_node_mapping").await,
        json!([0, 0])
    );
    assert_eq!(
        get("/v2/config/data_file_directories").await,
        json!([nodes[0].data])
    );
    let versions = get("/storage_proxy/schema_versions").await;
    assert_eq!(versions[0]["value"], json!(addresses));
    assert_eq!(
        versions[0]["key"],
        get("/storage_service/schema_version").await
    );
    assert_eq!(
        get("/storage_service/keyspaces?type=user&replication=tablets").await,
        json!(["ks"])
    );
    assert_eq!(
        get("/storage_service/keyspaces?type=user&replication=vnodes").await,
        json!(["vks"])
    );
    let non_local = get("/storage_service/keyspaces?type=non_local_strategy").await;
    assert!(!non_local.as_array().unwrap().contains(&json!("system")));
    let names = get("/column_family/name").await;
    for name in ["ks:t", "vks:t", "system:peers"] {
        assert!(names.as_array().unwrap().contains(&json!(name)), "{names}");
    }
    assert_eq!(sim.violations().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_hold_their_settings_as_text() {
    let sim = Sim::with(|config| {
        config
            .endpoints
            .insert("http://127.0.0.1:9000".into(), scylla_sim::Endpoint::S3);
    })
    .await;
    let text = sim
        .call(1, "GET /v2/config/object_storage_endpoints")
        .await
        .1;
    assert_eq!(
        text,
        r#"{"http://127.0.0.1:9000":"{ \"type\": \"s3\", \"aws_region\": \"us-east-1\", \"iam_role_arn\": \"\" }"}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tablets_are_described_evenly() {
    let sim = Sim::start().await;
    let tokens = sim
        .get(1, "/storage_service/tokens_endpoint?keyspace=ks&cf=t")
        .await;
    let tokens = tokens.as_array().unwrap();
    assert_eq!(tokens.len(), 4);
    assert_eq!(tokens[0]["key"], "-4611686018427387905");
    let ring = sim
        .get(2, "/storage_service/describe_ring/ks?table=t")
        .await;
    let ring = ring.as_array().unwrap();
    assert_eq!(ring.len(), 4);
    assert_eq!(ring[0]["start_token"], "-9223372036854775808");
    assert_eq!(ring[3]["end_token"], "9223372036854775807");
    for (range, token) in ring.iter().zip(tokens) {
        assert_eq!(range["end_token"], token["key"]);
        assert_eq!(range["endpoints"][0], token["value"]);
        assert_eq!(range["endpoints"].as_array().unwrap().len(), 3);
        assert_eq!(range["endpoint_details"][0]["datacenter"], "dc1");
        assert_eq!(range["endpoints"], range["rpc_endpoints"]);
    }
    sim.fails(
        1,
        "GET /storage_service/tokens_endpoint?keyspace=ks",
        400,
        "Either provide both keyspace and table (for tablet table) or neither (for vnodes)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ring_is_the_same_from_every_side() {
    let sim = Sim::start().await;
    let ring = sim.get(1, "/storage_service/tokens_endpoint").await;
    let ring: BTreeMap<i64, String> = ring
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| {
            (
                pair["key"].as_str().unwrap().parse().unwrap(),
                pair["value"].as_str().unwrap().into(),
            )
        })
        .collect();
    assert_eq!(ring.len(), 48);
    for node in 1..=3 {
        let address = sim.address(node);
        let own: Vec<String> = ring
            .iter()
            .filter(|(_, owner)| **owner == address)
            .map(|(token, _)| token.to_string())
            .collect();
        assert_eq!(sim.get(node, "/storage_service/tokens").await, json!(own));
        assert_eq!(
            sim.get(1, &format!("/storage_service/tokens/{address}"))
                .await,
            json!(own)
        );
    }
    assert_eq!(
        sim.get(1, "/storage_service/tokens/10.9.9.9").await,
        json!([])
    );
    let ranges = sim.get(3, "/storage_service/describe_ring/vks").await;
    let ranges = ranges.as_array().unwrap();
    assert_eq!(ranges.len(), 48);
    for range in ranges {
        let token: i64 = range["end_token"].as_str().unwrap().parse().unwrap();
        assert_eq!(range["endpoints"][0], ring[&token]);
        assert_eq!(range["endpoints"].as_array().unwrap().len(), 2);
    }
    // The range around the minimum is one, with its start above its end.
    let token = |name: &str| ranges[0][name].as_str().unwrap().parse::<i64>().unwrap();
    assert!(token("start_token") > token("end_token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn datacenters_have_their_own_replicas() {
    let sim =
        Sim::with(|config| config.datacenters = vec![("dc1".into(), 3), ("dc2".into(), 2)]).await;
    let other = json!({"name": "both", "tablets": true, "replication": {"dc1": 3, "dc2": 2}});
    sim.admin("POST", "/keyspaces", other).await;
    sim.table("both", "t").await;
    let ring = sim
        .get(5, "/storage_service/describe_ring/both?table=t")
        .await;
    for range in ring.as_array().unwrap() {
        let details = range["endpoint_details"].as_array().unwrap();
        let of = |dc: &str| details.iter().filter(|d| d["datacenter"] == dc).count();
        assert_eq!((of("dc1"), of("dc2")), (3, 2));
    }
}
