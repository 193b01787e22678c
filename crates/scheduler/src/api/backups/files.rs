//! `/cluster/{cluster}/backups/files`: the files of a backup, a node after the other.
//!
//! The answer is written as manifests are read, so that it takes little memory however many files
//! there are. What goes wrong on the way breaks the answer off: half a list must not look whole.

use axum::{
    body::Body,
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use bucket::{
    files::{self, Select, TableFiles},
    listing, schema,
};
use bytes::Bytes;
use catalog::key::Owner;
use futures::{StreamExt as _, stream};
use serde_json::json;
use service::Chain;
use store::Store;
use tokio::{sync::mpsc, task::JoinSet};
use tracing::warn;

use super::{Asked, Wanted, refused, stores};
use crate::{
    App,
    api::{ApiError, BackupFiles, BackupFilesInfo, ErrorBody},
};

/// Pieces of the answer that wait for a slow client.
const AHEAD: usize = 4;

type Sender = mpsc::Sender<Result<Bytes, bucket::Error>>;

/// The files of a backup, with where each lies: an item for each node. Files that were replaced
/// since have the tag of that backup behind their name.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/backups/files", tag = "backups",
    params(
        ("cluster" = String, Path, description = "id or name"),
        ("snapshot_tag" = String, Query, description = "the backup"),
        ("locations" = Option<Vec<String>>, Query, description = "where to look; where the cluster's tasks have backed up to, when absent"),
        ("query_cluster_id" = Option<String>, Query, description = "the cluster that was backed up; any when absent"),
        ("keyspace" = Option<Vec<String>>, Query, description = "only these, as globs"),
    ),
    responses((status = 200, body = Vec<BackupFilesInfo>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(crate) async fn files(
    State(app): State<App>,
    Path(cluster): Path<String>,
    query: Asked,
) -> Result<Response, ApiError> {
    const KNOWN: [&str; 4] = ["locations", "query_cluster_id", "keyspace", "snapshot_tag"];
    let wanted = Wanted::read(&query?.0, &KNOWN)?;
    let tag = wanted.the_tag()?;
    let cluster = app.ledger.cluster(&cluster).await?;
    let stores = stores(&app, &cluster, &wanted).await?;
    let listing = listing::list(&stores, wanted.cluster)
        .await
        .map_err(|e| refused(&e))?;
    let backup = listing
        .choose(tag, wanted.cluster)
        .map_err(|e| refused(&e))?
        .clone();
    let keys = schema::keys(&stores, &backup.id)
        .await
        .map_err(|e| refused(&e))?;
    let schema = keys.first().map(ToString::to_string).unwrap_or_default();
    let select = Select {
        filter: wanted.filter,
        ..Select::default()
    };
    let (to, mut pieces) = mpsc::channel(AHEAD);
    let mut writing = JoinSet::new();
    writing.spawn(async move {
        let tables = files::tables(&stores, &backup, &select);
        if let Err(cause) = write(&stores, tables, &schema, &to).await {
            warn!(error = %Chain(&cause), "a list of files was broken off");
            let _listening = to.send(Err(cause)).await;
        }
    });
    let pieces = stream::poll_fn(move |cx| {
        // Ends with the answer.
        let _writing = &writing;
        pieces.poll_recv(cx)
    });
    let body = Body::from_stream(pieces);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Writes the list, a table at a time. That nobody reads it any more is no error.
async fn write(
    stores: &[Store],
    mut tables: files::Tables<'_>,
    schema: &str,
    to: &Sender,
) -> Result<(), bucket::Error> {
    let mut text = "[".to_owned();
    let mut node: Option<(usize, Owner)> = None;
    while let Some(table) = tables.next().await {
        let table = table.map_err(|failed| failed.cause)?;
        let of = (table.bucket, table.dir.owner.clone());
        if node.as_ref() == Some(&of) {
            text.push(',');
        } else {
            if node.is_some() {
                text.push_str("]},");
            }
            let head = json!({"location": stores[of.0].location().remote(), "schema": schema});
            // What follows are the tables of this node.
            text.push_str(head.to_string().trim_end_matches('}'));
            text.push_str(",\"files\":[");
            node = Some(of);
        }
        let table = serde_json::to_string(&shown(table)).expect("texts and numbers are JSON");
        text.push_str(&table);
        if to.send(Ok(std::mem::take(&mut text).into())).await.is_err() {
            return Ok(());
        }
    }
    text.push_str(if node.is_some() { "]}]" } else { "]" });
    let _listening = to.send(Ok(text.into())).await;
    Ok(())
}

fn shown(table: TableFiles) -> BackupFiles {
    let size = table.files.iter().map(|file| file.bytes).sum();
    // Under its key, a file may have more behind its name.
    let name = |key: String| key.rsplit('/').next().unwrap_or_default().to_owned();
    BackupFiles {
        path: table.dir.prefix().trim_end_matches('/').to_owned(),
        keyspace: table.dir.keyspace,
        table: table.dir.table,
        version: table.dir.version.to_string(),
        files: table.files.into_iter().map(|file| name(file.key)).collect(),
        missing: table.missing,
        scylla_manifests: table.scylla_manifests.into_iter().map(name).collect(),
        size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_of_nothing_is_a_list() {
        let (to, mut pieces) = mpsc::channel(AHEAD);
        write(&[], stream::empty().boxed(), "", &to).await.unwrap();
        drop(to);
        assert_eq!(pieces.recv().await.unwrap().unwrap(), "[]");
        assert!(pieces.recv().await.is_none());
    }
}
