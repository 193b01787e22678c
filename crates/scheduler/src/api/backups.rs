//! `/cluster/{cluster}/backups`: what lies in the buckets, whoever made it.

pub(super) mod delete;
pub(super) mod files;
pub(super) mod pins;
mod query;
pub(super) mod schema;

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use bucket::{
    index::{self, Item},
    listing,
};
use protocol::{Cluster, ClusterId, SnapshotTag};
use service::Chain;
use store::Store;
use tracing::warn;

use self::query::Wanted;
use super::{ApiError, BackupListItem, BackupUnit, ErrorBody, SnapshotInfo, SnapshotProofs};
use crate::{
    App, ask, copies,
    proofs::{self, Proof},
};

/// A query as it came: lists may be given as repeated parameters or separated by commas.
type Asked = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The backups that lie in the buckets, by cluster and task, newest first. Lists may be given as
/// repeated parameters or separated by commas.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/backups", tag = "backups",
    params(
        ("cluster" = String, Path, description = "id or name"),
        ("locations" = Option<Vec<String>>, Query, description = "where to look; where the cluster's tasks have backed up to, when absent"),
        ("query_cluster_id" = Option<String>, Query, description = "only backups of this cluster; of all clusters when absent"),
        ("keyspace" = Option<Vec<String>>, Query, description = "only these, as globs"),
        ("min_date" = Option<String>, Query, description = "only backups not older (RFC 3339)"),
        ("max_date" = Option<String>, Query, description = "only backups not newer (RFC 3339)"),
    ),
    responses((status = 200, body = Vec<BackupListItem>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn list(
    State(app): State<App>,
    Path(cluster): Path<String>,
    query: Asked,
) -> Result<Json<Vec<BackupListItem>>, ApiError> {
    const KNOWN: [&str; 5] = [
        "locations",
        "query_cluster_id",
        "keyspace",
        "min_date",
        "max_date",
    ];
    let wanted = Wanted::read(&query?.0, &KNOWN)?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let stores = stores(&app, &cluster, &wanted).await?;
    let contents = index::read(&stores, wanted.cluster)
        .await
        .map_err(|e| refused(&e))?;
    for warning in &contents.warnings {
        warn!(warning, "a bucket's index is not used");
    }
    for manifest in &contents.unreadable {
        warn!(
            key = %manifest.key, location = %manifest.location, error = manifest.cause,
            "manifest left out of the list"
        );
    }
    // The next one is faster; this one is right without it.
    if let Err(cause) = contents.save(&stores).await {
        warn!(error = %Chain(&cause), "a bucket's index cannot be written");
    }
    let items = contents.items(&index::Query {
        cluster: wanted.cluster,
        filter: wanted.filter,
        min: wanted.min,
        max: wanted.max,
    });
    let proofs = proofs(&stores, &items).await;
    Ok(Json(
        items.into_iter().map(|one| item(one, &proofs)).collect(),
    ))
}

/// What the buckets know of when each was proven; one that does not say has proven nothing.
async fn proofs(stores: &[Store], items: &[Item]) -> BTreeMap<(ClusterId, SnapshotTag), Proof> {
    let clusters: BTreeSet<ClusterId> = items.iter().map(|item| item.cluster_id).collect();
    let mut all = BTreeMap::<_, Proof>::new();
    for store in stores {
        for cluster in &clusters {
            match proofs::read(store, *cluster).await {
                Ok(found) => {
                    for (tag, proof) in found.proofs {
                        all.entry((*cluster, tag)).or_default().merge(proof);
                    }
                }
                Err(error) => warn!(%cluster, %error, "proofs of backups are not read"),
            }
        }
    }
    all
}

fn last(proof: &Proof) -> u64 {
    proof.present_ms.max(proof.content_ms).max(proof.drill_ms)
}

/// RFC 3339; empty for never.
fn when(at_ms: u64) -> String {
    super::shape::time(at_ms).unwrap_or_default()
}

fn shown(proof: &Proof) -> SnapshotProofs {
    SnapshotProofs {
        present: when(proof.present_ms),
        content: when(proof.content_ms),
        drill: when(proof.drill_ms),
    }
}

fn item(item: Item, proofs: &BTreeMap<(ClusterId, SnapshotTag), Proof>) -> BackupListItem {
    let unit = |unit: index::Unit| BackupUnit {
        keyspace: unit.keyspace,
        tables: unit.tables,
        all_tables: unit.all_tables,
    };
    let proof = |tag: &SnapshotTag| {
        let key = (item.cluster_id, tag.clone());
        proofs.get(&key).copied().unwrap_or_default()
    };
    let snapshot = |snapshot: index::Snapshot| SnapshotInfo {
        last_proven_restorable_timestamp: when(last(&proof(&snapshot.snapshot_tag))),
        proven: shown(&proof(&snapshot.snapshot_tag)),
        snapshot_tag: snapshot.snapshot_tag.to_string(),
        nodes: snapshot.nodes,
        size: snapshot.size,
        locations: snapshot.locations,
        dcs: snapshot.dcs,
        complete: snapshot.complete,
    };
    BackupListItem {
        cluster_id: item.cluster_id.to_string(),
        cluster_name: item.cluster_name,
        task_id: item.task_id.to_string(),
        units: item.units.into_iter().map(unit).collect(),
        snapshot_info: item.snapshot_info.into_iter().map(snapshot).collect(),
    }
}

/// The buckets meant: those named, else those that the cluster's tasks have backed up to.
async fn stores(app: &App, cluster: &Cluster, wanted: &Wanted) -> Result<Vec<Store>, ApiError> {
    let mut locations = wanted.locations.clone();
    if locations.is_empty() {
        locations = copies::used(app, cluster.id).await?;
    }
    if locations.is_empty() {
        return Err(ApiError::bad(format!(
            "`locations` is missing, and cluster {} has no task that says where its backups are",
            cluster.name
        )));
    }
    listing::open(&app.stores, &locations)
        .await
        .map_err(|e| refused(&e))
}

/// What is answered when the bucket does not have, or do, what was asked for.
pub(crate) fn refused(error: &bucket::Error) -> ApiError {
    use bucket::Error;
    use catalog::{restore::RestoreError, retention::DeleteError};
    let message = Chain(error).to_string();
    match error {
        Error::Store(cause) => ask::refused(cause),
        Error::Choice(RestoreError::NoBackup { .. }) | Error::NoSchema { .. } => {
            ApiError::not_found(message)
        }
        Error::Choice(_) => ApiError::bad(message),
        Error::Delete(DeleteError::NotFound(_)) => ApiError::not_found(message),
        Error::Delete(_) => ApiError::conflict(message),
        Error::Changed { .. } => ApiError::conflict(message),
        Error::Manifest(_)
        | Error::Document { .. }
        | Error::Segment(_)
        | Error::Schema(_)
        | Error::Strange { .. }
        | Error::Elsewhere { .. }
        | Error::Stopped
        | Error::Scratch(_)
        | Error::Local { .. }
        | Error::Space { .. } => ApiError::upstream(message),
    }
}
