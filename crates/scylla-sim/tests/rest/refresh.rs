//! Refresh: what it takes, what it refuses, where rows go.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Sim, copy, files, until};

const LOADING: &str =
    "Failed to load new sstables: std::runtime_error (Already loading SSTables. Try again later)";

/// Copies node 1's snapshot of `from.t` into `to`'s upload on node 1 of another cluster.
fn carry(from: &Sim, to: &Sim, keyspace: &str, node: usize) {
    let source = from.table_dir(node, keyspace, "t").join("snapshots/T");
    copy(&source, &to.table_dir(1, keyspace, "t").join("upload"));
}

async fn source(keyspace: &str) -> Sim {
    let sim = Sim::start().await;
    sim.load(keyspace, "t").await;
    for node in 1..=3 {
        sim.done(
            node,
            &format!("POST /storage_service/snapshots?tag=T&kn={keyspace}&cf=t"),
        )
        .await;
    }
    sim
}

#[tokio::test(flavor = "multi_thread")]
async fn load_and_stream_restores_into_another_topology() {
    for (keyspace, query) in [("ks", ""), ("vks", "&load_and_stream=true")] {
        let old = source(keyspace).await;
        let new = Sim::with(|config| config.datacenters = vec![("dc1".into(), 5)]).await;
        new.schema().await;
        for node in 1..=3 {
            carry(&old, &new, keyspace, node);
            let upload = new.table_dir(1, keyspace, "t").join("upload");
            new.done(
                1,
                &format!("POST /storage_service/sstables/{keyspace}?cf=t{query}"),
            )
            .await;
            until("upload is emptied", async || files(&upload).is_empty()).await;
        }
        let (a, b) = (
            old.fingerprint(keyspace, "t").await,
            new.fingerprint(keyspace, "t").await,
        );
        assert_eq!((&a["table"], &a["rows"]), (&b["table"], &b["rows"]));
        assert_eq!(b["replicas_consistent"], true);
        assert_eq!(b["corrupt"], json!([]));
        assert_eq!(b["nodes"].as_array().unwrap().len(), 5);
        assert_eq!(new.violations().await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_sstables_have_new_generations() {
    let sim = source("ks").await;
    sim.table("ks", "u").await;
    let upload = sim.table_dir(1, "ks", "u").join("upload");
    copy(&sim.table_dir(1, "ks", "t"), &upload);
    let before = files(&upload);
    sim.done(1, "POST /storage_service/sstables/ks?cf=u").await;
    for node in 1..=3 {
        let after = files(&sim.table_dir(node, "ks", "u"));
        assert!(!after.is_empty());
        assert!(after.iter().all(|name| !before.contains(name)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_unlinked_shortly_after_the_answer() {
    let sim = Sim::with(|config| config.unlink_delay = Duration::from_millis(300)).await;
    sim.schema().await;
    sim.load("ks", "t").await;
    let table = sim.table_dir(1, "ks", "t");
    copy(&table, &table.join("upload"));
    sim.done(1, "POST /storage_service/sstables/ks?cf=t").await;
    assert!(!files(&table.join("upload")).is_empty());
    until("they are gone", async || {
        files(&table.join("upload")).is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_streaming_a_node_keeps_only_what_it_owns() {
    let sim = source("vks").await;
    sim.admin("POST", "/tables/vks/t/truncate?snapshot=false", Value::Null)
        .await;
    let (one, two) = (sim.table_dir(1, "vks", "t"), sim.table_dir(2, "vks", "t"));
    copy(&two.join("snapshots/T"), &one.join("upload"));
    sim.done(1, "POST /storage_service/sstables/vks?cf=t").await;
    assert_eq!(files(&one.join("upload")), [""; 0]);
    let print = sim.fingerprint("vks", "t").await;
    assert_eq!(print["extra"], 0);
    assert!(print["missing"].as_u64() > Some(0));
    assert_eq!(print["nodes"][1]["rows"], 0);
    // Told to skip the cleanup, it keeps rows of others.
    copy(&two.join("snapshots/T"), &one.join("upload"));
    sim.done(
        1,
        "POST /storage_service/sstables/vks?cf=t&skip_cleanup=true&skip_reshape=true",
    )
    .await;
    let print = sim.fingerprint("vks", "t").await;
    assert!(print["extra"].as_u64() > Some(0));
    assert_eq!(print["replicas_consistent"], false);
    assert_eq!(sim.violations().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_and_primary_only_narrow_the_receivers() {
    let sim = source("ks").await;
    let order = async |query: &str| {
        sim.admin("POST", "/tables/ks/t/truncate?snapshot=false", Value::Null)
            .await;
        let table = sim.table_dir(1, "ks", "t");
        copy(&table.join("snapshots/T"), &table.join("upload"));
        sim.done(
            1,
            &format!("POST /storage_service/sstables/ks?cf=t&load_and_stream=true{query}"),
        )
        .await;
        until("upload is emptied", async || {
            files(&table.join("upload")).is_empty()
        })
        .await;
        let print = sim.fingerprint("ks", "t").await;
        let rows = |node: usize| print["nodes"][node]["rows"].as_u64().unwrap();
        [rows(0), rows(1), rows(2)]
    };
    assert_eq!(order("&scope=all").await, [400; 3]);
    assert_eq!(order("&scope=dc").await, [400; 3]);
    assert_eq!(order("&scope=rack").await, [400, 0, 0]);
    assert_eq!(order("&scope=node").await, [400, 0, 0]);
    assert_eq!(
        order("&scope=rack&primary_replica_only=true").await,
        [400, 0, 0]
    );
    assert_eq!(
        order("&primary_replica_only=true")
            .await
            .iter()
            .sum::<u64>(),
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused() {
    let sim = Sim::start().await;
    let view = json!({"keyspace": "ks", "name": "v", "kind": "view", "base": "t"});
    sim.admin("POST", "/tables", view).await;
    let inner = |text: &str| format!("Failed to load new sstables: std::runtime_error ({text})");
    let cases = [
        ("nope?cf=t", 400, "Can't find a keyspace nope".into()),
        (
            "ks?cf=t&scope=world",
            400,
            "invalid scope parameter value".into(),
        ),
        (
            "ks?cf=t&scope=rack",
            400,
            "scope takes no effect without load-and-stream".into(),
        ),
        (
            "ks?cf=v",
            500,
            inner(
                "Loading Materialized View SSTables is not supported. Re-create the view instead.",
            ),
        ),
        (
            "ks?cf=t&load_and_stream=true&scope=node&primary_replica_only=true",
            500,
            inner("Node scoped streaming of primary replica only is not supported"),
        ),
        (
            "ks?cf=t&skip_cleanup=true",
            500,
            inner("Skipping cleanup is not possible when doing load-and-stream"),
        ),
        (
            "ks?cf=x",
            500,
            "Failed to load new sstables: data_dictionary::no_such_column_family \
            (Can't find a column family x in keyspace ks)"
                .into(),
        ),
    ];
    for (query, status, message) in cases {
        sim.fails(
            1,
            &format!("POST /storage_service/sstables/{query}"),
            status,
            &message,
        )
        .await;
    }
    assert_eq!(
        sim.violations().await,
        ["skip_cleanup with load-and-stream blocks the shard for ever"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn skipping_cleanup_while_streaming_wedges_the_shard_if_wanted() {
    let sim = Sim::with(|config| config.wedge = true).await;
    sim.schema().await;
    let (status, _) = sim
        .call(1, "POST /storage_service/sstables/ks?cf=t&skip_cleanup=1")
        .await;
    assert_eq!(status, 500);
    sim.fails(1, "POST /storage_service/sstables/ks?cf=t", 500, LOADING)
        .await;
    sim.admin("POST", "/nodes/1/restart", json!({})).await;
    sim.done(1, "POST /storage_service/sstables/ks?cf=t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refresh_at_a_time_holds_its_shard() {
    let sim = Sim::start().await;
    sim.admin("PUT", "/nodes/1/loading", json!({"loading": true}))
        .await;
    sim.fails(
        1,
        "POST /storage_service/sstables/ks?cf=t&load_and_stream=true",
        500,
        LOADING,
    )
    .await;
    sim.done(
        2,
        "POST /storage_service/sstables/ks?cf=t&load_and_stream=true",
    )
    .await;
    sim.admin("PUT", "/nodes/1/loading", json!({"loading": false}))
        .await;
    sim.done(
        1,
        "POST /storage_service/sstables/ks?cf=t&load_and_stream=true",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_alien_and_incomplete_files_fail() {
    let sim = source("ks").await;
    let table = sim.table_dir(1, "ks", "t");
    let upload = table.join("upload");
    let refresh = "POST /storage_service/sstables/ks?cf=t";
    let refused = async |expected: &str| {
        let (status, text) = sim.call(1, refresh).await;
        assert_eq!(status, 500);
        assert!(
            text.contains("Failed to load new sstables: sstables::malformed_sstable_exception ("),
            "{text}"
        );
        assert!(text.contains(expected), "{text}");
        for name in files(&upload) {
            fs::remove_file(upload.join(name)).unwrap();
        }
    };
    let fresh = || {
        copy(&table.join("snapshots/T"), &upload);
        files(&upload)
    };
    let damage = |name: &str| {
        let path = upload.join(name);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let names = fresh();
    let named = |end: &str| names.iter().find(|name| name.ends_with(end)).unwrap();
    damage(named("-Data.db"));
    refused("due to Digest mismatch: expected=").await;
    for component in ["-Statistics.db", "-Filter.db", "-Scylla.db", "-CRC.db"] {
        fresh();
        damage(named(component));
        refused(&component[1..]).await;
    }
    fresh();
    fs::remove_file(upload.join(named("-Filter.db"))).unwrap();
    refused("component Filter.db is missing").await;
    fresh();
    fs::write(upload.join("mt-1-big"), "?").unwrap();
    refused("Name doesn't match any known version").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generations_without_toc_are_deleted_and_snapshot_files_ignored() {
    let sim = source("ks").await;
    let table = sim.table_dir(1, "ks", "t");
    let upload = table.join("upload");
    sim.admin("POST", "/tables/ks/t/truncate?snapshot=false", Value::Null)
        .await;
    for name in files(&table.join("snapshots/T")) {
        fs::copy(table.join("snapshots/T").join(&name), upload.join(&name)).unwrap();
    }
    let tocs: Vec<_> = files(&upload)
        .into_iter()
        .filter(|name| name.ends_with("-TOC.txt"))
        .collect();
    fs::remove_file(upload.join(&tocs[0])).unwrap();
    sim.done(1, "POST /storage_service/sstables/ks?cf=t").await;
    until("only those two are left", async || {
        files(&upload) == ["manifest.json", "schema.cql"]
    })
    .await;
    let print = sim.fingerprint("ks", "t").await;
    assert!(print["rows"].as_u64() < Some(400));
    assert_eq!(sim.violations().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn integer_generations_collide_between_nodes() {
    let sim = Sim::with(|config| config.ids = scylla_sim::Ids::Int).await;
    sim.schema().await;
    sim.load("vks", "t").await;
    let names = |node| files(&sim.table_dir(node, "vks", "t"));
    let shared = names(1)
        .iter()
        .filter(|name| names(2).contains(name))
        .count();
    assert!(shared > 0);
    // One node's file among another's is noticed.
    let (one, two) = (sim.table_dir(1, "vks", "t"), sim.table_dir(2, "vks", "t"));
    copy(&one, &one.join("upload"));
    let name = names(1)
        .into_iter()
        .find(|n| n.ends_with("-Statistics.db") && names(2).contains(n))
        .unwrap();
    fs::copy(two.join(&name), one.join("upload").join(&name)).unwrap();
    let (status, _) = sim.call(1, "POST /storage_service/sstables/vks?cf=t").await;
    assert_eq!(status, 500);
}
