//! The manifest's JSON as Thetis writes it, field by field.

use std::collections::BTreeMap;

use protocol::NodeId;
use serde::{Serialize, Serializer};

use super::{Files, Replication, TableEntry, VERSION};
use crate::TableVersion;

#[derive(Serialize)]
pub(super) struct Manifest<'a> {
    version: &'static str,
    scylla_version: &'a str,
    cluster_name: &'a str,
    ip: &'a str,
    size: u64,
    tokens: &'a [i64],
    schema: &'a str,
    rack: &'a str,
    shard_count: u32,
    cpu_count: u32,
    storage_size: u64,
    instance_details: Instance<'a>,
    dc: &'a str,
    cluster_id: String,
    node_id: String,
    task_id: String,
    snapshot_tag: &'a str,
    #[serde(skip_serializing_if = "Additions::is_empty")]
    thetis: Additions<'a>,
    index: Index<'a>,
}

/// What Thetis adds.
#[derive(Serialize)]
struct Additions<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ranges: &'a BTreeMap<String, Vec<(i64, i64)>>,
    #[serde(skip_serializing_if = "<[NodeId]>::is_empty")]
    nodes: &'a [NodeId],
    #[serde(skip_serializing_if = "is_unknown")]
    snapshot_ms: u64,
    #[serde(skip_serializing_if = "is_unknown")]
    sealed_ms: u64,
}

#[derive(Serialize)]
struct Instance<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    cloud_provider: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instance_type: &'a str,
}

struct Index<'a>(&'a [TableEntry]);

#[derive(Serialize)]
struct Entry<'a> {
    keyspace: &'a str,
    table: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    replication_type: Option<Replication>,
    version: TableVersion,
    #[serde(serialize_with = "names")]
    files: &'a Files,
    size: u64,
    scylla_manifests: &'a [String],
    #[serde(skip_serializing_if = "Facts::is_empty")]
    thetis: Facts<'a>,
}

/// What Thetis adds to an entry: of its files, in their order.
#[derive(Serialize)]
struct Facts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sizes: Option<Sizes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crc32: Option<Checksums<'a>>,
    #[serde(skip_serializing_if = "<[(i64, i64)]>::is_empty")]
    ranges: &'a [(i64, i64)],
}

struct Sizes<'a>(&'a Files);

struct Checksums<'a>(&'a Files);

impl Additions<'_> {
    fn is_empty(&self) -> bool {
        self.ranges.is_empty()
            && self.nodes.is_empty()
            && is_unknown(&self.snapshot_ms)
            && is_unknown(&self.sealed_ms)
    }
}

impl Facts<'_> {
    fn is_empty(&self) -> bool {
        self.sizes.is_none() && self.crc32.is_none() && self.ranges.is_empty()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what a field is skipped by takes it by reference"
)]
fn is_unknown(ms: &u64) -> bool {
    *ms == 0
}

impl<'a> From<&'a super::Manifest> for Manifest<'a> {
    fn from(manifest: &'a super::Manifest) -> Self {
        let info = &manifest.info;
        Self {
            version: VERSION,
            scylla_version: &info.scylla_version,
            cluster_name: &info.cluster_name,
            ip: &info.ip,
            size: manifest.bytes(),
            tokens: &info.tokens,
            schema: &manifest.schema,
            rack: &info.rack,
            shard_count: info.shard_count,
            cpu_count: info.cpu_count,
            storage_size: info.storage_size,
            instance_details: Instance {
                cloud_provider: &info.cloud_provider,
                instance_type: &info.instance_type,
            },
            dc: &manifest.dc,
            cluster_id: manifest.cluster.to_string(),
            node_id: manifest.node.to_string(),
            task_id: manifest.task.to_string(),
            snapshot_tag: manifest.tag.as_str(),
            thetis: Additions {
                ranges: &manifest.ranges,
                nodes: &manifest.nodes,
                snapshot_ms: manifest.snapshot_ms,
                sealed_ms: manifest.sealed_ms,
            },
            index: Index(&manifest.index),
        }
    }
}

impl<'a> From<&'a TableEntry> for Entry<'a> {
    fn from(entry: &'a TableEntry) -> Self {
        let files = &entry.files;
        let known = |file: super::File<'_>| file.bytes.is_some() || file.crc32.is_some();
        let known = files.iter().any(known);
        Self {
            keyspace: &entry.keyspace,
            table: &entry.table,
            replication_type: entry.replication,
            version: entry.version,
            files,
            size: entry.bytes,
            scylla_manifests: &entry.scylla_manifests,
            thetis: Facts {
                sizes: known.then_some(Sizes(files)),
                crc32: known.then_some(Checksums(files)),
                ranges: &entry.ranges,
            },
        }
    }
}

impl Serialize for Index<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(Entry::from))
    }
}

fn names<S: Serializer>(files: &Files, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(files.iter().map(|file| file.name))
}

impl Serialize for Sizes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|file| file.bytes))
    }
}

impl Serialize for Checksums<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|file| file.crc32))
    }
}
