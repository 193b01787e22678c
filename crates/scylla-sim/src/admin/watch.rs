//! What happened: calls, violations, switches; and faults to come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, State};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Done;
use crate::cluster::{self, Sim};
use crate::fault::Rule;
use crate::record::Violation;

pub(super) fn router() -> Router<Arc<Sim>> {
    Router::new()
        .route("/cluster", get(cluster))
        .route("/calls", get(calls).delete(forget_calls))
        .route("/violations", get(violations).delete(forget_violations))
        .route("/faults", get(faults).post(add_fault).delete(no_faults))
        .route("/faults/{id}", delete(remove_fault))
}

/// Topology, schema and switches.
async fn cluster(State(sim): State<Arc<Sim>>) -> Json<Value> {
    let model = sim.model();
    let mut switches = Vec::new();
    for node in &sim.nodes {
        for replica in node.replicas.read().expect("no panic while held").values() {
            let on = (
                replica.auto_compaction.load(Ordering::Relaxed),
                replica.tombstone_gc.load(Ordering::Relaxed),
            );
            if on != (true, true) {
                switches.push(json!({
                    "node": node.index + 1,
                    "keyspace": replica.keyspace,
                    "table": replica.table,
                    "auto_compaction": on.0,
                    "tombstone_gc": on.1,
                }));
            }
        }
    }
    let nodes: Vec<_> = sim
        .nodes
        .iter()
        .map(|node| cluster::info(node, model.api_port))
        .collect();
    Json(json!({
        "name": model.cluster_name,
        "nodes": nodes,
        "keyspaces": model.keyspaces,
        "schema_version": model.schema_version,
        "balancing": model.balancing,
        "switched_off": switches,
    }))
}

async fn calls(State(sim): State<Arc<Sim>>) -> Json<BTreeMap<String, BTreeMap<usize, u64>>> {
    Json(sim.recorder.calls().clone())
}

async fn forget_calls(State(sim): State<Arc<Sim>>) -> Json<Value> {
    sim.recorder.calls().clear();
    Json(json!({}))
}

async fn violations(State(sim): State<Arc<Sim>>) -> Json<Vec<Violation>> {
    Json(sim.recorder.violations().clone())
}

async fn forget_violations(State(sim): State<Arc<Sim>>) -> Json<Value> {
    sim.recorder.violations().clear();
    Json(json!({}))
}

async fn faults(State(sim): State<Arc<Sim>>) -> Json<Vec<Rule>> {
    Json(sim.faults.list())
}

async fn add_fault(State(sim): State<Arc<Sim>>, Json(rule): Json<Rule>) -> Done<Value> {
    let node = match &rule.node {
        None => usize::MAX,
        Some(which) => super::nodes::find(&sim, which)?.index,
    };
    Ok(Json(json!({ "id": sim.faults.add(rule, node) })))
}

async fn remove_fault(State(sim): State<Arc<Sim>>, Path(id): Path<u64>) -> Json<Value> {
    sim.faults.remove(Some(id));
    Json(json!({}))
}

async fn no_faults(State(sim): State<Arc<Sim>>) -> Json<Value> {
    sim.faults.remove(None);
    Json(json!({}))
}
