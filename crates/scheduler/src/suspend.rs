//! Keeping a cluster's tasks from running, as for maintenance.
//!
//! # Promises
//! * From the answer on, nothing begins but what is allowed, whoever asks and whatever is due; what
//!   runs is told to stop, or stands in the way of the suspension.
//! * What was due meanwhile is made up for only if that is asked for at the end.

use std::collections::BTreeMap;

use protocol::{Cluster, ClusterId, Control, SuspendRequest, Task, TaskId, TaskKind};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    App,
    api::ApiError,
    ask,
    leader::{Lost, Term},
    record::Record,
    timetable::Due,
};

/// That a cluster is suspended. Key `suspended.<cluster>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspension {
    /// What was asked for.
    pub(crate) request: SuspendRequest,
    /// Since when, in milliseconds since 1970.
    pub(crate) since_ms: u64,
    /// Tasks that were stopped for it.
    pub(crate) stopped: Vec<TaskId>,
}

impl Suspension {
    /// Whether tasks of this kind may not run.
    pub(crate) fn bars(&self, kind: TaskKind) -> bool {
        kind != TaskKind::Suspend && self.request.allow != Some(kind)
    }

    fn is_over(&self, now_ms: u64) -> bool {
        let lasts = self.request.duration_ms;
        lasts > 0 && self.since_ms.saturating_add(lasts) <= now_ms
    }
}

/// How a suspension is ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resume {
    /// Whether tasks that were stopped for it are started.
    pub(crate) start_tasks: bool,
    /// Whether activations that were due meanwhile are made up for.
    pub(crate) missed: bool,
    /// Whether tasks that are started begin anew.
    pub(crate) no_continue: bool,
}

/// All suspensions, by cluster.
pub(crate) type Suspensions = BTreeMap<ClusterId, Suspension>;

/// Refuses to begin a task that may not run now.
pub(crate) async fn allows(app: &App, cluster: &Cluster, kind: TaskKind) -> Result<(), ApiError> {
    let found = app.ledger.suspension(cluster.id).await?;
    match found {
        Some((suspension, _)) if suspension.bars(kind) => Err(ApiError::conflict(barred(cluster))),
        Some(_) | None => Ok(()),
    }
}

/// Why a task does not begin.
pub(crate) fn barred(cluster: &Cluster) -> String {
    format!(
        "cluster {name} is suspended; end that with `thetis resume -c {name}`",
        name = cluster.name
    )
}

/// Suspends a cluster. One that is suspended already is from now on as asked.
pub(crate) async fn suspend(
    app: &App,
    cluster: &Cluster,
    request: &SuspendRequest,
) -> Result<(), ApiError> {
    let before = app.ledger.suspension(cluster.id).await?;
    let mut suspension = Suspension {
        request: request.clone(),
        since_ms: crate::now_ms(),
        stopped: before.map(|(found, _)| found.stopped).unwrap_or_default(),
    };
    if request.fail_if_running {
        let running = running(app, cluster.id, &suspension).await?;
        if let Some(open) = running.first() {
            return Err(ApiError::conflict(format!(
                "{}; or suspend with `--suspend-policy stop_running_tasks`",
                ask::busy(&cluster.name, open)
            )));
        }
    }
    // First nothing begins any more; then what had begun is noted, so that it can be started again
    // whatever happens here, and stopped.
    app.ledger.suspend(cluster.id, &suspension).await?;
    let open = running(app, cluster.id, &suspension).await?;
    if !open.is_empty() {
        suspension.stopped.extend(open.iter().map(|run| run.task));
        app.ledger.suspend(cluster.id, &suspension).await?;
    }
    for run in open {
        let control = &app.ledger.control;
        control.put(&run.run.to_string(), &Control::Stop).await?;
    }
    info!(
        cluster = cluster.name,
        stopped = suspension.stopped.len(),
        "cluster suspended"
    );
    Ok(())
}

/// Runs of tasks that may not go on. What belongs to no task is no part of this.
async fn running(
    app: &App,
    cluster: ClusterId,
    suspension: &Suspension,
) -> Result<Vec<Record>, ApiError> {
    let mut runs = app.ledger.runs(cluster).await?;
    runs.retain(|run| {
        let kind = run.kind();
        let of_task = kind != TaskKind::Delete && kind != TaskKind::Clear;
        !run.status.ended() && of_task && suspension.bars(kind)
    });
    Ok(runs)
}

/// Ends a suspension; nothing happens if there is none.
pub(crate) async fn resume(app: &App, cluster: &Cluster, how: Resume) -> Result<(), ApiError> {
    let Some((suspension, revision)) = app.ledger.suspension(cluster.id).await? else {
        return Ok(());
    };
    let tasks = app.ledger.tasks(cluster.id).await?;
    if !how.missed {
        // Before anything may begin again.
        let due = Due {
            after_ms: crate::now_ms(),
            pending: false,
        };
        for task in tasks.iter().filter(|task| task.schedule.is_some()) {
            if suspension.bars(task.kind()) {
                app.ledger.put_due(cluster.id, task.id, due).await?;
            }
        }
    }
    app.ledger.end_suspension(cluster.id, revision).await?;
    info!(cluster = cluster.name, "cluster resumed");
    if how.start_tasks {
        let goes_on = !how.no_continue && !suspension.request.no_continue;
        for task in tasks
            .iter()
            .filter(|task| suspension.stopped.contains(&task.id))
        {
            if let Err(cause) = again(app, cluster, task, goes_on).await {
                warn!(task = %task.id, cause = cause.message(), "task not started after the suspension");
            }
        }
    }
    Ok(())
}

async fn again(app: &App, cluster: &Cluster, task: &Task, goes_on: bool) -> Result<(), ApiError> {
    ask::may_start(app, cluster, task).await?;
    ask::start(app, cluster, task, goes_on).await.map(drop)
}

impl Term<'_> {
    /// Ends suspensions whose time is up.
    pub(crate) async fn end_suspensions(&mut self) -> Result<(), Lost> {
        let now_ms = crate::now_ms();
        let over: Vec<(Cluster, Suspension)> = {
            let memory = self.app.memory();
            let over = memory
                .suspended
                .iter()
                .filter(|(_, found)| found.is_over(now_ms));
            let named = over.filter_map(|(id, found)| {
                let cluster = memory.clusters.iter().find(|cluster| cluster.id == *id)?;
                Some((cluster.clone(), found.clone()))
            });
            named.collect()
        };
        for (cluster, suspension) in over {
            self.held()?;
            let how = Resume {
                start_tasks: suspension.request.start_tasks,
                ..Resume::default()
            };
            match resume(self.app, &cluster, how).await {
                Ok(()) => drop(self.app.memory().suspended.remove(&cluster.id)),
                Err(cause) => warn!(
                    cluster = cluster.name,
                    cause = cause.message(),
                    "the suspension is not ended yet, trying on"
                ),
            }
        }
        Ok(())
    }
}
