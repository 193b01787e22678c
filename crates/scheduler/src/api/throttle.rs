//! `/cluster/{cluster}/throttle`: how fast a cluster's work may go for now, whatever tasks say.

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
};
use protocol::{Cluster, ClusterNode, NodeId, TaskId};

use super::{
    ApiError, ErrorBody, NodeThrottle, TaskThrottle, Throttle, ThrottleUpdate, tasks::find,
};
use crate::{App, properties::MOST_RATE};

/// What is said for now.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/throttle", tag = "throttle",
    params(("cluster" = String, Path, description = "id or name")),
    responses((status = 200, body = Throttle), (status = 404, body = ErrorBody))
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(cluster): Path<String>,
) -> Result<Json<Throttle>, ApiError> {
    let cluster = app.ledger.cluster(&cluster).await?;
    Ok(Json(throttle(&cluster)))
}

/// Says how fast the cluster's nodes, one of them, or a task on all of them may go, or takes that
/// back. It holds at once, also in the middle of a file, and until it is taken back. What is said of
/// a node counts before what is said of a task, and that before what is said of the cluster.
#[utoipa::path(
    put, path = "/api/v1/cluster/{cluster}/throttle", tag = "throttle", request_body = ThrottleUpdate,
    params(("cluster" = String, Path, description = "id or name")),
    responses((status = 200, body = Throttle), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn change(
    State(app): State<App>,
    Path(cluster): Path<String>,
    update: Result<Json<ThrottleUpdate>, JsonRejection>,
) -> Result<Json<Throttle>, ApiError> {
    let Json(update) = update?;
    if update.rate.is_some_and(|rate| rate > MOST_RATE) {
        return Err(ApiError::bad(format!(
            "`rate` is more than {MOST_RATE} MiB/s; 0 is for no limit"
        )));
    }
    let known = app.ledger.cluster(&cluster).await?;
    let whose = whose(&app, &known, &update).await?;
    let changed = app.ledger.change_cluster(known.id, |cluster| {
        let throttles = &mut cluster.throttles;
        let before = throttles.clone();
        match whose {
            Whose::Cluster => throttles.cluster = update.rate,
            Whose::Task(task) => put(&mut throttles.tasks, task, update.rate),
            Whose::Node(node) => put(&mut throttles.nodes, node, update.rate),
        }
        *throttles != before
    });
    let gone = || ApiError::not_found(format!("cluster `{cluster}` was removed meanwhile"));
    let changed = changed.await?.ok_or_else(gone)?;
    Ok(Json(throttle(&changed)))
}

/// Whose speed it is.
#[derive(Clone, Copy)]
enum Whose {
    Cluster,
    Task(TaskId),
    Node(NodeId),
}

async fn whose(app: &App, cluster: &Cluster, update: &ThrottleUpdate) -> Result<Whose, ApiError> {
    match (&update.task, &update.node) {
        (None, None) => Ok(Whose::Cluster),
        (Some(_), Some(_)) => Err(ApiError::bad(
            "both `task` and `node` are given; say one after the other",
        )),
        (Some(task), None) => {
            let (kind, name) = task.split_once('/').ok_or_else(|| {
                ApiError::bad(format!(
                    "`task` is `{task}`; it must be <type>/<id or name>, as backup/nightly"
                ))
            })?;
            let path = (cluster.id.to_string(), kind.to_owned(), name.to_owned());
            let (_, task) = find(app, &path).await?;
            Ok(Whose::Task(task.id))
        }
        (None, Some(node)) => {
            let meant = |known: &&ClusterNode| {
                known.address == *node || known.node.to_string().eq_ignore_ascii_case(node)
            };
            let found = cluster.nodes.iter().find(meant).ok_or_else(|| {
                let known: Vec<&str> = cluster.nodes.iter().map(|n| n.address.as_str()).collect();
                let known = known.join(", ");
                ApiError::not_found(format!(
                    "there is no node `{node}`; the cluster has {known}"
                ))
            })?;
            Ok(Whose::Node(found.node))
        }
    }
}

fn put<K: Ord>(map: &mut std::collections::BTreeMap<K, u32>, key: K, rate: Option<u32>) {
    match rate {
        Some(rate) => drop(map.insert(key, rate)),
        None => drop(map.remove(&key)),
    }
}

fn throttle(cluster: &Cluster) -> Throttle {
    let throttles = &cluster.throttles;
    let address = |node: NodeId| {
        let known = cluster.nodes.iter().find(|known| known.node == node);
        known.map_or_else(String::new, |known| known.address.clone())
    };
    let tasks = throttles.tasks.iter();
    let nodes = throttles.nodes.iter();
    Throttle {
        rate: throttles.cluster,
        tasks: tasks
            .map(|(task, rate)| TaskThrottle {
                task_id: task.to_string(),
                rate: *rate,
            })
            .collect(),
        nodes: nodes
            .map(|(node, rate)| NodeThrottle {
                host_id: node.to_string(),
                address: address(*node),
                rate: *rate,
            })
            .collect(),
    }
}
