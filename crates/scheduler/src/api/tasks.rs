//! `/cluster/{cluster}/tasks` and `/cluster/{cluster}/task/{type}/{task}`.

mod undo;

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
    response::Response,
};
use protocol::{Cluster, RunStatus, Task, TaskId, TaskKind};

use super::{
    ApiError, ErrorBody, Schedule, StartQuery, StopQuery, TaskBody, TaskFilter, TaskListItem,
    TaskStarted, TaskStopped, TaskUpdate, error::created, shape::time,
};
use crate::{
    App, ask,
    properties::{self, Parts, Wish},
    record::Record,
    suspend::Suspension,
    timetable::{self, Due, Start},
};

/// The cluster's tasks, each with its latest run.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/tasks", tag = "tasks",
    params(("cluster" = String, Path, description = "id or name"), TaskFilter),
    responses((status = 200, body = Vec<TaskListItem>), (status = 404, body = ErrorBody))
)]
pub(super) async fn list(
    State(app): State<App>,
    Path(cluster): Path<String>,
    filter: Result<Query<TaskFilter>, QueryRejection>,
) -> Result<Json<Vec<TaskListItem>>, ApiError> {
    let Query(filter) = filter?;
    let kind = if filter.kind.is_empty() {
        None
    } else {
        match properties::kind_of_filter(&filter.kind)? {
            Some(kind) => Some(kind),
            None => return Ok(Json(Vec::new())),
        }
    };
    let cluster = app.ledger.cluster(&cluster).await?;
    let (tasks, runs, suspension) = tokio::try_join!(
        app.ledger.tasks(cluster.id),
        app.ledger.runs(cluster.id),
        app.ledger.suspension(cluster.id)
    )?;
    let suspension = suspension.map(|(suspension, _)| suspension);
    let items = tasks
        .iter()
        .filter(|task| filter.all || task.enabled)
        .filter(|task| kind.is_none_or(|kind| kind == task.kind()))
        .filter(|task| filter.task_id.is_empty() || filter.task_id == task.id.to_string())
        .map(|task| item(task, &runs, suspension.as_ref()))
        .filter(|item| {
            filter.status.is_empty() || filter.status.eq_ignore_ascii_case(&item.status)
        });
    Ok(Json(items.collect()))
}

/// Makes a task and, unless it is disabled or waits for its time, starts it. Does not wait for its
/// end.
#[utoipa::path(
    post, path = "/api/v1/cluster/{cluster}/tasks", tag = "tasks",
    params(("cluster" = String, Path, description = "id or name")), request_body = TaskUpdate,
    responses((status = 201, body = TaskStarted), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody))
)]
pub(super) async fn add(
    State(app): State<App>,
    Path(cluster): Path<String>,
    update: Result<Json<TaskUpdate>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(update) = update?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let kind = properties::kind(&update.kind)?;
    let update = undo::complete(&app, &cluster, kind, update).await?;
    let task = read(&app, &cluster, kind, &update, None).await?;
    let start = match task.enabled {
        true => timetable::start(&task, task.scheduled_ms),
        false => Start::Later,
    };
    if start == Start::AtOnce {
        ask::may_start(&app, &cluster, &task).await?;
    } else {
        ask::locations(&app, &task).await?;
    }
    if start == Start::WhenOpen {
        let due = Due {
            after_ms: task.scheduled_ms,
            pending: true,
        };
        app.ledger.put_due(cluster.id, task.id, due).await?;
    }
    app.ledger.save_task(&task).await?;
    let run_id = match start {
        Start::AtOnce => Some(ask::start(&app, &cluster, &task, false).await?.to_string()),
        Start::WhenOpen | Start::Later => None,
    };
    let location = format!(
        "/api/v1/cluster/{}/task/{}/{}",
        cluster.id,
        task.kind(),
        task.id
    );
    Ok(created(
        location,
        TaskStarted {
            task: body(&task),
            run_id,
        },
    ))
}

/// A task, by id or name.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/task/{type}/{task}", tag = "tasks",
    params(("cluster" = String, Path, description = "id or name"), ("type" = String, Path, description = "`backup`, `restore`, `validate_backup` or `suspend`"), ("task" = String, Path, description = "id or name")),
    responses((status = 200, body = TaskBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(path): Path<(String, String, String)>,
) -> Result<Json<TaskBody>, ApiError> {
    let (_, task) = find(&app, &path).await?;
    Ok(Json(body(&task)))
}

/// Changes a task. A run of it that is under way goes on as it began.
#[utoipa::path(
    put, path = "/api/v1/cluster/{cluster}/task/{type}/{task}", tag = "tasks", request_body = TaskUpdate,
    params(("cluster" = String, Path, description = "id or name"), ("type" = String, Path, description = "`backup`, `restore`, `validate_backup` or `suspend`"), ("task" = String, Path, description = "id or name")),
    responses((status = 200, body = TaskBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn change(
    State(app): State<App>,
    Path(path): Path<(String, String, String)>,
    update: Result<Json<TaskUpdate>, JsonRejection>,
) -> Result<Json<TaskBody>, ApiError> {
    let Json(update) = update?;
    let (cluster, task) = find(&app, &path).await?;
    if !update.kind.is_empty() && properties::kind(&update.kind)? != task.kind() {
        return Err(ApiError::bad(
            "a task's type does not change; make a new task",
        ));
    }
    let task = read(&app, &cluster, task.kind(), &update, Some(&task)).await?;
    ask::locations(&app, &task).await?;
    app.ledger.save_task(&task).await?;
    Ok(Json(body(&task)))
}

/// Deletes a task with its runs; one that is under way is stopped. Its backups stay at first, and go by age: after `retention_days`, and
/// 30 days at the earliest if the task keeps so many; never if it keeps all.
#[utoipa::path(
    delete, path = "/api/v1/cluster/{cluster}/task/{type}/{task}", tag = "tasks",
    params(("cluster" = String, Path, description = "id or name"), ("type" = String, Path, description = "`backup`, `restore`, `validate_backup` or `suspend`"), ("task" = String, Path, description = "id or name")),
    responses((status = 200), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody))
)]
pub(super) async fn remove(
    State(app): State<App>,
    Path(path): Path<(String, String, String)>,
) -> Result<StatusCode, ApiError> {
    let (_, task) = find(&app, &path).await?;
    ask::delete(&app, &task).await?;
    Ok(StatusCode::OK)
}

/// Starts a task; with `continue`, from where its last run was stopped or failed.
#[utoipa::path(
    put, path = "/api/v1/cluster/{cluster}/task/{type}/{task}/start", tag = "tasks",
    params(("cluster" = String, Path, description = "id or name"), ("type" = String, Path, description = "`backup`, `restore`, `validate_backup` or `suspend`"), ("task" = String, Path, description = "id or name"), StartQuery),
    responses((status = 200, body = TaskStarted), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody))
)]
pub(super) async fn start(
    State(app): State<App>,
    Path(path): Path<(String, String, String)>,
    query: Result<Query<StartQuery>, QueryRejection>,
) -> Result<Json<TaskStarted>, ApiError> {
    let Query(query) = query?;
    let (cluster, task) = find(&app, &path).await?;
    ask::may_start(&app, &cluster, &task).await?;
    let run = ask::start(&app, &cluster, &task, query.resume).await?;
    Ok(Json(TaskStarted {
        task: body(&task),
        run_id: Some(run.to_string()),
    }))
}

/// Stops a task's run. Its workers leave off within two seconds; the run can be continued.
#[utoipa::path(
    put, path = "/api/v1/cluster/{cluster}/task/{type}/{task}/stop", tag = "tasks",
    params(("cluster" = String, Path, description = "id or name"), ("type" = String, Path, description = "`backup`, `restore`, `validate_backup` or `suspend`"), ("task" = String, Path, description = "id or name"), StopQuery),
    responses((status = 200, body = TaskStopped), (status = 404, body = ErrorBody))
)]
pub(super) async fn stop(
    State(app): State<App>,
    Path(path): Path<(String, String, String)>,
    query: Result<Query<StopQuery>, QueryRejection>,
) -> Result<Json<TaskStopped>, ApiError> {
    let Query(query) = query?;
    let (_, mut task) = find(&app, &path).await?;
    if query.disable && task.enabled {
        task.enabled = false;
        app.ledger.save_task(&task).await?;
    }
    let run = ask::stop(&app, &task).await?;
    Ok(Json(TaskStopped {
        run_id: run.map(|run| run.to_string()),
    }))
}

/// The cluster and task a path names.
pub(super) async fn find(
    app: &App,
    (cluster, kind, task): &(String, String, String),
) -> Result<(Cluster, Task), ApiError> {
    let kind = properties::kind(kind)?;
    let cluster = app.ledger.cluster(cluster).await?;
    let task = app.ledger.task(&cluster, kind, task).await?;
    Ok((cluster, task))
}

async fn read(
    app: &App,
    cluster: &Cluster,
    kind: TaskKind,
    update: &TaskUpdate,
    before: Option<&Task>,
) -> Result<Task, ApiError> {
    let id = before.map_or_else(TaskId::generate, |task| task.id);
    let schedule = properties::schedule(update.schedule.as_ref())?;
    let same = |task: &&Task| task.enabled && update.enabled && task.schedule == schedule;
    let scheduled_ms = before
        .filter(same)
        .map_or_else(crate::now_ms, |task| task.scheduled_ms);
    let parts = Parts::from(Wish::read(kind, &update.properties)?);
    let name = update.name.trim().to_owned();
    let others = app.ledger.tasks(cluster.id).await?;
    if !name.is_empty()
        && others
            .iter()
            .any(|t| t.id != id && t.kind() == kind && t.name == name)
    {
        return Err(ApiError::conflict(format!(
            "there is a {kind} task `{name}` already; give another name"
        )));
    }
    Ok(Task {
        id,
        cluster: cluster.id,
        name,
        labels: update.labels.clone(),
        tags: update.tags.clone(),
        enabled: update.enabled,
        deleted: false,
        schedule,
        scheduled_ms,
        backup: parts.backup,
        restore: parts.restore,
        validate: parts.validate,
        suspend: parts.suspend,
    })
}

pub(super) fn body(task: &Task) -> TaskBody {
    let properties = properties::of_task(task)
        .map(|wish| wish.properties())
        .unwrap_or_default();
    TaskBody {
        cluster_id: task.cluster.to_string(),
        kind: task.kind().to_string(),
        id: task.id.to_string(),
        name: task.name.clone(),
        labels: task.labels.clone(),
        tags: task.tags.clone(),
        enabled: task.enabled,
        schedule: schedule(task.schedule.as_ref()),
        properties,
    }
}

fn schedule(of: Option<&protocol::Schedule>) -> Schedule {
    let Some(of) = of else {
        return Schedule::default();
    };
    Schedule {
        cron: of.cron.clone(),
        window: of.window.clone(),
        timezone: of.timezone.clone(),
        start_date: Some(of.start_date.clone()).filter(|date| !date.is_empty()),
        interval: of.interval.clone(),
        num_retries: of.num_retries.into(),
        retry_wait: of.retry_wait.clone(),
    }
}

/// `runs` are those of the cluster, newest first.
fn item(task: &Task, runs: &[Record], suspension: Option<&Suspension>) -> TaskListItem {
    let runs: Vec<&Record> = runs.iter().filter(|run| run.task == task.id).collect();
    let last = |status: RunStatus| {
        runs.iter()
            .find(|run| run.status == status)
            .and_then(|run| time(run.ended_ms))
    };
    let count = |status: RunStatus| runs.iter().filter(|run| run.status == status).count() as u64;
    let latest = runs.first();
    TaskListItem {
        task: body(task),
        status: latest.map_or(RunStatus::New, |run| run.status).to_string(),
        success_count: count(RunStatus::Done),
        error_count: count(RunStatus::Error),
        last_success: last(RunStatus::Done),
        last_error: last(RunStatus::Error),
        suspended: suspension.is_some_and(|suspension| suspension.bars(task.kind())),
        next_activation: timetable::next(task, latest.map(|run| run.status), crate::now_ms())
            .and_then(time),
        retry: timetable::retries(&runs),
        run_id: latest.map(|run| run.run.to_string()),
        cause: latest.map(|run| run.cause.clone()).unwrap_or_default(),
    }
}
