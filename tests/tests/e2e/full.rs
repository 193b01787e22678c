//! A directory for backups whose file system is full: the backup says so, what is published stays
//! true, and it goes on once there is room.

use std::{fs::File, io::Write as _, path::Path, time::Duration};

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use tests::{Options, Shape, World, compare};

use crate::{bad_input::Tmpfs, retention::table};

const LIMIT: Duration = Duration::from_secs(120);

/// Fills a file system with one file, but for `left` bytes.
fn fill(path: &Path, left: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let full = loop {
        if let Err(e) = file.write_all(&[1; 64 << 10]) {
            break e;
        }
    };
    ensure!(full.kind() == std::io::ErrorKind::StorageFull, "{full}");
    let bytes = file.metadata()?.len();
    file.set_len(bytes.saturating_sub(left))?;
    Ok(())
}

#[tokio::test]
async fn a_full_directory_fails_the_backup_and_no_other() -> Result<()> {
    // Dropped last to first: nothing may use the file system when it goes.
    let dir = tempfile::Builder::new().prefix("thetis-world-").tempdir()?;
    let at = dir.path().join("store");
    let Some(_disk) = Tmpfs::mount(&at, "size=64m")? else {
        return Ok(());
    };
    let mut world = World::start(Options {
        local: true,
        dir: Some(dir.path().to_owned()),
        environment: vec![("THETIS_NATS__RETRY_PAUSE_MS".to_owned(), "20".to_owned())],
        ..Options::default()
    })
    .await?;
    let full = world.add_cluster(Shape::new("full", 2), 1).await?;
    let empty = world.add_cluster(Shape::new("empty", 2), 1).await?;
    let mut ids = Vec::new();
    for sim in [full, empty] {
        world.sims[sim].create(&[table()]).await?;
        let (name, host) = {
            let sim = &world.sims[sim];
            (sim.name().to_owned(), sim.nodes[0].address.clone())
        };
        let id = world.api.add_cluster(&name, &host).await?;
        world.api.workers(&id, 2, 3).await?;
        ids.push(id);
    }
    let location = json!({"location": [world.store.location()]});
    world.sims[full].load(&table(), 1, 256 << 10, 4).await?;
    let first = world.api.done(&ids[0], "backup", location.clone(), LIMIT);
    first.await?;

    // Some of it comes, and then no more.
    world.sims[full].load(&table(), 2, 4 << 20, 16).await?;
    let before = world.sims[full].fingerprints().await?;
    let filler = at.join("filler");
    fill(&filler, 2 << 20)?;
    let task = world
        .api
        .submit(&ids[0], "backup", location.clone())
        .await?;
    let ended = world.api.ended(&task, LIMIT).await?;
    ensure!(ended.status == "ERROR", "{ended:?}");
    for part in [
        "no space left for",
        "backup/sst/",
        "the file system is full",
    ] {
        ensure!(ended.cause.contains(part), "{}", ended.cause);
    }
    std::fs::remove_file(&filler)?;
    let sound = json!({"location": [world.store.location()], "checksum": true});
    let validated = world.api.done(&ids[0], "validate_backup", sound, LIMIT);
    validated.await?;

    let path = format!("{task}/start?continue=true");
    world.api.ok(Method::PUT, &path, None).await?;
    let tag = world.api.ended(&task, LIMIT).await?.done()?.tag();
    let location = world.store.location();
    let proven =
        world
            .api
            .validate_and_restore([&ids[0], &ids[1]], [location, &tag, "agent"], LIMIT);
    proven.await?;
    compare(&before, &world.sims[empty].fingerprints().await?)?;
    world.sims[full].is_clean().await?;
    world.sims[empty].is_clean().await
}
