//! Keyspaces and tables: made, dropped, truncated.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::routing::{delete, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Done, blocking};
use crate::cluster::Sim;
use crate::error::Error;
use crate::retire;
use crate::schema::definition::Definition;
use crate::schema::{Keyspace, Kind, NewTable};
use crate::topology::Replication;

pub(super) fn router() -> Router<Arc<Sim>> {
    Router::new()
        .route("/keyspaces", post(create_keyspace))
        .route("/keyspaces/{keyspace}", delete(drop_keyspace))
        .route("/tables", post(create_table))
        .route("/tables/{keyspace}/{table}", delete(drop_table))
        .route("/tables/{keyspace}/{table}/truncate", post(truncate))
        .route("/views", put(build_delay))
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
                local: wanted.local,
                ..Keyspace::new(replication, wanted.tablets)
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
            definition: match kind {
                Kind::Table => Definition::default(),
                Kind::View => Definition::loose(false),
                Kind::Index => Definition::loose(true),
            },
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
        retire::drop_keyspace(sim, &keyspace, automatic.snapshot)?;
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
        retire::drop_table(sim, &sim.target(&keyspace, &table)?, automatic.snapshot)?;
        Ok(json!({}))
    })
    .await
}

async fn truncate(
    State(sim): State<Arc<Sim>>,
    Path((keyspace, table)): Path<(String, String)>,
    Query(automatic): Query<Automatic>,
) -> Done<Value> {
    blocking(&sim, move |sim| {
        retire::truncate(sim, &sim.target(&keyspace, &table)?, automatic.snapshot)?;
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delay {
    /// Before each coming build, milliseconds.
    build_ms: u64,
}

async fn build_delay(State(sim): State<Arc<Sim>>, Json(delay): Json<Delay>) -> Done<Value> {
    let mut held = sim.cql.build_delay.lock().expect("no panic while held");
    *held = std::time::Duration::from_millis(delay.build_ms);
    Ok(Json(json!({})))
}
