//! What a decision asks of each node's place in a bucket.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Location, SnapshotTag};

use super::{Decided, Decision, Found};
use crate::key::{ManifestKey, Owner, SchemaKey, SchemaKind};

/// What is to be done to one node's place in one location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeWork {
    /// Where.
    pub location: Location,
    /// Whose.
    pub owner: Owner,
    /// Manifests that go, with what only they refer to.
    pub stale: Vec<ManifestKey>,
    /// Finished manifests of backups that are on other nodes, too: they become unfinished ones.
    pub unseal: Vec<ManifestKey>,
    /// Manifests that stay, of whatever task. Others that are found count as these.
    pub kept: Vec<ManifestKey>,
    /// Schema files that go with the stale ones. They may not exist.
    pub schemas: Vec<SchemaKey>,
    /// Whether pinned backups go, too, if they are among these.
    pub forced: bool,
}

/// A node's manifests, as a purge finds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Those that go.
    pub stale: Vec<ManifestKey>,
    /// Those that become unfinished ones.
    pub unseal: Vec<ManifestKey>,
    /// All others, even if they should not be there any more.
    pub kept: Vec<ManifestKey>,
}

impl NodeWork {
    fn new(found: &Found, forced: bool) -> Self {
        Self {
            location: found.location.clone(),
            owner: found.key.owner.clone(),
            stale: Vec::new(),
            unseal: Vec::new(),
            kept: Vec::new(),
            schemas: Vec::new(),
            forced,
        }
    }

    /// Sorts the node's manifests that are there now, when some time has passed since the decision.
    ///
    /// What was not named stays, known or not; and so does what has been pinned meanwhile. An
    /// unfinished manifest goes with its finished twin, for that is what is left of one that was
    /// purged in part.
    #[must_use]
    pub fn sort<'a>(
        &self,
        there: impl Iterator<Item = &'a ManifestKey>,
        pinned: &BTreeSet<SnapshotTag>,
    ) -> Sorted {
        let stale: BTreeSet<&ManifestKey> = self.stale.iter().collect();
        let unseal: BTreeSet<&ManifestKey> = self.unseal.iter().collect();
        let there: BTreeSet<&ManifestKey> = there.collect();
        let mut sorted = Sorted::default();
        for key in &there {
            let list = if !self.forced && pinned.contains(&key.tag) {
                &mut sorted.kept
            } else if stale.contains(key) || stale.contains(&key.with_temporary(false)) {
                &mut sorted.stale
            } else if unseal.contains(key) {
                &mut sorted.unseal
            } else {
                &mut sorted.kept
            };
            list.push((*key).clone());
        }
        let unlisted = self.kept.iter().filter(|key| !there.contains(key));
        sorted.kept.extend(unlisted.cloned());
        sorted
    }
}

impl Decided {
    /// Whether its files may go now: when no finished manifest would be left meanwhile to make it
    /// look as if it were a backup, here or on another node.
    fn ready(&self) -> bool {
        let place = |found: &Found| (found.location.clone(), found.key.owner.clone());
        let mut places = self.backup.manifests().map(place);
        let first = places.next();
        self.backup.finished.is_empty() || places.all(|place| Some(&place) == first.as_ref())
    }
}

impl Decision {
    /// What each node has to do: in any order, at once or one by one, by anyone, and as often as
    /// one likes.
    ///
    /// A backup of several nodes goes in two rounds: first all its manifests become unfinished
    /// ones, then the files go. So decide again, from a new listing, until there is nothing to do.
    #[must_use]
    pub fn work(&self) -> Vec<NodeWork> {
        let mut nodes = BTreeMap::<(&Location, &Owner), NodeWork>::new();
        for decided in &self.backups {
            let (goes, ready) = (decided.goes(), decided.ready());
            for found in decided.backup.manifests() {
                let place = (&found.location, &found.key.owner);
                let work = nodes
                    .entry(place)
                    .or_insert_with(|| NodeWork::new(found, self.forced));
                let list = match (goes, ready, found.key.temporary) {
                    (true, true, _) => &mut work.stale,
                    (true, false, false) => &mut work.unseal,
                    (true, false, true) | (false, ..) => &mut work.kept,
                };
                list.push(found.key.clone());
                if goes && ready {
                    work.schemas.extend(self.schemas(decided));
                }
            }
        }
        let mut all: Vec<NodeWork> = nodes.into_values().collect();
        all.retain(|work| !work.stale.is_empty() || !work.unseal.is_empty());
        for work in &mut all {
            work.schemas.sort();
            work.schemas.dedup();
        }
        all
    }

    fn schemas(&self, of: &Decided) -> impl Iterator<Item = SchemaKey> + use<> {
        let (cluster, task, tag) = (self.cluster, of.task, of.tag.clone());
        SchemaKind::ALL.into_iter().map(move |kind| SchemaKey {
            cluster,
            task,
            tag: tag.clone(),
            kind,
        })
    }
}
