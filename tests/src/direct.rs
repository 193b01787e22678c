//! One real uploader that is handed its chunks directly: no scheduler, and unless told otherwise a
//! store that keeps nothing, so that it is measured alone.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use catalog::{Chunk, ChunkFile, Document as _, Receipt, key::OwnKey};
use protocol::{Cluster, ClusterId, Job, Method, NodeId, Pace, Progress, RunId, Throttles, Upload};
use queue::{Bucket, Queue, Settings};
use tempfile::TempDir;
use testkit::{eventually, nats::Nats};

use crate::{Kind, NullS3, Service, Shape, Sim, null_s3::Options};

/// SSTables of one chunk, as in a real plan.
const CHUNK: usize = 128;
/// Ticks of a process' CPU time per second; Linux shows 100 to programs, whatever it has inside.
const TICKS: u64 = 100;

/// An uploader with all it needs; the store that it knows as `s3:thetis` is `S`.
pub struct Direct<S = NullS3> {
    /// The uploader.
    pub uploader: Service,
    /// The store.
    pub store: S,
    /// The cluster of one node whose files are uploaded.
    pub sim: Sim,
    /// What it takes its jobs from.
    pub queue: Queue,
    cluster: ClusterId,
    node: NodeId,
    environment: Vec<(String, String)>,
    more: Vec<Service>,
    _nats: Nats,
    dir: TempDir,
}

impl<S> Direct<S> {
    /// Starts it all; `environment` leads the uploader to the store. It makes way for nobody unless that
    /// says so.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn with(store: S, environment: Vec<(String, String)>) -> Result<Self> {
        Self::launch(store, Shape::new("direct", 1), environment).await
    }

    async fn launch(store: S, shape: Shape, settings: Vec<(String, String)>) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("thetis-direct-")
            .tempdir()?;
        std::fs::create_dir_all(dir.path().join("logs"))?;
        let nats = Nats::start()?;
        let sim = Sim::start(shape, dir.path()).await?;
        let nats_settings = Settings {
            url: nats.url(),
            ..Settings::default()
        };
        let queue = Queue::connect(&nats_settings, "tests").await?;
        queue.ensure().await?;
        let mut environment = vec![
            ("THETIS_NATS__URL".to_owned(), nats.url()),
            ("THETIS_NODE__API".to_owned(), sim.nodes[0].api.clone()),
            ("THETIS_UPLOADER__ADAPTIVE".to_owned(), "false".to_owned()),
        ];
        environment.extend(settings);
        let mut uploader = uploader("uploader", &environment, &dir);
        ready(&mut uploader).await?;
        Ok(Self {
            uploader,
            store,
            node: sim.nodes[0].host_id.parse()?,
            sim,
            queue,
            cluster: ClusterId::generate(),
            environment,
            more: Vec::new(),
            _nats: nats,
            dir,
        })
    }

    /// Starts another uploader, which shares the work.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn join(&mut self) -> Result<()> {
        let name = format!("uploader-{}", self.more.len() + 2);
        let mut one = uploader(&name, &self.environment, &self.dir);
        ready(&mut one).await?;
        self.more.push(one);
        Ok(())
    }

    /// The job of storing a chunk whose plan lies in the bucket.
    ///
    /// # Panics
    /// Never: the location is one.
    #[must_use]
    pub fn job(&self, run: RunId, origin: RunId, chunk: u32) -> Upload {
        Upload {
            cluster: self.cluster,
            run,
            origin,
            node: self.node,
            location: "s3:thetis".parse().expect("a location"),
            chunk,
            task: None,
            method: Method::Agent,
            pace: Pace::default(),
            storage_class: None,
        }
    }

    /// The node's data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.sim.nodes[0].data
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Says how fast the cluster's work may go, as an operator does.
    ///
    /// # Errors
    /// When NATS does not take it.
    pub async fn throttle(&self, throttles: Throttles) -> Result<()> {
        let cluster = Cluster {
            id: self.cluster,
            name: "direct".to_owned(),
            host: "127.0.0.1".to_owned(),
            labels: BTreeMap::new(),
            nodes: Vec::new(),
            throttles,
        };
        let clusters = self.queue.bucket::<Cluster>(Bucket::Clusters);
        clusters.put(&self.cluster.to_string(), &cluster).await?;
        Ok(())
    }

    /// What is noted of a run's work in hand.
    ///
    /// # Errors
    /// When NATS does not say.
    pub async fn in_hand(&self, run: RunId) -> Result<Vec<Progress>> {
        let notes = self.queue.bucket::<Progress>(Bucket::Progress);
        let listed = notes.list(&run.to_string()).await?;
        Ok(listed.into_iter().map(|(_, note, _)| note).collect())
    }

    /// Bytes the uploader has read so far, from files for the most part.
    ///
    /// # Errors
    /// When it does not run.
    pub fn read(&self) -> Result<u64> {
        let id = self.uploader.id().context("the uploader runs")?;
        let io = std::fs::read_to_string(format!("/proc/{id}/io"))?;
        let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        Ok(line.context("a process says what it read")?.parse()?)
    }

    /// The job of storing a chunk by a method.
    #[must_use]
    pub fn upload_job(&self, run: RunId, chunk: u32, method: Method) -> Job {
        Job::Upload(Upload {
            method,
            ..self.job(run, run, chunk)
        })
    }

    /// Gives the uploader a job.
    ///
    /// # Errors
    /// When NATS does not take it.
    pub async fn publish(&self, job: Job) -> Result<()> {
        self.queue.publish_job(&job).await?;
        Ok(())
    }

    /// The most memory the uploader ever had, in bytes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn peak(&self) -> Result<u64> {
        peak(self.uploader.id().context("the uploader runs")?)
    }

    /// CPU time of the uploader so far.
    ///
    /// # Errors
    /// When it does not run.
    pub fn cpu(&self) -> Result<Duration> {
        cpu(self.uploader.id().context("the uploader runs")?)
    }
}

impl Direct {
    /// Starts it all.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts it all, with further settings of the uploader.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start_with(more: &[(&str, &str)]) -> Result<Self> {
        let more = more.iter();
        let more = more.map(|(key, value)| ((*key).into(), (*value).into()));
        Self::start_at(NullS3::start(&Options::default()).await?, more.collect()).await
    }

    /// Starts all but the store, with further settings of the uploader.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start_at(null: NullS3, settings: Vec<(String, String)>) -> Result<Self> {
        let shape = Shape::new("direct", 1).with(&["--endpoint", null.endpoint()]);
        let mut environment = null.environment();
        environment.extend(settings);
        Self::launch(null, shape, environment).await
    }

    /// Has SSTables uploaded, each a list of files; gives how long it took.
    ///
    /// # Errors
    /// As [`Self::upload_chunks`].
    pub async fn upload(&self, sstables: &[Vec<ChunkFile>], limit: Duration) -> Result<Duration> {
        let chunks = (0..).zip(sstables.chunks(CHUNK));
        let chunks = chunks.map(|(chunk, sstables)| Chunk {
            chunk,
            files: sstables.iter().flatten().cloned().collect(),
        });
        let run = RunId::generate();
        self.upload_chunks(run, &chunks.collect::<Vec<_>>(), limit)
            .await
    }

    /// Has chunks uploaded; gives how long it took.
    ///
    /// # Errors
    /// When they are not all proven within `limit`, or a proof is wrong; with the uploader's log.
    pub async fn upload_chunks(
        &self,
        run: RunId,
        chunks: &[Chunk],
        limit: Duration,
    ) -> Result<Duration> {
        for plan in chunks {
            let key = OwnKey::Chunk(run, self.node, plan.chunk).to_string();
            self.store.put(&key, plan.to_json()).await?;
        }
        let began = Instant::now();
        for plan in chunks {
            self.publish(self.upload_job(run, plan.chunk, Method::Agent))
                .await?;
        }
        let receipts = OwnKey::receipts(run, self.node);
        let proven = self.store.arrival(&receipts, chunks.len(), limit);
        proven.await.with_context(|| self.uploader.log())?;
        let took = began.elapsed();
        self.check(run, chunks).await?;
        Ok(took)
    }

    /// Whether all that the chunks list is there, and proven to be what it should be.
    async fn check(&self, run: RunId, chunks: &[Chunk]) -> Result<()> {
        let stored = self.store.below("backup/sst/").await?;
        for plan in chunks {
            let key = OwnKey::Receipt(run, self.node, plan.chunk).to_string();
            let body = self.store.body(&key).await?.context("a receipt is kept")?;
            let receipt = Receipt::from_json(&body)?;
            ensure!(receipt.files.len() == plan.files.len(), "{key}");
            for (file, proof) in plan.files.iter().zip(&receipt.files) {
                let found = stored.get(&file.key).map(|object| object.bytes);
                ensure!(found == Some(file.bytes), "{}: {found:?}", file.key);
                let crc32 = file.crc32.unwrap_or(proof.crc32);
                ensure!((&proof.key, proof.crc32) == (&file.key, crc32), "{proof:?}");
            }
        }
        Ok(())
    }
}

fn uploader(name: &str, environment: &[(String, String)], dir: &TempDir) -> Service {
    let (environment, logs) = (environment.to_vec(), dir.path().join("logs"));
    Service::new(Kind::Uploader, name.to_owned(), environment, &logs)
}

async fn ready(uploader: &mut Service) -> Result<()> {
    uploader.start()?;
    let ready = eventually("an uploader", Duration::from_secs(30), async || {
        ensure!(uploader.log().contains("ready to work"), "not ready");
        Ok(())
    });
    ready.await
}

/// The most memory a process ever had (`VmHWM`), in bytes.
///
/// # Errors
/// When there is no such process.
pub fn peak(id: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let Some(line) = status.lines().find_map(|l| l.strip_prefix("VmHWM:")) else {
        bail!("process {id} shows no peak of its memory");
    };
    let kib = line.trim().trim_end_matches("kB").trim();
    Ok(kib.parse::<u64>()? << 10)
}

/// CPU time of a process so far.
///
/// # Errors
/// When there is no such process.
pub fn cpu(id: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name, in parentheses, may hold spaces; behind it, user and system time are the 12th and
    // 13th field.
    let (_, rest) = stat.rsplit_once(')').context("a process has a name")?;
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|text| text.parse().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}
