//! Taking, listing and deleting snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Call, Context, Route, blocking, now, route, stage, wait};
use crate::answer::{Answer, Fail, Reply};
use crate::cluster::Target;
use crate::cql::describe;
use crate::native::BACKUP;
use crate::schema::{Kind, logical_index};
use crate::snapshot::{self, Found, Label};

pub(super) const ROUTES: &[Route] = &[
    route(
        "POST",
        "/storage_service/snapshots",
        stage::SNAPSHOTS,
        wait!(take),
    )
    .optional(&["tag", "kn", "cf", "sf", "ttl"]),
    route(
        "GET",
        "/storage_service/snapshots",
        stage::SNAPSHOTS,
        wait!(list),
    ),
    route(
        "DELETE",
        "/storage_service/snapshots",
        stage::SNAPSHOTS,
        wait!(delete),
    )
    .optional(&["tag", "kn", "cf"]),
    route(
        "GET",
        "/storage_service/snapshots/size/true",
        stage::SNAPSHOTS,
        wait!(true_size),
    ),
    route(
        "GET",
        "/column_family/metrics/snapshots_size/{name}",
        stage::TABLES,
        wait!(table_size),
    ),
    route(
        "GET",
        "/column_family/metrics/true_snapshots_size",
        stage::TABLES,
        now!(unsupported),
    ),
];

fn unsupported(_: &Context, _: &Call) -> Answer {
    Err(Fail::new(500, "API call is not supported yet"))
}

/// Seconds of a `ttl`: digits and an optional `s`, `m`, `h` or `d`; 0 and nothing are none.
fn ttl(text: &str) -> Result<Option<u64>, Fail> {
    let bad = || {
        Fail::bad(format!(
            "TTL value '{text}' is not valid, expected a non-negative integer with an optional suffix [smhd]"
        ))
    };
    if text.is_empty() {
        return Ok(None);
    }
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, suffix) = text.split_at(end);
    let unit = match suffix.trim_start() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    Ok(number.checked_mul(unit).filter(|seconds| *seconds > 0))
}

/// The tables to take: those named, or all of the named keyspaces, or simply all.
fn targets(context: &Context, call: &Call) -> Result<Vec<Target>, Fail> {
    let (keyspaces, tables) = (call.list("kn"), call.list("cf"));
    if tables.is_empty() {
        let model = context.sim.model();
        let all = || model.keyspaces.keys().cloned().collect();
        let keyspaces: Vec<String> = if keyspaces.is_empty() {
            all()
        } else {
            keyspaces
        };
        let mut names = Vec::new();
        for keyspace in keyspaces {
            let found = model
                .keyspaces
                .get(&keyspace)
                .ok_or_else(|| Fail::keyspace(&keyspace))?;
            names.extend(
                found
                    .tables
                    .keys()
                    .map(|table| (keyspace.clone(), table.clone())),
            );
        }
        drop(model);
        return names
            .iter()
            .map(|(keyspace, table)| context.sim.target(keyspace, table))
            .collect();
    }
    let keyspace = &keyspaces[0];
    tables
        .iter()
        .map(|table| resolve(context, keyspace, table))
        .collect()
}

/// A table by its own name, or an index by the name users know it by.
fn resolve(context: &Context, keyspace: &str, table: &str) -> Result<Target, Fail> {
    let index = || context.sim.target(keyspace, &format!("{table}_index"));
    context
        .sim
        .target(keyspace, table)
        .or_else(|missing| index().map_err(|_| missing))
}

async fn take(context: Context, call: Call) -> Answer {
    let ttl = ttl(call.text("ttl"))?;
    let keyspaces = call.list("kn");
    let named = !call.list("cf").is_empty();
    if named && keyspaces.is_empty() {
        return Err(Fail::bad(
            "The keyspace of column families must be specified",
        ));
    }
    if named && keyspaces.len() > 1 {
        return Err(Fail::bad(
            "Only one keyspace allowed when specifying a column family",
        ));
    }
    let early = if named {
        targets(&context, &call)
    } else {
        Ok(Vec::new())
    };
    early?;
    let tag = call.text("tag").to_owned();
    if tag.is_empty() {
        return Err(Fail::runtime("You must supply a snapshot name."));
    }
    if tag.contains('/') || tag.starts_with('.') {
        return Err(Fail::runtime(format!("Invalid snapshot name {tag}")));
    }
    let _writing = Arc::clone(&context.node.snapshot_lock).write_owned().await;
    let targets = targets(&context, &call)?;
    let skip_flush = call.text("sf").eq_ignore_ascii_case("true");
    let timers = {
        let (context, tag) = (context.clone(), tag.clone());
        blocking(move || link(&context, &tag, &targets, skip_flush, ttl)).await?
    };
    if let Some(ttl) = ttl {
        timers
            .into_iter()
            .for_each(|dir| arm(&context, dir, &tag, Duration::from_secs(ttl)));
    }
    Ok(Reply::Empty)
}

/// Takes the snapshots; returns the directories of the tables.
fn link(
    context: &Context,
    tag: &str,
    targets: &[Target],
    skip_flush: bool,
    ttl: Option<u64>,
) -> Result<Vec<std::path::PathBuf>, Fail> {
    let node = &context.node;
    let replicas: Vec<_> = targets
        .iter()
        .filter_map(|target| Some((target, node.replica(target.id)?)))
        .collect();
    for (target, replica) in &replicas {
        if replica.dir.join("snapshots").join(tag).is_dir() {
            let keyspace = &target.keyspace;
            return Err(Fail::runtime(format!(
                "Keyspace {keyspace}: snapshot {tag} already exists."
            )));
        }
    }
    let disk_full = {
        let mut left = node.disk_full.lock().expect("no panic while held");
        let now = *left > 0;
        *left = left.saturating_sub(1);
        now
    };
    for (target, replica) in &replicas {
        if !skip_flush {
            replica.flush(&target.placement)?;
        }
        let cql = describe::snapshot(&context.sim.model(), &target.keyspace, &target.name);
        snapshot::take(
            replica,
            &Label {
                tag,
                member: &node.member,
                target,
                cql,
                ttl,
                disk_full,
            },
        )?;
    }
    Ok(replicas
        .into_iter()
        .map(|(_, replica)| replica.dir.clone())
        .collect())
}

/// Deletes the snapshot when its time is over, unless the timer is gone by then.
fn arm(context: &Context, dir: std::path::PathBuf, tag: &str, ttl: Duration) {
    let key = (dir, tag.to_owned());
    let id = {
        let mut volatile = context.node.volatile();
        volatile.next_timer += 1;
        let id = volatile.next_timer;
        volatile.timers.insert(key.clone(), id);
        id
    };
    let context = context.clone();
    context.clone().sim.tracker.spawn(async move {
        tokio::select! {
            () = context.sim.stop.cancelled() => return,
            () = tokio::time::sleep(ttl) => {}
        }
        let _writing = context.node.snapshot_lock.write().await;
        let armed = context.node.volatile().timers.remove(&key);
        if armed == Some(id) {
            // An operator may have been faster.
            let _ = std::fs::remove_dir_all(key.0.join("snapshots").join(&key.1));
        }
    });
}

async fn found(context: &Context, call: &Call) -> Result<Vec<(Found, u64, u64)>, Fail> {
    if context.node.tasks.busy(BACKUP.module) {
        context.dislike(
            call,
            "asks for snapshots while a native backup blocks the answer",
        );
    }
    let _reading = context.node.snapshot_lock.read().await;
    let data = context.node.data.clone();
    blocking(move || {
        let mut list = Vec::new();
        for found in snapshot::find(&data)? {
            let (total, live) = snapshot::sizes(&found)?;
            list.push((found, total, live));
        }
        Ok(list)
    })
    .await
}

async fn list(context: Context, call: Call) -> Answer {
    let mut tags = BTreeMap::<String, Vec<Value>>::new();
    for (found, total, live) in found(&context, &call).await? {
        let target = context.sim.target(&found.keyspace, &found.table);
        let index = target.is_ok_and(|target| target.kind == Kind::Index);
        let shown = if index {
            logical_index(&found.table)
        } else {
            &found.table
        };
        let item = json!({ "ks": found.keyspace, "cf": shown, "total": total, "live": live });
        tags.entry(found.tag).or_default().push(item);
    }
    Ok(Reply::List(
        tags.into_iter()
            .map(|(tag, list)| json!({ "key": tag, "value": list }))
            .collect(),
    ))
}

async fn true_size(context: Context, call: Call) -> Answer {
    let found = found(&context, &call).await?;
    Ok(Reply::json(
        found.iter().map(|(_, _, live)| live).sum::<u64>(),
    ))
}

async fn table_size(context: Context, call: Call) -> Answer {
    let (keyspace, table) = call.keyspace_and_table("name")?;
    let target = context.sim.target(keyspace, table)?;
    let id = target.id.simple().to_string();
    let found = found(&context, &call).await?;
    let of_it = found.iter().filter(|(found, ..)| found.id == id);
    Ok(Reply::json(of_it.map(|(_, total, _)| total).sum::<u64>()))
}

async fn delete(context: Context, call: Call) -> Answer {
    let tag = call.text("tag").to_owned();
    if tag.is_empty() {
        context.dislike(&call, "deletes the snapshots of every tag");
    }
    let keyspaces = call.list("kn");
    let table = match call.text("cf") {
        "" => None,
        table => {
            let mut resolved = table.to_owned();
            for keyspace in &keyspaces {
                resolved = resolve(&context, keyspace, table)?.name;
            }
            Some(resolved)
        }
    };
    let _writing = Arc::clone(&context.node.snapshot_lock).write_owned().await;
    blocking(move || {
        let live: BTreeSet<String> = {
            let replicas = context.node.replicas.read().expect("no panic while held");
            replicas.keys().map(|id| id.simple().to_string()).collect()
        };
        for found in snapshot::find(&context.node.data)? {
            let folder = format!("{}-{}", found.table, found.id);
            let wanted = (tag.is_empty() || found.tag == tag)
                && (keyspaces.is_empty() || keyspaces.contains(&found.keyspace))
                && table
                    .as_ref()
                    .is_none_or(|table| folder.starts_with(&format!("{table}-")));
            if wanted {
                snapshot::delete(&found, !live.contains(&found.id))?;
                context
                    .node
                    .volatile()
                    .timers
                    .remove(&(found.table_dir, found.tag));
            }
        }
        Ok(Reply::Empty)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_live_are_read() {
        assert_eq!(ttl(""), Ok(None));
        assert_eq!(ttl("0"), Ok(None));
        assert_eq!(ttl("90"), Ok(Some(90)));
        assert_eq!(ttl("2 h"), Ok(Some(7200)));
        assert_eq!(ttl("3d"), Ok(Some(259_200)));
        for bad in ["x", "-1", "1w", "h", "1hh"] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }
}
