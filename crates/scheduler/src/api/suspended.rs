//! `/cluster/{cluster}/suspended`: keeping a cluster's tasks from running.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
};
use protocol::SuspendRequest;

use super::{ApiError, ErrorBody, SuspendDetails, SuspendQuery, shape::time};
use crate::{
    App, properties,
    suspend::{self, Resume},
};

/// Whether the cluster is suspended.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/suspended", tag = "suspend",
    params(("cluster" = String, Path, description = "id or name")),
    responses((status = 200, body = bool, content_type = "application/json"), (status = 404, body = ErrorBody))
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(cluster): Path<String>,
) -> Result<Json<bool>, ApiError> {
    let cluster = app.ledger.cluster(&cluster).await?;
    let found = app.ledger.suspension(cluster.id).await?;
    Ok(Json(found.is_some()))
}

/// Suspends the cluster (`true`), or ends that (`false`). While it is suspended, nothing begins but
/// tasks of the type that is allowed, if one is; what runs is stopped.
#[utoipa::path(
    put, path = "/api/v1/cluster/{cluster}/suspended", tag = "suspend", request_body(content = bool, content_type = "application/json"),
    params(("cluster" = String, Path, description = "id or name"), SuspendQuery),
    responses((status = 200), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody))
)]
pub(super) async fn change(
    State(app): State<App>,
    Path(cluster): Path<String>,
    query: Result<Query<SuspendQuery>, QueryRejection>,
    wanted: Result<Json<bool>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Query(query) = query?;
    let Json(suspended) = wanted?;
    let request = SuspendRequest {
        duration_ms: 0,
        allow: properties::allowed(&query.allow_task_type)?,
        fail_if_running: properties::policy(&query.suspend_policy)?,
        no_continue: query.no_continue,
        start_tasks: false,
    };
    let cluster = app.ledger.cluster(&cluster).await?;
    if suspended {
        suspend::suspend(&app, &cluster, &request).await?;
    } else {
        let how = Resume {
            start_tasks: query.start_tasks,
            missed: query.start_tasks_missed_activation,
            no_continue: query.no_continue,
        };
        suspend::resume(&app, &cluster, how).await?;
    }
    Ok(StatusCode::OK)
}

/// Whether the cluster is suspended, and how.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/suspended/details", tag = "suspend",
    params(("cluster" = String, Path, description = "id or name")),
    responses((status = 200, body = SuspendDetails), (status = 404, body = ErrorBody))
)]
pub(super) async fn details(
    State(app): State<App>,
    Path(cluster): Path<String>,
) -> Result<Json<SuspendDetails>, ApiError> {
    let cluster = app.ledger.cluster(&cluster).await?;
    let Some((found, _)) = app.ledger.suspension(cluster.id).await? else {
        return Ok(Json(SuspendDetails::default()));
    };
    let lasts = found.request.duration_ms;
    let allowed = found.request.allow.map(|kind| kind.to_string());
    Ok(Json(SuspendDetails {
        suspended: true,
        allow_task_type: allowed.unwrap_or_default(),
        since: time(found.since_ms),
        until: (lasts > 0)
            .then(|| time(found.since_ms.saturating_add(lasts)))
            .flatten(),
    }))
}
