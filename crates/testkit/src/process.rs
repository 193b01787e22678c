//! Processes that end with their test.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// The path of a tool: what the environment variable of its name says (`nats-server` is
/// `NATS_SERVER`), else the one that `make deps` installed, in `THETIS_DEPS` or `.deps/` of the
/// checkout.
///
/// # Errors
/// When it is in neither place; the text says how to get it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let variable = name.to_uppercase().replace('-', "_");
    if let Some(path) = std::env::var_os(&variable) {
        return Ok(path.into());
    }
    let deps = std::env::var_os("THETIS_DEPS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.deps"),
        PathBuf::from,
    );
    let path = deps.join("bin").join(name);
    if path.try_exists()? {
        return Ok(path);
    }
    bail!("no `{name}`: run `make deps`, or set {variable} to one")
}

/// A loopback port that was free a moment ago. Whoever binds it must be ready to try another.
///
/// # Panics
/// If the machine has no free port left.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

/// A child process, killed when dropped. Its output goes to a file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its output appended to `log`.
    ///
    /// # Errors
    /// When the log can't be opened or the program not be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .context("opening a log")?;
        let err = out.try_clone().context("sharing a log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        if self.running() {
            self.child.kill().expect("a running child can be killed");
        }
        self.child.wait().expect("a child can be waited for");
    }

    /// Asks it to end (SIGTERM) and waits for its exit status.
    ///
    /// # Errors
    /// When it has not ended within `limit`; it is killed then.
    pub fn terminate(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        let id = rustix::process::Pid::from_child(&self.child);
        if self.running() {
            rustix::process::kill_process(id, rustix::process::Signal::TERM)
                .context("sending SIGTERM")?;
        }
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.kill();
                bail!(
                    "process {} did not end within {limit:?} of SIGTERM",
                    self.id()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Processes whose command line has `program` as one of its words, by their directories in `/proc`.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn running(program: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        // It may be gone by now.
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.split('\0').any(|word| Path::new(word) == program) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Waits until `condition` gives a value, asking often; `what` names it when it never does.
///
/// # Errors
/// After `limit`, with the condition's last words.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut condition: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let deadline = Instant::now() + limit;
    loop {
        match condition().await {
            Ok(value) => return Ok(value),
            Err(e) if Instant::now() > deadline => {
                return Err(e.context(format!("waited {limit:?} for {what}")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
