//! What a decision on a cluster's backups is based on, as its buckets show it.

use std::collections::BTreeSet;

use catalog::{
    key::{self, ManifestKey},
    retention::Found,
};
use futures::TryStreamExt as _;
use protocol::{ClusterId, SnapshotTag};
use store::Store;

use crate::{Error, pins};

/// A cluster's manifests and pins in all its locations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Its manifests, finished or not.
    pub manifests: Vec<Found>,
    /// Its pinned backups.
    pub pinned: BTreeSet<SnapshotTag>,
    /// Keys among the manifests' that are none this build knows. Nothing is purged of their nodes.
    pub strange: Vec<String>,
}

/// Looks through `stores`, which must be all places where the cluster has backups: one that is left
/// out makes backups look as if they lacked its nodes.
///
/// # Errors
/// Those of the buckets; of one of them is enough, for half a picture is worse than none.
pub async fn survey(stores: &[Store], cluster: ClusterId) -> Result<Survey, Error> {
    let mut survey = Survey::default();
    let mut seen = BTreeSet::new();
    for store in stores {
        // Two datacenters may share a bucket.
        if !seen.insert(store.location().remote()) {
            continue;
        }
        survey.pinned.extend(pins::tags(store, cluster).await?);
        let mut listed = store.list(&key::manifests_of(cluster));
        while let Some(object) = listed.try_next().await? {
            match parse(&object.key) {
                Ok(Some(key)) => survey.manifests.push(Found {
                    location: store.location().clone(),
                    key,
                }),
                Ok(None) => {}
                Err(strange) => survey.strange.push(strange),
            }
        }
    }
    Ok(survey)
}

/// The manifest that lies under `key`; `None` for what is known to be none: marks of old versions
/// of ScyllaDB Manager.
pub(crate) fn parse(key: &str) -> Result<Option<ManifestKey>, String> {
    match key.parse() {
        Ok(key) => Ok(Some(key)),
        Err(_) if key.ends_with("/.version") => Ok(None),
        Err(_) => Err(key.to_owned()),
    }
}
