//! Which runs were stopped: one watcher for all loops of a process.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use protocol::{Job, RunId};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{Bucket, Queue, watch::Raw};

/// Knows which runs were stopped. Watches for as long as someone holds it.
pub(crate) struct Controls {
    runs: Arc<Mutex<Runs>>,
    /// Whether all that was said before we came has been read.
    current: watch::Receiver<bool>,
    _watching: JoinSet<()>,
}

#[derive(Default)]
struct Runs {
    stopped: HashSet<RunId>,
    in_hand: HashMap<RunId, Held>,
}

struct Held {
    jobs: usize,
    stop: CancellationToken,
}

impl Controls {
    /// The one all loops of this connection share.
    pub(crate) fn shared(queue: &Queue) -> Arc<Self> {
        let mut shared = queue
            .shared
            .controls
            .lock()
            .expect("nothing panics with this lock");
        shared.upgrade().unwrap_or_else(|| {
            let controls = Arc::new(Self::start(queue));
            *shared = Arc::downgrade(&controls);
            controls
        })
    }

    fn start(queue: &Queue) -> Self {
        let runs = Arc::default();
        let (told, current) = watch::channel(false);
        let watching = watch_bucket(queue.clone(), Arc::clone(&runs), told);
        let mut tasks = JoinSet::new();
        tasks.spawn(watching);
        Self {
            runs,
            current,
            _watching: tasks,
        }
    }

    /// Waits until stops from before we came are known.
    pub(crate) async fn current(&self) {
        // The sender lives as long as the watching task, and that as long as we.
        drop(self.current.clone().wait_for(|current| *current).await);
    }

    /// Takes a job in hand, handed out for the `attempt`th time. `None` if its run was stopped and
    /// the job is not one that tidies up.
    pub(crate) fn take(&self, job: &Job, attempt: u64) -> Option<InHand> {
        let (_, run) = job.owner();
        let mut runs = lock(&self.runs);
        let over = runs.stopped.contains(&run);
        // Handed out for the first time, it cannot have switched off anything yet.
        let fresh = attempt == 1 && job.switches_off();
        if over && (fresh || !tidies(job)) {
            return None;
        }
        if tidies(job) {
            return Some(InHand {
                runs: None,
                run,
                over,
                stop: CancellationToken::new(),
            });
        }
        let held = runs.in_hand.entry(run).or_insert_with(|| Held {
            jobs: 0,
            stop: CancellationToken::new(),
        });
        held.jobs += 1;
        Some(InHand {
            stop: held.stop.clone(),
            runs: Some(Arc::clone(&self.runs)),
            run,
            over,
        })
    }
}

/// A job that may have switched something, or puts it back, is done and answered also for a run
/// that was stopped: only the answers tell what has to be put back. So is a request: whether it
/// comes too late is the scheduler's to say.
fn tidies(job: &Job) -> bool {
    match job {
        Job::Request(_)
        | Job::SetBalancing(_)
        | Job::PrepareNode(_)
        | Job::DropSnapshot(_)
        | Job::PutBack(_) => true,
        // What a drill has made goes whatever became of it.
        Job::SettleSchema(job) => job.scrap,
        Job::Inspect(_)
        | Job::Ping(_)
        | Job::TakeSnapshot(_)
        | Job::Index(_)
        | Job::StoreSchema(_)
        | Job::Upload(_)
        | Job::Seal(_)
        | Job::Purge(_)
        | Job::Validate(_)
        | Job::ClearSnapshots(_)
        | Job::PlanRestore(_)
        | Job::PrepareSchema(_)
        | Job::ProveRestore(_)
        | Job::LoadBatch(_) => false,
    }
}

/// A job in hand, as far as stopping it goes.
pub(crate) struct InHand {
    runs: Option<Arc<Mutex<Runs>>>,
    run: RunId,
    /// Whether the run had been stopped before.
    pub(crate) over: bool,
    /// Cancelled when the run is stopped.
    pub(crate) stop: CancellationToken,
}

impl Drop for InHand {
    fn drop(&mut self) {
        let Some(runs) = &self.runs else { return };
        let mut runs = lock(runs);
        if let Some(held) = runs.in_hand.get_mut(&self.run) {
            held.jobs -= 1;
            if held.jobs == 0 {
                runs.in_hand.remove(&self.run);
            }
        }
    }
}

fn lock(runs: &Mutex<Runs>) -> MutexGuard<'_, Runs> {
    runs.lock().expect("nothing panics with this lock")
}

async fn watch_bucket(queue: Queue, runs: Arc<Mutex<Runs>>, current: watch::Sender<bool>) {
    let mut changes = queue.watch_raw(Bucket::Control, "");
    while let Some(change) = changes.changes.recv().await {
        match change {
            // Whatever is said of a run, for whatever reason, ends it for its workers.
            Raw::Put { key, .. } => {
                if let Ok(run) = key.parse() {
                    stop(&runs, run);
                }
            }
            Raw::Delete { key } => {
                if let Ok(run) = key.parse() {
                    lock(&runs).stopped.remove(&run);
                }
            }
            Raw::Current => {
                current.send_replace(true);
            }
        }
    }
}

fn stop(runs: &Mutex<Runs>, run: RunId) {
    let mut runs = lock(runs);
    let new = runs.stopped.insert(run);
    if let Some(held) = runs.in_hand.get(&run) {
        if new {
            info!(%run, jobs = held.jobs, "run stopped, leaving off its jobs");
        }
        held.stop.cancel();
    }
}
