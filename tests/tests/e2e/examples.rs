//! The examples of asking over NATS do what they say.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use testkit::binary;
use tests::{Options, Shape, TableSpec, World, bin};

#[tokio::test]
async fn a_backup_is_asked_for_and_followed_in_rust_and_python() -> Result<()> {
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
    world.sims[sim].create(std::slice::from_ref(&users)).await?;
    world.sims[sim].load(&users, 1, 64 << 10, 2).await?;
    let host = world.sims[sim].nodes[0].address.clone();
    let id = world.api.add_cluster("prod", &host).await?;
    world.api.workers(&id, 1, 3).await?;
    let rust = Command::new(bin("examples/follow_backup")?);
    let mut python = Command::new(binary("python-nats")?);
    python.arg(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/follow_backup.py"
    ));
    for mut example in [rust, python] {
        example.args([&world.nats.url(), "prod", world.store.location()]);
        let ran = tokio::task::spawn_blocking(move || example.output()).await?;
        let ran = ran.context("running the example")?;
        let said = String::from_utf8_lossy(&ran.stdout);
        ensure!(
            ran.status.success() && said.contains("run_ended") && said.contains("DONE"),
            "{said}\n{}\n{}",
            String::from_utf8_lossy(&ran.stderr),
            world.last_words()
        );
    }
    Ok(())
}
