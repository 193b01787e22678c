//! Which backups lie in a bucket, read from their manifests.
//!
//! A manifest never changes once it is published, so what was read of one is remembered.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use catalog::{Filter, Manifest, key::ManifestKey};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{ClusterId, Location, SnapshotTag, TaskId};
use store::{Error, Store, Stores};
use tracing::warn;

use crate::api::{BackupListItem, BackupUnit, SnapshotInfo};

/// How many manifests are read at once.
const READS: usize = 16;
/// How many manifests are remembered. One takes a few kilobytes: a line for each table.
const REMEMBERED: usize = 20_000;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) locations: Vec<Location>,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) filter: Filter,
    pub(crate) min: Option<SnapshotTag>,
    pub(crate) max: Option<SnapshotTag>,
}

/// What a list needs of a manifest.
#[derive(Debug)]
struct Summary {
    cluster_name: String,
    /// Keyspace, table, bytes.
    tables: Vec<(String, String, u64)>,
}

/// Manifests read before, by location and key.
#[derive(Debug, Default)]
pub(crate) struct Summaries(Mutex<HashMap<(String, String), Arc<Summary>>>);

impl Summaries {
    fn get(&self, id: &(String, String)) -> Option<Arc<Summary>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    fn put(&self, id: (String, String), summary: Arc<Summary>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(id, summary);
    }
}

/// Lists the backups, by cluster and task.
pub(crate) async fn list(
    stores: &Stores,
    known: &Summaries,
    query: &Query,
) -> Result<Vec<BackupListItem>, Error> {
    let mut groups = BTreeMap::new();
    let mut read = BTreeSet::new();
    for location in &query.locations {
        // A bucket named for two datacenters is looked at once.
        if !read.insert(location.remote()) {
            continue;
        }
        let store = stores.open(location).await?;
        for (key, summary) in manifests(&store, known, query).await? {
            let group: &mut Group = groups.entry((key.owner.cluster, key.task)).or_default();
            group.add(&key, &summary, location, &query.filter);
        }
    }
    Ok(groups
        .into_iter()
        .map(|((cluster, task), group)| group.item(cluster, task))
        .filter(|i| !i.snapshot_info.is_empty())
        .collect())
}

async fn manifests(
    store: &Store,
    known: &Summaries,
    query: &Query,
) -> Result<Vec<(ManifestKey, Arc<Summary>)>, Error> {
    let prefix = match query.cluster {
        Some(cluster) => catalog::key::manifests_of(cluster),
        None => catalog::key::MANIFESTS.to_owned(),
    };
    let wanted = |key: &ManifestKey| {
        !key.temporary
            && query.min.as_ref().is_none_or(|min| key.tag >= *min)
            && query.max.as_ref().is_none_or(|max| key.tag <= *max)
    };
    let mut keys = Vec::new();
    let mut objects = std::pin::pin!(store.list(&prefix));
    while let Some(object) = objects.try_next().await? {
        keys.extend(object.key.parse::<ManifestKey>().ok().filter(wanted));
    }
    let read = keys.into_iter().map(|key| async move {
        let found = summary(store, known, &key).await?;
        Ok::<_, Error>(found.map(|summary| (key, summary)))
    });
    let found: Vec<_> = stream::iter(read)
        .buffer_unordered(READS)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// `None` for a manifest that is gone by now or cannot be read, which is warned of.
async fn summary(
    store: &Store,
    known: &Summaries,
    key: &ManifestKey,
) -> Result<Option<Arc<Summary>>, Error> {
    let id = (store.location().remote(), key.to_string());
    if let Some(summary) = known.get(&id) {
        return Ok(Some(summary));
    }
    let bytes = match store.get(&id.1).await {
        Ok(bytes) => bytes,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let of = key.clone();
    let read = tokio::task::spawn_blocking(move || Manifest::read(&bytes[..], &of)).await;
    match read.expect("reading a manifest does not panic") {
        Ok(manifest) => {
            let table = |entry: catalog::TableEntry| (entry.keyspace, entry.table, entry.bytes);
            let summary = Arc::new(Summary {
                cluster_name: manifest.info.cluster_name,
                tables: manifest.index.into_iter().map(table).collect(),
            });
            known.put(id, Arc::clone(&summary));
            Ok(Some(summary))
        }
        Err(error) => {
            warn!(error = %service::Chain(&error), "manifest left out of the list");
            Ok(None)
        }
    }
}

/// The backups of one task of one cluster.
#[derive(Default)]
struct Group {
    named: Option<(SnapshotTag, String)>,
    tables: BTreeMap<String, BTreeSet<String>>,
    snapshots: BTreeMap<SnapshotTag, Snapshot>,
}

#[derive(Default)]
struct Snapshot {
    nodes: u64,
    bytes: u64,
    locations: BTreeSet<String>,
}

impl Group {
    fn add(&mut self, key: &ManifestKey, summary: &Summary, location: &Location, filter: &Filter) {
        let taken = || {
            summary
                .tables
                .iter()
                .filter(|(keyspace, table, _)| filter.takes(keyspace, table))
        };
        // An empty node is still a node of the backup.
        if taken().next().is_none() && !summary.tables.is_empty() {
            return;
        }
        let snapshot = self.snapshots.entry(key.tag.clone()).or_default();
        snapshot.nodes += 1;
        snapshot.locations.insert(location.remote());
        for (keyspace, table, bytes) in taken() {
            snapshot.bytes += bytes;
            self.tables
                .entry(keyspace.clone())
                .or_default()
                .insert(table.clone());
        }
        if self.named.as_ref().is_none_or(|(tag, _)| *tag < key.tag) {
            self.named = Some((key.tag.clone(), summary.cluster_name.clone()));
        }
    }

    fn item(self, cluster: ClusterId, task: TaskId) -> BackupListItem {
        let unit = |(keyspace, tables): (String, BTreeSet<String>)| BackupUnit {
            keyspace,
            tables: tables.into_iter().collect(),
            all_tables: false,
        };
        let snapshot = |(tag, snapshot): (SnapshotTag, Snapshot)| SnapshotInfo {
            snapshot_tag: tag.to_string(),
            nodes: snapshot.nodes,
            size: snapshot.bytes,
            locations: snapshot.locations.into_iter().collect(),
        };
        BackupListItem {
            cluster_id: cluster.to_string(),
            cluster_name: self.named.map(|(_, name)| name).unwrap_or_default(),
            task_id: task.to_string(),
            units: self.tables.into_iter().map(unit).collect(),
            snapshot_info: self.snapshots.into_iter().rev().map(snapshot).collect(),
        }
    }
}
