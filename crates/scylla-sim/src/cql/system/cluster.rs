//! What a node tells of itself and the others: `system.local`, `system.peers` and the like.

use super::{Value, Virtual, boolean, int, text};
use crate::cluster::Sim;
use crate::cql::value::{inet, sequence};
use crate::node::Node;
use crate::schema::Kind;

const TEXT: &str = "text";
const INET: &str = "inet";
const UUID: &str = "uuid";
const INT: &str = "int";
const BOOLEAN: &str = "boolean";
const TEXTS: &str = "set<text>";

pub(super) const TABLES: &[Virtual] = &[
    Virtual {
        keyspace: "system",
        name: "local",
        keys: (1, 0),
        columns: &[
            ("key", TEXT),
            ("bootstrapped", TEXT),
            ("broadcast_address", INET),
            ("cluster_name", TEXT),
            ("cql_version", TEXT),
            ("data_center", TEXT),
            ("gossip_generation", INT),
            ("host_id", UUID),
            ("listen_address", INET),
            ("native_protocol_version", TEXT),
            ("partitioner", TEXT),
            ("rack", TEXT),
            ("release_version", TEXT),
            ("rpc_address", INET),
            ("schema_version", UUID),
            ("supported_features", TEXT),
            ("tokens", TEXTS),
        ],
        rows: local,
    },
    Virtual {
        keyspace: "system",
        name: "peers",
        keys: (1, 0),
        columns: &[
            ("peer", INET),
            ("data_center", TEXT),
            ("host_id", UUID),
            ("preferred_ip", INET),
            ("rack", TEXT),
            ("release_version", TEXT),
            ("rpc_address", INET),
            ("schema_version", UUID),
            ("supported_features", TEXT),
            ("tokens", TEXTS),
        ],
        rows: peers,
    },
    Virtual {
        keyspace: "system",
        name: "versions",
        keys: (1, 0),
        columns: &[
            ("key", TEXT),
            ("build_id", TEXT),
            ("build_mode", TEXT),
            ("version", TEXT),
        ],
        rows: versions,
    },
    Virtual {
        keyspace: "system",
        name: "built_views",
        keys: (1, 1),
        columns: &[
            ("keyspace_name", TEXT),
            ("view_name", TEXT),
            ("status_replicated", BOOLEAN),
        ],
        rows: built_views,
    },
    Virtual {
        keyspace: "system",
        name: "roles",
        keys: (1, 0),
        columns: &[
            ("role", TEXT),
            ("can_login", BOOLEAN),
            ("is_superuser", BOOLEAN),
            ("member_of", TEXTS),
            ("salted_hash", TEXT),
        ],
        rows: roles,
    },
    Virtual {
        keyspace: "system",
        name: "role_members",
        keys: (1, 1),
        columns: &[("role", TEXT), ("member", TEXT)],
        rows: role_members,
    },
    Virtual {
        keyspace: "system",
        name: "role_permissions",
        keys: (1, 1),
        columns: &[("role", TEXT), ("resource", TEXT), ("permissions", TEXTS)],
        rows: role_permissions,
    },
    Virtual {
        keyspace: "system",
        name: "role_attributes",
        keys: (1, 1),
        columns: &[("role", TEXT), ("name", TEXT), ("value", TEXT)],
        rows: role_attributes,
    },
    Virtual {
        keyspace: "system",
        name: "service_levels_v2",
        keys: (1, 0),
        columns: &[
            ("service_level", TEXT),
            ("shares", INT),
            ("timeout", "duration"),
            ("workload_type", TEXT),
        ],
        rows: service_levels,
    },
    Virtual {
        keyspace: "system",
        name: "view_build_status_v2",
        keys: (2, 1),
        columns: &[
            ("keyspace_name", TEXT),
            ("view_name", TEXT),
            ("host_id", UUID),
            ("status", TEXT),
        ],
        rows: view_builds,
    },
];

fn texts<'a>(all: impl IntoIterator<Item = &'a String>) -> Value {
    let all: Vec<Vec<u8>> = all
        .into_iter()
        .map(|one| one.clone().into_bytes())
        .collect();
    Some(sequence(&all))
}

fn address(node: &Node) -> Value {
    Some(inet(node.member.address.into()))
}

fn version(sim: &Sim, node: &Node) -> Value {
    let own = *node.schema_version.lock().expect("no panic while held");
    let version = own.unwrap_or_else(|| sim.model().schema_version);
    Some(version.into_bytes().to_vec())
}

fn host_id(node: &Node) -> Value {
    Some(node.member.host_id.into_bytes().to_vec())
}

fn tokens(node: &Node) -> Value {
    let tokens: Vec<String> = node.member.tokens.iter().map(i64::to_string).collect();
    texts(&tokens)
}

fn local(sim: &Sim, node: &Node) -> Vec<Vec<Value>> {
    vec![vec![
        text("local"),
        text("COMPLETED"),
        address(node),
        text(sim.model().cluster_name.as_str()),
        text("3.3.1"),
        text(node.member.dc.as_str()),
        int(1),
        host_id(node),
        address(node),
        text("4"),
        text("org.apache.cassandra.dht.Murmur3Partitioner"),
        text(node.member.rack.as_str()),
        text("3.0.8"),
        address(node),
        version(sim, node),
        text("VIEW_BUILD_STATUS_ON_GROUP0,TABLETS"),
        tokens(node),
    ]]
}

/// Nodes that are down are told as well, with the version they had.
fn peers(sim: &Sim, node: &Node) -> Vec<Vec<Value>> {
    let others = sim.nodes.iter().filter(|other| other.index != node.index);
    let row = |other: &std::sync::Arc<Node>| {
        vec![
            address(other),
            text(other.member.dc.as_str()),
            host_id(other),
            None,
            text(other.member.rack.as_str()),
            text("3.0.8"),
            address(other),
            version(sim, other),
            text("VIEW_BUILD_STATUS_ON_GROUP0,TABLETS"),
            tokens(other),
        ]
    };
    others.map(row).collect()
}

fn versions(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let release = sim.config.release.as_str();
    vec![vec![
        text("local"),
        text("simulated"),
        text("release"),
        text(release),
    ]]
}

/// Keyspace and name of all views and indexes' tables, with how far they are built.
fn views(sim: &Sim) -> Vec<(String, String, String)> {
    let model = sim.model();
    let held = sim.view_builds.lock().expect("no panic while held");
    let mut all = Vec::new();
    for (keyspace, found) in &model.keyspaces {
        for (name, table) in &found.tables {
            if table.kind == Kind::Table {
                continue;
            }
            let status = held.get(&(keyspace.clone(), name.clone()));
            let built = if table.definition.building {
                "STARTED"
            } else {
                "SUCCESS"
            };
            let status = status.cloned().unwrap_or_else(|| built.to_owned());
            all.push((keyspace.clone(), name.clone(), status));
        }
    }
    all
}

fn built_views(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let built = views(sim)
        .into_iter()
        .filter(|(.., status)| status == "SUCCESS");
    built
        .map(|(keyspace, name, _)| vec![text(keyspace), text(name), boolean(true)])
        .collect()
}

fn view_builds(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for (keyspace, name, status) in views(sim) {
        for node in &sim.nodes {
            rows.push(vec![
                text(&keyspace),
                text(&name),
                host_id(node),
                text(&status),
            ]);
        }
    }
    rows
}

fn roles(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let model = sim.model();
    let row = |(name, role): (&String, &crate::roles::Role)| {
        let member_of = if role.member_of.is_empty() {
            None
        } else {
            texts(&role.member_of)
        };
        let hash = role.hash.as_deref().and_then(text);
        vec![
            text(name),
            boolean(role.login),
            boolean(role.superuser),
            member_of,
            hash,
        ]
    };
    model.access.roles.iter().map(row).collect()
}

fn role_members(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let model = sim.model();
    let mut rows = Vec::new();
    for (member, role) in &model.access.roles {
        rows.extend(
            role.member_of
                .iter()
                .map(|role| vec![text(role), text(member)]),
        );
    }
    rows
}

fn role_permissions(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let model = sim.model();
    let row = |grant: &crate::roles::Grant| {
        vec![
            text(&grant.role),
            text(grant.on.path()),
            texts(&grant.rights),
        ]
    };
    model.access.grants.iter().map(row).collect()
}

fn role_attributes(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let model = sim.model();
    let row =
        |(role, level): (&String, &String)| vec![text(role), text("service_level"), text(level)];
    model.access.attached.iter().map(row).collect()
}

fn service_levels(sim: &Sim, _: &Node) -> Vec<Vec<Value>> {
    let model = sim.model();
    let row = |(level, options): (&String, &std::collections::BTreeMap<String, String>)| {
        let shares = options.get("shares").and_then(|shares| shares.parse().ok());
        let timeout = options
            .get("timeout")
            .and_then(|timeout| crate::cql::value::duration(timeout));
        vec![
            text(level),
            shares.and_then(int),
            timeout,
            options.get("workload_type").and_then(text),
        ]
    };
    model.access.levels.iter().map(row).collect()
}
