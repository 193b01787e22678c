//! Simulated ScyllaDB clusters, driven through their admin port.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{Process, eventually, s3::SeaweedFs};

use crate::{Cql, bin};

/// Bytes of values of a table that is read row by row over CQL; of a larger one its hash has to do.
const READ: u64 = 8 << 20;

/// The shape of a cluster.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its name.
    pub name: String,
    /// Datacenters, with their numbers of nodes.
    pub dcs: Vec<(String, usize)>,
    /// Racks in each.
    pub racks: usize,
    /// Further arguments of the simulator.
    pub arguments: Vec<String>,
}

impl Shape {
    /// `nodes` nodes in `dc1`, on two racks.
    #[must_use]
    pub fn new(name: &str, nodes: usize) -> Self {
        Self {
            name: name.to_owned(),
            dcs: vec![("dc1".to_owned(), nodes)],
            racks: 2,
            arguments: Vec::new(),
        }
    }

    /// With further arguments of the simulator.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|a| (*a).to_owned()));
        self
    }
}

/// A table to be.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Its keyspace.
    pub keyspace: String,
    /// Its name.
    pub name: String,
    /// Whether tablets spread it.
    pub tablets: bool,
    /// Copies of each row.
    pub copies: usize,
}

/// A node.
#[derive(Clone, Debug, Deserialize)]
pub struct SimNode {
    /// Its REST API.
    pub api: String,
    /// Its address.
    pub address: String,
    /// Its host id.
    pub host_id: String,
    /// Its data directory.
    pub data: PathBuf,
}

/// What each table holds, by `keyspace.table`.
pub type Fingerprints = BTreeMap<String, Fingerprint>;

/// What a table holds, however many nodes hold it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Fingerprint {
    keyspace: String,
    table_name: String,
    /// Hash over the newest version of each row.
    pub table: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Whether every owner has every row.
    pub replicas_consistent: bool,
    /// Owners that lack a row.
    pub missing: u64,
    /// Rows on nodes that do not own them.
    pub extra: u64,
    /// SSTables whose bytes do not fit their checksums.
    #[serde(default)]
    pub corrupt: Vec<PathBuf>,
    /// What clients read: each row as text, in order.
    #[serde(skip)]
    pub read: Vec<String>,
}

/// A running cluster.
#[derive(Debug)]
pub struct Sim {
    /// Its nodes.
    pub nodes: Vec<SimNode>,
    shape: Shape,
    /// Below which its own directory is.
    dir: PathBuf,
    admin: String,
    http: reqwest::Client,
    process: Process,
}

#[derive(Deserialize)]
struct Ready {
    admin: String,
    nodes: Vec<SimNode>,
}

impl Sim {
    /// Starts a cluster whose files are below `dir`.
    ///
    /// # Errors
    /// When it is not ready after 30 s.
    pub async fn start(shape: Shape, dir: &Path) -> Result<Self> {
        let (process, ready) = launch(&shape, dir).await?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(120))
            .build()?;
        Ok(Self {
            nodes: ready.nodes,
            shape,
            dir: dir.to_owned(),
            admin: ready.admin,
            http,
            process,
        })
    }

    /// Restarts all nodes with other arguments; where they are and what they hold stays.
    ///
    /// # Errors
    /// When they do not end, or are not ready again after 30 s.
    pub async fn restart(&mut self, arguments: &[&str]) -> Result<()> {
        self.process.terminate(Duration::from_secs(30))?;
        self.shape.arguments.clear();
        self.shape = self.shape.clone().with(arguments);
        let (process, ready) = launch(&self.shape, &self.dir).await?;
        (self.process, self.admin) = (process, ready.admin);
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shape.name
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The admin port's address.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        &self.admin
    }

    /// A request to the admin port.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.admin));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("asking the simulator for {path}"))?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("the simulator refuses {path}: {text}");
        }
        serde_json::from_str(&text).context("reading the simulator's answer")
    }

    /// Makes keyspaces and tables.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn create(&self, tables: &[TableSpec]) -> Result<()> {
        let mut keyspaces = BTreeMap::new();
        for table in tables {
            keyspaces.insert(&table.keyspace, (table.tablets, table.copies));
        }
        for (name, (tablets, copies)) in keyspaces {
            let body = json!({"name": name, "tablets": tablets, "replication": copies});
            self.admin(Method::POST, "/keyspaces", Some(body)).await?;
        }
        for table in tables {
            let body = json!({"keyspace": table.keyspace, "name": table.name, "tablets": 4});
            self.admin(Method::POST, "/tables", Some(body)).await?;
        }
        Ok(())
    }

    /// Writes rows into SSTables of a table: `bytes` of values, about `sstables` SSTables a node.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn load(
        &self,
        table: &TableSpec,
        seed: u64,
        bytes: u64,
        sstables: usize,
    ) -> Result<Value> {
        let body = json!({
            "keyspace": table.keyspace, "table": table.name, "seed": seed, "bytes": bytes, "sstables": sstables,
            "min_value": 256, "max_value": 8192,
        });
        self.admin(Method::POST, "/load", Some(body)).await
    }

    /// Writes newer versions of the first `rows` rows, into memory.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn mutate(&self, table: &TableSpec, seed: u64, rows: u64) -> Result<Value> {
        let body = json!({"keyspace": table.keyspace, "table": table.name, "seed": seed, "rows": rows, "min_value": 64, "max_value": 512});
        self.admin(Method::POST, "/mutate", Some(body)).await
    }

    /// What every table holds: as files tell it, and as clients read it from all replicas.
    ///
    /// # Errors
    /// When the simulator does not answer, or files and clients tell of different numbers of rows.
    pub async fn fingerprints(&self) -> Result<Fingerprints> {
        let mut all: Vec<Fingerprint> = serde_json::from_value(
            self.admin(Method::GET, "/fingerprint?deep=true", None)
                .await?,
        )?;
        let cql = Cql::connect(self).await?;
        for one in all.iter_mut().filter(|one| one.value_bytes <= READ) {
            let name = format!("\"{}\".\"{}\"", one.keyspace, one.table_name);
            one.read = cql.rows(&format!("SELECT * FROM {name}")).await?;
            let (files, read) = (one.rows, one.read.len());
            ensure!(files == read as u64, "{name}: {files} rows, {read} read");
        }
        Ok(all
            .into_iter()
            .map(|one| (format!("{}.{}", one.keyspace, one.table_name), one))
            .collect())
    }

    /// Whether the cluster is as it was before anybody worked on it: nothing switched off, nothing
    /// sent that a node would rather not get, nothing left lying about.
    ///
    /// # Errors
    /// When it is not; the text says what.
    pub async fn is_clean(&self) -> Result<()> {
        let state = self.admin(Method::GET, "/cluster", None).await?;
        if state["balancing"] != json!(true) {
            bail!("{}: tablet balancing was left off", self.name());
        }
        if state["switched_off"] != json!([]) {
            bail!("{}: switched off: {}", self.name(), state["switched_off"]);
        }
        let violations = self.admin(Method::GET, "/violations", None).await?;
        if violations != json!([]) {
            bail!("{}: {violations}", self.name());
        }
        for node in &self.nodes {
            let staging = node.data.join(".thetis");
            if let Some(entry) = std::fs::read_dir(&staging)
                .ok()
                .and_then(|mut all| all.next())
            {
                let name = entry?.file_name();
                bail!("{} holds {}", staging.display(), name.display());
            }
        }
        Ok(())
    }
}

/// Starts the simulator's process, and waits for it.
async fn launch(shape: &Shape, dir: &Path) -> Result<(Process, Ready)> {
    let mut command = Command::new(bin("scylla-sim")?);
    command.arg("--dir").arg(dir.join(&shape.name)).args([
        "--cluster-name",
        &shape.name,
        "--api-port",
        "0",
    ]);
    command.args(["--racks", &shape.racks.to_string()]);
    for (dc, nodes) in &shape.dcs {
        command.args(["--dc", &format!("{dc}:{nodes}")]);
    }
    // Host ids come from the seed, and are unique in the world.
    let seed = shape
        .name
        .bytes()
        .fold(7_u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
    command
        .args(["--seed", &seed.to_string()])
        .args(&shape.arguments);
    // As nodes have them from their machine.
    command.env("AWS_ACCESS_KEY_ID", SeaweedFs::ACCESS_KEY);
    command.env("AWS_SECRET_ACCESS_KEY", SeaweedFs::SECRET_KEY);
    let log = dir.join(format!("logs/{}.log", shape.name));
    let told = |output: &str| -> Vec<String> {
        let lines = output.lines().filter(|line| line.starts_with('{'));
        lines.map(str::to_owned).collect()
    };
    let before = told(&std::fs::read_to_string(&log).unwrap_or_default()).len();
    let mut process = Process::start(&mut command, &log)?;
    let ready = eventually(
        "the simulated cluster",
        Duration::from_secs(30),
        async || {
            let output = process.output();
            if let Some(line) = told(&output).get(before) {
                return serde_json::from_str::<Ready>(line).context("reading the simulator's line");
            }
            if !process.running() {
                bail!("the simulator ended: {output}");
            }
            bail!("not ready yet: {output}")
        },
    )
    .await?;
    Ok((process, ready))
}

/// Compares what two clusters hold; every table of `before` must be in `after`, whole.
///
/// # Errors
/// When they differ; the text names the tables.
pub fn compare(before: &Fingerprints, after: &Fingerprints) -> Result<()> {
    let mut wrong = Vec::new();
    for (name, was) in before {
        match after.get(name) {
            None => wrong.push(format!("{name} is missing")),
            Some(is) if is.table != was.table || is.rows != was.rows => {
                wrong.push(format!(
                    "{name} has {} rows ({}) instead of {} ({})",
                    is.rows, is.table, was.rows, was.table
                ));
            }
            Some(is) if is.read != was.read => {
                let differ = |(is, was): &(&String, &String)| is != was;
                let first = is.read.iter().zip(&was.read).find(differ);
                wrong.push(format!("{name}: read, and before: {first:?}"));
            }
            Some(is)
                if !is.replicas_consistent
                    || is.missing > 0
                    || is.extra > 0
                    || !is.corrupt.is_empty() =>
            {
                wrong.push(format!(
                    "{name}: replicas differ: {} missing, {} extra, corrupt {:?}",
                    is.missing, is.extra, is.corrupt
                ));
            }
            Some(_) => {}
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!("restored data differs: {}", wrong.join("; "))
    }
}
