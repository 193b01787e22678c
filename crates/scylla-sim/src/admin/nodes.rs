//! Single nodes: down, hung, restarted, out of disk, out of step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::{post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Done, Refusal};
use crate::cluster::Sim;
use crate::config::Endpoint;
use crate::error::Error;
use crate::metrics::Load;
use crate::native::Trouble;
use crate::node::{BOOTED, Health, Node};

pub(super) fn router() -> Router<Arc<Sim>> {
    Router::new()
        .route("/nodes/{node}/down", post(down))
        .route("/nodes/{node}/up", post(up))
        .route("/nodes/{node}/hang", post(hang))
        .route("/nodes/{node}/restart", post(restart))
        .route("/nodes/{node}/stage", put(stage))
        .route("/nodes/{node}/mode", put(mode))
        .route("/nodes/{node}/loading", put(loading))
        .route("/nodes/{node}/disk_full", put(disk_full))
        .route("/nodes/{node}/schema_version", put(schema_version))
        .route("/nodes/{node}/config", put(config))
        .route("/nodes/{node}/trouble", put(trouble))
        .route("/nodes/{node}/load", put(load))
        .route("/nodes/{node}/endpoints", put(endpoints))
}

/// A node by number, address or host id.
pub(super) fn find<'a>(sim: &'a Sim, which: &str) -> Result<&'a Arc<Node>, Refusal> {
    Ok(sim
        .node(which)
        .ok_or_else(|| Error::settings(format!("no node `{which}`")))?)
}

async fn down(State(sim): State<Arc<Sim>>, Path(which): Path<String>) -> Done<Value> {
    let node = find(&sim, &which)?;
    node.health.send_replace(Health::Down);
    sim.doors.close(node.index).await;
    Ok(Json(json!({})))
}

/// Undoes `down` and `hang`; the node has not restarted.
async fn up(State(sim): State<Arc<Sim>>, Path(which): Path<String>) -> Done<Value> {
    let node = find(&sim, &which)?;
    sim.doors.reopen(&sim, node).await?;
    node.health.send_replace(Health::Up);
    Ok(Json(json!({})))
}

async fn hang(State(sim): State<Arc<Sim>>, Path(which): Path<String>) -> Done<Value> {
    find(&sim, &which)?.health.send_replace(Health::Hung);
    Ok(Json(json!({})))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Restart {
    /// From the port's opening to the last route, milliseconds.
    boot_ms: u64,
    /// Stay at this step instead, until told otherwise.
    stage: Option<u8>,
}

async fn restart(
    State(sim): State<Arc<Sim>>,
    Path(which): Path<String>,
    Json(restart): Json<Restart>,
) -> Done<Value> {
    let node = Arc::clone(find(&sim, &which)?);
    node.health.send_replace(Health::Down);
    sim.doors.close(node.index).await;
    node.forget();
    let slow = restart.boot_ms > 0;
    node.stage
        .send_replace(restart.stage.unwrap_or(if slow { 0 } else { BOOTED }));
    sim.doors.reopen(&sim, &node).await?;
    node.health.send_replace(Health::Up);
    if slow && restart.stage.is_none() {
        let step = Duration::from_millis(restart.boot_ms) / u32::from(BOOTED);
        let stop = sim.stop.clone();
        sim.tracker.spawn(async move {
            for stage in 1..=BOOTED {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(step) => {}
                }
                node.stage.send_replace(stage);
            }
        });
    }
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    stage: u8,
}

async fn stage(
    State(sim): State<Arc<Sim>>,
    Path(which): Path<String>,
    Json(to): Json<Stage>,
) -> Done<Value> {
    find(&sim, &which)?.stage.send_replace(to.stage.min(BOOTED));
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mode {
    mode: String,
}

async fn mode(
    State(sim): State<Arc<Sim>>,
    Path(which): Path<String>,
    Json(to): Json<Mode>,
) -> Done<Value> {
    *find(&sim, &which)?
        .mode
        .lock()
        .expect("no panic while held") = to.mode;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Loading {
    loading: bool,
}

/// Holds, or releases, all shards' refresh.
async fn loading(
    State(sim): State<Arc<Sim>>,
    Path(which): Path<String>,
    Json(to): Json<Loading>,
) -> Done<Value> {
    find(&sim, &which)?.volatile().loading.fill(to.loading);
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskFull {
    /// Snapshot calls that fail half-way.
    snapshots: u32,
}

async fn disk_full(
    State(sim): State<Arc<Sim>>,
    Path(which): Path<String>,
    Json(to): Json<DiskFull>,
) -> Done<Value> {
    *find(&sim, &which)?
        .disk_full
        .lock()
        .expect("no panic while held") = to.snapshots;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    /// None: agree with the others again.
    version: Option<Uuid>,
}

async fn schema_version(
    State(sim): State<Arc<Sim>>,
    Path(which): Path<String>,
    Json(to): Json<Version>,
) -> Done<Value> {
    *find(&sim, &which)?
        .schema_version
        .lock()
        .expect("no panic while held") = to.version;
    Ok(Json(json!({})))
}

/// Sets entries of `/v2/config`; null removes one. `object_storage_endpoints` cannot be set here.
async fn config(
    State(sim): State<Arc<Sim>>,
    Path(which): Path<String>,
    Json(entries): Json<Map<String, Value>>,
) -> Done<Value> {
    let node = find(&sim, &which)?;
    let mut config = node.config.lock().expect("no panic while held");
    for (name, value) in entries {
        if value.is_null() {
            config.remove(&name);
        } else {
            config.insert(name, value);
        }
    }
    Ok(Json(json!({})))
}

/// Changes what clients ask of it.
async fn load(
    State(sim): State<Arc<Sim>>,
    Path(which): Path<String>,
    Json(load): Json<Load>,
) -> Done<Value> {
    let node = find(&sim, &which)?;
    node.traffic.lock().expect("no panic while held").set(load);
    Ok(Json(json!({})))
}

/// Replaces what awaits coming native tasks.
async fn trouble(
    State(sim): State<Arc<Sim>>,
    Path(which): Path<String>,
    Json(to): Json<Vec<Trouble>>,
) -> Done<Value> {
    *find(&sim, &which)?
        .trouble
        .lock()
        .expect("no panic while held") = to;
    Ok(Json(json!({})))
}

/// Replaces the object storage endpoints: a directory by name, or null for an S3 server.
async fn endpoints(
    State(sim): State<Arc<Sim>>,
    Path(which): Path<String>,
    Json(to): Json<BTreeMap<String, Option<PathBuf>>>,
) -> Done<Value> {
    let made = to
        .into_iter()
        .map(|(name, dir)| (name, dir.map_or(Endpoint::S3, Endpoint::Dir)));
    *find(&sim, &which)?
        .endpoints
        .lock()
        .expect("no panic while held") = made.collect();
    Ok(Json(json!({})))
}
