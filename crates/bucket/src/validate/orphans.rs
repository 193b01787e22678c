//! Objects that nothing means: who else could, and how they go.

use std::collections::BTreeSet;

use catalog::{
    Batch, Chunk, Document,
    key::{ManifestKey, OwnKey, Owner},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use store::Store;

use super::objects::{Objects, is_of};
use crate::Error;

/// Plans read at once.
const READS: usize = 16;
/// Objects of one request.
pub(super) const DELETED_AT_ONCE: usize = 1_000;

/// Asked before each request that deletes; `false` ends it.
pub type Guard<'a> = &'a (dyn Fn() -> bool + Send + Sync);

/// Keys of a node's manifests, and of all that runs under way have put down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) manifests: BTreeSet<ManifestKey>,
    pub(super) notes: BTreeSet<String>,
}

impl Claims {
    pub(super) async fn list(store: &Store, owner: &Owner) -> Result<Self, Error> {
        let manifests = manifests(store, owner).await?;
        Ok(Self {
            manifests: manifests.into_iter().map(|(key, _)| key).collect(),
            notes: notes(store).await?,
        })
    }

    /// Whether all that is there now was there before. What has gone since does no harm.
    pub(super) fn covers(&self, now: &Self) -> bool {
        now.manifests.is_subset(&self.manifests) && now.notes.is_subset(&self.notes)
    }
}

/// A node's manifests with their bytes, the oldest first.
pub(super) async fn manifests(
    store: &Store,
    owner: &Owner,
) -> Result<Vec<(ManifestKey, u64)>, Error> {
    let mut objects = store.list(&owner.manifests());
    let mut found = Vec::new();
    while let Some(object) = objects.try_next().await? {
        if let Ok(key) = object.key.parse::<ManifestKey>() {
            found.push((key, object.bytes));
        }
    }
    found.sort_unstable_by(|(a, _), (b, _)| {
        (&a.tag, a.task, a.temporary).cmp(&(&b.tag, b.task, b.temporary))
    });
    Ok(found)
}

async fn notes(store: &Store) -> Result<BTreeSet<String>, Error> {
    let objects = store.list(OwnKey::RUNS).map_ok(|object| object.key);
    Ok(objects.try_collect().await?)
}

/// Marks what plans of runs under way mean: chunks of a backup of this node, and batches of any
/// restore.
///
/// # Errors
/// Those of the bucket, and [`Error::Document`] for a plan that cannot be read: nobody knows what
/// it means.
pub(super) async fn plans(
    store: &Store,
    owner: &Owner,
    notes: &BTreeSet<String>,
    objects: &mut Objects,
) -> Result<(), Error> {
    let wanted = notes.iter().filter_map(|key| match key.parse() {
        Ok(OwnKey::Chunk(_, node, _)) if node == owner.node => Some((key, true)),
        Ok(OwnKey::Batch(..)) => Some((key, false)),
        Ok(_) | Err(_) => None,
    });
    let reads: Vec<_> = wanted
        .map(|(key, chunk)| meant(store, owner, key, chunk))
        .collect();
    let mut reads = stream::iter(reads).buffer_unordered(READS);
    while let Some(keys) = reads.try_next().await? {
        for key in keys {
            objects.need(&key);
        }
    }
    Ok(())
}

/// The keys that a chunk, or of this node a batch, means.
async fn meant(store: &Store, owner: &Owner, key: &str, chunk: bool) -> Result<Vec<String>, Error> {
    if chunk {
        let chunk: Option<Chunk> = document(store, key).await?;
        let files = chunk.into_iter().flat_map(|chunk| chunk.files);
        let keys = files.flat_map(|file| {
            let kept = file.replaces.map(|replaced| replaced.kept);
            [Some(file.key), kept]
        });
        Ok(keys.flatten().collect())
    } else {
        let batch: Option<Batch> = document(store, key).await?;
        let sstables = batch.into_iter().flat_map(|batch| batch.sstables);
        let files = sstables.flat_map(|sstable| sstable.files);
        let keys = files.map(|file| file.key);
        Ok(keys.filter(|key| is_of(owner, key)).collect())
    }
}

async fn document<T: Document>(store: &Store, key: &str) -> Result<Option<T>, Error> {
    let body = match store.get(key).await {
        Ok(body) => body,
        // Its run has ended: what it did shows in manifests.
        Err(store::Error::NotFound { .. }) => return Ok(None),
        Err(cause) => return Err(cause.into()),
    };
    let read = T::from_json(&body);
    read.map(Some).map_err(|cause| Error::Document {
        key: key.to_owned(),
        cause,
    })
}
