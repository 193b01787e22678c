//! An emulator of Azure Blob Storage: Azurite.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::{Process, binary, eventually, free_port};

/// How long it may take to answer. It takes about 3 s on a quiet machine.
const START: Duration = Duration::from_secs(60);

/// A running server, killed when dropped.
pub struct Azurite {
    process: Process,
    // Behind the process: removed when that is gone.
    _dir: TempDir,
    port: u16,
}

impl Azurite {
    /// The account every emulator has.
    pub const ACCOUNT: &'static str = "devstoreaccount1";
    /// The key every emulator has; it protects nothing.
    pub const KEY: &'static str =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    /// A signature of that key that allows everything; a constant, because the key is.
    pub const SAS: &'static str = "sv=2019-12-12&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00:00:00Z&sig=YKAtmJudHaH98kax9IHOYkiCF9veHhGg4TBHNwluLXo%3D";

    /// Starts a server without containers.
    ///
    /// # Errors
    /// When there is no `azurite`, or it does not answer in time.
    pub async fn start() -> Result<Self> {
        let dir = TempDir::with_prefix("thetis-azure-")?;
        let port = free_port();
        let mut command = Command::new(binary("azurite")?);
        command
            .args(["--blobHost", "127.0.0.1", "--blobPort"])
            .arg(port.to_string())
            .arg("--location")
            .arg(dir.path().join("data"))
            .args(["--skipApiVersionCheck", "--silent"]);
        let process = Process::start(&mut command, &dir.path().join("log"))?;
        let server = Self {
            process,
            _dir: dir,
            port,
        };
        let ready = async || {
            // Any answer will do; without a signature it is a refusal.
            reqwest::get(server.endpoint()).await?;
            Ok(())
        };
        eventually("Azurite to answer", START, ready).await?;
        Ok(server)
    }

    /// Its base URL, the account included.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{}", self.port, Self::ACCOUNT)
    }

    /// Makes a container. Its name has at least 3 characters.
    ///
    /// # Errors
    /// When it can't, or there is one of that name.
    pub async fn container(&self, name: &str) -> Result<()> {
        let url = format!("{}/{name}?restype=container&{}", self.endpoint(), Self::SAS);
        let answer = reqwest::Client::new().put(url).body("").send().await?;
        let status = answer.status();
        ensure!(
            status.is_success(),
            "making a container: {status} {}",
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
