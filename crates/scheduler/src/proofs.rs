//! When backups were last proven to be restorable, and how deep that went. It lies beside them, in each of
//! their buckets, so that it is known wherever they are listed.

use std::collections::{BTreeMap, BTreeSet};

use bucket::listing::{self, Backup};
use catalog::{Document, key::OwnKey};
use protocol::{ClusterId, Location, RestoreRequest, SnapshotTag, ValidateRequest};
use serde::{Deserialize, Serialize};
use store::Store;

use crate::{App, copies, properties::Wish, record::Record};

/// A backup's proofs, in milliseconds since 1970; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Proof {
    /// Each object was seen, with its size.
    pub(crate) present_ms: u64,
    /// Each byte was read, and its checksum compared.
    pub(crate) content_ms: u64,
    /// It was restored, and all rows were read.
    pub(crate) drill_ms: u64,
}

impl Proof {
    /// Takes over what is newer.
    pub(crate) fn merge(&mut self, other: Self) {
        self.present_ms = self.present_ms.max(other.present_ms);
        self.content_ms = self.content_ms.max(other.content_ms);
        self.drill_ms = self.drill_ms.max(other.drill_ms);
    }
}

/// Those of a cluster's backups.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Proofs {
    pub(crate) proofs: BTreeMap<SnapshotTag, Proof>,
}

impl Document for Proofs {
    const WHAT: &'static str = "list of proofs";
}

/// What a run that is done has proven: of which cluster's backup, or all of them, and what.
pub(crate) fn proven(record: &Record) -> Option<(ClusterId, Option<SnapshotTag>, Proof)> {
    let at = record.ended_ms;
    match record.wish().ok()? {
        Wish::Validate(ValidateRequest {
            snapshot_tag,
            checksum,
            max_bytes,
            ..
        }) => {
            // A sample proves no more than that all is there.
            let whole = checksum && max_bytes == 0;
            let proof = Proof {
                present_ms: at,
                content_ms: if whole { at } else { 0 },
                drill_ms: 0,
            };
            Some((record.cluster, snapshot_tag, proof))
        }
        Wish::Restore(RestoreRequest {
            drill: true,
            keyspace,
            source_cluster,
            snapshot_tag,
            ..
        }) if keyspace.is_empty() => {
            let proof = Proof {
                present_ms: at,
                content_ms: at,
                drill_ms: at,
            };
            Some((
                source_cluster.unwrap_or(record.cluster),
                Some(snapshot_tag),
                proof,
            ))
        }
        Wish::Restore(_)
        | Wish::Backup(_)
        | Wish::Delete(_)
        | Wish::Clear(_)
        | Wish::Suspend(_) => None,
    }
}

/// Notes in the buckets what a run that is done has proven. Only the leader does.
pub(crate) async fn note(app: &App, record: &Record) -> Result<(), String> {
    let Some((cluster, tag, proof)) = proven(record) else {
        return Ok(());
    };
    let wish = record.wish()?;
    let places = copies::places(app, record.cluster, &wish).await;
    let places: Vec<Location> = places.map_err(|e| e.to_string())?;
    let stores = listing::open(&app.stores, &places).await;
    let stores = stores.map_err(|e| e.to_string())?;
    let listed = listing::list(&stores, Some(cluster)).await;
    let listed = listed.map_err(|e| e.to_string())?;
    let whole = listed.backups.into_values().filter(Backup::complete);
    let there: BTreeSet<SnapshotTag> = whole.map(|backup| backup.id.tag).collect();
    for store in &stores {
        let mut all = read(store, cluster).await.map_err(|e| e.to_string())?;
        // What is gone needs no proof.
        all.proofs.retain(|tag, _| there.contains(tag));
        let proven = there
            .iter()
            .filter(|one| tag.as_ref().is_none_or(|tag| tag == *one));
        for tag in proven {
            all.proofs.entry(tag.clone()).or_default().merge(proof);
        }
        let key = OwnKey::Proofs(cluster).to_string();
        let put = store.put(&key, all.to_json().into()).await;
        put.map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// What a bucket knows of a cluster's backups; nothing, if what lies there cannot be read.
pub(crate) async fn read(store: &Store, cluster: ClusterId) -> Result<Proofs, store::Error> {
    match store.get(&OwnKey::Proofs(cluster).to_string()).await {
        Ok(body) => Ok(Proofs::from_json(&body).unwrap_or_default()),
        Err(store::Error::NotFound { .. }) => Ok(Proofs::default()),
        Err(error) => Err(error),
    }
}
