//! Snapshots on disk and over REST.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::harness::{Sim, copy, files, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_links_all_files_and_ends_with_its_manifest() {
    let sim = Sim::start().await;
    sim.load("ks", "t").await;
    sim.done(1, "POST /storage_service/snapshots?tag=T&kn=ks&cf=t")
        .await;
    let table = sim.table_dir(1, "ks", "t");
    let dir = table.join("snapshots/T");
    let mut names = files(&dir);
    names.retain(|name| name != "manifest.json" && name != "schema.cql");
    assert_eq!(names, files(&table));
    for name in &names {
        let (snapshot, live) = (
            fs::metadata(dir.join(name)).unwrap(),
            fs::metadata(table.join(name)).unwrap(),
        );
        assert_eq!(snapshot.ino(), live.ino());
    }
    assert!(
        fs::read_to_string(dir.join("schema.cql"))
            .unwrap()
            .starts_with("CREATE TABLE ks.t (")
    );

    let manifest: Value =
        serde_json::from_slice(&fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(
        manifest["manifest"],
        json!({"version": "1.0", "scope": "node"})
    );
    assert_eq!(manifest["node"]["rack"], "r1");
    assert_eq!(manifest["snapshot"]["name"], "T");
    assert_eq!(manifest["snapshot"].get("expires_at"), None);
    assert_eq!(
        (
            &manifest["table"]["tablets_type"],
            &manifest["table"]["tablet_count"]
        ),
        (&json!("powof2"), &json!(4))
    );
    let id = manifest["table"]["table_id"]
        .as_str()
        .unwrap()
        .replace('-', "");
    assert!(table.ends_with(format!("t-{id}")));
    let sstables = manifest["sstables"].as_array().unwrap();
    let tocs = names
        .iter()
        .filter(|name| name.ends_with("-TOC.txt"))
        .count();
    assert_eq!(sstables.len(), tocs);
    assert!(tocs >= 4, "one for each tablet");
    let tablets = manifest["tablets"].as_array().unwrap();
    for sstable in sstables {
        let tablet = tablets
            .iter()
            .find(|tablet| tablet["id"] == sstable["tablet_id"])
            .unwrap();
        let token = |of: &Value, name: &str| of[name].as_i64().unwrap();
        assert!(token(tablet, "first_token") <= token(sstable, "first_token"));
        assert!(token(sstable, "last_token") <= token(tablet, "last_token"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sstables_carry_real_checksums() {
    for format in [
        scylla_sim::Format::Mt,
        scylla_sim::Format::Ms,
        scylla_sim::Format::Me,
    ] {
        let sim = Sim::with(|config| config.format = format).await;
        sim.schema().await;
        sim.load("vks", "t").await;
        let table = sim.table_dir(1, "vks", "t");
        let names = files(&table);
        let toc = names
            .iter()
            .find(|name| name.ends_with("-TOC.txt"))
            .unwrap();
        let prefix = toc.strip_suffix("TOC.txt").unwrap();
        let mut components: Vec<_> = fs::read_to_string(table.join(toc))
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        components.sort();
        let mut expected: Vec<&str> = vec![
            "CRC.db",
            "Data.db",
            "Digest.crc32",
            "Filter.db",
            "Scylla.db",
            "Statistics.db",
            "TOC.txt",
        ];
        expected.extend(match format {
            scylla_sim::Format::Mt | scylla_sim::Format::Ms => ["Partitions.db", "Rows.db"],
            scylla_sim::Format::Me => ["Index.db", "Summary.db"],
        });
        expected.sort_unstable();
        assert_eq!(components, expected);
        let read = |component: &str| fs::read(table.join(format!("{prefix}{component}"))).unwrap();
        let data = read("Data.db");
        assert_eq!(
            read("Digest.crc32"),
            crc32fast::hash(&data).to_string().into_bytes()
        );
        let mut sums = 65536u32.to_be_bytes().to_vec();
        data.chunks(65536)
            .for_each(|chunk| sums.extend(crc32fast::hash(chunk).to_be_bytes()));
        assert_eq!(read("CRC.db"), sums);
        assert!(read("Statistics.db").len() >= 4600);
        let scylla = read("Scylla.db");
        if format == scylla_sim::Format::Mt {
            let (body, crc) = scylla.split_at(scylla.len() - 4);
            assert_eq!(crc, crc32fast::hash(body).to_be_bytes());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_listing_and_deleting_is_as_in_the_samples() {
    let sim = Sim::start().await;
    sim.load("ks", "t").await;
    let take = "POST /storage_service/snapshots?tag=T&kn=ks&cf=t";
    sim.done(1, take).await;
    let exists = "std::runtime_error (Keyspace ks: snapshot T already exists.)";
    sim.fails(1, take, 500, exists).await;
    let disk = sim
        .get(1, "/column_family/metrics/total_disk_space_used/ks:t")
        .await;
    let list = sim.get(1, "/storage_service/snapshots").await;
    let expected =
        json!([{"key": "T", "value": [{"ks": "ks", "cf": "t", "total": disk, "live": 0}]}]);
    assert_eq!(list, expected);
    assert_eq!(sim.get(1, "/storage_service/snapshots/size/true").await, 0);
    assert_eq!(
        sim.get(1, "/column_family/metrics/snapshots_size/ks:t")
            .await,
        disk
    );
    assert_eq!(sim.get(2, "/storage_service/snapshots").await, json!([]));
    sim.done(1, "DELETE /storage_service/snapshots?tag=T&kn=ks")
        .await;
    sim.done(1, "DELETE /storage_service/snapshots?tag=T&kn=nope")
        .await;
    assert_eq!(sim.get(1, "/storage_service/snapshots").await, json!([]));
    let message = "Can't find a column family x in keyspace ks";
    sim.fails(
        1,
        "DELETE /storage_service/snapshots?tag=T&kn=ks&cf=x",
        400,
        message,
    )
    .await;
    assert_eq!(sim.violations().await, [""; 0]);
    sim.done(1, "DELETE /storage_service/snapshots").await;
    assert_eq!(
        sim.violations().await,
        ["deletes the snapshots of every tag"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_parameters_are_checked_in_scyllas_order() {
    let sim = Sim::start().await;
    let cases = [
        (
            "",
            500,
            "std::runtime_error (You must supply a snapshot name.)",
        ),
        (
            "tag=T&cf=t",
            400,
            "The keyspace of column families must be specified",
        ),
        (
            "cf=t&kn=a,b",
            400,
            "Only one keyspace allowed when specifying a column family",
        ),
        ("tag=T&kn=nope", 400, "Can't find a keyspace nope"),
        (
            "tag=T&kn=ks&cf=x",
            400,
            "Can't find a column family x in keyspace ks",
        ),
        (
            "tag=T&ttl=1w",
            400,
            "TTL value '1w' is not valid, expected a non-negative integer with an optional suffix [smhd]",
        ),
    ];
    for (query, status, message) in cases {
        sim.fails(
            1,
            &format!("POST /storage_service/snapshots?{query}"),
            status,
            message,
        )
        .await;
    }
    // Tables of one keyspace may share a tag by several calls, but then not with the whole keyspace.
    sim.table("ks", "u").await;
    sim.done(1, "POST /storage_service/snapshots?tag=T&kn=ks&cf=t")
        .await;
    sim.done(1, "POST /storage_service/snapshots?tag=T&kn=ks&cf=u")
        .await;
    sim.table("ks", "v").await;
    let exists = "std::runtime_error (Keyspace ks: snapshot T already exists.)";
    sim.fails(
        1,
        "POST /storage_service/snapshots?tag=T&kn=ks",
        500,
        exists,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memtables_are_flushed_unless_told_otherwise() {
    let sim = Sim::start().await;
    let rows = json!({"keyspace": "ks", "table": "t", "rows": 40, "seed": 9});
    sim.admin("POST", "/mutate", rows).await;
    sim.done(
        1,
        "POST /storage_service/snapshots?tag=A&kn=ks&cf=t&sf=TRUE",
    )
    .await;
    sim.done(1, "POST /storage_service/snapshots?tag=B&kn=ks&cf=t&sf=no")
        .await;
    let snapshots = sim.table_dir(1, "ks", "t").join("snapshots");
    assert_eq!(files(&snapshots.join("A")), ["manifest.json", "schema.cql"]);
    let manifest = fs::read(snapshots.join("A/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(
        (manifest.get("sstables"), manifest.get("tablets")),
        (None, None)
    );
    assert!(files(&snapshots.join("B")).len() > 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_leaves_files_to_their_snapshots() {
    let sim = Sim::start().await;
    sim.load("vks", "t").await;
    let before = sim.fingerprint("vks", "t").await;
    sim.done(1, "POST /storage_service/snapshots?tag=T&kn=vks")
        .await;
    let merged = sim
        .admin(
            "POST",
            "/compact",
            json!({"keyspace": "vks", "node": "1", "sstables": 3}),
        )
        .await;
    assert_eq!(merged["merged"], 3);
    let list = sim.get(1, "/storage_service/snapshots").await;
    let item = &list[0]["value"][0];
    assert!(
        item["live"].as_u64() > Some(0) && item["live"].as_u64() < item["total"].as_u64(),
        "{item}"
    );
    sim.admin("POST", "/tables/vks/t/truncate?snapshot=false", Value::Null)
        .await;
    let list = sim.get(1, "/storage_service/snapshots").await;
    assert_eq!(list[0]["value"][0]["live"], list[0]["value"][0]["total"]);
    assert_eq!(
        sim.get(1, "/storage_service/snapshots/size/true").await,
        list[0]["value"][0]["total"]
    );
    // What the snapshot holds is still the whole table of that node.
    let table = sim.table_dir(1, "vks", "t");
    copy(&table.join("snapshots/T"), &table.join("upload"));
    sim.done(1, "POST /storage_service/sstables/vks?cf=t").await;
    let after = sim.fingerprint("vks", "t").await;
    assert_eq!(after["nodes"][0]["hash"], before["nodes"][0]["hash"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn views_indexes_and_dropped_tables_are_snapshotted_and_listed() {
    let sim = Sim::start().await;
    for (name, kind) in [("v", "view"), ("i_index", "index")] {
        let view = json!({"keyspace": "vks", "name": name, "kind": kind, "base": "t"});
        sim.admin("POST", "/tables", view).await;
    }
    sim.done(1, "POST /storage_service/snapshots?tag=T&kn=vks")
        .await;
    sim.done(1, "POST /storage_service/snapshots?tag=U&kn=vks&cf=i")
        .await;
    let shown = async |tag: &str| {
        let list = sim.get(1, "/storage_service/snapshots").await;
        let tag = list
            .as_array()
            .unwrap()
            .iter()
            .find(|s| s["key"] == tag)
            .cloned()
            .unwrap();
        let name = |item: &Value| item["cf"].as_str().unwrap().to_owned();
        tag["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(name)
            .collect::<Vec<_>>()
    };
    assert_eq!(shown("T").await, ["i", "t", "v"]);
    assert_eq!(shown("U").await, ["i"]);
    let dir = sim.table_dir(1, "vks", "v");
    assert!(
        fs::read_to_string(dir.join("snapshots/T/schema.cql"))
            .unwrap()
            .starts_with("CREATE MATERIALIZED VIEW")
    );
    sim.admin("DELETE", "/tables/vks/v?snapshot=false", Value::Null)
        .await;
    assert_eq!(shown("T").await, ["i", "t", "v"]);
    sim.done(1, "DELETE /storage_service/snapshots?tag=T").await;
    assert!(
        !dir.try_exists().unwrap(),
        "the directory of a dropped table goes with its last snapshot"
    );
    assert_eq!(
        sim.get(1, "/column_family/built_indexes/vks:t").await,
        json!(["i"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_live_ends_a_snapshot() {
    let sim = Sim::start().await;
    sim.done(1, "POST /storage_service/snapshots?tag=T&kn=ks&cf=t&ttl=1s")
        .await;
    let manifest = fs::read(
        sim.table_dir(1, "ks", "t")
            .join("snapshots/T/manifest.json"),
    )
    .unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let time = |name: &str| manifest["snapshot"][name].as_u64().unwrap();
    assert_eq!(time("expires_at"), time("created_at") + 1);
    until("it is gone", async || {
        sim.get(1, "/storage_service/snapshots").await == json!([])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_a_snapshot_without_manifest() {
    let sim = Sim::start().await;
    sim.load("ks", "t").await;
    sim.admin("PUT", "/nodes/1/disk_full", json!({"snapshots": 1}))
        .await;
    let take = "POST /storage_service/snapshots?tag=T&kn=ks&cf=t";
    let (status, text) = sim.call(1, take).await;
    assert_eq!(status, 500);
    assert!(
        text.starts_with("{\"message\": \"std::system_error (error system:28, "),
        "{text}"
    );
    let dir = sim.table_dir(1, "ks", "t").join("snapshots/T");
    assert!(!files(&dir).is_empty());
    assert!(!files(&dir).contains(&"manifest.json".to_owned()));
    sim.fails(
        1,
        take,
        500,
        "std::runtime_error (Keyspace ks: snapshot T already exists.)",
    )
    .await;
    sim.done(1, "DELETE /storage_service/snapshots?tag=T&kn=ks")
        .await;
    sim.done(1, take).await;
}
