//! A restore that ends before its end, whatever of, is undone: how everything was, it is again.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    eventually,
    faults::{Fault, Faults},
};
use tests::{Cql, Kind, Options, Service, Shape, TableSpec, World, compare};

use crate::{
    bad_input::Tmpfs,
    faults::Gate,
    schema::{SCHEMA, backup, filled, fresh, restore, same},
};

const LIMIT: Duration = Duration::from_secs(90);
/// Further tables, so that there is something left to load.
const MORE: usize = 6;

struct Case<'a> {
    world: World,
    proxy: Faults,
    disk: Option<Tmpfs<'a>>,
    before: Cql,
    after: Cql,
    /// The cluster that is restored into.
    to: String,
    tag: String,
}

impl<'a> Case<'a> {
    async fn start(dir: &Path, small: &'a Path) -> Result<Self> {
        let disk = Tmpfs::mount(small, "size=256m,nr_inodes=8k")?;
        let gate = Gate::open(1).await?;
        let mut environment = gate.environment();
        environment.extend(
            [
                ("THETIS_NATS__RETRY_PAUSE_MS", "50"),
                ("THETIS_RESTORE__MIN_FREE_PERCENT", "0"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let Gate { proxy, s3 } = gate;
        let options = Options {
            dir: Some(dir.to_owned()),
            environment,
            ack_wait_secs: 2,
            ..Options::default()
        };
        let mut world = World::on(s3, options).await?;
        let (from, before) = filled(&mut world, Shape::new("from", 2), &SCHEMA).await?;
        let more: Vec<String> = (0..MORE)
            .map(|n| format!("CREATE TABLE shop.more_{n} (key blob PRIMARY KEY, value blob)"))
            .collect();
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        before.run(&more).await?;
        for (seed, number) in (0..).zip(0..MORE) {
            let table = TableSpec {
                keyspace: "shop".to_owned(),
                name: format!("more_{number}"),
                tablets: false,
                copies: 2,
            };
            world.sims[0].load(&table, seed, 64 << 10, 4).await?;
        }
        let tag = backup(&world, &from).await?;
        let (to, after) = fresh(&mut world, Shape::new("to", 2)).await?;
        after.run(&SCHEMA).await?;
        after.run(&more).await?;
        let case = Self {
            world,
            proxy,
            disk,
            before,
            after,
            to,
            tag,
        };
        // One that was off before stays off.
        for node in &case.world.sims[1].nodes {
            let url = format!("{}/column_family/autocompaction/shop:more_0", node.api);
            let off = reqwest::Client::new().delete(url).send().await?;
            off.error_for_status()?;
        }
        Ok(case)
    }

    async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        self.world.sims[1].admin(method, path, body).await
    }

    /// What is switched off.
    async fn switches(&self) -> Result<Vec<String>> {
        let cluster = self.admin(Method::GET, "/cluster", None).await?;
        let off = cluster["switched_off"].as_array().context("a list")?;
        let mut state: Vec<String> = off.iter().map(ToString::to_string).collect();
        state.sort();
        state.push(format!("balancing: {}", cluster["balancing"]));
        Ok(state)
    }

    /// What a restore changes, but for rows.
    async fn state(&self) -> Result<Vec<String>> {
        let mut state = self.switches().await?;
        state.extend(self.after.schema().await?);
        Ok(state)
    }

    /// Begins a restore, and comes back when some of it is loaded and the rest is held up for a while.
    async fn halfway(&self) -> Result<String> {
        self.admin(Method::DELETE, "/calls", None).await?;
        let held = json!({
            "method": "POST", "path": "/storage_service/sstables", "skip": 1,
            "action": {"kind": "delay", "ms": 1_500},
        });
        self.admin(Method::POST, "/faults", Some(held)).await?;
        let more = json!({"restore_tables": true, "merge": true, "method": "agent"});
        let properties = restore(&self.world, &self.tag, more);
        let task = self
            .world
            .api
            .submit(&self.to, "restore", properties)
            .await?;
        eventually("the middle", LIMIT, async || {
            let progress = self.world.api.progress(&task).await?;
            let done = progress["progress"]["parts_done"].as_u64();
            ensure!(done >= Some(1), "{progress}");
            Ok(())
        })
        .await
        .with_context(|| self.world.last_words())?;
        Ok(task)
    }

    async fn stop(&self, task: &str) -> Result<()> {
        let path = format!("{task}/stop");
        self.world.api.ok(Method::PUT, &path, None).await.map(drop)
    }

    /// The end of a restore, which changed things, and its undoing.
    async fn undone(&self, task: &str, was: &[String], what: &str) -> Result<()> {
        self.admin(Method::DELETE, "/faults", None).await?;
        let ended = self.world.api.ended(task, LIMIT).await;
        let ended = ended.with_context(|| self.world.last_words())?;
        ensure!(ended.status != "DONE", "{what}: it was too quick");
        let done = ended.progress["parts_done"].as_u64();
        ensure!(done < ended.progress["parts"].as_u64(), "{what}: {ended:?}");
        let left = self.state().await?;
        ensure!(left != was, "{what}: nothing to undo");
        let (_, run) = ended
            .cause
            .split_once("thetis restore undo ")
            .unwrap_or_default();
        let run: String = run.chars().take(36).collect();
        let undo = json!({"undo": run});
        let undone = self.world.api.done(&self.to, "restore", undo, LIMIT).await;
        undone.with_context(|| format!("{what}: {ended:?}"))?;
        let is = self.state().await?;
        ensure!(is == was, "{what}: it was {was:#?} and is {is:#?}");
        Ok(())
    }
}

#[tokio::test]
async fn whatever_ends_a_restore_early_it_is_undone() -> Result<()> {
    // Dropped last to first: nothing may use the file system when it goes.
    let dir = tempfile::Builder::new().prefix("thetis-world-").tempdir()?;
    let small = dir.path().join("to");
    let mut case = Case::start(dir.path(), &small).await?;
    let was = case.state().await?;
    ensure!(was[0].contains("more_0"), "{was:#?}");

    if let Some(disk) = &case.disk {
        let task = case.halfway().await?;
        disk.fill(4)?;
        case.admin(Method::DELETE, "/faults", None).await?;
        let ended = case.world.api.ended(&task, Duration::from_secs(20)).await;
        let ended = ended.with_context(|| case.world.last_words())?;
        disk.make_room()?;
        ensure!(ended.cause.contains("o space left"), "{ended:?}");
        case.undone(&task, &was, "a full disk").await?;
    }

    let task = case.halfway().await?;
    let missed = |case: &Case| {
        let workers = case.world.services.iter();
        let logs = workers
            .filter(|one| one.name.starts_with("to-"))
            .map(Service::log);
        logs.map(|log| log.matches("Connection refused").count())
            .sum::<usize>()
    };
    let before = missed(&case);
    case.admin(Method::POST, "/nodes/2/down", None).await?;
    eventually("the node to be missed", LIMIT, async || {
        ensure!(missed(&case) > before, "nobody misses it");
        Ok(())
    })
    .await?;
    case.stop(&task).await?;
    case.admin(Method::POST, "/nodes/2/up", None).await?;
    case.undone(&task, &was, "a node that is down").await?;

    for (fault, what) in [
        (Fault::Busy, "a store that refuses"),
        (Fault::Reset, "a store that is gone"),
    ] {
        let task = case.halfway().await?;
        let met = |case: &Case| case.proxy.met().values().sum::<u64>();
        let before = met(&case);
        case.proxy.odds(&[(fault, 1.0)]);
        eventually("the workers to meet it", LIMIT, async || {
            let met = met(&case) - before;
            ensure!(met >= 20, "{met} times");
            Ok(())
        })
        .await?;
        case.stop(&task).await?;
        // Nodes are put back by what NATS knows of them.
        let ended = case.world.api.ended(&task, LIMIT).await;
        ended.with_context(|| format!("{what}: {}", case.world.last_words()))?;
        let is = case.switches().await?;
        ensure!(was.starts_with(&is), "{what}: {was:#?} became {is:#?}");
        case.proxy.odds(&[]);
        case.undone(&task, &was, what).await?;
    }

    let task = case.halfway().await?;
    let restorers = case
        .world
        .find("to-")
        .filter(|one| one.kind == Kind::Restore);
    restorers.for_each(Service::kill);
    case.stop(&task).await?;
    case.world.revive()?;
    case.undone(&task, &was, "a worker that was killed").await?;

    let more = json!({"restore_tables": true, "merge": true});
    let properties = restore(&case.world, &case.tag, more);
    case.world
        .api
        .done(&case.to, "restore", properties, LIMIT)
        .await?;
    same(&case.before, &case.after).await?;
    let (before, after) = (
        case.world.sims[0].fingerprints().await?,
        case.world.sims[1].fingerprints().await?,
    );
    compare(&before, &after)?;
    let is = case.state().await?;
    ensure!(is == was, "it was {was:#?} and is {is:#?}");
    Ok(())
}

/// Whatever is in its way for good ends a restore by itself, with the reason: nobody has to stop it.
#[tokio::test]
async fn a_restore_that_cannot_go_on_says_why_and_ends_by_itself() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("thetis-world-").tempdir()?;
    let small = dir.path().join("to");
    let case = Case::start(dir.path(), &small).await?;
    let was = case.state().await?;
    let gives_up = async |task: &str, reasons: &[&str]| {
        eventually("the reason to be told", LIMIT, async || {
            let now = case.world.api.progress(task).await?;
            let cause = now["run"]["cause"].as_str().unwrap_or_default();
            ensure!(reasons.iter().any(|reason| cause.contains(reason)), "{now}");
            Ok(())
        })
        .await
        .with_context(|| case.world.last_words())
    };

    // While the node is away, what was changed there is still to be put back.
    let task = case.halfway().await?;
    case.admin(Method::POST, "/nodes/2/down", None).await?;
    case.admin(Method::DELETE, "/faults", None).await?;
    // Its own worker finds nobody there, and the other node is told by ScyllaDB.
    gives_up(&task, &["is ScyllaDB running there?", " is down)"]).await?;
    let now = case.world.api.progress(&task).await?;
    ensure!(now["run"]["status"] == "RUNNING", "{now}");
    case.admin(Method::POST, "/nodes/2/up", None).await?;
    case.undone(&task, &was, "a node that is down for good")
        .await?;

    let task = case.halfway().await?;
    case.proxy.odds(&[(Fault::Busy, 1.0)]);
    case.admin(Method::DELETE, "/faults", None).await?;
    gives_up(&task, &["503"]).await?;
    let ended = case.world.api.ended(&task, LIMIT).await;
    let ended = ended.with_context(|| case.world.last_words())?;
    ensure!(ended.status == "ERROR", "{ended:?}");
    case.proxy.odds(&[]);
    case.undone(&task, &was, "a store that refuses for good")
        .await
}
