//! What Thetis writes is what ScyllaDB Manager reads: its rules, one by one. What is expected is
//! written here by hand, as it lies in a bucket.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;

use catalog::{
    Chunk, Frame, Limits, LocalFile, LocalTable, Manifest, Planned, Receipt, ReceiptFile, Remote,
    Sealer, SsTable,
    key::{ComponentKey, ManifestKey, OwnKey, Owner, SchemaKey, SchemaKind, ScyllaManifestKey},
    manifest::NodeFacts,
    plan::plan,
};
use protocol::{SnapshotTag, Unit};
use serde_json::{Value, json};

const CLUSTER: &str = "0192a0b1-c2d3-74e5-8f60-71829304a5b6";
const NODE: &str = "9b2f4c66-0d1e-4f3a-8b5c-6d7e8f901a2b";
const TASK: &str = "4e5f6071-8293-44a4-95b6-c7d8e9fa0b1c";
const RUN: &str = "01930000-0000-7000-8000-00000000000a";
const TAG: &str = "sm_20260131235959UTC";

/// Of a table spread by tablets, whose SSTables have unique ids.
const USERS: &str = "0f00abcd11112222333344445555ffff";
/// Of one spread by vnodes, with integer ids.
const LEDGER: &str = "00000000000000000000000000000abc";

const UNIQUE: &str = "mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big";
const INTEGER: &str = "me-3-big";

/// The components of an SSTable that is compressed, and of one that is not.
const COMPRESSED: [(&str, u64); 9] = [
    ("CompressionInfo.db", 47),
    ("Data.db", 1000),
    ("Digest.crc32", 10),
    ("Filter.db", 24),
    ("Index.db", 68),
    ("Scylla.db", 200),
    ("Statistics.db", 5000),
    ("Summary.db", 92),
    ("TOC.txt", 102),
];
const PLAIN: [(&str, u64); 4] = [
    ("CRC.db", 8),
    ("Data.db", 2000),
    ("Digest.crc32", 9),
    ("TOC.txt", 40),
];

fn owner() -> Owner {
    // Whoever gives ids in capitals gets the same keys.
    let upper = |text: &str| text.to_uppercase();
    let (cluster, node) = (upper(CLUSTER).parse(), upper(NODE).parse());
    Owner::new(cluster.unwrap(), "dc-1", node.unwrap()).unwrap()
}

fn tag() -> SnapshotTag {
    TAG.parse().unwrap()
}

fn key(temporary: bool) -> ManifestKey {
    ManifestKey {
        owner: owner(),
        task: TASK.to_uppercase().parse().unwrap(),
        tag: tag(),
        temporary,
    }
}

fn table(
    keyspace: &str,
    table: &str,
    version: &str,
    sstable: &str,
    of: &[(&str, u64)],
) -> LocalTable {
    let files = of.iter().map(|(component, bytes)| LocalFile {
        name: format!("{sstable}-{component}"),
        bytes: *bytes,
    });
    LocalTable {
        keyspace: keyspace.to_owned(),
        table: table.to_owned(),
        version: version.parse().unwrap(),
        dir: format!("{keyspace}/{table}-{version}/snapshots/{TAG}"),
        sstables: vec![SsTable {
            name: sstable.to_owned(),
            files: files.collect(),
            crc32: Some(77),
            digest: Some(b"77".to_vec()),
        }],
    }
}

fn planned(remote: &Remote) -> Planned {
    let unit = |keyspace: &str, table: &str, tablets| Unit {
        keyspace: keyspace.to_owned(),
        tables: vec![table.to_owned()],
        all_tables: true,
        tablets,
    };
    let owner = owner();
    let frame = Frame {
        owner: &owner,
        origin: RUN.parse().unwrap(),
        task: TASK.parse().unwrap(),
        tag: &tag(),
        units: &[unit("shop", "users", true), unit("bank", "ledger", false)],
        limits: Limits::CHUNK,
    };
    let local = vec![
        table("shop", "users", USERS, UNIQUE, &COMPRESSED),
        table("bank", "ledger", LEDGER, INTEGER, &PLAIN),
    ];
    plan(&frame, local, remote).unwrap()
}

/// A backup as it is published, by all steps from the plan on.
fn sealed() -> Manifest {
    let planned = planned(&Remote::default());
    let mut index = planned.index.clone();
    let users = index.iter_mut().find(|entry| entry.table == "users");
    let own = ScyllaManifestKey {
        dir: dir("shop", "users", USERS),
        tag: tag(),
    };
    users.unwrap().scylla_manifests.push(own.name());
    let manifest = Manifest {
        info: NodeFacts {
            cluster_name: "prod".to_owned(),
            scylla_version: "2026.1.0".to_owned(),
            ip: "10.0.0.1".to_owned(),
            rack: "r1".to_owned(),
            tokens: vec![-9_223_372_036_854_775_808, 0, 9_007_199_254_740_993],
            shard_count: 7,
            cpu_count: 8,
            storage_size: 1_900_000_000_000,
            cloud_provider: "aws".to_owned(),
            instance_type: String::new(),
        },
        schema: SchemaKey {
            cluster: owner().cluster,
            task: TASK.parse().unwrap(),
            tag: tag(),
            kind: SchemaKind::Cql,
        }
        .to_string(),
        index,
        ranges: [("bank".to_owned(), vec![(-5, 5)])].into(),
        nodes: vec![NODE.parse().unwrap()],
        snapshot_ms: 1_769_903_999_000,
        sealed_ms: 1_769_904_000_000,
        ..Manifest::new(&key(true))
    };
    let mut sealer = Sealer::new(&planned.plan, manifest);
    for chunk in &planned.chunks {
        sealer.add(chunk, &receipt(chunk)).unwrap();
    }
    sealer.finish().unwrap()
}

fn receipt(of: &Chunk) -> Receipt {
    let stored = of.files.iter().map(|file| ReceiptFile {
        key: file.key.clone(),
        bytes: file.bytes,
        crc32: file.crc32.unwrap_or(1),
    });
    Receipt {
        chunk: of.chunk,
        files: stored.collect(),
        methods: vec![],
    }
}

fn dir(keyspace: &str, table: &str, version: &str) -> catalog::key::TableDir {
    let version = version.parse().unwrap();
    catalog::key::TableDir::new(&owner(), keyspace, table, version).unwrap()
}

/// What Manager sees: the one JSON object that is in the file.
fn json_of(manifest: &Manifest) -> Value {
    let bytes = manifest.to_bytes();
    let gzip = flate2::read::GzDecoder::new(&bytes[..]);
    serde_json::from_reader(gzip).unwrap()
}

/// Takes Thetis' own keys out, and tells how many there were.
fn without_additions(value: &mut Value) -> usize {
    match value {
        Value::Object(map) => {
            let own = usize::from(map.remove("thetis").is_some());
            own + map.values_mut().map(without_additions).sum::<usize>()
        }
        Value::Array(list) => list.iter_mut().map(without_additions).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn strings(of: &Value) -> Vec<&str> {
    let list = of.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn rule_5_keys_are_managers() {
    let node = format!("backup/meta/cluster/{CLUSTER}/dc/dc-1/node/{NODE}");
    let name = format!("task_{TASK}_tag_{TAG}");
    assert_eq!(
        key(false).to_string(),
        format!("{node}/{name}_manifest.json.gz")
    );
    assert_eq!(
        key(true).to_string(),
        format!("{node}/{name}_manifest.json.gz.tmp")
    );
    for (kind, suffix) in [
        (SchemaKind::Cql, "schema_with_internals.json.gz"),
        (SchemaKind::Alternator, "alternator_schema.json.gz"),
    ] {
        let schema = SchemaKey {
            cluster: owner().cluster,
            task: TASK.parse().unwrap(),
            tag: tag(),
            kind,
        };
        assert_eq!(
            schema.to_string(),
            format!("backup/schema/cluster/{CLUSTER}/{name}_{suffix}")
        );
    }
    let folder = format!(
        "backup/sst/cluster/{CLUSTER}/dc/dc-1/node/{NODE}/keyspace/shop/table/users/{USERS}"
    );
    let own = ScyllaManifestKey {
        dir: dir("shop", "users", USERS),
        tag: tag(),
    };
    assert_eq!(
        own.to_string(),
        format!("{folder}/tag_{TAG}_node_{NODE}_manifest.json")
    );
    let keys = planned(&Remote::default()).chunks.into_iter();
    let keys: BTreeSet<String> = keys.flat_map(|c| c.files).map(|file| file.key).collect();
    let expected = COMPRESSED.map(|(component, _)| format!("{folder}/{UNIQUE}-{component}"));
    assert!(expected.iter().all(|key| keys.contains(key)), "{keys:?}");
    assert_eq!(keys.len(), COMPRESSED.len() + PLAIN.len());
}

#[test]
fn rule_6_what_is_not_finished_is_told_by_its_name_alone() {
    let finished = json_of(&sealed());
    let mut unfinished = json_of(&Manifest {
        index: planned(&Remote::default()).index,
        ..Manifest::new(&key(true))
    });
    without_additions(&mut unfinished);
    for field in [
        "version",
        "cluster_id",
        "dc",
        "node_id",
        "task_id",
        "snapshot_tag",
        "size",
    ] {
        assert_eq!(unfinished[field], finished[field], "{field}");
    }
    let files = |of: &Value| of["index"][0]["files"].clone();
    assert_eq!(files(&unfinished), files(&finished));
}

#[test]
fn rule_7_a_manifest_has_every_field_in_its_form() {
    let mut found = json_of(&sealed());
    without_additions(&mut found);
    let names = |sstable: &str, of: &[(&str, u64)]| -> Vec<String> {
        let names = of
            .iter()
            .map(|(component, _)| format!("{sstable}-{component}"));
        names.collect()
    };
    let expected = json!({
        "version": "v2",
        "scylla_version": "2026.1.0",
        "cluster_name": "prod",
        "ip": "10.0.0.1",
        "size": 8600,
        "tokens": [i64::MIN, 0, 9_007_199_254_740_993_i64],
        "schema": format!(
            "backup/schema/cluster/{CLUSTER}/task_{TASK}_tag_{TAG}_schema_with_internals.json.gz"
        ),
        "rack": "r1",
        "shard_count": 7,
        "cpu_count": 8,
        "storage_size": 1_900_000_000_000_u64,
        "instance_details": {"cloud_provider": "aws"},
        "dc": "dc-1",
        "cluster_id": CLUSTER,
        "node_id": NODE,
        "task_id": TASK,
        "snapshot_tag": TAG,
        "index": [
            {
                "keyspace": "bank",
                "table": "ledger",
                "replication_type": "vnodes",
                "version": LEDGER,
                "files": names(INTEGER, &PLAIN),
                "size": 2057,
                "scylla_manifests": [],
            },
            {
                "keyspace": "shop",
                "table": "users",
                "replication_type": "tablets",
                "version": USERS,
                "files": names(UNIQUE, &COMPRESSED),
                "size": 6543,
                "scylla_manifests": [format!("tag_{TAG}_node_{NODE}_manifest.json")],
            },
        ],
    });
    assert_eq!(found, expected);
}

#[test]
fn rule_7_nothing_known_is_still_every_field_in_its_form() {
    let found = json_of(&Manifest::new(&key(false)));
    let expected = json!({
        "version": "v2",
        "scylla_version": "",
        "cluster_name": "",
        "ip": "",
        "size": 0,
        "tokens": [],
        "schema": "",
        "rack": "",
        "shard_count": 0,
        "cpu_count": 0,
        "storage_size": 0,
        "instance_details": {},
        "dc": "dc-1",
        "cluster_id": CLUSTER,
        "node_id": NODE,
        "task_id": TASK,
        "snapshot_tag": TAG,
        "index": [],
    });
    assert_eq!(found, expected);
}

#[test]
fn rule_7_sizes_are_the_sums_of_what_is_stored() {
    let found = json_of(&sealed());
    let planned = planned(&Remote::default());
    let stored: u64 = planned.chunks.iter().map(Chunk::bytes).sum();
    let of_tables: Vec<u64> = found["index"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["size"].as_u64().unwrap())
        .collect();
    let sum = |of: &[(&str, u64)]| of.iter().map(|(_, bytes)| bytes).sum::<u64>();
    assert_eq!(of_tables, [sum(&PLAIN), sum(&COMPRESSED)]);
    assert_eq!(
        found["size"].as_u64().unwrap(),
        of_tables.iter().sum::<u64>()
    );
    assert_eq!(found["size"].as_u64().unwrap(), stored);
}

#[test]
fn rule_8_components_have_their_own_names_and_are_all_there() {
    let found = json_of(&sealed());
    for (at, sstable, components) in [(0, INTEGER, &PLAIN[..]), (1, UNIQUE, &COMPRESSED)] {
        let files = strings(&found["index"][at]["files"]);
        let listed: BTreeSet<&str> = files.iter().copied().collect();
        assert_eq!(files.len(), listed.len(), "listed twice: {files:?}");
        let toc = components
            .iter()
            .map(|(component, _)| format!("{sstable}-{component}"));
        let toc: Vec<String> = toc.collect();
        assert_eq!(listed, toc.iter().map(String::as_str).collect());
    }
}

#[test]
fn rule_8_what_is_ours_is_out_of_the_way() {
    let mut found = json_of(&sealed());
    assert_eq!(
        found["thetis"],
        json!({
            "ranges": {"bank": [[-5, 5]]},
            "nodes": [NODE],
            "snapshot_ms": 1_769_903_999_000_u64,
            "sealed_ms": 1_769_904_000_000_u64,
        })
    );
    assert_eq!(
        found["index"][0]["thetis"],
        json!({"sizes": [8, 2000, 9, 40], "crc32": [1, 77, 1, 1]})
    );
    // The header, and each of two tables.
    assert_eq!(without_additions(&mut found), 3);
    let (run, node) = (RUN.parse().unwrap(), owner().node);
    let cluster = owner().cluster;
    for own in [
        OwnKey::Run(run),
        OwnKey::NodePlan(run, node),
        OwnKey::Chunk(run, node, 0),
        OwnKey::Receipt(run, node, 0),
        OwnKey::RestorePlan(run),
        OwnKey::Batch(run, 0),
        OwnKey::BatchReceipt(run, 0),
        OwnKey::Undo(run, node),
        OwnKey::SchemaUndo(cluster, run),
        OwnKey::Proofs(cluster),
        OwnKey::Cluster(cluster),
        OwnKey::Task(cluster, TASK.parse().unwrap()),
    ] {
        let key = own.to_string();
        assert!(key.starts_with("thetis/"), "{key}");
    }
}

#[test]
fn rule_9_an_integer_id_that_is_used_again_replaces_nothing_silently() {
    let folder = format!(
        "backup/sst/cluster/{CLUSTER}/dc/dc-1/node/{NODE}/keyspace/bank/table/ledger/{LEDGER}"
    );
    let there = PLAIN.map(|(component, bytes)| (format!("{folder}/{INTEGER}-{component}"), bytes));
    let digest = format!("{folder}/{INTEGER}-Digest.crc32");
    let remote = |digest_there: &str| Remote {
        objects: there.clone().into(),
        digests: [(digest.clone(), digest_there.as_bytes().to_vec())].into(),
        listed: there
            .iter()
            .map(|(key, _)| (key.clone(), "sm_20250101000000UTC".parse().unwrap()))
            .collect(),
    };
    let same = planned(&remote("77"));
    assert_eq!(same.plan.totals.skipped_files, PLAIN.len() as u64);

    let other = planned(&remote("78"));
    assert_eq!(other.plan.totals.skipped_files, 0);
    let files = other.chunks.iter().flat_map(|chunk| &chunk.files);
    let mut kept = Vec::new();
    for file in files {
        let integer = file.key.starts_with(&folder);
        assert_eq!(file.replaces.is_some(), integer, "{}", file.key);
        assert!(
            file.key
                .parse::<ComponentKey>()
                .unwrap()
                .replaced_by
                .is_none()
        );
        kept.extend(
            file.replaces
                .as_ref()
                .map(|old| (old.kept.clone(), old.bytes)),
        );
    }
    kept.sort();
    let expected = there.map(|(key, bytes)| (format!("{key}.{TAG}"), bytes));
    assert_eq!(kept, expected);

    // The manifest knows nothing of it.
    let listed = json_of(&Manifest {
        index: other.index,
        ..Manifest::new(&key(false))
    });
    let files = strings(&listed["index"][0]["files"]);
    let names = PLAIN.map(|(component, _)| format!("{INTEGER}-{component}"));
    assert_eq!(files, names);
}
