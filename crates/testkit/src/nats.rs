//! A real nats-server, with JetStream, on a loopback port and in a temporary directory.

use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Process, binary, free_port};

/// How long a server may take to answer. It takes about 0.1 s on a quiet machine.
const START: Duration = Duration::from_secs(20);

/// A running nats-server, killed when dropped.
///
/// The address stays the same however often it is restarted.
pub struct Nats {
    process: Option<Process>,
    dir: TempDir,
    port: u16,
    user: Option<(String, String)>,
    jetstream: bool,
    config: Option<String>,
}

/// What is heard of a subject.
pub struct Listening {
    heard: tokio::sync::Mutex<async_nats::Subscriber>,
    _client: async_nats::Client,
}

impl Listening {
    /// The next message's subject and payload; `None` if there is none within `limit`.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn next(&self, limit: Duration) -> Result<Option<(String, Vec<u8>)>> {
        let mut heard = self.heard.lock().await;
        match tokio::time::timeout(limit, heard.next()).await {
            Ok(Some(message)) => Ok(Some((
                message.subject.to_string(),
                message.payload.to_vec(),
            ))),
            Ok(None) => bail!("the subscription has ended"),
            Err(_) => Ok(None),
        }
    }
}

impl Nats {
    /// Starts a server with JetStream and without a password.
    ///
    /// # Errors
    /// When there is no `nats-server`, or it does not answer in time.
    pub fn start() -> Result<Self> {
        Self::launch(None, true, None)
    }

    /// Starts a server that asks for a user and a password.
    ///
    /// # Errors
    /// As [`Nats::start`].
    pub fn with_password(user: &str, password: &str) -> Result<Self> {
        Self::launch(Some((user.to_owned(), password.to_owned())), true, None)
    }

    /// Starts a server without JetStream.
    ///
    /// # Errors
    /// As [`Nats::start`].
    pub fn without_jetstream() -> Result<Self> {
        Self::launch(None, false, None)
    }

    /// Starts a server with JetStream whose further configuration is `config`, in its own syntax.
    ///
    /// # Errors
    /// As [`Nats::start`].
    pub fn with_config(config: &str) -> Result<Self> {
        Self::launch(None, true, Some(config.to_owned()))
    }

    fn launch(
        user: Option<(String, String)>,
        jetstream: bool,
        config: Option<String>,
    ) -> Result<Self> {
        let mut nats = Self {
            process: None,
            dir: tempfile::tempdir().context("a directory for nats-server")?,
            port: 0,
            user,
            jetstream,
            config,
        };
        // Another process may take the port first: then try the next.
        for _ in 0..4 {
            nats.port = free_port();
            if nats.restart().is_ok() {
                return Ok(nats);
            }
        }
        nats.port = free_port();
        nats.restart().map(|()| nats)
    }

    /// Where it listens, as `nats://127.0.0.1:<port>`; without the password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Asks and waits for the answer, as any client may; gives its payload.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn request(
        &self,
        subject: &str,
        content_type: &str,
        payload: Vec<u8>,
    ) -> Result<Vec<u8>> {
        let client = self.client().await?;
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Content-Type", content_type);
        let asked = client.request_with_headers(subject.to_owned(), headers, payload.into());
        let answer = asked.await.with_context(|| format!("asking {subject}"))?;
        Ok(answer.payload.to_vec())
    }

    /// Listens to a subject, from the answer on.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn subscribe(&self, subject: &str) -> Result<Listening> {
        let client = self.client().await?;
        let heard = client.subscribe(subject.to_owned()).await?;
        // The server takes what one client says in order: once it has sent this back, it listens.
        let echo = client.new_inbox();
        let mut back = client.subscribe(echo.clone()).await?;
        client.publish(echo, "".into()).await?;
        back.next().await.context("an echo")?;
        Ok(Listening {
            heard: tokio::sync::Mutex::new(heard),
            _client: client,
        })
    }

    async fn client(&self) -> Result<async_nats::Client> {
        let mut options = async_nats::ConnectOptions::new();
        if let Some((user, password)) = &self.user {
            options = options.user_and_password(user.clone(), password.clone());
        }
        options.connect(self.url()).await.context("connecting")
    }

    /// Kills it (SIGKILL); the store stays.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again at the same address with the same store, killing it first if it runs.
    ///
    /// # Errors
    /// As [`Nats::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.process = Some(Process::start(&mut self.command()?, &self.log())?);
        self.answers()
    }

    /// As [`Nats::restart`], but with nothing left of what it had stored.
    ///
    /// # Errors
    /// As [`Nats::start`].
    pub fn wipe_and_restart(&mut self) -> Result<()> {
        self.kill();
        let store = self.store();
        if store.try_exists()? {
            std::fs::remove_dir_all(store).context("wiping the store")?;
        }
        self.restart()
    }

    /// Halts it (SIGSTOP), connections staying open, until [`Nats::resume`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Nats::pause`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// What it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("nats-server does not run")?;
        let id = Pid::from_raw(process.id().try_into()?).context("a process id")?;
        kill_process(id, signal).context("signalling nats-server")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary("nats-server")?);
        command
            .args(["--addr", "127.0.0.1"])
            .args(["--port", &self.port.to_string()]);
        if self.jetstream {
            command
                .arg("--jetstream")
                .arg("--store_dir")
                .arg(self.store());
        }
        if let Some((user, password)) = &self.user {
            command.args(["--user", user, "--pass", password]);
        }
        if let Some(config) = &self.config {
            let path = self.dir.path().join("nats.conf");
            std::fs::write(&path, config).context("writing nats.conf")?;
            command.arg("--config").arg(path);
        }
        Ok(command)
    }

    /// Waits until it greets: nats-server says who it is as soon as one connects.
    fn answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        loop {
            let mut greeting = [0; 4];
            let greeted = TcpStream::connect_timeout(&address, Duration::from_secs(1))
                .and_then(|mut stream| stream.read_exact(&mut greeting));
            let running = self.process.as_mut().is_some_and(Process::running);
            if greeted.is_ok() && greeting == *b"INFO" && running {
                return Ok(());
            }
            if !running || Instant::now() > deadline {
                bail!("nats-server does not answer:\n{}", self.output());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Starts three servers that form one cluster. Ask until JetStream answers: electing its leader
/// takes some seconds.
///
/// # Errors
/// As [`Nats::start`].
pub fn cluster() -> Result<[Nats; 3]> {
    let routes = [free_port(), free_port(), free_port()];
    let all = routes.map(|port| format!("nats://127.0.0.1:{port}"));
    let all = all.join(", ");
    let server = |port: u16| {
        Nats::with_config(&format!(
            "server_name: at-{port}\ncluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: [{all}] }}"
        ))
    };
    let [a, b, c] = routes;
    Ok([server(a)?, server(b)?, server(c)?])
}
