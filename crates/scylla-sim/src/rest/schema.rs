//! Keyspaces, tables, views and their sizes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::{Call, Context, Route, disk, now, route, stage, wait};
use crate::answer::{Answer, Fail, Reply};
use crate::node::Health;
use crate::schema::{Keyspace, Kind, logical_index};

pub(super) const ROUTES: &[Route] = &[
    route(
        "GET",
        "/storage_service/keyspaces",
        stage::TABLES,
        now!(keyspaces),
    )
    .optional(&["type", "replication"]),
    route("GET", "/column_family/name", stage::TABLES, now!(names)),
    route("GET", "/column_family", stage::TABLES, now!(tables)),
    route(
        "GET",
        "/storage_proxy/schema_versions",
        stage::REST,
        wait!(schema_versions),
    ),
    route(
        "POST",
        "/raft/read_barrier",
        stage::REST,
        now!(read_barrier),
    )
    .optional(&["group_id", "timeout"]),
    route(
        "GET",
        "/storage_service/view_build_statuses/{keyspace}/{view}",
        stage::REST,
        now!(view_builds),
    ),
    route(
        "GET",
        "/column_family/built_indexes/{name}",
        stage::TABLES,
        now!(built_indexes),
    ),
    route(
        "GET",
        "/storage_service/sstable_info",
        stage::TABLES,
        disk!(sstable_info),
    )
    .optional(&["keyspace", "cf"]),
    route(
        "GET",
        "/column_family/metrics/live_disk_space_used",
        stage::TABLES,
        disk!(all_bytes),
    ),
    route(
        "GET",
        "/column_family/metrics/total_disk_space_used",
        stage::TABLES,
        disk!(all_bytes),
    ),
    route(
        "GET",
        "/column_family/metrics/live_disk_space_used/{name}",
        stage::TABLES,
        disk!(table_bytes),
    ),
    route(
        "GET",
        "/column_family/metrics/total_disk_space_used/{name}",
        stage::TABLES,
        disk!(table_bytes),
    ),
    route(
        "GET",
        "/storage_service/load",
        stage::REST,
        disk!(all_bytes),
    ),
    route(
        "GET",
        "/storage_service/metrics/load",
        stage::REST,
        disk!(all_bytes),
    ),
    route(
        "GET",
        "/storage_service/load_map",
        stage::REST,
        disk!(load_map),
    ),
];

fn keyspaces(context: &Context, call: &Call) -> Answer {
    let by_type = |keyspace: &Keyspace| match call.text("type") {
        "user" => !keyspace.system,
        "non_local_strategy" => !keyspace.local,
        _ => true,
    };
    let by_replication = |keyspace: &Keyspace| match call.text("replication") {
        "" | "all" => true,
        "tablets" => keyspace.tablets,
        _ => !keyspace.tablets,
    };
    let model = context.sim.model();
    let wanted = model
        .keyspaces
        .iter()
        .filter(|(_, ks)| by_type(ks) && by_replication(ks));
    Ok(Reply::List(
        wanted.map(|(name, _)| Value::from(name.as_str())).collect(),
    ))
}

fn each_table(context: &Context, show: impl Fn(&str, &str) -> Value) -> Answer {
    let model = context.sim.model();
    let all = model
        .keyspaces
        .iter()
        .flat_map(|(ks, keyspace)| keyspace.tables.keys().map(move |t| (ks, t)));
    Ok(Reply::List(
        all.map(|(ks, table)| show(ks, table)).collect(),
    ))
}

fn names(context: &Context, _: &Call) -> Answer {
    each_table(context, |ks, table| Value::from(format!("{ks}:{table}")))
}

fn tables(context: &Context, _: &Call) -> Answer {
    each_table(
        context,
        |ks, table| json!({ "ks": ks, "cf": table, "type": "ColumnFamilies" }),
    )
}

/// How long a node is waited for before it counts as unreachable.
const PATIENCE: Duration = Duration::from_millis(500);

async fn schema_versions(context: Context, _: Call) -> Answer {
    let hung = |node: &crate::node::Node| node.health() == Health::Hung;
    if context.sim.nodes.iter().any(|node| hung(node)) {
        sleep(PATIENCE).await;
    }
    let common = context.sim.model().schema_version;
    let mut versions = BTreeMap::<String, Vec<Value>>::new();
    for node in &context.sim.nodes {
        let own = *node.schema_version.lock().expect("no panic while held");
        let version = match (hung(node), node.live() || node.index == context.node.index) {
            (true, _) => "UNREACHABLE".to_owned(),
            (false, true) => own.unwrap_or(common).to_string(),
            (false, false) => continue,
        };
        versions
            .entry(version)
            .or_default()
            .push(json!(node.member.address));
    }
    let pairs = versions
        .into_iter()
        .map(|(version, nodes)| json!({ "key": version, "value": nodes }));
    Ok(Reply::List(pairs.collect()))
}

fn read_barrier(_: &Context, call: &Call) -> Answer {
    match call.query("timeout").map(str::parse::<u64>) {
        None | Some(Ok(1..)) => Ok(Reply::Empty),
        Some(_) => Err(Fail::bad("Parameter 'timeout' must be a positive number")),
    }
}

fn view_builds(context: &Context, call: &Call) -> Answer {
    let (keyspace, view) = (call.path("keyspace"), call.path("view"));
    let model = context.sim.model();
    let found = model.table(keyspace, view).map(|(_, table)| table);
    let held = context.sim.view_builds.lock().expect("no panic while held");
    let status = match (held.get(&(keyspace.to_owned(), view.to_owned())), found) {
        (Some(status), _) => status.as_str(),
        (None, Some(table)) if table.definition.building => "STARTED",
        (None, Some(table)) if table.kind != Kind::Table => "SUCCESS",
        (None, _) => "UNKNOWN",
    };
    let pair = |node: &std::sync::Arc<crate::node::Node>| json!({ "key": node.member.address, "value": status });
    Ok(Reply::List(context.sim.nodes.iter().map(pair).collect()))
}

fn built_indexes(context: &Context, call: &Call) -> Answer {
    let (keyspace, table) = call.keyspace_and_table("name")?;
    context.sim.target(keyspace, table)?;
    let model = context.sim.model();
    let tables = model
        .keyspaces
        .get(keyspace)
        .map(|ks| &ks.tables)
        .into_iter()
        .flatten();
    let built = |t: &crate::schema::Table| t.kind == Kind::Index && !t.definition.building;
    let of_it = tables.filter(|(_, t)| built(t) && t.base.as_deref() == Some(table));
    Ok(Reply::List(
        of_it
            .map(|(name, _)| Value::from(logical_index(name)))
            .collect(),
    ))
}

fn sstable_info(context: &Context, call: &Call) -> Answer {
    let (keyspace, table) = (call.text("keyspace"), call.text("cf"));
    let model = context.sim.model();
    let mut list = Vec::new();
    for (ks, found) in &model.keyspaces {
        for (name, t) in &found.tables {
            let wanted = |text: &str, name: &str| text.is_empty() || text == name;
            if !wanted(keyspace, ks) || !wanted(table, name) {
                continue;
            }
            let Some(replica) = context.node.replica(t.id) else {
                continue;
            };
            let live: Vec<_> = replica
                .live()
                .iter()
                .map(|sstable| {
                    json!({
                        "size": sstable.disk_bytes,
                        "data_size": sstable.data_bytes,
                        "index_size": sstable.index_bytes,
                        "generation": sstable.name.generation,
                        "level": 0,
                        "version": sstable.name.version,
                    })
                })
                .collect();
            let mut item = json!({ "keyspace": ks, "table": name });
            if !live.is_empty() {
                item["sstables"] = Value::from(live);
            }
            list.push(item);
        }
    }
    Ok(Reply::List(list))
}

fn bytes_of(node: &crate::node::Node) -> u64 {
    let replicas = node.replicas.read().expect("no panic while held");
    replicas.values().map(|replica| replica.disk_bytes()).sum()
}

fn all_bytes(context: &Context, _: &Call) -> Answer {
    Ok(Reply::json(bytes_of(&context.node)))
}

fn table_bytes(context: &Context, call: &Call) -> Answer {
    let (keyspace, table) = call.keyspace_and_table("name")?;
    let target = context.sim.target(keyspace, table)?;
    Ok(Reply::json(
        context
            .node
            .replica(target.id)
            .map_or(0, |replica| replica.disk_bytes()),
    ))
}

fn load_map(context: &Context, _: &Call) -> Answer {
    let pair = |node: &std::sync::Arc<crate::node::Node>| json!({ "key": node.member.address, "value": bytes_of(node) });
    Ok(Reply::List(context.sim.nodes.iter().map(pair).collect()))
}
