//! Runs, from beginning to end, whatever happens in between.

use anyhow::{Context as _, Result, ensure};
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
async fn a_purge_is_told_what_tasks_keep_when_it_begins() -> Result<()> {
    let world = World::new().await?;
    world.add_cluster().await?;
    let last = || {
        world
            .purges
            .lock()
            .unwrap()
            .last()
            .cloned()
            .context("a purge")
    };
    let kept = |purge: &protocol::Purge, task: &str| -> Result<(bool, u32, u32)> {
        let mut told = purge.tasks.iter();
        let told = told.find(|told| task.ends_with(&told.task.to_string()));
        let told = told.with_context(|| format!("{task} in {purge:?}"))?;
        let kept = told.retention;
        Ok((told.deleted, kept.retention, kept.retention_days))
    };
    world.hold.send_replace(true);
    let first = world.back_up_with(json!({"retention": 2})).await?;
    world.until_done("index", 2).await?;
    let location = json!(["localstorage:backups"]);
    let update = json!({"type": "backup", "enabled": true,
        "properties": {"location": location, "retention_days": 9}});
    let (status, body) = world.send(Method::PUT, &first, Some(update)).await?;
    assert_eq!(status, 200, "{body}");
    world.hold.send_replace(false);
    let done = world.until(&first, "DONE").await?;
    let purge = last()?;
    assert_eq!(
        kept(&purge, &first)?,
        (false, 0, 9),
        "as it was changed meanwhile"
    );
    let tag = done["progress"]["snapshot_tag"].as_str().context("a tag")?;
    assert_eq!((purge.open.len(), purge.open[0].tag.as_str()), (1, tag));
    assert!(purge.unknown.is_unset() && purge.restored.is_empty());

    // One that was stopped can be gone on with; one that was deleted is remembered.
    world.hold.send_replace(true);
    let second = world.back_up_with(json!({"retention": 4})).await?;
    world.until_done("index", 4).await?;
    world
        .send(Method::PUT, &format!("{second}/stop"), None)
        .await?;
    world.until(&second, "STOPPED").await?;
    let stopped = world.get(&format!("{second}/latest")).await?;
    world.hold.send_replace(false);
    let (status, _) = world.send(Method::DELETE, &first, None).await?;
    assert_eq!(status, 200);
    let (status, _) = world.send(Method::GET, &first, None).await?;
    assert_eq!(status, 404);
    let third = world.back_up().await?;
    world.until(&third, "DONE").await?;
    let purge = last()?;
    assert_eq!(kept(&purge, &first)?, (true, 0, 9));
    assert_eq!(kept(&purge, &second)?, (false, 4, 0));
    assert_eq!(kept(&purge, &third)?, (false, 3, 0));
    let tag = stopped["progress"]["snapshot_tag"]
        .as_str()
        .context("a tag")?;
    assert!(
        purge.open.iter().any(|open| open.tag.as_str() == tag),
        "{purge:?}"
    );
    let tasks = world
        .get(&format!("cluster/{CLUSTER}/tasks?all=true"))
        .await?;
    assert_eq!(tasks.as_array().context("tasks")?.len(), 2);
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

/// Tidying up takes the descriptor away before it is written that the run is closed. What fails
/// here between the two is the descriptor's own removal: a directory lies in its place.
#[tokio::test]
async fn a_run_that_has_ended_survives_the_loss_while_it_is_tidied_up_after() -> Result<()> {
    let mut world = World::new().await?;
    world.add_cluster().await?;
    world.hold.send_replace(true);
    let task = world.back_up().await?;
    world.until_done("index", 2).await?;
    let [descriptor] = &world.descriptors()[..] else {
        anyhow::bail!("one run has one descriptor");
    };
    let descriptor = world.bucket().join(descriptor);
    std::fs::remove_file(&descriptor)?;
    std::fs::create_dir(&descriptor)?;
    world.hold.send_replace(false);
    let before = world.until(&task, "DONE").await?;
    world.nats.wipe_and_restart()?;
    std::fs::remove_dir(&descriptor)?;
    let after = world.until(&task, "DONE").await?;
    assert_eq!(after["run"]["id"], before["run"]["id"]);
    assert_eq!(after["progress"]["uploaded"], 6_000);
    // It holds nothing any more.
    let next = world.back_up().await?;
    world.until(&next, "DONE").await?;
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

/// A bucket that refuses at first is asked again: what it knows must not be lost for that.
#[tokio::test]
async fn a_bucket_that_refused_is_asked_again_what_nats_has_lost() -> Result<()> {
    let mut world = World::new().await?;
    world.add_cluster().await?;
    world.hold.send_replace(true);
    let task = world.back_up().await?;
    world.until_done("index", 2).await?;
    let first = world.port();
    world.kill_scheduler(first);
    world.nats.wipe_and_restart()?;
    let (bucket, hidden) = (world.bucket(), world.bucket().with_file_name("hidden"));
    std::fs::rename(&bucket, &hidden)?;
    let second = world.start_scheduler();
    world.until_leading(second).await?;
    eventually("the cluster to be unknown", LONG, async || {
        let known = world.get("clusters").await?;
        ensure!(known == json!([]), "{known}");
        Ok(())
    })
    .await?;
    std::fs::rename(&hidden, &bucket)?;
    world.hold.send_replace(false);
    world.until(&task, "DONE").await.map(drop)
}

#[tokio::test]
async fn a_validation_hinders_nobody_unless_it_deletes() -> Result<()> {
    let world = World::new().await?;
    let id = world.add_cluster().await?;
    let validate = async |properties: Value| {
        let path = format!("cluster/{id}/tasks");
        let task = json!({"type": "validate_backup", "enabled": true, "properties": properties});
        world.send(Method::POST, &path, Some(task)).await
    };
    let path_of = |body: &Value| -> Result<String> {
        let task = body["id"].as_str().context("an id")?;
        Ok(format!("cluster/{id}/task/validate_backup/{task}"))
    };
    // Nobody has said where backups are.
    let (status, body) = validate(json!({})).await?;
    assert_eq!(status, 201, "{body}");
    let nowhere = world.until(&path_of(&body)?, "ERROR").await?;
    let cause = nowhere["run"]["cause"].as_str().context("a cause")?;
    assert!(cause.contains("`location` is missing"), "{cause}");

    world.hold.send_replace(true);
    let backup = world.back_up().await?;
    world.until_done("index", 2).await?;
    let (status, body) = validate(json!({"delete_orphaned_files": true})).await?;
    assert_eq!(status, 409, "{body}");
    let (status, body) = world
        .send(
            Method::DELETE,
            &format!("cluster/{id}/backups/local_snapshots"),
            None,
        )
        .await?;
    assert_eq!(status, 409, "{body}");
    let given = json!({"checksum": true, "max_bytes": 5_000, "parallel": 0});
    let (status, body) = validate(given).await?;
    assert_eq!(status, 201, "{body}");
    assert_eq!(
        body["properties"],
        json!({"checksum": true, "max_bytes": 5_000, "delete_orphaned_files": false})
    );
    // As with ScyllaDB Manager, orphans that are left are an error.
    let found = world.until(&path_of(&body)?, "ERROR").await?;
    assert_eq!(found["run"]["cause"], "orphaned files: 1");
    let node = &found["progress"][0];
    assert_eq!(
        (&node["location"], &node["orphaned_bytes"], &node["host"]),
        (
            &"localstorage:backups".into(),
            &100.into(),
            &"10.0.0.1".into()
        )
    );
    assert!(node["completed_at"].is_string());
    world.hold.send_replace(false);
    world.until(&backup, "DONE").await?;

    for (properties, named) in [
        (json!({"speed": 1}), "no property `speed`"),
        (json!({"max_bytes": 1}), "`checksum`"),
        (json!({"checksum": "yes"}), "must be true or false"),
        (
            json!({"snapshot_tag": "sm_20260131235959UTC", "delete_orphaned_files": true}),
            "leave snapshot_tag out",
        ),
    ] {
        let (status, body) = validate(properties).await?;
        let said = body["message"].as_str().context("a message")?;
        assert!(status == 400 && said.contains(named), "{status} {said}");
    }
    Ok(())
}

#[tokio::test]
async fn snapshots_are_deleted_from_all_nodes() -> Result<()> {
    let world = World::new().await?;
    let id = world.add_cluster().await?;
    let path = format!("cluster/{id}/backups/local_snapshots");
    let (status, body) = world.send(Method::DELETE, &path, None).await?;
    assert_eq!(
        (status, &body["status"], &body["snapshots"]),
        (200, &"DONE".into(), &2.into()),
        "{body}"
    );
    world.until_done("clear_snapshots", 2).await?;
    let run = body["run_id"].as_str().context("a run")?;
    let again = world
        .get(&format!("cluster/{id}/backups/deletions/{run}"))
        .await?;
    assert_eq!(again, body);
    // It is no task.
    let tasks = world.get(&format!("cluster/{id}/tasks?all=true")).await?;
    assert_eq!(tasks, json!([]));
    Ok(())
}

#[tokio::test]
async fn a_schedule_runs_once_each_time_whoever_leads() -> Result<()> {
    let mut world = World::new().await?;
    let id = world.add_cluster().await?;
    let schedule =
        |cron: &str| json!({"cron": cron, "timezone": "Europe/Berlin", "num_retries": 3});
    let update = |cron: &str, enabled: bool| {
        json!({"type": "backup", "enabled": enabled, "schedule": schedule(cron),
               "properties": {"location": ["localstorage:backups"]}})
    };
    let tasks = format!("cluster/{id}/tasks");
    let (status, body) = world
        .send(Method::POST, &tasks, Some(update("0 2 * * *", true)))
        .await?;
    assert_eq!((status, &body["run_id"]), (201, &Value::Null), "{body}");
    assert_eq!(body["schedule"]["cron"], "0 2 * * *");
    let task = format!(
        "cluster/{id}/task/backup/{}",
        body["id"].as_str().context("an id")?
    );
    let listed = world.get(&tasks).await?;
    let next = listed[0]["next_activation"].as_str().context("a time")?;
    assert!(
        next.ends_with(":00:00Z") && listed[0]["status"] == "NEW",
        "{listed}"
    );

    let (status, body) = world
        .send(Method::PUT, &task, Some(update("@every 2s", true)))
        .await?;
    assert_eq!(status, 200, "{body}");
    let until = async |world: &World, count: usize| {
        eventually("runs", LONG, async || {
            let runs = world.get(&format!("{task}/history?limit=100")).await?;
            let runs = runs.as_array().context("runs")?.clone();
            anyhow::ensure!(runs.len() >= count, "{} runs", runs.len());
            Ok(runs)
        })
        .await
    };
    until(&world, 2).await?;
    let first = world.port();
    let second = world.start_scheduler();
    world.kill_scheduler(first);
    world.until_leading(second).await?;
    let runs = until(&world, 4).await?;
    let begun: Vec<jiff::Timestamp> = runs
        .iter()
        .map(|run| Ok(run["start_time"].as_str().context("a time")?.parse()?))
        .collect::<Result<_>>()?;
    // There is one activation in 2 s: if two leaders ran it, some span would tell. A run is written
    // down a little after its time.
    for (at, last) in begun.iter().enumerate() {
        for (more, first) in begun[at..].iter().enumerate() {
            let span = last.duration_since(*first).as_millis();
            assert!(more as i128 * 2_000 <= span + 3_000, "{begun:?}");
        }
    }
    for run in &runs {
        let status = run["status"].as_str().context("a status")?;
        assert!(matches!(status, "DONE" | "RUNNING" | "NEW"), "{run}");
    }

    let (status, _) = world
        .send(Method::PUT, &task, Some(update("@every 2s", false)))
        .await?;
    assert_eq!(status, 200);
    let listed = world.get(&format!("{tasks}?all=true")).await?;
    assert_eq!(listed[0]["next_activation"], Value::Null);
    Ok(())
}
