//! What must be true of a bucket, found out without the code that is tested.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use catalog::{
    Manifest,
    key::{ManifestKey, Owner, SchemaKey, SchemaKind, TableDir},
    restore::resolve,
    retention::{Decision, Policy, Reason, Verdict},
};
use protocol::{SnapshotTag, TaskId};

use crate::{backup::stored, bucket::Bucket, world::World};

/// What really happened.
#[derive(Clone, Default)]
pub(crate) struct Truth {
    /// What the files of each finished manifest held, by plain key.
    pub(crate) files: BTreeMap<ManifestKey, BTreeMap<String, u64>>,
    /// The manifests of each backup that was finished on all its nodes.
    pub(crate) done: BTreeMap<(TaskId, SnapshotTag), BTreeSet<ManifestKey>>,
    /// Manifests that ever were begun, in which bucket, and what they list.
    pub(crate) begun: BTreeMap<ManifestKey, (usize, Rc<Manifest>)>,
    /// Versions that nobody needed when they were made, and whose backup made them.
    pub(crate) litter: BTreeMap<String, ManifestKey>,
}

impl World {
    /// Every finished manifest tells the truth, and no open run misses anything.
    pub(crate) fn check(&self) {
        for bucket in &self.buckets {
            for key in bucket.manifests.keys().filter(|key| !key.temporary) {
                for (file, content) in &self.truth.files[key] {
                    self.expect(bucket, key, file, *content);
                }
                let schema = SchemaKey {
                    cluster: self.cluster,
                    task: key.task,
                    tag: key.tag.clone(),
                    kind: SchemaKind::Cql,
                };
                let there = bucket.schemas.contains(&schema.to_string());
                assert!(there, "{schema} is gone\n{}", self.log.join("\n"));
            }
        }
        for run in &self.runs {
            for part in run.parts.iter().filter(|part| part.plan.is_some()) {
                let bucket = &self.buckets[part.node.bucket];
                let there = |temporary| {
                    let key = part.key.with_temporary(temporary);
                    bucket.manifests.contains_key(&key)
                };
                let found = there(true) || part.sealed && there(false);
                assert!(found, "{} is gone\n{}", part.key, self.log.join("\n"));
                for (file, content) in stored(part) {
                    self.expect(bucket, &part.key, file, content);
                }
            }
        }
    }

    fn expect(&self, bucket: &Bucket, key: &ManifestKey, file: &str, content: u64) {
        let found = resolve(file, &key.tag, &bucket.files);
        let log = || self.log.join("\n");
        match found {
            None => panic!("{key} misses {file}\n{}", log()),
            Some((at, found)) => {
                assert_eq!(found, content, "{key} finds {at} for {file}\n{}", log());
            }
        }
    }

    /// Keys of all objects that a node's manifests refer to.
    pub(crate) fn needed(bucket: &Bucket, owner: &Owner) -> BTreeSet<String> {
        let mut needed = BTreeSet::new();
        for (key, manifest) in bucket.of(owner) {
            for entry in &manifest.index {
                let (keyspace, table) = (&entry.keyspace, &entry.table);
                let dir = TableDir::new(owner, keyspace, table, entry.version).unwrap();
                for file in entry.files.iter() {
                    let plain = dir.component(file.name).unwrap();
                    needed.extend(resolve(&plain, &key.tag, &bucket.files).map(|(key, _)| key));
                }
                let lists = entry.scylla_manifests.iter();
                needed.extend(lists.map(|name| dir.component(name).unwrap()));
            }
        }
        needed
    }

    /// Objects of a node that nothing refers to.
    pub(crate) fn unneeded(bucket: &Bucket, owner: &Owner) -> BTreeSet<String> {
        let needed = Self::needed(bucket, owner);
        let prefix = owner.components();
        let all = bucket.below(&prefix).map(|(key, _)| key);
        all.filter(|key| !needed.contains(*key)).cloned().collect()
    }

    /// Every node that has something in a bucket.
    pub(crate) fn owners(bucket: &Bucket) -> BTreeSet<Owner> {
        let of_files = bucket.files.keys().filter_map(|key| {
            let component = key.parse::<catalog::key::ComponentKey>();
            component.ok().map(|key| key.dir.owner)
        });
        let of_manifests = bucket.manifests.keys().map(|key| key.owner.clone());
        of_files.chain(of_manifests).collect()
    }

    /// After a purge nothing is left that only purged backups referred to. What a run stored before
    /// it had a manifest no purge can know of.
    pub(crate) fn check_clean(&self) {
        for (at, bucket) in self.buckets.iter().enumerate() {
            for owner in Self::owners(bucket) {
                let mut left = Self::unneeded(bucket, &owner);
                left.retain(|key| match key.parse::<catalog::key::ScyllaManifestKey>() {
                    Ok(list) => {
                        let mut begun = self.truth.begun.values();
                        let name = list.name();
                        begun.any(|(_, of)| {
                            let mut index = of.index.iter();
                            (of.node, &of.tag) == (owner.node, &list.tag)
                                && index.any(|entry| {
                                    entry.table == list.dir.table
                                        && entry.scylla_manifests.contains(&name)
                                })
                        })
                    }
                    Err(_) => !self.truth.litter.get(key).is_some_and(|of| {
                        let there = [true, false].map(|temporary| of.with_temporary(temporary));
                        there.iter().any(|key| bucket.manifests.contains_key(key))
                    }),
                });
                assert!(
                    left.is_empty(),
                    "{left:#?} is left\n{}",
                    self.log.join("\n")
                );
            }
            for schema in &bucket.schemas {
                let key: SchemaKey = schema.parse().unwrap();
                let of =
                    |manifest: &ManifestKey| (manifest.task, &manifest.tag) == (key.task, &key.tag);
                let mut all = self
                    .buckets
                    .iter()
                    .flat_map(|bucket| bucket.manifests.keys());
                let mut begun = self.truth.begun.iter();
                let begun = begun.any(|(key, (bucket, _))| *bucket == at && of(key));
                let right = all.any(of) || !begun;
                assert!(right, "{schema} is left\n{}", self.log.join("\n"));
            }
        }
    }

    /// The backups whose runs ended well and that are still there, whole.
    fn good(&self) -> BTreeSet<(TaskId, SnapshotTag)> {
        let there = |key: &ManifestKey| {
            let mut buckets = self.buckets.iter();
            buckets.any(|bucket| bucket.manifests.contains_key(key))
        };
        let done = self.truth.done.iter();
        let good = done.filter(|(_, manifests)| manifests.iter().all(there));
        good.map(|(backup, _)| backup.clone()).collect()
    }

    /// Groups that have a good backup now, and must have one later.
    pub(crate) fn served(&self) -> BTreeSet<Option<TaskId>> {
        let good = self.good();
        let live = |task: &TaskId| matches!(self.tasks.get(task), Some(Policy::Live(_)));
        let tasks = good.iter().map(|(task, _)| *task).filter(live).map(Some);
        let cluster = (!good.is_empty()).then_some(None);
        tasks.chain(cluster).collect()
    }

    pub(crate) fn check_served(&self, before: &BTreeSet<Option<TaskId>>) {
        let log = || self.log.join("\n");
        assert_eq!(
            &self.served(),
            before,
            "a last good backup is gone\n{}",
            log()
        );
    }

    /// Nothing goes that must not.
    pub(crate) fn check_decision(&self, decision: &Decision, pinned_stay: bool) {
        for backup in &decision.backups {
            let this = (backup.task, backup.tag.clone());
            let open = self
                .runs
                .iter()
                .any(|run| (run.task, run.tag.clone()) == this);
            let pinned = pinned_stay && self.pinned.contains(&backup.tag);
            let log = || self.log.join("\n");
            assert!(
                !(backup.goes() && (open || pinned)),
                "{this:?} goes\n{}",
                log()
            );
            if let Verdict::Keep(reasons) = &backup.verdict {
                assert!(!reasons.is_empty(), "{this:?} stays for nothing\n{}", log());
                let says = reasons.contains(&Reason::Open);
                let asked = reasons.contains(&Reason::NotNamed);
                assert!(asked || says == open, "{this:?}: {reasons:?}\n{}", log());
            }
        }
    }
}
