//! What may go, told from what was made: by backups' own references, and by Manager's rules.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    tag::tag_time,
    truth::{BackupId, BackupMade, Bucket, Kind},
};

/// What a task keeps. Both: days first, then the count of what is left. Neither: everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest so many backups; 0 is no limit.
    pub count: usize,
    /// Backups not older than so many days; 0 is no limit.
    pub days: u64,
}

/// What Manager keeps of a task that it does not know.
pub const UNKNOWN_TASK: Policy = Policy { count: 0, days: 30 };

const DAY: u64 = 86_400;

impl Bucket {
    /// The backups of a cluster that Manager's purge deletes at `now`, in seconds since 1970.
    ///
    /// Unfinished ones go, too, and do not count.
    #[must_use]
    pub fn stale(
        &self,
        cluster: &str,
        policies: &BTreeMap<String, Policy>,
        now: u64,
    ) -> BTreeSet<BackupId> {
        let mut kept = BTreeMap::<&str, usize>::new();
        let of = self
            .backups
            .iter()
            .filter(|made| made.id.cluster == cluster);
        // Newest first: that is how they are counted.
        let mut newest: Vec<&BackupMade> = of.collect();
        newest.sort_by(|a, b| b.id.tag.cmp(&a.id.tag));
        let stale = newest.into_iter().filter(|made| {
            let policy = policies.get(&made.id.task).unwrap_or(&UNKNOWN_TASK);
            let oldest = now.saturating_sub(policy.days * DAY);
            let old = policy.days > 0 && tag_time(&made.id.tag) < Some(oldest);
            if made.unfinished() || old {
                return true;
            }
            let kept = kept.entry(&made.id.task).or_default();
            *kept += 1;
            policy.count > 0 && *kept > policy.count
        });
        stale.map(|made| made.id.clone()).collect()
    }

    /// Objects that only `gone` backups need. All others must stay.
    #[must_use]
    pub fn garbage(&self, gone: &BTreeSet<BackupId>) -> BTreeSet<String> {
        let (goes, stays): (Vec<_>, Vec<_>) = self
            .backups
            .iter()
            .partition(|made| gone.contains(&made.id));
        let needed: BTreeSet<String> = stays.into_iter().flat_map(needs).collect();
        let unneeded = goes.into_iter().flat_map(needs);
        unneeded.filter(|key| !needed.contains(key)).collect()
    }

    /// Objects of [`Self::garbage`] that Manager leaves where they are: files whose name another
    /// backup lists, though it means another version, and older versions that were set aside after
    /// the oldest backup left.
    #[must_use]
    pub fn left_by_manager(&self, gone: &BTreeSet<BackupId>) -> BTreeSet<String> {
        let stays = || self.backups.iter().filter(|made| !gone.contains(&made.id));
        let mut listed = BTreeSet::new();
        let mut oldest = BTreeMap::<&str, &str>::new();
        for made in stays() {
            let first = oldest.entry(&made.id.cluster).or_insert(&made.id.tag);
            *first = (*first).min(&made.id.tag);
            let tables = made.nodes.iter().flat_map(|node| &node.tables);
            for table in tables {
                listed.extend(
                    table
                        .files
                        .iter()
                        .map(|file| format!("{}{}", table.dir, file.name)),
                );
            }
        }
        let left = self.garbage(gone).into_iter().filter(|key| {
            let Some(aside) = set_aside_by(key) else {
                return listed.contains(key);
            };
            let oldest = oldest.get(cluster_of(key));
            oldest.is_some_and(|oldest| aside > *oldest)
        });
        left.collect()
    }

    /// All that Manager deletes together with `gone` backups.
    pub(super) fn removed_by_manager(&self, gone: &BTreeSet<BackupId>) -> BTreeSet<String> {
        let left = self.left_by_manager(gone);
        let garbage = self.garbage(gone);
        garbage.difference(&left).cloned().collect()
    }

    /// Files and manifests in nodes' directories that no manifest lists.
    #[must_use]
    pub fn orphans(&self) -> BTreeSet<String> {
        self.keys(Kind::Orphan).map(str::to_owned).collect()
    }
}

/// Keys of all objects that a backup needs.
fn needs(made: &BackupMade) -> Vec<String> {
    let mut keys = made.schemas.clone();
    for node in &made.nodes {
        keys.extend(node.manifest.iter().chain(&node.temporary).cloned());
        for table in &node.tables {
            let stored = table.files.iter().filter(|file| file.stored);
            keys.extend(stored.map(|file| file.key.clone()));
            let own = table.scylla_manifests.iter();
            keys.extend(own.map(|name| format!("{}{name}", table.dir)));
        }
    }
    keys
}

/// For an older version: the tag of the backup that set it aside.
fn set_aside_by(key: &str) -> Option<&str> {
    let (_, tag) = key.rsplit_once('.')?;
    tag_time(tag).map(|_| tag)
}

fn cluster_of(key: &str) -> &str {
    let below = key.strip_prefix("backup/sst/cluster/").unwrap_or_default();
    below.split('/').next().unwrap_or_default()
}
