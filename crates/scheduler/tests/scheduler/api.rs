//! What the API says to those who ask for what cannot be.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use catalog::{
    Manifest, TableEntry, TableVersion,
    key::{ManifestKey, Owner},
    manifest::NodeFacts,
};
use protocol::{
    BackupRequest, ClearRequest, ClusterId, Event, Fact, Job, Request, RunId, SnapshotTag, TaskId,
};
use queue::{CancellationToken, Queued};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::world::{CLUSTER, LONG, World, node};

#[tokio::test]
async fn what_cannot_be_is_answered_with_what_is_wrong() -> Result<()> {
    let world = World::new().await?;
    world.add_cluster().await?;
    let tasks = format!("cluster/{CLUSTER}/tasks");
    let backup = |properties: Value| Some(json!({"type": "backup", "properties": properties}));
    let cases: Vec<(Method, &str, Option<Value>, u16, &str)> = vec![
        (Method::GET, "nothing", None, 404, "/api/v1/nothing"),
        (Method::PATCH, "clusters", None, 405, "PATCH"),
        (
            Method::GET,
            "cluster/none",
            None,
            404,
            "registered are prod",
        ),
        (
            Method::POST,
            "clusters",
            Some(json!({"name": "x"})),
            400,
            "`host` is missing",
        ),
        (
            Method::POST,
            "clusters",
            Some(json!({"host": "10.9.9.9"})),
            400,
            "start `thetis node`",
        ),
        (
            Method::POST,
            "clusters",
            Some(json!({"host": "10.0.0.1", "password": "x"})),
            400,
            "`password`",
        ),
        (
            Method::POST,
            "clusters",
            Some(json!({"name": "two", "host": "10.0.0.2"})),
            409,
            "as cluster prod",
        ),
        (
            Method::POST,
            "clusters",
            Some(json!({"name": CLUSTER, "host": "10.0.0.1"})),
            409,
            "registered already",
        ),
        (
            Method::POST,
            "clusters",
            Some(json!([1])),
            400,
            "expected struct ClusterUpdate",
        ),
        (
            Method::POST,
            &tasks,
            Some(json!({"type": "cook"})),
            400,
            "no task type `cook`",
        ),
        (
            Method::POST,
            &tasks,
            Some(json!({"type": "repair"})),
            400,
            "not there yet",
        ),
        (Method::POST, &tasks, backup(json!({})), 400, "no location"),
        (
            Method::POST,
            &tasks,
            backup(json!({"location": ["ftp:x"]})),
            400,
            "known are s3, gcs, azure",
        ),
        (
            Method::POST,
            &tasks,
            backup(json!({"location": ["localstorage:none"]})),
            400,
            "there is no bucket",
        ),
        (
            Method::POST,
            &tasks,
            backup(json!({"location": ["localstorage:backups"], "speed": 9})),
            400,
            "`speed`",
        ),
        (
            Method::GET,
            "cluster/prod/task/backup/none",
            None,
            404,
            "no backup task `none`",
        ),
        (
            Method::GET,
            "cluster/prod/backups?locations=x",
            None,
            400,
            "`x`",
        ),
        (
            Method::GET,
            "cluster/prod/tasks?all=perhaps",
            None,
            400,
            "query",
        ),
    ];
    for (method, path, body, status, named) in cases {
        let (found, body) = world.send(method.clone(), path, body).await?;
        let message = body["message"].as_str().unwrap_or_default();
        assert!(
            found == status && message.contains(named),
            "{method} {path}: {found} {body}"
        );
        assert!(
            body["details"].is_string()
                && body["trace_id"].as_str().is_some_and(|id| id.len() == 32),
            "{body}"
        );
    }
    assert_eq!(world.get(&format!("{tasks}?all=true")).await?, json!([]));
    for (schedule, expected) in [
        (json!({"window": ["23:00"]}), "`schedule.window`"),
        (json!({"cron": "61 * * * *"}), "`schedule.cron`"),
        (json!({"num_retries": "three"}), "schedule.num_retries"),
    ] {
        let properties = json!({"location": ["localstorage:backups"]});
        let task = json!({"type": "backup", "schedule": schedule, "properties": properties});
        let (status, body) = world.send(Method::POST, &tasks, Some(task)).await?;
        assert_eq!(status, 400, "{body}");
        let message = body["message"].as_str().unwrap_or_default();
        assert!(message.contains(expected), "{body}");
    }
    assert!(world.get("openapi.json").await?["paths"]["/api/v1/clusters"].is_object());
    Ok(())
}

#[tokio::test]
async fn a_task_can_be_made_changed_and_removed_without_running() -> Result<()> {
    let world = World::new().await?;
    let id = world.add_cluster().await?;
    let make = json!({
        "type": "backup", "name": "nightly", "enabled": false,
        "properties": {"location": ["localstorage:backups"], "keyspace": ["shop.*"]},
    });
    let (status, body) = world
        .send(
            Method::POST,
            &format!("cluster/{CLUSTER}/tasks"),
            Some(make.clone()),
        )
        .await?;
    assert_eq!(
        (status, &body["run_id"], &body["cluster_id"]),
        (201, &Value::Null, &id.as_str().into())
    );
    let (status, _) = world
        .send(
            Method::POST,
            &format!("cluster/{CLUSTER}/tasks"),
            Some(make),
        )
        .await?;
    assert_eq!(status, 409, "two tasks of one name");
    let path = format!("cluster/{CLUSTER}/task/backup/nightly");
    let change = json!({"name": "nightly", "enabled": true, "properties": {"location": ["localstorage:backups"]}});
    let (status, body) = world.send(Method::PUT, &path, Some(change)).await?;
    assert_eq!(
        (status, &body["enabled"], &body["properties"]["keyspace"]),
        (200, &true.into(), &Value::Null)
    );
    assert_eq!(world.get(&path).await?["id"], body["id"]);
    let (status, body) = world
        .send(Method::GET, &format!("{path}/latest"), None)
        .await?;
    assert_eq!(status, 404, "{body}");
    let (status, _) = world.send(Method::DELETE, &path, None).await?;
    assert_eq!(status, 200);
    assert_eq!(
        world
            .get(&format!("cluster/{CLUSTER}/tasks?all=true"))
            .await?,
        json!([])
    );
    Ok(())
}

#[tokio::test]
async fn a_request_from_outside_begins_a_run_or_is_refused_by_an_event() -> Result<()> {
    let mut world = World::new().await?;
    let cluster: ClusterId = world.add_cluster().await?.parse()?;
    let heard = Arc::new(Mutex::new(Vec::<Event>::new()));
    let stop = CancellationToken::new();
    let (queue, into, stopped) = (world.queue.clone(), Arc::clone(&heard), stop.clone());
    world.background(async move {
        let take = |events: Vec<Event>| {
            into.lock().unwrap().extend(events);
            async { Ok::<_, String>(Vec::new()) }
        };
        let listener = queue::Listener::to_all("test");
        queue.events(&listener, stopped, take).await.unwrap();
    });
    let request = |change: fn(&mut Request)| {
        let backup = BackupRequest {
            location: vec!["localstorage:backups".parse().unwrap()],
            ..BackupRequest::default()
        };
        let mut request = Request {
            cluster,
            run: RunId::generate(),
            task: None,
            backup: Some(backup),
            restore: None,
            delete: None,
            validate: None,
            clear: None,
        };
        change(&mut request);
        request
    };
    let wrong = [
        (
            request(|r| r.cluster = ClusterId::generate()),
            "unknown cluster",
        ),
        (request(|r| r.backup = None), "nothing is asked for"),
        (
            request(|r| r.clear = Some(ClearRequest {})),
            "more than one thing is asked for",
        ),
        (
            request(|r| r.backup.as_mut().unwrap().location.clear()),
            "no location",
        ),
        (
            request(|r| r.backup.as_mut().unwrap().keyspace = vec!["shop[".into()]),
            "shop[",
        ),
        (
            request(|r| {
                r.backup.as_mut().unwrap().location = vec!["localstorage:none".parse().unwrap()]
            }),
            "no bucket",
        ),
    ];
    for (request, reason) in &wrong {
        assert_eq!(
            world
                .queue
                .publish_job(&Job::Request(request.clone()))
                .await?,
            Queued::New
        );
        eventually("a refusal", LONG, async || {
            let refused = |event: &&Event| {
                event.run == request.run && matches!(event.fact, Fact::Refused { .. })
            };
            let heard = heard.lock().unwrap();
            let event = heard.iter().find(refused).context("nothing yet")?;
            let Fact::Refused { reason: said } = &event.fact else {
                unreachable!()
            };
            ensure!(said.contains(reason), "{said}");
            Ok(())
        })
        .await?;
    }
    let good = request(|_| ());
    world.queue.publish_job(&Job::Request(good.clone())).await?;
    let ended = eventually("the run's end", LONG, async || {
        let heard = heard.lock().unwrap();
        let of_run = heard.iter().filter(|event| event.run == good.run);
        of_run
            .into_iter()
            .find_map(|e| {
                if let Fact::RunEnded(end) = &e.fact {
                    Some(end.clone())
                } else {
                    None
                }
            })
            .context("no end")
    });
    assert_eq!(ended.await?.status.as_str(), "DONE");
    // The same again changes nothing; another wish under the same name is refused.
    world.queue.publish_job(&Job::Request(good.clone())).await?;
    let other = Request {
        backup: Some(BackupRequest {
            keyspace: vec!["bank".into()],
            ..good.backup.clone().unwrap()
        }),
        ..good.clone()
    };
    eventually("the second request to be taken", LONG, async || {
        ensure!(
            world
                .queue
                .publish_job(&Job::Request(other.clone()))
                .await?
                == Queued::New
        );
        Ok(())
    })
    .await?;
    eventually("a refusal", LONG, async || {
        let says = |fact: &Fact| matches!(fact, Fact::Refused { reason } if reason.contains("does something else"));
        ensure!(heard.lock().unwrap().iter().any(|event| event.run == good.run && says(&event.fact)));
        Ok(())
    })
    .await?;
    stop.cancel();
    Ok(())
}

#[tokio::test]
async fn backups_are_listed_from_their_manifests() -> Result<()> {
    let world = World::new().await?;
    let id = world.add_cluster().await?;
    let task = TaskId::generate();
    for (number, tag, temporary) in [
        (1, "sm_20260101000000UTC", false),
        (2, "sm_20260101000000UTC", false),
        (1, "sm_20260102000000UTC", false),
        (2, "sm_20260102000000UTC", true),
    ] {
        let manifest = manifest(id.parse()?, task, tag.parse()?, number);
        let key = manifest.key(temporary)?.to_string();
        world.put(&key, &manifest.to_bytes())?;
    }
    let path =
        format!("cluster/{CLUSTER}/backups?locations=localstorage:backups&query_cluster_id={id}");
    for _ in 0..2 {
        let list = world.get(&path).await?;
        let item = &list[0];
        assert_eq!(
            (list.as_array().context("a list")?.len(), &item["task_id"]),
            (1, &task.to_string().into())
        );
        assert_eq!(
            item["units"],
            json!([{"keyspace": "shop", "tables": ["orders", "users"], "all_tables": false}])
        );
        let snapshot = |at: usize| {
            (
                item["snapshot_info"][at]["nodes"].clone(),
                item["snapshot_info"][at]["size"].clone(),
            )
        };
        assert_eq!(
            item["snapshot_info"][0]["snapshot_tag"],
            "sm_20260102000000UTC"
        );
        assert_eq!(
            (snapshot(0), snapshot(1)),
            ((json!(1), json!(300)), (json!(2), json!(600)))
        );
    }
    let users = world
        .get(&format!(
            "{path}&keyspace=shop.users&max_date=2026-01-01T12:00:00Z"
        ))
        .await?;
    assert_eq!(
        users[0]["snapshot_info"],
        json!([{"snapshot_tag": "sm_20260101000000UTC", "nodes": 2, "size": 200,
            "locations": ["localstorage:backups"], "dcs": ["dc1"], "complete": true,
            "last_proven_restorable_timestamp": "", "proven": {"present": "", "content": "", "drill": ""}}])
    );
    assert_eq!(
        world.get(&format!("{path}&keyspace=bank")).await?,
        json!([])
    );
    let (status, body) = world
        .send(Method::GET, &format!("cluster/{CLUSTER}/backups"), None)
        .await?;
    assert_eq!(status, 400, "{body}");
    Ok(())
}

fn manifest(cluster: ClusterId, task: TaskId, tag: SnapshotTag, number: u8) -> Manifest {
    let table = |name: &str, bytes| TableEntry {
        bytes,
        ..TableEntry::new("shop", name, TableVersion(7))
    };
    let key = ManifestKey {
        owner: Owner::new(cluster, "dc1", node(number)).expect("a datacenter's name"),
        task,
        tag,
        temporary: false,
    };
    Manifest {
        info: NodeFacts {
            cluster_name: CLUSTER.to_owned(),
            ..NodeFacts::default()
        },
        index: vec![table("users", 100), table("orders", 200)],
        ..Manifest::new(&key)
    }
}
