//! A running cluster in a temporary directory, with a session of the driver.

use std::time::Duration;

use driver::client::execution_profile::ExecutionProfile;
use driver::client::session::Session;
use driver::client::session_builder::SessionBuilder;
use driver::errors::ExecutionError;
use driver::policies::retry::FallthroughRetryPolicy;
use driver::response::query_result::QueryResult;
use driver::statement::{Consistency, Statement};
use driver::value::Row;
use reqwest::Client;
use scylla_sim::{Cluster, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct Sim {
    pub(crate) cluster: Cluster,
    pub(crate) dir: TempDir,
    pub(crate) http: Client,
}

impl Sim {
    /// Three nodes in three racks.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = Config::new(dir.path());
        config.unlink_delay = Duration::from_millis(50);
        change(&mut config);
        let cluster = Cluster::start(config).await.unwrap();
        let http = Client::new();
        Self { cluster, dir, http }
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.cluster.admin_url());
        let request = self.http.request(method.parse().unwrap(), url).json(&body);
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A request to node `node`'s REST API, from 1.
    pub(crate) async fn rest(&self, node: usize, method: &str, path: &str) -> Value {
        let url = format!("{}{path}", self.cluster.nodes()[node - 1].api);
        let response = self
            .http
            .request(method.parse().unwrap(), url)
            .send()
            .await
            .unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        }
    }

    /// Where node `node`, from 1, speaks CQL.
    pub(crate) async fn address(&self, node: usize) -> String {
        let port = self
            .rest(node, "GET", "/v2/config/native_transport_port")
            .await;
        format!("{}:{port}", self.cluster.nodes()[node - 1].address)
    }

    /// A session of the driver that asks every node it likes.
    pub(crate) async fn session(&self) -> Session {
        self.builder(1).await.build().await.unwrap()
    }

    pub(crate) async fn builder(&self, node: usize) -> SessionBuilder {
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::LocalOne)
            .retry_policy(std::sync::Arc::new(FallthroughRetryPolicy::new()));
        SessionBuilder::new()
            .known_node(self.address(node).await)
            .default_execution_profile_handle(profile.build().into_handle())
            .schema_agreement_interval(Duration::from_millis(20))
            .auto_await_schema_agreement(false)
    }

    pub(crate) async fn load(&self, keyspace: &str, table: &str, rows: usize) {
        let order = json!({"keyspace": keyspace, "table": table, "rows": rows, "sstables": 3,
            "min_value": 16, "max_value": 64});
        self.admin("POST", "/load", order).await;
    }
}

/// Runs a statement that has to succeed.
pub(crate) async fn run(session: &Session, text: &str) -> QueryResult {
    let done = session.query_unpaged(text, &[]).await;
    done.unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Runs a statement that has to fail; what the server said.
pub(crate) async fn refused(session: &Session, text: &str) -> String {
    match session.query_unpaged(text, &[]).await {
        Ok(_) => panic!("{text}: not refused"),
        Err(e) => said(&e),
    }
}

pub(crate) fn said(e: &ExecutionError) -> String {
    let text = e.to_string();
    text.rsplit_once("Error message: ")
        .map_or(text.clone(), |(_, said)| said.to_owned())
}

/// The rows that a statement tells, as text: `[value, …]` each.
pub(crate) async fn rows(session: &Session, text: &str) -> Vec<String> {
    shown(run(session, text).await)
}

pub(crate) async fn rows_at(session: &Session, text: &str, cl: Consistency) -> Vec<String> {
    let mut statement = Statement::new(text);
    statement.set_consistency(cl);
    let done = session.query_unpaged(statement, &[]).await;
    shown(done.unwrap_or_else(|e| panic!("{text}: {e}")))
}

fn shown(result: QueryResult) -> Vec<String> {
    let result = result.into_rows_result().unwrap();
    let rows = result.rows::<Row>().unwrap();
    let cell = |cell: &Option<driver::value::CqlValue>| {
        cell.as_ref()
            .map_or("null".to_owned(), |value| format!("{value}"))
    };
    let row = |row: Result<Row, _>| {
        let cells: Vec<String> = row.unwrap().columns.iter().map(cell).collect();
        cells.join(", ")
    };
    rows.map(row).collect()
}

/// Waits until `condition` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let start = std::time::Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
