//! Whoever brings a backup to the bucket, the bucket looks the same.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use catalog::{
    Manifest,
    key::{ManifestKey, SchemaKey},
};
use futures::TryStreamExt as _;
use protocol::RunId;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{eventually, s3::SeaweedFs};
use tests::{Options, Shape, Store, TableSpec, World, compare};

const LIMIT: Duration = Duration::from_secs(120);
/// More than a node sends by one request.
const LARGE: u64 = 24 << 20;

fn tables() -> Vec<TableSpec> {
    let table = |keyspace: &str, name: &str, tablets| TableSpec {
        keyspace: keyspace.to_owned(),
        name: name.to_owned(),
        tablets,
        copies: 2,
    };
    vec![
        table("shop", "users", false),
        table("shop", "carts", false),
        table("orders", "open", true),
    ]
}

/// A cluster whose nodes know the world's S3 server; gives its id.
async fn cluster(world: &mut World, name: &str, more: &[&str]) -> Result<String> {
    let endpoint = s3(world)?.endpoint();
    let shape = Shape::new(name, 2).with(&["--endpoint", &endpoint]);
    let sim = world.add_cluster(shape.with(more), 2).await?;
    world.sims[sim].create(&tables()).await?;
    let host = world.sims[sim].nodes[0].address.clone();
    let cluster = world.api.add_cluster(name, &host).await?;
    world.api.workers(&cluster, 2, 4).await?;
    Ok(cluster)
}

fn s3(world: &World) -> Result<&SeaweedFs> {
    match &world.store {
        Store::S3(s3) => Ok(s3),
        Store::Local(_) => anyhow::bail!("the default store is S3"),
    }
}

/// A bucket, as anyone sees it.
async fn bucket(world: &World, name: &str) -> Result<store::Store> {
    let mut settings = store::Settings::default();
    settings.s3.endpoint = Some(s3(world)?.endpoint());
    settings.s3.access_key_id = Some(SeaweedFs::ACCESS_KEY.to_owned());
    settings.s3.secret_access_key = Some(SeaweedFs::SECRET_KEY.into());
    let stores = store::Stores::new(settings)?;
    Ok(stores.open(&format!("s3:{name}").parse()?).await?)
}

/// Everything below `backup/`. What each backup has of its own is left out: of keys the task and the tag,
/// of manifests the same and times, of what ScyllaDB says of a snapshot its name and time.
async fn contents(store: &store::Store) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let mut listed = store.list("backup/");
    while let Some(object) = listed.try_next().await? {
        let body = store.get(&object.key).await?;
        let (key, text) = if let Ok(key) = object.key.parse::<ManifestKey>() {
            let manifest = Manifest::read(&body[..], &key)?;
            let tables: Vec<Value> = manifest
                .index
                .iter()
                .map(|entry| {
                    let files: Vec<(&str, Option<u64>)> = entry
                        .files
                        .iter()
                        .map(|file| (file.name, file.bytes))
                        .collect();
                    json!([entry.keyspace, entry.table, entry.bytes, files])
                })
                .collect();
            (
                format!("manifest of {}", key.owner),
                json!(tables).to_string(),
            )
        } else if object.key.parse::<SchemaKey>().is_ok() {
            (
                "schema".to_owned(),
                format!("{:08x}", crc32fast::hash(&body)),
            )
        } else if object.key.ends_with("_manifest.json") {
            let mut value: Value =
                serde_json::from_slice(&body).with_context(|| format!("reading {}", object.key))?;
            value["snapshot"] = Value::Null;
            let (folder, _) = object.key.rsplit_once('/').context("a folder")?;
            (format!("{folder}/of ScyllaDB"), value.to_string())
        } else {
            let crc32 = crc32fast::hash(&body);
            (
                object.key.clone(),
                format!("{} bytes, {crc32:08x}", body.len()),
            )
        };
        ensure!(all.insert(key, text).is_none(), "two are as {}", object.key);
    }
    Ok(all)
}

/// Methods that are told of tables, with how many nodes they are told of.
fn told(progress: &Value) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for host in list(&progress["hosts"]) {
        for keyspace in list(&host["keyspaces"]) {
            for table in list(&keyspace["tables"]) {
                for method in list(&table["methods"]) {
                    let method = method["method"].as_str().unwrap_or_default();
                    *all.entry(method.to_owned()).or_default() += 1;
                }
            }
        }
    }
    all
}

#[tokio::test]
async fn three_methods_make_the_same_bucket() -> Result<()> {
    let mut world = World::start(Options::default()).await?;
    let id = cluster(&mut world, "source", &[]).await?;
    for (seed, table) in (1..).zip(&tables()) {
        world.sims[0].load(table, seed, 256 << 10, 3).await?;
    }
    world.sims[0].load(&tables()[0], 9, LARGE, 1).await?;
    let before = world.sims[0].fingerprints().await?;
    let mut found = Vec::new();
    for method in ["agent", "native", "auto"] {
        s3(&world)?.bucket(method).await?;
        let properties = json!({"location": [format!("s3:{method}")], "method": method});
        let ended = world.api.done(&id, "backup", properties, LIMIT).await?;
        let told = told(&ended.progress);
        match method {
            "agent" => ensure!(told.is_empty(), "{told:?}"),
            _ => ensure!(
                told == [("native".to_owned(), 6)].into(),
                "{told:?}: {}",
                ended.progress
            ),
        }
        let contents = contents(&bucket(&world, method).await?).await?;
        ensure!(contents.len() > 100, "{} objects", contents.len());
        found.push((method, ended.tag(), contents));
    }
    for (method, _, contents) in &found[1..] {
        for (key, content) in &found[0].2 {
            ensure!(
                contents.get(key) == Some(content),
                "{method}: {key}: {content}"
            );
        }
        ensure!(contents.len() == found[0].2.len(), "{method} stores more");
    }
    for node in &world.sims[0].nodes {
        let names = snapshots(&node.data)?;
        ensure!(names.is_empty(), "left behind: {names:?}");
    }

    // What the nodes stored is whole, and comes back.
    let (_, tag, _) = &found[1];
    let properties = json!({"location": ["s3:native"], "checksum": true});
    let checked = world
        .api
        .done(&id, "validate_backup", properties, LIMIT)
        .await?;
    ensure!(
        checked.progress.to_string().contains("checked_bytes"),
        "{checked:?}"
    );
    let target = cluster(&mut world, "target", &[]).await?;
    let properties =
        json!({"location": ["s3:native"], "snapshot_tag": tag, "restore_tables": true});
    world
        .api
        .done(&target, "restore", properties, LIMIT)
        .await?;
    compare(&before, &world.sims[1].fingerprints().await?)?;

    // The next one stores what is new, and nothing else. What an upload has left that died goes, and
    // nobody else's.
    let origin = RunId::generate();
    let left = format!("thetis_{origin}_3_sm_20200131235959UTC");
    let table = table_dir(&world.sims[0].nodes[0].data)?;
    for name in [&left, "thetis_mine"] {
        let dir = table.join("snapshots").join(name);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("rows"), "rows")?;
    }
    world.sims[0].load(&tables()[1], 77, 64 << 10, 1).await?;
    let properties = json!({"location": ["s3:native"], "method": "native"});
    let second = world
        .api
        .done(&id, "backup", properties, LIMIT)
        .await?
        .progress;
    let number = |field: &str| second[field].as_u64().unwrap_or_default();
    ensure!(
        number("uploaded") > 0 && number("uploaded") < 1 << 20,
        "{second}"
    );
    let names = snapshots(&world.sims[0].nodes[0].data)?;
    ensure!(names == ["thetis_mine"], "{names:?}");
    for sim in &world.sims {
        sim.is_clean().await?;
    }
    Ok(())
}

/// The directory of a table.
fn table_dir(data: &Path) -> Result<PathBuf> {
    let mut tables = fs::read_dir(data.join("shop"))?;
    Ok(tables.next().context("a table")??.path())
}

/// Names of everything in snapshot directories.
fn snapshots(data: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for keyspace in ["shop", "orders"] {
        for table in fs::read_dir(data.join(keyspace))? {
            let Ok(entries) = fs::read_dir(table?.path().join("snapshots")) else {
                continue;
            };
            for entry in entries {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
        }
    }
    Ok(names)
}

#[tokio::test]
async fn a_node_that_cannot_is_told_of_before_anything_begins() -> Result<()> {
    let mut world = World::start(Options::default()).await?;
    let id = cluster(
        &mut world,
        "able",
        &["--release", "2025.1.4-0.20250601.abc"],
    )
    .await?;
    world.sims[0].load(&tables()[0], 1, 64 << 10, 2).await?;
    let location = world.store.location();
    let native = json!({"location": [location], "method": "native"});
    let auto = json!({"location": [location], "method": "auto"});
    let target = async |properties: &Value| {
        let path = format!("/cluster/{id}/tasks/backup/target");
        let body = json!({"type": "backup", "enabled": true, "properties": properties});
        world.api.ok(Method::GET, &path, Some(&body)).await
    };

    // Whoever asks for it gets it, whatever the version; by itself it is too old.
    let told_of = target(&auto).await?["notes"].to_string();
    ensure!(told_of.contains("older than 2025.2"), "{told_of}");
    let told_of = target(&native).await?["notes"].to_string();
    ensure!(
        told_of.contains("backup_io_throughput_mb_per_sec"),
        "{told_of}"
    );
    let ended = world.api.done(&id, "backup", auto.clone(), LIMIT).await?;
    ensure!(
        told(&ended.progress) == [("agent".to_owned(), 2)].into(),
        "{}",
        ended.progress
    );
    ensure!(
        ended.progress.to_string().contains("older than 2025.2"),
        "{}",
        ended.progress
    );
    world.sims[0].load(&tables()[0], 2, 64 << 10, 2).await?;
    let ended = world.api.done(&id, "backup", native.clone(), LIMIT).await?;
    ensure!(
        told(&ended.progress) == [("native".to_owned(), 2)].into(),
        "{}",
        ended.progress
    );

    // One node forgets the store.
    let others = json!({"http://elsewhere:9000": null});
    world.sims[0]
        .admin(Method::PUT, "/nodes/2/endpoints", Some(others))
        .await?;
    let address = world.sims[0].nodes[1].address.clone();
    for worker in world.find("able-2-uploader") {
        worker.kill();
        worker.start()?;
    }
    eventually("the change to be known", LIMIT, async || {
        let refused = world.api.submit(&id, "backup", native.clone()).await;
        let said = refused.err().context("it is begun")?.to_string();
        for part in [
            "400",
            &address,
            "object_storage_endpoints",
            "elsewhere",
            "method `auto`",
        ] {
            ensure!(said.contains(part), "{said}");
        }
        Ok(())
    })
    .await
}
