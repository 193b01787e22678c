//! What is restored is whole, whoever does it and whatever happens to nodes, tasks and workers; and
//! nothing is done twice that need not be.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method as Verb;
use serde_json::{Value, json};
use testkit::eventually;
use tests::{Fingerprints, Options, Shape, TableSpec, World, compare};

const LIMIT: Duration = Duration::from_secs(60);
/// What a task fails with that may go better the next time.
const SLOW_DOWN: &str = "storage_io_error (S3 request failed. Code: 503. Reason: Slow Down)";
const RESTORE: &str = "POST /storage_service/restore";
const AUTOCOMPACTION: &str = "DELETE /column_family/autocompaction/{name}";
const LOAD: &str = "POST /storage_service/sstables/{keyspace}";

/// One of each table, and a node takes two at once.
const BATCHES: u64 = 4;

fn tables(copies: usize) -> Vec<TableSpec> {
    let table = |keyspace: &str, name: &str, tablets| TableSpec {
        keyspace: keyspace.to_owned(),
        name: name.to_owned(),
        tablets,
        copies,
    };
    vec![
        table("shop", "users", false),
        table("shop", "carts", false),
        table("orders", "open", true),
        table("orders", "sent", true),
    ]
}

/// A backup, and a cluster to restore it into again and again.
struct Case {
    world: World,
    tag: String,
    before: Fingerprints,
    target: String,
}

impl Case {
    async fn start(nodes: usize) -> Result<Self> {
        let options = Options {
            ack_wait_secs: 2,
            environment: [
                ("THETIS_NATS__RETRY_PAUSE_MS", "100"),
                ("THETIS_NATS__STALL_SECS", "5"),
                // So that some batches are in hand and some are not.
                ("THETIS_RESTORE__SLOTS", "2"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
            ..Options::default()
        };
        let mut world = World::start(options).await?;
        let endpoint = world.s3()?.endpoint();
        let mut ids = Vec::new();
        for (name, nodes) in [("source", 2), ("target", nodes)] {
            let shape = Shape::new(name, nodes).with(&["--endpoint", &endpoint]);
            let sim = world
                .add_cluster(shape, usize::from(name == "source"))
                .await?;
            world.sims[sim].create(&tables(nodes)).await?;
            let host = world.sims[sim].nodes[0].address.clone();
            let id = world.api.add_cluster(name, &host).await?;
            ids.push(id);
        }
        world.api.workers(&ids[0], 2, 3).await?;
        world.api.workers(&ids[1], nodes, 2).await?;
        for (seed, table) in (1..).zip(&tables(2)) {
            world.sims[0].load(table, seed, 64 << 10, 4).await?;
        }
        let before = world.sims[0].fingerprints().await?;
        let properties = json!({"location": [world.store.location()]});
        let backup = world.api.done(&ids[0], "backup", properties, LIMIT).await?;
        Ok(Self {
            tag: backup.tag(),
            target: ids.remove(1),
            world,
            before,
        })
    }

    /// Begins a restore; gives its path.
    async fn restore(&self, method: &str) -> Result<String> {
        self.admin(Verb::DELETE, "/calls", None).await?;
        let properties = json!({
            "location": [self.world.store.location()], "snapshot_tag": self.tag,
            "restore_tables": true, "method": method,
        });
        self.world
            .api
            .submit(&self.target, "restore", properties)
            .await
    }

    async fn admin(&self, verb: Verb, path: &str, body: Option<Value>) -> Result<Value> {
        self.world.sims[1].admin(verb, path, body).await
    }

    /// Trouble for restores of the first node.
    async fn trouble(&self, times: u32, error: Option<&str>, ms: u64) -> Result<()> {
        let trouble = json!([{
            "operation": "download_sstables", "times": times, "error": error, "step_ms": ms,
        }]);
        self.admin(Verb::PUT, "/nodes/1/trouble", Some(trouble))
            .await?;
        Ok(())
    }

    /// How often nodes were asked for something since the restore began.
    async fn asked(&self, what: &str) -> Result<u64> {
        let calls = self.admin(Verb::GET, "/calls", None).await?;
        let nodes = calls[what].as_object().into_iter().flatten();
        Ok(nodes.filter_map(|(_, count)| count.as_u64()).sum())
    }

    async fn until_asked(&self, what: &str, times: u64) -> Result<()> {
        eventually(what, LIMIT, async || {
            let asked = self.asked(what).await?;
            ensure!(asked >= times, "asked {asked} times");
            Ok(())
        })
        .await
    }

    /// Waits for its end; all must be there, and nothing left behind. The tables are empty afterwards.
    async fn whole(&mut self, task: &str) -> Result<Value> {
        let ended = self.world.api.ended(task, LIMIT).await?.done();
        let ended = ended.with_context(|| self.world.last_words())?;
        compare(&self.before, &self.world.sims[1].fingerprints().await?)?;
        self.world.sims[1].is_clean().await?;
        for table in tables(1) {
            let path = format!("/tables/{}/{}/truncate", table.keyspace, table.name);
            self.admin(Verb::POST, &path, Some(json!({}))).await?;
        }
        Ok(ended.progress)
    }
}

#[tokio::test]
async fn a_restore_by_scylladb_outlasts_what_happens_to_it() -> Result<()> {
    let mut case = Case::start(1).await?;

    // Undisturbed: each batch is asked for once.
    let task = case.restore("native").await?;
    let progress = case.whole(&task).await?;
    let asked = case.asked(RESTORE).await?;
    ensure!(asked == BATCHES && case.asked(LOAD).await? == 0, "{asked}");
    ensure!(progress.to_string().contains("asked for"), "{progress}");

    // The bucket is slow for a while.
    case.trouble(1, Some(SLOW_DOWN), 0).await?;
    let task = case.restore("native").await?;
    case.whole(&task).await?;
    ensure!(case.asked(RESTORE).await? > BATCHES);
    ensure!(case.asked(LOAD).await? == 0);

    // A node forgets its tasks.
    case.trouble(0, None, 1_500).await?;
    let task = case.restore("native").await?;
    case.until_asked(RESTORE, 2).await?;
    case.admin(Verb::POST, "/nodes/1/restart", Some(json!({})))
        .await?;
    case.whole(&task).await?;

    // Its workers die and come back: they wait for what the nodes are at, and ask for no other.
    case.trouble(0, None, 3_000).await?;
    let task = case.restore("native").await?;
    case.until_asked(RESTORE, 2).await?;
    eventually("the answers to be noted", LIMIT, async || {
        let noted = case.world.sims[1]
            .nodes
            .iter()
            .map(|node| noted(&node.data));
        ensure!(noted.sum::<usize>() == 2, "not both");
        Ok(())
    })
    .await?;
    for worker in case
        .world
        .find("target")
        .filter(|w| w.name.contains("restore"))
    {
        worker.kill();
        worker.start()?;
    }
    case.whole(&task).await?;
    let asked = case.asked(RESTORE).await?;
    ensure!(asked == BATCHES, "{asked}");

    // Stopped: the nodes leave off.
    case.trouble(0, None, 60_000).await?;
    let task = case.restore("auto").await?;
    case.until_asked(RESTORE, 2).await?;
    case.world
        .api
        .ok(Verb::PUT, &format!("{task}/stop"), None)
        .await?;
    let ended = case.world.api.ended(&task, LIMIT).await?;
    ensure!(ended.status == "STOPPED", "{ended:?}");
    let tasks = running(&case).await?;
    ensure!(tasks.is_empty(), "{tasks:?}");
    case.world.sims[1].is_clean().await
}

/// Directories of batches on a node's disk.
fn batches(data: &Path) -> Vec<PathBuf> {
    let runs = std::fs::read_dir(data.join(".thetis"))
        .into_iter()
        .flatten();
    let batches = runs.flatten().flat_map(|run| std::fs::read_dir(run.path()));
    batches
        .flatten()
        .flatten()
        .map(|batch| batch.path())
        .collect()
}

/// Tasks of batches that are noted there.
fn noted(data: &Path) -> usize {
    let noted = |dir: &PathBuf| dir.join("task").is_file();
    batches(data).iter().filter(|dir| noted(dir)).count()
}

/// Restores that the first node is at.
async fn running(case: &Case) -> Result<Vec<Value>> {
    let api = &case.world.sims[1].nodes[0].api;
    let url = format!("{api}/task_manager/list_module_tasks/sstables_loader");
    let tasks: Vec<Value> = reqwest::get(url).await?.json().await?;
    let running = |task: &Value| !matches!(task["state"].as_str(), Some("done" | "failed"));
    Ok(tasks.into_iter().filter(running).collect())
}

#[tokio::test]
async fn what_scylladb_cannot_restore_is_told_of_before_anything_is_touched() -> Result<()> {
    let mut case = Case::start(2).await?;
    let others = json!({"http://elsewhere:9000": null});
    case.admin(Verb::PUT, "/nodes/2/endpoints", Some(others))
        .await?;
    for worker in case.world.find("target-2-restore") {
        worker.kill();
        worker.start()?;
    }
    let address = case.world.sims[1].nodes[1].address.clone();
    eventually("the change to be known", LIMIT, async || {
        let task = case.restore("native").await?;
        let ended = case.world.api.ended(&task, LIMIT).await?;
        ensure!(ended.status == "ERROR", "{ended:?}");
        for part in [
            "shop.users",
            &address,
            "object_storage_endpoints",
            "`auto` or `agent`",
        ] {
            ensure!(ended.cause.contains(part), "{}", ended.cause);
        }
        for what in [RESTORE, LOAD, AUTOCOMPACTION] {
            ensure!(case.asked(what).await? == 0, "{what}");
        }
        Ok(())
    })
    .await?;

    // By itself it goes another way; meanwhile somebody else loads.
    case.admin(
        Verb::PUT,
        "/nodes/1/loading",
        Some(json!({"loading": true})),
    )
    .await?;
    let task = case.restore("auto").await?;
    case.until_asked(LOAD, 1).await?;
    case.admin(
        Verb::PUT,
        "/nodes/1/loading",
        Some(json!({"loading": false})),
    )
    .await?;
    let progress = case.whole(&task).await?;
    ensure!(case.asked(RESTORE).await? == 0);
    let told = progress.to_string();
    ensure!(
        told.contains(r#""method":"agent""#) && told.contains("object_storage_endpoints"),
        "{told}"
    );
    Ok(())
}

#[tokio::test]
async fn what_is_on_the_disk_is_neither_downloaded_nor_loaded_again() -> Result<()> {
    let mut case = Case::start(1).await?;
    let held = json!({
        "node": "1", "method": "POST", "path": "/storage_service/sstables", "times": 1,
        "action": {"kind": "delay", "ms": 60_000},
    });
    case.admin(Verb::POST, "/faults", Some(held)).await?;
    let task = case.restore("agent").await?;
    // One batch is being loaded, and the next waits for it.
    let data = case.world.sims[1].nodes[0].data.clone();
    let there = eventually("two batches to be on the disk", LIMIT, async || {
        let staging = data.join(".thetis");
        let names = |dir: &Path| -> Result<Vec<String>> {
            let entries = std::fs::read_dir(dir)?.collect::<std::io::Result<Vec<_>>>()?;
            Ok(entries
                .iter()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect())
        };
        let marked = names(&staging)?
            .iter()
            .any(|name| name.starts_with("loading."));
        let batches = batches(&data);
        let coming = batches.iter().any(|dir| dir.join("want").is_file());
        ensure!(marked && batches.len() == 2 && !coming, "{batches:?}");
        let mut there = 0;
        for dir in batches.into_iter().chain(uploads(&data)?) {
            for name in names(&dir)? {
                there += std::fs::metadata(dir.join(name))?.len();
            }
        }
        Ok(there)
    })
    .await?;
    let worker = case
        .world
        .find("target-1-restore")
        .next()
        .context("a worker")?;
    worker.kill();
    worker.start()?;
    let progress = case.whole(&task).await?;
    let asked = case.asked(LOAD).await?;
    ensure!(asked <= BATCHES + 1, "{asked}");
    let all = progress["size"].as_u64().context("a size")?;
    let worker = case
        .world
        .find("target-1-restore")
        .next()
        .context("a worker")?;
    let url = format!("{}/metrics", worker.admin()?);
    let metrics = reqwest::get(url).await?.text().await?;
    let received = metrics
        .lines()
        .find_map(|line| line.strip_prefix("thetis_restore_received_bytes_total "))
        .context("no such metric")?;
    let received: u64 = received.trim().parse()?;
    ensure!(
        there > 0 && received == all - there,
        "{received} of {all}, {there} there"
    );
    Ok(())
}

/// `upload` directories of all tables.
fn uploads(data: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for keyspace in ["shop", "orders"] {
        for table in std::fs::read_dir(data.join(keyspace))? {
            let upload = table?.path().join("upload");
            if upload.is_dir() {
                all.push(upload);
            }
        }
    }
    Ok(all)
}
