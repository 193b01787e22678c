//! `DELETE /cluster/{cluster}/backups`: backups that a user names; and `.../local_snapshots`: what
//! backups have left on nodes.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use protocol::{ClearRequest, Cluster, DeleteRequest, RunId, RunStatus, TaskId};
use tokio::time::{Instant, sleep};

use super::{Asked, query::Wanted, refused};
use crate::{
    App,
    api::{ApiError, Deletion, ErrorBody},
    ask, copies,
    properties::Wish,
    purge::{self, Unfit},
    record::Record,
};

/// How long an answer is put off until all is deleted, unless told otherwise.
const WAIT: Duration = Duration::from_secs(600);
/// How often is looked.
const EVERY: Duration = Duration::from_millis(200);

/// Deletes backups, whatever task made them, and waits for that. What other backups need stays. A
/// backup that is pinned, or the last good one of a task or of the cluster, is only deleted with
/// `force`.
#[utoipa::path(
    delete, path = "/api/v1/cluster/{cluster}/backups", tag = "backups",
    params(
        ("cluster" = String, Path, description = "id or name"),
        ("snapshot_tags" = Vec<String>, Query, description = "the backups"),
        ("locations" = Option<Vec<String>>, Query, description = "where they lie; where the cluster's tasks have backed up to, when absent"),
        ("force" = Option<bool>, Query, description = "delete them even if they are pinned, or the last good ones"),
        ("dry_run" = Option<bool>, Query, description = "only say what would be deleted"),
        ("wait_seconds" = Option<u64>, Query, description = "how long to wait for the end; 600 when absent"),
    ),
    responses(
        (status = 200, body = Deletion, description = "all is deleted, or would be"),
        (status = 202, body = Deletion, description = "not all is deleted yet"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 502, body = ErrorBody),
    )
)]
pub(in crate::api) async fn delete(
    State(app): State<App>,
    Path(cluster): Path<String>,
    query: Asked,
) -> Result<Response, ApiError> {
    const KNOWN: [&str; 5] = [
        "snapshot_tags",
        "locations",
        "force",
        "dry_run",
        "wait_seconds",
    ];
    let wanted = Wanted::read(&query?.0, &KNOWN)?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let request = DeleteRequest {
        location: match wanted.locations.is_empty() {
            true => copies::used(&app, cluster.id).await?,
            false => wanted.locations,
        },
        snapshot_tag: wanted.tags,
        force: wanted.force,
    };
    let wish = Wish::Delete(request.clone());
    wish.check().map_err(ApiError::bad)?;
    if !wanted.dry_run
        && let Some(open) = app.ledger.open_run(cluster.id).await?
    {
        return Err(ApiError::conflict(ask::busy(&cluster.name, &open)));
    }
    let removed = purge::preview(&app, cluster.id, &request).await?;
    if wanted.dry_run {
        let tags = removed.backups.iter().map(|(_, tag)| tag.to_string());
        return Ok(Json(Deletion {
            snapshot_tags: tags.collect(),
            objects: removed.objects,
            bytes: removed.bytes,
            obstacles: removed.obstacles,
            ..Deletion::default()
        })
        .into_response());
    }
    let record = Record::new(
        cluster.id,
        TaskId::generate(),
        RunId::generate(),
        wish,
        crate::now_ms(),
    );
    ask::submit(&app, &record).await?;
    outcome(&app, &cluster, record.run, wanted.wait).await
}

/// Deletes all snapshots from the cluster's nodes that backups have taken, whatever tool took them,
/// and waits for that. A backup that was stopped then begins anew when it is continued.
#[utoipa::path(
    delete, path = "/api/v1/cluster/{cluster}/backups/local_snapshots", tag = "backups",
    params(
        ("cluster" = String, Path, description = "id or name"),
        ("wait_seconds" = Option<u64>, Query, description = "how long to wait for the end; 600 when absent"),
    ),
    responses(
        (status = 200, body = Deletion, description = "all are deleted"),
        (status = 202, body = Deletion, description = "not all are deleted yet"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 502, body = ErrorBody),
    )
)]
pub(in crate::api) async fn local_snapshots(
    State(app): State<App>,
    Path(cluster): Path<String>,
    query: Asked,
) -> Result<Response, ApiError> {
    let wanted = Wanted::read(&query?.0, &["wait_seconds"])?;
    let cluster = app.ledger.cluster(&cluster).await?;
    if let Some(open) = app.ledger.open_run(cluster.id).await? {
        return Err(ApiError::conflict(ask::busy(&cluster.name, &open)));
    }
    let record = Record::new(
        cluster.id,
        TaskId::generate(),
        RunId::generate(),
        Wish::Clear(ClearRequest {}),
        crate::now_ms(),
    );
    ask::submit(&app, &record).await?;
    outcome(&app, &cluster, record.run, wanted.wait).await
}

/// Waits for a deletion's end, or until enough was waited.
async fn outcome(
    app: &App,
    cluster: &Cluster,
    run: RunId,
    wait: Option<Duration>,
) -> Result<Response, ApiError> {
    let until = Instant::now() + wait.unwrap_or(WAIT);
    loop {
        let (status, ended, body) = look(app, cluster, run).await?;
        if ended || Instant::now() >= until {
            return Ok((status, Json(body)).into_response());
        }
        sleep(EVERY).await;
    }
}

/// A deletion that was begun, and how far it is.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/backups/deletions/{run}", tag = "backups",
    params(("cluster" = String, Path, description = "id or name"), ("run" = String, Path, description = "what the deletion's answer says")),
    responses((status = 200, body = Deletion), (status = 202, body = Deletion), (status = 404, body = ErrorBody), (status = 502, body = ErrorBody))
)]
pub(in crate::api) async fn show(
    State(app): State<App>,
    Path((cluster, run)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let cluster = app.ledger.cluster(&cluster).await?;
    let run = run
        .parse()
        .map_err(|_| ApiError::bad(format!("`{run}` is no run's id")))?;
    let (status, _, body) = look(&app, &cluster, run).await?;
    Ok((status, Json(body)).into_response())
}

/// How far a deletion is, and whether it has ended. One that failed is an error.
async fn look(
    app: &App,
    cluster: &Cluster,
    run: RunId,
) -> Result<(StatusCode, bool, Deletion), ApiError> {
    let found = app.ledger.run(cluster.id, run).await?;
    let found = found.map(|(record, _)| record);
    let deletes = |record: &Record| record.parts.delete.is_some() || record.parts.clear.is_some();
    let Some(record) = found.filter(deletes) else {
        let name = &cluster.name;
        return Err(ApiError::not_found(format!(
            "cluster {name} has no deletion {run}"
        )));
    };
    let ended = record.status.ended();
    if ended && record.status != RunStatus::Done {
        let cause = match record.cause.as_str() {
            "" => format!("the deletion is {}", record.status),
            cause => cause.to_owned(),
        };
        // What never began was refused.
        return Err(match record.work {
            None => ApiError::conflict(cause),
            Some(_) => ApiError::upstream(cause),
        });
    }
    let report = record.work.as_ref().map(workflow::Run::report);
    let snapshots = report.as_ref().map_or(0, |report| report.cleared);
    let removed = report.and_then(|report| report.removed).unwrap_or_default();
    let tags = record
        .parts
        .delete
        .iter()
        .flat_map(|delete| &delete.snapshot_tag);
    let body = Deletion {
        run_id: record.run.to_string(),
        status: record.status.to_string(),
        snapshot_tags: tags.map(ToString::to_string).collect(),
        snapshots,
        objects: removed.objects,
        bytes: removed.bytes,
        obstacles: Vec::new(),
    };
    let status = match ended {
        true => StatusCode::OK,
        false => StatusCode::ACCEPTED,
    };
    Ok((status, ended, body))
}

impl From<Unfit> for ApiError {
    fn from(cause: Unfit) -> Self {
        match cause {
            Unfit::Bucket(cause) => refused(&cause),
            Unfit::Queue(cause) => cause.into(),
        }
    }
}
