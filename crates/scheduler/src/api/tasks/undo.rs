//! A restore that undoes another: what of that need not be said again.

use protocol::{Cluster, RunId, TaskKind};
use serde_json::{Value, json};

use super::{ApiError, TaskUpdate};
use crate::{App, properties::Wish};

/// Adds where the backup lies, and which it is, of the restore that is to be undone; and names its first run
/// where a later one is named.
pub(super) async fn complete(
    app: &App,
    cluster: &Cluster,
    kind: TaskKind,
    mut update: TaskUpdate,
) -> Result<TaskUpdate, ApiError> {
    let named = update.properties.get("undo").and_then(Value::as_str);
    let Some(named) = named.filter(|named| kind == TaskKind::Restore && !named.is_empty()) else {
        return Ok(update);
    };
    // What is no identity is told by who reads the properties.
    let Ok(run) = named.parse::<RunId>() else {
        return Ok(update);
    };
    let runs = app.ledger.runs(cluster.id).await?;
    let of_run = |record: &&crate::record::Record| record.run == run || record.origin() == run;
    let known = runs.iter().find(of_run);
    let request = match known.map(crate::record::Record::wish) {
        Some(Ok(Wish::Restore(request))) => Some(request),
        Some(Ok(_)) => {
            return Err(ApiError::bad(format!(
                "run {run} is no restore: there is nothing to undo"
            )));
        }
        Some(Err(_)) | None => None,
    };
    let properties = &mut update.properties;
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => false,
    };
    if let (Some(record), Some(request)) = (known, request) {
        if !record.status.ended() {
            return Err(ApiError::conflict(format!(
                "run {} is under way; stop it first",
                record.run
            )));
        }
        properties.insert("undo".to_owned(), json!(record.origin()));
        if empty(properties.get("location")) {
            properties.insert("location".to_owned(), json!(request.location));
        }
        if empty(properties.get("snapshot_tag")) {
            properties.insert("snapshot_tag".to_owned(), json!(request.snapshot_tag));
        }
    } else if empty(properties.get("location")) {
        return Err(ApiError::not_found(format!(
            "run {run} is not known any more: name the first location of its restore, as in -L s3:backups"
        )));
    }
    // Of a run that nobody knows any more, nobody can say which backup it restored; nor does it matter.
    if empty(properties.get("snapshot_tag")) {
        properties.insert("snapshot_tag".to_owned(), json!("sm_19700101000000UTC"));
    }
    Ok(update)
}
