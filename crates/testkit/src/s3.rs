//! A real S3 server: SeaweedFS, which verifies signatures and checksums and knows conditional
//! writes.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{Process, binary};

/// How long it may take to answer. It takes about 4 s on a quiet machine.
const START: Duration = Duration::from_secs(60);

/// How long it may take to answer one request, once it is ready.
const ANSWER: Duration = Duration::from_secs(5);

/// Its gRPC ports are its HTTP ports and this.
const GRPC: u16 = 10_000;

/// Somebody may take a free port before it does.
const TRIES: u32 = 3;

/// A running server, killed when dropped: asked politely, it takes half a minute.
///
/// The address stays the same however often it is restarted.
pub struct SeaweedFs {
    process: Process,
    dir: TempDir,
    ports: Ports,
}

#[derive(Clone, Copy)]
struct Ports {
    master: u16,
    volume: u16,
    filer: u16,
    s3: u16,
    metrics: u16,
}

impl SeaweedFs {
    /// A key that may do everything.
    pub const ACCESS_KEY: &'static str = "thetis-test";
    /// Goes with [`Self::ACCESS_KEY`].
    pub const SECRET_KEY: &'static str = "thetis-test-secret";
    /// A key that may only read and list.
    pub const READER_ACCESS_KEY: &'static str = "thetis-reader";
    /// Goes with [`Self::READER_ACCESS_KEY`].
    pub const READER_SECRET_KEY: &'static str = "thetis-reader-secret";

    /// Starts a server without buckets, and waits until it takes objects.
    ///
    /// # Errors
    /// When there is no `weed`, or it does not answer in time; with the end of its log.
    pub async fn start() -> Result<Self> {
        let mut tries = 1;
        loop {
            match Self::try_start().await {
                Err(e) if tries == TRIES => return Err(e),
                Err(_) => tries += 1,
                Ok(server) => return Ok(server),
            }
        }
    }

    async fn try_start() -> Result<Self> {
        let dir = TempDir::with_prefix("thetis-s3-")?;
        let ports = Ports::free();
        let mut server = Self {
            process: launch(&dir, ports)?,
            dir,
            ports,
        };
        server.ready().await?;
        Ok(server)
    }

    /// Kills it. What it had acknowledged may be lost, as its disk would be in a real crash.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills it if it runs, and starts it again with the same address and data.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.process = launch(&self.dir, self.ports)?;
        self.ready().await
    }

    /// Its base URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.s3)
    }

    /// Makes a bucket; one that exists is fine.
    ///
    /// # Errors
    /// When it can't.
    pub async fn bucket(&self, name: &str) -> Result<()> {
        // A bucket is a directory of the filer, which asks for no signature.
        self.post(&format!("buckets/{name}/")).await
    }

    /// How many S3 requests it has answered, by kind, as in `PUT`, `GET`, `LIST` or `HEAD`.
    ///
    /// # Errors
    /// When its metrics can't be read.
    pub async fn requests(&self) -> Result<BTreeMap<String, u64>> {
        let url = format!("http://127.0.0.1:{}/metrics", self.ports.metrics);
        let text = reqwest::get(url).await?.error_for_status()?.text().await?;
        let mut counts = BTreeMap::new();
        for line in text.lines() {
            let Some(sample) = line.strip_prefix("SeaweedFS_s3_request_total{") else {
                continue;
            };
            let (labels, count) = sample.rsplit_once("} ").context("a sample has a value")?;
            let kind = labels.split("type=\"").nth(1);
            let kind = kind.and_then(|rest| rest.split('"').next());
            let kind = kind.context("a sample has a type")?.to_owned();
            *counts.entry(kind).or_default() += count.parse::<u64>()?;
        }
        Ok(counts)
    }

    /// What lies under a key, read past S3; `None` if there is no such object.
    ///
    /// # Errors
    /// When its filer can't be asked.
    pub async fn object(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>> {
        let url = format!(
            "http://127.0.0.1:{}/buckets/{bucket}/{key}",
            self.ports.filer
        );
        let answer = reqwest::get(url).await?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body = answer.error_for_status()?.bytes().await?;
        Ok(Some(body.into()))
    }

    /// How many multipart uploads to a bucket are neither completed nor aborted.
    ///
    /// # Errors
    /// When its filer can't be asked.
    pub async fn uploads(&self, bucket: &str) -> Result<usize> {
        let filer = self.ports.filer;
        let url = format!("http://127.0.0.1:{filer}/buckets/{bucket}/.uploads/?limit=1000");
        let request = reqwest::Client::new().get(url);
        let answer = request.header("Accept", "application/json").send().await?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(0);
        }
        let text = answer.error_for_status()?.text().await?;
        Ok(text.matches("\"FullPath\"").count())
    }

    /// What it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    async fn post(&self, path: &str) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/{path}", self.ports.filer);
        let part = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"ready\"\r\n\r\nready\r\n--b--\r\n";
        let mut request = reqwest::Client::new().post(&url);
        if !path.ends_with('/') {
            request = request
                .header("Content-Type", "multipart/form-data; boundary=b")
                .body(part);
        }
        let answer = request.send().await?;
        let status = answer.status();
        // A directory that exists is a conflict.
        let done = status.is_success() || status == reqwest::StatusCode::CONFLICT;
        ensure!(done, "POST {url}: {status} {}", answer.text().await?);
        Ok(())
    }

    /// Ready is when the S3 port answers and a file can be written.
    async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let answer = async {
                reqwest::get(self.endpoint()).await?;
                self.post("ready").await?;
                anyhow::Ok(())
            };
            // What it took too early it may never answer.
            let answer = tokio::time::timeout(ANSWER, answer).await;
            let Err(e) = answer.unwrap_or_else(|_| bail!("no answer within {ANSWER:?}")) else {
                return Ok(());
            };
            if !self.process.running() || Instant::now() > deadline {
                let output = self.output();
                let end = output.lines().rev().take(20).collect::<Vec<_>>();
                let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
                bail!("SeaweedFS did not get ready: {e:#}\n{end}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        self.process.kill();
        let ports = self.ports;
        for (part, port) in [
            ("master", ports.master),
            ("volume", ports.volume),
            ("filer", ports.filer),
            ("s3", ports.s3),
        ] {
            // These can't be put elsewhere, and outlive a kill.
            let socket = format!("/tmp/seaweedfs-{part}-grpc-{}.sock", port + GRPC);
            let _ = std::fs::remove_file(socket);
        }
    }
}

impl Ports {
    fn free() -> Self {
        Self {
            master: pair(),
            volume: pair(),
            filer: pair(),
            s3: pair(),
            metrics: pair(),
        }
    }
}

/// A free port whose gRPC port is free too. Both lie below those that the system gives to outgoing
/// connections, which could take one while the server is being restarted.
fn pair() -> u16 {
    let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let random = RandomState::new().build_hasher().finish();
        let port = 10_000 + u16::try_from(random % 12_000).expect("below 12,000");
        if free(port) && free(port + GRPC) {
            return port;
        }
    }
}

fn launch(dir: &TempDir, ports: Ports) -> Result<Process> {
    let data = dir.path().join("data");
    std::fs::create_dir_all(&data)?;
    let config = dir.path().join("s3.json");
    let (key, secret) = (SeaweedFs::ACCESS_KEY, SeaweedFs::SECRET_KEY);
    let (reader, reader_secret) = (SeaweedFs::READER_ACCESS_KEY, SeaweedFs::READER_SECRET_KEY);
    std::fs::write(
        &config,
        format!(
            r#"{{"identities":[{{"name":"test","credentials":[{{"accessKey":"{key}","secretKey":"{secret}"}}],
            "actions":["Admin","Read","Write","List","Tagging"]}},
            {{"name":"reader","credentials":[{{"accessKey":"{reader}","secretKey":"{reader_secret}"}}],
            "actions":["Read","List"]}}]}}"#
        ),
    )?;
    let mut command = Command::new(binary("weed")?);
    command
        // Else every bucket takes seven volumes, and there are none left soon.
        .env("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1")
        .current_dir(dir.path())
        .arg("server")
        .arg(format!("-dir={}", data.display()))
        .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1"])
        .arg(format!("-master.port={}", ports.master))
        .arg(format!("-volume.port={}", ports.volume))
        .arg("-filer")
        .arg(format!("-filer.port={}", ports.filer))
        .arg("-s3")
        .arg(format!("-s3.port={}", ports.s3))
        // Else it makes every bucket that is written to, and leaves sockets behind.
        .arg("-s3.autoCreateBucket=false")
        .arg(format!("-s3.localSocket={}/s3.sock", dir.path().display()))
        .arg(format!(
            "-filer.localSocket={}/filer.sock",
            dir.path().display()
        ))
        // Without these it opens fixed ports.
        .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
        .arg(format!("-s3.config={}", config.display()))
        .args(["-master.volumeSizeLimitMB=1024", "-volume.max=500"])
        .arg(format!("-metricsPort={}", ports.metrics));
    Process::start(&mut command, &dir.path().join("log"))
}
