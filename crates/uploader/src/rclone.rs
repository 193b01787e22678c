//! Having rclone store files.
//!
//! For a table's files of a chunk rclone is told their names in the snapshot's directory, and copies them
//! to where the own engine would have put them. They are read once beforehand, and looked for in
//! the bucket afterwards: see [`Errand`].
//!
//! # Promises
//! * It is gone when nobody has files to copy, and when this process is.
//! * Told to stop, it takes back what it has begun, and this leaves off within a second.

use std::time::Duration;

use catalog::{Chunk, ReceiptFile};
use protocol::{Method, Upload};
use queue::CancellationToken;
use scylla::DataDir;
use service::Chain;
use store::{Copy, Files, Step};
use tokio::sync::watch;
use tracing::{debug, info};

use crate::{
    errand::{Errand, Outcome},
    failure::{Failure, is_settled},
    share::{Part, Share},
};

/// How often it is looked for where there was none.
const LOOK: Duration = Duration::from_secs(30);
/// How often it is asked for a part, at one attempt at its chunk.
const TRIES: u32 = 3;

const WHO: &str = "rclone";

/// rclone, as one that uploads.
pub(crate) struct Rclone {
    rclone: store::Rclone,
    data_dir: DataDir,
    told: watch::Sender<Option<String>>,
}

impl Rclone {
    pub(crate) fn new(rclone: store::Rclone, data_dir: DataDir) -> Self {
        Self {
            rclone,
            data_dir,
            told: watch::Sender::new(None),
        }
    }

    /// Its version, if there is one.
    pub(crate) fn told(&self) -> Option<String> {
        self.told.borrow().clone()
    }

    /// Looks whether it is there, for others to know.
    pub(crate) async fn look(&self) {
        match self.rclone.version().await {
            Ok(version) => drop(self.told.send_replace(Some(version))),
            Err(error) => debug!(error = %Chain(&error), "there is no rclone here"),
        }
    }

    /// Looks on until it is there, or `stop`.
    pub(crate) async fn look_on(&self, stop: &CancellationToken) {
        while self.told().is_none() && !service::pause(stop, LOOK).await {
            self.look().await;
        }
    }

    /// Shares out a chunk.
    pub(crate) fn share(&self, job: &Upload, chunk: &Chunk) -> Share {
        match store::Rclone::serves(job.location.provider) {
            true => Share::others(chunk, Method::Rclone, "asked for"),
            false => Share::refused(
                chunk,
                "rclone does not see to it that files are on the disk",
            ),
        }
    }

    /// Has the parts stored, one after the other, until one fails.
    pub(crate) async fn store(&self, errand: &Errand<'_>, parts: &[Part]) -> Outcome {
        let mut outcome = Outcome::default();
        for (at, part) in parts.iter().enumerate() {
            match self.part(errand, part).await {
                Ok(files) => outcome.proven.extend(files),
                Err(failure) => {
                    outcome.failed = Some((at, failure));
                    break;
                }
            }
        }
        outcome
    }

    /// Has one part stored, and proven by the bucket.
    async fn part(
        &self,
        errand: &Errand<'_>,
        part: &Part,
    ) -> Result<Vec<(usize, ReceiptFile)>, Failure> {
        let Errand { job, chunk, .. } = errand;
        let files = part.files.clone();
        let checked = errand.check_files(&self.data_dir, true, files).await?;
        let from = self.data_dir.path().join(&part.snapshot);
        let (mut tries, mut failed) = (0, None);
        loop {
            let missing = errand.missing(part).await?;
            let Some(first) = missing.first() else {
                errand.metrics.files.inc_by(part.files.len() as u64);
                return Ok(checked);
            };
            if tries == TRIES {
                let (who, key) = (WHO, chunk.files[*first].key.clone());
                return Err(failed.unwrap_or(Failure::Unproven { who, key, tries }));
            }
            tries += 1;
            let names = missing.iter().map(|at| {
                let path = chunk.files[*at].path.as_str();
                path.rsplit('/').next().unwrap_or_default()
            });
            let names: Vec<&str> = names.collect();
            let files = Files {
                from: &from,
                names: &names,
                to: &part.prefix,
                transfers: job.pace.transfers.map(|transfers| transfers as usize),
                class: job.storage_class.as_deref(),
            };
            debug!(run = %job.run, chunk = job.chunk, table = %part.table, files = names.len(), "rclone uploads");
            let copy = self.rclone.copy(&job.location, &files);
            let copy = copy.await.map_err(Failure::store(attempt(part)))?;
            match self.follow(errand, part, copy).await {
                Err(Failure::Task { words, table, who }) if !is_settled(&words) => {
                    info!(run = %job.run, chunk = job.chunk, %table, words, "rclone failed; looking what it has stored");
                    failed = Some(Failure::Task { words, table, who });
                }
                ended => ended?,
            }
        }
    }

    /// Waits for a copy's end.
    async fn follow(
        &self,
        errand: &Errand<'_>,
        part: &Part,
        mut copy: Copy,
    ) -> Result<(), Failure> {
        loop {
            let Some(step) = errand.leave.run_until_cancelled(copy.step()).await else {
                copy.stop().await;
                return Err(Failure::Stopped);
            };
            match step.map_err(Failure::store(attempt(part)))? {
                Step::Sent(0) => {}
                Step::Sent(bytes) => {
                    errand.metrics.sent.inc_by(bytes);
                    errand.ctx.alive.moved(bytes);
                }
                Step::Done => return Ok(()),
                Step::Failed(words) => {
                    return Err(Failure::Task {
                        who: WHO,
                        table: part.table.clone(),
                        words,
                    });
                }
            }
        }
    }
}

fn attempt(part: &Part) -> String {
    format!("have rclone store files of {}", part.table)
}
