//! Which backups there are, as the keys of their manifests tell. Nothing is read.
//!
//! A backup is all manifests of one cluster, task and tag, in whatever buckets they lie. One with
//! `.tmp` promises nothing, and is of no account beside a finished one of the same node.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{
    key::{self, ManifestKey},
    restore::RestoreError,
};
use futures::{TryStreamExt as _, future};
use protocol::{ClusterId, Location, SnapshotTag, TaskId};
use store::{Store, Stores};

use crate::Error;

/// Opens the buckets of some locations. One that is named for several datacenters is opened once.
///
/// # Errors
/// Those of [`Stores::open`].
pub async fn open(stores: &Stores, locations: &[Location]) -> Result<Vec<Store>, Error> {
    let mut seen = BTreeSet::new();
    let mut opened = Vec::new();
    for location in locations {
        if seen.insert(location.remote()) {
            opened.push(stores.open(location).await?);
        }
    }
    Ok(opened)
}

/// What a backup is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId {
    /// The cluster.
    pub cluster: ClusterId,
    /// The task that made it.
    pub task: TaskId,
    /// Its tag.
    pub tag: SnapshotTag,
}

impl From<&ManifestKey> for BackupId {
    fn from(key: &ManifestKey) -> Self {
        Self {
            cluster: key.owner.cluster,
            task: key.task,
            tag: key.tag.clone(),
        }
    }
}

/// A manifest that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: ManifestKey,
    /// Its length in bytes, as it lies in the bucket.
    pub bytes: u64,
    /// Which of the buckets it lies in, from 0.
    pub bucket: usize,
}

/// A backup, finished or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// What it is known by.
    pub id: BackupId,
    /// A manifest for each node, by datacenter and id: the finished one where there is one.
    pub nodes: Vec<Listed>,
}

impl Backup {
    /// The nodes that it holds.
    pub fn finished(&self) -> impl Iterator<Item = &Listed> {
        self.nodes.iter().filter(|node| !node.key.temporary)
    }

    /// The nodes of which it has only an unfinished manifest: the backup is still being made, was
    /// cut short, or is being removed.
    pub fn unfinished(&self) -> impl Iterator<Item = &Listed> {
        self.nodes.iter().filter(|node| node.key.temporary)
    }

    /// Whether all nodes it has begun are finished. Nodes it knows nothing of do not show here.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.unfinished().next().is_none()
    }

    /// Its datacenters, finished or not.
    #[must_use]
    pub fn dcs(&self) -> BTreeSet<&str> {
        let dcs = self.nodes.iter().map(|node| node.key.owner.dc.as_str());
        dcs.collect()
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// All backups, by cluster, task and tag.
    pub backups: BTreeMap<BackupId, Backup>,
    /// Objects that lie among manifests, and are none.
    pub foreign: u64,
}

impl Listing {
    /// The one backup of that tag; of `cluster`, where it is given.
    ///
    /// It need not be [complete](Backup::complete). One of which no node was finished does not
    /// stand in the way of one of which some were.
    ///
    /// # Errors
    /// [`Error::Choice`] if there is none, or several.
    pub fn choose(&self, tag: &SnapshotTag, cluster: Option<ClusterId>) -> Result<&Backup, Error> {
        let fits = |backup: &&Backup| {
            backup.id.tag == *tag && cluster.is_none_or(|cluster| backup.id.cluster == cluster)
        };
        let mut found: Vec<&Backup> = self.backups.values().filter(fits).collect();
        if found
            .iter()
            .any(|backup| backup.finished().next().is_some())
        {
            found.retain(|backup| backup.finished().next().is_some());
        }
        let tag = tag.clone();
        let Some(first) = found.first().copied() else {
            return Err(RestoreError::NoBackup { tag, cluster }.into());
        };
        let clusters: BTreeSet<ClusterId> = found.iter().map(|backup| backup.id.cluster).collect();
        if clusters.len() > 1 {
            let clusters = clusters.into_iter().collect();
            return Err(RestoreError::SeveralClusters { tag, clusters }.into());
        }
        if found.len() > 1 {
            let cluster = first.id.cluster;
            return Err(RestoreError::SeveralTasks { tag, cluster }.into());
        }
        Ok(first)
    }
}

/// Lists the backups of `cluster`, or of all clusters.
///
/// Memory grows by some hundred bytes for each manifest.
///
/// # Errors
/// Those of the buckets.
pub async fn list(stores: &[Store], cluster: Option<ClusterId>) -> Result<Listing, Error> {
    let buckets = stores.iter().enumerate();
    let listed = buckets.map(|(bucket, store)| manifests(store, bucket, cluster));
    let mut listing = Listing::default();
    for (manifests, foreign) in future::try_join_all(listed).await? {
        listing.foreign += foreign;
        for manifest in manifests {
            add(&mut listing.backups, manifest);
        }
    }
    for backup in listing.backups.values_mut() {
        let owner = |listed: &Listed| listed.key.owner.clone();
        backup.nodes.sort_by_cached_key(owner);
    }
    Ok(listing)
}

async fn manifests(
    store: &Store,
    bucket: usize,
    cluster: Option<ClusterId>,
) -> Result<(Vec<Listed>, u64), Error> {
    let prefix = cluster.map_or_else(|| key::MANIFESTS.to_owned(), key::manifests_of);
    let mut objects = store.list(&prefix);
    let (mut manifests, mut foreign) = (Vec::new(), 0);
    while let Some(object) = objects.try_next().await? {
        match object.key.parse() {
            Ok(key) => manifests.push(Listed {
                key,
                bytes: object.bytes,
                bucket,
            }),
            Err(_) => foreign += 1,
        }
    }
    manifests.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok((manifests, foreign))
}

/// Adds a manifest to its backup. Of one node, the finished one stays, and else the first: a
/// bucket may be another's copy.
fn add(backups: &mut BTreeMap<BackupId, Backup>, manifest: Listed) {
    let id = BackupId::from(&manifest.key);
    let backup = backups.entry(id.clone()).or_insert_with(|| Backup {
        id,
        nodes: Vec::new(),
    });
    let mut nodes = backup.nodes.iter_mut();
    match nodes.find(|there| there.key.owner == manifest.key.owner) {
        Some(there) if there.key.temporary && !manifest.key.temporary => *there = manifest,
        Some(_) => {}
        None => backup.nodes.push(manifest),
    }
}
