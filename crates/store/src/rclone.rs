//! rclone as a child: it copies files of a directory to a bucket, by its own ways.
//!
//! One `rclone rcd` serves all copies of a process that are under way at the same time, by a socket
//! that only this user reaches. Where buckets are and how they are reached it has from our settings
//! (by its environment, so that no secret is seen in the list of processes), or from a file of the
//! user's.
//!
//! # Promises
//! * It is gone when the last copy is, and when this process is, however that ends.
//! * A limit on bytes per second holds for it, also one that changes meanwhile.
//! * What it stores it compares with what it read where the store tells a checksum; not more. What a file
//!   should hold, and whether it arrived, is to be proven by whoever has it copied.
//!
//! # Crashes
//! A copy that this process' death cuts off leaves parts of multipart uploads to the bucket's
//! lifecycle rule.

mod daemon;
mod remote;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use protocol::{Location, Provider};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use self::daemon::Daemon;
use crate::{Error, RcloneSettings, Settings, budget::Budget};

/// How soon a copy is looked at for the first time; the pause is doubled each time.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// How often it is looked at later.
const LOOK: Duration = Duration::from_millis(250);
/// How long a copy that was told to stop may take to end.
const STOP: Duration = Duration::from_secs(1);

/// rclone, started when there is something to copy. Clones share it.
#[derive(Clone)]
pub struct Rclone {
    shared: Arc<Shared>,
}

struct Shared {
    settings: RcloneSettings,
    /// What it is told of the buckets, by its environment.
    remotes: Vec<(String, String)>,
    budget: Budget,
    /// The one that runs, while anybody has a copy under way.
    running: tokio::sync::Mutex<Weak<Daemon>>,
    /// What is known of the program.
    version: Mutex<Option<String>>,
}

/// Files that are to be copied.
#[derive(Clone, Debug)]
pub struct Files<'a> {
    /// Where they are.
    pub from: &'a Path,
    /// Their names there.
    pub names: &'a [&'a str],
    /// What their keys begin with, without a slash at the end; the rest is their names.
    pub to: &'a str,
    /// How many at once; as the settings say when absent.
    pub transfers: Option<usize>,
    /// What they are stored as; as the settings say when absent.
    pub class: Option<&'a str>,
}

/// A copy under way. It is called off when this is dropped.
pub struct Copy {
    daemon: Arc<Daemon>,
    budget: Budget,
    job: u64,
    group: String,
    bytes: u64,
    pause: Duration,
    /// Whether there is nothing to call off any more.
    ended: bool,
    /// What is still to be told.
    end: Option<Step>,
}

/// How a copy gets on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes more have been sent.
    Sent(u64),
    /// It has ended, and rclone says that all files were copied.
    Done,
    /// It has ended, with rclone's own words for what went wrong.
    Failed(String),
}

impl Rclone {
    pub(crate) fn new(settings: &Settings, region: Option<String>, budget: Budget) -> Self {
        let remotes = match settings.rclone.config {
            Some(_) => Vec::new(),
            None => remote::environment(settings, region),
        };
        Self {
            shared: Arc::new(Shared {
                settings: settings.rclone.clone(),
                remotes,
                budget,
                running: tokio::sync::Mutex::default(),
                version: Mutex::default(),
            }),
        }
    }

    /// Whether it copies to buckets of this kind. A directory it does not: nothing would make sure that
    /// what it writes there has reached the disk.
    #[must_use]
    pub fn serves(provider: Provider) -> bool {
        match provider {
            Provider::S3 | Provider::Gcs | Provider::Azure => true,
            Provider::Local => false,
        }
    }

    /// The version of the program, as in `v1.75.2`.
    ///
    /// # Errors
    /// [`Error::Settings`] if it cannot be run.
    pub async fn version(&self) -> Result<String, Error> {
        let known = || {
            let version = self.shared.version.lock();
            version.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(version) = &*known() {
            return Ok(version.clone());
        }
        let version = daemon::version(&self.shared.settings).await?;
        *known() = Some(version.clone());
        Ok(version)
    }

    /// Begins to copy files, in place of what may be there.
    ///
    /// # Errors
    /// [`Error::Settings`] if rclone cannot be run, [`Error::Rclone`] if it does not answer, and
    /// [`Error::Local`] if it cannot be told the files' names.
    pub async fn copy(&self, location: &Location, files: &Files<'_>) -> Result<Copy, Error> {
        let daemon = self.daemon().await?;
        let group = format!("thetis-{}", Uuid::new_v4());
        let list = daemon.list(&group, files.names).await?;
        let transfers = files.transfers.unwrap_or(self.shared.settings.transfers);
        let wanted = Wanted {
            source: format!(":local:{}", files.from.display()),
            target: remote::target(location, files.to, files.class),
            group: &group,
            in_background: true,
            filter: Filter { files: [list] },
            config: Config {
                transfers,
                buffer_size: 0,
                no_traverse: true,
                no_check_dest: true,
            },
        };
        let budget = self.shared.budget.clone();
        daemon.limit(budget.rate().get()).await?;
        let Started { job } = daemon.call("sync/copy", &wanted).await?;
        Ok(Copy {
            daemon,
            budget,
            job,
            group,
            bytes: 0,
            pause: FIRST_LOOK,
            ended: false,
            end: None,
        })
    }

    /// The one that runs, or a new one.
    async fn daemon(&self) -> Result<Arc<Daemon>, Error> {
        let mut running = self.shared.running.lock().await;
        if let Some(daemon) = running.upgrade().filter(|daemon| daemon.runs()) {
            return Ok(daemon);
        }
        let daemon = Daemon::start(&self.shared.settings, &self.shared.remotes).await?;
        let daemon = Arc::new(daemon);
        *running = Arc::downgrade(&daemon);
        Ok(daemon)
    }
}

impl Copy {
    /// Waits a little, and says what has happened since.
    ///
    /// # Errors
    /// [`Error::Rclone`] if it does not answer.
    pub async fn step(&mut self) -> Result<Step, Error> {
        if let Some(end) = self.end.take() {
            return Ok(end);
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LOOK);
        self.daemon.limit(self.budget.rate().get()).await?;
        // In this order, so that the end's bytes are not missed.
        let status: Status = self
            .daemon
            .call("job/status", &Job { job: self.job })
            .await?;
        let group = Group { group: &self.group };
        let Stats { bytes } = self.daemon.call("core/stats", &group).await?;
        // It counts down what it has to send again.
        let more = bytes.saturating_sub(self.bytes);
        self.bytes = self.bytes.max(bytes);
        self.budget.counted().read_elsewhere(more);
        if status.finished {
            self.ended = true;
            self.end = Some(match status.success {
                true => Step::Done,
                false => Step::Failed(masked(&status.error)),
            });
            self.daemon.forget(&self.group).await;
        }
        Ok(Step::Sent(more))
    }

    /// Calls it off, and waits a little for its end: what it has begun it takes back.
    pub async fn stop(mut self) {
        self.ended = true;
        let job = Job { job: self.job };
        let end = async {
            let _: Empty = self.daemon.call("job/stop", &job).await?;
            loop {
                let status: Status = self.daemon.call("job/status", &job).await?;
                if status.finished {
                    return Ok::<_, Error>(());
                }
                sleep(LOOK / 5).await;
            }
        };
        match timeout(STOP, end).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a copy of rclone's was not called off"),
            Err(_) => tracing::warn!("a copy of rclone's was called off and has not ended yet"),
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let daemon = Arc::clone(&self.daemon);
        // Without a runtime, rclone ends with this.
        if tokio::runtime::Handle::try_current().is_ok() {
            daemon.call_off(Job { job: self.job });
        }
    }
}

impl fmt::Debug for Rclone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rclone")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copy")
            .field("job", &self.job)
            .finish_non_exhaustive()
    }
}

/// Words without the signatures of URLs in them, which are as good as keys: Azure's are part of its URLs.
fn masked(words: &str) -> String {
    const BEFORE: &str = "sig=";
    let (mut text, mut rest) = (String::with_capacity(words.len()), words);
    while let Some(at) = rest.find(BEFORE) {
        let (before, from) = rest.split_at(at + BEFORE.len());
        let ends = |c: char| matches!(c, '&' | '"' | '\'' | '`') || c.is_whitespace();
        let end = from.find(ends).unwrap_or(from.len());
        text += before;
        text += "***";
        rest = &from[end..];
    }
    text + rest
}

/// `sync/copy`.
#[derive(Serialize)]
struct Wanted<'a> {
    #[serde(rename = "srcFs")]
    source: String,
    #[serde(rename = "dstFs")]
    target: String,
    #[serde(rename = "_group")]
    group: &'a str,
    #[serde(rename = "_async")]
    in_background: bool,
    #[serde(rename = "_filter")]
    filter: Filter,
    #[serde(rename = "_config")]
    config: Config,
}

#[derive(Serialize)]
struct Filter {
    /// Files with a name in each line.
    #[serde(rename = "FilesFromRaw")]
    files: [std::path::PathBuf; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    transfers: usize,
    /// Bytes of each file that are read ahead.
    buffer_size: u64,
    /// Look for each file, instead of for all that there are.
    no_traverse: bool,
    /// What is missing is known.
    no_check_dest: bool,
}

#[derive(Deserialize)]
struct Started {
    #[serde(rename = "jobid")]
    job: u64,
}

#[derive(Serialize)]
struct Job {
    #[serde(rename = "jobid")]
    job: u64,
}

#[derive(Serialize)]
struct Group<'a> {
    group: &'a str,
}

/// `job/status`.
#[derive(Deserialize)]
struct Status {
    finished: bool,
    success: bool,
    error: String,
}

/// `core/stats` of one group.
#[derive(Deserialize)]
struct Stats {
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_signature_is_shown() {
        let url = "https://a.blob.core.windows.net/c/k";
        for (words, shown) in [
            ("no such bucket", "no such bucket".to_owned()),
            (
                &*format!("Put \"{url}?comp=block&sig=abc%3D&sv=1\": connection refused"),
                format!("Put \"{url}?comp=block&sig=***&sv=1\": connection refused"),
            ),
            (
                &*format!("{url}?sig=abc and {url}?sig=def"),
                format!("{url}?sig=*** and {url}?sig=***"),
            ),
        ] {
            assert_eq!(masked(words), shown);
        }
    }
}
