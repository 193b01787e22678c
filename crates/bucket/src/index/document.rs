//! The object that remembers what a cluster's manifests say: compressed JSON with a version.
//!
//! Every name stands once, in a list, and is a number elsewhere.

use std::{
    collections::{BTreeSet, HashMap},
    io::{Read as _, Write as _},
    sync::Arc,
};

use catalog::Document as _;
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use protocol::{ClusterId, SnapshotTag};
use serde::{Deserialize, Serialize};

use super::summary::{Held, NodeHeld, TableHeld};
use crate::listing::BackupId;

/// The most JSON that is read, in bytes: a thousand backups of ten thousand tables.
const LARGEST: u64 = 512 << 20;

/// Its form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    cluster: ClusterId,
    names: Vec<String>,
    backups: Vec<Backup>,
}

/// A backup. Numbers are places in the list of names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Backup {
    task: u32,
    tag: SnapshotTag,
    /// The cluster's name.
    cluster_name: u32,
    scylla_versions: Vec<u32>,
    /// Key of the schema file.
    schema: String,
    /// All nodes of the cluster.
    cluster_nodes: Vec<u32>,
    /// Datacenter, node, bytes of the manifest, files and their bytes.
    nodes: Vec<(u32, u32, u64, u64, u64)>,
    /// Keyspace, table, files, their bytes, and places of nodes in the list above, or none for all.
    tables: Vec<(u32, u32, u64, u64, Vec<u32>)>,
}

impl catalog::Document for Document {
    const WHAT: &'static str = "catalog";
}

impl Document {
    pub(super) fn new(cluster: ClusterId, held: &[Arc<Held>]) -> Self {
        let mut names = Numbers::default();
        let backups = held.iter().map(|held| Backup {
            task: names.number(&held.id.task.to_string()),
            tag: held.id.tag.clone(),
            cluster_name: names.number(&held.cluster_name),
            scylla_versions: held
                .scylla_versions
                .iter()
                .map(|version| names.number(version))
                .collect(),
            schema: held.schema.as_ref().to_owned(),
            cluster_nodes: held
                .cluster_nodes
                .iter()
                .map(|node| names.number(&node.to_string()))
                .collect(),
            nodes: held.nodes.iter().map(|node| names.node(node)).collect(),
            tables: held.tables.iter().map(|table| names.table(table)).collect(),
        });
        Self {
            backups: backups.collect(),
            cluster,
            names: names.names,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        let written = gzip.write_all(&self.to_json());
        let bytes = written.and_then(|()| gzip.finish());
        bytes.expect("memory takes all that is written")
    }

    /// What `bytes` remember of `cluster`; else why they are of no use.
    pub(super) fn read(bytes: &[u8], cluster: ClusterId) -> Result<Vec<Held>, String> {
        let mut json = Vec::new();
        let mut bounded = MultiGzDecoder::new(bytes).take(LARGEST);
        bounded.read_to_end(&mut json).map_err(|e| e.to_string())?;
        if bounded.limit() == 0 {
            return Err(format!("it inflates to {LARGEST} bytes or more"));
        }
        let document = Self::from_json(&json).map_err(|e| e.to_string())?;
        if document.cluster != cluster {
            return Err(format!("it is of cluster {}", document.cluster));
        }
        document
            .held()
            .ok_or_else(|| "its numbers lead nowhere".to_owned())
    }

    fn held(self) -> Option<Vec<Held>> {
        let names: Vec<Arc<str>> = self.names.iter().map(|name| name.as_str().into()).collect();
        let names = Texts(&names);
        let cluster = self.cluster;
        let held = self.backups.into_iter();
        held.map(|backup| names.held(cluster, backup)).collect()
    }
}

/// Names that get numbers.
#[derive(Default)]
struct Numbers {
    names: Vec<String>,
    known: HashMap<String, u32>,
}

impl Numbers {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.known.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("fewer names than bytes of memory");
        self.names.push(name.to_owned());
        self.known.insert(name.to_owned(), number);
        number
    }

    fn node(&mut self, node: &NodeHeld) -> (u32, u32, u64, u64, u64) {
        let (dc, id) = (self.number(&node.dc), self.number(&node.node.to_string()));
        (dc, id, node.manifest_bytes, node.files, node.bytes)
    }

    fn table(&mut self, table: &TableHeld) -> (u32, u32, u64, u64, Vec<u32>) {
        let keyspace = self.number(&table.keyspace);
        let name = self.number(&table.table);
        (
            keyspace,
            name,
            table.files,
            table.bytes,
            table.nodes.clone(),
        )
    }
}

/// Names that have numbers.
struct Texts<'a>(&'a [Arc<str>]);

impl Texts<'_> {
    fn text(&self, number: u32) -> Option<Arc<str>> {
        self.0.get(usize::try_from(number).ok()?).cloned()
    }

    fn id<T: std::str::FromStr>(&self, number: u32) -> Option<T> {
        self.text(number)?.parse().ok()
    }

    fn held(&self, cluster: ClusterId, backup: Backup) -> Option<Held> {
        let nodes = backup.nodes.into_iter().map(|node| {
            let (dc, id, manifest_bytes, files, bytes) = node;
            Some(NodeHeld {
                dc: self.text(dc)?,
                node: self.id(id)?,
                manifest_bytes,
                files,
                bytes,
            })
        });
        let nodes: Vec<NodeHeld> = nodes.collect::<Option<_>>()?;
        let tables = backup.tables.into_iter().map(|table| {
            let (keyspace, table, files, bytes, on) = table;
            let rising = on.windows(2).all(|two| two[0] < two[1]);
            let there = on.last().is_none_or(|last| (*last as usize) < nodes.len());
            (rising && there).then_some(TableHeld {
                keyspace: self.text(keyspace)?,
                table: self.text(table)?,
                files,
                bytes,
                nodes: on,
            })
        });
        let tables = tables.collect::<Option<_>>()?;
        let versions = backup.scylla_versions.into_iter();
        let cluster_nodes = backup.cluster_nodes.into_iter();
        Some(Held {
            id: BackupId {
                cluster,
                task: self.id(backup.task)?,
                tag: backup.tag,
            },
            cluster_name: self.text(backup.cluster_name)?,
            scylla_versions: versions
                .map(|number| self.text(number))
                .collect::<Option<BTreeSet<_>>>()?,
            schema: backup.schema.into(),
            cluster_nodes: cluster_nodes
                .map(|number| self.id(number))
                .collect::<Option<_>>()?,
            nodes,
            tables,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(last: &str) -> T {
        format!("01920000-0000-7000-8000-0000000000{last}")
            .parse()
            .unwrap()
    }

    fn sample() -> Held {
        let node = |dc: &str, last: &str, manifest_bytes| NodeHeld {
            dc: dc.into(),
            node: id(last),
            manifest_bytes,
            files: 9,
            bytes: 1 << 40,
        };
        let table = |table: &str, nodes: &[u32]| TableHeld {
            keyspace: "shop".into(),
            table: table.into(),
            files: 9,
            bytes: u64::MAX,
            nodes: nodes.to_vec(),
        };
        Held {
            id: BackupId {
                cluster: id("c1"),
                task: id("b1"),
                tag: "sm_20260131235959UTC".parse().unwrap(),
            },
            cluster_name: "prod".into(),
            scylla_versions: ["2026.1.0".into(), "2026.1.1".into()].into(),
            schema: "backup/schema/x".into(),
            cluster_nodes: [id("01"), id("02"), id("03")].into(),
            nodes: vec![node("dc1", "01", 700), node("dc2", "02", 701)],
            tables: vec![table("orders", &[]), table("users", &[1])],
        }
    }

    #[test]
    fn it_keeps_its_form() {
        let document = Document::new(id("c1"), &[Arc::new(sample())]);
        let path = format!("{}/testdata/catalog.v1.json", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("GOLDEN").is_some() {
            std::fs::write(&path, [&document.to_json()[..], b"\n"].concat()).unwrap();
        }
        let frozen = std::fs::read_to_string(&path).unwrap();
        let written = String::from_utf8(document.to_json()).unwrap();
        assert_eq!(written, frozen.trim_end());
        let read = Document::read(&document.to_bytes(), id("c1")).unwrap();
        assert_eq!(read, [sample()]);
    }

    #[test]
    fn what_is_wrong_is_of_no_use() {
        let good = Document::new(id("c1"), &[Arc::new(sample())]);
        let said = |change: fn(&mut Document)| {
            let mut document = good.clone();
            change(&mut document);
            Document::read(&document.to_bytes(), id("c1")).unwrap_err()
        };
        assert!(said(|d| d.cluster = id("c2")).contains("of cluster"));
        for change in [
            (|d| d.names.truncate(3)) as fn(&mut Document),
            |d| d.backups[0].nodes[0].1 = 1,
            |d| d.backups[0].tables[1].4 = vec![2],
            |d| d.backups[0].tables[1].4 = vec![1, 1],
            |d| d.backups[0].cluster_name = u32::MAX,
        ] {
            assert!(said(change).contains("nowhere"));
        }
        let bytes = good.to_bytes();
        for cut in 0..bytes.len() {
            assert!(Document::read(&bytes[..cut], id("c1")).is_err(), "{cut}");
        }
        let other = format!(r#"{{"version":"9","cluster":"{}"}}"#, id::<ClusterId>("c1"));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(other.as_bytes()).unwrap();
        let said = Document::read(&gzip.finish().unwrap(), id("c1")).unwrap_err();
        assert!(said.contains("version `9`"), "{said}");
    }
}
