//! The documents of a backup: manifests of several ages, ScyllaDB's own, and schemas.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::{
    random::{Random, uuid},
    sstable::{SsTable, Table},
    tag::tag_time,
    truth::{BackupId, NodeMade, TableMade},
};

/// Which Manager wrote a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Today's: all fields.
    Current,
    /// With what a 1-1 restore needs, without versions, kinds of replication and ScyllaDB's
    /// manifests.
    Middle,
    /// Nothing of that, the index before all else, and `null` for what is empty.
    Oldest,
}

impl Era {
    pub(super) const ALL: [Self; 3] = [Self::Current, Self::Middle, Self::Oldest];
}

/// A kind of schema file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// CQL statements.
    Cql,
    /// Alternator's tables.
    Alternator,
    /// CQL in an archive, of old.
    Legacy,
}

impl Schema {
    pub(super) fn key(self, id: &BackupId) -> String {
        let kind = match self {
            Self::Cql => "schema_with_internals.json.gz",
            Self::Alternator => "alternator_schema.json.gz",
            Self::Legacy => "schema.tar.gz",
        };
        let BackupId { cluster, task, tag } = id;
        format!("backup/schema/cluster/{cluster}/task_{task}_tag_{tag}_{kind}")
    }

    pub(super) fn content(self, tables: &[Table]) -> Vec<u8> {
        let text = match self {
            Self::Cql => Value::from(statements(tables)).to_string(),
            Self::Alternator => alternator(tables).to_string(),
            Self::Legacy => return gzip(&archive(tables)),
        };
        gzip(text.as_bytes())
    }
}

fn statements(tables: &[Table]) -> Vec<Value> {
    let mut rows = vec![json!({
        "keyspace": "", "type": "role", "name": "backup",
        "cql_stmt": "CREATE ROLE IF NOT EXISTS backup WITH LOGIN = true; GRANT SELECT ON ALL KEYSPACES TO backup;",
    })];
    for table in tables {
        let (keyspace, name) = (&table.keyspace, &table.name);
        rows.push(json!({
            "keyspace": keyspace, "type": "table", "name": name,
            "cql_stmt": create(keyspace, name),
        }));
    }
    rows
}

fn create(keyspace: &str, name: &str) -> String {
    format!("CREATE TABLE \"{keyspace}\".\"{name}\" (key text PRIMARY KEY, value blob);")
}

fn alternator(tables: &[Table]) -> Value {
    let table = |table: &Table| {
        json!({
            "describe": {"TableName": table.name, "TableStatus": "ACTIVE",
                "CreationDateTime": "2026-01-01T00:00:00Z"},
            "tags": [],
            "ttl": {"AttributeName": null, "TimeToLiveStatus": "DISABLED"},
        })
    };
    json!({"tables": tables.iter().map(table).collect::<Vec<_>>()})
}

/// A tar of one file a keyspace.
fn archive(tables: &[Table]) -> Vec<u8> {
    let mut tar = Vec::new();
    let mut keyspaces: Vec<&str> = tables.iter().map(|table| &*table.keyspace).collect();
    keyspaces.dedup();
    for keyspace in keyspaces {
        let of = tables.iter().filter(|table| table.keyspace == keyspace);
        let text: String = of
            .map(|table| create(keyspace, &table.name) + "\n")
            .collect();
        let mut header = [0; 512];
        let mut field = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        field(0, &format!("{keyspace}.cql"));
        field(100, "0000644\0");
        field(108, "0000000\0");
        field(116, "0000000\0");
        field(124, &format!("{:011o}\0", text.len()));
        field(136, "00000000000\0");
        field(148, "        0");
        field(257, "ustar\x0000");
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(text.as_bytes());
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let written = gzip.write_all(bytes).and_then(|()| gzip.finish());
    written.expect("memory takes all that is written")
}

/// Any value as JSON text.
macro_rules! text {
    ($value:expr) => {
        json!($value).to_string()
    };
}

/// A JSON object of values that are JSON text; its keys keep their order, or take a random one.
fn object(mut fields: Vec<(&str, String)>, shuffle: Option<&mut Random>) -> String {
    if let Some(random) = shuffle {
        for last in (1..fields.len()).rev() {
            fields.swap(last, random.index(last + 1));
        }
    }
    let fields = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// A list of JSON texts; an empty one was once written as `null`.
fn list(era: Era, items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() && era == Era::Oldest {
        return "null".to_owned();
    }
    format!("[{}]", items.join(","))
}

/// A node's manifest, as text. `shuffle` gives keys another order.
pub(super) fn manifest(
    id: &BackupId,
    node: &NodeMade,
    era: Era,
    mut shuffle: Option<&mut Random>,
) -> String {
    let facts = &node.facts;
    let entries = node.tables.iter();
    let index = list(
        era,
        entries.map(|table| entry(table, era, shuffle.as_deref_mut())),
    );
    let size: u64 = node.tables.iter().map(TableMade::bytes).sum();
    let common = [
        ("cluster_name", text!(facts.cluster_name)),
        ("ip", text!(facts.ip)),
        ("size", text!(size)),
        ("tokens", list(era, facts.tokens.iter().map(i64::to_string))),
        ("schema", text!(facts.schema)),
    ];
    let mut fields = vec![("version", text!("v2"))];
    match era {
        Era::Oldest => {
            fields.push(("index", index));
            fields.extend(common);
            return object(fields, shuffle);
        }
        Era::Current => fields.push(("scylla_version", text!(facts.scylla_version))),
        Era::Middle => {}
    }
    fields.extend(common);
    fields.extend([
        ("rack", text!(facts.rack)),
        ("shard_count", text!(facts.shard_count)),
        ("cpu_count", text!(facts.cpu_count)),
        ("storage_size", text!(facts.storage_size)),
        (
            "instance_details",
            details(&facts.cloud_provider, &facts.instance_type),
        ),
        ("dc", text!(node.dc)),
        ("cluster_id", text!(id.cluster)),
        ("node_id", text!(node.node)),
        ("task_id", text!(id.task)),
        ("snapshot_tag", text!(id.tag)),
        ("index", index),
    ]);
    object(fields, shuffle)
}

/// What is empty is left out.
fn details(cloud_provider: &str, instance_type: &str) -> String {
    let fields = [
        ("cloud_provider", cloud_provider),
        ("instance_type", instance_type),
    ];
    let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
    object(
        fields.map(|(name, value)| (name, text!(value))).collect(),
        None,
    )
}

fn entry(table: &TableMade, era: Era, shuffle: Option<&mut Random>) -> String {
    let mut fields = vec![
        ("keyspace", text!(table.keyspace)),
        ("table", text!(table.table)),
    ];
    if let Some(replication) = &table.replication {
        fields.push(("replication_type", text!(replication)));
    }
    fields.extend([
        ("version", text!(table.version)),
        (
            "files",
            list(era, table.files.iter().map(|file| text!(file.name))),
        ),
        ("size", text!(table.bytes())),
    ]);
    if era == Era::Current {
        fields.push(("scylla_manifests", text!(table.scylla_manifests)));
    }
    object(fields, shuffle)
}

/// Name of ScyllaDB's own manifest, once Manager has put it beside the files.
pub(super) fn scylla_manifest_name(tag: &str, node: &str) -> String {
    format!("tag_{tag}_node_{node}_manifest.json")
}

/// ScyllaDB's own manifest of a table's snapshot on a node.
pub(super) fn scylla_manifest(
    id: &BackupId,
    node: &NodeMade,
    table: &Table,
    version: &str,
    sstables: &[std::sync::Arc<SsTable>],
) -> String {
    const TABLETS: u64 = 4;
    let width = u64::MAX / TABLETS + 1;
    let edge = |tablet: u64| (tablet * width).wrapping_add(1 << 63).cast_signed();
    let tablet_of = |token: i64| (token.cast_unsigned() ^ (1 << 63)) / width;
    let tablets = (0..TABLETS).map(|tablet| {
        let last = match tablet {
            last if last == TABLETS - 1 => i64::MAX,
            other => edge(other + 1) - 1,
        };
        json!({"id": tablet, "first_token": edge(tablet), "last_token": last,
            "repair_time": null, "repaired_at": 0})
    });
    let tablets: Vec<Value> = if table.tablets {
        tablets.collect()
    } else {
        vec![]
    };
    let length = |sstable: &SsTable, name: &str| sstable.content(name).map_or(0, <[u8]>::len);
    let listed = sstables.iter().map(|sstable| {
        let index = length(sstable, "Index.db") + length(sstable, "Partitions.db");
        let mut listed = json!({
            "id": sstable.identifier, "toc_name": format!("{}-TOC.txt", sstable.name),
            "data_size": length(sstable, "Data.db"), "index_size": index,
            "first_token": sstable.first_token, "last_token": sstable.last_token,
            "repaired_at": 0,
        });
        if table.tablets {
            listed["tablet_id"] = json!(tablet_of(sstable.first_token));
        }
        listed
    });
    let listed: Vec<Value> = listed.collect();
    let files = sstables.iter().flat_map(|sstable| &sstable.files);
    let files: Vec<&str> = files.map(|(name, _)| &**name).collect();
    let (high, low) = version.split_at(16);
    let half = |digits| u64::from_str_radix(digits, 16).expect("a version of hex digits");
    json!({
        "manifest": {"version": "1.0", "scope": "node"},
        "node": {"host_id": node.node, "datacenter": node.dc, "rack": node.facts.rack},
        "snapshot": {"name": id.tag, "created_at": tag_time(&id.tag), "expires_at": null},
        "table": {
            "keyspace_name": table.keyspace, "table_name": table.name,
            "table_id": uuid(half(high), half(low)),
            "tablets_type": if table.tablets { "powof2" } else { "none" },
            "tablet_count": tablets.len(),
        },
        "tablets": tablets, "sstables": listed, "files": files,
    })
    .to_string()
}
