//! One nats-server, one bucket, schedulers that come and go, and workers that play a script.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use protocol::{
    BatchLoaded, ChunkStored, ClusterId, DcBatches, Fact, Indexed, Inspected, Job, Location,
    NodeId, NodeInfo, NodePrepared, NodeValidated, Pinged, Presence, Probe, Purge, Purged,
    RestorePlanned, RestoreProven, SchemaPrepared, SchemaSettled, Sealed, SnapshotsCleared,
    TableRef, TableSize, Unit, Validated, WorkerKind, subject,
};
use queue::{Consumer, Context, Handler, JobError, Queue};
use serde_json::{Value, json};
use service::Config;
use tempfile::TempDir;
use testkit::{eventually, free_port, nats::Nats};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Longer than anything takes, even on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The name of the cluster and of its nodes' own.
pub(crate) const CLUSTER: &str = "prod";

const KINDS: [(WorkerKind, &[&str]); 2] = [
    (
        WorkerKind::Snapshot,
        &[
            "inspect",
            "set_balancing",
            "store_schema",
            "take_snapshot",
            "index",
            "drop_snapshot",
            "clear_snapshots",
        ],
    ),
    (WorkerKind::Upload, &["upload", "seal", "purge"]),
];

/// Everything a test needs. What it started ends with it.
pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) queue: Queue,
    pub(crate) http: reqwest::Client,
    bucket: TempDir,
    schedulers: BTreeMap<u16, (tokio::task::AbortHandle, CancellationToken)>,
    tasks: JoinSet<()>,
    /// Uploads wait while this is true.
    pub(crate) hold: watch::Sender<bool>,
    pub(crate) done: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    /// Purges that were asked for.
    pub(crate) purges: Arc<Mutex<Vec<Purge>>>,
    /// How schedulers are configured.
    change: Box<dyn Fn(&mut Config)>,
}

impl World {
    /// A cluster of two nodes with all their workers, and one scheduler.
    pub(crate) async fn new() -> Result<Self> {
        Self::with(|_| ()).await
    }

    /// The same, with schedulers configured otherwise.
    pub(crate) async fn with(change: impl Fn(&mut Config) + 'static) -> Result<Self> {
        let world = Self::secure(change).await?;
        world.until_leading(world.port()).await?;
        Ok(world)
    }

    /// The same, without waiting for the API, which may let nobody in.
    pub(crate) async fn secure(change: impl Fn(&mut Config) + 'static) -> Result<Self> {
        let nats = Nats::start()?;
        let settings = queue::Settings {
            url: nats.url(),
            ..queue::Settings::default()
        };
        let queue = Queue::connect(&settings, "test").await?;
        queue.ensure().await?;
        let bucket = tempfile::tempdir()?;
        std::fs::create_dir(bucket.path().join("backups"))?;
        let mut world = Self {
            nats,
            queue,
            http: reqwest::Client::builder().no_proxy().build()?,
            bucket,
            schedulers: BTreeMap::new(),
            tasks: JoinSet::new(),
            hold: watch::channel(false).0,
            done: Arc::default(),
            purges: Arc::default(),
            change: Box::new(change),
        };
        for number in [1, 2] {
            world.start_workers(number);
        }
        world.start_scheduler();
        Ok(world)
    }

    /// Starts one more scheduler and says where its API is.
    pub(crate) fn start_scheduler(&mut self) -> u16 {
        self.start_scheduler_with(|_| ())
    }

    /// The same, configured otherwise.
    pub(crate) fn start_scheduler_with(&mut self, change: impl FnOnce(&mut Config)) -> u16 {
        let port = free_port();
        let mut config = Config::default();
        config.nats.url = self.nats.url();
        config.store.localstorage.root = Some(self.bucket.path().to_owned());
        config.scheduler.listen = format!("127.0.0.1:{port}");
        config.scheduler.sweep_secs = 1;
        config.scheduler.locations = vec!["localstorage:backups".parse().expect("a location")];
        config.scheduler.secret_key = Some("5e".repeat(32).as_str().into());
        (self.change)(&mut config);
        change(&mut config);
        let stop = CancellationToken::new();
        let context = service::Context {
            config: Arc::new(config),
            stop: stop.clone(),
            registry: service::Registry::default(),
            health: service::Health::default(),
        };
        let running = self.tasks.spawn(async move {
            Box::pin(scheduler::run(context))
                .await
                .expect("a scheduler ends well");
        });
        self.schedulers.insert(port, (running, stop));
        port
    }

    /// Ends a scheduler as SIGKILL would: it gives nothing back.
    pub(crate) fn kill_scheduler(&mut self, port: u16) {
        let (running, _) = self.schedulers.remove(&port).expect("this scheduler runs");
        running.abort();
    }

    /// The API of any scheduler that runs.
    pub(crate) fn port(&self) -> u16 {
        *self.schedulers.keys().next().expect("a scheduler runs")
    }

    pub(crate) async fn until_answering(&self, port: u16) -> Result<()> {
        let version = async || self.get_at(port, "version").await.map(drop);
        eventually("the API", LONG, version).await
    }

    pub(crate) async fn until_leading(&self, port: u16) -> Result<()> {
        self.until_answering(port).await?;
        let leads = async || self.queue.leader().await?.context("nobody leads");
        eventually("a leader", LONG, leads).await.map(drop)
    }

    fn start_workers(&mut self, number: u8) {
        for (kind, jobs) in KINDS {
            let filters = jobs
                .iter()
                .map(|job| subject::for_node(job, node(number)))
                .collect();
            self.start_worker(number, kind, filters);
        }
        let (queue, actor) = (self.queue.clone(), self.actor(number));
        self.tasks.spawn(async move {
            let stop = CancellationToken::new();
            queue
                .answer(&["inspect", "ping"], node(number), actor, stop)
                .await
                .expect("answered");
        });
    }

    /// Starts what restores into the cluster.
    pub(crate) fn start_restore_workers(&mut self, cluster: ClusterId) {
        for number in [1, 2] {
            let jobs = [
                "plan_restore",
                "prepare_schema",
                "prove_restore",
                "settle_schema",
                "prepare_node",
                "put_back",
            ];
            let filters = jobs
                .iter()
                .map(|job| subject::for_node(job, node(number)))
                .collect();
            self.start_worker(number, WorkerKind::Restore, filters);
        }
        let consumer = Consumer {
            name: format!("restore-{cluster}-dc1"),
            filters: vec![subject::for_dc("load_batch", cluster, "dc1")],
            slots: 2,
        };
        let (queue, actor) = (self.queue.clone(), self.actor(1));
        self.tasks.spawn(async move {
            queue
                .work(consumer, actor, CancellationToken::new())
                .await
                .expect("worked");
        });
    }

    fn actor(&self, number: u8) -> Arc<Actor> {
        Arc::new(Actor {
            number,
            hold: self.hold.subscribe(),
            done: Arc::clone(&self.done),
            purges: Arc::clone(&self.purges),
        })
    }

    fn start_worker(&mut self, number: u8, kind: WorkerKind, filters: Vec<String>) {
        let presence = Presence {
            node: node(number),
            worker: kind,
            instance: "only".to_owned(),
            address: address(number),
            dc: "dc1".to_owned(),
            rack: "r1".to_owned(),
            cluster_name: CLUSTER.to_owned(),
            version: "test".to_owned(),
            said_ms: 0,
            native: None,
            rclone: None,
        };
        self.consume(number, kind.as_str(), filters);
        if kind == WorkerKind::Upload {
            let filter = subject::for_node("validate", node(number));
            self.consume(number, "validate", vec![filter]);
        }
        let queue = self.queue.clone();
        self.tasks.spawn(async move {
            queue
                .announce(|| presence.clone(), CancellationToken::new())
                .await
                .expect("announced");
        });
    }

    fn consume(&mut self, number: u8, name: &str, filters: Vec<String>) {
        let consumer = Consumer {
            name: format!("{name}-{}", node(number)),
            filters,
            slots: 2,
        };
        let (queue, actor) = (self.queue.clone(), self.actor(number));
        self.tasks.spawn(async move {
            queue
                .work(consumer, actor, CancellationToken::new())
                .await
                .expect("worked");
        });
    }

    /// Lets something run for as long as the world lasts.
    pub(crate) fn background(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Registers the cluster and gives its identity.
    pub(crate) async fn add_cluster(&self) -> Result<String> {
        let add = async || {
            let (status, body) = self
                .send(
                    reqwest::Method::POST,
                    "clusters",
                    Some(json!({"name": CLUSTER, "host": address(1)})),
                )
                .await?;
            ensure!(status == 201, "{status}: {body}");
            Ok(body["id"].as_str().context("an id")?.to_owned())
        };
        // The workers need a moment to become known.
        eventually("the cluster to be registered", LONG, add).await
    }

    /// Makes a backup task, which starts, and gives its path below the API.
    pub(crate) async fn back_up(&self) -> Result<String> {
        self.back_up_with(json!({})).await
    }

    /// The same, with further properties.
    pub(crate) async fn back_up_with(&self, more: Value) -> Result<String> {
        let mut body = json!({"type": "backup", "enabled": true, "properties": {"location": ["localstorage:backups"]}});
        for (key, value) in more.as_object().into_iter().flatten() {
            body["properties"][key] = value.clone();
        }
        let (status, body) = self
            .send(
                reqwest::Method::POST,
                &format!("cluster/{CLUSTER}/tasks"),
                Some(body),
            )
            .await?;
        ensure!(status == 201, "{status}: {body}");
        Ok(format!(
            "cluster/{CLUSTER}/task/backup/{}",
            body["id"].as_str().context("an id")?
        ))
    }

    /// Waits until the task's latest run has `status`, and gives all the API says of it.
    pub(crate) async fn until(&self, task: &str, status: &str) -> Result<Value> {
        eventually(&format!("a run that is {status}"), LONG, async || {
            let body = self.get(&format!("{task}/latest")).await?;
            ensure!(body["run"]["status"] == status, "{body}");
            Ok(body)
        })
        .await
    }

    /// Waits until `count` jobs of `kind` were done.
    pub(crate) async fn until_done(&self, kind: &'static str, count: usize) -> Result<()> {
        eventually("jobs to be done", LONG, async || {
            let done = self
                .done
                .lock()
                .expect("no panics")
                .get(kind)
                .copied()
                .unwrap_or_default();
            ensure!(done >= count, "{done} jobs of kind {kind}");
            Ok(())
        })
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.get_at(self.port(), path).await
    }

    async fn get_at(&self, port: u16, path: &str) -> Result<Value> {
        let answer = self
            .http
            .get(format!("http://127.0.0.1:{port}/api/v1/{path}"))
            .send()
            .await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        ensure!(status.is_success(), "{status}: {body}");
        Ok(body)
    }

    pub(crate) async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(u16, Value)> {
        let mut request = self.http.request(
            method,
            format!("http://127.0.0.1:{}/api/v1/{path}", self.port()),
        );
        if let Some(body) = body {
            request = request
                .header("Content-Type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((
            status,
            if text.is_empty() {
                Value::Null
            } else {
                serde_json::from_str(&text)?
            },
        ))
    }

    /// Puts something under a key, as a worker would.
    pub(crate) fn put(&self, key: &str, body: &[u8]) -> Result<()> {
        let path = self.bucket.path().join("backups").join(key);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        Ok(std::fs::write(path, body)?)
    }

    /// The directory that is the bucket.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.bucket.path().join("backups")
    }

    /// Keys in the bucket, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let root = self.bucket.path().join("backups");
        let mut keys = Vec::new();
        let mut folders: Vec<PathBuf> = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else if let Ok(key) = entry.path().strip_prefix(&root) {
                    keys.push(key.display().to_string());
                }
            }
        }
        keys.sort();
        keys
    }

    /// Descriptors of open runs in the bucket.
    pub(crate) fn descriptors(&self) -> Vec<String> {
        self.keys()
            .into_iter()
            .filter(|key| key.ends_with("/run.json"))
            .collect()
    }
}

/// Does as it is asked, without a node.
struct Actor {
    number: u8,
    hold: watch::Receiver<bool>,
    done: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    purges: Arc<Mutex<Vec<Purge>>>,
}

impl Handler for Actor {
    async fn handle(&self, job: Job, ctx: Context) -> Result<Option<Fact>, JobError> {
        let kind = job.kind();
        let fact = match job {
            Job::Inspect(_) => Fact::Inspected(inspected()),
            Job::Ping(_) => Fact::Pinged(pinged()),
            Job::SetBalancing(job) => Fact::BalancingSet {
                enabled: job.enabled,
            },
            Job::TakeSnapshot(_) => Fact::SnapshotTaken,
            Job::Index(_) => Fact::Indexed(Indexed {
                chunks: 3,
                files: 30,
                bytes: 3_000,
                tables: vec![TableSize::new(users(), 3_000)],
                ..Indexed::default()
            }),
            Job::StoreSchema(_) => Fact::SchemaStored,
            Job::Upload(job) => {
                let mut hold = self.hold.clone();
                tokio::select! {
                    held = hold.wait_for(|hold| !hold) => drop(held.map_err(|_| JobError::Stopped)?),
                    () = ctx.stop.cancelled() => return Err(JobError::Stopped),
                }
                Fact::ChunkStored(ChunkStored {
                    chunk: job.chunk,
                    files: 10,
                    bytes: 1_000,
                    tables: vec![TableSize::new(users(), 1_000)],
                    methods: vec![],
                })
            }
            Job::Seal(_) => Fact::Sealed(Sealed {
                files: 30,
                bytes: 3_000,
            }),
            Job::DropSnapshot(_) => Fact::SnapshotDropped,
            Job::ClearSnapshots(job) => Fact::SnapshotsCleared(SnapshotsCleared {
                tags: vec![job.before],
            }),
            Job::Validate(job) => Fact::Validated(Validated {
                nodes: job.request.location.iter().map(validated).collect(),
                sound: true,
                ..Validated::default()
            }),
            Job::Purge(job) => {
                self.purges.lock().expect("no panics").push(job);
                Fact::Purged(Purged::default())
            }
            Job::PlanRestore(_) => Fact::RestorePlanned(RestorePlanned {
                dcs: vec![DcBatches {
                    dc: "dc1".to_owned(),
                    node: None,
                    first: 0,
                    count: 4,
                }],
                tables: vec![TableSize::new(users(), 4_000)],
                sstables: 8,
                files: 72,
                bytes: 4_000,
                methods: vec![],
            }),
            Job::PrepareSchema(_) => Fact::SchemaPrepared(SchemaPrepared::default()),
            Job::ProveRestore(_) => Fact::RestoreProven(RestoreProven::default()),
            Job::SettleSchema(_) => Fact::SchemaSettled(SchemaSettled::default()),
            Job::PrepareNode(_) => Fact::NodePrepared(NodePrepared {
                compacting: vec![users()],
            }),
            Job::LoadBatch(job) => Fact::BatchLoaded(BatchLoaded {
                batch: job.batch,
                files: 18,
                bytes: 1_000,
                download_ms: 1,
                load_ms: 1,
                table: Some(users()),
            }),
            Job::PutBack(_) => Fact::NodePutBack,
            Job::Request(_) => return Err(JobError::Refuse("not for a worker".to_owned())),
        };
        *self
            .done
            .lock()
            .expect("no panics")
            .entry(kind)
            .or_default() += 1;
        Ok(Some(fact))
    }

    fn node(&self) -> Option<NodeId> {
        Some(node(self.number))
    }
}

/// A node with an orphan.
fn validated(location: &Location) -> NodeValidated {
    NodeValidated {
        dc: "dc1".to_owned(),
        host: address(1),
        node: node(1),
        location: location.remote(),
        manifests: 2,
        scanned_files: 60,
        missing_files: 0,
        wrong_files: 0,
        orphaned_files: 1,
        orphaned_bytes: 100,
        deleted_files: 0,
        checkable_files: 60,
        checkable_bytes: 6_000,
        checked_files: 60,
        checked_bytes: 6_000,
        broken_snapshots: Vec::new(),
    }
}

fn users() -> TableRef {
    TableRef {
        keyspace: "shop".to_owned(),
        table: "users".to_owned(),
    }
}

fn pinged() -> Pinged {
    Pinged {
        scylla_version: "2026.1.0".to_owned(),
        uptime_ms: 90_000,
        cpus: 8,
        memory: 64 << 30,
        rest: Probe {
            round_trip_us: 1_500,
            ..Probe::default()
        },
        cql: Probe {
            cause: "connection refused".to_owned(),
            ..Probe::default()
        },
        cql_tls: false,
        disk_free: 1 << 40,
        disk_total: 1 << 41,
    }
}

fn inspected() -> Inspected {
    let info = |number| NodeInfo {
        node: node(number),
        address: address(number),
        dc: "dc1".to_owned(),
        rack: "r1".to_owned(),
        up: true,
        chosen: true,
    };
    Inspected {
        cluster_name: CLUSTER.to_owned(),
        nodes: vec![info(1), info(2)],
        units: vec![Unit {
            keyspace: "shop".to_owned(),
            tables: vec!["users".to_owned()],
            all_tables: true,
            tablets: false,
        }],
        uncovered: Vec::new(),
        sizes: vec![TableSize::new(users(), 3_000)],
    }
}

pub(crate) fn node(number: u8) -> NodeId {
    format!("6f1e0000-0000-4000-8000-00000000000{number}")
        .parse()
        .expect("a node's id")
}

pub(crate) fn address(number: u8) -> String {
    format!("10.0.0.{number}")
}
