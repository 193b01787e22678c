//! Everything together.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use testkit::{free_port, nats::Nats, s3::SeaweedFs};

use crate::{Api, Kind, Service, Sim, sim::Shape};

/// Where backups go.
pub enum Store {
    /// A real S3 server.
    S3(SeaweedFs),
    /// A directory.
    Local(PathBuf),
}

impl Store {
    /// The location of the bucket `thetis`.
    #[must_use]
    pub fn location(&self) -> &'static str {
        match self {
            Self::S3(_) => "s3:thetis",
            Self::Local(_) => "localstorage:thetis",
        }
    }
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Use a directory instead of an S3 server.
    pub local: bool,
    /// Where to live; a temporary directory when `None`.
    pub dir: Option<PathBuf>,
    /// Seconds after which a silent worker's job goes to another.
    pub ack_wait_secs: u64,
    /// Further settings of every service.
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            local: false,
            dir: None,
            ack_wait_secs: 4,
            environment: Vec::new(),
        }
    }
}

/// NATS, a store, clusters and services.
pub struct World {
    /// Services; killed before anything they need.
    pub services: Vec<Service>,
    /// Simulated clusters.
    pub sims: Vec<Sim>,
    /// NATS.
    pub nats: Nats,
    /// The store.
    pub store: Store,
    /// The first scheduler's API.
    pub api: Api,
    options: Options,
    dir: PathBuf,
    _temporary: Option<TempDir>,
}

impl World {
    /// NATS, a store with the bucket `thetis`, and one scheduler.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(options: Options) -> Result<Self> {
        if options.local {
            return Self::build(None, options).await;
        }
        let s3 = SeaweedFs::start().await?;
        s3.bucket("thetis").await?;
        Self::on(s3, options).await
    }

    /// As [`Self::start`], on a server that runs already and has the bucket.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn on(s3: SeaweedFs, options: Options) -> Result<Self> {
        Self::build(Some(s3), options).await
    }

    async fn build(s3: Option<SeaweedFs>, options: Options) -> Result<Self> {
        let temporary = match &options.dir {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("thetis-world-").tempdir()?),
        };
        let dir = options
            .dir
            .clone()
            .or_else(|| temporary.as_ref().map(|t| t.path().to_owned()));
        let dir = dir.context("a world lives in a directory")?;
        fs::create_dir_all(dir.join("logs"))?;
        let store = match s3 {
            Some(s3) => Store::S3(s3),
            None => {
                fs::create_dir_all(dir.join("store/thetis"))?;
                Store::Local(dir.join("store"))
            }
        };
        let nats = Nats::start()?;
        let mut world = Self {
            services: Vec::new(),
            sims: Vec::new(),
            nats,
            store,
            api: Api::new(String::new()),
            options,
            dir,
            _temporary: temporary,
        };
        world.api = world.add_scheduler()?;
        world.api.ready().await?;
        Ok(world)
    }

    /// Its server of S3.
    ///
    /// # Errors
    /// When it has a directory instead.
    pub fn s3(&self) -> Result<&SeaweedFs> {
        match &self.store {
            Store::S3(s3) => Ok(s3),
            Store::Local(_) => bail!("this world has a directory"),
        }
    }

    /// Where it lives.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts one more scheduler; gives its API.
    ///
    /// # Errors
    /// When it does not start.
    pub fn add_scheduler(&mut self) -> Result<Api> {
        let port = free_port();
        let count = self
            .services
            .iter()
            .filter(|s| s.kind == Kind::Scheduler)
            .count();
        let mut environment = self.environment();
        environment.push((
            "THETIS_SCHEDULER__LISTEN".into(),
            format!("127.0.0.1:{port}"),
        ));
        environment.push((
            "THETIS_SCHEDULER__LOCATIONS".into(),
            self.store.location().into(),
        ));
        environment.push(("THETIS_SCHEDULER__SWEEP_SECS".into(), "1".into()));
        self.add(
            Kind::Scheduler,
            format!("scheduler-{}", count + 1),
            environment,
        )?;
        Ok(Api::new(format!("http://127.0.0.1:{port}/api/v1")))
    }

    /// Starts a simulated cluster with its workers: beside each node one snapshot-worker, one
    /// restore-worker and `uploaders` uploaders. Gives its index.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn add_cluster(&mut self, shape: Shape, uploaders: usize) -> Result<usize> {
        let sim = Sim::start(shape, &self.dir).await?;
        self.sims.push(sim);
        let index = self.sims.len() - 1;
        for node in 0..self.sims[index].nodes.len() {
            self.add_worker(index, node, Kind::Snapshot)?;
            self.add_worker(index, node, Kind::Restore)?;
            for _ in 0..uploaders {
                self.add_worker(index, node, Kind::Uploader)?;
            }
        }
        Ok(index)
    }

    /// Starts one more worker beside a node.
    ///
    /// # Errors
    /// When it does not start.
    pub fn add_worker(&mut self, sim: usize, node: usize, kind: Kind) -> Result<()> {
        let sim = &self.sims[sim];
        let prefix = format!("{}-{}-{}", sim.name(), node + 1, kind.verb());
        let count = self
            .services
            .iter()
            .filter(|s| s.name.starts_with(&prefix))
            .count();
        let mut environment = self.environment();
        environment.push(("THETIS_NODE__API".into(), sim.nodes[node].api.clone()));
        self.add(kind, format!("{prefix}-{}", count + 1), environment)
    }

    fn add(&mut self, kind: Kind, name: String, environment: Vec<(String, String)>) -> Result<()> {
        let mut service = Service::new(kind, name, environment, &self.dir.join("logs"));
        service.start()?;
        self.services.push(service);
        Ok(())
    }

    /// What every service is told.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = vec![
            ("THETIS_NATS__URL".into(), self.nats.url()),
            (
                "THETIS_NATS__ACK_WAIT_SECS".into(),
                self.options.ack_wait_secs.to_string(),
            ),
        ];
        match &self.store {
            Store::S3(s3) => all.extend([
                ("THETIS_STORE__S3__ENDPOINT".into(), s3.endpoint()),
                (
                    "THETIS_STORE__S3__ACCESS_KEY_ID".into(),
                    SeaweedFs::ACCESS_KEY.into(),
                ),
                (
                    "THETIS_STORE__S3__SECRET_ACCESS_KEY".into(),
                    SeaweedFs::SECRET_KEY.into(),
                ),
            ]),
            Store::Local(root) => {
                all.push((
                    "THETIS_STORE__LOCALSTORAGE__ROOT".into(),
                    root.display().to_string(),
                ));
            }
        }
        all.extend(self.options.environment.iter().cloned());
        all
    }

    /// Services whose name has `part` in it.
    pub fn find(&mut self, part: &str) -> impl Iterator<Item = &mut Service> {
        self.services
            .iter_mut()
            .filter(move |service| service.name.contains(part))
    }

    /// Starts services whose name has `part` in it, with further settings.
    ///
    /// # Errors
    /// When one does not start.
    pub fn again_with(&mut self, part: &str, settings: &[(String, String)]) -> Result<()> {
        self.find(part).try_for_each(|service| {
            service.set(settings);
            service.start()
        })
    }

    /// Starts again whatever does not run, as a supervisor would.
    ///
    /// # Errors
    /// When something does not start.
    pub fn revive(&mut self) -> Result<()> {
        self.services.iter_mut().try_for_each(Service::start)
    }

    /// The last lines of every log, for the text of a failed test.
    #[must_use]
    pub fn last_words(&self) -> String {
        let mut text = String::new();
        for service in &self.services {
            let log = service.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(12)..].join("\n  ");
            text.push_str(&format!("--- {}\n  {last}\n", service.name));
        }
        text
    }
}
