//! Who a node is: versions, ids, modes, shards.

use serde_json::{Value, json};

use super::{Call, Context, Route, now, route, stage};
use crate::answer::{Answer, Fail, Reply};

pub(super) const ROUTES: &[Route] = &[
    route(
        "GET",
        "/storage_service/scylla_release_version",
        stage::REST,
        now!(release),
    ),
    route(
        "GET",
        "/storage_service/release_version",
        stage::REST,
        now!(cassandra),
    ),
    route(
        "GET",
        "/storage_service/cluster_name",
        stage::REST,
        now!(cluster_name),
    ),
    route(
        "GET",
        "/storage_service/partitioner_name",
        stage::REST,
        now!(partitioner),
    ),
    route(
        "GET",
        "/storage_service/operation_mode",
        stage::REST,
        now!(mode),
    ),
    route(
        "GET",
        "/storage_service/hostid/local",
        stage::TOKENS,
        now!(host_id),
    ),
    route(
        "GET",
        "/storage_service/host_id",
        stage::TOKENS,
        now!(host_ids),
    ),
    route(
        "GET",
        "/storage_service/data_file/locations",
        stage::REST,
        now!(data_locations),
    ),
    route(
        "GET",
        "/storage_service/schema_version",
        stage::REST,
        now!(schema_version),
    ),
    route("GET", "/system/uptime_ms", stage::FIRST, now!(uptime)),
    route(
        "GET",
        "/system/shard_to_numa_node_mapping",
        stage::FIRST,
        now!(shards),
    ),
    route(
        "GET",
        "/system/highest_supported_sstable_version",
        stage::FIRST,
        now!(highest_format),
    ),
    route(
        "GET",
        "/system/chosen_sstable_version",
        stage::FIRST,
        now!(chosen_format),
    ),
];

fn release(context: &Context, _: &Call) -> Answer {
    Ok(Reply::json(context.sim.config.release.as_str()))
}

fn cassandra(_: &Context, _: &Call) -> Answer {
    Ok(Reply::json("3.0.8"))
}

fn cluster_name(context: &Context, _: &Call) -> Answer {
    Ok(Reply::json(context.sim.model().cluster_name.as_str()))
}

fn partitioner(_: &Context, _: &Call) -> Answer {
    Ok(Reply::json("org.apache.cassandra.dht.Murmur3Partitioner"))
}

fn mode(context: &Context, _: &Call) -> Answer {
    Ok(Reply::json(
        context
            .node
            .mode
            .lock()
            .expect("no panic while held")
            .as_str(),
    ))
}

fn host_id(context: &Context, _: &Call) -> Answer {
    Ok(Reply::json(context.node.member.host_id.to_string()))
}

fn host_ids(context: &Context, _: &Call) -> Answer {
    let pair = |node: &std::sync::Arc<crate::node::Node>| json!({ "key": node.member.address, "value": node.member.host_id });
    Ok(Reply::List(context.sim.nodes.iter().map(pair).collect()))
}

fn data_locations(context: &Context, _: &Call) -> Answer {
    Ok(Reply::List(vec![json!(context.node.data)]))
}

fn schema_version(context: &Context, _: &Call) -> Answer {
    let own = *context
        .node
        .schema_version
        .lock()
        .expect("no panic while held");
    Ok(Reply::json(
        own.unwrap_or(context.sim.model().schema_version)
            .to_string(),
    ))
}

fn uptime(context: &Context, _: &Call) -> Answer {
    let elapsed = context.sim.started.elapsed().as_millis();
    u64::try_from(elapsed)
        .map(Reply::json)
        .map_err(Fail::runtime)
}

fn shards(context: &Context, _: &Call) -> Answer {
    Ok(Reply::List(vec![Value::from(0); context.sim.config.shards]))
}

fn highest_format(_: &Context, _: &Call) -> Answer {
    Ok(Reply::json("mt"))
}

fn chosen_format(context: &Context, _: &Call) -> Answer {
    Ok(Reply::json(context.sim.config.format.as_str()))
}
