//! What the API says of buckets that ScyllaDB Manager filled.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use scheduler::shape::{BackupFilesInfo, BackupListItem, BackupSchema};
use testkit::manager::{Backup, BackupMade, Bucket, Cluster, Schema, Table, damage, random_bucket};

use crate::world::{CLUSTER, World};

async fn filled(bucket: &Bucket) -> Result<World> {
    let world = World::new().await?;
    world.add_cluster().await?;
    bucket.write(&world.bucket())?;
    Ok(world)
}

fn path(verb: &str, made: &BackupMade) -> String {
    format!(
        "cluster/{CLUSTER}/backups{verb}?locations=localstorage:backups&query_cluster_id={}&snapshot_tag={}",
        made.id.cluster, made.id.tag
    )
}

/// Objects and bytes by node's directory and table.
fn truth(made: &BackupMade) -> BTreeMap<String, (BTreeSet<String>, u64)> {
    let finished = made.nodes.iter().filter(|node| node.manifest.is_some());
    let tables = finished.flat_map(|node| &node.tables);
    let held = tables.map(|table| {
        let files = table.files.iter().map(|file| file.key.clone()).collect();
        (
            table.dir.trim_end_matches('/').to_owned(),
            (files, table.bytes()),
        )
    });
    held.collect()
}

#[tokio::test]
async fn lists_files_and_schemas_are_those_of_the_bucket() -> Result<()> {
    // A seed with files that were replaced since, and unfinished backups.
    let bucket = random_bucket(2);
    let world = filled(&bucket).await?;
    let mut replaced = 0;
    for made in &bucket.backups {
        let finished = made.nodes.iter().any(|node| node.manifest.is_some());
        let twins = bucket
            .backups
            .iter()
            .filter(|other| (&other.id.cluster, &other.id.tag) == (&made.id.cluster, &made.id.tag));
        if !finished || twins.count() > 1 {
            continue;
        }
        let files = world.get(&path("/files", made)).await?;
        let files: Vec<BackupFilesInfo> = serde_json::from_value(files)?;
        let mut found = BTreeMap::new();
        for node in files {
            ensure!(node.location == "localstorage:backups");
            ensure!(made.schemas.contains(&node.schema) || made.schemas.is_empty());
            for table in node.files {
                ensure!(table.missing.is_empty(), "{:?}", table.missing);
                let objects = table
                    .files
                    .iter()
                    .map(|name| format!("{}/{name}", table.path));
                let objects: BTreeSet<String> = objects.collect();
                replaced += objects.iter().filter(|key| key.contains(".sm_")).count();
                found.insert(table.path, (objects, table.size));
            }
        }
        ensure!(found == truth(made), "{:?}: {found:#?}", made.id);
    }
    let list = world
        .get(&format!(
            "cluster/{CLUSTER}/backups?locations=localstorage:backups"
        ))
        .await?;
    let list: Vec<BackupListItem> = serde_json::from_value(list)?;
    let found: BTreeMap<(String, String, String), bool> = list
        .iter()
        .flat_map(|item| {
            let of = |tag: &str| {
                (
                    item.cluster_id.clone(),
                    item.task_id.clone(),
                    tag.to_owned(),
                )
            };
            item.snapshot_info
                .iter()
                .map(move |one| (of(&one.snapshot_tag), one.complete))
        })
        .collect();
    let made = bucket
        .backups
        .iter()
        .filter(|made| made.nodes.iter().any(|node| node.manifest.is_some()));
    let made: BTreeMap<_, _> = made
        .map(|made| {
            let id = (
                made.id.cluster.clone(),
                made.id.task.clone(),
                made.id.tag.clone(),
            );
            (id, !made.unfinished())
        })
        .collect();
    ensure!(found == made, "{found:#?}\n{made:#?}");
    ensure!(replaced > 0, "the seed does not test what it should");
    Ok(())
}

#[tokio::test]
async fn a_schema_comes_row_by_row() -> Result<()> {
    let mut prod = Cluster::new(7, "prod");
    prod.node("dc1", "r1");
    prod.table(Table::new("shop", "users"));
    let task = prod.task();
    prod.backup(&Backup {
        schemas: vec![Schema::Cql],
        ..Backup::new(&task, "sm_20260101000000UTC")
    });
    prod.backup(&Backup {
        schemas: Vec::new(),
        ..Backup::new(&task, "sm_20260102000000UTC")
    });
    let bucket = prod.bucket();
    let world = filled(&bucket).await?;
    let [with, without] = &bucket.backups[..] else {
        anyhow::bail!("two backups");
    };
    let schema: BackupSchema = serde_json::from_value(world.get(&path("/schema", with)).await?)?;
    let rows: Vec<_> = schema
        .schema
        .iter()
        .map(|row| (&*row.kind, &*row.name))
        .collect();
    ensure!(rows == [("role", "backup"), ("table", "users")], "{rows:?}");
    ensure!(
        schema.schema[1]
            .cql_stmt
            .starts_with("CREATE TABLE \"shop\".\"users\"")
    );

    let (status, body) = world
        .send(Method::GET, &path("/schema", without), None)
        .await?;
    let message = body["message"].as_str().context("a message")?;
    ensure!(
        status == 404 && message.contains("has no schema file"),
        "{status} {body}"
    );
    Ok(())
}

#[tokio::test]
async fn a_damaged_manifest_never_looks_like_a_short_list() -> Result<()> {
    let mut prod = Cluster::new(7, "prod");
    prod.node("dc1", "r1");
    prod.table(Table::new("shop", "users"));
    let task = prod.task();
    prod.backup(&Backup::new(&task, "sm_20260101000000UTC"));
    let bucket = prod.bucket();
    let world = filled(&bucket).await?;
    let made = &bucket.backups[0];
    let key = made.nodes[0].manifest.as_ref().context("finished")?;
    damage::truncate(&world.bucket(), key, 60)?;
    ensure!(world.get(&path("/files", made)).await.is_err());
    let unknown = path("/files", made).replace("sm_2026", "sm_2027");
    let (status, body) = world.send(Method::GET, &unknown, None).await?;
    ensure!(
        status == 404 && body["message"].to_string().contains("sm_2027"),
        "{body}"
    );
    Ok(())
}
