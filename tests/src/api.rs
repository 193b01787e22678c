//! The scheduler's HTTP API, as a script would use it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its id.
    pub run: String,
    /// `DONE`, `ERROR`, `STOPPED` or `ABORTED`.
    pub status: String,
    /// Why.
    pub cause: String,
    /// The run's progress at its end.
    pub progress: Value,
}

/// The API at one address.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    base: String,
}

impl Api {
    /// The API at `base`, as in `http://127.0.0.1:5080/api/v1`.
    ///
    /// # Panics
    /// Never: the client has no settings that could be wrong.
    #[must_use]
    pub fn new(base: String) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build();
        Self {
            http: http.expect("a plain client"),
            base,
        }
    }

    /// Its address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request; gives the status and the body.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("asking for {path}"))?;
        let status = answer.status();
        let text = answer.text().await?;
        Ok((
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        ))
    }

    /// Sends a request that must succeed.
    ///
    /// # Errors
    /// When it does not; the text has the answer.
    pub async fn ok(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.send(method.clone(), path, body).await?;
        if !status.is_success() {
            bail!("{method} {path}: {status}: {answer}");
        }
        Ok(answer)
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// When it has not after 30 s.
    pub async fn ready(&self) -> Result<()> {
        eventually("the API", Duration::from_secs(30), async || {
            self.ok(Method::GET, "/version", None).await.map(drop)
        })
        .await
    }

    /// Registers a cluster, as soon as a worker beside `host` is there; gives its id.
    ///
    /// # Errors
    /// When it is refused for 60 s.
    pub async fn add_cluster(&self, name: &str, host: &str) -> Result<String> {
        let body = json!({"name": name, "host": host});
        eventually(
            "the cluster to be added",
            Duration::from_secs(60),
            async || {
                self.ok(Method::POST, "/clusters", Some(&body))
                    .await
                    .map(drop)
            },
        )
        .await?;
        let cluster = self
            .ok(Method::GET, &format!("/cluster/{name}"), None)
            .await?;
        Ok(cluster["id"]
            .as_str()
            .context("a cluster has an id")?
            .to_owned())
    }

    /// Waits until each of `nodes` nodes of a cluster has `each` living workers.
    ///
    /// # Errors
    /// When they have not after 60 s.
    pub async fn workers(&self, cluster: &str, nodes: usize, each: usize) -> Result<()> {
        eventually("the workers", Duration::from_secs(60), async || {
            let status = self
                .ok(Method::GET, &format!("/cluster/{cluster}/status"), None)
                .await?;
            let all = status.as_array().context("a list of nodes")?;
            let staffed = all
                .iter()
                .filter(|node| node["workers"].as_array().is_some_and(|w| w.len() >= each))
                .count();
            if staffed < nodes {
                bail!("{staffed} of {nodes} nodes have their workers: {status}");
            }
            Ok(())
        })
        .await
    }

    /// Starts a one-off task; gives its path, as in `/cluster/<id>/task/backup/<id>`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn submit(&self, cluster: &str, kind: &str, properties: Value) -> Result<String> {
        let body = json!({"type": kind, "enabled": true, "properties": properties});
        let tasks = format!("/cluster/{cluster}/tasks");
        let request = self.http.post(format!("{}{tasks}", self.base)).json(&body);
        let answer = request.send().await?;
        let (status, location) = (answer.status(), answer.headers().get("location").cloned());
        let text = answer.text().await?;
        if status != StatusCode::CREATED {
            bail!("POST {tasks}: {status}: {text}");
        }
        let location = location
            .context("a created task has a location")?
            .to_str()?
            .to_owned();
        let id = location.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(format!("/cluster/{cluster}/task/{kind}/{id}"))
    }

    /// The latest run's progress.
    ///
    /// # Errors
    /// When there is none.
    pub async fn progress(&self, task: &str) -> Result<Value> {
        self.ok(Method::GET, &format!("{task}/latest"), None).await
    }

    /// Waits until the latest run has ended, also across times without an answer.
    ///
    /// # Errors
    /// When it has not ended within `limit`; the text has what it said last.
    pub async fn ended(&self, task: &str, limit: Duration) -> Result<Ended> {
        eventually(&format!("{task} to end"), limit, async || {
            let found = self.progress(task).await?;
            let run = &found["run"];
            let status = run["status"].as_str().unwrap_or_default();
            if !matches!(status, "DONE" | "ERROR" | "STOPPED" | "ABORTED") {
                bail!("it is {status}: {found}");
            }
            let cause = run["cause"].as_str().unwrap_or_default().to_owned();
            Ok(Ended {
                run: run["id"].as_str().unwrap_or_default().to_owned(),
                status: status.to_owned(),
                cause,
                progress: found["progress"].clone(),
            })
        })
        .await
    }

    /// Validates all that the first cluster has at `location`, contents included, and restores the backup
    /// into the second, by a method.
    ///
    /// # Errors
    /// When either does not end well.
    pub async fn validate_and_restore(
        &self,
        [from, to]: [&str; 2],
        [location, tag, method]: [&str; 3],
        limit: Duration,
    ) -> Result<Ended> {
        let properties = json!({"location": [location], "checksum": true});
        self.done(from, "validate_backup", properties, limit)
            .await?;
        let properties = json!({
            "location": [location], "snapshot_tag": tag, "restore_tables": true, "method": method,
        });
        self.done(to, "restore", properties, limit).await
    }

    /// Runs a task to its end, which must be DONE.
    ///
    /// # Errors
    /// When it ends otherwise.
    pub async fn done(
        &self,
        cluster: &str,
        kind: &str,
        properties: Value,
        limit: Duration,
    ) -> Result<Ended> {
        let task = self.submit(cluster, kind, properties).await?;
        self.ended(&task, limit).await?.done()
    }
}

impl Ended {
    /// Itself, if it is DONE.
    ///
    /// # Errors
    /// When it ended otherwise; the text has the cause.
    pub fn done(self) -> Result<Self> {
        if self.status != "DONE" {
            bail!("the run ended {}: {}", self.status, self.cause);
        }
        Ok(self)
    }

    /// The backup's tag.
    ///
    /// # Panics
    /// If the run has none.
    #[must_use]
    pub fn tag(&self) -> String {
        self.progress["snapshot_tag"]
            .as_str()
            .expect("a backup has a tag")
            .to_owned()
    }
}
