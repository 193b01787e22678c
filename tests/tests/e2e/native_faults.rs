//! What ScyllaDB has stored itself is not stored again, whatever happens to it, to its task, or to the
//! uploader that asked for it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use catalog::{
    Chunk, Document as _, Frame, Limits, LocalTable, Receipt, Remote,
    key::{OwnKey, Owner},
    plan::plan,
};
use protocol::{ClusterId, Control, Method, RunId, SnapshotTag, TableRef, TaskId};
use queue::Bucket;
use reqwest::Method as Verb;
use scylla::{DataDir, Handover, Node};
use serde_json::{Value, json};
use testkit::eventually;
use tests::{Direct, TableSpec};

const LIMIT: Duration = Duration::from_secs(60);
/// What a task fails with that may go better the next time.
const SLOW_DOWN: &str = "storage_io_error (S3 request failed. Code: 503. Reason: Slow Down)";
const QUICK: [(&str, &str); 3] = [
    ("THETIS_NATS__ACK_WAIT_SECS", "2"),
    ("THETIS_NATS__STALL_SECS", "3"),
    ("THETIS_NATS__RETRY_PAUSE_MS", "100"),
];

/// An uploader with one chunk of two tables to store.
struct Case {
    direct: Direct,
    run: RunId,
    chunk: Chunk,
}

impl Case {
    async fn start() -> Result<Self> {
        let direct = Direct::start_with(&QUICK).await?;
        let run = RunId::generate();
        let tag: SnapshotTag = "sm_20260131235959UTC".parse()?;
        let node = Node::new(&direct.sim.nodes[0].api)?;
        let tables = ["users", "carts"].map(|name| TableSpec {
            keyspace: "shop".to_owned(),
            name: name.to_owned(),
            tablets: false,
            copies: 1,
        });
        direct.sim.create(&tables).await?;
        for (seed, table) in (1..).zip(&tables) {
            direct.sim.load(table, seed, 64 << 10, 3).await?;
        }
        node.take_snapshot(&tag, "shop", None).await?;
        let data_dir = DataDir::new(direct.data());
        let snapshot = |table: &TableSpec| {
            let table = TableRef {
                keyspace: table.keyspace.clone(),
                table: table.name.clone(),
            };
            Ok(data_dir.snapshot(&table, &tag)?.table)
        };
        let local = tables.iter().map(snapshot);
        let local: Vec<LocalTable> = local.collect::<Result<_>>()?;
        let frame = Frame {
            owner: &Owner::new(ClusterId::generate(), "dc1", direct.node())?,
            origin: run,
            task: TaskId::generate(),
            tag: &tag,
            units: &[],
            limits: Limits::CHUNK,
        };
        let mut planned = plan(&frame, local, &Remote::default())?;
        ensure!(planned.chunks.len() == 1, "{} chunks", planned.chunks.len());
        let chunk = planned.chunks.remove(0);
        ensure!(chunk.files.len() > 20, "{} files", chunk.files.len());
        let key = OwnKey::Chunk(run, direct.node(), 0).to_string();
        direct.store.put(&key, chunk.to_json()).await?;
        Ok(Self { direct, run, chunk })
    }

    /// Has the chunk uploaded.
    async fn upload(&self, method: Method) -> Result<()> {
        let job = self.direct.upload_job(self.run, 0, method);
        self.direct.publish(job).await
    }

    /// Trouble for the node's uploads.
    async fn trouble(&self, after: usize, times: u32, error: Option<&str>, ms: u64) -> Result<()> {
        let trouble = json!([{
            "operation": "backup", "after": after, "times": times, "error": error, "step_ms": ms,
        }]);
        let sim = &self.direct.sim;
        sim.admin(Verb::PUT, "/nodes/1/trouble", Some(trouble))
            .await?;
        Ok(())
    }

    async fn restart_node(&self) -> Result<()> {
        let sim = &self.direct.sim;
        sim.admin(Verb::POST, "/nodes/1/restart", Some(json!({})))
            .await?;
        Ok(())
    }

    /// Components that are in the bucket.
    async fn stored(&self) -> Result<usize> {
        Ok(self.direct.store.below("backup/sst/").await?.len())
    }

    /// Waits until `count` components are in the bucket, and no receipt.
    async fn stored_some(&self, count: usize) -> Result<()> {
        let some = eventually("some files", LIMIT, async || {
            let stored = self.stored().await?;
            ensure!(stored >= count, "{stored} files");
            Ok(())
        });
        some.await.with_context(|| self.direct.uploader.log())?;
        ensure!(self.receipt().await.is_err(), "it is over already");
        Ok(())
    }

    async fn receipt(&self) -> Result<Receipt> {
        let key = OwnKey::Receipt(self.run, self.direct.node(), 0).to_string();
        let body = self.direct.store.body(&key).await?;
        let body = body.context("no receipt yet")?;
        Ok(Receipt::from_json(&body)?)
    }

    /// Waits for the receipt, which must prove every file, each by its content here.
    async fn proven(&self) -> Result<Receipt> {
        let receipt = eventually("the receipt", LIMIT, async || self.receipt().await).await;
        let receipt = receipt.with_context(|| self.direct.uploader.log())?;
        let stored = self.direct.store.below("backup/sst/").await?;
        ensure!(receipt.files.len() == self.chunk.files.len());
        for (file, proof) in self.chunk.files.iter().zip(&receipt.files) {
            ensure!(
                proof.key == file.key
                    && stored.get(&file.key).map(|stored| stored.bytes) == Some(file.bytes)
            );
            let here = scylla::crc32_of(&self.direct.data().join(&file.path))?;
            ensure!((proof.crc32, proof.bytes) == here, "{}", file.key);
        }
        ensure!(stored.len() == self.chunk.files.len(), "nothing but files");
        eventually("handovers to be gone", LIMIT, async || {
            ensure!(self.handovers()?.is_empty(), "{:?}", self.handovers()?);
            Ok(())
        })
        .await?;
        Ok(receipt)
    }

    /// Requests that stored a component.
    async fn puts(&self) -> Result<u64> {
        let all = self.direct.store.tally().await?.requests;
        let receipts = u64::from(self.receipt().await.is_ok());
        Ok(all.get("PutObject").copied().unwrap_or_default() - receipts)
    }

    fn files(&self) -> u64 {
        self.chunk.files.len() as u64
    }

    /// Names in snapshot directories that are handovers'.
    fn handovers(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut left = vec![self.direct.data().join("shop")];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.parse::<Handover>().is_ok() {
                    found.push(name);
                } else if entry.file_type()?.is_dir() {
                    left.push(entry.path());
                }
            }
        }
        Ok(found)
    }

    /// Uploads that the node remembers, with their states.
    async fn tasks(&self) -> Result<Vec<String>> {
        let api = &self.direct.sim.nodes[0].api;
        let url = format!("{api}/task_manager/list_module_tasks/snapshot");
        let all: Vec<Value> = reqwest::get(url).await?.json().await?;
        let state = |task: &Value| task["state"].as_str().unwrap_or_default().to_owned();
        Ok(all.iter().map(state).collect())
    }

    /// Who stored the tables, by what the receipt says.
    fn told(receipt: &Receipt) -> Vec<(Method, &str)> {
        let methods = receipt.methods.iter();
        methods
            .map(|told| (told.method, told.reason.as_str()))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_midway_costs_only_what_is_missing() -> Result<()> {
    let case = Case::start().await?;
    case.trouble(5, 1, Some(SLOW_DOWN), 0).await?;
    case.upload(Method::Native).await?;
    let receipt = case.proven().await?;
    let puts = case.puts().await?;
    ensure!(puts == case.files(), "{puts} PUTs");
    let native = vec![(Method::Native, "asked for"); 2];
    ensure!(Case::told(&receipt) == native, "{:?}", receipt.methods);
    ensure!(
        case.direct.uploader.log().contains(SLOW_DOWN),
        "it says why"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_restarts_is_asked_for_the_rest() -> Result<()> {
    let case = Case::start().await?;
    case.trouble(0, 0, None, 100).await?;
    case.upload(Method::Native).await?;
    case.stored_some(4).await?;
    case.restart_node().await?;
    case.trouble(0, 0, None, 0).await?;
    case.proven().await?;
    // One may have been on its way.
    let more = case.puts().await? - case.files();
    ensure!(more <= 1, "{more} PUTs too many");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploader_that_dies_leaves_the_node_to_its_work() -> Result<()> {
    let mut case = Case::start().await?;
    case.trouble(0, 0, None, 100).await?;
    case.upload(Method::Native).await?;
    case.stored_some(4).await?;
    case.direct.uploader.kill();
    case.direct.uploader.start()?;
    case.proven().await?;
    let puts = case.puts().await?;
    ensure!(puts == case.files(), "{puts} PUTs");
    let log = case.direct.uploader.log();
    ensure!(log.contains("waiting for an upload"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_calls_the_node_off() -> Result<()> {
    let case = Case::start().await?;
    case.trouble(0, 0, None, 100).await?;
    case.upload(Method::Native).await?;
    case.stored_some(4).await?;
    let control = case.direct.queue.bucket::<Control>(Bucket::Control);
    let began = Instant::now();
    control.put(&case.run.to_string(), &Control::Stop).await?;
    eventually("the task to end", LIMIT, async || {
        let tasks = case.tasks().await?;
        ensure!(tasks == ["failed"], "{tasks:?}");
        Ok(())
    })
    .await?;
    ensure!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    eventually("the handover to go", LIMIT, async || {
        ensure!(case.handovers()?.is_empty(), "{:?}", case.handovers()?);
        Ok(())
    })
    .await?;
    let stored = case.stored().await?;
    ensure!((stored as u64) < case.files(), "{stored} files");
    // Whoever goes on sends the rest. It is a run of its own, with the plan of the one before.
    control.delete(&case.run.to_string()).await?;
    case.trouble(0, 0, None, 0).await?;
    case.upload(Method::Native).await?;
    case.proven().await?;
    let more = case.puts().await? - case.files();
    ensure!(more <= 1, "{more} PUTs too many");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_task_is_waited_out_or_gone_round() -> Result<()> {
    let case = Case::start().await?;
    case.trouble(5, 1, None, 0).await?;
    case.upload(Method::Auto).await?;
    let receipt = case.proven().await?;
    let told = Case::told(&receipt);
    let own = |(method, reason): &(Method, &str)| {
        *method == Method::Agent && reason.contains("did not get it done")
    };
    ensure!(told.len() == 2 && told.iter().all(own), "{told:?}");
    let log = case.direct.uploader.log();
    ensure!(log.contains("nothing moved for"), "{log}");

    // Without a way round, it is done when the node can again.
    let case = Case::start().await?;
    case.trouble(5, 1, None, 0).await?;
    case.upload(Method::Native).await?;
    eventually("the stall", LIMIT, async || {
        let log = case.direct.uploader.log();
        ensure!(log.contains("nothing moved for"), "{log}");
        Ok(())
    })
    .await?;
    let stored = case.stored().await?;
    ensure!(case.receipt().await.is_err() && stored == 5, "{stored}");
    case.restart_node().await?;
    case.proven().await?;
    let puts = case.puts().await?;
    ensure!(puts == case.files(), "{puts} PUTs");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_good_is_gone_round_by_auto_only() -> Result<()> {
    let forbidden = "storage_io_error (S3 request failed. Code: 403. Reason: Forbidden)";
    let case = Case::start().await?;
    case.trouble(5, 1, Some(forbidden), 0).await?;
    case.upload(Method::Auto).await?;
    let receipt = case.proven().await?;
    let told = Case::told(&receipt);
    let by = |wanted: Method| told.iter().filter(|(method, _)| *method == wanted).count();
    ensure!(
        by(Method::Agent) == 2 && by(Method::Native) == 0,
        "{told:?}"
    );
    ensure!(
        told.iter().all(|(_, reason)| reason.contains(forbidden)),
        "{told:?}"
    );

    let case = Case::start().await?;
    case.trouble(5, 1, Some(forbidden), 0).await?;
    case.upload(Method::Native).await?;
    eventually("the refusal", LIMIT, async || {
        let log = case.direct.uploader.log();
        ensure!(
            log.contains("job failed for good") && log.contains(forbidden),
            "{log}"
        );
        Ok(())
    })
    .await?;
    ensure!(case.receipt().await.is_err(), "nothing is proven");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_not_proven() -> Result<()> {
    let case = Case::start().await?;
    let data = case.chunk.files.iter();
    let mut data = data.filter(|file| file.path.ends_with("-Data.db"));
    let data = data.next_back().context("an SSTable")?;
    let path = case.direct.data().join(&data.path);
    let mut content = std::fs::read(&path)?;
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&path, content)?;
    for method in [Method::Native, Method::Auto] {
        case.upload(method).await?;
        eventually("the refusal", LIMIT, async || {
            let log = case.direct.uploader.log();
            let refusals = log.matches("is damaged: its CRC-32").count();
            let wanted = if method == Method::Native { 1 } else { 2 };
            ensure!(refusals >= wanted, "{log}");
            Ok(())
        })
        .await?;
    }
    ensure!(
        case.receipt().await.is_err() && case.stored().await? == 0,
        "nothing is stored"
    );
    Ok(())
}
