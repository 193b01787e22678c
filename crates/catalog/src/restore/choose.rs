//! Which manifests make up a backup.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{ClusterId, NodeId, SnapshotTag, TaskId};

use super::RestoreError;
use crate::key::ManifestKey;

/// Of all manifests found, chooses those of backup `tag`; of `cluster`, where it is given.
///
/// # Errors
/// [`RestoreError`] if there is none, more than one, or one that was not finished.
pub fn choose(
    found: impl IntoIterator<Item = ManifestKey>,
    tag: &SnapshotTag,
    cluster: Option<ClusterId>,
) -> Result<Vec<ManifestKey>, RestoreError> {
    let mut backups = BTreeMap::<(ClusterId, TaskId), Found>::new();
    for key in found {
        let of = key.owner.cluster;
        if key.tag != *tag || cluster.is_some_and(|cluster| cluster != of) {
            continue;
        }
        let backup = backups.entry((of, key.task)).or_default();
        if key.temporary {
            backup.begun.insert(key.owner.node);
        } else {
            backup.finished.insert(key.owner.node, key);
        }
    }
    // A backup that was only begun does not stand in the way of one that was finished.
    if backups.values().any(|backup| !backup.finished.is_empty()) {
        backups.retain(|_, backup| !backup.finished.is_empty());
    }
    let clusters: BTreeSet<ClusterId> = backups.keys().map(|(cluster, _)| *cluster).collect();
    if clusters.len() > 1 {
        return Err(RestoreError::SeveralClusters {
            tag: tag.clone(),
            clusters: clusters.into_iter().collect(),
        });
    }
    let several = backups.len() > 1;
    let Some(((of, _), backup)) = backups.into_iter().next() else {
        return Err(RestoreError::NoBackup {
            tag: tag.clone(),
            cluster,
        });
    };
    if several {
        return Err(RestoreError::SeveralTasks {
            tag: tag.clone(),
            cluster: of,
        });
    }
    let begun = backup.begun.into_iter();
    let unfinished: Vec<NodeId> = begun
        .filter(|node| !backup.finished.contains_key(node))
        .collect();
    if !unfinished.is_empty() {
        return Err(RestoreError::Unfinished {
            tag: tag.clone(),
            unfinished,
        });
    }
    Ok(backup.finished.into_values().collect())
}

#[derive(Default)]
struct Found {
    begun: BTreeSet<NodeId>,
    finished: BTreeMap<NodeId, ManifestKey>,
}
