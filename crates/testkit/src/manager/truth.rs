//! What is true of a bucket: plain values for tests to compare with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};

use super::cluster::Cluster;

/// A bucket, as it lies in memory until it is written.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// All objects, by key.
    pub objects: BTreeMap<String, Object>,
    /// All backups that have a manifest, finished or not: by cluster, then by tag.
    pub backups: Vec<BackupMade>,
}

/// An object of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it holds.
    pub content: Arc<[u8]>,
    /// What it is for.
    pub kind: Kind,
}

/// What an object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A finished manifest.
    Manifest,
    /// An unfinished manifest, shadowed or not.
    Temporary,
    /// The schema of a backup.
    Schema,
    /// A file that a finished manifest lists, or an older version that one means.
    Component,
    /// ScyllaDB's own manifest, listed by a finished one.
    ScyllaManifest,
    /// Listed by unfinished manifests only.
    Pending,
    /// In a node's directory, named like an SSTable's file or ScyllaDB's manifest, and listed by no
    /// manifest. The node itself need not have one.
    Orphan,
    /// In a node's directory, but of no form known there.
    Stray,
    /// A schema whose backup has no manifest.
    LostSchema,
    /// Anything else: nobody's business.
    Foreign,
}

/// What a backup is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupId {
    /// The cluster.
    pub cluster: String,
    /// The task that made it.
    pub task: String,
    /// Its tag.
    pub tag: String,
}

/// A backup, as it was made.
#[derive(Clone, Debug)]
pub struct BackupMade {
    /// What it is known by.
    pub id: BackupId,
    /// Keys of its schema files.
    pub schemas: Vec<String>,
    /// Its nodes, by id.
    pub nodes: Vec<NodeMade>,
}

impl BackupMade {
    /// Whether some node has an unfinished manifest and no finished one.
    #[must_use]
    pub fn unfinished(&self) -> bool {
        self.nodes.iter().any(|node| node.manifest.is_none())
    }
}

/// What a backup holds of a node.
#[derive(Clone, Debug)]
pub struct NodeMade {
    /// Its datacenter.
    pub dc: String,
    /// Its host id.
    pub node: String,
    /// Key of its manifest; `None` if it was not finished.
    pub manifest: Option<String>,
    /// Key of its unfinished manifest, if there is one.
    pub temporary: Option<String>,
    /// What the manifest says of the node.
    pub facts: Facts,
    /// Its tables, in the manifest's order.
    pub tables: Vec<TableMade>,
}

/// What a manifest says of its node. What it does not say is empty or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are named as in the manifest")]
pub struct Facts {
    pub scylla_version: String,
    pub cluster_name: String,
    pub ip: String,
    pub tokens: Vec<i64>,
    pub schema: String,
    pub rack: String,
    pub shard_count: u32,
    pub cpu_count: u32,
    pub storage_size: u64,
    pub cloud_provider: String,
    pub instance_type: String,
}

/// What a backup holds of a table on a node.
#[derive(Clone, Debug)]
pub struct TableMade {
    /// The keyspace.
    pub keyspace: String,
    /// The table.
    pub table: String,
    /// Which table of that name: 32 hex digits.
    pub version: String,
    /// What the manifest says of its replication.
    pub replication: Option<String>,
    /// The directory's key, ending in `/`.
    pub dir: String,
    /// Its files, in the manifest's order.
    pub files: Vec<FileMade>,
    /// Names of ScyllaDB's own manifests, in `dir`.
    pub scylla_manifests: Vec<String>,
}

impl TableMade {
    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .map(|file| file.content.len() as u64)
            .sum()
    }
}

/// A file of a backup.
#[derive(Clone, Debug)]
pub struct FileMade {
    /// Its name.
    pub name: String,
    /// What was on the node's disk.
    pub content: Arc<[u8]>,
    /// Where the bucket has that content: under its name, or as an older version of it.
    pub key: String,
    /// Whether it got there. Always so in a finished backup.
    pub stored: bool,
    pub(super) object: Option<usize>,
}

impl Bucket {
    /// A bucket that these clusters share.
    #[must_use]
    pub fn of(clusters: impl IntoIterator<Item = Cluster>) -> Self {
        let mut all = Self::default();
        for cluster in clusters {
            let bucket = cluster.bucket();
            all.objects.extend(bucket.objects);
            all.backups.extend(bucket.backups);
        }
        all.backups
            .sort_by(|a, b| (&a.id.cluster, &a.id.tag).cmp(&(&b.id.cluster, &b.id.tag)));
        all
    }

    /// Writes all objects into a directory, each into the file of its key.
    ///
    /// # Errors
    /// When the directory can't be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        self.write_some(dir, |_| true)
    }

    /// Writes a bucket a datacenter, each into the directory of its name. What belongs to no
    /// datacenter goes into all of them, as Manager does with schemas.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_by_dc(&self, root: &Path) -> Result<BTreeSet<String>> {
        let dcs = self.backups.iter().flat_map(|backup| &backup.nodes);
        let dcs: BTreeSet<String> = dcs.map(|node| node.dc.clone()).collect();
        for dc in &dcs {
            let within = format!("/dc/{dc}/");
            self.write_some(&root.join(dc), |key| {
                key.contains(&within) || !key.contains("/dc/")
            })?;
        }
        Ok(dcs)
    }

    fn write_some(&self, dir: &Path, takes: impl Fn(&str) -> bool) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut made = BTreeSet::new();
        for (key, object) in self.objects.iter().filter(|(key, _)| takes(key)) {
            let path = dir.join(key);
            let parent = path.parent().context("a key lies in its bucket")?;
            if made.insert(parent.to_owned()) {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, &object.content)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Keys of a kind.
    pub fn keys(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let found = self
            .objects
            .iter()
            .filter(move |(_, object)| object.kind == kind);
        found.map(|(key, _)| key.as_str())
    }

    /// The backup of this tag, if just one has it.
    #[must_use]
    pub fn backup(&self, tag: &str) -> Option<&BackupMade> {
        let mut found = self.backups.iter().filter(|backup| backup.id.tag == tag);
        found.next().filter(|_| found.next().is_none())
    }
}
