//! Thetis' services as processes.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use testkit::Process;

/// A kind of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Decides.
    Scheduler,
    /// Snapshots.
    Snapshot,
    /// Uploads.
    Uploader,
    /// Restores.
    Restore,
    /// All three workers beside a node.
    Node,
}

impl Kind {
    /// The verb of `thetis` that runs it.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Snapshot => "snapshot-worker",
            Self::Uploader => "uploader",
            Self::Restore => "restore-worker",
            Self::Node => "node",
        }
    }
}

/// A service that can be killed and started again.
#[derive(Debug)]
pub struct Service {
    /// What it is.
    pub kind: Kind,
    /// Its name, unique in its world, as in `prod-1-uploader-2`.
    pub name: String,
    environment: Vec<(String, String)>,
    log: PathBuf,
    /// Another build of `thetis`, if it is not the one beside the tests.
    program: Option<PathBuf>,
    process: Option<Process>,
}

impl Service {
    /// A service that is not started yet.
    #[must_use]
    pub fn new(kind: Kind, name: String, environment: Vec<(String, String)>, logs: &Path) -> Self {
        let log = logs.join(format!("{name}.log"));
        Self {
            kind,
            name,
            environment,
            log,
            program: None,
            process: None,
        }
    }

    /// Runs another build from its next start on.
    pub fn upgrade(&mut self, program: &Path) {
        self.program = Some(program.to_owned());
    }

    /// Starts it, unless it runs.
    ///
    /// # Errors
    /// When the binary is missing or can't be started.
    pub fn start(&mut self) -> Result<()> {
        if self.running() {
            return Ok(());
        }
        let program = self.program.clone().map_or_else(|| bin("thetis"), Ok)?;
        let mut command = Command::new(program);
        command.arg(self.kind.verb()).env_remove("THETIS_CONFIG");
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        self.process = Some(
            Process::start(&mut command, &self.log)
                .with_context(|| format!("starting {}", self.name))?,
        );
        Ok(())
    }

    /// Further settings, for when it is started next.
    pub fn set(&mut self, settings: &[(String, String)]) {
        self.environment.extend(settings.iter().cloned());
    }

    /// Whether it runs.
    pub fn running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::running)
    }

    /// Kills it: SIGKILL, no warning.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it by SIGTERM.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub fn terminate(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let status = process.terminate(Duration::from_secs(30))?;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Where its metrics are, once it runs.
    ///
    /// # Errors
    /// When its log does not say yet.
    pub fn admin(&self) -> Result<String> {
        let log = self.log();
        let told = log
            .rsplit_once(" admin=\"")
            .and_then(|(_, rest)| rest.split_once('"'));
        let (address, _) = told.with_context(|| format!("{} has not started", self.name))?;
        Ok(format!("http://{address}"))
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A binary of this workspace, built beside the running one.
///
/// # Errors
/// When it has not been built.
pub fn bin(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe().context("finding the own binary")?;
    for folder in me.ancestors().skip(1).take(2) {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!(
        "no `{name}` beside {}: run `cargo build --workspace --bins`",
        me.display()
    )
}
