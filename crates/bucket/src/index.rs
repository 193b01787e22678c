//! What each backup of a bucket holds, quickly: 20,000 manifests take minutes to fetch, but one
//! object remembers what they say.
//!
//! # Promises
//! * The object is a cache, and never trusted: a listing of the manifests' keys says what there is.
//!   What the object lacks is read, what is gone is dropped, and one that cannot be read or is wrong
//!   is made anew, with a warning.
//! * A manifest that cannot be read is named, and hides no other.
//! * Nothing is written but by [`Contents::save`]. An update that is lost costs time, no more.
//!
//! # Memory
//! A few hundred bytes for each manifest, and some 50 for each table of each backup.

mod document;
mod list;
mod summary;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use catalog::key::{ManifestKey, OwnKey, Owner};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{ClusterId, Location, NodeId};
use store::Store;

use self::{
    document::Document,
    summary::{Names, Summed},
};
pub use self::{
    list::{Item, Query, Snapshot, Unit},
    summary::{Held, NodeHeld, TableHeld},
};
use crate::{
    Error,
    error::chain,
    listing::{self, Backup, BackupId, Listed},
};

/// Manifests read at once.
const READS: usize = 64;
/// Indices read or written at once.
const INDICES: usize = 8;
/// So many reads must fail, and none succeed, until it is the bucket that fails.
const FAILURES: usize = 32;

/// What buckets hold.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// All backups, by cluster, task and tag.
    pub backups: Vec<Summary>,
    /// Manifests that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// What else is worth knowing.
    pub warnings: Vec<String>,
    /// Objects that lie among manifests, and are none.
    pub foreign: u64,
    /// What the indices should hold, where they do not.
    stale: Vec<Stale>,
}

/// A backup.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What it is known by.
    pub id: BackupId,
    /// What it holds in each bucket.
    pub parts: Vec<Part>,
    /// Nodes of which it has an unfinished manifest only.
    pub unfinished: Vec<Owner>,
    /// Nodes whose manifest cannot be read.
    pub unreadable: Vec<Owner>,
}

/// What a backup holds in one bucket.
#[derive(Clone, Debug)]
pub struct Part {
    /// The bucket.
    pub location: Location,
    /// What it holds.
    pub held: Arc<Held>,
}

/// A manifest that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its key.
    pub key: ManifestKey,
    /// Where it lies.
    pub location: Location,
    /// Why.
    pub cause: String,
}

/// An index that is to be written.
#[derive(Clone, Debug)]
struct Stale {
    bucket: usize,
    cluster: ClusterId,
    /// Of backups that were read whole.
    held: Vec<Arc<Held>>,
}

impl Summary {
    /// The nodes it holds, with what it holds of each.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeHeld> {
        self.parts.iter().flat_map(|part| &part.held.nodes)
    }

    /// Bytes of all it holds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.nodes().map(|node| node.bytes).sum()
    }

    /// Files of all it holds.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.nodes().map(|node| node.files).sum()
    }

    /// The datacenters it has something of, finished or not.
    #[must_use]
    pub fn dcs(&self) -> BTreeSet<&str> {
        let other = self.unfinished.iter().chain(&self.unreadable);
        let other = other.map(|owner| owner.dc.as_str());
        self.nodes().map(|node| &*node.dc).chain(other).collect()
    }

    /// The cluster's name then; empty if no manifest says it.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        let mut names = self.parts.iter().map(|part| &*part.held.cluster_name);
        names.find(|name| !name.is_empty()).unwrap_or_default()
    }

    /// Nodes that the cluster had, as the manifests say, and of which nothing is finished.
    #[must_use]
    pub fn missing(&self) -> BTreeSet<NodeId> {
        let known = self.parts.iter().flat_map(|part| &part.held.cluster_nodes);
        let mut missing: BTreeSet<NodeId> = known.copied().collect();
        missing.extend(self.unfinished.iter().map(|owner| owner.node));
        for node in self.nodes() {
            missing.remove(&node.node);
        }
        missing
    }

    /// Whether all nodes that it knows of are finished and can be read.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.unreadable.is_empty() && self.missing().is_empty()
    }
}

impl Contents {
    /// Whether [`Self::save`] has something to write.
    #[must_use]
    pub fn changed(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Writes the indices that were missing, wrong or behind. `stores` are those it was read from.
    ///
    /// # Errors
    /// Those of the buckets.
    pub async fn save(&self, stores: &[Store]) -> Result<(), Error> {
        let writes = self.stale.iter().map(|stale| async move {
            let key = OwnKey::Catalog(stale.cluster).to_string();
            let body = Document::new(stale.cluster, &stale.held).to_bytes();
            stores[stale.bucket].put(&key, body.into()).await
        });
        // Collected, so that what calls this can be spawned.
        let writes: Vec<_> = writes.collect();
        let writes = stream::iter(writes).buffer_unordered(INDICES);
        Ok(writes.try_collect().await?)
    }
}

/// Reads what the buckets hold of `cluster`, or of all clusters.
///
/// # Errors
/// Those of the buckets, but not of single objects.
pub async fn read(stores: &[Store], cluster: Option<ClusterId>) -> Result<Contents, Error> {
    let listing = listing::list(stores, cluster).await?;
    let mut indices = Indices::read(stores, listing.backups.values()).await?;
    let mut contents = Contents {
        foreign: listing.foreign,
        warnings: std::mem::take(&mut indices.warnings),
        ..Contents::default()
    };
    let lacking = indices.compare(listing.backups.values());
    let read = summaries(stores, &lacking).await?;
    let mut failed = BTreeMap::<&BackupId, Vec<Owner>>::new();
    for (id, listed, cause) in &read.unreadable {
        let owner = listed.key.owner.clone();
        failed.entry(id).or_default().push(owner);
        contents.unreadable.push(Unreadable {
            key: listed.key.clone(),
            location: stores[listed.bucket].location().clone(),
            cause: cause.clone(),
        });
    }
    contents.unreadable.sort_by(|a, b| a.key.cmp(&b.key));
    for ((bucket, id), (held, whole)) in read.held {
        indices.add(bucket, id, Arc::new(held), whole);
    }
    for backup in listing.backups.values() {
        let parts = indices.of(&backup.id).map(|(bucket, held)| Part {
            location: stores[bucket].location().clone(),
            held: Arc::clone(held),
        });
        contents.backups.push(Summary {
            parts: parts.collect(),
            unfinished: backup
                .unfinished()
                .map(|node| node.key.owner.clone())
                .collect(),
            unreadable: failed.remove(&backup.id).unwrap_or_default(),
            id: backup.id.clone(),
        });
    }
    contents.stale = indices.stale();
    // What was listed, but gone when it was to be read.
    let something = |summary: &Summary| {
        !summary.parts.is_empty()
            || !summary.unfinished.is_empty()
            || !summary.unreadable.is_empty()
    };
    contents.backups.retain(something);
    Ok(contents)
}

/// The indices of all buckets and clusters.
#[derive(Default)]
struct Indices {
    /// By backup and bucket: what is known of it, and whether that may be remembered.
    held: BTreeMap<(BackupId, usize), (Arc<Held>, bool)>,
    /// Those that are not as they should be.
    stale: BTreeSet<(usize, ClusterId)>,
    warnings: Vec<String>,
}

/// Manifests of one backup in one bucket.
type Lacking<'a> = ((usize, &'a BackupId), Vec<&'a Listed>);

impl Indices {
    async fn read(stores: &[Store], backups: impl Iterator<Item = &Backup>) -> Result<Self, Error> {
        let finished = backups.flat_map(|backup| {
            let cluster = backup.id.cluster;
            backup.finished().map(move |node| (node.bucket, cluster))
        });
        let wanted: BTreeSet<(usize, ClusterId)> = finished.collect();
        let reads = wanted.into_iter().map(|(bucket, cluster)| async move {
            let read = index(&stores[bucket], cluster).await?;
            Ok::<_, Error>((bucket, cluster, read))
        });
        let mut reads = stream::iter(reads).buffer_unordered(INDICES);
        let mut all = Self::default();
        while let Some((bucket, cluster, read)) = reads.try_next().await? {
            match read {
                Ok(held) => {
                    let held = held.into_iter().map(|held| {
                        let held = Arc::new(held);
                        ((held.id.clone(), bucket), (held, true))
                    });
                    all.held.extend(held);
                }
                Err(Lost { warning }) => {
                    all.stale.insert((bucket, cluster));
                    all.warnings.extend(warning);
                }
            }
        }
        all.warnings.sort();
        Ok(all)
    }

    /// Drops what is no longer so, and says what must be read.
    fn compare<'a>(&mut self, backups: impl Iterator<Item = &'a Backup>) -> Vec<Lacking<'a>> {
        let mut there = BTreeMap::<(&BackupId, usize), Vec<&Listed>>::new();
        for backup in backups {
            for node in backup.finished() {
                let nodes = there.entry((&backup.id, node.bucket)).or_default();
                nodes.push(node);
            }
        }
        let stale = &mut self.stale;
        self.held.retain(|(id, bucket), (held, _)| {
            let keep = there
                .get(&(id, *bucket))
                .is_some_and(|nodes| held.is_of(nodes));
            if !keep {
                stale.insert((*bucket, id.cluster));
            }
            keep
        });
        let lacks = |(id, bucket): &(&BackupId, usize)| {
            // Cloned, for a map's key can't be looked up by parts.
            !self.held.contains_key(&((*id).clone(), *bucket))
        };
        let lacking = there.into_iter().filter(|(key, _)| lacks(key));
        lacking
            .map(|((id, bucket), nodes)| ((bucket, id), nodes))
            .collect()
    }

    fn add(&mut self, bucket: usize, id: &BackupId, held: Arc<Held>, whole: bool) {
        if whole {
            self.stale.insert((bucket, id.cluster));
        }
        self.held.insert((id.clone(), bucket), (held, whole));
    }

    fn of<'a>(&'a self, id: &BackupId) -> impl Iterator<Item = (usize, &'a Arc<Held>)> {
        let all = (id.clone(), 0)..=(id.clone(), usize::MAX);
        self.held
            .range(all)
            .map(|((_, bucket), (held, _))| (*bucket, held))
    }

    fn stale(&self) -> Vec<Stale> {
        let of = |(bucket, cluster): &(usize, ClusterId)| Stale {
            bucket: *bucket,
            cluster: *cluster,
            held: self
                .held
                .iter()
                .filter(|((id, at), (_, whole))| id.cluster == *cluster && at == bucket && *whole)
                .map(|(_, (held, _))| Arc::clone(held))
                .collect(),
        };
        self.stale.iter().map(of).collect()
    }
}

/// There is no index, or none that is of use.
struct Lost {
    warning: Option<String>,
}

/// A cluster's index.
async fn index(store: &Store, cluster: ClusterId) -> Result<Result<Vec<Held>, Lost>, Error> {
    let key = OwnKey::Catalog(cluster).to_string();
    let lost = |cause: String| {
        let location = store.location();
        Lost {
            warning: Some(format!(
                "`{key}` in {location} is of no use ({cause}): it was made anew from the manifests"
            )),
        }
    };
    let body = match store.get(&key).await {
        Ok(body) => body,
        Err(store::Error::NotFound { .. }) => return Ok(Err(Lost { warning: None })),
        Err(cause @ store::Error::NoBucket { .. }) => return Err(cause.into()),
        Err(cause) => return Ok(Err(lost(cause.to_string()))),
    };
    let read = tokio::task::spawn_blocking(move || Document::read(&body, cluster)).await;
    let read = read.expect("reading an index does not panic");
    Ok(read.map_err(lost))
}

/// What manifests say.
struct Read<'a> {
    /// By bucket and backup; and whether all manifests of it were read.
    held: BTreeMap<(usize, &'a BackupId), (Held, bool)>,
    unreadable: Vec<(&'a BackupId, &'a Listed, String)>,
}

async fn summaries<'a>(stores: &[Store], lacking: &[Lacking<'a>]) -> Result<Read<'a>, Error> {
    let names = Arc::new(Names::default());
    let all = lacking.iter().flat_map(|((_, id), nodes)| {
        let id: &'a BackupId = id;
        nodes.iter().map(move |node| (id, *node))
    });
    let reads = all.map(|(id, node)| {
        let names = Arc::clone(&names);
        async move {
            let store = &stores[node.bucket];
            (id, node, summary::of(store, node, names).await)
        }
    });
    let reads: Vec<_> = reads.collect();
    let mut reads = stream::iter(reads).buffer_unordered(READS);
    let mut summed = BTreeMap::<(usize, &BackupId), Summed>::new();
    let (mut unreadable, mut read, mut failures) = (Vec::new(), 0_u64, 0);
    let mut spoilt = BTreeSet::new();
    while let Some((id, node, result)) = reads.next().await {
        match result {
            Ok(one) => {
                read += 1;
                let sum = summed.entry((node.bucket, id)).or_default();
                sum.add(one);
            }
            // Removed since it was listed.
            Err(error) if error.gone() => {
                spoilt.insert((node.bucket, id));
            }
            Err(error) => {
                failures += usize::from(error.retry());
                if failures >= FAILURES && read == 0 {
                    return Err(error);
                }
                spoilt.insert((node.bucket, id));
                unreadable.push((id, node, chain(&error)));
            }
        }
    }
    let held = summed.into_iter().map(|(key, sum)| {
        let whole = !spoilt.contains(&key);
        (key, (sum.finish(key.1.clone()), whole))
    });
    Ok(Read {
        held: held.collect(),
        unreadable,
    })
}
