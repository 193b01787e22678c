//! Roles, their rights and service levels come back when that is asked for, and only then.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Cql, Options, Shape, World};

use crate::schema::{backup, restore};

const LIMIT: Duration = Duration::from_secs(90);
const ROOT: &str = "cassandra";

const ACCESS: [&str; 12] = [
    "CREATE KEYSPACE shop WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}",
    "CREATE TABLE shop.users (id int PRIMARY KEY, name text)",
    "CREATE TABLE shop.visits (id int PRIMARY KEY, page text)",
    "INSERT INTO shop.users (id, name) VALUES (1, 'a')",
    "CREATE ROLE team",
    "CREATE ROLE \"Reader\" WITH PASSWORD = 'of the reader' AND LOGIN = true",
    "CREATE ROLE guard WITH PASSWORD = 'of the backup' AND LOGIN = true",
    "GRANT team TO \"Reader\"",
    "GRANT SELECT ON KEYSPACE shop TO team",
    "GRANT MODIFY ON shop.users TO \"Reader\"",
    "CREATE SERVICE LEVEL fast WITH shares = 500",
    "ATTACH SERVICE LEVEL fast TO team",
];

/// What is read of it.
const LISTS: [&str; 4] = [
    "LIST ROLES",
    "LIST ALL PERMISSIONS",
    "LIST ALL SERVICE LEVELS",
    "LIST ALL ATTACHED SERVICE LEVELS",
];

/// A cluster that lets in only whom it knows; gives its id in Thetis.
async fn guarded(world: &mut World, name: &str) -> Result<(String, Cql)> {
    let shape = Shape::new(name, 2).with(&["--cql-auth"]);
    let sim = world.add_cluster(shape, 1).await?;
    let host = world.sims[sim].nodes[0].address.clone();
    let cluster = world.api.add_cluster(name, &host).await?;
    world.api.workers(&cluster, 2, 3).await?;
    let cql = Cql::login(&world.sims[sim], ROOT, ROOT).await?;
    Ok((cluster, cql))
}

#[tokio::test]
async fn roles_come_back_with_their_rights_on_request() -> Result<()> {
    let login = ["USERNAME", "PASSWORD"].map(|key| (format!("THETIS_CQL__{key}"), ROOT.to_owned()));
    let mut world = World::start(Options {
        local: true,
        environment: login.into(),
        ..Options::default()
    })
    .await?;
    let (from, before) = guarded(&mut world, "from").await?;
    before.run(&ACCESS).await?;
    let tag = backup(&world, &from).await?;
    let (to, after) = guarded(&mut world, "to").await?;
    after
        .run(&["CREATE ROLE guard WITH PASSWORD = 'of the cluster' AND LOGIN = true"])
        .await?;
    let had = after.rows(LISTS[0]).await?;

    // Not asked for.
    let plain = restore(&world, &tag, json!({}));
    world.api.done(&to, "restore", plain, LIMIT).await?;
    ensure!(after.rows(LISTS[0]).await? == had, "roles came unasked");
    for list in &LISTS[2..] {
        let rows = after.rows(list).await?;
        ensure!(rows.is_empty(), "{list}: {rows:?}");
    }

    let asked = restore(&world, &tag, json!({"with_roles": true, "merge": true}));
    let ended = world.api.done(&to, "restore", asked.clone(), LIMIT).await?;
    for list in LISTS {
        let (was, is) = (before.rows(list).await?, after.rows(list).await?);
        ensure!(
            was == is && !was.is_empty(),
            "{list}: {was:?} became {is:?}"
        );
    }
    let read = "SELECT * FROM shop.users";
    ensure!(after.rows(read).await? == before.rows(read).await?, "rows");

    // They are who they were, and may what they could.
    let reader = Cql::login(&world.sims[1], "Reader", "of the reader").await?;
    reader
        .run(&["INSERT INTO shop.users (id, name) VALUES (2, 'b')"])
        .await?;
    ensure!(reader.rows("SELECT * FROM shop.visits").await?.is_empty());
    let refused = reader.run(&["INSERT INTO shop.visits (id, page) VALUES (2, 'b')"]);
    ensure!(refused.await.is_err(), "nobody granted that");
    let known = Cql::login(&world.sims[1], "guard", "of the cluster").await;
    ensure!(known.is_ok(), "a role that is there is kept");

    // Once more is fine, and nothing shows a secret.
    world.api.done(&to, "restore", asked, LIMIT).await?;
    let told = world.services.iter().map(tests::Service::log);
    for text in told.chain([ended.cause, ended.progress.to_string()]) {
        for secret in ["$6$", "of the reader"] {
            ensure!(!text.contains(secret), "a secret is shown: {text}");
        }
    }
    world.sims[1].is_clean().await
}
