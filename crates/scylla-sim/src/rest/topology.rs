//! Who is alive, where, and who owns which tokens.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Call, Context, Route, now, route, stage};
use crate::answer::{Answer, Fail, Reply};
use crate::cluster::Target;
use crate::hash;
use crate::node::Node;
use crate::topology::{Placement, ring};

pub(super) const ROUTES: &[Route] = &[
    route("GET", "/gossiper/endpoint/live", stage::TOKENS, now!(live)),
    route("GET", "/gossiper/endpoint/down", stage::TOKENS, now!(down)),
    route(
        "GET",
        "/gossiper/downtime/{addr}",
        stage::TOKENS,
        now!(downtime),
    ),
    route(
        "GET",
        "/failure_detector/simple_states",
        stage::TOKENS,
        now!(simple_states),
    ),
    route(
        "GET",
        "/failure_detector/endpoints",
        stage::TOKENS,
        now!(endpoints),
    ),
    route("GET", "/snitch/datacenter", stage::TOKENS, now!(datacenter)).optional(&["host"]),
    route("GET", "/snitch/rack", stage::TOKENS, now!(rack)).optional(&["host"]),
    route("GET", "/snitch/name", stage::TOKENS, now!(snitch)),
    route(
        "GET",
        "/storage_service/nodes/leaving",
        stage::TOKENS,
        now!(nobody),
    ),
    route(
        "GET",
        "/storage_service/nodes/joining",
        stage::TOKENS,
        now!(nobody),
    ),
    route(
        "GET",
        "/storage_service/nodes/moving",
        stage::TOKENS,
        now!(nobody),
    ),
    route(
        "GET",
        "/storage_service/nodes/excluded",
        stage::TOKENS,
        now!(nobody),
    ),
    route(
        "GET",
        "/storage_service/tokens",
        stage::TOKENS,
        now!(tokens),
    ),
    route(
        "GET",
        "/storage_service/tokens/{endpoint}",
        stage::TOKENS,
        now!(tokens_of),
    ),
    route(
        "GET",
        "/storage_service/tokens_endpoint",
        stage::REST,
        now!(tokens_endpoint),
    )
    .optional(&["keyspace", "cf"]),
    route(
        "GET",
        "/storage_service/describe_ring/{keyspace}",
        stage::REST,
        now!(describe_ring),
    )
    .optional(&["table"]),
    route(
        "GET",
        "/storage_service/range_to_endpoint_map/{keyspace}",
        stage::REST,
        now!(range_map),
    )
    .optional(&["cf", "rpc"]),
    route(
        "GET",
        "/storage_service/natural_endpoints/{keyspace}",
        stage::REST,
        now!(natural),
    )
    .required(&["cf", "key"]),
    route(
        "GET",
        "/storage_service/natural_endpoints/v2/{keyspace}",
        stage::REST,
        now!(natural_v2),
    )
    .required(&["cf", "key_component"]),
    route(
        "GET",
        "/storage_service/ownership/{keyspace}",
        stage::REST,
        now!(ownership),
    )
    .optional(&["cf"]),
];

fn addresses<'a>(nodes: impl Iterator<Item = &'a std::sync::Arc<Node>>) -> Answer {
    Ok(Reply::List(
        nodes.map(|node| json!(node.member.address)).collect(),
    ))
}

/// Whether the asked node believes `node` alive; it never doubts itself.
fn alive(context: &Context, node: &Node) -> bool {
    node.index == context.node.index || node.live()
}

fn live(context: &Context, _: &Call) -> Answer {
    addresses(context.sim.nodes.iter().filter(|node| alive(context, node)))
}

fn down(context: &Context, _: &Call) -> Answer {
    addresses(
        context
            .sim
            .nodes
            .iter()
            .filter(|node| !alive(context, node)),
    )
}

fn downtime(context: &Context, call: &Call) -> Answer {
    let down = context
        .sim
        .node(call.path("addr"))
        .is_some_and(|node| !alive(context, node));
    Ok(Reply::json(if down { 30_000_000 } else { 0 }))
}

fn simple_states(context: &Context, _: &Call) -> Answer {
    let state = |node: &std::sync::Arc<Node>| {
        let state = if alive(context, node) { "UP" } else { "DOWN" };
        json!({ "key": node.member.address, "value": state })
    };
    Ok(Reply::List(context.sim.nodes.iter().map(state).collect()))
}

fn endpoints(context: &Context, _: &Call) -> Answer {
    let state = |node: &std::sync::Arc<Node>| {
        json!({
            "addrs": node.member.address,
            "generation": 1,
            "version": 1,
            "update_time": 0,
            "is_alive": alive(context, node),
            "application_state": [
                { "application_state": 3, "value": node.member.dc, "version": 1 },
                { "application_state": 4, "value": node.member.rack, "version": 1 },
            ],
        })
    };
    Ok(Reply::List(context.sim.nodes.iter().map(state).collect()))
}

fn place(context: &Context, call: &Call, unknown: &str, part: fn(&Node) -> &str) -> Answer {
    let node = match call.text("host") {
        "" => Some(&context.node),
        host => context
            .sim
            .nodes
            .iter()
            .find(|node| node.member.address.to_string() == host),
    };
    Ok(Reply::json(node.map_or(unknown, |node| part(node))))
}

fn datacenter(context: &Context, call: &Call) -> Answer {
    place(context, call, "UNKNOWN_DC", |node| &node.member.dc)
}

fn rack(context: &Context, call: &Call) -> Answer {
    place(context, call, "UNKNOWN_RACK", |node| &node.member.rack)
}

fn snitch(_: &Context, _: &Call) -> Answer {
    Ok(Reply::json(
        "org.apache.cassandra.locator.GossipingPropertyFileSnitch",
    ))
}

fn nobody(_: &Context, _: &Call) -> Answer {
    Ok(Reply::List(Vec::new()))
}

fn strings(tokens: impl Iterator<Item = i64>) -> Answer {
    Ok(Reply::List(
        tokens.map(|token| Value::from(token.to_string())).collect(),
    ))
}

fn tokens(context: &Context, _: &Call) -> Answer {
    strings(context.node.member.tokens.iter().copied())
}

fn tokens_of(context: &Context, call: &Call) -> Answer {
    let wanted = call.path("endpoint");
    let node = context
        .sim
        .nodes
        .iter()
        .find(|node| node.member.address.to_string() == wanted);
    strings(
        node.into_iter()
            .flat_map(|node| node.member.tokens.iter().copied()),
    )
}

fn tokens_endpoint(context: &Context, call: &Call) -> Answer {
    let pair = |token: i64, node: usize| json!({ "key": token.to_string(), "value": context.sim.nodes[node].member.address });
    let tablets = match (call.text("keyspace"), call.text("cf")) {
        ("", "") => None,
        ("", _) | (_, "") => {
            return Err(Fail::bad(
                "Either provide both keyspace and table (for tablet table) or neither (for vnodes)",
            ));
        }
        (keyspace, cf) => {
            Some(context.sim.target(keyspace, cf)?.placement).filter(|placement| placement.tablets)
        }
    };
    let list = match tablets {
        None => ring(&context.sim.model().members)
            .into_iter()
            .map(|(token, node)| pair(token, node))
            .collect(),
        Some(placement) => {
            let each = placement.bounds.iter().zip(&placement.replicas);
            each.map(|(token, nodes)| pair(*token, nodes[0])).collect()
        }
    };
    Ok(Reply::List(list))
}

/// A range (start, end] and its replicas.
type Owned = (String, String, Vec<usize>);

/// All ranges of a placement; that around the ring's minimum as one for vnodes.
fn ranges(context: &Context, placement: &Placement) -> Vec<Owned> {
    if placement.local {
        let tokens = ring(&context.sim.model().members);
        let bounds = tokens.iter().map(|(token, _)| *token).collect();
        let replicas = vec![vec![context.node.index]; tokens.len()];
        return ranges(
            context,
            &Placement {
                bounds,
                replicas,
                tablets: false,
                local: false,
            },
        );
    }
    let first = match placement.bounds.last() {
        Some(last) if !placement.tablets => *last,
        _ => i64::MIN,
    };
    let starts = std::iter::once(first).chain(placement.bounds.iter().copied());
    starts
        .zip(&placement.bounds)
        .zip(&placement.replicas)
        .map(|((start, end), nodes)| (start.to_string(), end.to_string(), nodes.clone()))
        .collect()
}

/// The placement to describe: the table's, or the keyspace's when it is the same for all its tables.
fn placement(
    context: &Context,
    keyspace: &str,
    table: &str,
    refuse: Fail,
) -> Result<Placement, Fail> {
    if !table.is_empty() {
        let target: Target = context.sim.target(keyspace, table)?;
        return Ok((*target.placement).clone());
    }
    let model = context.sim.model();
    let ks = model
        .keyspaces
        .get(keyspace)
        .ok_or_else(|| Fail::keyspace(keyspace))?;
    match (ks.tablets, ks.local) {
        (true, _) => Err(refuse),
        (false, true) => Ok(Placement::local()),
        (false, false) => Ok(Placement::vnodes(&model.members, &ks.replication)),
    }
}

fn describe_ring(context: &Context, call: &Call) -> Answer {
    let keyspace = call.path("keyspace");
    let refuse = Fail::runtime(format!(
        "The keyspace {keyspace} has tablet table. Query describe_ring with the table parameter!"
    ));
    let placement = placement(context, keyspace, call.text("table"), refuse)?;
    let describe = |(start, end, nodes): Owned| {
        let members = nodes.iter().map(|node| &context.sim.nodes[*node].member);
        let addresses: Vec<_> = members.clone().map(|member| member.address).collect();
        let details: Vec<_> = members
            .map(|m| json!({ "host": m.address, "datacenter": m.dc, "rack": m.rack }))
            .collect();
        json!({
            "start_token": start,
            "end_token": end,
            "endpoints": addresses,
            "rpc_endpoints": addresses,
            "endpoint_details": details,
        })
    };
    Ok(Reply::List(
        ranges(context, &placement)
            .into_iter()
            .map(describe)
            .collect(),
    ))
}

fn range_map(context: &Context, call: &Call) -> Answer {
    let keyspace = call.path("keyspace");
    let refuse = Fail::bad(format!(
        "storage_service/range_to_endpoint_map is per-table in keyspace '{keyspace}'. \
         Please provide table name using 'cf' parameter."
    ));
    let placement = placement(context, keyspace, call.text("cf"), refuse)?;
    let pair = |(start, end, nodes): Owned| {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|node| context.sim.nodes[*node].member.address)
            .collect();
        json!({ "key": [start, end], "value": nodes })
    };
    Ok(Reply::List(
        ranges(context, &placement).into_iter().map(pair).collect(),
    ))
}

fn owners(context: &Context, call: &Call, key: &str) -> Answer {
    let target = context.sim.target(call.path("keyspace"), call.text("cf"))?;
    if target.placement.local {
        return addresses(std::iter::once(&context.node));
    }
    let range = target.placement.range(hash::token(key.as_bytes()));
    addresses(
        target.placement.replicas[range]
            .iter()
            .map(|node| &context.sim.nodes[*node]),
    )
}

fn natural(context: &Context, call: &Call) -> Answer {
    owners(context, call, call.text("key"))
}

fn natural_v2(context: &Context, call: &Call) -> Answer {
    owners(context, call, &call.all("key_component").join(":"))
}

fn ownership(context: &Context, call: &Call) -> Answer {
    let keyspace = call.path("keyspace");
    let refuse = Fail::bad(format!(
        "storage_service/ownership is per-table in keyspace '{keyspace}'. \
         Please provide table name using 'cf' parameter."
    ));
    let placement = placement(context, keyspace, call.text("cf"), refuse)?;
    let mut shares = BTreeMap::new();
    for (start, end, nodes) in ranges(context, &placement) {
        let token = |text: String| text.parse::<i64>().unwrap_or(i64::MIN);
        let width = token(end).wrapping_sub(token(start)).cast_unsigned();
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = width as f64 / u64::MAX as f64;
        for node in nodes {
            *shares
                .entry(context.sim.nodes[node].member.address)
                .or_insert(0.0) += share;
        }
    }
    let pair = |(node, share): (_, f64)| json!({ "key": node, "value": format!("{share:.2}") });
    Ok(Reply::List(shares.into_iter().map(pair).collect()))
}
