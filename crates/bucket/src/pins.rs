//! Pins: backups that nothing removes until somebody unpins them.
//!
//! # Promises
//! * A backup is pinned as long as the object is there, whatever is in it: one that cannot be read
//!   holds as well, and so does one that a newer version wrote.
//! * Something below a cluster's pins that names no backup is an error: it may be meant for one.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{Document as _, key::OwnKey, retention::Pin};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{ClusterId, SnapshotTag};
use store::Store;

use crate::Error;

/// Pins read at once.
const READS: usize = 16;

/// What a pin says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// It is readable.
    Told(Pin),
    /// It is not, for this reason; it holds all the same.
    Unreadable(String),
}

/// Pins a backup, or says anew why it is pinned.
///
/// # Errors
/// Those of the bucket.
pub async fn put(store: &Store, pin: &Pin) -> Result<(), Error> {
    let key = OwnKey::Pin(pin.cluster, pin.tag.clone()).to_string();
    Ok(store.put(&key, pin.to_json().into()).await?)
}

/// What a backup's pin says; `None` if it is not pinned.
///
/// # Errors
/// Those of the bucket.
pub async fn get(
    store: &Store,
    cluster: ClusterId,
    tag: &SnapshotTag,
) -> Result<Option<Pinned>, Error> {
    let key = OwnKey::Pin(cluster, tag.clone()).to_string();
    let body = match store.get(&key).await {
        Ok(body) => body,
        Err(store::Error::NotFound { .. }) => return Ok(None),
        Err(too_large @ store::Error::TooLarge { .. }) => {
            return Ok(Some(Pinned::Unreadable(too_large.to_string())));
        }
        Err(cause) => return Err(cause.into()),
    };
    Ok(Some(match Pin::from_json(&body) {
        Ok(pin) if pin.cluster == cluster && pin.tag == *tag => Pinned::Told(pin),
        Ok(pin) => Pinned::Unreadable(format!(
            "`{key}` speaks of backup {} of cluster {}",
            pin.tag, pin.cluster
        )),
        Err(cause) => Pinned::Unreadable(format!("`{key}`: {cause}")),
    }))
}

/// The tags of all pinned backups of a cluster, read from keys alone.
///
/// # Errors
/// [`Error::Strange`], or those of the bucket.
pub async fn tags(store: &Store, cluster: ClusterId) -> Result<BTreeSet<SnapshotTag>, Error> {
    let mut listed = store.list(&OwnKey::pins(cluster));
    let mut tags = BTreeSet::new();
    while let Some(object) = listed.try_next().await? {
        let Ok(OwnKey::Pin(_, tag)) = object.key.parse() else {
            return Err(Error::Strange {
                key: object.key,
                location: store.location().to_string(),
                what: "a pin",
            });
        };
        tags.insert(tag);
    }
    Ok(tags)
}

/// The clusters that have pins.
///
/// # Errors
/// [`Error::Strange`], or those of the bucket.
pub async fn clusters(store: &Store) -> Result<BTreeSet<ClusterId>, Error> {
    let mut clusters = BTreeSet::new();
    for name in store.folders(OwnKey::PINS).await? {
        let strange = |_| Error::Strange {
            key: format!("{}{name}/", OwnKey::PINS),
            location: store.location().to_string(),
            what: "a cluster's pins",
        };
        clusters.insert(name.parse().map_err(strange)?);
    }
    Ok(clusters)
}

/// All pins of a cluster.
///
/// # Errors
/// [`Error::Strange`], or those of the bucket.
pub async fn list(
    store: &Store,
    cluster: ClusterId,
) -> Result<BTreeMap<SnapshotTag, Pinned>, Error> {
    let tags = tags(store, cluster).await?;
    let reads = tags.into_iter().map(|tag| async move {
        let pinned = get(store, cluster, &tag).await?;
        Ok::<_, Error>(pinned.map(|pinned| (tag, pinned)))
    });
    let all = stream::iter(reads).buffer_unordered(READS);
    // One that was listed and is gone has just been removed.
    all.try_filter_map(|pinned| async { Ok(pinned) })
        .try_collect()
        .await
}

/// Unpins a backup; `false` if it was not pinned.
///
/// # Errors
/// Those of the bucket.
pub async fn remove(store: &Store, cluster: ClusterId, tag: &SnapshotTag) -> Result<bool, Error> {
    let key = OwnKey::Pin(cluster, tag.clone()).to_string();
    let there = store.bytes(&key).await?.is_some();
    store.delete(&[key]).await?;
    Ok(there)
}
