//! What operators need: one trace of a run, all there is to know of it in a file, upgrades without a stop.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read as _,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value as AnyValue,
    trace::v1::Span,
};
use prost::Message as _;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{eventually, s3::SeaweedFs};
use tests::{Options, Shape, World, bin, compare};
use tokio::task::JoinSet;

use crate::retention::table;

const LIMIT: Duration = Duration::from_secs(120);
const SEALING: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Spans by the service that sent them.
type Spans = Arc<Mutex<Vec<(String, Span)>>>;

/// Receives traces by OTLP over HTTP.
async fn receiver(spans: Spans) -> Result<(String, JoinSet<()>)> {
    async fn take(State(spans): State<Spans>, body: Bytes) -> StatusCode {
        let Ok(sent) = ExportTraceServiceRequest::decode(body) else {
            return StatusCode::BAD_REQUEST;
        };
        let mut spans = spans.lock().expect("no panics");
        for resource in sent.resource_spans {
            let attributes = resource.resource.map(|r| r.attributes).unwrap_or_default();
            let name = attributes.into_iter().find(|a| a.key == "service.name");
            let name = name.and_then(|a| a.value?.value);
            let Some(AnyValue::StringValue(service)) = name else {
                return StatusCode::BAD_REQUEST;
            };
            let all = resource.scope_spans.into_iter().flat_map(|s| s.spans);
            spans.extend(all.map(|span| (service.clone(), span)));
        }
        StatusCode::OK
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}/v1/traces", listener.local_addr()?);
    let router = Router::new()
        .route("/v1/traces", post(take))
        .with_state(spans);
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.expect("served") });
    Ok((endpoint, serving))
}

fn text(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|a| a.key == key);
    match found.and_then(|a| a.value.clone()?.value) {
        Some(AnyValue::StringValue(text)) => text,
        _ => String::new(),
    }
}

#[tokio::test]
async fn one_trace_leads_from_the_request_to_the_last_file() -> Result<()> {
    let spans = Spans::default();
    let (endpoint, _serving) = receiver(Arc::clone(&spans)).await?;
    let mut world = World::start(Options {
        environment: vec![
            (
                "THETIS_SCHEDULER__SECRET_KEY".to_owned(),
                SEALING.to_owned(),
            ),
            ("THETIS_TELEMETRY__OTLP_ENDPOINT".to_owned(), endpoint),
            (
                "THETIS_LOG__LEVEL".to_owned(),
                "info,uploader=debug".to_owned(),
            ),
        ],
        ..Options::default()
    })
    .await?;
    let sim = world.add_cluster(Shape::new("traced", 2), 1).await?;
    let name = world.sims[sim].name().to_owned();
    let host = world.sims[sim].nodes[0].address.clone();
    let cluster = world.api.add_cluster(&name, &host).await?;
    world.api.workers(&cluster, 2, 3).await?;
    world.sims[sim].create(&[table()]).await?;
    world.sims[sim].load(&table(), 1, 64 << 10, 2).await?;

    let body = json!({"type": "backup", "enabled": true, "properties": {"location": [world.store.location()]}});
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(format!("{}/cluster/{cluster}/tasks", world.api.base()))
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
        .json(&body)
        .send()
        .await?;
    ensure!(answer.status() == 201, "{}", answer.status());
    let made: Value = answer.json().await?;
    let id = made["id"].as_str().context("an id")?;
    let task = format!("/cluster/{cluster}/task/backup/{id}");
    let ended = world.api.ended(&task, LIMIT).await?.done()?;
    let files = ended.progress["files"].as_u64().unwrap_or_default();

    let wanted: BTreeSet<(&str, &str)> = [
        ("scheduler", "request"),
        ("scheduler", "run"),
        ("snapshot-worker", "take_snapshot"),
        ("snapshot-worker", "index"),
        ("snapshot-worker", "store_schema"),
        ("snapshot-worker", "drop_snapshot"),
        ("uploader", "upload"),
        ("uploader", "file"),
        ("uploader", "seal"),
        ("uploader", "purge"),
    ]
    .into();
    // Batches are sent every five seconds.
    eventually("the whole trace", LIMIT, async || {
        let spans = spans.lock().expect("no panics");
        let of_trace = spans.iter().filter(|(_, span)| {
            let id: String = span.trace_id.iter().map(|b| format!("{b:02x}")).collect();
            id == TRACE
        });
        let of_trace: Vec<&(String, Span)> = of_trace.collect();
        let found: BTreeSet<(&str, String)> = of_trace
            .iter()
            .map(|(service, span)| {
                let service = service.strip_prefix("thetis-").unwrap_or(service);
                match span.name.as_str() {
                    "job" => (service, text(span, "kind")),
                    name => (service, name.to_owned()),
                }
            })
            .collect();
        for (service, name) in &wanted {
            ensure!(
                found.contains(&(*service, (*name).to_owned())),
                "{service} {name}: {found:?}"
            );
        }
        let stored = of_trace.iter().filter(|(_, span)| span.name == "file");
        ensure!(stored.count() as u64 == files, "{files} files");
        // Every span but the first hangs on another of them.
        let ids: BTreeMap<&[u8], &str> = of_trace
            .iter()
            .map(|(_, span)| (&span.span_id[..], span.name.as_str()))
            .collect();
        for (service, span) in &of_trace {
            let first = span.parent_span_id == [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31];
            let known = ids.contains_key(&span.parent_span_id[..]);
            ensure!(first || known, "{service} {} hangs on nothing", span.name);
        }
        Ok(())
    })
    .await?;

    bundle(&world, &cluster, &task, &ended.run).await
}

/// All there is to know of the run is in a file.
async fn bundle(world: &World, cluster: &str, task: &str, run: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let id = task.rsplit('/').next().context("an id")?;
    let mut command = Command::new(bin("thetis")?);
    command
        .args(["support-bundle", "-c", cluster, &format!("backup/{id}")])
        .env("THETIS_API_URL", world.api.base())
        .current_dir(folder.path());
    let ran = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let file = folder.path().join(format!("thetis-{run}.tar.gz"));
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(file)?));
    let mut found = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        let name = path
            .strip_prefix(&format!("thetis-{run}/"))
            .map(str::to_owned);
        found.insert(name.with_context(|| path.clone())?, text);
    }
    let has = |file: &str, part: &str| {
        let text = found
            .get(file)
            .with_context(|| format!("{file} among {:?}", found.keys()))?;
        ensure!(text.contains(part), "{file} lacks {part}");
        anyhow::Ok(())
    };
    has("run.json", run)?;
    has("run.json", "\"plan\"")?;
    has("progress.json", "\"DONE\"")?;
    has("events.jsonl", "\"run_started\"")?;
    has("events.jsonl", "\"run_ended\"")?;
    has(
        "audit.jsonl",
        &format!("POST /api/v1/cluster/{cluster}/tasks"),
    )?;
    has("config/scheduler.txt", "otlp_endpoint")?;
    has("cluster.json", cluster)?;
    has("workers.json", "\"snapshot\"")?;
    let logs = found.iter().filter(|(name, _)| name.starts_with("logs/"));
    let logs: Vec<(&String, &String)> = logs.collect();
    // A scheduler, and three processes beside each of two nodes.
    ensure!(logs.len() == 7, "{:?}", found.keys());
    for (name, lines) in logs {
        ensure!(
            lines.lines().all(|line| line.contains(run)),
            "{name} has other lines"
        );
        for line in lines.lines() {
            let _object: serde_json::Map<String, Value> = serde_json::from_str(line)?;
        }
    }
    let told = |part: &str| {
        found
            .iter()
            .any(|(name, text)| name.contains(part) && text.contains("run"))
    };
    ensure!(told("scheduler") && told("uploader"), "{:?}", found.keys());
    for (name, text) in &found {
        for secret in [SeaweedFs::SECRET_KEY, SEALING] {
            ensure!(!text.contains(secret), "{name} shows a secret");
        }
    }
    Ok(())
}

#[tokio::test]
async fn all_services_are_upgraded_one_by_one_under_a_backup() -> Result<()> {
    let mut world = World::start(Options::default()).await?;
    world.add_scheduler()?;
    let full = world.add_cluster(Shape::new("upgraded", 2), 1).await?;
    let empty = world.add_cluster(Shape::new("fresh", 3), 1).await?;
    let mut ids = Vec::new();
    for sim in [full, empty] {
        let sim = &world.sims[sim];
        ids.push(
            world
                .api
                .add_cluster(sim.name(), &sim.nodes[0].address)
                .await?,
        );
        sim.create(&[table()]).await?;
        world
            .api
            .workers(ids.last().context("an id")?, sim.nodes.len(), 3)
            .await?;
    }
    world.sims[full].load(&table(), 1, 6 << 20, 24).await?;
    let before = world.sims[full].fingerprints().await?;

    // Slow enough to be under way until the last service has been changed.
    let properties = json!({"location": [world.store.location()], "rate_limit": ["1"]});
    let task = world.api.submit(&ids[0], "backup", properties).await?;
    let run = world.api.progress(&task).await?["run"]["id"].clone();
    let folder = tempfile::tempdir()?;
    let newer = folder.path().join("thetis");
    std::fs::copy(bin("thetis")?, &newer)?;
    let ran = world.find("upgraded-").map(|service| service.name.clone());
    let mut order: Vec<String> = ran.collect();
    order.extend(world.find("scheduler").map(|service| service.name.clone()));
    ensure!(order.len() == 8, "{order:?}");
    for name in order {
        let service = world.find(&name).next().context("a service")?;
        let was = service.id();
        service.terminate()?;
        service.upgrade(&newer);
        service.start()?;
        ensure!(service.id() != was, "{name} is another process");
        let leads = name.starts_with("scheduler");
        // The next one waits until this one works.
        eventually(&name, LIMIT, async || {
            if leads {
                return world.api.ready().await;
            }
            world.api.workers(&ids[0], 2, 3).await
        })
        .await?;
        let now = world.api.progress(&task).await?;
        ensure!(
            now["run"]["id"] == run && now["run"]["status"] == "RUNNING",
            "{name}: {now}"
        );
    }
    let path = format!("/cluster/{}/throttle", ids[0]);
    let body = json!({"rate": 0});
    world.api.ok(Method::PUT, &path, Some(&body)).await?;
    let ended = world.api.ended(&task, LIMIT).await?.done()?;
    ensure!(run == ended.run.as_str(), "it is the same run");
    let to = [world.store.location(), &ended.tag(), "agent"];
    world
        .api
        .validate_and_restore([&ids[0], &ids[1]], to, LIMIT)
        .await?;
    compare(&before, &world.sims[empty].fingerprints().await?)
}
