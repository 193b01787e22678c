//! Taking a backup, step by step as Manager does.

use std::collections::BTreeSet;

use super::{
    cluster::{Cluster, NodeAt, TableAt},
    manifest::{Era, Schema, gzip, manifest, scylla_manifest, scylla_manifest_name},
    random::Random,
    truth::{BackupId, BackupMade, Facts, FileMade, NodeMade, TableMade},
};

/// A backup to be taken. The nodes that live then take part.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The task.
    pub task: String,
    /// Its tag: the time when it is taken.
    pub tag: String,
    /// Which Manager takes it.
    pub era: Era,
    /// Whether keys of manifests are in random order.
    pub shuffled: bool,
    /// The schema files it writes.
    pub schemas: Vec<Schema>,
    /// The tables it takes; `None` for all.
    pub tables: Option<BTreeSet<TableAt>>,
    /// Nodes of which nothing is written.
    pub skipped: BTreeSet<NodeAt>,
    /// Nodes whose upload is cut short somewhere. They get an unfinished manifest only.
    pub unfinished: BTreeSet<NodeAt>,
    /// Whether finished nodes keep their unfinished manifest, too.
    pub shadowed: bool,
    /// Whether ScyllaDB wrote manifests of its own; only today's Manager keeps them.
    pub scylla_manifests: bool,
}

impl Backup {
    /// A finished backup of all tables, by today's Manager.
    #[must_use]
    pub fn new(task: &str, tag: &str) -> Self {
        Self {
            task: task.to_owned(),
            tag: tag.to_owned(),
            era: Era::Current,
            shuffled: false,
            schemas: vec![Schema::Cql],
            tables: None,
            skipped: BTreeSet::new(),
            unfinished: BTreeSet::new(),
            shadowed: false,
            scylla_manifests: true,
        }
    }

    pub(super) fn take(&self, cluster: &mut Cluster) -> BackupMade {
        let id = BackupId {
            cluster: cluster.id.clone(),
            task: self.task.clone(),
            tag: self.tag.clone(),
        };
        let tables: Vec<_> = cluster
            .tables
            .iter()
            .map(|(table, _)| table.clone())
            .collect();
        let mut schemas = Vec::new();
        for kind in &self.schemas {
            let key = kind.key(&id);
            cluster.store.put(&key, kind.content(&tables).into());
            schemas.push(key);
        }
        let named = self
            .schemas
            .iter()
            .position(|kind| *kind != Schema::Alternator);
        let schema = named.map_or(String::new(), |at| schemas[at].clone());
        let mut nodes: Vec<NodeMade> = (0..cluster.nodes.len())
            .map(NodeAt)
            .filter(|at| cluster.nodes[at.0].alive && !self.skipped.contains(at))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|at| self.take_node(cluster, &id, &schema, at))
            .collect();
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        BackupMade { id, schemas, nodes }
    }

    fn take_node(
        &self,
        cluster: &mut Cluster,
        id: &BackupId,
        schema: &str,
        at: NodeAt,
    ) -> NodeMade {
        let mut made = self.facts(cluster, schema, at);
        let listed: Vec<TableAt> = (0..cluster.tables.len())
            .map(TableAt)
            .filter(|table| self.tables.as_ref().is_none_or(|some| some.contains(table)))
            .collect();
        for table in listed {
            let entry = self.table(cluster, id, &made, at, table);
            made.tables.push(entry);
        }
        let unfinished = self.unfinished.contains(&at);
        let files = made.tables.iter_mut().flat_map(|table| &mut table.files);
        let mut files: Vec<&mut FileMade> = files.collect();
        let cut = match unfinished {
            true if !files.is_empty() => cluster.random.index(files.len()),
            true | false => files.len(),
        };
        for (number, file) in files.iter_mut().enumerate() {
            upload(cluster, file, &self.tag, number, cut);
        }
        let key = format!(
            "backup/meta/cluster/{}/dc/{}/node/{}/task_{}_tag_{}_manifest.json.gz",
            id.cluster, made.dc, made.node, id.task, id.tag
        );
        let mut shuffle = self.shuffled.then(|| Random::new(cluster.random.number()));
        let text = manifest(id, &made, self.era, shuffle.as_mut());
        let bytes: std::sync::Arc<[u8]> = gzip(text.as_bytes()).into();
        if unfinished || self.shadowed {
            let key = format!("{key}.tmp");
            cluster.store.put(&key, bytes.clone());
            made.temporary = Some(key);
        }
        if !unfinished {
            cluster.store.put(&key, bytes);
            made.manifest = Some(key);
        }
        made
    }

    /// What the manifest says of a node.
    fn facts(&self, cluster: &mut Cluster, schema: &str, at: NodeAt) -> NodeMade {
        let random = &mut cluster.random;
        let node = &cluster.nodes[at.0];
        let mut facts = Facts {
            cluster_name: cluster.name.clone(),
            ip: node.ip.clone(),
            tokens: node.tokens.clone(),
            schema: schema.to_owned(),
            ..Facts::default()
        };
        match self.era {
            Era::Oldest if random.chance(25) => facts.tokens.clear(),
            Era::Oldest => {}
            Era::Middle | Era::Current => {
                facts.rack = node.rack.clone();
                (facts.shard_count, facts.cpu_count) = (7, 8);
                facts.storage_size = 1_900_000_000_000;
                if random.chance(50) {
                    facts.cloud_provider = "aws".to_owned();
                    facts.instance_type = "i4i.2xlarge".to_owned();
                }
            }
        }
        if self.era == Era::Current {
            facts.scylla_version = "2026.2.0".to_owned();
        }
        NodeMade {
            dc: node.dc.clone(),
            node: node.id.clone(),
            manifest: None,
            temporary: None,
            facts,
            tables: Vec::new(),
        }
    }

    /// Lists a table's files, and stores ScyllaDB's own manifest.
    fn table(
        &self,
        cluster: &mut Cluster,
        id: &BackupId,
        node: &NodeMade,
        at: NodeAt,
        of: TableAt,
    ) -> TableMade {
        let (table, version) = &cluster.tables[of.0];
        let sstables = &cluster.nodes[at.0].disks[of.0].sstables;
        let dir = format!(
            "backup/sst/cluster/{}/dc/{}/node/{}/keyspace/{}/table/{}/{version}/",
            id.cluster, node.dc, node.node, table.keyspace, table.name
        );
        let files = sstables.iter().flat_map(|sstable| &sstable.files);
        let files = files.map(|(name, content)| FileMade {
            name: name.clone(),
            content: content.clone(),
            key: format!("{dir}{name}"),
            stored: false,
            object: None,
        });
        let kind = if table.tablets { "tablets" } else { "vnodes" };
        let mut made = TableMade {
            keyspace: table.keyspace.clone(),
            table: table.name.clone(),
            version: version.clone(),
            replication: (self.era == Era::Current).then(|| kind.to_owned()),
            files: files.collect(),
            scylla_manifests: Vec::new(),
            dir,
        };
        if self.era == Era::Current && self.scylla_manifests {
            let name = scylla_manifest_name(&id.tag, &node.node);
            let text = scylla_manifest(id, node, table, version, sstables);
            let key = format!("{}{name}", made.dir);
            cluster.store.put(&key, text.into_bytes().into());
            made.scylla_manifests.push(name);
        }
        made
    }
}

/// Brings a file to the bucket: another one of its name is set aside, the same one is left alone.
/// At `cut` the upload ends between the two steps.
fn upload(cluster: &mut Cluster, file: &mut FileMade, tag: &str, number: usize, cut: usize) {
    let store = &mut cluster.store;
    let there = store.objects.get(&file.key);
    if let Some((object, content)) = there
        && *content == file.content
    {
        file.object = Some(*object);
        return;
    }
    if number > cut {
        return;
    }
    store.set_aside(&file.key, tag);
    if number < cut {
        file.object = Some(store.put(&file.key, file.content.clone()));
    }
}
