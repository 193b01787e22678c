//! Refresh: SSTables in `upload/` become part of the table.

use std::io;
use std::path::{Path, PathBuf};

use super::{Call, Context, Route, blocking, route, stage, wait};
use crate::answer::{Answer, Fail, Reply};
use crate::cluster::Target;
use crate::hash::hash;
use crate::schema::Kind;
use crate::sstable::SsTable;
use crate::sstable::name::Name;
use crate::sstable::reader::{self, Check};
use crate::stream::{self, BATCH, Scope};

pub(super) const ROUTES: &[Route] = &[route(
    "POST",
    "/storage_service/sstables/{keyspace}",
    stage::LOADER,
    wait!(refresh),
)
.required(&["cf"])
.optional(&[
    "load_and_stream",
    "primary_replica_only",
    "skip_cleanup",
    "skip_reshape",
    "scope",
])];

/// A refresh as it was asked for.
#[derive(Clone, Debug)]
struct Order {
    load_and_stream: bool,
    primary_only: bool,
    skip_cleanup: bool,
    skip_reshape: bool,
    scope: Scope,
}

fn order(context: &Context, call: &Call) -> Result<Order, Fail> {
    let keyspace = call.path("keyspace");
    if !context.sim.model().keyspaces.contains_key(keyspace) {
        return Err(Fail::keyspace(keyspace));
    }
    let any_case = |name| matches!(call.text(name).to_ascii_lowercase().as_str(), "true" | "1");
    let exact = |name| matches!(call.text(name), "true" | "1");
    let scope = Scope::parse(call.text("scope"))
        .ok_or_else(|| Fail::bad("invalid scope parameter value"))?;
    let order = Order {
        load_and_stream: any_case("load_and_stream"),
        primary_only: any_case("primary_replica_only"),
        skip_cleanup: exact("skip_cleanup"),
        skip_reshape: exact("skip_reshape"),
        scope,
    };
    if scope != Scope::All && !order.load_and_stream {
        return Err(Fail::bad("scope takes no effect without load-and-stream"));
    }
    if order.primary_only && !order.load_and_stream {
        context.dislike(
            call,
            "primary_replica_only has no effect without load_and_stream",
        );
    }
    if call.query("scope").is_some() && !order.load_and_stream {
        context.dislike(call, "scope has no effect without load_and_stream");
    }
    Ok(order)
}

/// 500, wrapped as the loader's errors are.
fn failed(inner: &str) -> Fail {
    Fail::new(500, format!("Failed to load new sstables: {inner}"))
}

fn runtime(what: &str) -> Fail {
    failed(&format!("std::runtime_error ({what})"))
}

fn malformed(what: &str) -> Fail {
    failed(&format!("sstables::malformed_sstable_exception ({what})"))
}

async fn refresh(context: Context, call: Call) -> Answer {
    let order = order(&context, &call)?;
    let keyspace = call.path("keyspace").to_owned();
    let table = call.text("cf").to_owned();
    let shards = context.sim.config.shards as u64;
    let shard = usize::try_from(hash(2, table.as_bytes()) % shards).expect("below the shards");
    let life = {
        let mut volatile = context.node.volatile();
        if std::mem::replace(&mut volatile.loading[shard], true) {
            return Err(runtime("Already loading SSTables. Try again later"));
        }
        volatile.life.clone()
    };
    let (result, wedged) = load(&context, &call, &keyspace, &table, order).await;
    if !wedged && !life.is_cancelled() {
        context.node.volatile().loading[shard] = false;
    }
    result.map(|()| Reply::Empty)
}

/// The checks and the work while the shard is held; whether it stays so for ever.
async fn load(
    context: &Context,
    call: &Call,
    keyspace: &str,
    table: &str,
    mut order: Order,
) -> (Result<(), Fail>, bool) {
    let tablets = context
        .sim
        .model()
        .keyspaces
        .get(keyspace)
        .is_some_and(|ks| ks.tablets);
    order.load_and_stream |= tablets;
    for (skipped, name) in [
        (order.skip_cleanup, "cleanup"),
        (order.skip_reshape, "reshape"),
    ] {
        if order.load_and_stream && skipped {
            context.dislike(
                call,
                format!("skip_{name} with load-and-stream blocks the shard for ever"),
            );
            let what = format!("Skipping {name} is not possible when doing load-and-stream");
            return (Err(runtime(&what)), context.sim.config.wedge);
        }
    }
    let Ok(target) = context.sim.target(keyspace, table) else {
        let what = format!("Can't find a column family {table} in keyspace {keyspace}");
        return (
            Err(failed(&format!(
                "data_dictionary::no_such_column_family ({what})"
            ))),
            false,
        );
    };
    if order.load_and_stream && order.primary_only && order.scope == Scope::Node {
        return (
            Err(runtime(
                "Node scoped streaming of primary replica only is not supported",
            )),
            false,
        );
    }
    let (context, call) = (context.clone(), call.clone());
    (
        blocking(move || run(&context, &call, &target, &order)).await,
        false,
    )
}

fn run(context: &Context, call: &Call, target: &Target, order: &Order) -> Result<(), Fail> {
    if target.kind != Kind::Table {
        return Err(runtime(
            "Loading Materialized View SSTables is not supported. Re-create the view instead.",
        ));
    }
    let replica = context
        .node
        .replica(target.id)
        .ok_or_else(|| runtime("the table is gone"))?;
    let upload = replica.dir.join("upload");
    let names = names(context, call, &upload)?;
    let route = stream::Route {
        called: context.node.clone(),
        target: target.clone(),
        scope: order.scope,
        primary_only: order.primary_only,
    };
    let life = context.node.volatile().life.clone();
    for batch in names.chunks(BATCH) {
        if life.is_cancelled() {
            return Err(runtime("the node restarts"));
        }
        let mut tables = Vec::new();
        for name in batch {
            tables.push((upload.clone(), open(&upload, name)?));
        }
        if order.load_and_stream {
            stream::batch(&context.sim, &route, &tables).map_err(|e| thrown(&e))?;
            unlink_later(context, tables);
        } else {
            for (_, table) in &tables {
                stream::adopt(&context.node, target, &upload, table, !order.skip_cleanup)
                    .and_then(|()| table.unlink(&upload))
                    .map_err(|e| thrown(&e))?;
            }
        }
    }
    Ok(())
}

/// The complete SSTables of `upload/`; generations without TOC are deleted.
fn names(context: &Context, call: &Call, upload: &Path) -> Result<Vec<Name>, Fail> {
    let listing = reader::list(upload).map_err(|e| thrown(&e))?;
    if let Some(alien) = listing.aliens.first() {
        context.dislike(
            call,
            format!("upload/ holds `{alien}`, which belongs to no SSTable"),
        );
        return Err(malformed(&format!(
            "invalid version for file {alien}. Name doesn't match any known version."
        )));
    }
    let mut names = Vec::new();
    for (name, components) in listing.tables {
        if components.iter().any(|c| c == "TOC.txt") {
            names.push(name);
            continue;
        }
        context.dislike(
            call,
            format!("upload/ holds {name} without TOC.txt, which is deleted"),
        );
        for component in components {
            std::fs::remove_file(upload.join(name.file(&component))).map_err(|e| thrown(&e))?;
        }
    }
    Ok(names)
}

fn open(upload: &Path, name: &Name) -> Result<SsTable, Fail> {
    reader::open(upload, name, Check::Full).map_err(|e| failed(&stream::text(upload, name, &e)))
}

fn thrown(e: &io::Error) -> Fail {
    failed(&Fail::io(e).message)
}

/// Removes what was streamed, a little after the answer.
fn unlink_later(context: &Context, tables: Vec<(PathBuf, SsTable)>) {
    let delay = context.sim.config.unlink_delay;
    context.sim.tracker.spawn(async move {
        tokio::time::sleep(delay).await;
        let removed = tokio::task::spawn_blocking(move || {
            tables
                .iter()
                .try_for_each(|(upload, table)| table.unlink(upload))
        });
        if let Ok(Err(e)) = removed.await {
            tracing::warn!(error = %e, "cannot remove uploaded files");
        }
    });
}
