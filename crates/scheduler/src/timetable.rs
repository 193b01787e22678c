//! Running tasks when they are due.
//!
//! # Promises
//! * An activation runs **once**: its run's identity follows from the task and the time, and a run is
//!   written down only if it is not there. So a leader that dies between two steps, and one that does
//!   not know yet that it leads no longer, change nothing.
//! * However many activations were missed, one run makes up for them. One that comes while the task
//!   still runs is left out; one that comes while something else keeps the cluster waits for its end.
//! * A run that failed is tried again as often as its schedule says, and goes on where it failed; a
//!   new activation begins anew.

use jiff::Timestamp;
use protocol::{ClusterId, RunId, RunStatus, Task, TaskId};
use queue::Revision;
use schedule::{Given, Invalid, Schedule};
use serde::{Deserialize, Serialize};
use tracing::{Span, error, info};
use uuid::Uuid;

use crate::{
    leader::{Lost, Term},
    properties,
    record::Record,
};

/// Up to when a task's activations were looked after. Key `due.<cluster>.<task>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Due {
    /// In milliseconds since 1970.
    pub(crate) after_ms: u64,
}

/// What a user gives, read.
///
/// # Errors
/// [`Invalid`] names the field.
pub(crate) fn read(schedule: &protocol::Schedule) -> Result<Schedule, Invalid> {
    Schedule::read(&Given {
        cron: &schedule.cron,
        interval: &schedule.interval,
        timezone: &schedule.timezone,
        window: &schedule.window,
        start_date: &schedule.start_date,
        num_retries: schedule.num_retries,
        retry_wait: &schedule.retry_wait,
    })
}

/// The schedule of a task that may run by itself.
fn plan(task: &Task) -> Option<Schedule> {
    let schedule = task.schedule.as_ref()?;
    let plan = (task.enabled && !task.deleted).then(|| read(schedule))?;
    plan.inspect_err(|cause| error!(task = %task.id, %cause, "schedule not understood, left out"))
        .ok()
}

/// Whether a task that is made now begins at once.
pub(crate) fn at_once(task: &Task, now_ms: u64) -> bool {
    let schedule = task.schedule.as_ref();
    let plan = schedule.and_then(|schedule| read(schedule).ok());
    plan.is_none_or(|plan| plan.at_once(time(now_ms)))
}

/// When a task runs next by itself, if it does.
pub(crate) fn next(task: &Task, now_ms: u64) -> Option<u64> {
    let next = plan(task)?.next(time(now_ms), time(task.scheduled_ms))?;
    u64::try_from(next.as_millisecond()).ok()
}

impl Term<'_> {
    /// Begins what is due.
    pub(crate) async fn activate(&mut self) -> Result<(), Lost> {
        let tasks = self.app.memory().tasks.clone();
        let now_ms = crate::now_ms();
        for task in &tasks {
            let Some(plan) = plan(task) else {
                continue;
            };
            let ledger = &self.app.ledger;
            let (cluster, id) = (task.cluster, task.id);
            let due = self.insist("look at what is due", || ledger.due(cluster, id));
            let (after_ms, revision) = match due.await? {
                Some((due, revision)) => (due.after_ms, Some(revision)),
                // What was missed while NATS had lost everything stays so.
                None => {
                    let since = self.insist("look at the buckets", || ledger.since_ms());
                    (since.await?.unwrap_or(now_ms), None)
                }
            };
            let after = time(after_ms.max(task.scheduled_ms));
            let at = plan.latest(after, time(now_ms), time(task.scheduled_ms));
            if let Some(at) = at {
                self.fire(task, at, revision).await?;
            }
        }
        Ok(())
    }

    async fn fire(
        &mut self,
        task: &Task,
        at: Timestamp,
        revision: Option<Revision>,
    ) -> Result<(), Lost> {
        let ledger = &self.app.ledger;
        let Ok(wish) = properties::of_task(task) else {
            return Ok(());
        };
        let runs = self
            .insist("read runs", || ledger.runs(task.cluster))
            .await?;
        let mut open = runs.iter().filter(|run| !run.status.ended());
        let at_ms = u64::try_from(at.as_millisecond()).unwrap_or_default();
        let own = open.clone().find(|run| run.task == task.id);
        if own.is_none() && open.any(|run| wish.exclusive() && run.exclusive()) {
            return Ok(());
        }
        if let Some(own) = own {
            info!(task = %task.id, %at, run = %own.run, "activation left out: the last run goes on still");
        } else {
            let run = identity(task.id, at_ms);
            let record = Record::new(task.cluster, task.id, run, wish, crate::now_ms());
            self.first(record, task, "activation").await?;
        }
        // After the run: what was cut short here finds it there.
        let due = Due { after_ms: at_ms };
        let (cluster, id) = (task.cluster, task.id);
        let ledger = &self.app.ledger;
        self.insist("save what is due", || {
            ledger.set_due((cluster, id), due, revision)
        })
        .await
    }

    /// Begins a run that a schedule asks for, unless it is there.
    async fn first(&mut self, record: Record, task: &Task, why: &str) -> Result<(), Lost> {
        self.held()?;
        let ledger = &self.app.ledger;
        let saved = self
            .insist("write a run", || ledger.new_run(&record))
            .await?;
        if let Some(revision) = saved {
            info!(run = %record.run, cluster = %record.cluster, task = %task.id, why, "run begins by its schedule");
            self.begin(record, revision, &Span::none());
        }
        Ok(())
    }

    /// Tries again what has failed, of a cluster's runs, newest first.
    pub(crate) async fn retry_failed(
        &mut self,
        cluster: ClusterId,
        runs: &[Record],
    ) -> Result<(), Lost> {
        let tasks = self.app.memory().tasks.clone();
        for task in tasks.iter().filter(|task| task.cluster == cluster) {
            let Some(plan) = plan(task) else {
                continue;
            };
            let of_task: Vec<&Record> = runs.iter().filter(|run| run.task == task.id).collect();
            let Some(last) = failed(&of_task, &plan, crate::now_ms()) else {
                continue;
            };
            let Ok(wish) = properties::of_task(task) else {
                continue;
            };
            let mut open = runs.iter().filter(|run| !run.status.ended());
            if open.any(|run| wish.exclusive() && run.exclusive()) {
                continue;
            }
            let run = identity(task.id, last.ended_ms);
            let mut record = Record::new(cluster, task.id, run, wish, crate::now_ms());
            record.resumes = last.resumable().then_some(last.run);
            self.first(record, task, "retry").await?;
        }
        Ok(())
    }
}

/// The run that is to be tried again now. `runs` are those of one task, newest first.
fn failed<'a>(runs: &[&'a Record], plan: &Schedule, now_ms: u64) -> Option<&'a Record> {
    let last = runs.first().filter(|run| run.status == RunStatus::Error)?;
    let wait = plan.retry(retries(runs) + 1)?;
    let wait_ms = u64::try_from(wait.as_millis()).ok()?;
    (last.ended_ms.saturating_add(wait_ms) <= now_ms).then_some(*last)
}

/// How often the newest of a task's runs, newest first, was tried before.
pub(crate) fn retries(runs: &[&Record]) -> u32 {
    // Each try but the first was asked for by the end of the one before.
    let tries = runs.windows(2).take_while(|pair| {
        let again = identity(pair[1].task, pair[1].ended_ms);
        pair[1].status == RunStatus::Error && pair[0].run == again
    });
    u32::try_from(tries.count()).unwrap_or(u32::MAX)
}

/// The run's identity that belongs to a task's time, whoever asks.
fn identity(task: TaskId, ms: u64) -> RunId {
    RunId(Uuid::new_v5(&task.0, &ms.to_be_bytes()))
}

fn time(ms: u64) -> Timestamp {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::backup;

    fn ended(task: TaskId, run: RunId, status: RunStatus, ended_ms: u64) -> Record {
        Record {
            run,
            ended_ms,
            ..backup(task, ended_ms, status)
        }
    }

    #[test]
    fn a_run_that_failed_is_tried_again_in_time_and_so_often() {
        let task = TaskId::generate();
        let schedule = protocol::Schedule {
            num_retries: 2,
            retry_wait: "10s".to_owned(),
            ..protocol::Schedule::default()
        };
        let plan = read(&schedule).unwrap();
        let due = |runs: &[&Record], now_ms| failed(runs, &plan, now_ms).map(|run| run.run);
        let first = ended(task, RunId::generate(), RunStatus::Error, 100_000);
        assert_eq!(due(&[&first], 109_999), None);
        assert_eq!(due(&[&first], 110_000), Some(first.run));
        // Whoever asks for it, and whenever, it is one run.
        let second = ended(task, identity(task, 100_000), RunStatus::Error, 200_000);
        assert_eq!(retries(&[&second, &first]), 1);
        assert_eq!(due(&[&second, &first], 219_999), None);
        assert_eq!(due(&[&second, &first], 220_000), Some(second.run));
        let third = ended(task, identity(task, 200_000), RunStatus::Error, 300_000);
        assert_eq!(due(&[&third, &second, &first], u64::MAX), None);
        // A new activation counts anew.
        let other = ended(task, identity(task, 77), RunStatus::Error, 400_000);
        assert_eq!(
            due(&[&other, &third, &second, &first], 410_000),
            Some(other.run)
        );
        for status in [RunStatus::Done, RunStatus::Stopped, RunStatus::Running] {
            let last = ended(task, RunId::generate(), status, 500_000);
            assert_eq!(due(&[&last, &first], u64::MAX), None, "{status}");
        }
    }
}
