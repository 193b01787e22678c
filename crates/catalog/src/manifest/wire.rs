//! The manifest's JSON, key by key.

use serde::{Deserialize, Deserializer, Serialize};

use super::{FileEntry, ManifestError, NodeFacts, Replication, TableEntry};
use crate::{Name, TableVersion, key::ManifestKey, segment};

const VERSION: &str = "v2";

/// `null` and a missing field mean the same: the default.
fn lax<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

#[derive(Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Manifest {
    #[serde(deserialize_with = "lax")]
    version: String,
    #[serde(deserialize_with = "lax")]
    scylla_version: String,
    #[serde(deserialize_with = "lax")]
    cluster_name: String,
    #[serde(deserialize_with = "lax")]
    ip: String,
    #[serde(deserialize_with = "lax")]
    size: u64,
    #[serde(deserialize_with = "lax")]
    tokens: Vec<i64>,
    #[serde(deserialize_with = "lax")]
    schema: String,
    #[serde(deserialize_with = "lax")]
    rack: String,
    #[serde(deserialize_with = "lax")]
    shard_count: u32,
    #[serde(deserialize_with = "lax")]
    cpu_count: u32,
    #[serde(deserialize_with = "lax")]
    storage_size: u64,
    #[serde(deserialize_with = "lax")]
    instance_details: Instance,
    #[serde(deserialize_with = "lax")]
    dc: String,
    #[serde(deserialize_with = "lax")]
    cluster_id: String,
    #[serde(deserialize_with = "lax")]
    node_id: String,
    #[serde(deserialize_with = "lax")]
    task_id: String,
    #[serde(deserialize_with = "lax")]
    snapshot_tag: String,
    #[serde(deserialize_with = "lax")]
    index: Vec<Entry>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self::new(NodeFacts::default())
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Instance {
    #[serde(deserialize_with = "lax", skip_serializing_if = "String::is_empty")]
    cloud_provider: String,
    #[serde(deserialize_with = "lax", skip_serializing_if = "String::is_empty")]
    instance_type: String,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    keyspace: String,
    table: String,
    #[serde(
        default,
        deserialize_with = "replication",
        skip_serializing_if = "Option::is_none"
    )]
    replication_type: Option<Replication>,
    version: TableVersion,
    #[serde(default, deserialize_with = "lax")]
    files: Vec<String>,
    #[serde(default, deserialize_with = "lax")]
    size: u64,
    #[serde(default, deserialize_with = "lax")]
    scylla_manifests: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thetis: Option<Facts>,
}

/// A value this build does not know is none.
fn replication<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Replication>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(match text.as_deref() {
        Some("vnodes") => Some(Replication::Vnodes),
        Some("tablets") => Some(Replication::Tablets),
        Some(_) | None => None,
    })
}

/// What Thetis knows of an entry's files, in their order.
#[derive(Serialize, Deserialize)]
struct Facts {
    sizes: Vec<Option<u64>>,
    crc32: Vec<Option<u32>>,
}

impl Manifest {
    fn new(info: NodeFacts) -> Self {
        Self {
            version: String::new(),
            scylla_version: info.scylla_version,
            cluster_name: info.cluster_name,
            ip: info.ip,
            size: 0,
            tokens: info.tokens,
            schema: String::new(),
            rack: info.rack,
            shard_count: info.shard_count,
            cpu_count: info.cpu_count,
            storage_size: info.storage_size,
            instance_details: Instance {
                cloud_provider: info.cloud_provider,
                instance_type: info.instance_type,
            },
            dc: String::new(),
            cluster_id: String::new(),
            node_id: String::new(),
            task_id: String::new(),
            snapshot_tag: String::new(),
            index: Vec::new(),
        }
    }

    /// Makes sure that it is what its key says, and that its names are names.
    pub(super) fn check(self, key: &ManifestKey) -> Result<super::Manifest, ManifestError> {
        let identity = [
            ("version", &self.version, VERSION.to_owned()),
            (
                "cluster_id",
                &self.cluster_id,
                key.owner.cluster.to_string(),
            ),
            ("dc", &self.dc, key.owner.dc.clone()),
            ("node_id", &self.node_id, key.owner.node.to_string()),
            ("task_id", &self.task_id, key.task.to_string()),
            ("snapshot_tag", &self.snapshot_tag, key.tag.to_string()),
        ];
        for (field, found, expected) in identity {
            let silent = found.is_empty() && field != "version";
            if !silent && !found.eq_ignore_ascii_case(&expected) {
                return Err(ManifestError::Identity {
                    key: key.to_string(),
                    field,
                    found: found.clone(),
                });
            }
        }
        let entries = self.index.into_iter().map(Entry::check);
        let index = entries
            .collect::<Result<_, _>>()
            .map_err(|cause| ManifestError::Shape {
                key: key.to_string(),
                cause,
            })?;
        Ok(super::Manifest {
            cluster: key.owner.cluster,
            dc: key.owner.dc.clone(),
            node: key.owner.node,
            task: key.task,
            tag: key.tag.clone(),
            info: NodeFacts {
                cluster_name: self.cluster_name,
                scylla_version: self.scylla_version,
                ip: self.ip,
                rack: self.rack,
                tokens: self.tokens,
                shard_count: self.shard_count,
                cpu_count: self.cpu_count,
                storage_size: self.storage_size,
                cloud_provider: self.instance_details.cloud_provider,
                instance_type: self.instance_details.instance_type,
            },
            schema: self.schema,
            index,
        })
    }
}

impl Entry {
    fn check(self) -> Result<TableEntry, String> {
        let count = self.files.len();
        let facts = self.thetis.unwrap_or_else(|| Facts {
            sizes: vec![None; count],
            crc32: vec![None; count],
        });
        if facts.sizes.len() != count || facts.crc32.len() != count {
            return Err(format!(
                "`{}.{}` has {count} files, but {} sizes and {} checksums",
                self.keyspace,
                self.table,
                facts.sizes.len(),
                facts.crc32.len()
            ));
        }
        for name in [&self.keyspace, &self.table]
            .into_iter()
            .chain(&self.scylla_manifests)
        {
            segment::check(name).map_err(|e| e.to_string())?;
        }
        let facts = facts.sizes.into_iter().zip(facts.crc32);
        let files = self.files.into_iter().zip(facts);
        let files = files.map(|(name, (bytes, crc32))| {
            name.parse::<Name>().map_err(|e| e.to_string())?;
            Ok(FileEntry { name, bytes, crc32 })
        });
        Ok(TableEntry {
            files: files.collect::<Result<_, String>>()?,
            keyspace: self.keyspace,
            table: self.table,
            replication: self.replication_type,
            version: self.version,
            bytes: self.size,
            scylla_manifests: self.scylla_manifests,
        })
    }
}

impl From<&super::Manifest> for Manifest {
    fn from(manifest: &super::Manifest) -> Self {
        Self {
            version: VERSION.to_owned(),
            size: manifest.bytes(),
            schema: manifest.schema.clone(),
            dc: manifest.dc.clone(),
            cluster_id: manifest.cluster.to_string(),
            node_id: manifest.node.to_string(),
            task_id: manifest.task.to_string(),
            snapshot_tag: manifest.tag.to_string(),
            index: manifest.index.iter().map(Entry::from).collect(),
            ..Self::new(manifest.info.clone())
        }
    }
}

impl From<&TableEntry> for Entry {
    fn from(entry: &TableEntry) -> Self {
        let known = |file: &FileEntry| file.bytes.is_some() || file.crc32.is_some();
        let facts = entry.files.iter().any(known).then(|| Facts {
            sizes: entry.files.iter().map(|file| file.bytes).collect(),
            crc32: entry.files.iter().map(|file| file.crc32).collect(),
        });
        Self {
            keyspace: entry.keyspace.clone(),
            table: entry.table.clone(),
            replication_type: entry.replication,
            version: entry.version,
            files: entry.files.iter().map(|file| file.name.clone()).collect(),
            size: entry.bytes,
            scylla_manifests: entry.scylla_manifests.clone(),
            thetis: facts,
        }
    }
}
