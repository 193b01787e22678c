//! The child process, and what is said to it.

use std::{
    ffi::OsString,
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{ChildStdin, Command},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use crate::{Error, RcloneSettings, error::chain, source::blocking};

/// Until it answers for the first time.
const START: Duration = Duration::from_secs(15);
/// Between two looks whether it does.
const PAUSE: Duration = Duration::from_millis(20);
/// For an answer. None is waited for that takes long: copies run in the background.
const ANSWER: Duration = Duration::from_secs(10);

/// Runs its arguments, and kills what it has started when its standard input ends, which it does with
/// whoever holds the other end, however that ends. Its standard error ends with the program.
const LEASH: &str = r#"dir=$1; shift
"$@" </dev/null & child=$!
exec 2>/dev/null
cat >/dev/null
kill -KILL "$child"
rm -rf "$dir""#;

/// A running `rclone rcd`, killed when dropped.
pub(super) struct Daemon {
    /// Ends it when closed.
    _leash: ChildStdin,
    /// Holds the socket and the lists of names.
    dir: TempDir,
    client: reqwest::Client,
    /// Ends when it does.
    words: AbortHandle,
    tasks: Mutex<JoinSet<()>>,
    last: Arc<Mutex<String>>,
    /// The limit it was told, in bytes per second; 0 is none.
    limit: AtomicU64,
}

/// The program's version, as in `v1.75.2`.
pub(super) async fn version(settings: &RcloneSettings) -> Result<String, Error> {
    let said = Command::new(&settings.program)
        .arg("version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let said = timeout(ANSWER, said).await;
    let said = said.map_err(|_| unusable(settings, "it does not answer `version`"))?;
    let said = said.map_err(|e| unusable(settings, &e.to_string()))?;
    let text = String::from_utf8_lossy(&said.stdout);
    let first = text.lines().next().unwrap_or_default();
    match first.strip_prefix("rclone ") {
        Some(version) if said.status.success() => Ok(version.to_owned()),
        _ => {
            let words = String::from_utf8_lossy(&said.stderr);
            let words = words
                .lines()
                .last()
                .unwrap_or("it does not say its version");
            Err(unusable(settings, words))
        }
    }
}

fn unusable(settings: &RcloneSettings, cause: &str) -> Error {
    let program = settings.program.display();
    Error::Settings(format!(
        "rclone.program: `{program}` cannot be run: {cause}; install rclone, or say where it is"
    ))
}

impl Daemon {
    /// Starts it, and waits until it answers.
    pub(super) async fn start(
        settings: &RcloneSettings,
        environment: &[(String, String)],
    ) -> Result<Self, Error> {
        let temp = std::env::temp_dir();
        let dir = tempfile::Builder::new()
            .prefix("thetis-rclone-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|e| Error::local("create a directory in", &temp, e))?;
        let socket = dir.path().join("rc");
        let mut address = OsString::from("unix://");
        address.push(&socket);
        let config = settings.config.clone().unwrap_or_default();
        let mut child = Command::new("sh")
            .args(["-c", LEASH, "sh"])
            .arg(dir.path())
            .arg(&settings.program)
            .args(["rcd", "--rc-no-auth", "--rc-addr"])
            .arg(address)
            .arg("--config")
            .arg(config)
            .args(["--ask-password=false", "--rc-job-expire-duration=10m"])
            .args(["--contimeout=5s", "--timeout=60s", "--log-level=NOTICE"])
            .envs(environment.iter().map(|(name, value)| (name, value)))
            // What a terminal sends to us is not for it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| unusable(settings, &format!("sh: {e}")))?;
        let (leash, said) = (child.stdin.take(), child.stderr.take());
        let (Some(leash), Some(said)) = (leash, said) else {
            return Err(unusable(settings, "it has no pipes"));
        };
        let (last, mut tasks) = (Arc::default(), JoinSet::new());
        let client = reqwest::Client::builder()
            .unix_socket(socket)
            .timeout(ANSWER)
            .build()
            .map_err(|e| Error::Settings(format!("HTTP client: {}", chain(&e))))?;
        let daemon = Self {
            _leash: leash,
            dir,
            client,
            words: tasks.spawn(listen(said, Arc::clone(&last))),
            tasks: Mutex::new(tasks),
            last,
            limit: AtomicU64::new(0),
        };
        daemon.ready(settings).await?;
        Ok(daemon)
    }

    async fn ready(&self, settings: &RcloneSettings) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            match self.call::<super::Empty>("rc/noop", &super::Empty {}).await {
                Ok(_) => return Ok(()),
                Err(_) if !self.runs() => return Err(unusable(settings, &self.last_words())),
                Err(error) if began.elapsed() > START => return Err(error),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Whether it runs still.
    pub(super) fn runs(&self) -> bool {
        !self.words.is_finished()
    }

    fn last_words(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    /// Asks it for something.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        what: &str,
        asked: &impl Serialize,
    ) -> Result<T, Error> {
        let failed = |cause: String| Error::Rclone {
            call: what.to_owned(),
            cause,
        };
        let url = format!("http://rclone/{what}");
        let answer = self.client.post(url).json(asked).send().await;
        let answer = answer.map_err(|e| failed(chain(&e)))?;
        if answer.status().is_success() {
            return answer.json().await.map_err(|e| failed(chain(&e)));
        }
        let status = answer.status();
        let said: Result<Refusal, _> = answer.json().await;
        Err(failed(said.map_or_else(
            |_| status.to_string(),
            |said| super::masked(&said.error),
        )))
    }

    /// Calls a copy off, in the background.
    pub(super) fn call_off(self: Arc<Self>, job: super::Job) {
        let daemon = Arc::clone(&self);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(async move {
            if let Err(error) = daemon.call::<super::Empty>("job/stop", &job).await {
                tracing::warn!(%error, "a copy of rclone's was not called off");
            }
        });
    }

    /// Has it send no more than this, in bytes per second; 0 is no limit.
    pub(super) async fn limit(&self, bytes_per_second: u64) -> Result<(), Error> {
        if self.limit.load(Ordering::Relaxed) == bytes_per_second {
            return Ok(());
        }
        let rate = match bytes_per_second {
            0 => "off".to_owned(),
            bytes => format!("{bytes}B"),
        };
        let _: super::Empty = self.call("core/bwlimit", &Limit { rate }).await?;
        self.limit.store(bytes_per_second, Ordering::Relaxed);
        Ok(())
    }

    /// Writes down names, one in each line, for it to read.
    pub(super) async fn list(&self, group: &str, names: &[&str]) -> Result<PathBuf, Error> {
        let path = self.dir.path().join(group);
        let text = names.join("\n");
        let write = {
            let path = path.clone();
            move || std::fs::write(path, text)
        };
        let written = blocking(write).await;
        written.map_err(|e| Error::local("write", &path, e))?;
        Ok(path)
    }

    /// Has it forget a copy that has ended, and removes its list. What stays ends with it.
    pub(super) async fn forget(&self, group: &str) {
        let asked = super::Group { group };
        if let Err(error) = self.call::<super::Empty>("core/stats-delete", &asked).await {
            tracing::debug!(%error, "rclone goes on counting a copy that has ended");
        }
        let path = self.dir.path().join(group);
        if let Err(error) = blocking(move || std::fs::remove_file(path)).await {
            tracing::debug!(%error, "a list of names stays until rclone ends");
        }
    }
}

/// Passes on what it says, and remembers the last of it.
async fn listen(said: impl AsyncRead + Unpin, last: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(said).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = super::masked(&line);
        tracing::debug!(line, "rclone says");
        *last.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }
}

#[derive(Serialize)]
struct Limit {
    rate: String,
}

/// An answer that says no.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}
