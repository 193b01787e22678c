//! Data comes back as it lay: each node's to the node with its tokens, each rack's to its replicas. Beside the
//! rows, it is compared which node has which SSTables then.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::json;
use tests::{Cql, Options, Shape, Sim, World};

use crate::schema::{backup, fresh, refused, restore};

const LIMIT: Duration = Duration::from_secs(90);

const ROWS: u32 = 60;

/// A table that is spread by vnodes with an index, and one that is spread by tablets with a view, each on
/// every rack.
const SCHEMA: [&str; 6] = [
    "CREATE KEYSPACE shop WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 2} AND tablets = {'enabled': false}",
    "CREATE TABLE shop.users (id int PRIMARY KEY, name text)",
    "CREATE INDEX names ON shop.users (name)",
    "CREATE KEYSPACE orders WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 2}",
    "CREATE TABLE orders.open (id int PRIMARY KEY, name text)",
    "CREATE MATERIALIZED VIEW orders.by_name AS SELECT * FROM orders.open WHERE name IS NOT NULL AND id IS NOT NULL PRIMARY KEY (name, id)",
];

const QUESTIONS: [&str; 4] = [
    "SELECT * FROM shop.users",
    "SELECT * FROM shop.users WHERE name = 'n7'",
    "SELECT * FROM orders.open",
    "SELECT * FROM orders.by_name",
];

async fn fill(cql: &Cql) -> Result<()> {
    cql.run(&SCHEMA).await?;
    for id in 0..ROWS {
        for table in ["shop.users", "orders.open"] {
            let row = format!("INSERT INTO {table} (id, name) VALUES ({id}, 'n{id}')");
            cql.run(&[&row]).await?;
        }
    }
    Ok(())
}

async fn answers(cql: &Cql) -> Result<Vec<Vec<String>>> {
    let mut all = Vec::new();
    for question in QUESTIONS {
        let rows = cql.rows(question).await?;
        ensure!(!rows.is_empty(), "{question}: nothing to compare");
        all.push(rows);
    }
    Ok(all)
}

/// The digests of each SSTable of a table that a node has.
fn digests(data: &Path, keyspace: &str, table: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for dir in fs::read_dir(data.join(keyspace))? {
        let dir = dir?;
        if !dir
            .file_name()
            .to_string_lossy()
            .starts_with(&format!("{table}-"))
        {
            continue;
        }
        for file in fs::read_dir(dir.path())? {
            let path = file?.path();
            if path.to_string_lossy().ends_with("-Digest.crc32") {
                all.push(fs::read_to_string(path)?);
            }
        }
    }
    all.sort();
    Ok(all)
}

/// The digests of each node.
fn by_node(sim: &Sim, keyspace: &str, table: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut all = BTreeMap::new();
    for node in &sim.nodes {
        all.insert(node.host_id.clone(), digests(&node.data, keyspace, table)?);
    }
    Ok(all)
}

/// The digests of each rack. Nodes take turns on the racks.
fn by_rack(sim: &Sim, racks: usize, keyspace: &str, table: &str) -> Result<Vec<Vec<String>>> {
    let mut all = vec![Vec::new(); racks];
    for (at, node) in sim.nodes.iter().enumerate() {
        all[at % racks].extend(digests(&node.data, keyspace, table)?);
    }
    all.iter_mut().for_each(|rack| rack.sort());
    Ok(all)
}

#[tokio::test]
async fn each_node_gets_back_what_was_its_own() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..Options::default()
    })
    .await?;
    let (id, cql) = fresh(&mut world, Shape::new("twins", 4)).await?;
    fill(&cql).await?;
    let tag = backup(&world, &id).await?;
    let before = answers(&cql).await?;
    let lay = by_node(&world.sims[0], "shop", "users")?;
    ensure!(lay.values().all(|node| !node.is_empty()), "{lay:?}");

    let all = restore(&world, &tag, json!({"one_to_one": true}));
    let path = format!("/cluster/{id}/tasks/restore/target");
    let asked = json!({"type": "restore", "properties": all});
    let target = world.api.ok(Method::GET, &path, Some(&asked)).await?;
    let objections = target["objections"].to_string();
    ensure!(
        objections.contains("orders.open is spread by tablets"),
        "{target}"
    );
    let shop = json!({"one_to_one": true, "keyspace": ["shop"]});
    let shop = restore(&world, &tag, shop);
    let cause = refused(&world, &id, all).await?;
    ensure!(
        cause.contains("orders.open is spread by tablets"),
        "{cause}"
    );
    cql.run(&["DROP KEYSPACE shop"]).await?;
    // Owns less than before, so that rows would be dropped.
    let fewer = SCHEMA[0].replace("'dc1': 2", "'dc1': 1");
    cql.run(&[&fewer, SCHEMA[1]]).await?;
    let cause = refused(&world, &id, shop.clone()).await?;
    ensure!(cause.contains("owns less of keyspace shop"), "{cause}");
    ensure!(
        cql.rows("SELECT * FROM shop.users").await?.is_empty(),
        "something was loaded"
    );

    cql.run(&["DROP KEYSPACE shop"]).await?;
    world.api.done(&id, "restore", shop, LIMIT).await?;
    ensure!(answers(&cql).await? == before, "rows differ");
    // Each has as many SSTables as it had: from others comes another one each.
    let lies = by_node(&world.sims[0], "shop", "users")?;
    let count = |(node, found): (&String, &Vec<String>)| (node.clone(), found.len());
    let (had, has): (BTreeMap<_, _>, BTreeMap<_, _>) = (
        lay.iter().map(count).collect(),
        lies.iter().map(count).collect(),
    );
    ensure!(had == has, "{lay:?} became {lies:?}");
    world.sims[0].is_clean().await?;

    // Elsewhere nobody has these tokens.
    let (other, _) = fresh(&mut world, Shape::new("others", 4)).await?;
    let shop = json!({"one_to_one": true, "keyspace": ["shop"], "source_cluster_id": id});
    let cause = refused(&world, &other, restore(&world, &tag, shop)).await?;
    ensure!(cause.contains("has the tokens of node"), "{cause}");
    Ok(())
}

#[tokio::test]
async fn each_rack_gets_back_what_it_had_by_tablets() -> Result<()> {
    let mut world = World::start(Options::default()).await?;
    let endpoint = world.s3()?.endpoint();
    let knows = ["--endpoint", &*endpoint];
    let (from, cql) = fresh(&mut world, Shape::new("racks", 2).with(&knows)).await?;
    fill(&cql).await?;
    let tag = backup(&world, &from).await?;
    let before = answers(&cql).await?;
    let lay = by_rack(&world.sims[0], 2, "orders", "open")?;
    ensure!(lay.iter().all(|rack| !rack.is_empty()), "{lay:?}");

    // Twice as many nodes on the same racks; and racks that a table does not have.
    let tablets = restore(&world, &tag, json!({"method": "tablets"}));
    for (name, nodes, racks, by) in [("same", 4, 2, "tablets"), ("more", 6, 3, "native")] {
        let mut shape = Shape::new(name, nodes).with(&knows);
        shape.racks = racks;
        let (to, cql) = fresh(&mut world, shape).await?;
        let path = format!("/cluster/{to}/tasks/restore/target");
        let asked = json!({"type": "restore", "properties": tablets});
        let target = world.api.ok(Method::GET, &path, Some(&asked)).await?;
        ensure!(target["objections"] == json!([]), "{name}: {target}");
        let would = format!(r#""method":"{by}""#);
        ensure!(target.to_string().contains(&would), "{name}: {target}");
        let ended = world
            .api
            .done(&to, "restore", tablets.clone(), LIMIT)
            .await?;
        let sim = world.sims.last().context("a cluster")?;
        ensure!(answers(&cql).await? == before, "{name}: rows differ");
        let told = ended.progress.to_string();
        let of_open = told.contains(&format!(r#""method":"{by}""#));
        ensure!(of_open && told.contains("not by tablets"), "{name}: {told}");
        if by == "tablets" {
            let lies = by_rack(sim, racks, "orders", "open")?;
            ensure!(lies == lay, "{lay:?} became {lies:?}");
        }
        let calls = sim.admin(Method::GET, "/calls", None).await?;
        let asked = !calls["POST /storage_service/tablets/restore"].is_null();
        ensure!(asked == (by == "tablets"), "{name}: {calls}");
        sim.is_clean().await?;
    }
    Ok(())
}
