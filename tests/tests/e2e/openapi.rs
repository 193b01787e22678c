//! The API against its own OpenAPI document: thousands of requests, right and wrong ones, made from it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::json;
use testkit::binary;
use tests::{Options, Shape, TableSpec, World};

/// Examples for each operation in each phase.
const EXAMPLES: &str = "20";

#[tokio::test]
async fn no_request_breaks_the_api_or_its_document() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        ..Options::default()
    })
    .await?;
    let sim = world.add_cluster(Shape::new("prod", 1), 1).await?;
    let users = TableSpec {
        keyspace: "shop".to_owned(),
        name: "users".to_owned(),
        tablets: false,
        copies: 1,
    };
    world.sims[sim].create(&[users]).await?;
    let id = world
        .api
        .add_cluster("prod", &world.sims[sim].nodes[0].address)
        .await?;
    world.api.workers(&id, 1, 3).await?;
    let task = json!({"type": "backup", "name": "nightly", "enabled": false,
        "properties": {"location": [world.store.location()]}});
    let tasks = format!("/cluster/{id}/tasks");
    world.api.ok(Method::POST, &tasks, Some(&task)).await?;

    // Once with the names of what is there, which stays there; and once with any names.
    let config = world.dir().join("schemathesis.toml");
    std::fs::write(
        &config,
        "[parameters]\n\"path.cluster\" = \"prod\"\n\"path.type\" = \"backup\"\n\"path.task\" = \"nightly\"\n",
    )?;
    let config = config.display().to_string();
    let left = "/api/v1/cluster/{cluster}";
    check(&world, &["--config-file", &config, "--exclude-path", left]).await?;
    let cluster = world.api.ok(Method::GET, "/cluster/prod", None).await?;
    ensure!(cluster["id"] == id.as_str(), "{cluster}");
    check(&world, &[]).await
}

async fn check(world: &World, more: &[&str]) -> Result<()> {
    let mut command = Command::new(binary("schemathesis")?);
    let (global, more): (Vec<&str>, Vec<&str>) = match more {
        [flag @ "--config-file", file, rest @ ..] => (vec![*flag, *file], rest.to_vec()),
        rest => (Vec::new(), rest.to_vec()),
    };
    command
        .args(global)
        .arg("run")
        .arg(format!("{}/openapi.json", world.api.base()))
        .args(["-n", EXAMPLES, "--phases", "examples,coverage,fuzzing"])
        .args([
            "-c",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .args(["--continue-on-failure", "--warnings", "off", "--generation-database", "none"])
        .args(more)
        .env("NO_PROXY", "*")
        .current_dir(world.dir());
    let ran = tokio::task::spawn_blocking(move || command.output()).await?;
    let ran = ran.context("running schemathesis")?;
    ensure!(
        ran.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok(())
}
