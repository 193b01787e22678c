//! What one restore leaves is put back by the next; and what somebody has put there since is not dropped.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::json;
use testkit::eventually;
use tests::{Cql, Options, Service, Shape, World};

use crate::{
    bad_input::files_below,
    schema::{QUESTIONS, SCHEMA, backup, filled, fresh, refused, restore, same},
};

const LIMIT: Duration = Duration::from_secs(90);

async fn world() -> Result<World> {
    World::start(Options {
        local: true,
        ..Options::default()
    })
    .await
}

/// A backup, and a cluster without keyspaces.
async fn backed_up(world: &mut World) -> Result<(Cql, String, String, Cql)> {
    let (from, before) = filled(world, Shape::new("from", 2), &SCHEMA).await?;
    let tag = backup(world, &from).await?;
    let (to, after) = fresh(world, Shape::new("to", 2)).await?;
    Ok((before, tag, to, after))
}

/// Damages a file of rows in the bucket; gives its path and its right content.
fn damage(world: &World, table: &str) -> Result<(PathBuf, Vec<u8>)> {
    let files = files_below(&world.dir().join("store/thetis/backup/sst"))?;
    let table = format!("/{table}/");
    let mut data = files.into_iter();
    let path = data.find(|path| path.contains(&table) && path.ends_with("-Data.db"));
    let path = PathBuf::from(path.context("a file of rows")?);
    let content = std::fs::read(&path)?;
    std::fs::write(&path, vec![0; content.len()])?;
    Ok((path, content))
}

#[tokio::test]
async fn a_later_restore_puts_back_what_earlier_ones_have_left() -> Result<()> {
    let mut world = world().await?;
    let (before, tag, to, after) = backed_up(&mut world).await?;
    after.run(&SCHEMA).await?;
    let was = after.schema().await?;
    let rows = |keyspaces: &[&str]| {
        let more = json!({"restore_tables": true, "merge": true, "keyspace": keyspaces});
        restore(&world, &tag, more)
    };
    let (path, content) = damage(&world, "users")?;
    let mut runs = Vec::new();
    // The second finds the schema as the first has left it.
    for keyspaces in [&[][..], &["shop.users"]] {
        let cause = refused(&world, &to, rows(keyspaces)).await?;
        let (_, run) = cause.split_once("thetis restore undo ").unwrap_or_default();
        runs.push(run.chars().take(36).collect::<String>());
        ensure!(runs.last().is_some_and(|run| run.len() == 36), "{cause}");
    }
    let left = after.schema().await?;
    let has = |part: &str| left.iter().any(|one| one.contains(part));
    ensure!(
        !has("by_name") && !has("pages") && has("disabled"),
        "{left:#?}"
    );

    // What the second has taken over is not the first's any more.
    let undo = json!({"undo": runs[0]});
    world.api.done(&to, "restore", undo, LIMIT).await?;
    ensure!(after.schema().await? == left, "nothing is put back twice");

    // The third ends well, and with it all that the first had changed is as it was.
    std::fs::write(&path, &content)?;
    let third = world.api.done(&to, "restore", rows(&["shop.users"]), LIMIT);
    third.await?;
    let is = after.schema().await?;
    ensure!(is == was, "it was {was:#?} and is {is:#?}");
    let undo = json!({"undo": runs[1]});
    world.api.done(&to, "restore", undo, LIMIT).await?;
    ensure!(after.schema().await? == was, "nothing is left to undo");

    world.api.done(&to, "restore", rows(&[]), LIMIT).await?;
    same(&before, &after).await?;
    ensure!(after.schema().await? == was, "the schema");
    world.sims[1].is_clean().await
}

#[tokio::test]
async fn what_holds_rows_by_now_is_not_dropped_by_an_attempt_cut_short() -> Result<()> {
    let mut world = world().await?;
    let (before, tag, to, after) = backed_up(&mut world).await?;
    let sim = &world.sims[1];
    let hang = json!({
        "method": "CQL", "query": "CREATE TABLE", "skip": 1, "action": {"kind": "hang"},
    });
    sim.admin(Method::POST, "/faults", Some(hang)).await?;
    let properties = restore(&world, &tag, json!({}));
    let task = world.api.submit(&to, "restore", properties).await?;
    let made = eventually("the first table", LIMIT, async || {
        let tables = "SELECT keyspace_name, table_name FROM system_schema.tables";
        let tables = after.rows(tables).await?;
        let own = |row: &&String| row.contains("shop") || row.contains("Orders");
        let made: Vec<String> = tables.iter().filter(own).cloned().collect();
        ensure!(!made.is_empty(), "none yet");
        Ok(made)
    })
    .await?;
    ensure!(made.len() == 1, "it was not held: {made:?}");
    world.find("to-").for_each(Service::kill);
    world
        .api
        .ok(Method::PUT, &format!("{task}/stop"), None)
        .await?;
    let ended = world.api.ended(&task, LIMIT).await?;
    ensure!(ended.status == "STOPPED", "{ended:?}");

    // Somebody uses the table.
    let (insert, read) = match made[0].contains("Open") {
        true => (
            "INSERT INTO \"Orders\".\"Open\" (id, sum) VALUES (-1, 7)",
            QUESTIONS[4],
        ),
        false => (
            "INSERT INTO shop.users (id, name) VALUES (-1, 'own')",
            QUESTIONS[0],
        ),
    };
    after.run(&[insert]).await?;
    let own = after.rows(read).await?;
    ensure!(own.len() == 1, "{own:?}");
    world.sims[1].admin(Method::DELETE, "/faults", None).await?;
    world.revive()?;
    world.api.workers(&to, 2, 3).await?;

    let (_, run) = ended
        .cause
        .split_once("thetis restore undo ")
        .unwrap_or_default();
    let undo = json!({"undo": run.chars().take(36).collect::<String>()});
    let held = |cause: &str| cause.contains("holds rows since: nothing is dropped");
    let cause = refused(&world, &to, undo).await?;
    ensure!(held(&cause), "{cause}");
    ensure!(after.rows(read).await? == own, "the undo dropped rows");
    let path = format!("{task}/start?continue=true");
    world.api.ok(Method::PUT, &path, None).await?;
    let ended = world.api.ended(&task, LIMIT).await?;
    ensure!(ended.status == "ERROR" && held(&ended.cause), "{ended:?}");
    ensure!(
        after.rows(read).await? == own,
        "the next attempt dropped rows"
    );

    // As the error says: anew, with rows of both.
    let anew = restore(&world, &tag, json!({"merge": true}));
    world.api.done(&to, "restore", anew, LIMIT).await?;
    for question in QUESTIONS {
        let (was, is) = (before.rows(question).await?, after.rows(question).await?);
        let lost: Vec<_> = was.iter().filter(|row| !is.contains(row)).collect();
        ensure!(lost.is_empty() && !was.is_empty(), "{question}: {lost:?}");
    }
    let is = after.rows(read).await?;
    ensure!(own.iter().all(|row| is.contains(row)), "{is:?}");
    world.sims[1].is_clean().await
}
