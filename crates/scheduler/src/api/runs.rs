//! `/cluster/{cluster}/task/{type}/{task}/history` and `.../{run}`.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::sse::{Event as SseEvent, KeepAlive, Sse},
};
use futures::{Stream, stream};
use protocol::{ClusterId, RunId, Task, TaskKind};
use serde::Serialize;
use tokio::time::sleep;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Ref, RefOr,
        schema::{AnyOfBuilder, Schema},
    },
};

use super::{
    ApiError, BackupProgress, ErrorBody, HistoryQuery, RestoreProgress, TaskRun, TaskRunProgress,
    ValidateRun, shape::time, tasks::find,
};
use crate::{App, progress, record::Record};

/// How many runs a history shows unless told otherwise.
const LIMIT: usize = 10;
/// How often is looked whether somebody who watches has to be told something.
const EVERY: Duration = Duration::from_secs(1);

/// How far a run is, by the kind of its task.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum AnyProgress {
    Backup(TaskRunProgress<BackupProgress>),
    Restore(TaskRunProgress<RestoreProgress>),
    Validate(ValidateRun),
    Suspend(TaskRunProgress<serde_json::Value>),
}

// Not derived: that would say that it is exactly one of these, and a run without progress fits several.
impl PartialSchema for AnyProgress {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(Ref::from_schema_name(
                TaskRunProgress::<BackupProgress>::name(),
            ))
            .item(Ref::from_schema_name(
                TaskRunProgress::<RestoreProgress>::name(),
            ))
            .item(Ref::from_schema_name(ValidateRun::name()))
            .into()
    }
}

impl ToSchema for AnyProgress {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        fn with<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
            schemas.push((T::name().into_owned(), T::schema()));
            T::schemas(schemas);
        }
        with::<TaskRunProgress<BackupProgress>>(schemas);
        with::<TaskRunProgress<RestoreProgress>>(schemas);
        with::<ValidateRun>(schemas);
    }
}

/// What a stream of events consists of.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described")]
pub(super) struct RunEvent {
    /// `progress` or `end`.
    event: String,
    /// JSON: of `progress`, what the run itself answers; of `end`, nothing.
    data: String,
}

/// The task's runs, newest first.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/task/{type}/{task}/history", tag = "runs",
    params(("cluster" = String, Path, description = "id or name"), ("type" = String, Path, description = "`backup`, `restore`, `validate_backup` or `suspend`"), ("task" = String, Path, description = "id or name"), HistoryQuery),
    responses((status = 200, body = Vec<TaskRun>), (status = 404, body = ErrorBody))
)]
pub(super) async fn history(
    State(app): State<App>,
    Path(path): Path<(String, String, String)>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<Vec<TaskRun>>, ApiError> {
    let Query(query) = query?;
    let (_, task) = find(&app, &path).await?;
    let runs = app.ledger.runs(task.cluster).await?;
    let of_task = runs
        .iter()
        .filter(|run| run.task == task.id)
        .take(query.limit.unwrap_or(LIMIT));
    Ok(Json(of_task.map(body).collect()))
}

/// A run and how far it is. `run` is its id, `latest`, or `~N` for the Nth before the latest.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/task/{type}/{task}/{run}", tag = "runs",
    params(("cluster" = String, Path, description = "id or name"), ("type" = String, Path, description = "`backup`, `restore`, `validate_backup` or `suspend`"), ("task" = String, Path, description = "id or name"), ("run" = String, Path, description = "id, `latest` or `~N`")),
    responses((status = 200, body = AnyProgress), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn show(
    State(app): State<App>,
    Path((cluster, kind, task, run)): Path<(String, String, String, String)>,
) -> Result<Json<AnyProgress>, ApiError> {
    let (_, task) = find(&app, &(cluster, kind, task)).await?;
    let record = choose(&app, &task, &run).await?;
    Ok(Json(progress_of(&app, &record).await?))
}

/// The same as it changes, as server-sent events: `progress` with the same JSON each time it has changed,
/// at most once a second, and `end` after the run's end.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/task/{type}/{task}/{run}/events", tag = "runs",
    params(("cluster" = String, Path, description = "id or name"), ("type" = String, Path, description = "`backup`, `restore`, `validate_backup` or `suspend`"), ("task" = String, Path, description = "id or name"), ("run" = String, Path, description = "id, `latest` or `~N`")),
    responses((status = 200, content_type = "text/event-stream", body = RunEvent), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn events(
    State(app): State<App>,
    Path((cluster, kind, task, run)): Path<(String, String, String, String)>,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    let (_, task) = find(&app, &(cluster, kind, task)).await?;
    let record = choose(&app, &task, &run).await?;
    let watched = Watched {
        app,
        cluster: record.cluster,
        run: record.run,
        told: String::new(),
        at: At::Begin,
    };
    let events = stream::unfold(watched, |mut watched| async move {
        let event = watched.next().await?;
        Some((Ok(event), watched))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// A run that somebody watches.
struct Watched {
    app: App,
    cluster: ClusterId,
    run: RunId,
    told: String,
    at: At,
}

/// How far the telling is.
enum At {
    Begin,
    Going,
    Ended,
    Over,
}

impl Watched {
    /// What is to be told next; `None` after the end.
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            match self.at {
                At::Over => return None,
                At::Ended => {
                    self.at = At::Over;
                    return Some(SseEvent::default().event("end").data("{}"));
                }
                At::Begin => self.at = At::Going,
                At::Going => sleep(EVERY).await,
            }
            // What NATS does not answer now it will later; the client is told that we are there.
            let Ok(found) = self.app.ledger.run(self.cluster, self.run).await else {
                continue;
            };
            let Some((record, _)) = found else {
                self.at = At::Ended;
                continue;
            };
            let Ok(progress) = progress_of(&self.app, &record).await else {
                continue;
            };
            if record.status.ended() {
                self.at = At::Ended;
            }
            let text = serde_json::to_string(&progress).expect("progress is plain data");
            if text != self.told {
                self.told.clone_from(&text);
                return Some(SseEvent::default().event("progress").data(text));
            }
        }
    }
}

/// The run of a task that a path names.
pub(super) async fn choose(app: &App, task: &Task, run: &str) -> Result<Record, ApiError> {
    let record = match Which::read(run)? {
        Which::Run(id) => app
            .ledger
            .run(task.cluster, id)
            .await?
            .map(|(record, _)| record),
        Which::Back(n) => app
            .ledger
            .runs(task.cluster)
            .await?
            .into_iter()
            .filter(|run| run.task == task.id)
            .nth(n),
    };
    record
        .filter(|record| record.task == task.id)
        .ok_or_else(|| {
            ApiError::not_found(format!(
                "{} task {} has no run `{run}`",
                task.kind(),
                task.id
            ))
        })
}

pub(super) async fn progress_of(app: &App, record: &Record) -> Result<AnyProgress, ApiError> {
    let in_hand = if record.status.ended() {
        Vec::new()
    } else {
        app.ledger.in_hand(record.run).await?
    };
    let report = record.work.as_ref().map(workflow::Run::report);
    let run = body(record);
    Ok(match record.kind() {
        TaskKind::Backup => {
            let progress = report.map(|report| progress::backup(&report, &in_hand));
            AnyProgress::Backup(TaskRunProgress { run, progress })
        }
        // These belong to no task, so nobody can ask for them here.
        TaskKind::Delete | TaskKind::Clear => {
            return Err(ApiError::not_found(format!(
                "run {} belongs to no task",
                record.run
            )));
        }
        TaskKind::Validate => AnyProgress::Validate(progress::validation(report.as_ref(), run)),
        TaskKind::Suspend => AnyProgress::Suspend(TaskRunProgress {
            run,
            progress: None,
        }),
        TaskKind::Restore => {
            let progress = report.map(|report| progress::restore(&report, &in_hand));
            AnyProgress::Restore(TaskRunProgress { run, progress })
        }
    })
}

/// Which run of a task is meant.
#[derive(Debug, PartialEq, Eq)]
enum Which {
    Run(RunId),
    /// So many before the latest.
    Back(usize),
}

impl Which {
    fn read(text: &str) -> Result<Self, ApiError> {
        if text == "latest" {
            return Ok(Self::Back(0));
        }
        if let Some(n) = text.strip_prefix('~').and_then(|n| n.parse().ok()) {
            return Ok(Self::Back(n));
        }
        let id = text.parse().map_err(|_| {
            ApiError::bad(format!(
                "`{text}` names no run: give an id, `latest` or `~1`"
            ))
        })?;
        Ok(Self::Run(id))
    }
}

fn body(record: &Record) -> TaskRun {
    TaskRun {
        cluster_id: record.cluster.to_string(),
        kind: record.kind().to_string(),
        task_id: record.task.to_string(),
        id: record.run.to_string(),
        status: record.status.to_string(),
        cause: record.cause.clone(),
        start_time: time(record.asked_ms),
        end_time: time(record.ended_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_in_three_ways() {
        let id = RunId::generate();
        assert_eq!(Which::read("latest").unwrap(), Which::Back(0));
        assert_eq!(Which::read("~3").unwrap(), Which::Back(3));
        assert_eq!(Which::read(&id.to_string()).unwrap(), Which::Run(id));
        assert!(Which::read("~x").is_err() && Which::read("newest").is_err());
    }
}
