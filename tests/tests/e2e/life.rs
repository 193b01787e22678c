//! The whole life of a cluster, as scripts drive it: by the command line, and over HTTP.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use tests::{Options, Shape, TableSpec, World, bin, compare};

fn tables() -> [TableSpec; 2] {
    let table = |keyspace: &str, name: &str, tablets| TableSpec {
        keyspace: keyspace.to_owned(),
        name: name.to_owned(),
        tablets,
        copies: 2,
    };
    [table("shop", "users", false), table("orders", "open", true)]
}

async fn live(script: &str, local: bool) -> Result<()> {
    let mut world = World::start(Options {
        local,
        environment: vec![("THETIS_SCHEDULER__SECRET_KEY".to_owned(), "5e".repeat(32))],
        ..Options::default()
    })
    .await?;
    let full = world.add_cluster(Shape::new("life", 2), 1).await?;
    let empty = world.add_cluster(Shape::new("other", 2), 1).await?;
    for sim in [full, empty] {
        world.sims[sim].create(&tables()).await?;
    }
    for (seed, table) in (0..).zip(&tables()) {
        world.sims[full].load(table, seed, 64 << 10, 8).await?;
    }
    let before = world.sims[full].fingerprints().await?;
    // The scripts register the clusters; once that works all workers are there.
    for sim in [full, empty] {
        let (name, host) = (
            world.sims[sim].name().to_owned(),
            world.sims[sim].nodes[0].address.clone(),
        );
        let id = world.api.add_cluster(&name, &host).await?;
        world.api.workers(&id, 2, 3).await?;
        let path = format!("/cluster/{id}");
        world.api.ok(reqwest::Method::DELETE, &path, None).await?;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("life")
        .join(script);
    let mut command = Command::new(&script);
    command
        .env("THETIS", bin("thetis")?)
        .env("THETIS_API_URL", world.api.base())
        .env("HOST", &world.sims[full].nodes[0].address)
        .env("OTHER", &world.sims[empty].nodes[0].address)
        .env("LOCATION", world.store.location());
    let ran = tokio::task::spawn_blocking(move || command.output()).await?;
    let ran = ran.with_context(|| format!("running {}", script.display()))?;
    ensure!(
        ran.status.success(),
        "{}\n{}\n{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
        world.last_words()
    );
    for service in &world.services {
        ensure!(
            !service.log().contains("hunter2"),
            "{} shows a password",
            service.name
        );
    }
    compare(&before, &world.sims[empty].fingerprints().await?)?;
    world.sims[empty].is_clean().await
}

#[tokio::test]
async fn a_cluster_lives_by_the_command_line() -> Result<()> {
    live("cli.sh", false).await
}

#[tokio::test]
async fn a_cluster_lives_over_http() -> Result<()> {
    live("curl.sh", true).await
}
