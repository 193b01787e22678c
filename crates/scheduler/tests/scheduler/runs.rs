//! Runs, from beginning to end, whatever happens in between.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::world::{CLUSTER, LONG, World};

#[tokio::test]
async fn a_backup_runs_to_its_end() -> Result<()> {
    let world = World::new().await?;
    let id = world.add_cluster().await?;
    let task = world.back_up().await?;
    let body = world.until(&task, "DONE").await?;
    let progress = &body["progress"];
    assert_eq!(progress["stage"], "DONE");
    assert_eq!(
        (progress["size"].as_u64(), progress["uploaded"].as_u64()),
        (Some(6_000), Some(6_000))
    );
    assert_eq!(progress["hosts"].as_array().context("hosts")?.len(), 2);
    assert_eq!(progress["keyspaces"][0]["tables"][0]["table"], "users");
    assert!(body["run"]["end_time"].is_string() && body["run"]["cause"] == "");

    let tasks = world.get(&format!("cluster/{id}/tasks")).await?;
    assert_eq!(
        (
            tasks[0]["status"].as_str(),
            tasks[0]["success_count"].as_u64()
        ),
        (Some("DONE"), Some(1))
    );
    let history = world.get(&format!("{task}/history")).await?;
    assert_eq!(
        (
            history.as_array().context("runs")?.len(),
            &history[0]["status"]
        ),
        (1, &"DONE".into())
    );
    let status = world.get(&format!("cluster/{CLUSTER}/status")).await?;
    assert_eq!(
        (&status[1]["status"], &status[1]["rest_status"]),
        (&"UN".into(), &"UP".into())
    );

    // What was kept for a crash is gone; what tells of cluster and task stays.
    eventually("the descriptor to go", LONG, async || {
        anyhow::ensure!(world.descriptors().is_empty(), "{:?}", world.keys());
        Ok(())
    })
    .await?;
    assert!(
        world
            .keys()
            .iter()
            .any(|key| *key == format!("thetis/clusters/{id}.json"))
    );

    // The same second has but one tag.
    let (status, _) = world
        .send(Method::PUT, &format!("{task}/start?continue=false"), None)
        .await?;
    assert_eq!(status, 200);
    let again = world.until(&task, "DONE").await?;
    let first = progress["snapshot_tag"].as_str().context("a tag")?;
    assert!(
        again["progress"]["snapshot_tag"]
            .as_str()
            .context("a tag")?
            >= first
    );
    Ok(())
}

#[tokio::test]
async fn a_second_run_is_refused_and_a_stopped_one_goes_on() -> Result<()> {
    let world = World::new().await?;
    world.add_cluster().await?;
    world.hold.send_replace(true);
    let task = world.back_up().await?;
    world.until_done("index", 2).await?;
    let running = world.until(&task, "RUNNING").await?;

    let (status, body) = world
        .send(Method::PUT, &format!("{task}/start"), None)
        .await?;
    assert_eq!(status, 409, "{body}");
    let message = body["message"].as_str().context("a message")?;
    assert!(
        message.contains(running["run"]["id"].as_str().context("an id")?),
        "{message}"
    );
    let (status, _) = world
        .send(Method::DELETE, &format!("cluster/{CLUSTER}"), None)
        .await?;
    assert_eq!(status, 409);

    let (status, body) = world
        .send(Method::PUT, &format!("{task}/stop"), None)
        .await?;
    assert_eq!((status, &body["run_id"]), (200, &running["run"]["id"]));
    let stopped = world.until(&task, "STOPPED").await?;
    let (_, body) = world
        .send(Method::PUT, &format!("{task}/stop"), None)
        .await?;
    assert_eq!(body["run_id"], Value::Null);

    world.hold.send_replace(false);
    let (status, body) = world
        .send(Method::PUT, &format!("{task}/start?continue=true"), None)
        .await?;
    assert_eq!(status, 200, "{body}");
    assert_ne!(body["run_id"], stopped["run"]["id"]);
    let done = world.until(&task, "DONE").await?;
    assert_eq!(
        done["progress"]["snapshot_tag"],
        stopped["progress"]["snapshot_tag"]
    );
    let history = world.get(&format!("{task}/history?limit=5")).await?;
    assert_eq!(
        (&history[0]["status"], &history[1]["status"]),
        (&"DONE".into(), &"STOPPED".into())
    );

    let (status, _) = world
        .send(Method::DELETE, &format!("cluster/{CLUSTER}"), None)
        .await?;
    assert_eq!(status, 200);
    assert_eq!(world.get("clusters").await?, Value::Array(vec![]));
    Ok(())
}

#[tokio::test]
async fn a_restore_runs_to_its_end_and_leaves_no_notes() -> Result<()> {
    let mut world = World::new().await?;
    let id = world.add_cluster().await?;
    world.start_restore_workers(id.parse()?);
    let body = json!({"type": "restore", "enabled": false, "properties": {
        "location": ["localstorage:backups"], "snapshot_tag": "sm_20260131235959UTC", "restore_tables": true,
    }});
    let tasks = format!("cluster/{CLUSTER}/tasks");
    let (status, task) = world.send(Method::POST, &tasks, Some(body)).await?;
    assert_eq!(status, 201, "{task}");
    let task = format!(
        "cluster/{CLUSTER}/task/restore/{}",
        task["id"].as_str().context("an id")?
    );
    let (status, run) = world
        .send(Method::PUT, &format!("{task}/start"), None)
        .await?;
    assert_eq!(status, 200, "{run}");
    let run = run["run_id"].as_str().context("a run")?;
    world.put(&format!("thetis/runs/{run}/restore/plan.json"), b"{}")?;
    let body = world.until(&task, "DONE").await?;
    let progress = &body["progress"];
    assert_eq!(
        (&progress["restored"], &progress["downloaded"]),
        (&4_000.into(), &4_000.into())
    );
    assert_eq!(
        (&progress["parts"], &progress["parts_done"]),
        (&4.into(), &4.into())
    );
    assert_eq!(progress["keyspaces"][0]["keyspace"], "shop");
    eventually("the notes to go", LONG, async || {
        anyhow::ensure!(
            !world
                .keys()
                .iter()
                .any(|key| key.starts_with("thetis/runs/")),
            "{:?}",
            world.keys()
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn another_scheduler_takes_over_from_one_that_died() -> Result<()> {
    let mut world = World::new().await?;
    world.add_cluster().await?;
    world.hold.send_replace(true);
    let first = world.port();
    let task = world.back_up().await?;
    world.until_done("index", 2).await?;
    let second = world.start_scheduler();
    world.until_leading(second).await?;
    world.kill_scheduler(first);
    world.hold.send_replace(false);
    let body = world.until(&task, "DONE").await?;
    assert_eq!(body["progress"]["uploaded"], 6_000);
    assert_eq!(
        world
            .get(&format!("{task}/history"))
            .await?
            .as_array()
            .context("runs")?
            .len(),
        1
    );
    Ok(())
}

#[tokio::test]
async fn a_run_survives_the_loss_of_all_that_nats_had() -> Result<()> {
    let mut world = World::new().await?;
    let id = world.add_cluster().await?;
    world.hold.send_replace(true);
    let task = world.back_up().await?;
    world.until_done("index", 2).await?;
    let before = world.until(&task, "RUNNING").await?;
    world.nats.wipe_and_restart()?;
    world.hold.send_replace(false);
    let after = world.until(&task, "DONE").await?;
    assert_eq!(after["run"]["id"], before["run"]["id"]);
    assert_eq!(
        after["progress"]["snapshot_tag"],
        before["progress"]["snapshot_tag"]
    );
    assert_eq!(world.get("clusters").await?[0]["id"], id.as_str());
    Ok(())
}

#[tokio::test]
async fn a_new_scheduler_finds_in_the_bucket_what_an_old_one_and_its_nats_have_left() -> Result<()>
{
    let mut world = World::new().await?;
    world.add_cluster().await?;
    world.hold.send_replace(true);
    let task = world.back_up().await?;
    world.until_done("index", 2).await?;
    let first = world.port();
    world.kill_scheduler(first);
    world.nats.wipe_and_restart()?;
    world.hold.send_replace(false);
    let second = world.start_scheduler();
    world.until_leading(second).await?;
    let body = world.until(&task, "DONE").await?;
    assert_eq!(body["progress"]["uploaded"], 6_000);
    Ok(())
}
