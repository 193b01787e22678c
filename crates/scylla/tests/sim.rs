//! A node's client and its data directory, against a simulated cluster that checks every request.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use catalog::{IdKind, Name};
use protocol::{ClusterId, Inspect, RunId, SnapshotTag, TableRef};
use scylla::{
    DataDir, Error, LoadOptions, NativeBackup, NativeRestore, Node, RepairState, Scope, TaskState,
    ViewBuild, crc32_of, sstable,
};
use scylla_sim::{Cluster, Config, Endpoint, Format, Ids};
use serde_json::{Value, json};

/// A simulated cluster and the folder it lives in.
struct World {
    cluster: Cluster,
    folder: tempfile::TempDir,
    http: reqwest::Client,
}

impl World {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("sim"));
        change(&mut config);
        Self {
            cluster: Cluster::start(config).await.unwrap(),
            folder,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// One keyspace of each kind, with a table of 300 rows each.
    async fn with_rows(change: impl FnOnce(&mut Config)) -> Self {
        let world = Self::start(change).await;
        for (keyspace, tablets) in [("ring", false), ("tabs", true)] {
            let new = json!({"name": keyspace, "replication": 1, "tablets": tablets});
            world.post("keyspaces", new).await;
            world.table(keyspace, "users", json!({})).await;
            let rows = json!({"keyspace": keyspace, "table": "users", "rows": 300, "sstables": 4});
            world.post("load", rows).await;
        }
        world
    }

    async fn table(&self, keyspace: &str, name: &str, more: Value) {
        let mut new = json!({"keyspace": keyspace, "name": name});
        let more = more.as_object().unwrap().clone();
        new.as_object_mut().unwrap().extend(more);
        self.post("tables", new).await;
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.admin(reqwest::Method::POST, path, body).await
    }

    async fn admin(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.cluster.admin_url());
        let answer = self.http.request(method, url).json(&body).send().await;
        let answer = answer.unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
        answer.json().await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        self.admin(reqwest::Method::GET, path, json!({})).await
    }

    fn node(&self, number: usize) -> Node {
        Node::new(&self.cluster.nodes()[number - 1].api).unwrap()
    }

    fn data(&self, number: usize) -> DataDir {
        DataDir::new(&self.cluster.nodes()[number - 1].data)
    }

    async fn print(&self, table: &TableRef) -> (Value, Value) {
        let TableRef { keyspace, table } = table;
        let path = format!("fingerprint?keyspace={keyspace}&table={table}");
        let all = self.get(&path).await;
        assert_eq!(all[0]["replicas_consistent"], json!(true), "{all}");
        (all[0]["table"].clone(), all[0]["rows"].clone())
    }

    /// Ends well only if no request was one that a real node would have taken otherwise.
    async fn end(self) {
        let violations = self.get("violations").await;
        assert_eq!(violations, json!([]), "what a real node does not know");
        self.cluster.shutdown().await.unwrap();
    }
}

fn table(keyspace: &str, table: &str) -> TableRef {
    TableRef {
        keyspace: keyspace.into(),
        table: table.into(),
    }
}

fn tag() -> SnapshotTag {
    "sm_20260131235959UTC".parse().unwrap()
}

fn ask(keyspace: &[&str], dc: &[&str]) -> Inspect {
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Inspect {
        cluster: ClusterId::generate(),
        run: RunId::generate(),
        node: protocol::NodeId::generate(),
        keyspace: own(keyspace),
        dc: own(dc),
        sizes: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_seen_as_it_is() {
    let world = World::with_rows(|config| {
        config.datacenters = vec![("dc1".into(), 2), ("dc2".into(), 1)];
    })
    .await;
    let far = json!({"name": "far", "replication": {"dc2": 1}});
    world.post("keyspaces", far).await;
    world.table("far", "t", json!({})).await;
    let local = json!({"name": "mine", "local": true});
    world.post("keyspaces", local).await;
    world.table("mine", "t", json!({})).await;
    for (name, kind) in [("by_mail", "view"), ("mail_index", "index")] {
        world
            .table("tabs", name, json!({"kind": kind, "base": "users"}))
            .await;
    }
    world.table("tabs", "users_scylla_cdc_log", json!({})).await;
    world.table("tabs", "orders", json!({})).await;

    let node = world.node(1);
    let seen = node.inspect(&ask(&[], &[])).await.unwrap();
    assert_eq!(seen.cluster_name, "sim");
    assert_eq!(seen.nodes.len(), 3);
    assert!(seen.nodes.iter().all(|node| node.up && node.chosen));
    let local = node.local_host_id().await.unwrap();
    let info = &world.cluster.nodes()[0];
    assert_eq!(local.0, info.host_id);
    assert_eq!(
        node.address_of(local).await.unwrap(),
        info.address.to_string()
    );
    let units: Vec<_> = seen
        .units
        .iter()
        .map(|unit| (&*unit.keyspace, unit.tablets))
        .collect();
    assert_eq!(units, [("far", false), ("ring", false), ("tabs", true)]);
    assert_eq!(seen.units[2].tables, ["orders", "users"]);
    assert!(seen.units[2].all_tables);
    assert_eq!(seen.uncovered, [""; 0]);

    let seen = node
        .inspect(&ask(&["tabs.user*", "far"], &["dc1"]))
        .await
        .unwrap();
    assert_eq!(seen.units.len(), 1, "nothing of `far` is in dc1");
    assert_eq!(seen.units[0].tables, ["users"]);
    assert!(!seen.units[0].all_tables);
    assert_eq!(seen.nodes.iter().filter(|node| node.chosen).count(), 2);
    let nothing = node.inspect(&ask(&["none"], &[])).await.unwrap();
    assert_eq!(nothing.units, []);
    assert!(node.inspect(&ask(&["!"], &[])).await.is_err());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_without_a_live_replica_are_told() {
    let world = World::with_rows(|_| ()).await;
    world.post("nodes/3/down", json!({})).await;
    let seen = world.node(1).inspect(&ask(&[], &[])).await.unwrap();
    assert_eq!(seen.nodes.iter().filter(|node| node.up).count(), 2);
    let begins: Vec<&str> = seen.uncovered.iter().map(|text| &text[..5]).collect();
    assert_eq!(begins, ["ring:", "tabs:"]);
    assert_eq!(world.node(1).down().await.unwrap().len(), 1);
    let error = world.node(3).version().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered() {
    let world = World::with_rows(|_| ()).await;
    let node = world.node(1);
    assert!(node.version().await.unwrap().starts_with("2026.4"));
    assert_eq!(node.shards().await.unwrap(), 2);
    assert_eq!(node.operation_mode().await.unwrap(), "NORMAL");
    assert!(node.schema_agrees().await.unwrap());
    let other = json!({"version": "01920000-0000-7000-8000-000000000001"});
    world
        .admin(reqwest::Method::PUT, "nodes/2/schema_version", other)
        .await;
    assert!(!node.schema_agrees().await.unwrap());
    node.read_barrier(Duration::from_secs(5)).await.unwrap();
    let address = world.cluster.nodes()[0].address.to_string();
    assert_eq!(node.tokens(&address).await.unwrap().len(), 16);
    let error = node.datacenter("127.250.250.250").await.unwrap_err();
    assert!(matches!(error, Error::NotReady { .. }), "{error}");
    let data = node.data_directory().await.unwrap();
    assert_eq!(data, world.cluster.nodes()[0].data);
    let users = table("tabs", "users");
    assert!(node.bytes_on_disk(&users).await.unwrap() > 0);
    assert!(node.auto_compaction(&users).await.unwrap());
    node.set_auto_compaction(&users, false).await.unwrap();
    assert!(!node.auto_compaction(&users).await.unwrap());
    node.set_auto_compaction(&users, true).await.unwrap();
    node.set_balancing(false).await.unwrap();
    node.set_balancing(true).await.unwrap();
    node.flush("tabs", &["users".into()]).await.unwrap();
    world
        .table("tabs", "by_mail", json!({"kind": "view", "base": "users"}))
        .await;
    let view = table("tabs", "by_mail");
    let builds = node.view_build(&view).await.unwrap();
    assert!(builds.len() == 3 && builds.values().all(|b| *b == ViewBuild::Success));
    let ttl = Duration::from_secs(300);
    let before = node.set_user_ttl(ttl).await.unwrap();
    assert_eq!(before, Duration::from_secs(3600));
    assert_eq!(node.user_ttl().await.unwrap(), ttl);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_told_apart() {
    let world = World::with_rows(|_| ()).await;
    let node = world.node(1);
    let stream = LoadOptions::Stream;
    let error = node.flush("none", &[]).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchKeyspace { .. }), "{error}");
    let error = node.auto_compaction(&table("tabs", "none")).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::NoSuchTable { .. }), "{error}");
    let error = node.load(&table("tabs", "none"), stream).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchTable { .. }), "{error}");
    let error = node.load(&table("none", "none"), stream).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchKeyspace { .. }), "{error}");
    world
        .table("tabs", "by_mail", json!({"kind": "view", "base": "users"}))
        .await;
    let view = table("tabs", "by_mail");
    let error = node.load(&view, stream).await.unwrap_err();
    assert!(matches!(error, Error::View { .. }), "{error}");
    let error = node.task(uuid::Uuid::nil()).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchTask { .. }), "{error}");

    let put = reqwest::Method::PUT;
    let hold = |on: bool| json!({"loading": on});
    world
        .admin(put.clone(), "nodes/1/loading", hold(true))
        .await;
    let users = table("tabs", "users");
    let error = node.load(&users, stream).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyLoading), "{error}");
    world.admin(put, "nodes/1/loading", hold(false)).await;
    node.load(&users, stream).await.unwrap();

    world.post("nodes/1/restart", json!({"stage": 0})).await;
    let error = node.cluster_name().await.unwrap_err();
    assert!(
        matches!(&error, Error::NotReady { .. }) && error.retry(),
        "{error}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_taken_listed_and_dropped() {
    let world = World::with_rows(|_| ()).await;
    let (node, data) = (world.node(1), world.data(1));
    let users = table("tabs", "users");
    node.take_snapshot(&tag(), "tabs", None).await.unwrap();
    let names = ["users".to_owned()];
    let error = node.take_snapshot(&tag(), "tabs", Some(&names)).await;
    assert!(matches!(error.unwrap_err(), Error::SnapshotExists { .. }));
    assert!(data.has_snapshot(&users, &tag()).unwrap());
    assert!(!data.has_snapshot(&table("ring", "users"), &tag()).unwrap());
    let listed = node.snapshots().await.unwrap();
    assert!(
        listed
            .iter()
            .any(|part| part.tag == tag().as_str() && part.total > 0)
    );

    let snapshot = data.snapshot(&users, &tag()).unwrap();
    let dir = data.path().join(&snapshot.table.dir);
    assert!(!snapshot.table.sstables.is_empty() && snapshot.manifest_bytes > 0);
    for sstable in &snapshot.table.sstables {
        let (crc32, bytes) = crc32_of(&dir.join(format!("{}-Data.db", sstable.name))).unwrap();
        assert_eq!(Some(crc32), sstable.crc32);
        let rows = sstable.files.iter().find(|f| f.name.ends_with("-Data.db"));
        assert_eq!(rows.unwrap().bytes, bytes);
        assert!(sstable.files.len() >= 8, "{sstable:?}");
    }
    // The snapshot outlives the table, which has another directory when it is made again.
    world
        .admin(reqwest::Method::DELETE, "tables/tabs/users", json!({}))
        .await;
    world.table("tabs", "users", json!({})).await;
    assert_eq!(data.table_dirs(&users).unwrap().len(), 2);
    let again = data.snapshot(&users, &tag()).unwrap();
    assert_eq!(again.table, snapshot.table);
    let upload = data.upload_dir(&users).unwrap();
    assert!(!upload.starts_with(dir.parent().unwrap().parent().unwrap()));

    node.drop_snapshot(&tag(), Some("tabs")).await.unwrap();
    node.drop_snapshot(&tag(), None).await.unwrap();
    assert!(!data.has_snapshot(&users, &tag()).unwrap());
    world.end().await;
}

/// Copies a snapshot's SSTables into `upload`, each under a new id if its own is an integer.
fn copy(from: &Path, sstables: &[catalog::SsTable], upload: &Path) {
    for one in sstables {
        let name = sstable::parse_sstable(&one.name).unwrap();
        let target = match name.id.kind() {
            IdKind::Integer => name.renamed(&sstable::new_id(SystemTime::now())),
            IdKind::Uuid => one.name.clone(),
        };
        for file in &one.files {
            let name: Name = file.name.parse().unwrap();
            let to = upload.join(format!("{target}-{}", name.component));
            fs::copy(from.join(&file.name), to).unwrap();
        }
    }
}

async fn round_trip(format: Format, ids: Ids) {
    let source = World::with_rows(|config| {
        config.format = format;
        config.ids = ids;
    })
    .await;
    let target = World::start(|config| {
        config.datacenters = vec![("dc1".into(), 2)];
        config.seed = 7;
    })
    .await;
    for (keyspace, tablets) in [("ring", false), ("tabs", true)] {
        let new = json!({"name": keyspace, "replication": 2, "tablets": tablets});
        target.post("keyspaces", new).await;
        target.table(keyspace, "users", json!({"tablets": 4})).await;
        let users = table(keyspace, "users");
        for number in 1..=3 {
            let node = source.node(number);
            node.take_snapshot(&tag(), keyspace, None).await.unwrap();
            let data = source.data(number);
            let snapshot = data.snapshot(&users, &tag()).unwrap();
            let upload = target.data(1).upload_dir(&users).unwrap();
            copy(
                &data.path().join(&snapshot.table.dir),
                &snapshot.table.sstables,
                &upload,
            );
        }
        let load = target.node(1);
        load.load(&users, LoadOptions::Stream).await.unwrap();
        assert_eq!(target.print(&users).await, source.print(&users).await);
        assert_eq!(target.print(&users).await.1, json!(300));
    }
    source.end().await;
    target.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_holds_loads_elsewhere() {
    round_trip(Format::Mt, Ids::Uuid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn integer_ids_of_several_nodes_load_under_new_names() {
    round_trip(Format::Me, Ids::Int).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_sstable_is_named_when_it_is_loaded() {
    let world = World::with_rows(|_| ()).await;
    let (node, data) = (world.node(1), world.data(1));
    let users = table("ring", "users");
    let victim = json!({"node": "1", "keyspace": "ring", "table": "users"});
    let path: PathBuf =
        serde_json::from_value(world.post("corrupt", victim).await["path"].clone()).unwrap();
    node.take_snapshot(&tag(), "ring", None).await.unwrap();
    let snapshot = data.snapshot(&users, &tag()).unwrap();
    let dir = data.path().join(&snapshot.table.dir);
    let damaged = snapshot.table.sstables.iter().find(|one| {
        let name = format!("{}-Data.db", one.name);
        crc32_of(&dir.join(name)).unwrap().0 != one.crc32.unwrap()
    });
    let damaged = damaged.expect("the digest tells");
    assert!(path.ends_with(format!("{}-Data.db", damaged.name)));
    copy(
        &dir,
        std::slice::from_ref(damaged),
        &data.upload_dir(&users).unwrap(),
    );
    let error = node.load(&users, LoadOptions::Stream).await.unwrap_err();
    assert!(
        matches!(&error, Error::DigestMismatch { .. }) && !error.retry(),
        "{error}"
    );
    world.end().await;
}

async fn ended(node: &Node, id: uuid::Uuid) -> TaskState {
    for _ in 0..30 {
        if let Some(task) = node.wait_task(id, Duration::from_secs(2)).await.unwrap() {
            return task.state;
        }
    }
    panic!("task {id} does not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_transfers_by_itself() {
    let buckets = tempfile::tempdir().unwrap();
    fs::create_dir(buckets.path().join("b")).unwrap();
    let endpoint = Endpoint::Dir(buckets.path().to_owned());
    let world = World::with_rows(|config| {
        config.endpoints.insert("http://store".into(), endpoint);
    })
    .await;
    let node = world.node(1);
    let users = table("tabs", "users");
    node.take_snapshot(&tag(), "tabs", None).await.unwrap();
    let sstables = world
        .data(1)
        .snapshot(&users, &tag())
        .unwrap()
        .table
        .sstables;
    let backup = NativeBackup {
        endpoint: "http://store".into(),
        bucket: "b".into(),
        prefix: "p/users".into(),
        table: users.clone(),
        snapshot: tag().to_string(),
        move_files: false,
    };
    let id = node.native_backup(&backup).await.unwrap();
    assert_eq!(ended(&node, id).await, TaskState::Done);
    let listed = node.tasks("snapshot", Some("tabs")).await.unwrap();
    assert!(
        listed
            .iter()
            .any(|task| task.id == id && task.kind == "backup")
    );
    node.abort_task(id).await.unwrap();
    let before = world.print(&users).await;
    let restore = NativeRestore {
        endpoint: "http://store".into(),
        bucket: "b".into(),
        prefix: "p/users".into(),
        table: users.clone(),
        scope: Scope::All,
        primary_replica_only: true,
        tocs: sstables
            .iter()
            .map(|one| format!("{}-TOC.txt", one.name))
            .collect(),
    };
    let id = node.native_restore(&restore).await.unwrap();
    assert_eq!(ended(&node, id).await, TaskState::Done);
    assert_eq!(world.print(&users).await, before);
    let wrong = NativeBackup {
        endpoint: "http://other".into(),
        ..backup
    };
    let id = node.native_backup(&wrong).await.unwrap();
    assert_eq!(ended(&node, id).await, TaskState::Failed);
    assert!(world.folder.path().is_dir());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_of_repair_end() {
    let world = World::with_rows(|_| ()).await;
    let node = world.node(1);
    let id = node.repair_vnodes("ring", &["users".into()]).await.unwrap();
    let mut state = RepairState::Running;
    for _ in 0..30 {
        if state != RepairState::Running {
            break;
        }
        state = node.repair_state(id, Duration::from_secs(2)).await.unwrap();
    }
    assert_eq!(state, RepairState::Successful);
    let error = node.repair_vnodes("tabs", &[]).await.unwrap_err();
    assert!(
        matches!(error, Error::Refused { status: 403, .. }),
        "{error}"
    );
    let id = node.repair_tablets(&table("tabs", "users")).await.unwrap();
    assert_eq!(ended(&node, id).await, TaskState::Done);
    world.end().await;
}
