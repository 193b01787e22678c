//! `/cluster/{cluster}/backups`.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use catalog::Filter;
use protocol::{Cluster, Location, SnapshotTag};

use super::{ApiError, BackupListItem, ErrorBody};
use crate::{
    App, ask,
    backups::{self, Query as Wanted},
    copies, properties,
};

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
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Vec<BackupListItem>>, ApiError> {
    let Query(query) = query?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let mut wanted = read(&query)?;
    if wanted.locations.is_empty() {
        wanted.locations = used(&app, &cluster).await?;
    }
    if wanted.locations.is_empty() {
        return Err(ApiError::bad(format!(
            "`locations` is missing, and cluster {} has no task that says where its backups are",
            cluster.name
        )));
    }
    let found = backups::list(&app.stores, &app.summaries, &wanted)
        .await
        .map_err(|e| ask::refused(&e))?;
    Ok(Json(found))
}

/// Where the cluster's tasks have backed up to.
async fn used(app: &App, cluster: &Cluster) -> Result<Vec<Location>, ApiError> {
    let tasks = app.ledger.tasks(cluster.id).await?;
    let wishes: Vec<_> = tasks
        .iter()
        .filter_map(|task| properties::of_task(task).ok())
        .collect();
    Ok(copies::unique(
        wishes.iter().flat_map(|wish| wish.locations()),
    ))
}

fn read(query: &[(String, String)]) -> Result<Wanted, ApiError> {
    let (mut locations, mut keyspace) = (Vec::new(), Vec::new());
    let mut wanted = Wanted {
        locations: Vec::new(),
        cluster: None,
        filter: all(),
        min: None,
        max: None,
    };
    for (key, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        let list = || {
            value
                .split(',')
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        match key.as_str() {
            "locations" => locations.extend(list()),
            "keyspace" => keyspace.extend(list()),
            "query_cluster_id" => {
                let id = value.parse().map_err(|_| {
                    ApiError::bad(format!("`query_cluster_id` is `{value}`, no UUID"))
                })?;
                wanted.cluster = Some(id);
            }
            "min_date" => wanted.min = tag(key, value)?,
            "max_date" => wanted.max = tag(key, value)?,
            other => return Err(ApiError::bad(format!("there is no parameter `{other}`"))),
        }
    }
    for text in &locations {
        wanted.locations.push(
            text.parse()
                .map_err(|e| ApiError::bad(format!("`locations`: {e}")))?,
        );
    }
    wanted.filter =
        Filter::new(&keyspace).map_err(|e| ApiError::bad(format!("`keyspace`: {e}")))?;
    Ok(wanted)
}

fn all() -> Filter {
    Filter::new::<&str>(&[]).expect("no pattern is no wrong pattern")
}

/// The tag of a backup taken at a time. Clients write times they do not care for as the year 1.
fn tag(key: &str, text: &str) -> Result<Option<SnapshotTag>, ApiError> {
    let at: jiff::Timestamp = text.parse().map_err(|_| {
        ApiError::bad(format!(
            "`{key}` is `{text}`, which is no time such as 2026-01-31T00:00:00Z"
        ))
    })?;
    Ok(u64::try_from(at.as_second()).ok().map(catalog::tag::at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &[(&str, &str)]) -> Result<Wanted, String> {
        let query: Vec<_> = query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        read(&query).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn lists_may_be_given_in_both_ways() {
        let wanted = ask(&[
            ("locations", "s3:a,dc1:s3:b"),
            ("locations", "gcs:c"),
            ("keyspace", "shop.*"),
        ])
        .unwrap();
        assert_eq!(wanted.locations.len(), 3);
        assert!(wanted.filter.takes("shop", "users") && !wanted.filter.takes("bank", "users"));
        let dates = ask(&[
            ("min_date", "0001-01-01T00:00:00Z"),
            ("max_date", "2026-01-31T23:59:59Z"),
        ])
        .unwrap();
        assert_eq!(dates.min, None);
        assert_eq!(dates.max.unwrap().as_str(), "sm_20260131235959UTC");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, named) in [
            (("locations", "x"), "`x`"),
            (("keyspace", "["), "`keyspace`"),
            (("query_cluster_id", "prod"), "`prod`"),
            (("min_date", "yesterday"), "`yesterday`"),
            (("cluster", "x"), "no parameter `cluster`"),
        ] {
            let said = ask(&[query]).unwrap_err();
            assert!(said.contains(named), "{said}");
        }
    }
}
