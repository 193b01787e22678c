//! Rows: written, flushed, compacted, compared, damaged.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, Refusal, blocking, targets};
use crate::cluster::Sim;
use crate::error::Error;
use crate::fingerprint::{self, Fingerprint};
use crate::load::{self, Load, Written};
use crate::node::Node;
use crate::repair::Purge;
use crate::rows::Recipe;

pub(super) fn router() -> Router<Arc<Sim>> {
    Router::new()
        .route("/load", post(load))
        .route("/mutate", post(mutate))
        .route("/flush", post(flush))
        .route("/compact", post(compact))
        .route("/corrupt", post(corrupt))
        .route("/fingerprint", get(fingerprint))
}

/// Timestamp of loaded rows that say none: the same in every cluster.
const STAMP: i64 = 1_700_000_000_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    keyspace: String,
    table: String,
    rows: Option<u64>,
    /// Instead of rows: bytes of all values together.
    bytes: Option<u64>,
    #[serde(default)]
    from: u64,
    #[serde(default = "one")]
    sstables: usize,
    #[serde(default)]
    seed: u64,
    #[serde(default = "kib")]
    min_value: usize,
    #[serde(default = "kib")]
    max_value: usize,
    stamp: Option<i64>,
}

fn one() -> usize {
    1
}

fn kib() -> usize {
    1024
}

impl Order {
    fn load(&self, stamp: i64) -> Result<Load, Error> {
        if self.min_value < 8 || self.max_value < self.min_value || self.max_value > 16 << 20 {
            return Err(Error::settings(
                "values have 8 bytes to 16 MiB, `min_value` at most `max_value`",
            ));
        }
        let average = (self.min_value + self.max_value) as u64 / 2;
        let rows = match (self.rows, self.bytes) {
            (Some(rows), None) => rows,
            (None, Some(bytes)) => bytes.div_ceil(average),
            _ => return Err(Error::settings("give either `rows` or `bytes`")),
        };
        let recipe = Recipe {
            seed: self.seed,
            stamp: self.stamp.unwrap_or(stamp),
            min: self.min_value,
            max: self.max_value,
        };
        Ok(Load {
            recipe,
            from: self.from,
            rows,
            sstables: self.sstables,
        })
    }
}

async fn load(State(sim): State<Arc<Sim>>, Json(order): Json<Order>) -> Done<Written> {
    blocking(&sim, move |sim| {
        let target = sim.target(&order.keyspace, &order.table)?;
        Ok(load::load(sim, &target, &order.load(STAMP)?)?)
    })
    .await
}

async fn mutate(State(sim): State<Arc<Sim>>, Json(order): Json<Order>) -> Done<Written> {
    blocking(&sim, move |sim| {
        let target = sim.target(&order.keyspace, &order.table)?;
        Ok(load::mutate(sim, &target, &order.load(sim.stamp())?)?)
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Where {
    keyspace: Option<String>,
    table: Option<String>,
    /// Number, address or host id; none: all.
    node: Option<String>,
    /// SSTables of each table, or tablet, to merge; none: all, even a single one.
    sstables: Option<usize>,
}

impl Where {
    fn nodes<'a>(&self, sim: &'a Sim) -> Result<Vec<&'a Arc<Node>>, Refusal> {
        match &self.node {
            None => Ok(sim.nodes.iter().collect()),
            Some(which) => Ok(vec![super::nodes::find(sim, which)?]),
        }
    }
}

async fn flush(State(sim): State<Arc<Sim>>, Json(place): Json<Where>) -> Done<Value> {
    blocking(&sim, move |sim| {
        for target in targets(sim, place.keyspace.as_deref(), place.table.as_deref())? {
            for node in place.nodes(sim)? {
                let Some(replica) = node.replica(target.id) else {
                    continue;
                };
                replica
                    .flush(&target.placement)
                    .map_err(|e| Error::file("flush", &replica.dir, e))?;
            }
        }
        Ok(json!({}))
    })
    .await
}

async fn compact(State(sim): State<Arc<Sim>>, Json(place): Json<Where>) -> Done<Value> {
    blocking(&sim, move |sim| {
        let mut merged = 0;
        for target in targets(sim, place.keyspace.as_deref(), place.table.as_deref())? {
            for node in place.nodes(sim)? {
                let Some(replica) = node.replica(target.id) else {
                    continue;
                };
                let purge = Purge::of(sim, &replica);
                merged += replica
                    .compact(
                        &target.placement,
                        place.sstables.unwrap_or(usize::MAX),
                        purge,
                    )
                    .map_err(|e| Error::file("compact", &replica.dir, e))?;
            }
        }
        Ok(json!({ "merged": merged }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Victim {
    node: String,
    keyspace: String,
    table: String,
    /// Which of the live SSTables.
    #[serde(default)]
    sstable: usize,
    #[serde(default = "data")]
    component: String,
    /// Counted from the end of the file.
    #[serde(default = "one")]
    from_end: usize,
}

fn data() -> String {
    "Data.db".into()
}

/// Flips a byte in place, so in snapshots that share the file as well.
async fn corrupt(State(sim): State<Arc<Sim>>, Json(victim): Json<Victim>) -> Done<Value> {
    blocking(&sim, move |sim| {
        let target = sim.target(&victim.keyspace, &victim.table)?;
        let node = super::nodes::find(sim, &victim.node)?;
        let replica = node
            .replica(target.id)
            .ok_or_else(|| Error::settings("no such table there"))?;
        let live = replica.live();
        let table = live
            .get(victim.sstable)
            .ok_or_else(|| Error::settings("no such SSTable there"))?;
        let path = replica.dir.join(table.name.file(&victim.component));
        let flip = || -> std::io::Result<()> {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let at = file
                .metadata()?
                .len()
                .saturating_sub(victim.from_end.max(1) as u64);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            file.write_all_at(&[byte[0] ^ 1], at)
        };
        flip().map_err(|e| Error::file("damage", &path, e))?;
        Ok(json!({ "path": path }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    keyspace: Option<String>,
    table: Option<String>,
    #[serde(default)]
    deep: bool,
}

async fn fingerprint(
    State(sim): State<Arc<Sim>>,
    Query(which): Query<Which>,
) -> Done<Vec<Fingerprint>> {
    blocking(&sim, move |sim| {
        let targets = targets(sim, which.keyspace.as_deref(), which.table.as_deref())?;
        Ok(targets
            .iter()
            .map(|target| fingerprint::of(sim, target, which.deep))
            .collect())
    })
    .await
}
