//! Purges that may die at any step, of a model of a bucket or of a store.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bucket::{
    files::Select,
    purge::{Report, purge},
    validate::{self, Check},
};
use bytes::Bytes;
use catalog::{
    Manifest,
    key::{ManifestKey, Owner, TableDir},
    purge::{Candidates, Step},
    retention::{self, Decision, DeleteError, Found, NodeWork, Pin, Question},
};
use futures::TryStreamExt as _;
use protocol::{Retention, SnapshotTag, TaskId};
use rand::{
    RngExt as _,
    seq::{IteratorRandom as _, SliceRandom as _},
};
use store::{LocalSettings, Settings, Store, Stores};
use tokio::runtime::Runtime;

use crate::{bucket::Bucket, world::World};

/// Keys a batch of the model, so that there are several.
const BATCH: usize = 3;

/// Clocks this far apart disagree.
const TOLERANCE: Duration = Duration::from_secs(300);

/// What purges run on.
#[derive(Clone)]
pub(crate) enum Purger {
    Model,
    Store(Rc<Runtime>),
}

impl Purger {
    pub(crate) fn model() -> Self {
        Self::Model
    }

    pub(crate) fn store() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread();
        Self::Store(Rc::new({ runtime }.enable_all().build().unwrap()))
    }
}

/// What a decision is asked for.
struct Asked {
    manifests: Vec<Found>,
    open: BTreeSet<(TaskId, SnapshotTag)>,
    unknown: Option<Retention>,
    now_ms: Option<u64>,
    forced: bool,
}

impl World {
    fn asked(&self, forced: bool, unknown: Option<Retention>) -> Asked {
        let (here, there) = (
            self.time.saturating_add_signed(self.skew) * 1000,
            self.time * 1000,
        );
        let manifests = self.buckets.iter().flat_map(|bucket| {
            bucket.manifests.keys().map(|key| Found {
                location: bucket.location.clone(),
                key: key.clone(),
            })
        });
        let open = self.runs.iter().map(|run| (run.task, run.tag.clone()));
        Asked {
            manifests: manifests.collect(),
            open: open.collect(),
            unknown,
            now_ms: retention::agreed(here, there, TOLERANCE),
            forced,
        }
    }

    fn question<'a>(&'a self, asked: &'a Asked) -> Question<'a> {
        Question {
            cluster: self.cluster,
            manifests: &asked.manifests,
            pinned: &self.pinned,
            tasks: &self.tasks,
            unknown: asked.unknown,
            open: &asked.open,
            now_ms: asked.now_ms,
            forced: asked.forced,
        }
    }

    /// By the rules, until nothing is left to do or the purge dies.
    pub(crate) fn purge(&mut self) {
        let forced = self.chance(0.05);
        let unknown = self.chance(0.2).then_some(Retention {
            retention_days: 30,
            ..Retention::default()
        });
        let before = self.served();
        let ended = self.rounds(|world| {
            let asked = world.asked(forced, unknown);
            let decision = retention::decide(&world.question(&asked));
            world.check_decision(&decision, true);
            Some(decision)
        });
        self.note(match ended {
            true => "purged",
            false => "a purge dies",
        });
        if !forced {
            self.check_served(&before);
        }
        if ended {
            self.check_clean();
        }
    }

    /// Purges until nothing is left to do, and looks whether nothing is left over.
    pub(crate) fn settle(mut self) {
        self.runs.clear();
        self.pinned.clear();
        self.skew = 0;
        let unknown = Some(Retention {
            retention: 1,
            ..Retention::default()
        });
        let ended = self.finish(|world| {
            let asked = world.asked(false, unknown);
            Some(retention::decide(&world.question(&asked)))
        });
        assert!(ended, "there is no end to it\n{}", self.log.join("\n"));
        self.check();
        self.check_clean();
    }

    /// Backups that a user names.
    pub(crate) fn delete(&mut self) {
        let there = self.asked(false, None).manifests;
        let count = self.rng.random_range(1..=2);
        let all = there.iter().map(|found| found.key.tag.clone());
        let named: BTreeSet<SnapshotTag> = all.sample(&mut self.rng, count).into_iter().collect();
        let forced = self.chance(0.3);
        let before = self.served();
        self.note(format!("{named:?} are to be deleted, forced: {forced}"));
        let mut first = true;
        let ended = self.rounds(|world| {
            let asked = world.asked(forced, None);
            let decided = retention::delete(&world.question(&asked), &named);
            let again = !std::mem::take(&mut first);
            match decided {
                Ok(decision) => {
                    world.check_decision(&decision, !forced);
                    Some(decision)
                }
                Err(refused) => {
                    let gone = matches!(refused, DeleteError::NotFound(_));
                    assert!(!again || gone, "{refused}\n{}", world.log.join("\n"));
                    world.note(refused.to_string());
                    None
                }
            }
        });
        self.note(if ended {
            "deleted"
        } else {
            "the deletion dies"
        });
        if !forced {
            self.check_served(&before);
        }
    }

    /// Decides and works in turns, and may die in between; whether it came to an end.
    fn rounds(&mut self, mut decide: impl FnMut(&mut Self) -> Option<Decision>) -> bool {
        for _ in 0..4 {
            let Some(decision) = decide(self) else {
                return true;
            };
            let mut work = decision.work();
            if work.is_empty() {
                return true;
            }
            work.shuffle(&mut self.rng);
            for one in work {
                let life = self.chance(0.1).then(|| self.rng.random_range(0..12));
                if !self.work(&one, life) {
                    return false;
                }
            }
            self.check();
        }
        panic!("there is no end to it\n{}", self.log.join("\n"));
    }

    fn finish(&mut self, mut decide: impl FnMut(&mut Self) -> Option<Decision>) -> bool {
        for _ in 0..4 {
            let work = decide(self).map(|decision| decision.work());
            let Some(work) = work.filter(|work| !work.is_empty()) else {
                return true;
            };
            for one in work {
                self.work(&one, None);
            }
        }
        false
    }

    /// One node's purge, which dies when its `life` is over; whether it did not.
    fn work(&mut self, work: &NodeWork, life: Option<u32>) -> bool {
        let mut buckets = self.buckets.iter();
        let at = buckets.position(|bucket| bucket.location == work.location);
        let at = at.unwrap();
        let before = self.buckets[at].clone();
        let mut model = before.clone();
        let ended = match self.purger.clone() {
            Purger::Model => self.on_model(&mut model, work, life),
            Purger::Store(runtime) => {
                let mirror = Mirror::new(&before, &self.pinned, work);
                let (stopped, after) = runtime.block_on(mirror.purge(work, life));
                if stopped {
                    model = after;
                } else {
                    // Nothing came in between, so it must come to the same.
                    self.on_model(&mut model, work, None);
                    assert_eq!(model.files, after.files);
                    assert_eq!(model.schemas, after.schemas);
                    assert!(model.manifests.keys().eq(after.manifests.keys()));
                }
                !stopped
            }
        };
        self.buckets[at] = model;
        ended
    }

    fn on_model(&mut self, bucket: &mut Bucket, work: &NodeWork, mut life: Option<u32>) -> bool {
        let there: Vec<ManifestKey> = bucket.of(&work.owner).map(|(key, _)| key.clone()).collect();
        let sorted = work.sort(there.iter(), &self.pinned);
        let mut candidates = Candidates::new(&work.owner);
        for key in &sorted.stale {
            for entry in &bucket.manifests[key].index {
                candidates.add(entry).unwrap();
            }
        }
        for dir in candidates.versioned() {
            for (key, _) in bucket.below(&dir.prefix()) {
                candidates.add_version(key, 1);
            }
        }
        let mut remaining = candidates.settle();
        for key in sorted.kept.iter().chain(&sorted.unseal) {
            for entry in &bucket.manifests[key].index {
                remaining.keep(&key.tag, entry).unwrap();
            }
        }
        let mut dies = || match &mut life {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        for step in remaining.steps(&sorted, &work.schemas, BATCH) {
            match step {
                Step::Unseal(key) => {
                    if dies() {
                        return false;
                    }
                    let manifest = Rc::clone(&bucket.manifests[&key]);
                    bucket.manifests.insert(key.with_temporary(true), manifest);
                    if dies() {
                        return false;
                    }
                    bucket.manifests.remove(&key);
                }
                Step::Delete(batch) => {
                    let cut = dies();
                    for key in &batch.keys {
                        // Cut short, a request may have done any part of its work.
                        if !cut || self.rng.random_bool(0.5) {
                            bucket.delete(key);
                        }
                    }
                    if cut {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// What nobody refers to is found, and removed, while no run is open.
    pub(crate) fn orphans(&mut self) {
        let Purger::Store(runtime) = self.purger.clone() else {
            return;
        };
        let at = self.rng.random_range(0..self.buckets.len());
        let owners = Self::owners(&self.buckets[at]);
        let owner = owners.into_iter().choose(&mut self.rng);
        let Some(owner) = owner.filter(|_| self.runs.is_empty()) else {
            return;
        };
        let gone = runtime.block_on(Mirror::of(&self.buckets[at]).orphans(&owner));
        self.note(format!("{} orphans are removed", gone.len()));
        let unneeded = Self::unneeded(&self.buckets[at], &owner);
        let pending = Self::pending(&self.buckets[at], &owner);
        let log = self.log.join("\n");
        assert!(gone.is_subset(&unneeded), "{gone:?}\n{log}");
        for left in unneeded.difference(&gone) {
            let planned = pending.iter().any(|plain| left.starts_with(plain));
            assert!(planned, "{left} is left\n{log}");
        }
        for key in gone {
            self.buckets[at].delete(&key);
        }
    }

    /// What unfinished manifests of a node list: what becomes of that is not known.
    fn pending(bucket: &Bucket, owner: &Owner) -> BTreeSet<String> {
        let unfinished = bucket.of(owner).filter(|(key, _)| key.temporary);
        let entries = unfinished.flat_map(|(_, manifest)| &manifest.index);
        let keys = entries.flat_map(|entry| {
            let dir = TableDir::new(owner, &entry.keyspace, &entry.table, entry.version).unwrap();
            let names = entry.files.iter().map(|file| file.name);
            names.map(move |name| dir.component(name).unwrap())
        });
        keys.collect()
    }
}

/// A bucket in memory that holds what a model does.
struct Mirror {
    stores: Stores,
    model: Bucket,
    pins: Vec<Pin>,
}

impl Mirror {
    fn of(model: &Bucket) -> Self {
        Self {
            stores: Stores::memory(),
            model: model.clone(),
            pins: Vec::new(),
        }
    }

    fn new(model: &Bucket, pinned: &BTreeSet<SnapshotTag>, work: &NodeWork) -> Self {
        let pins = pinned.iter().map(|tag| Pin {
            cluster: work.owner.cluster,
            tag: tag.clone(),
            reason: String::new(),
            since_ms: 0,
        });
        Self {
            pins: pins.collect(),
            ..Self::of(model)
        }
    }

    async fn open(&self) -> Store {
        let store = self.stores.open(&self.model.location).await.unwrap();
        self.fill(&store).await;
        store
    }

    async fn fill(&self, store: &Store) {
        for (key, content) in &self.model.files {
            let body = Bytes::from(content.to_string());
            store.put(key, body).await.unwrap();
        }
        for (key, manifest) in &self.model.manifests {
            let body = Bytes::from(manifest.to_bytes());
            store.put(&key.to_string(), body).await.unwrap();
        }
        for key in &self.model.schemas {
            store.put(key, Bytes::new()).await.unwrap();
        }
        for pin in &self.pins {
            bucket::pins::put(store, pin).await.unwrap();
        }
    }

    /// Purges, with at most `life` requests that change something; what it looks like then.
    async fn purge(&self, work: &NodeWork, life: Option<u32>) -> (bool, Bucket) {
        let store = self.open().await;
        let left = AtomicU32::new(life.unwrap_or(u32::MAX));
        let one = |left: u32| left.checked_sub(1);
        let guard = || {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one)
                .is_ok()
        };
        let would = purge(&store, work, &guard, true).await.unwrap();
        assert!(self.same(&store).await, "a dry run changes something");
        let report = purge(&store, work, &guard, false).await.unwrap();
        assert_eq!(report.failures, []);
        if !report.stopped && work.unseal.is_empty() {
            assert_eq!(
                report,
                Report {
                    unsealed: report.unsealed,
                    ..would
                }
            );
        }
        (report.stopped, self.read(&store).await)
    }

    async fn same(&self, store: &Store) -> bool {
        let now = self.read(store).await;
        now.files == self.model.files && now.manifests == self.model.manifests
    }

    /// Has the orphans of a node deleted; which they were.
    async fn orphans(&self, owner: &Owner) -> BTreeSet<String> {
        // Memory does not say when objects were written, and without that none is an orphan.
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("one")).unwrap();
        let settings = Settings {
            localstorage: LocalSettings {
                root: Some(root.path().to_owned()),
            },
            ..Settings::default()
        };
        let stores = Stores::new(settings).unwrap();
        let at = "localstorage:one".parse().unwrap();
        let store = stores.open(&at).await.unwrap();
        self.fill(&store).await;
        let check = Check {
            backup: None,
            select: &Select::default(),
            checksum: None,
            started_ms: u64::MAX,
            delete_orphans: Some(&|| true),
            progress: &|_| (),
        };
        let report = validate::node(&store, owner, &check).await.unwrap();
        let after = self.read(&store).await;
        let all = self.model.files.keys();
        let gone = all.filter(|key| !after.files.contains_key(*key));
        let gone: BTreeSet<String> = gone.cloned().collect();
        let counted = (report.orphaned_files, report.deleted_files);
        assert_eq!(counted, (gone.len() as u64, gone.len() as u64));
        assert_eq!((report.missing_files, report.recent_files), (0, 0));
        gone
    }

    async fn read(&self, store: &Store) -> Bucket {
        let mut bucket = Bucket {
            files: BTreeMap::new(),
            manifests: BTreeMap::new(),
            schemas: BTreeSet::new(),
            location: self.model.location.clone(),
        };
        let all: Vec<store::Object> = store.list("backup/").try_collect().await.unwrap();
        for object in all {
            let body = store.get(&object.key).await.unwrap();
            if let Ok(key) = object.key.parse::<ManifestKey>() {
                let manifest = Manifest::read(&body[..], &key).unwrap();
                bucket.manifests.insert(key, Rc::new(manifest));
            } else if object.key.starts_with(catalog::key::SCHEMAS) {
                bucket.schemas.insert(object.key);
            } else {
                let content = std::str::from_utf8(&body).unwrap().parse().unwrap();
                bucket.files.insert(object.key, content);
            }
        }
        bucket
    }
}
