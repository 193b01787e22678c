//! `/cluster/{cluster}/tasks/{type}/target`: what a task would do. Nothing is kept or begun.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
};
use bucket::{
    files::{self, Select},
    listing,
};
use catalog::Filter;
use futures::{StreamExt as _, stream};
use protocol::{
    Cluster, ClusterId, Inspected, NodeInfo, RestoreRequest, Restored, RunId, RunStatus, TaskKind,
};

use super::{
    ApiError, BackupTarget, BackupUnit, ErrorBody, Estimate, RestoreTable, RestoreTarget,
    RestoreUnit, TargetHost, TaskUpdate, advice, backups,
};

use crate::{
    App, ask,
    clusters::{self, Look},
    methods,
    properties::Wish,
    record::Record,
};

/// Nodes asked at once.
const AT_ONCE: usize = 16;
const GIB: f64 = 1_073_741_824.0;

/// What a backup task would do.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/tasks/backup/target", tag = "tasks",
    params(("cluster" = String, Path, description = "id or name")), request_body = TaskUpdate,
    responses((status = 200, body = BackupTarget), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 502, body = ErrorBody))
)]
pub(super) async fn backup(
    State(app): State<App>,
    Path(cluster): Path<String>,
    update: Result<Json<TaskUpdate>, JsonRejection>,
) -> Result<Json<BackupTarget>, ApiError> {
    let Json(update) = update?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let Wish::Backup(request) = wish(TaskKind::Backup, &update)? else {
        unreachable!("a backup's properties are a backup")
    };
    for location in &request.location {
        let checked = app.checks.check(&app.stores, location).await;
        checked.map_err(|e| ask::refused(&e))?;
    }
    let (seen, hosts) = weigh(&app, &cluster, &request.keyspace, &request.dc).await?;
    let units = units(&seen);
    let size: u64 = hosts.iter().filter_map(|host| host.size).sum();
    let dcs: BTreeSet<String> = hosts.iter().map(|host| host.dc.clone()).collect();
    let estimate = estimate_backup(&app, &cluster, size).await?;
    let notes = methods::notes(&request, &cluster, &app.queue.workers().await?);
    Ok(Json(BackupTarget {
        cluster_id: cluster.id.to_string(),
        dc: dcs.into_iter().collect(),
        location: request.location.iter().map(ToString::to_string).collect(),
        units,
        size,
        method: request.method.to_string(),
        notes,
        retention: request.retention.retention,
        retention_days: request.retention.retention_days,
        hosts,
        uncovered: seen.uncovered,
        estimate,
        ..BackupTarget::default()
    }))
}

/// What a restore task would do.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/tasks/restore/target", tag = "tasks",
    params(("cluster" = String, Path, description = "id or name")), request_body = TaskUpdate,
    responses((status = 200, body = RestoreTarget), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 502, body = ErrorBody))
)]
pub(super) async fn restore(
    State(app): State<App>,
    Path(cluster): Path<String>,
    update: Result<Json<TaskUpdate>, JsonRejection>,
) -> Result<Json<RestoreTarget>, ApiError> {
    let Json(update) = update?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let Wish::Restore(request) = wish(TaskKind::Restore, &update)? else {
        unreachable!("a restore's properties are a restore")
    };
    let (mut units, files) = backed_up(&app, &request).await?;
    let workers = app.queue.workers().await?;
    let there = clusters::inspect_any(&app, &cluster, &workers, Look::default());
    let there = there.await.map_err(ApiError::upstream)?;
    let missing = match request.what {
        Restored::Tables => missing(&units, &there),
        // The schema comes as well; whether it has them, the worker says.
        Restored::All | Restored::Schema => Vec::new(),
    };
    let advice = advice::advise(&app, &cluster, &request, &units, &there, &workers).await?;
    advice::tell_methods(&mut units, &request, &advice.methods);
    let size = units.iter().map(|unit| unit.size).sum();
    let rate = rate(&app, &cluster, TaskKind::Restore).await?;
    Ok(Json(RestoreTarget {
        cluster_id: cluster.id.to_string(),
        location: request.location.iter().map(ToString::to_string).collect(),
        snapshot_tag: request.snapshot_tag.to_string(),
        objections: advice.objections,
        created: advice.created,
        view_count: advice.views,
        remarks: advice.remarks,
        rooms: advice.rooms,
        missing,
        units,
        size,
        estimate: Estimate {
            bytes: size,
            seconds: rate.as_ref().and_then(|rate| rate.seconds(size)),
            objects: Some(files),
            basis: basis(rate.as_ref()),
            ..Estimate::default()
        },
        ..RestoreTarget::default()
    }))
}

/// Repairs are not Thetis': says so.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/tasks/repair/target", tag = "tasks",
    params(("cluster" = String, Path, description = "id or name")),
    responses((status = 400, body = ErrorBody))
)]
pub(super) async fn repair() -> ApiError {
    ApiError::bad("Thetis does not repair clusters; ScyllaDB repairs tables of tablets by itself")
}

/// Tables to restore that are not there.
fn missing(units: &[RestoreUnit], there: &Inspected) -> Vec<String> {
    let has = |keyspace: &str, table: &str| {
        let mut all = there.units.iter();
        all.any(|unit| unit.keyspace == keyspace && unit.tables.iter().any(|name| name == table))
    };
    let names = units.iter().flat_map(|unit| {
        let tables = unit.tables.iter();
        tables.map(|table| (unit.keyspace.as_str(), table.table.as_str()))
    });
    let missing = names.filter(|(keyspace, table)| !has(keyspace, table));
    missing
        .map(|(keyspace, table)| format!("{keyspace}.{table}"))
        .collect()
}

fn wish(kind: TaskKind, update: &TaskUpdate) -> Result<Wish, ApiError> {
    let given = update.kind.as_str();
    if !given.is_empty() && given != kind.as_str() {
        return Err(ApiError::bad(format!(
            "`type` is `{given}`; this is the target of a {kind} task"
        )));
    }
    Wish::read(kind, &update.properties)
}

/// What the backup holds of what is to be restored, and how many files.
async fn backed_up(
    app: &App,
    request: &RestoreRequest,
) -> Result<(Vec<RestoreUnit>, u64), ApiError> {
    let refused = |e: bucket::Error| backups::refused(&e);
    let stores = listing::open(&app.stores, &request.location).await;
    let stores = stores.map_err(refused)?;
    let listed = listing::list(&stores, request.source_cluster).await;
    let listed = listed.map_err(refused)?;
    let backup = listed.choose(&request.snapshot_tag, request.source_cluster);
    let backup = backup.map_err(refused)?;
    let filter = Filter::new(&request.keyspace);
    let select = Select {
        filter: filter.map_err(|e| ApiError::bad(format!("property `keyspace`: {e}")))?,
        ..Select::default()
    };
    let sizes = files::sizes(&stores, backup, &select).await;
    let (mut units, mut files) = (Vec::<RestoreUnit>::new(), 0);
    for ((keyspace, table), held) in sizes.map_err(refused)? {
        if units.last().is_none_or(|unit| unit.keyspace != keyspace) {
            units.push(RestoreUnit {
                keyspace,
                ..RestoreUnit::default()
            });
        }
        if let Some(unit) = units.last_mut() {
            unit.size += held.bytes;
            unit.tables.push(RestoreTable {
                table,
                size: held.bytes,
                ..RestoreTable::default()
            });
        }
        files += held.files;
    }
    if units.is_empty() {
        return Err(ApiError::bad(format!(
            "backup {} holds nothing that `keyspace` {:?} chooses",
            request.snapshot_tag, request.keyspace
        )));
    }
    Ok((units, files))
}

fn units(seen: &Inspected) -> Vec<BackupUnit> {
    let unit = |unit: &protocol::Unit| BackupUnit {
        keyspace: unit.keyspace.clone(),
        tables: unit.tables.clone(),
        all_tables: unit.all_tables,
    };
    seen.units.iter().map(unit).collect()
}

/// What is chosen, and what that takes on each node whose worker says so.
async fn weigh(
    app: &App,
    cluster: &Cluster,
    keyspace: &[String],
    dc: &[String],
) -> Result<(Inspected, Vec<TargetHost>), ApiError> {
    let look = Look {
        keyspace: keyspace.to_vec(),
        dc: dc.to_vec(),
        sizes: false,
    };
    let workers = app.queue.workers().await?;
    let seen = clusters::inspect_any(app, cluster, &workers, look.clone()).await;
    let seen = seen.map_err(ApiError::upstream)?;
    let chosen = seen.nodes.iter().filter(|node| node.chosen);
    let chosen: Vec<NodeInfo> = chosen.cloned().collect();
    // Each future owns what it works with: those over references are not general enough for a handler.
    let weigh = chosen.into_iter().map(|node| {
        let (app, cluster) = (app.clone(), cluster.id);
        let look = Look {
            sizes: true,
            ..look.clone()
        };
        weigh_one(app, cluster, node, look)
    });
    let weigh: Vec<_> = weigh.collect();
    let hosts = stream::iter(weigh).buffered(AT_ONCE).collect().await;
    Ok((seen, hosts))
}

async fn weigh_one(app: App, cluster: ClusterId, node: NodeInfo, look: Look) -> TargetHost {
    let asked = match node.up {
        true => clusters::inspect(&app, cluster, node.node, look).await.ok(),
        false => None,
    };
    TargetHost {
        host: node.address,
        host_id: node.node.to_string(),
        dc: node.dc,
        up: node.up,
        size: asked.map(|seen| seen.sizes.iter().map(|size| size.bytes).sum()),
    }
}

/// How fast runs of a kind were.
struct Rate {
    run: RunId,
    bytes: u64,
    ms: u64,
    /// Bytes in all, and of these, moved.
    size: u64,
    files: u64,
}

impl Rate {
    fn seconds(&self, bytes: u64) -> Option<u64> {
        let ms = u128::from(bytes) * u128::from(self.ms) / u128::from(self.bytes.max(1));
        u64::try_from(ms / 1_000).ok()
    }
}

/// The newest run of that kind of the cluster that was done and has moved something.
async fn rate(app: &App, cluster: &Cluster, kind: TaskKind) -> Result<Option<Rate>, ApiError> {
    let runs = app.ledger.runs(cluster.id).await?;
    let done = runs.iter().filter(|run| {
        run.kind() == kind && run.status == RunStatus::Done && run.origin() == run.run
    });
    let read = |run: &Record| {
        let report = run.work.as_ref()?.report();
        let rate = Rate {
            run: run.run,
            bytes: report.uploaded + report.restored,
            ms: report.ended_ms?.saturating_sub(report.started_ms),
            size: report.size,
            files: report.files,
        };
        (rate.bytes > 0 && rate.ms > 0).then_some(rate)
    };
    let mut rates = done.filter_map(read);
    Ok(rates.next())
}

fn basis(rate: Option<&Rate>) -> String {
    match rate {
        Some(rate) => format!("as fast as run {}, and without deduplication", rate.run),
        None => "no run of this cluster tells how fast it is".to_owned(),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate of money needs no more"
)]
async fn estimate_backup(app: &App, cluster: &Cluster, size: u64) -> Result<Estimate, ApiError> {
    let rate = rate(app, cluster, TaskKind::Backup).await?;
    let config = &app.config.scheduler;
    let objects = rate.as_ref().map(|rate| {
        let objects = u128::from(rate.files) * u128::from(size) / u128::from(rate.size.max(1));
        u64::try_from(objects).unwrap_or(u64::MAX)
    });
    Ok(Estimate {
        bytes: size,
        seconds: rate.as_ref().and_then(|rate| rate.seconds(size)),
        objects,
        cost_requests: objects.map(|objects| objects as f64 / 1_000.0 * config.price_1000_puts),
        cost_month: Some(size as f64 / GIB * config.price_gib_month),
        basis: basis(rate.as_ref()),
    })
}
