//! A cluster that lives and is backed up, as far as its bucket shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    backup::Backup,
    random::Random,
    sstable::{Ids, SsTable, Table},
    tag::tag_time,
    truth::{BackupId, BackupMade, Bucket, FileMade, Kind, Object},
};

/// 2026-01-01, where clusters begin their life unless a backup says otherwise.
const BIRTH: u64 = 1_767_225_600;

/// A node of a [`Cluster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeAt(pub(super) usize);

/// A table of a [`Cluster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableAt(pub(super) usize);

/// A cluster with its part of a bucket. The same seed and calls make the same bytes.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(super) random: Random,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) nodes: Vec<Node>,
    pub(super) tables: Vec<(Table, String)>,
    pub(super) store: Store,
    pub(super) made: Vec<BackupMade>,
    /// Objects that are not for a backup, and what they are.
    pub(super) clutter: BTreeMap<String, Object>,
    pub(super) clock: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) dc: String,
    pub(super) rack: String,
    pub(super) ip: String,
    pub(super) tokens: Vec<i64>,
    pub(super) alive: bool,
    pub(super) disks: Vec<Disk>,
}

/// A table on a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) sstables: Vec<Arc<SsTable>>,
    written: u64,
}

/// The objects of backups. Each keeps its number when it gets another key.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    pub(super) objects: BTreeMap<String, (usize, Arc<[u8]>)>,
    /// Where each object is now.
    places: Vec<Option<String>>,
}

impl Store {
    /// Puts an object, and replaces the one of this key.
    pub(super) fn put(&mut self, key: &str, content: Arc<[u8]>) -> usize {
        self.remove(key);
        let object = self.places.len();
        self.places.push(Some(key.to_owned()));
        self.objects.insert(key.to_owned(), (object, content));
        object
    }

    /// Moves what lies under `key` aside, to the name that Manager gives it in backup `tag`.
    pub(super) fn set_aside(&mut self, key: &str, tag: &str) {
        if let Some((object, content)) = self.objects.remove(key) {
            let aside = format!("{key}.{tag}");
            self.places[object] = Some(aside.clone());
            self.objects.insert(aside, (object, content));
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        if let Some((object, _)) = self.objects.remove(key) {
            self.places[object] = None;
        }
    }
}

impl Cluster {
    /// A cluster without nodes.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        let mut random = Random::new(seed);
        Self {
            id: random.uuid(),
            name: name.to_owned(),
            nodes: Vec::new(),
            tables: Vec::new(),
            store: Store::default(),
            made: Vec::new(),
            clutter: BTreeMap::new(),
            clock: BIRTH,
            random,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A node's host id.
    #[must_use]
    pub fn node_id(&self, node: NodeAt) -> &str {
        &self.nodes[node.0].id
    }

    /// Adds a node, with empty tables.
    pub fn node(&mut self, dc: &str, rack: &str) -> NodeAt {
        let at = self.nodes.len();
        self.nodes.push(Node {
            id: self.random.uuid(),
            dc: dc.to_owned(),
            rack: rack.to_owned(),
            ip: format!("10.0.{}.{}", at / 250, at % 250 + 1),
            tokens: (0..4).map(|_| self.random.number().cast_signed()).collect(),
            alive: true,
            disks: vec![Disk::default(); self.tables.len()],
        });
        NodeAt(at)
    }

    /// Adds a table, empty on all nodes.
    ///
    /// # Panics
    /// If the format has no such ids.
    pub fn table(&mut self, table: Table) -> TableAt {
        let unique = table.ids == Ids::Uuid;
        let old = matches!(table.format, "ka" | "la");
        assert!(!unique || !old, "{} has integers as ids", table.format);
        self.tables.push((table, self.random.version()));
        for node in &mut self.nodes {
            node.disks.push(Disk::default());
        }
        TableAt(self.tables.len() - 1)
    }

    /// The id of another task.
    pub fn task(&mut self) -> String {
        self.random.uuid()
    }

    /// Writes one SSTable on a node.
    pub fn flush(&mut self, node: NodeAt, table: TableAt) {
        self.clock += 1;
        let disk = &mut self.nodes[node.0].disks[table.0];
        disk.written += 1;
        let of = &self.tables[table.0].0;
        let sstable = SsTable::write(&mut self.random, of, disk.written, self.clock);
        disk.sstables.push(Arc::new(sstable));
    }

    /// Puts one SSTable in the place of the first `count` of a table.
    pub fn compact(&mut self, node: NodeAt, table: TableAt, count: usize) {
        let sstables = &mut self.nodes[node.0].disks[table.0].sstables;
        sstables.drain(..count.min(sstables.len()));
        self.flush(node, table);
    }

    /// Some time passes: nodes write SSTables, and compact some.
    pub fn live(&mut self) {
        for node in 0..self.nodes.len() {
            if !self.nodes[node].alive {
                continue;
            }
            for table in 0..self.tables.len() {
                let (node, table) = (NodeAt(node), TableAt(table));
                for _ in 0..self.random.between(0, 2) {
                    self.flush(node, table);
                }
                let count = self.nodes[node.0].disks[table.0].sstables.len();
                if count > 2 && self.random.chance(50) {
                    let taken = self.random.index(count - 1) + 2;
                    self.compact(node, table, taken);
                }
            }
        }
    }

    /// Takes a node out of the cluster. Its backups stay.
    pub fn decommission(&mut self, node: NodeAt) {
        self.nodes[node.0].alive = false;
    }

    /// Sets a node up anew under the same host id: its disk is empty, and integers used as ids
    /// begin again at 1.
    pub fn set_up_anew(&mut self, node: NodeAt) {
        self.nodes[node.0].disks.fill(Disk::default());
    }

    /// Drops a table and makes it again: the same name, another version.
    pub fn recreate(&mut self, table: TableAt) {
        self.tables[table.0].1 = self.random.version();
        for node in &mut self.nodes {
            node.disks[table.0] = Disk::default();
        }
    }

    /// Takes a backup, or a part of one.
    ///
    /// # Panics
    /// If the tag is none, or not after that of the cluster's last backup.
    pub fn backup(&mut self, backup: &Backup) {
        let time = tag_time(&backup.tag).expect("a snapshot tag");
        let before = self.made.last().map(|made| &made.id.tag);
        assert!(before < Some(&backup.tag), "Manager's time only goes on");
        self.clock = self.clock.max(time);
        let made = backup.take(self);
        self.made.push(made);
    }

    /// Deletes backups, as Manager's purge does.
    pub fn purge(&mut self, tags: &[&str]) {
        let bucket = self.bucket();
        let gone = self.ids(tags);
        for key in bucket.removed_by_manager(&gone) {
            self.store.remove(&key);
        }
        self.made.retain(|made| !gone.contains(&made.id));
    }

    /// Removes the manifests of backups and nothing else, as someone may by hand.
    pub fn forget(&mut self, tags: &[&str]) {
        let gone = self.ids(tags);
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.made)
            .into_iter()
            .partition(|made| gone.contains(&made.id));
        self.made = left;
        for node in gone.iter().flat_map(|made| &made.nodes) {
            for key in node.manifest.iter().chain(&node.temporary) {
                self.store.remove(key);
            }
        }
    }

    fn ids(&self, tags: &[&str]) -> BTreeSet<BackupId> {
        let ids = self.made.iter().map(|made| &made.id);
        ids.filter(|id| tags.contains(&&*id.tag)).cloned().collect()
    }

    /// What the bucket has of this cluster.
    ///
    /// # Panics
    /// Never, if the generator is right: a finished backup has all its files.
    #[must_use]
    pub fn bucket(&self) -> Bucket {
        let with_manifests = self.made.iter().filter(|made| !made.nodes.is_empty());
        let mut bucket = Bucket {
            backups: with_manifests.cloned().collect(),
            objects: self.clutter.clone(),
        };
        let nodes = bucket.backups.iter_mut().flat_map(|made| &mut made.nodes);
        for node in nodes {
            let finished = node.manifest.is_some();
            let files = node.tables.iter_mut().flat_map(|table| &mut table.files);
            for file in files {
                self.locate(file);
                assert!(file.stored || !finished, "{} was stored", file.key);
            }
        }
        let kinds = kinds(&bucket.backups, &self.store.objects);
        for (key, (_, content)) in &self.store.objects {
            let kind = kinds.get(key).copied().unwrap_or_else(|| {
                let schema = key.starts_with("backup/schema/");
                if schema {
                    Kind::LostSchema
                } else {
                    Kind::Orphan
                }
            });
            let content = Arc::clone(content);
            bucket.objects.insert(key.clone(), Object { content, kind });
        }
        bucket
    }

    fn locate(&self, file: &mut FileMade) {
        let place = file
            .object
            .and_then(|object| self.store.places[object].as_ref());
        file.stored = place.is_some();
        if let Some(key) = place {
            file.key.clone_from(key);
        }
    }
}

/// What the objects are for that some backup needs.
fn kinds<T>(backups: &[BackupMade], objects: &BTreeMap<String, T>) -> BTreeMap<String, Kind> {
    let mut kinds = BTreeMap::new();
    // An object has the first of the kinds in which it is needed: finished backups come first.
    let mut need = |key: &String, kind: Kind| {
        let known = kinds.entry(key.clone()).or_insert(kind);
        *known = kind.min(*known);
    };
    for made in backups {
        for key in &made.schemas {
            need(key, Kind::Schema);
        }
        for node in &made.nodes {
            node.manifest
                .iter()
                .for_each(|key| need(key, Kind::Manifest));
            node.temporary
                .iter()
                .for_each(|key| need(key, Kind::Temporary));
            let finished = node.manifest.is_some();
            let or_pending = |kind| if finished { kind } else { Kind::Pending };
            for table in &node.tables {
                for file in table.files.iter().filter(|file| file.stored) {
                    need(&file.key, or_pending(Kind::Component));
                }
                // Nobody can tell another file of the same name from one it has stored already.
                for file in table.files.iter().filter(|_| !finished) {
                    let plain = format!("{}{}", table.dir, file.name);
                    let newer = format!("{plain}.{}~", made.id.tag);
                    let version = objects.range(newer..).next();
                    let versions = format!("{plain}.sm_");
                    let version = version.filter(|(key, _)| key.starts_with(&versions));
                    version
                        .into_iter()
                        .for_each(|(key, _)| need(key, Kind::Pending));
                    need(&plain, Kind::Pending);
                }
                for name in &table.scylla_manifests {
                    let key = format!("{}{name}", table.dir);
                    need(&key, or_pending(Kind::ScyllaManifest));
                }
            }
        }
    }
    kinds
}
