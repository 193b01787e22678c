//! Running tasks when they are due.
//!
//! # Promises
//! * An activation runs **once**: its run's identity follows from the task and the time, and a run is
//!   written down only if it is not there. So a leader that dies between two steps, and one that does
//!   not know yet that it leads no longer, change nothing.
//! * However many activations were missed, one run makes up for them. One that comes while the task
//!   still runs is left out; one that comes while something else keeps the cluster, or while the task's
//!   window is closed, waits for that to change.
//! * A run is stopped when its window closes, and goes on when one opens; one that a user started
//!   outside its window is left to run.
//! * A run that failed is tried again as often as its schedule says, and goes on where it failed; a
//!   new activation begins anew.
//! * Nothing is begun for a suspended cluster, but for the type of task that is allowed there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use protocol::{ClusterId, Control, RunId, RunStatus, Task, TaskId};
use queue::Revision;
use schedule::{Given, Invalid, Schedule};
use serde::{Deserialize, Serialize};
use tracing::{Span, error, info};
use uuid::Uuid;

use crate::{
    leader::{Lost, Term},
    properties::{self, Wish},
    record::Record,
};

/// How soon to look again at an activation that waits for its cluster.
const AGAIN_MS: u64 = 1_000;

/// Up to when a task's activations were looked after. Key `due.<cluster>.<task>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Due {
    /// In milliseconds since 1970.
    pub(crate) after_ms: u64,
    /// Whether that time itself is one that waits: a task was made to run at once, and could not.
    #[serde(default)]
    pub(crate) pending: bool,
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

/// The schedule of a task, whether it may run or not.
fn plan(task: &Task) -> Option<Schedule> {
    let plan = read(task.schedule.as_ref()?);
    plan.inspect_err(|cause| error!(task = %task.id, %cause, "schedule not understood, left out"))
        .ok()
}

/// The schedule of a task that may run by itself.
fn active(task: &Task) -> Option<Schedule> {
    (task.enabled && !task.deleted).then(|| plan(task))?
}

/// Whether a task that is made now begins at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    AtOnce,
    /// It would, but its window is closed: it begins when one opens.
    WhenOpen,
    Later,
}

/// When a task that is made now begins.
pub(crate) fn start(task: &Task, now_ms: u64) -> Start {
    let now = time(now_ms);
    match plan(task) {
        Some(plan) if !plan.at_once(now) => Start::Later,
        Some(plan) if plan.windows().open(now).is_none() => Start::WhenOpen,
        Some(_) | None => Start::AtOnce,
    }
}

/// When a task runs next by itself, if it does. `last` is how its latest run stands.
pub(crate) fn next(task: &Task, last: Option<RunStatus>, now_ms: u64) -> Option<u64> {
    let (plan, now) = (active(task)?, time(now_ms));
    let waits = match last {
        Some(RunStatus::Waiting) => true,
        Some(_) => false,
        None => plan.at_once(time(task.scheduled_ms)),
    };
    let next = match waits && plan.windows().open(now).is_none() {
        true => Some(now),
        false => plan.next(now, time(task.scheduled_ms)),
    };
    let open = plan.windows().next(next?)?;
    u64::try_from(open.as_millisecond()).ok()
}

/// What a leader knows of tasks' times, so that it need not ask at each look.
#[derive(Default)]
pub(crate) struct Agenda {
    entries: BTreeMap<TaskId, Entry>,
    /// What lies in the bucket, as far as it was read.
    dues: BTreeMap<TaskId, (Due, Revision)>,
    /// When activations are to be looked at, at the latest.
    soonest_ms: u64,
}

impl Agenda {
    pub(crate) fn new(dues: Vec<(TaskId, Due, Revision)>) -> Self {
        let dues = dues.into_iter().map(|(task, due, at)| (task, (due, at)));
        Self {
            dues: dues.collect(),
            ..Self::default()
        }
    }

    /// Has a task looked at anew.
    pub(crate) fn forget(&mut self, task: TaskId) {
        self.entries.remove(&task);
        self.dues.remove(&task);
        self.soonest_ms = 0;
    }

    /// Forgets tasks that are no more.
    pub(crate) fn keep(&mut self, tasks: &[Task]) {
        if self.entries.len() > tasks.len() || self.dues.len() > tasks.len() {
            let known: BTreeSet<TaskId> = tasks.iter().map(|task| task.id).collect();
            self.entries.retain(|task, _| known.contains(task));
            self.dues.retain(|task, _| known.contains(task));
        }
    }

    /// Milliseconds until something is due.
    pub(crate) fn away_ms(&self, now_ms: u64) -> u64 {
        self.soonest_ms.saturating_sub(now_ms)
    }
}

/// A task on the agenda.
struct Entry {
    /// What the plan was read from.
    enabled: bool,
    scheduled_ms: u64,
    schedule: Option<protocol::Schedule>,
    /// None of a task that does not run by itself.
    plan: Option<Arc<Schedule>>,
    /// When to look at it.
    look_ms: u64,
    /// Whether its window was open at the last look.
    open: bool,
}

impl Entry {
    fn of(task: &Task, now_ms: u64) -> Self {
        let plan = active(task);
        let open = |plan: &Schedule| plan.windows().open(time(now_ms)).is_some();
        Self {
            enabled: task.enabled && !task.deleted,
            scheduled_ms: task.scheduled_ms,
            schedule: task.schedule.clone(),
            open: plan.as_ref().is_none_or(open),
            plan: plan.map(Arc::new),
            look_ms: 0,
        }
    }

    fn is_of(&self, task: &Task) -> bool {
        self.enabled == (task.enabled && !task.deleted)
            && self.scheduled_ms == task.scheduled_ms
            && self.schedule == task.schedule
    }
}

/// What became of an activation.
enum Fired {
    /// It is looked after.
    Done,
    /// It waits for its cluster.
    Waits,
}

impl Term<'_> {
    /// Begins what is due.
    pub(crate) async fn activate(&mut self) -> Result<(), Lost> {
        let (tasks, suspended) = {
            let memory = self.app.memory();
            (memory.tasks.clone(), memory.suspended.clone())
        };
        let now_ms = crate::now_ms();
        let mut soonest_ms = u64::MAX;
        for task in tasks.iter() {
            let known = self.agenda.entries.get(&task.id);
            if known.is_none_or(|entry| !entry.is_of(task)) {
                let mut entry = Entry::of(task, now_ms);
                // What waits for a window may wait for one that a change has brought.
                entry.open &= known.is_none();
                self.agenda.entries.insert(task.id, entry);
            }
            let entry = self.agenda.entries.get_mut(&task.id);
            let entry = entry.expect("it was put there just now");
            let Some(plan) = entry.plan.clone() else {
                continue;
            };
            let opens = plan.windows().open(time(now_ms)).is_some();
            if opens && !entry.open {
                // What waits for that goes on.
                self.kept_house = None;
            }
            entry.open = opens;
            let look_ms = entry.look_ms;
            let barred = suspended.get(&task.cluster);
            if barred.is_some_and(|barred| barred.bars(task.kind())) {
                continue;
            }
            if now_ms >= look_ms {
                let look_ms = match opens {
                    true => self.look(task, &plan, now_ms).await?,
                    false => millis(plan.windows().next(time(now_ms))),
                };
                if let Some(entry) = self.agenda.entries.get_mut(&task.id) {
                    entry.look_ms = look_ms;
                }
            }
            if let Some(entry) = self.agenda.entries.get(&task.id) {
                soonest_ms = soonest_ms.min(entry.look_ms);
            }
        }
        self.agenda.soonest_ms = soonest_ms;
        Ok(())
    }

    /// Begins what is due of a task; says when to look again.
    async fn look(&mut self, task: &Task, plan: &Schedule, now_ms: u64) -> Result<u64, Lost> {
        let made = time(task.scheduled_ms);
        let known = self.agenda.dues.get(&task.id).copied();
        let (due, revision) = match known {
            Some((due, revision)) => (due, Some(revision)),
            None => self.due(task, now_ms).await?,
        };
        let after = time(due.after_ms.max(task.scheduled_ms));
        let now = time(now_ms);
        let latest = plan.latest(after, now, made);
        let pending = due.pending.then(|| time(due.after_ms));
        if let Some(at) = latest.or(pending)
            && let Fired::Waits = self.fire(task, at, revision).await?
        {
            return Ok(now_ms.saturating_add(AGAIN_MS));
        }
        Ok(millis(plan.next(now, made)))
    }

    /// Up to when a task was looked after of which this leader has not heard.
    async fn due(&mut self, task: &Task, now_ms: u64) -> Result<(Due, Option<Revision>), Lost> {
        let ledger = &self.app.ledger;
        let (cluster, id) = (task.cluster, task.id);
        let found = self.insist("look at what is due", || ledger.due(cluster, id));
        if let Some((due, revision)) = found.await? {
            self.agenda.dues.insert(id, (due, revision));
            return Ok((due, Some(revision)));
        }
        // What was missed while NATS had lost everything stays so.
        let since = self.insist("look at the buckets", || ledger.since_ms());
        let due = Due {
            after_ms: since.await?.unwrap_or(now_ms),
            pending: false,
        };
        Ok((due, None))
    }

    async fn fire(
        &mut self,
        task: &Task,
        at: Timestamp,
        revision: Option<Revision>,
    ) -> Result<Fired, Lost> {
        let Ok(wish) = properties::of_task(task) else {
            return Ok(Fired::Done);
        };
        let own = self.under_way().find(|(of, _)| *of == task.id).is_some();
        if !own && self.is_busy(task.cluster, &wish) {
            return Ok(Fired::Waits);
        }
        let at_ms = u64::try_from(at.as_millisecond()).unwrap_or_default();
        if own {
            info!(task = %task.id, %at, "activation left out: the last run goes on still");
        } else if self.waits_for_window(task).await? {
            info!(task = %task.id, %at, "activation left out: the last run goes on now that its window is open");
        } else {
            let run = identity(task.id, at_ms);
            let record = Record::new(task.cluster, task.id, run, wish, crate::now_ms());
            self.first(record, task, "activation").await?;
        }
        // After the run: what was cut short here finds it there.
        let due = Due {
            after_ms: at_ms,
            pending: false,
        };
        let (cluster, id) = (task.cluster, task.id);
        let ledger = &self.app.ledger;
        let saved = self.insist("save what is due", || {
            ledger.set_due((cluster, id), due, revision)
        });
        match saved.await? {
            Some(revision) => drop(self.agenda.dues.insert(id, (due, revision))),
            // Somebody else did meanwhile: the next look asks.
            None => drop(self.agenda.dues.remove(&id)),
        }
        Ok(Fired::Done)
    }

    /// Tasks of which a run is under way or about to be, and their clusters if nothing else may run there.
    fn under_way(&self) -> impl Iterator<Item = (TaskId, Option<ClusterId>)> {
        let open = self.open.values().map(|open| &open.record);
        let begun = open.map(|record| {
            let cluster = record.exclusive().then_some(record.cluster);
            (record.task, cluster)
        });
        begun.chain(self.starting.values().copied())
    }

    /// Whether what is wished for cannot run now beside what does.
    fn is_busy(&self, cluster: ClusterId, wish: &Wish) -> bool {
        wish.exclusive() && self.under_way().any(|(_, of)| of == Some(cluster))
    }

    /// Whether the task's last run waits for its window.
    async fn waits_for_window(&self, task: &Task) -> Result<bool, Lost> {
        let windows = task.schedule.as_ref().map(|schedule| &schedule.window);
        if windows.is_none_or(Vec::is_empty) {
            return Ok(false);
        }
        let ledger = &self.app.ledger;
        let runs = self.insist("read runs", || ledger.runs(task.cluster));
        let runs = runs.await?;
        let last = runs.iter().find(|run| run.task == task.id);
        Ok(last.is_some_and(|last| last.status == RunStatus::Waiting))
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

    /// Stops runs whose windows have closed since they began.
    pub(crate) async fn close_windows(&mut self) -> Result<(), Lost> {
        let now = time(crate::now_ms());
        let closed = |record: &Record| {
            let memory = self.app.memory();
            let task = memory.tasks.iter().find(|task| task.id == record.task)?;
            let plan = plan(task)?;
            let began = plan.windows().open(time(record.asked_ms)).is_some();
            (began && plan.windows().open(now).is_none()).then_some(record.run)
        };
        let running = self.open.values().map(|open| &open.record);
        // One that has only to tidy up goes on to its end, and is told once.
        let running = running.filter(|record| record.status == RunStatus::Running && !record.waits);
        let closed: Vec<RunId> = running.filter_map(closed).collect();
        for run in closed {
            info!(%run, "its window has closed");
            let control = &self.app.ledger.control;
            let key = run.to_string();
            self.insist("stop a run", || control.put(&key, &Control::Wait))
                .await?;
            self.told_to_stop(&key, Control::Wait).await?;
        }
        Ok(())
    }

    /// Tries again what has failed, and goes on with what has waited for a window, of a cluster's runs,
    /// newest first.
    pub(crate) async fn retry_failed(
        &mut self,
        cluster: ClusterId,
        runs: &[Record],
    ) -> Result<(), Lost> {
        let (tasks, barred) = {
            let memory = self.app.memory();
            (
                memory.tasks.clone(),
                memory.suspended.get(&cluster).cloned(),
            )
        };
        let now_ms = crate::now_ms();
        for task in tasks.iter().filter(|task| task.cluster == cluster) {
            if barred
                .as_ref()
                .is_some_and(|barred| barred.bars(task.kind()))
            {
                continue;
            }
            let Some(plan) = active(task) else {
                continue;
            };
            let of_task: Vec<&Record> = runs.iter().filter(|run| run.task == task.id).collect();
            let Some((last, at_ms)) = again(&of_task, &plan) else {
                continue;
            };
            let open = plan.windows().open(time(now_ms)).is_some();
            if at_ms > now_ms || !open {
                let opens_ms = millis(plan.windows().next(time(at_ms.max(now_ms))));
                self.house_ms = self.house_ms.min(opens_ms);
                continue;
            }
            let Ok(wish) = properties::of_task(task) else {
                continue;
            };
            if self.is_busy(cluster, &wish) {
                continue;
            }
            let run = identity(task.id, last.ended_ms);
            let mut record = Record::new(cluster, task.id, run, wish, now_ms);
            let fresh = last.fresh(runs, now_ms, self.app.config.scheduler.continue_hours);
            record.resumes = (last.resumable() && fresh).then_some(last.run);
            self.first(record, task, "goes on").await?;
        }
        Ok(())
    }
}

/// The run that is to be tried again or to go on, and when. `runs` are those of one task, newest first.
fn again<'a>(runs: &[&'a Record], plan: &Schedule) -> Option<(&'a Record, u64)> {
    let last = *runs.first()?;
    match last.status {
        RunStatus::Waiting => Some((last, last.ended_ms)),
        RunStatus::Error => {
            let wait = plan.retry(retries(runs) + 1)?;
            let wait_ms = u64::try_from(wait.as_millis()).ok()?;
            Some((last, last.ended_ms.saturating_add(wait_ms)))
        }
        RunStatus::New
        | RunStatus::Running
        | RunStatus::Stopping
        | RunStatus::Stopped
        | RunStatus::Done
        | RunStatus::Aborted => None,
    }
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

pub(crate) fn time(ms: u64) -> Timestamp {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

/// In milliseconds since 1970; for ever if there is no such time.
fn millis(at: Option<Timestamp>) -> u64 {
    at.and_then(|at| u64::try_from(at.as_millisecond()).ok())
        .unwrap_or(u64::MAX)
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
        let due = |runs: &[&Record], now_ms| {
            let found = again(runs, &plan).filter(|(_, at_ms)| *at_ms <= now_ms);
            found.map(|(run, _)| run.run)
        };
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

    #[test]
    fn a_window_puts_off_what_would_run_outside_of_it() {
        let schedule = protocol::Schedule {
            window: vec!["02:00".to_owned(), "04:00".to_owned()],
            ..protocol::Schedule::default()
        };
        let at = |text: &str| {
            let at: Timestamp = text.parse().unwrap();
            u64::try_from(at.as_millisecond()).unwrap()
        };
        let task = Task {
            schedule: Some(schedule.clone()),
            scheduled_ms: at("2026-03-01T12:00:00Z"),
            ..task()
        };
        assert_eq!(start(&task, at("2026-03-01T12:00:00Z")), Start::WhenOpen);
        assert_eq!(start(&task, at("2026-03-01T02:30:00Z")), Start::AtOnce);
        let night = Some(at("2026-03-02T02:00:00Z"));
        assert_eq!(next(&task, None, at("2026-03-01T12:00:01Z")), night);
        let waiting = Some(RunStatus::Waiting);
        assert_eq!(next(&task, waiting, at("2026-03-01T04:00:00Z")), night);
        assert_eq!(
            next(&task, Some(RunStatus::Done), at("2026-03-01T12:00:01Z")),
            None
        );
        let hourly = Task {
            schedule: Some(protocol::Schedule {
                cron: "30 * * * *".to_owned(),
                ..schedule
            }),
            ..task
        };
        assert_eq!(start(&hourly, at("2026-03-01T12:00:00Z")), Start::Later);
        // The one of 4:30 waits for the night after.
        let later = next(&hourly, Some(RunStatus::Done), at("2026-03-02T03:30:00Z"));
        assert_eq!(later, Some(at("2026-03-03T02:00:00Z")));
        let off = Task {
            enabled: false,
            ..hourly
        };
        assert_eq!(next(&off, None, at("2026-03-01T12:00:00Z")), None);
    }

    fn task() -> Task {
        Task {
            id: TaskId::generate(),
            cluster: ClusterId::generate(),
            name: String::new(),
            labels: BTreeMap::new(),
            tags: Vec::new(),
            enabled: true,
            deleted: false,
            schedule: None,
            scheduled_ms: 0,
            backup: None,
            restore: None,
            validate: None,
            suspend: None,
        }
    }
}
