//! `deploy/nats/`: each user may do what its service does, and no more.

use std::{
    fmt::Write as _,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, ConnectOptions, Event, ServerError};
use queue::{Queue, Settings};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{eventually, free_port, nats::Nats};
use tests::{Api, Kind, Service, Shape, Sim, TableSpec, compare};

use crate::{at, output, text};

const LIMIT: Duration = Duration::from_secs(60);
const FULL: &str = "00000000-0000-4000-8000-0000000000f0";
const EMPTY: &str = "00000000-0000-4000-8000-0000000000e0";
const RUN: &str = "00000000-0000-4000-8000-00000000000a";

/// What `users.sh` makes of a list.
pub(crate) fn users(list: &str) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("users");
    std::fs::write(&path, list)?;
    output(Command::new("sh").arg(at("deploy/nats/users.sh")).arg(path))
}

/// A configuration as it stands, but for what testkit says itself, and for these users.
fn config(path: &str, users: &str) -> Result<String> {
    let http = format!("127.0.0.1:{}", free_port());
    let config = text(path)?
        .replace("include \"users.conf\"", users)
        .replace("127.0.0.1:8222", &http);
    let lines = config.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with("store_dir:") && !line.starts_with("listen: \"0.0.0.0:4222\"")
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_servers_take_the_configurations() -> Result<()> {
    let key = nkeys::KeyPair::new_user().public_key();
    let hash = "$2a$11$3kIDaCxw.Glsl1.u5nKa6eUnNDLV5HV9tIuUp7EHhMt6Nm9myW1aS";
    let list = format!(
        "# two ways to log in\nscheduler {hash}\n\noutside secret\n{FULL} {key} eu.west {EMPTY}\n"
    );
    let written = users(&list)?;
    for part in [
        &format!("nkey: {key}"),
        &format!("password: \"{hash}\""),
        &format!("CONSUMER.INFO.JOBS.restore-{EMPTY}-eu=2Ewest\""),
    ] {
        ensure!(written.contains(part), "{part} is not in {written}");
    }
    for path in ["deploy/nats/nats.conf", "deploy/nats/cluster.conf"] {
        for users in [&written, &users(&text("deploy/nats/users.example")?)?] {
            let dir = tempfile::tempdir()?;
            let file = dir.path().join("nats.conf");
            std::fs::write(&file, text(path)?)?;
            std::fs::write(dir.path().join("users.conf"), users)?;
            let server = testkit::binary("nats-server")?;
            output(Command::new(server).arg("-t").arg("-c").arg(file))?;
        }
    }
    for wrong in [
        "scheduler",
        "joe secret",
        "scheduler a b",
        &format!("{FULL} secret dc1"),
        &format!("{FULL} secret dc1 prod"),
        &format!("{FULL} secret dc1 {EMPTY} more"),
        &format!("{} secret dc1 {EMPTY}", FULL.replace("f0", "F0")),
        "outside \"quoted\"",
    ] {
        ensure!(users(wrong).is_err(), "taken: {wrong}");
    }
    Ok(())
}

/// NATS with users, one scheduler, two clusters with `thetis node` beside each node.
struct Place {
    services: Vec<Service>,
    sims: [Sim; 2],
    nats: Nats,
    api: Api,
    dir: TempDir,
}

impl Place {
    async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir_all(dir.path().join("logs"))?;
        std::fs::create_dir_all(dir.path().join("store/thetis"))?;
        let shape = |name: &str, dc: &str| Shape {
            dcs: vec![(dc.to_owned(), 2)],
            ..Shape::new(name, 2)
        };
        let sims = [
            Sim::start(shape("full", "dc1"), dir.path()).await?,
            Sim::start(shape("empty", "eu.west"), dir.path()).await?,
        ];
        let mut list = "scheduler of-scheduler\noutside of-outside\nadmin of-admin\n".to_owned();
        for (sim, dc, cluster) in [(&sims[0], "dc1", FULL), (&sims[1], "eu.west", EMPTY)] {
            for node in &sim.nodes {
                writeln!(list, "{id} of-{id} {dc} {cluster}", id = node.host_id)?;
            }
        }
        let nats = Nats::with_config(&config("deploy/nats/nats.conf", &users(&list)?)?)?;
        let port = free_port();
        let mut place = Self {
            services: Vec::new(),
            sims,
            nats,
            api: Api::new(format!("http://127.0.0.1:{port}/api/v1")),
            dir,
        };
        // Workers come first, and find nothing there yet.
        for sim in 0..2 {
            for (number, node) in place.sims[sim].nodes.clone().into_iter().enumerate() {
                let name = format!("{}-{}", place.sims[sim].name(), number + 1);
                let settings = [
                    ("THETIS_NATS__PROVISION", "false".to_owned()),
                    ("THETIS_NODE__API", node.api),
                ];
                place.add(Kind::Node, name, &node.host_id, &settings)?;
            }
        }
        let settings = [
            ("THETIS_SCHEDULER__LISTEN", format!("127.0.0.1:{port}")),
            (
                "THETIS_SCHEDULER__LOCATIONS",
                "localstorage:thetis".to_owned(),
            ),
            ("THETIS_SCHEDULER__SWEEP_SECS", "1".to_owned()),
        ];
        place.add(
            Kind::Scheduler,
            "scheduler".to_owned(),
            "scheduler",
            &settings,
        )?;
        place.api.ready().await?;
        Ok(place)
    }

    fn add(
        &mut self,
        kind: Kind,
        name: String,
        user: &str,
        settings: &[(&str, String)],
    ) -> Result<()> {
        let root = self.dir.path().join("store").display().to_string();
        let mut environment: Vec<(String, String)> = vec![
            ("THETIS_NATS__URL".into(), self.nats.url()),
            ("THETIS_NATS__USER".into(), user.into()),
            ("THETIS_NATS__PASSWORD".into(), format!("of-{user}")),
            ("THETIS_STORE__LOCALSTORAGE__ROOT".into(), root),
        ];
        environment.extend(
            settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone())),
        );
        let mut service = Service::new(kind, name, environment, &self.dir.path().join("logs"));
        service.start()?;
        self.services.push(service);
        Ok(())
    }

    async fn register(&self, sim: usize, id: &str) -> Result<()> {
        let host = &self.sims[sim].nodes[0].address;
        let body = json!({"name": self.sims[sim].name(), "host": host, "id": id});
        eventually("the cluster to be added", LIMIT, async || {
            self.api
                .ok(Method::POST, "/clusters", Some(&body))
                .await
                .map(drop)
        })
        .await?;
        self.api.workers(id, 2, 3).await
    }

    async fn user(&self, user: &str) -> Result<User> {
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&complaints);
        let client = ConnectOptions::new()
            .user_and_password(user.to_owned(), format!("of-{user}"))
            .custom_inbox_prefix(format!("_INBOX.{user}"))
            .request_timeout(Some(Duration::from_secs(5)))
            .event_callback(move |event| {
                if let Event::ServerError(ServerError::Other(text)) = event {
                    heard.lock().expect("nothing panics with it").push(text);
                }
                std::future::ready(())
            })
            .connect(self.nats.url())
            .await?;
        Ok(User { client, complaints })
    }
}

/// Somebody with a login, and what the server has complained of.
struct User {
    client: Client,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl User {
    /// The server's complaint on a subject.
    async fn complains(&self, what: &str, subject: &str) -> Result<()> {
        let complaint = format!("{what} to \"{subject}\"").to_lowercase();
        eventually(&complaint, Duration::from_secs(5), async || {
            let complaints = self.complaints.lock().expect("nothing panics with it");
            let heard = complaints
                .iter()
                .any(|text| text.to_lowercase().contains(&complaint));
            ensure!(heard, "{complaints:?}");
            Ok(())
        })
        .await
    }

    async fn may_not_publish(&self, subject: &str) -> Result<()> {
        let subject = subject.to_owned();
        self.client.publish(subject.clone(), "{}".into()).await?;
        self.client.flush().await?;
        self.complains("Publish", &subject).await
    }

    async fn may_not_hear(&self, subject: &str) -> Result<()> {
        let _heard = self.client.subscribe(subject.to_owned()).await?;
        self.client.flush().await?;
        self.complains("Subscription", subject).await
    }

    async fn asks(&self, subject: &str, payload: &Value) -> Result<Value> {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Content-Type", "application/json");
        let payload = serde_json::to_vec(payload)?;
        let asked = self
            .client
            .request_with_headers(subject.to_owned(), headers, payload.into());
        let answer = asked.await.with_context(|| format!("asking {subject}"))?;
        Ok(serde_json::from_slice(&answer.payload)?)
    }
}

#[tokio::test]
async fn a_backup_and_a_restore_need_no_more_than_their_users_may() -> Result<()> {
    let place = Place::start().await?;
    let table = TableSpec {
        keyspace: "shop".to_owned(),
        name: "users".to_owned(),
        tablets: false,
        copies: 2,
    };
    for sim in &place.sims {
        sim.create(std::slice::from_ref(&table)).await?;
    }
    place.sims[0].load(&table, 1, 256 << 10, 2).await?;
    place.register(0, FULL).await?;
    place.register(1, EMPTY).await?;
    let location = "localstorage:thetis";
    let properties = json!({"location": [location], "retention": 1});
    let task = place.api.submit(FULL, "backup", properties).await?;
    place.api.ended(&task, LIMIT).await?.done()?;
    // The second removes the first, behind a fence.
    let again = format!("{task}/start?continue=false");
    place.api.ok(Method::PUT, &again, None).await?;
    let backup = place.api.ended(&task, LIMIT).await?.done()?;
    let to = [location, &backup.tag(), "agent"];
    place
        .api
        .validate_and_restore([FULL, EMPTY], to, LIMIT)
        .await?;
    compare(
        &place.sims[0].fingerprints().await?,
        &place.sims[1].fingerprints().await?,
    )?;
    let complaints = place.nats.output();
    ensure!(!complaints.contains("Violation"), "{complaints}");

    refused(&place).await
}

/// What each user may not do, and that nothing has come of it.
async fn refused(place: &Place) -> Result<()> {
    let [own, other] = [0, 1].map(|node| place.sims[0].nodes[node].host_id.as_str());
    let node = place.user(own).await?;
    for subject in [
        // Jobs, whosever they are, and commands.
        format!("thetis.job.upload.{FULL}.{own}.{RUN}.0"),
        format!("thetis.job.upload.{FULL}.{other}.{RUN}.0"),
        format!("thetis.job.request.{FULL}.scheduler.{RUN}.0"),
        format!("thetis.command.{FULL}.stop"),
        // Other nodes' jobs, and other clusters' batches.
        format!("$JS.API.CONSUMER.MSG.NEXT.JOBS.upload-{other}"),
        format!("$JS.API.CONSUMER.INFO.JOBS.upload-{other}"),
        format!("$JS.API.CONSUMER.MSG.NEXT.JOBS.restore-{EMPTY}-eu=2Ewest"),
        format!("$JS.API.CONSUMER.CREATE.JOBS.upload-{own}"),
        format!("$JS.API.CONSUMER.CREATE.JOBS.x.thetis.job.upload.*.{other}.>"),
        format!("$JS.API.CONSUMER.DURABLE.CREATE.JOBS.upload-{own}"),
        "$JS.API.CONSUMER.CREATE.JOBS".to_owned(),
        "$JS.API.CONSUMER.LIST.JOBS".to_owned(),
        "$JS.API.STREAM.MSG.GET.JOBS".to_owned(),
        "$JS.API.DIRECT.GET.JOBS".to_owned(),
        format!("$JS.ACK.JOBS.upload-{other}.1.1.1.1.0"),
        // Streams and consumers.
        "$JS.API.STREAM.DELETE.JOBS".to_owned(),
        "$JS.API.STREAM.PURGE.JOBS".to_owned(),
        "$JS.API.STREAM.UPDATE.JOBS".to_owned(),
        "$JS.API.STREAM.MSG.DELETE.EVENTS".to_owned(),
        "$JS.API.STREAM.CREATE.MINE".to_owned(),
        format!("$JS.API.CONSUMER.DELETE.JOBS.upload-{other}"),
        "$JS.API.CONSUMER.DELETE.EVENTS.scheduler".to_owned(),
        // What others say.
        "$KV.leases.leader".to_owned(),
        format!("$KV.leases.worker.upload.{other}.1"),
        format!("$KV.control.{RUN}"),
        format!("$KV.clusters.{FULL}"),
        format!("$KV.runs.{FULL}.{RUN}"),
        format!("$KV.undo.{EMPTY}.{RUN}"),
        format!("$KV.undo.nodes.{RUN}.{other}"),
        "$JS.API.CONSUMER.CREATE.KV_runs.x.$KV.runs.>".to_owned(),
        "$JS.API.STREAM.MSG.GET.KV_runs".to_owned(),
        format!("thetis.event.run_ended.{EMPTY}.{RUN}"),
        format!("thetis.audit.{FULL}"),
        format!("_INBOX.{other}.x"),
    ] {
        node.may_not_publish(&subject).await?;
    }
    for subject in [
        "thetis.>".to_owned(),
        format!("thetis.job.upload.*.{own}.>"),
        "thetis.event.>".to_owned(),
        "thetis.command.*.*".to_owned(),
        format!("thetis.ask.ping.{other}"),
        "_INBOX.>".to_owned(),
        format!("_INBOX.{other}.>"),
        "$KV.>".to_owned(),
        "$JS.>".to_owned(),
    ] {
        node.may_not_hear(&subject).await?;
    }
    // Its own key, and with it all others.
    let mut all = async_nats::HeaderMap::new();
    all.insert("Nats-Rollup", "all");
    let key = format!("$KV.leases.worker.upload.{own}.1");
    let asked = node.client.request_with_headers(key, all, "{}".into());
    let answer: Value = serde_json::from_slice(&asked.await?.payload)?;
    ensure!(answer["error"].is_object(), "{answer}");

    let scheduler = place.user("scheduler").await?;
    for stream in ["JOBS", "AUDIT", "KV_tasks"] {
        for act in ["DELETE", "UPDATE"] {
            let subject = format!("$JS.API.STREAM.{act}.{stream}");
            scheduler.may_not_publish(&subject).await?;
        }
    }
    scheduler
        .may_not_publish("$JS.API.STREAM.PURGE.AUDIT")
        .await?;

    let outside = place.user("outside").await?;
    outside
        .may_not_publish(&format!("thetis.job.upload.{FULL}.{own}.{RUN}.0"))
        .await?;
    outside
        .may_not_publish(&format!("thetis.event.run_ended.{FULL}.{RUN}"))
        .await?;
    outside.may_not_publish("$JS.API.STREAM.INFO.JOBS").await?;
    outside.may_not_hear("_INBOX.>").await?;
    let mut events = outside
        .client
        .subscribe(format!("thetis.event.run_ended.{FULL}.>"))
        .await?;
    let tasks = json!({"version": "1", "kind": "tasks"});
    let answer = outside.asks("thetis.command.full.tasks", &tasks).await?;
    ensure!(answer["status"] == json!(200), "{answer}");
    let request = json!({"version": "1", "kind": "request", "cluster": FULL, "run": RUN,
        "backup": {"location": ["localstorage:thetis"]}});
    let subject = format!("thetis.job.request.{FULL}.scheduler.{RUN}.0");
    let stored = outside.asks(&subject, &request).await?;
    ensure!(stored["stream"] == json!("JOBS"), "{stored}");
    let ended = tokio::time::timeout(LIMIT, futures::StreamExt::next(&mut events))
        .await?
        .context("an event")?;
    ensure!(ended.subject.ends_with(RUN), "{}", ended.subject);

    let admin = place.user("admin").await?;
    eventually("an empty queue", LIMIT, async || {
        let jobs = admin.asks("$JS.API.STREAM.INFO.JOBS", &json!({})).await?;
        ensure!(jobs["state"]["messages"] == json!(0), "{jobs}");
        Ok(())
    })
    .await
}

/// A configuration with all that stands there as a comment only.
pub(crate) fn with_tls(config: &str, tls: &Path) -> String {
    let on = config.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') || setting.starts_with("  ") => setting,
        Some(_) | None => line,
    });
    on.collect::<Vec<_>>()
        .join("\n")
        .replace("/etc/nats/tls", &tls.display().to_string())
}

#[tokio::test]
async fn three_servers_speak_tls_among_themselves_and_with_whoever_shows_a_certificate()
-> Result<()> {
    let dir = tempfile::tempdir()?;
    for name in ["server", "scheduler"] {
        let mut certs = Command::new("sh");
        certs.arg(at("deploy/certs.sh")).arg(dir.path()).arg(name);
        output(certs.args(["127.0.0.1", "::1", "localhost"]))?;
    }
    let config = config("deploy/nats/cluster.conf", &users("scheduler secret")?)?;
    let ports = [free_port(), free_port(), free_port()];
    let mut servers = Vec::new();
    for (number, port) in (1..).zip(ports) {
        let mut config = with_tls(&config, dir.path())
            .replace("0.0.0.0:6222", &format!("127.0.0.1:{port}"))
            .replace("server_name: nats1", &format!("server_name: nats{number}"));
        for (number, port) in (1..).zip(ports) {
            config = config.replace(
                &format!("nats://nats{number}:6222"),
                &format!("nats://127.0.0.1:{port}"),
            );
        }
        let http = config.lines().find(|line| line.starts_with("http:"));
        let http = http.context("a port for health checks")?.to_owned();
        config = config.replace(&http, "");
        servers.push(Nats::with_config(&config)?);
    }
    let url = |scheme: &str| {
        let urls = servers
            .iter()
            .map(|nats| nats.url().replace("nats:", scheme));
        urls.collect::<Vec<_>>().join(",")
    };
    let mut settings = Settings {
        url: url("tls:"),
        user: Some("scheduler".to_owned()),
        password: Some("secret".into()),
        replicas: 3,
        ..Settings::default()
    };
    settings.tls.ca = Some(dir.path().join("ca.crt"));
    let refused = Queue::connect(&settings, "test").await;
    ensure!(refused.is_err(), "it shows no certificate");
    settings.tls.cert = Some(dir.path().join("scheduler.crt"));
    settings.tls.key = Some(dir.path().join("scheduler.key"));
    let settings = settings.answered_at("scheduler");
    eventually("three servers that agree", LIMIT, async || {
        Ok(Queue::connect(&settings, "test").await?.ensure().await?)
    })
    .await?;
    for nats in &servers {
        let complaints = nats.output();
        ensure!(!complaints.contains("Violation"), "{complaints}");
    }
    Ok(())
}
