//! An S3 server that stores nothing, as a process of its own, so that what it costs can be told from
//! what is measured against it.
//!
//! It takes bodies, remembers their sizes, and counts. What Thetis needs back (plans, receipts,
//! manifests) it keeps, in memory. It checks no signature. It can be slow, it can fail, it can speak
//! TLS, and it can check each checksum it is sent, as [`Options`] say.
//!
//! Whoever measures asks it about itself at a second port, where nothing is counted or delayed.

mod connection;
mod control;
mod fault;
mod options;
mod reply;
mod s3;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use testkit::{Process, eventually};

pub use self::{
    fault::Faults,
    options::Options,
    server::serve,
    state::{Stored, Tally},
};
use crate::bin;

/// A running server; ends when dropped.
pub struct NullS3 {
    place: Place,
    http: reqwest::Client,
    process: Process,
    _dir: TempDir,
}

/// What a server says when it is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    /// Its base URL.
    endpoint: String,
    /// Where it is asked about itself.
    control: String,
    /// The certificate to trust, if it speaks TLS: a PEM file.
    authority: Option<PathBuf>,
}

impl NullS3 {
    /// Starts a server; every bucket exists, all of them are one.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start(options: &Options) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("thetis-null-").tempdir()?;
        let mut command = Command::new(bin("null-s3")?);
        command.args(options.arguments());
        if options.tls {
            command.arg("--authority").arg(dir.path().join("ca.pem"));
        }
        let mut process = Process::start(&mut command, &dir.path().join("log"))?;
        let place = eventually("the null server", Duration::from_secs(30), async || {
            let output = process.output();
            if !process.running() {
                bail!("it ended: {output}");
            }
            let line = output.lines().next().context("not ready yet")?;
            serde_json::from_str(line).with_context(|| output.clone())
        });
        Ok(Self {
            place: place.await?,
            http: reqwest::Client::builder().no_proxy().build()?,
            process,
            _dir: dir,
        })
    }

    /// Its base URL.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.place.endpoint
    }

    /// The certificate to trust, if it speaks TLS: a PEM file.
    #[must_use]
    pub fn authority(&self) -> Option<&Path> {
        self.place.authority.as_deref()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The settings that lead a service to it, as the location `s3:<any bucket>`.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let setting = |key: &str, value: &str| (format!("THETIS_STORE__S3__{key}"), value.into());
        let mut all = vec![
            setting("ENDPOINT", self.endpoint()),
            setting("ACCESS_KEY_ID", "anybody"),
            setting("SECRET_ACCESS_KEY", "anything"),
        ];
        if let Some(path) = self.authority() {
            all.push(("AWS_CA_BUNDLE".to_owned(), path.display().to_string()));
        }
        all
    }

    /// Puts an object there, uncounted.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn put(&self, key: &str, body: Vec<u8>) -> Result<()> {
        let url = self.control("object", &[("key", key)])?;
        let answer = self.http.put(url).body(body).send().await?;
        answer.error_for_status()?;
        Ok(())
    }

    /// The content of an object that is there and kept.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn body(&self, key: &str) -> Result<Option<Bytes>> {
        let url = self.control("object", &[("key", key)])?;
        let answer = self.http.get(url).send().await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(answer.error_for_status()?.bytes().await?))
    }

    /// The objects below `prefix`, by key.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn below(&self, prefix: &str) -> Result<BTreeMap<String, Stored>> {
        let url = self.control("below", &[("prefix", prefix)])?;
        let answer = self.http.get(url).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Waits until there are `count` objects of those that it keeps below `prefix`.
    ///
    /// # Errors
    /// When there are not within `limit`.
    pub async fn arrival(&self, prefix: &str, count: usize, limit: Duration) -> Result<()> {
        let count = count.to_string();
        let url = self.control("arrival", &[("prefix", prefix), ("count", &count)])?;
        let answer = self.http.get(url).timeout(limit).send().await;
        let answer =
            answer.with_context(|| format!("waited {limit:?} for {count} at `{prefix}`"))?;
        answer.error_for_status()?;
        Ok(())
    }

    /// What was asked of it since it was started, or since [`Self::reset`].
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn tally(&self) -> Result<Tally> {
        let answer = self.http.get(self.control("tally", &[])?).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Forgets its objects and what it has counted.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn reset(&self) -> Result<()> {
        let answer = self.http.post(self.control("reset", &[])?).send().await?;
        answer.error_for_status()?;
        Ok(())
    }

    fn control(&self, what: &str, words: &[(&str, &str)]) -> Result<Url> {
        let url = format!("{}/{what}", self.place.control);
        Ok(Url::parse_with_params(&url, words)?)
    }
}

impl Place {
    /// Says on standard output that the server is ready.
    fn announce(&self) -> Result<()> {
        use std::io::Write as _;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(self)?)?;
        Ok(out.flush()?)
    }
}

/// Writes a file that others wait for: whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, text)?;
    fs::rename(&part, path).with_context(|| format!("writing {}", path.display()))
}
