//! A node's task manager: background work with a status that outlives it for a while.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What every task of one operation has in common.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) module: &'static str,
    pub(crate) kind: &'static str,
    /// The task's type.
    pub(crate) name: &'static str,
    pub(crate) scope: &'static str,
    pub(crate) units: &'static str,
    pub(crate) abortable: bool,
    /// Whether its finished status is kept for `user_task_ttl`.
    pub(crate) user: bool,
}

/// The last word on a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Failed(String),
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: Uuid,
    pub(crate) operation: &'static Operation,
    pub(crate) keyspace: String,
    pub(crate) table: String,
    pub(crate) shard: usize,
    pub(crate) total: AtomicU64,
    pub(crate) completed: AtomicU64,
    pub(crate) abort: CancellationToken,
    /// The node has restarted: whatever works for the task stops at once.
    pub(crate) restarted: CancellationToken,
    started: SystemTime,
    end: watch::Sender<Option<(End, SystemTime, Instant)>>,
}

impl Task {
    pub(crate) fn finish(&self, end: End) {
        self.end.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some((end, SystemTime::now(), Instant::now()));
            }
            first
        });
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        // The sender is ours, so it cannot be gone.
        let _ = self.end.subscribe().wait_for(Option::is_some).await;
    }

    fn age(&self) -> Option<Duration> {
        self.end.borrow().as_ref().map(|(_, _, at)| at.elapsed())
    }

    fn state(&self) -> (&'static str, String, SystemTime) {
        match &*self.end.borrow() {
            None => ("running", String::new(), SystemTime::UNIX_EPOCH),
            Some((End::Done, at, _)) => ("done", String::new(), *at),
            Some((End::Failed(error), at, _)) => ("failed", error.clone(), *at),
        }
    }

    /// `task_status`.
    pub(crate) fn status(&self) -> Value {
        let (state, error, end) = self.state();
        let operation = self.operation;
        #[expect(
            clippy::cast_precision_loss,
            reason = "the real thing reports doubles too"
        )]
        let number = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
        json!({
            "id": self.id,
            "type": operation.name,
            "kind": operation.kind,
            "scope": operation.scope,
            "state": state,
            "is_abortable": operation.abortable,
            "start_time": time(self.started),
            "end_time": time(end),
            "error": error,
            "parent_id": "none",
            "sequence_number": 0,
            "shard": self.shard,
            "keyspace": self.keyspace,
            "table": self.table,
            "entity": "",
            "progress_units": operation.units,
            "progress_total": number(&self.total),
            "progress_completed": number(&self.completed),
        })
    }

    /// `task_stats`.
    pub(crate) fn stats(&self) -> Value {
        let (state, _, end) = self.state();
        let operation = self.operation;
        json!({
            "task_id": self.id,
            "type": operation.name,
            "kind": operation.kind,
            "scope": operation.scope,
            "state": state,
            "sequence_number": 0,
            "keyspace": self.keyspace,
            "table": self.table,
            "entity": "",
            "shard": self.shard,
            "start_time": time(self.started),
            "end_time": time(end),
        })
    }
}

/// Seconds, UTC.
pub(crate) fn time(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[derive(Debug)]
pub(crate) struct Tasks {
    tasks: Mutex<HashMap<Uuid, Arc<Task>>>,
    /// Seconds a finished task's status is kept, `user_task_ttl` and `task_ttl`.
    pub(crate) user_ttl: AtomicU64,
    pub(crate) ttl: AtomicU64,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            tasks: Mutex::default(),
            user_ttl: AtomicU64::new(3600),
            ttl: AtomicU64::new(0),
        }
    }
}

impl Tasks {
    fn tasks(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Task>>> {
        let mut tasks = self.tasks.lock().expect("no panic while held");
        let kept = |task: &Task| {
            let ttl = if task.operation.user {
                &self.user_ttl
            } else {
                &self.ttl
            };
            let ttl = Duration::from_secs(ttl.load(Ordering::Relaxed));
            task.age().is_none_or(|age| age < ttl)
        };
        tasks.retain(|_, task| kept(task));
        tasks
    }

    /// Registers a running task.
    pub(crate) fn start(
        &self,
        operation: &'static Operation,
        keyspace: &str,
        table: &str,
        shard: usize,
    ) -> Arc<Task> {
        let task = Arc::new(Task {
            id: Uuid::new_v4(),
            operation,
            keyspace: keyspace.to_owned(),
            table: table.to_owned(),
            shard,
            total: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            abort: CancellationToken::new(),
            restarted: CancellationToken::new(),
            started: SystemTime::now(),
            end: watch::Sender::new(None),
        });
        self.tasks().insert(task.id, Arc::clone(&task));
        task
    }

    /// Makes a cluster task known here too.
    pub(crate) fn share(&self, task: &Arc<Task>) {
        self.tasks().insert(task.id, Arc::clone(task));
    }

    pub(crate) fn get(&self, id: Uuid) -> Option<Arc<Task>> {
        self.tasks().get(&id).cloned()
    }

    pub(crate) fn of(&self, module: &str) -> Vec<Arc<Task>> {
        self.tasks()
            .values()
            .filter(|task| task.operation.module == module)
            .cloned()
            .collect()
    }

    /// Whether a task of the module is running.
    pub(crate) fn busy(&self, module: &str) -> bool {
        self.of(module).iter().any(|task| task.age().is_none())
    }

    /// Forgets the finished ones of a module.
    pub(crate) fn drain(&self, module: &str) {
        self.tasks()
            .retain(|_, task| task.operation.module != module || task.age().is_none());
    }

    /// Stops and forgets all: the node restarts.
    pub(crate) fn clear(&self) {
        self.tasks()
            .drain()
            .for_each(|(_, task)| task.restarted.cancel());
    }
}
