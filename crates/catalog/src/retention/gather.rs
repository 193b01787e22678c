//! Backups, as the keys of their manifests tell of them.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{ClusterId, NodeId, SnapshotTag, TaskId};

use super::Found;

/// A backup's manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backup {
    pub(super) tag: SnapshotTag,
    pub(super) finished: Vec<Found>,
    /// Unfinished ones beside a finished one: left by a crash between the two.
    pub(super) shadowed: Vec<Found>,
    /// Unfinished ones of nodes that have no other.
    pub(super) unfinished: Vec<Found>,
    /// Whether it is a good one. See [`super`].
    pub(super) whole: bool,
}

impl Backup {
    fn new(tag: SnapshotTag) -> Self {
        Self {
            tag,
            finished: Vec::new(),
            shadowed: Vec::new(),
            unfinished: Vec::new(),
            whole: false,
        }
    }

    /// Every manifest of it.
    pub(super) fn manifests(&self) -> impl Iterator<Item = &Found> {
        let begun = self.shadowed.iter().chain(&self.unfinished);
        self.finished.iter().chain(begun)
    }

    fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.manifests().map(|found| found.key.owner.node)
    }

    /// Whether every node that has begun it has finished it.
    fn ended(&self) -> bool {
        self.unfinished.is_empty() && !self.finished.is_empty()
    }
}

/// The cluster's backups by task, the oldest first.
pub(super) fn gather(cluster: ClusterId, manifests: &[Found]) -> BTreeMap<TaskId, Vec<Backup>> {
    let ours: BTreeSet<&Found> = manifests
        .iter()
        .filter(|found| found.key.owner.cluster == cluster)
        .collect();
    let mut backups = BTreeMap::<TaskId, BTreeMap<SnapshotTag, Backup>>::new();
    for found in &ours {
        let key = &found.key;
        let backup = backups
            .entry(key.task)
            .or_default()
            .entry(key.tag.clone())
            .or_insert_with(|| Backup::new(key.tag.clone()));
        let twin = Found {
            location: found.location.clone(),
            key: key.with_temporary(false),
        };
        let list = match key.temporary {
            false => &mut backup.finished,
            true if ours.contains(&twin) => &mut backup.shadowed,
            true => &mut backup.unfinished,
        };
        list.push((*found).clone());
    }
    let tasks = backups.into_iter().map(|(task, backups)| {
        let mut backups: Vec<Backup> = backups.into_values().collect();
        judge(&mut backups);
        (task, backups)
    });
    tasks.collect()
}

/// Finds out which of a task's backups are whole.
fn judge(backups: &mut [Backup]) {
    // Of each node, the last backup that has it.
    let mut last = BTreeMap::new();
    for (at, backup) in backups.iter().enumerate() {
        last.extend(backup.nodes().map(|node| (node, at)));
    }
    let newest = backups.iter().rposition(Backup::ended);
    let mut before = BTreeSet::new();
    for (at, backup) in backups.iter_mut().enumerate() {
        if !backup.ended() {
            continue;
        }
        let nodes: BTreeSet<NodeId> = backup.nodes().collect();
        // Whether a node is gone for good only a later backup can tell that ended without it.
        let gone = |node: &NodeId| newest > Some(at) && last[node] < at;
        backup.whole = before.difference(&nodes).all(gone);
        if backup.whole {
            before = nodes;
        }
    }
}
