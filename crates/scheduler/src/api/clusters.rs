//! `/clusters` and `/cluster/{cluster}`.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures::{StreamExt as _, stream};
use protocol::{Cluster, ClusterId, ClusterNode, Presence, Probe};

use super::{
    ApiError, ClusterBody, ClusterDeletion, ClusterUpdate, ErrorBody, NodeBody, NodeStatus,
    WorkerBody, error::created, shape::time,
};
use crate::{
    App, clusters,
    secrets::{SET, Sealed},
};

/// Nodes asked at once.
const AT_ONCE: usize = 32;

/// All registered clusters.
#[utoipa::path(get, path = "/api/v1/clusters", tag = "clusters", responses((status = 200, body = Vec<ClusterBody>)))]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<ClusterBody>>, ApiError> {
    let clusters = app.ledger.clusters().await?;
    let mut bodies = Vec::with_capacity(clusters.len());
    for cluster in &clusters {
        bodies.push(body(&app, cluster).await?);
    }
    Ok(Json(bodies))
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
    update.check()?;
    let cluster = clusters::register(&app, &update).await?;
    let location = format!("/api/v1/cluster/{}", cluster.id);
    Ok(created(location, body(&app, &cluster).await?))
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
    let cluster = app.ledger.cluster(&cluster).await?;
    Ok(Json(body(&app, &cluster).await?))
}

/// Changes a registered cluster: its name, host and labels, and the credentials kept for it.
#[utoipa::path(
    put, path = "/api/v1/cluster/{cluster}", tag = "clusters", request_body = ClusterUpdate,
    params(("cluster" = String, Path, description = "id or name")),
    responses((status = 200, body = ClusterBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody))
)]
pub(super) async fn change(
    State(app): State<App>,
    Path(cluster): Path<String>,
    update: Result<Json<ClusterUpdate>, JsonRejection>,
) -> Result<Json<ClusterBody>, ApiError> {
    let Json(update) = update?;
    update.check()?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let cluster = clusters::change(&app, &cluster, &update).await?;
    Ok(Json(body(&app, &cluster).await?))
}

/// Forgets a cluster with its tasks; or with one of the parameters, only these credentials. Backups
/// stay where they are.
#[utoipa::path(
    delete, path = "/api/v1/cluster/{cluster}", tag = "clusters", params(("cluster" = String, Path, description = "id or name"), ClusterDeletion),
    responses((status = 200), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody))
)]
pub(super) async fn remove(
    State(app): State<App>,
    Path(cluster): Path<String>,
    query: Result<Query<ClusterDeletion>, QueryRejection>,
) -> Result<StatusCode, ApiError> {
    let Query(query) = query?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let groups = [query.cql_creds, query.alternator_creds, query.ssl_user_cert];
    if groups.contains(&true) {
        let gone = clusters::CREDENTIALS
            .iter()
            .zip(groups)
            .filter(|(_, gone)| *gone)
            .flat_map(|(names, _)| *names);
        let gone: Vec<&str> = gone.copied().collect();
        clusters::forget_secrets(&app, &cluster, &gone).await?;
    } else {
        clusters::forget(&app, &cluster).await?;
    }
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
    let look = clusters::Look::default();
    let seen = clusters::inspect_any(&app, &cluster, &workers, look).await;
    // Why nobody can say shows in each node's row.
    let seen = seen.ok().map(|found| found.nodes);
    let state = |node| match seen.iter().flatten().find(|info| info.node == node) {
        Some(info) if info.up => "UN",
        Some(_) => "DN",
        None => "",
    };
    let current = seen
        .as_ref()
        .map_or_else(|| cluster.nodes.clone(), |nodes| clusters::nodes(nodes));
    let rows = current.iter().map(|node| {
        let beside = workers.iter().filter(|worker| worker.node == node.node);
        let beside: Vec<Presence> = beside.cloned().collect();
        // Each future owns what it works with: those over references are not general enough here.
        row(
            app.clone(),
            cluster.id,
            node.clone(),
            state(node.node),
            beside,
        )
    });
    let rows: Vec<_> = rows.collect();
    Ok(Json(stream::iter(rows).buffered(AT_ONCE).collect().await))
}

async fn row(
    app: App,
    cluster: ClusterId,
    node: ClusterNode,
    state: &'static str,
    beside: Vec<Presence>,
) -> NodeStatus {
    let seen = clusters::is_seen(node.node, &beside);
    let found = clusters::ping(&app, cluster, node.node, seen).await;
    let status = NodeStatus {
        dc: node.dc.clone(),
        rack: node.rack.clone(),
        host: node.address.clone(),
        host_id: node.node.to_string(),
        status: state.to_owned(),
        agent_version: beside
            .first()
            .map(|w| w.version.clone())
            .unwrap_or_default(),
        workers: beside.iter().map(worker).collect(),
        ..NodeStatus::default()
    };
    match found {
        Ok(found) => NodeStatus {
            ssl: found.cql_tls,
            cql_status: word(&found.cql).to_owned(),
            cql_rtt_ms: millis(&found.cql),
            cql_cause: found.cql.cause,
            rest_status: word(&found.rest).to_owned(),
            rest_rtt_ms: millis(&found.rest),
            rest_cause: found.rest.cause,
            total_ram: found.memory,
            uptime: found.uptime_ms / 1_000,
            cpu_count: found.cpus,
            scylla_version: found.scylla_version,
            ..status
        },
        Err(cause) => NodeStatus {
            rest_status: "DOWN".to_owned(),
            rest_cause: cause,
            ..status
        },
    }
}

fn word(probe: &Probe) -> &'static str {
    match (probe.timeout, probe.cause.is_empty()) {
        (true, _) => "TIMEOUT",
        (false, true) => "UP",
        (false, false) => "DOWN",
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no round trip lasts for centuries"
)]
fn millis(probe: &Probe) -> f64 {
    probe.round_trip_us as f64 / 1_000.0
}

fn worker(presence: &Presence) -> WorkerBody {
    WorkerBody {
        kind: presence.worker.as_str().to_owned(),
        instance: presence.instance.clone(),
        version: presence.version.clone(),
        heartbeat_age_ms: crate::now_ms().saturating_sub(presence.said_ms),
    }
}

/// A cluster as clients see it.
async fn body(app: &App, cluster: &Cluster) -> Result<ClusterBody, ApiError> {
    let (kept, suspension) = tokio::try_join!(
        app.ledger.secrets(cluster.id),
        app.ledger.suspension(cluster.id)
    )?;
    let Sealed(kept) = kept.unwrap_or_default();
    let set = |name: &str| kept.contains_key(name).then(|| SET.to_owned());
    // Clients read these as base 64.
    let set_file = |name: &str| kept.contains_key(name).then(|| BASE64.encode(SET));
    let nodes = cluster.nodes.iter().map(|node| NodeBody {
        host_id: node.node.to_string(),
        host: node.address.clone(),
        dc: node.dc.clone(),
        rack: node.rack.clone(),
    });
    Ok(ClusterBody {
        id: cluster.id.to_string(),
        name: cluster.name.clone(),
        host: cluster.host.clone(),
        labels: cluster.labels.clone(),
        nodes: nodes.collect(),
        suspended_since: suspension.and_then(|(found, _)| time(found.since_ms)),
        username: set("username"),
        password: set("password"),
        alternator_access_key_id: set("alternator_access_key_id"),
        alternator_secret_access_key: set("alternator_secret_access_key"),
        ssl_user_cert_file: set_file("ssl_user_cert_file"),
        ssl_user_key_file: set_file("ssl_user_key_file"),
    })
}

impl ClusterUpdate {
    /// Refuses what would be believed to have an effect.
    fn check(&self) -> Result<(), ApiError> {
        // What is only shown may come back with the rest.
        let shown = |key: &str| matches!(key, "nodes" | "suspended_since");
        let unknown = self.other.keys().filter(|key| !shown(key));
        let unknown: Vec<String> = unknown.map(|key| format!("`{key}`")).collect();
        if !unknown.is_empty() {
            return Err(ApiError::bad(format!(
                "a cluster has no {}; /api/v1/openapi.json lists what it has",
                unknown.join(", ")
            )));
        }
        for (name, given) in self.secrets() {
            let file = name.starts_with("ssl_");
            if file && BASE64.decode(given).is_err() {
                return Err(ApiError::bad(format!(
                    "`{name}` is no base 64; give the PEM file's content in it"
                )));
            }
        }
        for (one, other) in [
            ("username", "password"),
            ("alternator_access_key_id", "alternator_secret_access_key"),
            ("ssl_user_cert_file", "ssl_user_key_file"),
        ] {
            let given = |name: &str| self.secrets().any(|(known, _)| known == name);
            if given(one) != given(other) {
                return Err(ApiError::bad(format!(
                    "`{one}` and `{other}` belong together: give both"
                )));
            }
        }
        Ok(())
    }

    /// The credentials that are given, by name; none that only say that they are `set`.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("username", &self.username),
            ("password", &self.password),
            ("alternator_access_key_id", &self.alternator_access_key_id),
            (
                "alternator_secret_access_key",
                &self.alternator_secret_access_key,
            ),
            ("ssl_user_cert_file", &self.ssl_user_cert_file),
            ("ssl_user_key_file", &self.ssl_user_key_file),
        ];
        let given = all
            .into_iter()
            .filter_map(|(name, given)| Some((name, given.as_deref()?)));
        given.filter(|(_, text)| !text.is_empty() && *text != SET && *text != BASE64.encode(SET))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(&'static str, String)>, String> {
        let update: ClusterUpdate = serde_json::from_str(text).unwrap();
        update.check().map_err(|e| e.message().to_owned())?;
        let given = update.secrets();
        Ok(given.map(|(name, text)| (name, text.to_owned())).collect())
    }

    #[test]
    fn what_managers_clients_send_is_taken() {
        let idle = r#"{"host": "h", "port": 10001, "auth_token": "t", "without_repair": true, "labels": {}, "username": "set",
            "password": "set", "ssl_user_cert_file": "c2V0", "force_tls_disabled": false}"#;
        assert_eq!(read(idle).unwrap(), []);
        let given = read(r#"{"host": "h", "username": "u", "password": "p"}"#).unwrap();
        assert_eq!(
            given,
            [("username", "u".to_owned()), ("password", "p".to_owned())]
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_without_showing_it() {
        for (text, named) in [
            (r#"{"host": "h", "user": "hunter2"}"#, "`user`"),
            (r#"{"host": "h", "password": "hunter2"}"#, "`username`"),
            (
                r#"{"ssl_user_cert_file": "hunter2!", "ssl_user_key_file": "aGk="}"#,
                "`ssl_user_cert_file`",
            ),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(named) && !said.contains("hunter2"), "{said}");
        }
    }
}
