//! Messages that somebody made up: each is refused or dropped, and nothing has changed.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use async_nats::{HeaderMap, jetstream};
use futures::StreamExt as _;
use protocol::{Encoding, Job, Message as _, subject};
use serde_json::{Value, json};
use testkit::eventually;
use tests::{Options, Shape, World};

use crate::retention::table;

const LIMIT: Duration = Duration::from_secs(60);
const RUN: &str = "01920000-0000-7000-8000-00000000dead";

/// Every file below, with what is in it.
fn files(dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => files(&entry.path(), found)?,
            false => {
                found.insert(
                    entry.path().display().to_string(),
                    std::fs::read(entry.path())?,
                );
            }
        }
    }
    Ok(())
}

/// Puts `name` where names of keyspaces, tables, datacenters and snapshots stand.
fn put(body: &mut Value, name: &str) {
    match body {
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), &value) {
                    (
                        "keyspace" | "table" | "tag" | "snapshot_tag" | "cluster_name",
                        Value::String(_),
                    ) => {
                        *value = json!(name);
                    }
                    ("tables" | "keyspace", Value::Array(all))
                        if all.iter().all(Value::is_string) =>
                    {
                        *value = json!([name]);
                    }
                    _ => put(value, name),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| put(one, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

struct Place {
    world: World,
    cluster: String,
    node: String,
    client: async_nats::Client,
}

impl Place {
    /// What must not change: the bucket, and all below the world's directory but logs.
    fn state(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut found = BTreeMap::new();
        files(self.world.dir(), &mut found)?;
        // Logs go on, and what the scheduler notes of a run goes a moment after its end.
        let steady = |path: &str| {
            let passing = ["/logs/", "commitlog", "/thetis/runs/"];
            !passing.iter().any(|part| path.contains(part)) && !path.ends_with(".log")
        };
        found.retain(|path, _| steady(path));
        Ok(found)
    }

    /// Puts into a sample of a job whom it is for here, and `name` wherever a name stands; `None` if none
    /// does.
    fn made_up(&self, job: &Job, name: &str) -> Result<Option<(String, Value)>> {
        let mut body: Value = serde_json::from_slice(&job.encode(Encoding::Json))?;
        body["cluster"] = json!(self.cluster);
        body["run"] = json!(RUN);
        if body["node"].is_string() {
            body["node"] = json!(self.node);
        }
        if body["location"].is_string() {
            body["location"] = json!(self.world.store.location());
        }
        let addressed = Job::decode(&serde_json::to_vec(&body)?, Encoding::Json)?;
        let honest = body.clone();
        put(&mut body, name);
        Ok((body != honest).then(|| (subject::of_job(&addressed), body)))
    }

    async fn publish(&self, subject: String, body: &Value) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/json");
        let payload = serde_json::to_vec(body)?;
        let js = jetstream::new(self.client.clone());
        js.publish_with_headers(subject, headers, payload.into())
            .await?
            .await?;
        Ok(())
    }

    async fn nothing_waits(&self) -> Result<()> {
        let js = jetstream::new(self.client.clone());
        eventually("all jobs to be settled", LIMIT, async || {
            let mut jobs = js.get_stream("JOBS").await?;
            let left = jobs.info().await?.state.messages;
            ensure!(left == 0, "{left} jobs are left");
            Ok(())
        })
        .await
    }
}

#[tokio::test]
async fn what_somebody_made_up_is_refused_and_changes_nothing() -> Result<()> {
    let mut world = World::start(Options {
        local: true,
        environment: vec![("THETIS_NATS__RETRY_PAUSE_MS".to_owned(), "50".to_owned())],
        ..Options::default()
    })
    .await?;
    let sim = world.add_cluster(Shape::new("honest", 1), 1).await?;
    let host = world.sims[sim].nodes[0].address.clone();
    let node = world.sims[sim].nodes[0].host_id.clone();
    let cluster = world.api.add_cluster("honest", &host).await?;
    world.api.workers(&cluster, 1, 3).await?;
    world.sims[sim].create(&[table()]).await?;
    world.sims[sim].load(&table(), 1, 16 << 10, 2).await?;
    let location = world.store.location();
    let properties = json!({"location": [location], "retention": 3});
    let done = world
        .api
        .done(&cluster, "backup", properties, LIMIT)
        .await?;
    let client = async_nats::connect(world.nats.url()).await?;
    let mut events = client.subscribe(format!("thetis.event.*.*.{RUN}")).await?;
    let place = Place {
        world,
        cluster,
        node,
        client,
    };
    let was = place.state()?;
    ensure!(was.len() > 10, "{:?}", was.keys());

    // Names that lead elsewhere, in everything that takes names.
    let mut sent = 0;
    for name in ["../../../escaped", "/tmp/escaped", "..", "a/b", "a\0b"] {
        for job in protocol::schema::jobs() {
            if job.kind() == "request" || job.kind() == "ping" {
                continue;
            }
            if let Some((subject, body)) = place.made_up(&job, name)? {
                place.publish(subject, &body).await?;
                sent += 1;
            }
        }
        place.nothing_waits().await?;
    }
    // And what is no message at all.
    let subject = format!("thetis.job.purge.{}.{}.{RUN}.1", place.cluster, place.node);
    for payload in [Vec::new(), vec![0xff; 300 << 10], b"{".to_vec()] {
        let js = jetstream::new(place.client.clone());
        let sent = js.publish(subject.clone(), payload.into()).await?;
        // One waits at a time under a subject.
        drop(sent.await);
        place.nothing_waits().await?;
    }
    place.nothing_waits().await?;
    let mut refused = 0;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(1), events.next()).await {
        let kind = event.subject.split('.').nth(2).context("a kind")?;
        ensure!(matches!(kind, "refused" | "failed"), "{}", event.subject);
        refused += 1;
    }
    ensure!(refused >= sent, "{refused} of {sent} were refused");
    let is = place.state()?;
    for (path, content) in &was {
        ensure!(is.get(path) == Some(content), "{path} has changed");
    }
    let new: Vec<&String> = is.keys().filter(|path| !was.contains_key(*path)).collect();
    ensure!(new.is_empty(), "{new:?} has come");
    ensure!(!Path::new("/tmp/escaped").try_exists()?, "somebody got out");

    // A job of the run that has ended, again.
    let run = &done.run;
    let js = jetstream::new(place.client.clone());
    let subject = format!(
        "thetis.job.drop_snapshot.{}.{}.{run}.0",
        place.cluster, place.node
    );
    let body = json!({"version": "1", "kind": "drop_snapshot", "cluster": place.cluster, "node": place.node, "run": run,
        "origin": run, "tag": done.tag()});
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/json");
    let sent = js
        .publish_with_headers(subject, headers, serde_json::to_vec(&body)?.into())
        .await?;
    drop(sent.await);
    place.nothing_waits().await?;
    let is = place.state()?;
    ensure!(
        was.iter()
            .all(|(path, content)| is.get(path) == Some(content)),
        "something is gone"
    );
    // All of them live, and work.
    let properties = json!({"location": [location], "retention": 3});
    place
        .world
        .api
        .done(&place.cluster, "backup", properties, LIMIT)
        .await
        .map(drop)
}
