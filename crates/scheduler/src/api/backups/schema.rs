//! `/cluster/{cluster}/backups/schema`: the schema that came with a backup.

use axum::{
    Json,
    extract::{Path, State},
};
use bucket::{
    listing::{self, Listing},
    schema,
};

use super::{Asked, Wanted, refused, stores};
use crate::{
    App,
    api::{ApiError, BackupSchema, ErrorBody, SchemaStatement},
};

/// The schema that came with a backup: what makes it, in the order in which it can be made.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/backups/schema", tag = "backups",
    params(
        ("cluster" = String, Path, description = "id or name"),
        ("snapshot_tag" = String, Query, description = "the backup"),
        ("location" = Option<Vec<String>>, Query, description = "where to look; where the cluster's tasks have backed up to, when absent"),
        ("query_cluster_id" = Option<String>, Query, description = "the cluster that was backed up; any when absent"),
        ("query_task_id" = Option<String>, Query, description = "the task that made it; any when absent"),
    ),
    responses((status = 200, body = BackupSchema), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(crate) async fn schema(
    State(app): State<App>,
    Path(cluster): Path<String>,
    query: Asked,
) -> Result<Json<BackupSchema>, ApiError> {
    const KNOWN: [&str; 5] = [
        "location",
        "locations",
        "snapshot_tag",
        "query_cluster_id",
        "query_task_id",
    ];
    let wanted = Wanted::read(&query?.0, &KNOWN)?;
    let tag = wanted.the_tag()?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let stores = stores(&app, &cluster, &wanted).await?;
    let mut listing = listing::list(&stores, wanted.cluster)
        .await
        .map_err(|e| refused(&e))?;
    keep(&mut listing, &wanted);
    let backup = listing
        .choose(tag, wanted.cluster)
        .map_err(|e| refused(&e))?;
    let found = schema::read(&stores, backup)
        .await
        .map_err(|e| refused(&e))?;
    let Some(cql) = found.cql else {
        return Err(ApiError::not_found(format!(
            "backup `{tag}` has no schema in CQL, only one of another form: see `thetis bucket schema`"
        )));
    };
    let statement = |row: catalog::schema::Row| SchemaStatement {
        keyspace: row.keyspace,
        kind: row.kind,
        name: row.name,
        cql_stmt: row.cql_stmt,
    };
    Ok(Json(BackupSchema {
        schema: cql.content.into_iter().map(statement).collect(),
    }))
}

fn keep(listing: &mut Listing, wanted: &Wanted) {
    if let Some(task) = wanted.task {
        listing.backups.retain(|id, _| id.task == task);
    }
}
