//! Keyspaces and tables: made, dropped, truncated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Path, Query, State};
use axum::routing::{delete, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Done, Refusal, blocking};
use crate::cluster::{Sim, Target};
use crate::error::Error;
use crate::node::Node;
use crate::schema::{self, Keyspace, Kind, NewTable, no_keyspace};
use crate::snapshot::{self, Label};
use crate::topology::Replication;

pub(super) fn router() -> Router<Arc<Sim>> {
    Router::new()
        .route("/keyspaces", post(create_keyspace))
        .route("/keyspaces/{keyspace}", delete(drop_keyspace))
        .route("/tables", post(create_table))
        .route("/tables/{keyspace}/{table}", delete(drop_table))
        .route("/tables/{keyspace}/{table}/truncate", post(truncate))
        .route("/views/{keyspace}/{view}", post(view_build))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Factor {
    Everywhere(usize),
    ByDc(Replication),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKeyspace {
    name: String,
    replication: Option<Factor>,
    #[serde(default)]
    tablets: bool,
    #[serde(default)]
    local: bool,
}

async fn create_keyspace(
    State(sim): State<Arc<Sim>>,
    Json(wanted): Json<NewKeyspace>,
) -> Done<Value> {
    blocking(&sim, move |sim| {
        sim.change(|model| {
            let dcs = model.members.iter().map(|member| member.dc.clone());
            let replication = match wanted.replication {
                Some(Factor::ByDc(map)) => map,
                Some(Factor::Everywhere(factor)) => dcs.map(|dc| (dc, factor)).collect(),
                None => dcs.map(|dc| (dc, 1)).collect(),
            };
            if model.keyspaces.contains_key(&wanted.name) {
                return Err(Error::settings(format!(
                    "keyspace `{}` exists",
                    wanted.name
                )));
            }
            let keyspace = Keyspace {
                replication,
                tablets: wanted.tablets,
                local: wanted.local,
                system: false,
                tables: BTreeMap::new(),
            };
            model.keyspaces.insert(wanted.name, keyspace);
            model.schema_version = Uuid::new_v4();
            Ok(())
        })?;
        Ok(json!({}))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedTable {
    keyspace: String,
    name: String,
    id: Option<Uuid>,
    #[serde(default)]
    kind: Kind,
    base: Option<String>,
    #[serde(default)]
    compressed: bool,
    tablets: Option<usize>,
}

async fn create_table(State(sim): State<Arc<Sim>>, Json(wanted): Json<WantedTable>) -> Done<Value> {
    blocking(&sim, move |sim| {
        let WantedTable {
            keyspace,
            name,
            id,
            kind,
            base,
            compressed,
            tablets,
        } = wanted;
        let new = NewTable {
            id,
            kind,
            base,
            compressed,
            tablets,
        };
        let id = sim.change(|model| model.create_table(&keyspace, &name, new))?;
        let table = sim
            .model()
            .table(&keyspace, &name)
            .map(|(_, table)| table.clone());
        if let Some(table) = table {
            for node in &sim.nodes {
                node.open_table(&keyspace, &name, &table)
                    .map_err(|e| Error::file("make a table in", &node.data, e))?;
            }
        }
        Ok(json!({ "id": id }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Automatic {
    /// Whether a snapshot is taken first, as `auto_snapshot` does.
    #[serde(default = "yes")]
    snapshot: bool,
}

fn yes() -> bool {
    true
}

async fn drop_keyspace(
    State(sim): State<Arc<Sim>>,
    Path(keyspace): Path<String>,
    Query(automatic): Query<Automatic>,
) -> Done<Value> {
    blocking(&sim, move |sim| {
        let tables: Vec<String> = {
            let model = sim.model();
            let found = model
                .keyspaces
                .get(&keyspace)
                .ok_or_else(|| no_keyspace(&keyspace))?;
            found.tables.keys().cloned().collect()
        };
        tables
            .iter()
            .try_for_each(|table| remove(sim, &keyspace, table, automatic.snapshot))?;
        sim.change(|model| {
            model.keyspaces.remove(&keyspace);
            model.schema_version = Uuid::new_v4();
            Ok(())
        })?;
        Ok(json!({}))
    })
    .await
}

async fn drop_table(
    State(sim): State<Arc<Sim>>,
    Path((keyspace, table)): Path<(String, String)>,
    Query(automatic): Query<Automatic>,
) -> Done<Value> {
    blocking(&sim, move |sim| {
        remove(sim, &keyspace, &table, automatic.snapshot)?;
        Ok(json!({}))
    })
    .await
}

/// Drops a table; its directory stays where it holds snapshots.
fn remove(sim: &Arc<Sim>, keyspace: &str, table: &str, snapshot: bool) -> Result<(), Refusal> {
    let target = sim.target(keyspace, table)?;
    for node in &sim.nodes {
        let Some(replica) = node.replica(target.id) else {
            continue;
        };
        if snapshot {
            take(sim, node, &target, &format!("pre-drop-{}", millis()))?;
        }
        node.replicas
            .write()
            .expect("no panic while held")
            .remove(&target.id);
        let failed = |e| Error::file("empty", &replica.dir, e);
        replica.truncate().map_err(failed)?;
        let kept = std::fs::read_dir(replica.dir.join("snapshots"))
            .is_ok_and(|mut list| list.next().is_some());
        if !kept {
            std::fs::remove_dir_all(&replica.dir).map_err(failed)?;
        }
    }
    sim.change(|model| {
        if let Some(found) = model.keyspaces.get_mut(keyspace) {
            found.tables.remove(table);
        }
        model.schema_version = Uuid::new_v4();
        Ok(())
    })?;
    Ok(())
}

fn take(sim: &Sim, node: &Node, target: &Target, tag: &str) -> Result<(), Refusal> {
    let Some(replica) = node.replica(target.id) else {
        return Ok(());
    };
    let failed = |e| Error::file("snapshot", &replica.dir, e);
    replica.flush(&target.placement).map_err(failed)?;
    let model = sim.model();
    let cql = model
        .table(&target.keyspace, &target.name)
        .map(|(_, table)| schema::cql(&target.keyspace, &target.name, table));
    let label = Label {
        tag,
        member: &node.member,
        target,
        cql: cql.unwrap_or_default(),
        ttl: None,
        disk_full: false,
    };
    snapshot::take(&replica, &label).map_err(failed)?;
    Ok(())
}

fn millis() -> u128 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis()
}

async fn truncate(
    State(sim): State<Arc<Sim>>,
    Path((keyspace, table)): Path<(String, String)>,
    Query(automatic): Query<Automatic>,
) -> Done<Value> {
    blocking(&sim, move |sim| {
        let target = sim.target(&keyspace, &table)?;
        for node in &sim.nodes {
            let Some(replica) = node.replica(target.id) else {
                continue;
            };
            if automatic.snapshot {
                take(sim, node, &target, &format!("{}-{table}", millis()))?;
            }
            replica
                .truncate()
                .map_err(|e| Error::file("empty", &replica.dir, e))?;
        }
        Ok(json!({}))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    /// `STARTED`, `SUCCESS` or `UNKNOWN`.
    status: String,
}

async fn view_build(
    State(sim): State<Arc<Sim>>,
    Path(view): Path<(String, String)>,
    Json(build): Json<Build>,
) -> Done<Value> {
    sim.view_builds
        .lock()
        .expect("no panic while held")
        .insert(view, build.status);
    Ok(Json(json!({})))
}
