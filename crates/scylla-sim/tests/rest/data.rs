//! Rows: fingerprints, overwriting, damage, and what a restart of the simulator keeps.

use scylla_sim::{Cluster, Config};
use serde_json::json;

use crate::harness::Sim;

#[tokio::test(flavor = "multi_thread")]
async fn a_fingerprint_does_not_depend_on_topology_or_sstables() {
    let small = Sim::start().await;
    let large = Sim::with(|config| {
        config.datacenters = vec![("dc1".into(), 5)];
        config.format = scylla_sim::Format::Me;
        config.seed = 77;
    })
    .await;
    large.schema().await;
    for keyspace in ["ks", "vks"] {
        small.load(keyspace, "t").await;
        let order = json!({"keyspace": keyspace, "table": "t", "rows": 400, "sstables": 17,
            "min_value": 1024, "max_value": 4096});
        large.admin("POST", "/load", order).await;
        let (a, b) = (
            small.fingerprint(keyspace, "t").await,
            large.fingerprint(keyspace, "t").await,
        );
        assert_eq!(
            (&a["table"], &a["value_bytes"]),
            (&b["table"], &b["value_bytes"])
        );
        assert_eq!(
            (&b["replicas_consistent"], &b["rows"]),
            (&json!(true), &json!(400))
        );
    }
    let print = small.fingerprint("vks", "t").await;
    assert_eq!(print["nodes"][0]["sstables"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_rows_win_wherever_they_are() {
    let sim = Sim::start().await;
    sim.load("ks", "t").await;
    let loaded = sim.fingerprint("ks", "t").await;
    sim.admin(
        "POST",
        "/mutate",
        json!({"keyspace": "ks", "table": "t", "from": 350, "rows": 100}),
    )
    .await;
    let changed = sim.fingerprint("ks", "t").await;
    assert_eq!(changed["rows"], 450);
    assert_eq!(changed["replicas_consistent"], true);
    assert_ne!(changed["table"], loaded["table"]);
    sim.admin("POST", "/flush", json!({})).await;
    assert_eq!(sim.fingerprint("ks", "t").await["table"], changed["table"]);
    sim.admin("POST", "/compact", json!({"keyspace": "ks"}))
        .await;
    let compacted = sim.fingerprint("ks", "t").await;
    assert_eq!(compacted["table"], changed["table"]);
    assert_eq!(compacted["nodes"][0]["sstables"], 4, "one for each tablet");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_by_a_deep_look() {
    let sim = Sim::start().await;
    sim.load("vks", "t").await;
    let victim = json!({"node": sim.address(2), "keyspace": "vks", "table": "t", "sstable": 1});
    let damaged = sim.admin("POST", "/corrupt", victim).await;
    assert_eq!(
        sim.fingerprint("vks", "t").await["corrupt"],
        json!([damaged["path"]])
    );
    assert_eq!(
        sim.get(
            2,
            "/storage_service/keyspace_scrub/vks?cf=t&scrub_mode=VALIDATE"
        )
        .await,
        3
    );
    assert_eq!(
        sim.get(
            1,
            "/storage_service/keyspace_scrub/vks?cf=t&scrub_mode=VALIDATE"
        )
        .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_back_as_it_was() {
    let sim = Sim::start().await;
    sim.load("ks", "t").await;
    sim.admin(
        "POST",
        "/mutate",
        json!({"keyspace": "ks", "table": "t", "from": 390, "rows": 20}),
    )
    .await;
    sim.done(1, "POST /storage_service/snapshots?tag=T&kn=ks")
        .await;
    sim.done(1, "POST /storage_service/tablets/balancing?enabled=false")
        .await;
    sim.done(1, "DELETE /storage_service/auto_compaction/ks")
        .await;
    let before = sim.fingerprint("ks", "t").await;
    let hosts = sim.get(1, "/storage_service/host_id").await;
    let Sim { cluster, dir, http } = sim;
    let nodes = cluster.nodes();
    cluster.shutdown().await.unwrap();
    let cluster = Cluster::start(Config::new(dir.path())).await.unwrap();
    let sim = Sim { cluster, dir, http };
    assert_eq!(sim.cluster.nodes()[0].api, nodes[0].api);
    assert_eq!(sim.get(1, "/storage_service/host_id").await, hosts);
    let after = sim.fingerprint("ks", "t").await;
    assert_eq!(
        (&after["table"], &after["replicas_consistent"]),
        (&before["table"], &json!(true))
    );
    assert_eq!(
        sim.get(1, "/storage_service/snapshots").await[0]["key"],
        "T"
    );
    let cluster = sim.look("/cluster").await;
    // Balancing is remembered, switches of compaction are not.
    assert_eq!(
        (&cluster["balancing"], &cluster["switched_off"]),
        (&json!(false), &json!([]))
    );
}
