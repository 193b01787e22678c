//! `/cluster/{cluster}/backups/pins`: backups that nothing removes until somebody unpins them.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use bucket::{
    listing,
    pins::{self, Pinned},
};
use catalog::retention::Pin;
use protocol::SnapshotTag;

use super::{Asked, query::Wanted, refused, stores};
use crate::{
    App,
    api::{ApiError, ErrorBody, PinBody, PinUpdate, shape::time},
    ask,
};

const KNOWN: [&str; 1] = ["locations"];

/// The cluster's pinned backups.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/backups/pins", tag = "backups",
    params(
        ("cluster" = String, Path, description = "id or name"),
        ("locations" = Option<Vec<String>>, Query, description = "where to look; where the cluster's tasks have backed up to, when absent"),
    ),
    responses((status = 200, body = Vec<PinBody>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(in crate::api) async fn list(
    State(app): State<App>,
    Path(cluster): Path<String>,
    query: Asked,
) -> Result<Json<Vec<PinBody>>, ApiError> {
    let wanted = Wanted::read(&query?.0, &KNOWN)?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let mut all = BTreeMap::new();
    for store in stores(&app, &cluster, &wanted).await? {
        all.extend(
            pins::list(&store, cluster.id)
                .await
                .map_err(|e| refused(&e))?,
        );
    }
    Ok(Json(all.into_iter().map(body).collect()))
}

fn body((tag, pinned): (SnapshotTag, Pinned)) -> PinBody {
    let (reason, since) = match pinned {
        Pinned::Told(pin) => (pin.reason, time(pin.since_ms)),
        Pinned::Unreadable(cause) => (cause, None),
    };
    PinBody {
        snapshot_tag: tag.to_string(),
        reason,
        since,
    }
}

/// Pins a backup in all places where it may lie, or says anew why it is pinned.
#[utoipa::path(
    put, path = "/api/v1/cluster/{cluster}/backups/pins/{tag}", tag = "backups", request_body = PinUpdate,
    params(
        ("cluster" = String, Path, description = "id or name"), ("tag" = String, Path, description = "the backup"),
        ("locations" = Option<Vec<String>>, Query, description = "where it lies; where the cluster's tasks have backed up to, when absent"),
    ),
    responses((status = 200), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(in crate::api) async fn pin(
    State(app): State<App>,
    Path((cluster, tag)): Path<(String, String)>,
    query: Asked,
    update: Result<Json<PinUpdate>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(PinUpdate { reason }) = update?;
    let wanted = Wanted::read(&query?.0, &KNOWN)?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let tag = read(&tag)?;
    let stores = stores(&app, &cluster, &wanted).await?;
    let listed = listing::list(&stores, Some(cluster.id)).await;
    let listed = listed.map_err(|e| refused(&e))?;
    if !listed.backups.values().any(|backup| backup.id.tag == tag) {
        let name = &cluster.name;
        return Err(ApiError::not_found(format!(
            "cluster {name} has no backup {tag}"
        )));
    }
    for store in &stores {
        let pin = Pin {
            cluster: cluster.id,
            tag: tag.clone(),
            reason: reason.clone(),
            since_ms: store.now_ms().await.map_err(|e| ask::refused(&e))?,
        };
        pins::put(store, &pin).await.map_err(|e| refused(&e))?;
    }
    Ok(StatusCode::OK)
}

/// Leaves a backup to its task's retention again.
#[utoipa::path(
    delete, path = "/api/v1/cluster/{cluster}/backups/pins/{tag}", tag = "backups",
    params(
        ("cluster" = String, Path, description = "id or name"), ("tag" = String, Path, description = "the backup"),
        ("locations" = Option<Vec<String>>, Query, description = "where it lies; where the cluster's tasks have backed up to, when absent"),
    ),
    responses((status = 200), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(in crate::api) async fn unpin(
    State(app): State<App>,
    Path((cluster, tag)): Path<(String, String)>,
    query: Asked,
) -> Result<StatusCode, ApiError> {
    let wanted = Wanted::read(&query?.0, &KNOWN)?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let tag = read(&tag)?;
    let mut pinned = false;
    for store in stores(&app, &cluster, &wanted).await? {
        let removed = pins::remove(&store, cluster.id, &tag).await;
        pinned |= removed.map_err(|e| refused(&e))?;
    }
    match pinned {
        true => Ok(StatusCode::OK),
        false => Err(ApiError::not_found(format!("backup {tag} is not pinned"))),
    }
}

fn read(tag: &str) -> Result<SnapshotTag, ApiError> {
    tag.parse().map_err(|e| ApiError::bad(format!("{e}")))
}
