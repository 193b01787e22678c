//! `/clusters` and `/cluster/{cluster}`.

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::Response,
};
use protocol::{Cluster, Presence};

use super::{
    ApiError, ClusterBody, ClusterUpdate, ErrorBody, NodeBody, NodeStatus, WorkerBody,
    error::created,
};
use crate::{App, clusters};

/// What ScyllaDB Manager's clients may send and Thetis has no use for, at the values that ask for
/// nothing. Manager's agents listen on port 10001 unless told otherwise.
const IDLE: [(&str, &[&str]); 3] = [
    ("port", &["0", "10001"]),
    ("without_repair", &["true", "false"]),
    ("labels", &["{}"]),
];

/// All registered clusters.
#[utoipa::path(get, path = "/api/v1/clusters", tag = "clusters", responses((status = 200, body = Vec<ClusterBody>)))]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<ClusterBody>>, ApiError> {
    let clusters = app.ledger.clusters().await?;
    Ok(Json(clusters.iter().map(body).collect()))
}

/// Registers a cluster by the address of one of its nodes, beside which a snapshot-worker must run.
#[utoipa::path(
    post, path = "/api/v1/clusters", tag = "clusters", request_body = ClusterUpdate,
    responses((status = 201, body = ClusterBody), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody), (status = 502, body = ErrorBody))
)]
pub(super) async fn add(
    State(app): State<App>,
    update: Result<Json<ClusterUpdate>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(update) = update?;
    only_idle(&update)?;
    let cluster = clusters::register(&app, &update).await?;
    let location = format!("/api/v1/cluster/{}", cluster.id);
    Ok(created(location, body(&cluster)))
}

/// A registered cluster, by id or name.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}", tag = "clusters", params(("cluster" = String, Path, description = "id or name")),
    responses((status = 200, body = ClusterBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(cluster): Path<String>,
) -> Result<Json<ClusterBody>, ApiError> {
    Ok(Json(body(&app.ledger.cluster(&cluster).await?)))
}

/// Forgets a cluster with its tasks. Backups stay where they are.
#[utoipa::path(
    delete, path = "/api/v1/cluster/{cluster}", tag = "clusters", params(("cluster" = String, Path, description = "id or name")),
    responses((status = 200), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody))
)]
pub(super) async fn remove(
    State(app): State<App>,
    Path(cluster): Path<String>,
) -> Result<StatusCode, ApiError> {
    clusters::forget(&app, &app.ledger.cluster(&cluster).await?).await?;
    Ok(StatusCode::OK)
}

/// How the cluster's nodes are, and which workers run beside them.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/status", tag = "clusters", params(("cluster" = String, Path, description = "id or name")),
    responses((status = 200, body = Vec<NodeStatus>), (status = 404, body = ErrorBody))
)]
pub(super) async fn status(
    State(app): State<App>,
    Path(cluster): Path<String>,
) -> Result<Json<Vec<NodeStatus>>, ApiError> {
    let cluster = app.ledger.cluster(&cluster).await?;
    let workers = app.queue.workers().await?;
    let seen = clusters::look(&app, &cluster, &workers).await;
    let status = |node| match seen.iter().flatten().find(|info| info.node == node) {
        Some(info) if info.up => "UN",
        Some(_) => "DN",
        None => "",
    };
    let current = seen
        .as_ref()
        .map_or_else(|| cluster.nodes.clone(), |nodes| clusters::nodes(nodes));
    let rows = current.iter().map(|node| {
        let beside: Vec<&Presence> = workers.iter().filter(|w| w.node == node.node).collect();
        NodeStatus {
            dc: node.dc.clone(),
            rack: node.rack.clone(),
            host: node.address.clone(),
            host_id: node.node.to_string(),
            status: status(node.node).to_owned(),
            rest_status: if beside.is_empty() { "DOWN" } else { "UP" }.to_owned(),
            agent_version: beside
                .first()
                .map(|w| w.version.clone())
                .unwrap_or_default(),
            workers: beside.into_iter().map(worker).collect(),
        }
    });
    Ok(Json(rows.collect()))
}

fn worker(presence: &Presence) -> WorkerBody {
    WorkerBody {
        kind: presence.worker.as_str().to_owned(),
        instance: presence.instance.clone(),
        version: presence.version.clone(),
    }
}

fn body(cluster: &Cluster) -> ClusterBody {
    let nodes = cluster.nodes.iter().map(|node| NodeBody {
        host_id: node.node.to_string(),
        host: node.address.clone(),
        dc: node.dc.clone(),
        rack: node.rack.clone(),
    });
    ClusterBody {
        id: cluster.id.to_string(),
        name: cluster.name.clone(),
        host: cluster.host.clone(),
        labels: std::collections::BTreeMap::new(),
        nodes: nodes.collect(),
    }
}

/// Refuses what would be believed to have an effect.
fn only_idle(update: &ClusterUpdate) -> Result<(), ApiError> {
    use serde_json::Value;
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    let idle = |key: &str, value: &Value| {
        empty(value)
            || IDLE
                .iter()
                .any(|(k, values)| *k == key && values.contains(&value.to_string().as_str()))
    };
    let asked: Vec<String> = update
        .other
        .iter()
        .filter(|(k, v)| !idle(k, v))
        .map(|(k, _)| format!("`{k}`"))
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad(format!(
        "a cluster is registered by `name`, `host` and `id`; leave out {}: Thetis reaches nodes through the workers \
         beside them and keeps no credentials",
        asked.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_have_no_effect_is_refused() {
        let read = |text: &str| {
            only_idle(&serde_json::from_str(text).unwrap()).map_err(|e| e.message().to_owned())
        };
        assert!(read(r#"{"host": "h", "port": 10001, "auth_token": "", "without_repair": true, "labels": {}}"#).is_ok());
        let said = read(r#"{"host": "h", "username": "u", "password": "p"}"#).unwrap_err();
        assert!(
            said.contains("`password`, `username`") && !said.contains("\"p\""),
            "{said}"
        );
    }
}
