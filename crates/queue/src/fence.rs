//! A fence: work that must not outlive its run asks here before each step that cannot be undone.
//!
//! # Promises
//! * It holds only while the server itself has said, less than [`FRESH`] ago, that the run was not
//!   stopped. A worker that is cut off, or was paused, therefore finds it broken, though nobody
//!   could tell it so.
//! * Once broken by a stop it stays broken.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use protocol::RunId;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::debug;

use crate::{Bucket, Error, Queue, error::Chain, kv::Last};

/// How old the server's word may be.
pub const FRESH: Duration = Duration::from_secs(10);
/// How often it is asked for.
const EVERY: Duration = Duration::from_secs(2);

/// Says whether a run may still change something for good. See the module's promises.
#[derive(Debug)]
pub struct Fence {
    /// When the question was sent whose answer was good; `None` once the run was stopped.
    good: Arc<Mutex<Option<Instant>>>,
    _watching: JoinSet<()>,
}

impl Queue {
    /// A fence around `run`, kept for as long as the value lives.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the server does not say at once how the run stands.
    pub async fn fence(&self, run: RunId) -> Result<Fence, Error> {
        let asked = Instant::now();
        let stopped = self.stopped(run).await?;
        let good = Arc::new(Mutex::new((!stopped).then_some(asked)));
        let mut watching = JoinSet::new();
        watching.spawn(watch(self.clone(), run, Arc::clone(&good)));
        Ok(Fence {
            good,
            _watching: watching,
        })
    }

    async fn stopped(&self, run: RunId) -> Result<bool, Error> {
        match self.last(Bucket::Control, &run.to_string()).await? {
            Last::Value(..) => Ok(true),
            Last::Deleted(_) | Last::Never => Ok(false),
        }
    }
}

impl Fence {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        lock(&self.good).is_some_and(|good| good.elapsed() < FRESH)
    }
}

async fn watch(queue: Queue, run: RunId, good: Arc<Mutex<Option<Instant>>>) {
    while lock(&good).is_some() {
        sleep(EVERY).await;
        let asked = Instant::now();
        match queue.stopped(run).await {
            Ok(stopped) => *lock(&good) = (!stopped).then_some(asked),
            Err(error) => {
                debug!(%run, error = %Chain(&error), "cannot see whether the run goes on")
            }
        }
    }
}

fn lock(good: &Mutex<Option<Instant>>) -> std::sync::MutexGuard<'_, Option<Instant>> {
    good.lock().expect("nothing panics with this lock")
}
