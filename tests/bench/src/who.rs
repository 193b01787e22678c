//! Who is measured, and how one turn of each goes.

use std::{env, path::Path, process::Command, time::Duration};

use ::tests::{Direct, NullS3, null_s3::Tally};
use anyhow::{Context as _, Result, ensure};
use protocol::RunId;
use serde::Serialize;

use crate::{
    data::Filled,
    list::List,
    peers::{PREFIX, Peer},
    process::{self, Ran},
};

/// Any one turn may take this long.
const LIMIT: Duration = Duration::from_secs(900);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The limit, with this many connections.
    Raw(usize),
    /// A real uploader, given its chunks by NATS.
    Thetis,
    /// Its engine alone.
    Engine,
    /// Another program.
    Peer(Peer),
    /// Another program, with the first table only: the rest would take it too long.
    PeerInPart(Peer),
}

impl Who {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw(_) => "raw",
            Self::Thetis => "thetis",
            Self::Engine => "thetis, no queue",
            Self::Peer(Peer::Manager) | Self::PeerInPart(Peer::Manager) => "rclone, Manager's",
            Self::Peer(Peer::Tuned) | Self::PeerInPart(Peer::Tuned) => "rclone, tuned",
            Self::Peer(Peer::S5cmd) | Self::PeerInPart(Peer::S5cmd) => "s5cmd",
        }
    }

    /// Whether it can be measured here.
    pub(crate) fn installed(self) -> bool {
        match self {
            Self::Raw(_) | Self::Thetis | Self::Engine => true,
            Self::Peer(peer) | Self::PeerInPart(peer) => peer.installed(),
        }
    }
}

/// What one turn has cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Turn {
    pub(crate) seconds: f64,
    /// User and system time.
    pub(crate) cpu_seconds: f64,
    /// Of the server, meanwhile.
    pub(crate) server_cpu_seconds: f64,
    /// Of memory.
    pub(crate) peak_bytes: u64,
    /// Read from disks.
    pub(crate) read_bytes: u64,
    pub(crate) files: usize,
    pub(crate) sstables: usize,
    pub(crate) bytes: u64,
    pub(crate) tally: Tally,
}

/// Where turns are taken.
pub(crate) struct Stage<'a> {
    pub(crate) direct: &'a Direct,
    pub(crate) filled: &'a Filled,
    pub(crate) list: &'a List,
    /// The list, as a file.
    pub(crate) path: &'a Path,
}

impl Stage<'_> {
    fn null(&self) -> &NullS3 {
        &self.direct.store
    }

    /// Has somebody upload everything to an empty bucket, and makes sure that it has arrived.
    ///
    /// # Errors
    /// When it fails, or not all has arrived.
    pub(crate) async fn turn(&self, who: Who) -> Result<Turn> {
        self.null().reset().await?;
        let server = ::tests::cpu(self.null().id())?;
        let ran = match who {
            Who::Raw(connections) => self.program(self.raw(connections)?).await?,
            Who::Engine => self.program(self.engine()?).await?,
            Who::Thetis => self.thetis().await?,
            Who::Peer(peer) => {
                self.run(peer.command(&self.filled.dir, self.null())?)
                    .await?
            }
            Who::PeerInPart(peer) => {
                let (dir, ..) = self.filled.first_table();
                self.run(peer.command(&dir, self.null())?).await?
            }
        };
        let server = ::tests::cpu(self.null().id())?.saturating_sub(server);
        let (files, bytes) = self.arrived(who).await?;
        let tally = self.null().tally().await?;
        ensure!(tally.bytes >= bytes, "only {} bytes were sent", tally.bytes);
        Ok(Turn {
            seconds: ran.took.as_secs_f64(),
            cpu_seconds: ran.cpu.as_secs_f64(),
            server_cpu_seconds: server.as_secs_f64(),
            peak_bytes: ran.peak,
            read_bytes: ran.read,
            files,
            sstables: files / crate::data::COMPONENTS,
            bytes,
            tally,
        })
    }

    /// Makes sure that all files have arrived; gives their number and their bytes.
    async fn arrived(&self, who: Who) -> Result<(usize, u64)> {
        let name = who.name();
        let expected = match who {
            Who::Raw(_) | Who::Thetis | Who::Engine => {
                let stored = self.null().below("backup/sst/").await?;
                for file in &self.list.files {
                    let found = stored.get(&file.key).map(|object| object.bytes);
                    ensure!(
                        found == Some(file.bytes),
                        "{name} left out {}: {found:?}",
                        file.key
                    );
                }
                return Ok((self.list.files.len(), self.list.bytes()));
            }
            Who::Peer(_) => (self.list.files.len(), self.list.bytes()),
            Who::PeerInPart(_) => {
                let (_, files, bytes) = self.filled.first_table();
                (files, bytes)
            }
        };
        let stored = self.null().below(PREFIX).await?;
        let found = (
            stored.len(),
            stored.values().map(|object| object.bytes).sum(),
        );
        ensure!(
            found == expected,
            "{name}: {found:?} of {expected:?} files and bytes arrived"
        );
        Ok(found)
    }

    fn raw(&self, connections: usize) -> Result<Command> {
        let mut command = self.own("raw")?;
        command.arg("--endpoint").arg(self.null().endpoint());
        command.arg("--connections").arg(connections.to_string());
        if let Some(path) = self.null().authority() {
            command.arg("--authority").arg(path);
        }
        Ok(command)
    }

    fn engine(&self) -> Result<Command> {
        let mut command = self.own("engine")?;
        command.envs(self.null().environment());
        Ok(command)
    }

    fn own(&self, what: &str) -> Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(what).arg("--list").arg(self.path);
        Ok(command)
    }

    async fn run(&self, command: Command) -> Result<Ran> {
        tokio::task::spawn_blocking(move || process::run(command, LIMIT)).await?
    }

    /// Runs a program of ours, which says itself how long it took: that leaves out its start.
    async fn program(&self, command: Command) -> Result<Ran> {
        let ran = self.run(command).await?;
        let said: f64 = ran
            .output
            .trim()
            .parse()
            .context("it says how long it took")?;
        let took = Duration::from_secs_f64(said);
        Ok(Ran { took, ..ran })
    }

    /// From the first job published to the last receipt stored.
    async fn thetis(&self) -> Result<Ran> {
        let id = self.direct.uploader.id().context("the uploader runs")?;
        process::forget_peak(id)?;
        let (cpu, read) = (self.direct.cpu()?, process::bytes_read(id)?);
        let work = self
            .direct
            .upload_chunks(RunId::generate(), &self.list.chunks, LIMIT);
        let took = Box::pin(work).await?;
        Ok(Ran {
            took,
            cpu: self.direct.cpu()?.saturating_sub(cpu),
            peak: self.direct.peak()?,
            read: process::bytes_read(id)? - read,
            output: String::new(),
        })
    }
}
