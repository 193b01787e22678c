//! `/cluster/{cluster}/task/{type}/{task}/{run}/bundle`: all there is to know of a run, for whoever has to
//! find out what went wrong.
//!
//! Nothing in it is secret: settings that are show as `***`, and credentials are in no record.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    ApiError, BundleBody, ErrorBody, LogsBody, audit,
    runs::{choose, progress_of},
    shape::time,
    tasks::find,
};
use crate::App;

/// Events that are shown at most, the last ones.
const EVENTS: usize = 20_000;
/// Notes on changes that are shown at most, the last ones of the cluster.
const NOTES: usize = 1_000;

/// All there is to know of a run: what was asked, its plan and how far that is, what happened, what was
/// logged, who works, and how the scheduler is configured, without secrets.
#[utoipa::path(
    get, path = "/api/v1/cluster/{cluster}/task/{type}/{task}/{run}/bundle", tag = "runs",
    params(("cluster" = String, Path, description = "id or name"), ("type" = String, Path, description = "`backup`, `restore`, `validate_backup` or `suspend`"), ("task" = String, Path, description = "id or name"), ("run" = String, Path, description = "id, `latest` or `~N`")),
    responses((status = 200, body = BundleBody), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn show(
    State(app): State<App>,
    Path((cluster, kind, task, run)): Path<(String, String, String, String)>,
) -> Result<Json<BundleBody>, ApiError> {
    let (cluster, task) = find(&app, &(cluster, kind, task)).await?;
    let record = choose(&app, &task, &run).await?;
    let progress = json(&progress_of(&app, &record).await?)?;
    let nodes = cluster.nodes.iter().map(|node| node.node);
    let whom: Vec<String> = nodes
        .map(|node| node.to_string())
        .chain(["scheduler".to_owned()])
        .collect();
    let called = [cluster.id.to_string(), cluster.name.clone()];
    let (events, notes, workers, logs, depth) = tokio::try_join!(
        app.queue.events_of(cluster.id, record.run, EVENTS),
        app.queue.audits(&called, record.asked_ms, NOTES),
        app.queue.workers(),
        app.queue.logs(record.run, &whom),
        app.queue.depth(),
    )?;
    let of_cluster = |worker: &&protocol::Presence| {
        let mut nodes = cluster.nodes.iter();
        nodes.any(|node| node.node == worker.node)
    };
    let workers: Vec<_> = workers.iter().filter(of_cluster).collect();
    let queue = depth.takers.iter().map(|(taker, waits)| {
        let waits = json!({"waiting": waits.waiting, "in_hand": waits.in_hand});
        (taker.clone(), waits)
    });
    Ok(Json(BundleBody {
        made_at: time(crate::now_ms()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config: format!("{:#?}", app.config),
        cluster: json(&cluster)?,
        task: json(&task)?,
        run: json!({
            "id": record.run,
            "status": record.status,
            "cause": record.cause,
            "resumes": record.resumes,
            "asked_at": time(record.asked_ms),
            "ended_at": time(record.ended_ms),
            "closed": record.closed,
            "term": record.epoch,
            "asked_for": json(&record.parts)?,
            "plan": json(&record.work)?,
        }),
        progress,
        events: events.iter().map(json).collect::<Result<_, _>>()?,
        audit: notes.into_iter().map(audit::body).collect(),
        workers: workers.iter().map(json).collect::<Result<_, _>>()?,
        queue: queue.collect(),
        logs: logs
            .into_iter()
            .map(|(who, logs)| LogsBody {
                who,
                process: logs.process,
                version: logs.version,
                lines: logs.lines,
            })
            .collect(),
    }))
}

fn json(found: &impl Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(found).map_err(|e| {
        ApiError::upstream("what is known of the run cannot be written as JSON")
            .because(e.to_string())
    })
}
