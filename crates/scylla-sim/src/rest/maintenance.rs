//! Flush, compaction and the node's switches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Call, Context, Route, disk, now, route, stage};
use crate::answer::{Answer, Fail, Reply};
use crate::repair::Purge;
use crate::replica::Replica;

pub(super) const ROUTES: &[Route] = &[
    route(
        "POST",
        "/storage_service/flush",
        stage::REST,
        disk!(flush_all),
    ),
    route(
        "POST",
        "/storage_service/keyspace_flush/{keyspace}",
        stage::REST,
        disk!(flush),
    )
    .optional(&["cf"]),
    route(
        "POST",
        "/storage_service/auto_compaction/{keyspace}",
        stage::REST,
        now!(compaction_on),
    )
    .optional(&["cf"]),
    route(
        "DELETE",
        "/storage_service/auto_compaction/{keyspace}",
        stage::REST,
        now!(compaction_off),
    )
    .optional(&["cf"]),
    route(
        "GET",
        "/column_family/autocompaction/{name}",
        stage::TABLES,
        now!(table_compaction),
    ),
    route(
        "POST",
        "/column_family/autocompaction/{name}",
        stage::TABLES,
        now!(table_compaction_on),
    ),
    route(
        "DELETE",
        "/column_family/autocompaction/{name}",
        stage::TABLES,
        now!(table_compaction_off),
    ),
    route(
        "POST",
        "/storage_service/tombstone_gc/{keyspace}",
        stage::REST,
        now!(gc_on),
    )
    .optional(&["cf"]),
    route(
        "DELETE",
        "/storage_service/tombstone_gc/{keyspace}",
        stage::REST,
        now!(gc_off),
    )
    .optional(&["cf"]),
    route(
        "GET",
        "/column_family/tombstone_gc/{name}",
        stage::TABLES,
        now!(table_gc),
    ),
    route(
        "POST",
        "/column_family/tombstone_gc/{name}",
        stage::TABLES,
        now!(table_gc_on),
    ),
    route(
        "DELETE",
        "/column_family/tombstone_gc/{name}",
        stage::TABLES,
        now!(table_gc_off),
    ),
    route(
        "POST",
        "/storage_service/tablets/balancing",
        stage::REST,
        now!(balancing),
    )
    .required(&["enabled"]),
    route(
        "POST",
        "/storage_service/quiesce_topology",
        stage::REST,
        now!(nothing),
    ),
    route(
        "POST",
        "/storage_service/keyspace_cleanup/{keyspace}",
        stage::REST,
        now!(cleanup),
    )
    .optional(&["cf"]),
    route(
        "POST",
        "/storage_service/cleanup_all",
        stage::REST,
        now!(zero),
    )
    .optional(&["global"]),
    route(
        "POST",
        "/storage_service/keyspace_compaction/{keyspace}",
        stage::REST,
        disk!(compact),
    )
    .optional(&["cf", "flush_memtables"]),
    route(
        "POST",
        "/storage_service/keyspace_offstrategy_compaction/{keyspace}",
        stage::REST,
        now!(cleanup),
    )
    .optional(&["cf"]),
    route(
        "GET",
        "/storage_service/keyspace_scrub/{keyspace}",
        stage::REST,
        disk!(scrub),
    )
    .optional(&["cf", "scrub_mode", "quarantine_mode", "disable_snapshot"]),
    route(
        "POST",
        "/storage_service/drop_quarantined_sstables",
        stage::REST,
        now!(nothing),
    )
    .optional(&["keyspace", "tables"]),
    route(
        "GET",
        "/storage_service/stream_throughput",
        stage::REST,
        now!(stream_throughput),
    ),
    route(
        "POST",
        "/storage_service/stream_throughput",
        stage::REST,
        now!(set_stream_throughput),
    )
    .required(&["value"]),
    route(
        "GET",
        "/storage_service/compaction_throughput",
        stage::REST,
        now!(compaction_throughput),
    ),
    route(
        "POST",
        "/storage_service/compaction_throughput",
        stage::REST,
        now!(set_compaction_throughput),
    )
    .required(&["value"]),
    route(
        "GET",
        "/storage_service/incremental_backups",
        stage::REST,
        now!(incremental),
    ),
    route(
        "POST",
        "/storage_service/incremental_backups",
        stage::REST,
        now!(set_incremental),
    )
    .required(&["value"]),
    route("POST", "/storage_service/drain", stage::REST, disk!(drain)),
];

/// The named tables of the keyspace on this node; all of them when none is named.
fn replicas(context: &Context, call: &Call) -> Result<Vec<Arc<Replica>>, Fail> {
    let keyspace = call.path("keyspace");
    let names = call.list("cf");
    let model = context.sim.model();
    let found = model
        .keyspaces
        .get(keyspace)
        .ok_or_else(|| Fail::keyspace(keyspace))?;
    if let Some(unknown) = names.iter().find(|name| !found.tables.contains_key(*name)) {
        return Err(Fail::table(keyspace, unknown));
    }
    Ok(context
        .node
        .replicas_of(found, (!names.is_empty()).then_some(&names)))
}

fn replica(context: &Context, call: &Call) -> Result<Arc<Replica>, Fail> {
    let (keyspace, table) = call.keyspace_and_table("name")?;
    let target = context.sim.target(keyspace, table)?;
    context
        .node
        .replica(target.id)
        .ok_or_else(|| Fail::table(keyspace, table))
}

fn nothing(_: &Context, _: &Call) -> Answer {
    Ok(Reply::Empty)
}

fn zero(_: &Context, _: &Call) -> Answer {
    Ok(Reply::json(0))
}

fn flush_all(context: &Context, _: &Call) -> Answer {
    let all: Vec<_> = context
        .node
        .replicas
        .read()
        .expect("no panic while held")
        .values()
        .cloned()
        .collect();
    all.iter()
        .try_for_each(|replica| replica.flush(&context.sim.placement(replica)))?;
    Ok(Reply::Empty)
}

fn flush(context: &Context, call: &Call) -> Answer {
    let all = replicas(context, call)?;
    all.iter()
        .try_for_each(|replica| replica.flush(&context.sim.placement(replica)))?;
    Ok(Reply::Empty)
}

fn compact(context: &Context, call: &Call) -> Answer {
    for replica in replicas(context, call)? {
        let placement = context.sim.placement(&replica);
        replica.flush(&placement)?;
        replica.compact(&placement, usize::MAX, Purge::of(&context.sim, &replica))?;
    }
    Ok(Reply::Empty)
}

fn cleanup(context: &Context, call: &Call) -> Answer {
    replicas(context, call).map(|_| Reply::json(0))
}

/// 0 if all is well, 3 if a validation found errors.
fn scrub(context: &Context, call: &Call) -> Answer {
    let mut bad = false;
    for replica in replicas(context, call)? {
        let live: Vec<_> = replica.live().clone();
        for table in live {
            use crate::sstable::reader::{Check, open};
            bad |= open(&replica.dir, &table.name, Check::Full).is_err();
        }
    }
    Ok(Reply::json(if bad { 3 } else { 0 }))
}

type Switch = fn(&Replica) -> &AtomicBool;

const COMPACTION: Switch = |replica| &replica.auto_compaction;
const GC: Switch = |replica| &replica.tombstone_gc;

fn set(replicas: &[Arc<Replica>], switch: Switch, on: bool) -> Answer {
    replicas
        .iter()
        .for_each(|replica| switch(replica).store(on, Ordering::Relaxed));
    Ok(Reply::Empty)
}

fn compaction_on(context: &Context, call: &Call) -> Answer {
    set(&replicas(context, call)?, COMPACTION, true)
}

fn compaction_off(context: &Context, call: &Call) -> Answer {
    set(&replicas(context, call)?, COMPACTION, false)
}

fn gc_on(context: &Context, call: &Call) -> Answer {
    set(&replicas(context, call)?, GC, true)
}

fn gc_off(context: &Context, call: &Call) -> Answer {
    set(&replicas(context, call)?, GC, false)
}

fn table_compaction(context: &Context, call: &Call) -> Answer {
    Ok(Reply::json(
        replica(context, call)?
            .auto_compaction
            .load(Ordering::Relaxed),
    ))
}

fn table_compaction_on(context: &Context, call: &Call) -> Answer {
    set(&[replica(context, call)?], COMPACTION, true)
}

fn table_compaction_off(context: &Context, call: &Call) -> Answer {
    set(&[replica(context, call)?], COMPACTION, false)
}

fn table_gc(context: &Context, call: &Call) -> Answer {
    Ok(Reply::json(
        replica(context, call)?.tombstone_gc.load(Ordering::Relaxed),
    ))
}

fn table_gc_on(context: &Context, call: &Call) -> Answer {
    set(&[replica(context, call)?], GC, true)
}

fn table_gc_off(context: &Context, call: &Call) -> Answer {
    set(&[replica(context, call)?], GC, false)
}

fn balancing(context: &Context, call: &Call) -> Answer {
    let on = call.strict_flag("enabled", true)?;
    let changed = context.sim.change(|model| {
        model.balancing = on;
        Ok(())
    });
    changed.map(|()| Reply::Empty).map_err(Fail::runtime)
}

fn stream_throughput(context: &Context, _: &Call) -> Answer {
    Ok(Reply::json(context.node.volatile().stream_throughput))
}

fn compaction_throughput(context: &Context, _: &Call) -> Answer {
    Ok(Reply::json(context.node.volatile().compaction_throughput))
}

fn number(call: &Call) -> Result<u32, Fail> {
    let value = call.text("value");
    value
        .parse()
        .map_err(|_| Fail::bad(format!("value ({value}): type error - should be int32_t")))
}

fn set_stream_throughput(context: &Context, call: &Call) -> Answer {
    context.node.volatile().stream_throughput = number(call)?;
    Ok(Reply::Empty)
}

fn set_compaction_throughput(context: &Context, call: &Call) -> Answer {
    context.node.volatile().compaction_throughput = number(call)?;
    Ok(Reply::Empty)
}

fn incremental(context: &Context, _: &Call) -> Answer {
    Ok(Reply::json(context.node.volatile().incremental_backups))
}

fn set_incremental(context: &Context, call: &Call) -> Answer {
    let on = call.flag("value", false)?;
    context.node.volatile().incremental_backups = on;
    Ok(Reply::Empty)
}

fn drain(context: &Context, call: &Call) -> Answer {
    flush_all(context, call)?;
    *context.node.mode.lock().expect("no panic while held") = "DRAINED".into();
    Ok(Reply::Empty)
}
