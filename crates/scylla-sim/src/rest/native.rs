//! Native backup and restore: the checks made before a task is created.

use super::{Call, Context, Route, blocking, now, route, stage, wait};
use crate::answer::{Answer, Fail, Reply};
use crate::bucket::Bucket;
use crate::native::{self, BACKUP, Backup, Fate, RESTORE, Restore};
use crate::stream::Scope;

pub(super) const ROUTES: &[Route] = &[
    route(
        "POST",
        "/storage_service/backup",
        stage::SNAPSHOTS,
        wait!(backup),
    )
    .required(&["endpoint", "bucket", "prefix", "keyspace", "table"])
    .optional(&["snapshot", "move_files"]),
    route(
        "POST",
        "/storage_service/restore",
        stage::LOADER,
        now!(restore),
    )
    .required(&["endpoint", "bucket", "prefix", "keyspace", "table"])
    .optional(&["scope", "primary_replica_only"]),
];

/// The bucket a call names, or what is thrown for an endpoint nobody configured.
fn bucket(context: &Context, call: &Call) -> Result<Bucket, Fail> {
    open(context, call.text("endpoint"), call.text("bucket"))
}

/// A bucket of a configured endpoint.
pub(super) fn open(context: &Context, name: &str, bucket: &str) -> Result<Bucket, Fail> {
    let endpoints = context.node.endpoints.lock().expect("no panic while held");
    let endpoint = endpoints.get(name).ok_or_else(|| {
        Fail::thrown(
            "std::invalid_argument",
            format!("endpoint {name} not found"),
        )
    })?;
    Ok(Bucket::new(name, endpoint, bucket, &context.sim.config))
}

fn prefix(context: &Context, call: &Call) -> String {
    checked(context, call, call.text("prefix"))
}

/// The prefix as it is, frowned upon where it makes odd keys.
pub(super) fn checked(context: &Context, call: &Call, prefix: &str) -> String {
    if prefix.starts_with('/') || prefix.ends_with('/') {
        context.dislike(call, "a prefix with a slash at its end makes keys with two");
    }
    prefix.to_owned()
}

async fn backup(context: Context, call: Call) -> Answer {
    let (keyspace, table) = (
        call.text("keyspace").to_owned(),
        call.text("table").to_owned(),
    );
    let tag = call.text("snapshot").to_owned();
    if tag.is_empty() {
        return Err(Fail::bad("The snapshot name must be specified"));
    }
    let move_files = call.flag("move_files", false)?;
    let node = context.node.clone();
    let dir = blocking(move || {
        native::snapshot_dir(&node, &keyspace, &table, &tag)?.ok_or_else(|| {
            let what = format!("snapshot {tag} not found for table {keyspace}.{table}");
            Fail::thrown("std::invalid_argument", what)
        })
    })
    .await?;
    if let Some(table_dir) = dir.parent().and_then(|snapshots| snapshots.parent()) {
        let timer = (table_dir.to_path_buf(), call.text("snapshot").to_owned());
        context.node.volatile().timers.remove(&timer);
    }
    let order = Backup {
        bucket: bucket(&context, &call).map_err(|fail| fail.message),
        prefix: prefix(&context, &call),
        dir,
        move_files,
    };
    let task = context
        .node
        .tasks
        .start(&BACKUP, call.text("keyspace"), "", 0);
    let fate = Fate::of(&context.node, &BACKUP);
    let work = native::backup(context.node.clone(), task.clone(), fate.clone(), order);
    context
        .sim
        .tracker
        .spawn(native::run(context.sim.clone(), task.clone(), fate, work));
    Ok(Reply::json(task.id.to_string()))
}

fn restore(context: &Context, call: &Call) -> Answer {
    let scope = Scope::parse(call.text("scope"))
        .ok_or_else(|| Fail::bad("invalid scope parameter value"))?;
    let primary_only = call.flag("primary_replica_only", false)?;
    let body: serde_json::Value =
        serde_json::from_slice(&call.body).map_err(|e| Fail::thrown("rjson::error", e))?;
    let tocs =
        serde_json::from_value(body).map_err(|_| Fail::bad("malformatted sstables in body"))?;
    let order = Restore {
        bucket: bucket(context, call)?,
        prefix: prefix(context, call),
        keyspace: call.text("keyspace").to_owned(),
        table: call.text("table").to_owned(),
        tocs,
        scope,
        primary_only,
    };
    // Any shard may have the task.
    let shard = order.tocs.len() % context.sim.config.shards;
    let task = context
        .node
        .tasks
        .start(&RESTORE, &order.keyspace, "", shard);
    let fate = Fate::of(&context.node, &RESTORE);
    let (sim, node) = (context.sim.clone(), context.node.clone());
    let work = native::restore(sim.clone(), node, task.clone(), fate.clone(), order);
    context
        .sim
        .tracker
        .spawn(native::run(sim, task.clone(), fate, work));
    Ok(Reply::json(task.id.to_string()))
}
