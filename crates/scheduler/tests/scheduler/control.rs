//! When tasks may run, and who may change what.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::{Timestamp, ToSpan as _};
use protocol::{Cluster, RunStatus, TaskId};
use queue::Bucket;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::eventually;

use crate::world::{CLUSTER, LONG, World, address, node};

fn backup(more: Value) -> Value {
    let mut task = json!({"type": "backup", "enabled": true, "properties": {"location": ["localstorage:backups"]}});
    for (key, value) in more.as_object().into_iter().flatten() {
        task[key] = value.clone();
    }
    task
}

/// As much of a run's record as is looked at here.
#[derive(Serialize, Deserialize)]
struct Seen {
    status: RunStatus,
}

async fn make(world: &World, task: Value) -> Result<(String, Value)> {
    let kind = task["type"].as_str().context("a type")?.to_owned();
    let path = format!("cluster/{CLUSTER}/tasks");
    let (status, body) = world.send(Method::POST, &path, Some(task)).await?;
    ensure!(status == 201, "{status}: {body}");
    let id = body["id"].as_str().context("an id")?;
    Ok((format!("cluster/{CLUSTER}/task/{kind}/{id}"), body))
}

/// A window from `from` minutes after now to `to` minutes after now, in UTC.
fn window(from: i64, to: i64) -> Value {
    let at = |minutes: i64| {
        (Timestamp::now() + minutes.minutes())
            .strftime("%H:%M")
            .to_string()
    };
    json!([at(from), at(to)])
}

#[tokio::test]
async fn what_is_due_outside_its_window_waits_for_it() -> Result<()> {
    let world = World::new().await?;
    world.add_cluster().await?;
    let closed = backup(json!({"name": "later", "schedule": {"window": window(120, 180)}}));
    let (later, body) = make(&world, closed).await?;
    assert_eq!(body["run_id"], Value::Null, "{body}");
    let tasks = world.get(&format!("cluster/{CLUSTER}/tasks")).await?;
    let next: Timestamp = tasks[0]["next_activation"]
        .as_str()
        .context("a time")?
        .parse()?;
    let away = next.duration_since(Timestamp::now()).as_mins();
    assert!((118..=120).contains(&away), "{next}");
    assert_eq!(tasks[0]["status"], "NEW");

    // Once it opens, it begins by itself, and once.
    let open = backup(json!({"name": "later", "schedule": {"window": window(-60, 60)}}));
    let (status, body) = world.send(Method::PUT, &later, Some(open)).await?;
    assert_eq!(status, 200, "{body}");
    world.until(&later, "DONE").await?;
    let runs = world.get(&format!("{later}/history")).await?;
    assert_eq!(runs.as_array().context("runs")?.len(), 1, "{runs}");
    Ok(())
}

#[tokio::test]
async fn a_run_is_stopped_when_its_window_closes_and_goes_on_when_one_opens() -> Result<()> {
    let world = World::new().await?;
    world.add_cluster().await?;
    world.hold.send_replace(true);
    let (task, _) = make(
        &world,
        backup(json!({"schedule": {"window": window(-60, 1)}})),
    )
    .await?;
    world.until_done("index", 2).await?;
    let tag = |body: &Value| body["progress"]["snapshot_tag"].clone();
    let limit = Duration::from_secs(100);
    let body = eventually("the window to close", limit, async || {
        let body = world.get(&format!("{task}/latest")).await?;
        ensure!(body["run"]["status"] == "WAITING", "{body}");
        Ok(body)
    })
    .await?;
    let first = (tag(&body), body["run"]["id"].clone());

    world.hold.send_replace(false);
    let open = backup(json!({"schedule": {"window": window(-60, 60)}}));
    let (status, _) = world.send(Method::PUT, &task, Some(open)).await?;
    assert_eq!(status, 200);
    let body = world.until(&task, "DONE").await?;
    assert_eq!(tag(&body), first.0, "it went on with the same snapshot");
    assert_ne!(body["run"]["id"], first.1);
    Ok(())
}

#[tokio::test]
async fn nothing_begins_while_a_cluster_is_suspended() -> Result<()> {
    let world = World::new().await?;
    let id = world.add_cluster().await?;
    world.hold.send_replace(true);
    let task = world.back_up().await?;
    world.until_done("index", 2).await?;
    let suspended = format!("cluster/{CLUSTER}/suspended");
    let put = async |query: &str, to: bool| {
        let path = format!("{suspended}?{query}");
        world.send(Method::PUT, &path, Some(json!(to))).await
    };
    let (status, body) = put("suspend_policy=fail_if_running_tasks", true).await?;
    let message = body["message"].as_str().unwrap_or_default();
    assert!(
        status == 409 && message.contains("is busy"),
        "{status} {body}"
    );
    assert_eq!(world.get(&suspended).await?, json!(false));
    let (status, body) = put("suspend_policy=perhaps", true).await?;
    assert!(
        status == 400
            && body["message"]
                .as_str()
                .is_some_and(|m| m.contains("`suspend_policy`"))
    );
    let (status, _) = put("allow_task_type=cook", true).await?;
    assert_eq!(status, 400);

    let (status, body) = put("allow_task_type=validate_backup", true).await?;
    assert_eq!(status, 200, "{body}");
    world.hold.send_replace(false);
    world.until(&task, "STOPPED").await?;
    assert_eq!(world.get(&suspended).await?, json!(true));
    let details = world.get(&format!("{suspended}/details")).await?;
    assert_eq!(
        (&details["suspended"], &details["allow_task_type"]),
        (&json!(true), &json!("validate_backup"))
    );
    let shown = world.get(&format!("cluster/{id}")).await?;
    assert!(shown["suspended_since"].is_string(), "{shown}");
    let (status, body) = world
        .send(Method::PUT, &format!("{task}/start"), None)
        .await?;
    let message = body["message"].as_str().unwrap_or_default();
    assert!(status == 409 && message.contains("is suspended"), "{body}");
    let path = format!("cluster/{CLUSTER}/tasks");
    let (status, _) = world
        .send(Method::POST, &path, Some(backup(json!({}))))
        .await?;
    assert_eq!(status, 409);
    // What is allowed runs; what is due does not.
    let validation = json!({"type": "validate_backup", "enabled": true, "properties": {}});
    let (validation, _) = make(&world, validation).await?;
    // The worker of this world always finds an orphan.
    world.until(&validation, "ERROR").await?;
    let often = backup(json!({"name": "often", "schedule": {"cron": "@every 1s"}}));
    let path = format!("cluster/{CLUSTER}/tasks");
    let (status, body) = world.send(Method::POST, &path, Some(often)).await?;
    assert_eq!(status, 409, "it would begin at once: {body}");
    let tasks = world.get(&path).await?;
    let listed = tasks.as_array().context("tasks")?.iter();
    let barred: Vec<(&str, bool)> = listed
        .map(|task| {
            (
                task["type"].as_str().unwrap_or_default(),
                task["suspended"] == json!(true),
            )
        })
        .collect();
    assert_eq!(barred, [("backup", true), ("validate_backup", false)]);

    let (status, _) = put("start_tasks=true", false).await?;
    assert_eq!(status, 200);
    let body = world.until(&task, "DONE").await?;
    let runs = world.get(&format!("{task}/history")).await?;
    assert_eq!(runs.as_array().context("runs")?.len(), 2, "{body}");
    assert_eq!(world.get(&suspended).await?, json!(false));
    Ok(())
}

#[tokio::test]
async fn a_suspension_with_a_duration_ends_by_itself() -> Result<()> {
    let world = World::new().await?;
    world.add_cluster().await?;
    world.hold.send_replace(true);
    let task = world.back_up().await?;
    world.until_done("index", 2).await?;
    let suspend = json!({"type": "suspend", "enabled": true, "properties": {"duration": "2s", "start_tasks": true}});
    let (suspension, body) = make(&world, suspend).await?;
    assert_eq!(body["properties"]["duration"], "2s");
    let run = world.get(&format!("{suspension}/latest")).await?;
    assert_eq!(run["run"]["status"], "DONE", "{run}");
    world.hold.send_replace(false);
    world.until(&task, "DONE").await?;
    let suspended = world.get(&format!("cluster/{CLUSTER}/suspended")).await?;
    assert_eq!(suspended, json!(false));
    for (properties, named) in [
        (json!({"start_tasks": true}), "start_tasks"),
        (json!({"duration": "soon"}), "`duration`"),
        (json!({"location": ["s3:a"]}), "`location`"),
    ] {
        let task = json!({"type": "suspend", "enabled": true, "properties": properties});
        let path = format!("cluster/{CLUSTER}/tasks");
        let (status, body) = world.send(Method::POST, &path, Some(task)).await?;
        let message = body["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(named), "{status} {body}");
    }
    Ok(())
}

#[tokio::test]
async fn a_task_is_deleted_while_it_runs() -> Result<()> {
    let world = World::new().await?;
    let id = world.add_cluster().await?;
    world.hold.send_replace(true);
    let task = world.back_up().await?;
    world.until_done("index", 2).await?;
    let (status, body) = world.send(Method::DELETE, &task, None).await?;
    assert_eq!(status, 200, "{body}");
    let tasks = world.get(&format!("cluster/{id}/tasks?all=true")).await?;
    assert_eq!(tasks, json!([]));
    // Its run ends, and goes.
    let (status, _) = world.send(Method::GET, &task, None).await?;
    assert_eq!(status, 404);
    let runs: queue::Kv<Seen> = world.queue.bucket(queue::Bucket::Runs);
    let begun = runs.list(&id).await?;
    assert_eq!(begun.len(), 1, "it is still there");
    assert_ne!(begun[0].1.status, RunStatus::Done);
    world.hold.send_replace(false);
    eventually("the run to go", LONG, async || {
        let left = runs.list(&id).await?;
        ensure!(left.is_empty(), "{} runs", left.len());
        Ok(())
    })
    .await?;
    // The cluster is free.
    let task = world.back_up().await?;
    world.until(&task, "DONE").await?;
    Ok(())
}

#[tokio::test]
async fn a_cluster_is_changed_and_its_credentials_are_never_shown() -> Result<()> {
    let world = World::new().await?;
    let id = world.add_cluster().await?;
    let path = format!("cluster/{id}");
    let update = json!({"name": "production", "labels": {"team": "db"}, "username": "thetis", "password": "hunter2",
        "auth_token": "ignored", "port": 10001});
    let (status, body) = world.send(Method::PUT, &path, Some(update)).await?;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        (
            &body["name"],
            &body["labels"]["team"],
            &body["username"],
            &body["password"]
        ),
        (
            &json!("production"),
            &json!("db"),
            &json!("set"),
            &json!("set")
        )
    );
    // Sent back as it is shown, it stays as it is.
    let (status, again) = world.send(Method::PUT, &path, Some(body.clone())).await?;
    assert_eq!((status, again), (200, body));
    let kept: queue::Kv<Value> = world.queue.bucket(queue::Bucket::Runs);
    let kept = format!("{:?}", kept.list("secret").await?);
    assert!(
        kept.contains("password") && !kept.contains("hunter2"),
        "{kept}"
    );
    let (status, _) = world
        .send(Method::DELETE, &format!("{path}?cql_creds=true"), None)
        .await?;
    assert_eq!(status, 200);
    let shown = world.get(&path).await?;
    assert_eq!(
        (&shown["username"], &shown["name"]),
        (&Value::Null, &json!("production"))
    );
    for (update, named) in [
        (json!({"password": "hunter2"}), "`username`"),
        (
            json!({"id": "6f1e0000-0000-4000-8000-000000000001"}),
            "`id`",
        ),
        (json!({"name": "a b"}), "cluster's name"),
        (json!({"colour": "red"}), "`colour`"),
    ] {
        let (status, body) = world.send(Method::PUT, &path, Some(update)).await?;
        let message = body["message"].as_str().unwrap_or_default();
        assert!(
            status == 400 && message.contains(named) && !message.contains("hunter2"),
            "{body}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_dry_run_says_what_a_task_would_do_and_begins_nothing() -> Result<()> {
    let world = World::new().await?;
    let id = world.add_cluster().await?;
    let path = format!("cluster/{id}/tasks/backup/target");
    let (status, body) = world
        .send(Method::GET, &path, Some(backup(json!({}))))
        .await?;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        (
            &body["size"],
            &body["units"][0]["keyspace"],
            &body["dc"],
            &body["retention"]
        ),
        (&json!(6_000), &json!("shop"), &json!(["dc1"]), &json!(3))
    );
    assert_eq!(
        body["estimate"]["seconds"],
        Value::Null,
        "nothing is known yet"
    );
    assert!(
        body["estimate"]["cost_month"]
            .as_f64()
            .is_some_and(|cost| cost > 0.0)
    );
    for (task, named) in [
        (json!({"type": "restore"}), "target of a backup"),
        (
            json!({"properties": {"location": ["localstorage:none"]}}),
            "no bucket",
        ),
        (json!({"properties": {}}), "no location"),
    ] {
        let (status, body) = world.send(Method::GET, &path, Some(task)).await?;
        let message = body["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(named), "{body}");
    }
    let (status, _) = world
        .send(
            Method::GET,
            &format!("cluster/{id}/tasks/repair/target"),
            None,
        )
        .await?;
    assert_eq!(status, 400);
    let tasks = world.get(&format!("cluster/{id}/tasks?all=true")).await?;
    assert_eq!(tasks, json!([]));
    assert_eq!(
        world
            .get(&format!("cluster/{id}/tasks?type=repair"))
            .await?,
        json!([])
    );
    Ok(())
}

#[tokio::test]
async fn a_run_is_watched_by_events() -> Result<()> {
    let world = World::new().await?;
    world.add_cluster().await?;
    world.hold.send_replace(true);
    let task = world.back_up().await?;
    world.until_done("index", 2).await?;
    let url = format!(
        "http://127.0.0.1:{}/api/v1/{task}/latest/events",
        world.port()
    );
    let mut answer = world.http.get(url).send().await?;
    let mut text = String::new();
    let mut released = false;
    while let Some(piece) = answer.chunk().await? {
        text.push_str(std::str::from_utf8(&piece)?);
        if !released && text.contains("event: progress") {
            world.hold.send_replace(false);
            released = true;
        }
    }
    let last = text
        .rsplit("event: progress\ndata: ")
        .next()
        .context("progress")?;
    let last: Value = serde_json::from_str(last.lines().next().context("a line")?)?;
    assert_eq!(
        (&last["run"]["status"], &last["progress"]["uploaded"]),
        (&json!("DONE"), &json!(6_000))
    );
    let host = &last["progress"]["hosts"][0]["keyspaces"][0];
    assert_eq!(
        (&host["keyspace"], &host["tables"][0]["uploaded"]),
        (&json!("shop"), &json!(3_000))
    );
    assert!(text.trim_end().ends_with("event: end\ndata: {}"), "{text}");
    Ok(())
}

#[tokio::test]
async fn nodes_tell_how_they_are() -> Result<()> {
    let world = World::new().await?;
    world.add_cluster().await?;
    let status = world.get(&format!("cluster/{CLUSTER}/status")).await?;
    let node = &status[0];
    assert_eq!(
        (
            &node["rest_status"],
            &node["rest_rtt_ms"],
            &node["cql_status"],
            &node["cql_cause"]
        ),
        (
            &json!("UP"),
            &json!(1.5),
            &json!("DOWN"),
            &json!("connection refused")
        )
    );
    assert_eq!(
        (&node["uptime"], &node["cpu_count"], &node["scylla_version"]),
        (&json!(90), &json!(8), &json!("2026.1.0"))
    );
    Ok(())
}

#[tokio::test]
async fn what_operators_say_of_speed_is_kept_and_taken_back() -> Result<()> {
    let world = World::new().await?;
    world.add_cluster().await?;
    let (_, task) = make(
        &world,
        backup(json!({"name": "nightly", "schedule": {"window": window(120, 180)}})),
    )
    .await?;
    let path = format!("cluster/{CLUSTER}/throttle");
    let say = async |body: Value| world.send(Method::PUT, &path, Some(body)).await;
    let none = json!({"rate": null, "tasks": [], "nodes": []});
    assert_eq!(world.get(&path).await?, none);

    for (body, status, said) in [
        (json!({"rate": -1}), 400, "rate"),
        (json!({"rate": 2_000_000}), 400, "more than 1048576 MiB/s"),
        (json!({"rates": 1}), 400, "unknown field `rates`"),
        (
            json!({"rate": 1, "node": "10.9.9.9"}),
            404,
            "10.0.0.1, 10.0.0.2",
        ),
        (
            json!({"rate": 1, "task": "nightly"}),
            400,
            "<type>/<id or name>",
        ),
        (json!({"rate": 1, "task": "backup/weekly"}), 404, "weekly"),
        (
            json!({"rate": 1, "task": "backup/nightly", "node": "10.0.0.1"}),
            400,
            "both",
        ),
    ] {
        let (found, answer) = say(body.clone()).await?;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(
            found == status && message.contains(said),
            "{body}: {found} {answer}"
        );
    }
    assert_eq!(
        world.get(&path).await?,
        none,
        "nothing wrong changes anything"
    );

    say(json!({"rate": 200})).await?;
    say(json!({"rate": 50, "task": "backup/nightly"})).await?;
    let (status, all) = say(json!({"rate": 0, "node": address(2)})).await?;
    let expected = json!({
        "rate": 200,
        "tasks": [{"task_id": task["id"], "rate": 50}],
        "nodes": [{"host_id": node(2), "address": address(2), "rate": 0}],
    });
    assert_eq!((status, &all), (200, &expected));
    let clusters = world.queue.bucket::<Cluster>(Bucket::Clusters);
    let (_, kept, _) = clusters.list("").await?.pop().context("a cluster")?;
    let task: TaskId = task["id"].as_str().context("an id")?.parse()?;
    assert_eq!(kept.throttles.of(Some(task), node(1)), Some(50));
    assert_eq!(kept.throttles.of(Some(task), node(2)), Some(0));

    say(json!({"task": "backup/nightly"})).await?;
    say(json!({"node": node(2)})).await?;
    say(json!({})).await?;
    assert_eq!(world.get(&path).await?, none);
    Ok(())
}
