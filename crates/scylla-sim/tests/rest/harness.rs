//! A running cluster in a temporary directory, and short words to talk to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use scylla_sim::{Cluster, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct Sim {
    pub(crate) cluster: Cluster,
    pub(crate) dir: TempDir,
    pub(crate) http: Client,
}

/// Status and body of an answer.
pub(crate) type Answer = (u16, String);

impl Sim {
    /// Three nodes in three racks, with `ks` (tablets, three replicas) and `vks` (vnodes, two), a table `t` in each.
    pub(crate) async fn start() -> Self {
        let sim = Self::with(|_| {}).await;
        sim.schema().await;
        sim
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = Config::new(dir.path());
        config.unlink_delay = Duration::from_millis(50);
        change(&mut config);
        Self {
            cluster: Cluster::start(config).await.unwrap(),
            dir,
            http: Client::new(),
        }
    }

    pub(crate) async fn schema(&self) {
        self.admin(
            "POST",
            "/keyspaces",
            json!({"name": "ks", "tablets": true, "replication": 3}),
        )
        .await;
        self.admin(
            "POST",
            "/keyspaces",
            json!({"name": "vks", "replication": {"dc1": 2}}),
        )
        .await;
        self.table("ks", "t").await;
        self.table("vks", "t").await;
    }

    pub(crate) async fn table(&self, keyspace: &str, table: &str) {
        self.admin(
            "POST",
            "/tables",
            json!({"keyspace": keyspace, "name": table, "tablets": 4}),
        )
        .await;
    }

    /// 400 rows of 1 to 4 KiB in five SSTables on each node.
    pub(crate) async fn load(&self, keyspace: &str, table: &str) {
        let order = json!({"keyspace": keyspace, "table": table, "rows": 400, "sstables": 5,
            "min_value": 1024, "max_value": 4096});
        self.admin("POST", "/load", order).await;
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.cluster.admin_url());
        let method: Method = method.parse().unwrap();
        let response = self
            .http
            .request(method, url)
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn look(&self, path: &str) -> Value {
        self.admin("GET", path, Value::Null).await
    }

    pub(crate) async fn fingerprint(&self, keyspace: &str, table: &str) -> Value {
        self.look(&format!(
            "/fingerprint?keyspace={keyspace}&table={table}&deep=true"
        ))
        .await[0]
            .clone()
    }

    pub(crate) async fn violations(&self) -> Vec<String> {
        let list = self.look("/violations").await;
        let problem = |v: &Value| v["problem"].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(problem).collect()
    }

    pub(crate) fn url(&self, node: usize, path: &str) -> String {
        format!("{}{path}", self.cluster.nodes()[node - 1].api)
    }

    /// Sends a request to node `node` (from 1).
    pub(crate) async fn call(&self, node: usize, request: &str) -> Answer {
        self.try_call(node, request, "").await.unwrap()
    }

    pub(crate) async fn call_with(&self, node: usize, request: &str, body: &str) -> Answer {
        self.try_call(node, request, body).await.unwrap()
    }

    pub(crate) async fn try_call(
        &self,
        node: usize,
        request: &str,
        body: &str,
    ) -> reqwest::Result<Answer> {
        let (method, path) = request.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        let request = self
            .http
            .request(method, self.url(node, path))
            .body(body.to_owned());
        let response = request.send().await?;
        assert_eq!(response.headers()["content-type"], "application/json");
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// The JSON of a 200.
    pub(crate) async fn get(&self, node: usize, path: &str) -> Value {
        let (status, text) = self.call(node, &format!("GET {path}")).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A request that has to succeed with an empty body.
    pub(crate) async fn done(&self, node: usize, request: &str) {
        assert_eq!(
            self.call(node, request).await,
            (200, String::new()),
            "{request}"
        );
    }

    /// A request that has to fail with exactly this.
    pub(crate) async fn fails(&self, node: usize, request: &str, status: u16, message: &str) {
        let (found, text) = self.call(node, request).await;
        let message = Value::from(message).to_string();
        let expected = format!("{{\"message\": {message}, \"code\": {status}}}");
        assert_eq!((found, text), (status, expected), "{request}");
    }

    pub(crate) fn address(&self, node: usize) -> String {
        self.cluster.nodes()[node - 1].address.to_string()
    }

    /// The directory of a live table on a node.
    pub(crate) fn table_dir(&self, node: usize, keyspace: &str, table: &str) -> PathBuf {
        let keyspace = self.cluster.nodes()[node - 1].data.join(keyspace);
        let start = format!("{table}-");
        let mut found: Vec<_> = fs::read_dir(&keyspace)
            .unwrap()
            .map(|item| item.unwrap().path())
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with(&start)
            })
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

/// Names of the regular files in `dir`, sorted.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|item| item.unwrap())
        .filter(|item| item.file_type().unwrap().is_file())
        .map(|item| item.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Copies all SSTable files of one directory into another.
pub(crate) fn copy(from: &Path, to: &Path) {
    for name in files(from) {
        if name.ends_with(".db") || name.ends_with(".txt") || name.ends_with(".crc32") {
            fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
