//! An emulator of Google Cloud Storage: fake-gcs-server. It asks for no credentials and lacks the
//! XML multipart API.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::{Process, binary, eventually, free_port};

/// How long it may take to answer. It takes less than 1 s on a quiet machine.
const START: Duration = Duration::from_secs(20);

/// A running server, killed when dropped.
pub struct FakeGcs {
    process: Process,
    // Behind the process: removed when that is gone.
    _dir: TempDir,
    port: u16,
}

impl FakeGcs {
    /// Starts a server without buckets.
    ///
    /// # Errors
    /// When there is no `fake-gcs-server`, or it does not answer in time.
    pub async fn start() -> Result<Self> {
        let dir = TempDir::with_prefix("thetis-gcs-")?;
        let port = free_port();
        let mut command = Command::new(binary("fake-gcs-server")?);
        command
            .args(["-scheme", "http", "-host", "127.0.0.1", "-port"])
            .arg(port.to_string())
            .args(["-backend", "filesystem", "-filesystem-root"])
            .arg(dir.path().join("data"))
            .arg("-public-host")
            .arg(format!("127.0.0.1:{port}"))
            .arg("-external-url")
            .arg(format!("http://127.0.0.1:{port}"));
        let process = Process::start(&mut command, &dir.path().join("log"))?;
        let server = Self {
            process,
            _dir: dir,
            port,
        };
        let ready = async || {
            let url = format!("{}/storage/v1/b?project=test", server.endpoint());
            reqwest::get(url).await?.error_for_status()?;
            Ok(())
        };
        eventually("fake-gcs-server to answer", START, ready).await?;
        Ok(server)
    }

    /// Its base URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// When it can't, or there is one of that name.
    pub async fn bucket(&self, name: &str) -> Result<()> {
        let url = format!("{}/storage/v1/b?project=test", self.endpoint());
        let body = format!(r#"{{"name":"{name}"}}"#);
        let answer = reqwest::Client::new()
            .post(url)
            .header("Content-Type", "application/json")
            .body(body)
            .send()
            .await?;
        let status = answer.status();
        ensure!(
            status.is_success(),
            "making a bucket: {status} {}",
            answer.text().await?
        );
        Ok(())
    }

    /// What it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }
}
