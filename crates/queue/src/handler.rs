//! What a worker is to the queue.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::{Fact, Job, NodeId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Does jobs.
///
/// A job may come again after it was done, and two workers may have the same one in hand for a
/// while: each job says in `protocol` what doing it again means.
pub trait Handler: Send + Sync + 'static {
    /// Does one job, and says what happened. `Ok(None)` is for what nobody needs to hear of.
    ///
    /// Must heed `ctx.stop` within seconds, also in the middle of a file, and tell `ctx.alive` of
    /// every step. It is aborted at an `await` when it does not.
    fn handle(
        &self,
        job: Job,
        ctx: Context,
    ) -> impl Future<Output = Result<Option<Fact>, JobError>> + Send;

    /// The node that events are about; `None` for a handler that works for no node.
    fn node(&self) -> Option<NodeId>;
}

/// What a handler knows of the job besides the job.
#[derive(Clone, Debug)]
pub struct Context {
    /// How often the job has been handed out, this time included: 1 the first time.
    pub attempt: u64,
    /// Whether the job's run was stopped or has ended. Only jobs that
    /// [switch off](Job::switches_off) something, and those that tidy up, are handed out then. The
    /// former have perhaps been done before: they are answered, but not done again.
    pub over: bool,
    /// Cancelled when the job is to be left off: its run was stopped, this process shuts down, or
    /// it stalled. Answer with [`JobError::Stopped`].
    pub stop: CancellationToken,
    /// Tell it of every step: without a step for too long the job is taken away.
    pub alive: Alive,
}

impl Context {
    /// A context of its own, as for a test of a handler.
    #[must_use]
    pub fn new(attempt: u64, stop: CancellationToken) -> Self {
        Self {
            attempt,
            over: false,
            stop,
            alive: Alive::default(),
        }
    }
}

/// Why a job was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// It may go better later. The text becomes the run's cause if it never does.
    #[error("{0}")]
    Retry(String),
    /// Trying again would not help.
    #[error("{0}")]
    Refuse(String),
    /// Left off because `ctx.stop` was cancelled.
    #[error("stopped")]
    Stopped,
}

/// A job's sign of life. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Alive(Arc<Life>);

#[derive(Debug)]
struct Life {
    bytes: AtomicU64,
    last: Mutex<Instant>,
}

impl Default for Alive {
    fn default() -> Self {
        Self(Arc::new(Life {
            bytes: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
        }))
    }
}

impl Alive {
    /// Something moved: `bytes` of data, or 0 for a step that moves none.
    pub fn moved(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        *self.last() = Instant::now();
    }

    /// Bytes moved so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// How long nothing has moved.
    #[must_use]
    pub fn still(&self) -> Duration {
        self.last().elapsed()
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.0.last.lock().expect("nothing panics with this lock")
    }
}
