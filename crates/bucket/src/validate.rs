//! Whether the backups in a bucket are whole, and what lies there that no backup needs.
//!
//! # Promises
//! * A file counts as missing only if it was not there in a listing and, looked for again, was still
//!   not there; and a backup as broken only if it is still there in the end. So backups that are
//!   made, finished or removed meanwhile raise no false alarm.
//! * An object is an orphan only if it was there *before* any manifest or plan was looked for, and
//!   none of those, read to the last, means it. One written after the check began never is, nor is
//!   one whose time is not known, nor one whose name has no form that belongs there.
//! * Where a manifest or a plan cannot be read, or a new one appears before the first delete,
//!   nothing of that node is an orphan.
//! * Each manifest is read once, a table at a time.
//!
//! # Memory
//! Some 50 bytes for each object of a node, of [`NODES`] nodes at once; with checksums some 60 more
//! for each that can be checked.
//!
//! # Not here
//! Nobody may begin a backup of a cluster whose orphans are deleted: it could find an object here
//! that is about to go. The guard says whether the caller still holds what sees to that.

mod content;
mod objects;
mod orphans;
mod report;
mod whole;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use catalog::{
    Manifest, TableEntry,
    key::{ManifestKey, Owner, TableDir},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::SnapshotTag;
use store::Store;
use tokio::time::timeout;

pub(crate) use self::content::read_digest;
use self::{
    objects::{Claim, Claimant, Objects, Set},
    orphans::Claims,
};
pub use self::{
    orphans::Guard,
    report::{Finding, Kind, NodeReport, Report, SchemaFinding},
    whole::{NODES, all},
};
use crate::{
    Error, error::chain, files::Select, listing::BackupId, purge::LIMIT, reading::Reading,
};

/// Manifests of a node fetched ahead of the one that is looked at.
const AHEAD: usize = 4;
/// How often new manifests are looked for.
const ROUNDS: usize = 3;
/// Missing files that are looked for again.
const AGAIN: usize = 1_000;

/// What to check, and how.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    /// The backup; `None` for all. Of one backup alone, orphans cannot be told.
    pub backup: Option<&'a BackupId>,
    /// The tables, datacenters and node.
    pub select: &'a Select,
    /// How many bytes to read at most to compare checksums; `None` for names and sizes only.
    pub checksum: Option<u64>,
    /// When the check began, in milliseconds since 1970; best by the bucket's clock.
    pub started_ms: u64,
    /// Whether orphans are deleted: asked before each request.
    pub delete_orphans: Option<Guard<'a>>,
    /// Told of what was done.
    pub progress: &'a (dyn Fn(Step) + Send + Sync),
}

/// Something that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many more objects were listed.
    Listed(u64),
    /// A manifest was read.
    Manifest,
    /// So much more is going to be read to compare checksums.
    Planned {
        /// Objects.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// So many bytes more were read.
    Read(u64),
    /// So many objects more were deleted.
    Deleted(u64),
}

/// Checks what backups hold of a node in one bucket.
///
/// # Errors
/// Those of the bucket, but not of single objects.
pub async fn node(store: &Store, owner: &Owner, check: &Check<'_>) -> Result<NodeReport, Error> {
    Ok(examine(store, owner, check).await?.0)
}

/// The schema files that finished manifests name, each with one of those manifests.
type Named = BTreeMap<BackupId, BTreeMap<String, ManifestKey>>;

async fn examine(
    store: &Store,
    owner: &Owner,
    check: &Check<'_>,
) -> Result<(NodeReport, Named), Error> {
    let mut node = Node {
        store,
        owner,
        check,
        objects: list(store, owner, check).await?,
        read: Vec::new(),
        seen: BTreeSet::new(),
        unreadable: BTreeMap::new(),
        heads: BTreeMap::new(),
        host: String::new(),
    };
    node.manifests().await?;
    node.look_again().await?;
    let mut report = NodeReport::new(store, owner);
    if check.backup.is_none() {
        node.orphans(&mut report).await?;
    }
    if let Some(most) = check.checksum {
        let covered = content::check(store, &mut node.objects, most, check.progress).await?;
        report.cover(covered);
    }
    let gone = node.gone().await?;
    report.fill(&node, &gone);
    Ok((report, node.heads))
}

/// What is known of a node.
struct Node<'a> {
    store: &'a Store,
    owner: &'a Owner,
    check: &'a Check<'a>,
    objects: Objects,
    /// Finished manifests that were read, by their number.
    read: Vec<ManifestKey>,
    /// All manifests that were looked at.
    seen: BTreeSet<ManifestKey>,
    unreadable: BTreeMap<ManifestKey, String>,
    heads: Named,
    /// The node's address, as the newest manifest has it.
    host: String,
}

async fn list(store: &Store, owner: &Owner, check: &Check<'_>) -> Result<Objects, Error> {
    let mut objects = Objects::default();
    let mut listed = store.list(&owner.components()).chunks(1_000);
    let takes = |dir: &TableDir| check.select.filter.takes(&dir.keyspace, &dir.table);
    while let Some(page) = listed.next().await {
        (check.progress)(Step::Listed(page.len() as u64));
        for object in page {
            let object = object?;
            let late = object.written_ms.is_none_or(|ms| ms >= check.started_ms);
            objects.add(&object.key, (object.bytes, late), takes);
        }
    }
    Ok(objects)
}

impl Node<'_> {
    /// Reads all manifests, also those that appear meanwhile.
    async fn manifests(&mut self) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            let mut fresh = orphans::manifests(self.store, self.owner).await?;
            fresh.retain(|(key, _)| self.wants(key) && !self.seen.contains(key));
            if fresh.is_empty() {
                break;
            }
            let store = self.store;
            let reads = fresh.into_iter().map(|(key, bytes)| async move {
                let begun = Reading::begin(store, (&key, bytes)).await;
                (key, begun)
            });
            let mut reads = stream::iter(reads).buffered(AHEAD);
            while let Some((key, begun)) = reads.next().await {
                let read = match begun {
                    Ok(reading) => self.manifest(&key, reading).await,
                    Err(cause) => Err(cause),
                };
                self.note(key, read)?;
                (self.check.progress)(Step::Manifest);
            }
        }
        Ok(())
    }

    fn wants(&self, key: &ManifestKey) -> bool {
        let backup = self.check.backup;
        backup.is_none_or(|id| !key.temporary && *id == BackupId::from(key))
    }

    async fn manifest(
        &mut self,
        key: &ManifestKey,
        mut reading: Reading,
    ) -> Result<Manifest, Error> {
        let backup = (!key.temporary).then(|| {
            self.read.push(key.clone());
            u32::try_from(self.read.len() - 1).expect("fewer manifests than bytes of memory")
        });
        let by = Claimant {
            tag: &key.tag,
            backup,
        };
        while let Some(entry) = reading.next().await {
            self.table(&entry, by)?;
        }
        reading.end().await
    }

    fn table(&mut self, entry: &TableEntry, by: Claimant<'_>) -> Result<(), Error> {
        if !self
            .check
            .select
            .filter
            .takes(&entry.keyspace, &entry.table)
        {
            return Ok(());
        }
        let dir = TableDir::new(self.owner, &entry.keyspace, &entry.table, entry.version)?;
        for file in entry.files.iter() {
            let claim = Claim {
                name: file.name,
                bytes: file.bytes,
                crc32: file.crc32,
            };
            self.objects.claim(&dir, claim, by)?;
        }
        for name in &entry.scylla_manifests {
            let claim = Claim {
                name,
                bytes: None,
                crc32: None,
            };
            self.objects.claim(&dir, claim, by)?;
        }
        Ok(())
    }

    /// Notes how reading a manifest ended.
    fn note(&mut self, key: ManifestKey, read: Result<Manifest, Error>) -> Result<(), Error> {
        match read {
            Ok(head) if !key.temporary => {
                if !head.schema.is_empty() {
                    let named = self.heads.entry(BackupId::from(&key)).or_default();
                    named.insert(head.schema, key.clone());
                }
                self.host = head.info.ip;
            }
            Ok(_) => {}
            // Finished or removed meanwhile: what came of it, if anything, is listed next.
            Err(cause) if cause.gone() => {}
            Err(cause @ Error::Store(store::Error::NoBucket { .. })) => return Err(cause),
            Err(cause) if cause.retry() => return Err(cause),
            Err(cause) => {
                self.unreadable.insert(key.clone(), chain(&cause));
            }
        }
        self.seen.insert(key);
        Ok(())
    }

    /// Looks for missing files once more: they may have been moved while others were listed.
    async fn look_again(&mut self) -> Result<(), Error> {
        let missing = self.objects.iter().filter(|found| found.part.state.absent);
        let missing: Vec<_> = missing
            .take(AGAIN)
            .map(|found| (found.place(), found.key()))
            .collect();
        let store = self.store;
        let looks = missing
            .into_iter()
            .map(|(place, key)| async move { Ok::<_, Error>((place, store.bytes(&key).await?)) });
        let looks: Vec<_> = stream::iter(looks)
            .buffer_unordered(16)
            .try_collect()
            .await?;
        for (place, bytes) in looks {
            if let (Some(part), Some(bytes)) = (self.objects.at(&place), bytes) {
                part.state.absent = false;
                part.state.late = true;
                part.bytes = bytes;
            }
        }
        Ok(())
    }

    /// Finds out which objects nothing means, and deletes them if that is asked for.
    async fn orphans(&mut self, report: &mut NodeReport) -> Result<(), Error> {
        let any = |node: &Self| node.objects.iter().any(|found| found.unclaimed());
        if !any(self) {
            return Ok(());
        }
        if let Some(key) = self.unreadable.keys().next() {
            report.orphans_unknown = Some(format!("`{key}` cannot be read"));
            return Ok(());
        }
        let claims = Claims::list(self.store, self.owner).await?;
        let known = orphans::plans(self.store, self.owner, &claims.notes, &mut self.objects).await;
        match known {
            Ok(()) => {}
            Err(cause @ Error::Document { .. }) => {
                report.orphans_unknown = Some(chain(&cause));
                return Ok(());
            }
            Err(cause) => return Err(cause),
        }
        let before = Claims {
            manifests: self.seen.clone(),
            notes: claims.notes,
        };
        for found in self.objects.iter().filter(|found| found.unclaimed()) {
            report.orphan(&found);
        }
        match self.check.delete_orphans {
            Some(guard) if report.orphaned_files > 0 => self.delete(&before, guard, report).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn delete(
        &self,
        before: &Claims,
        guard: Guard<'_>,
        report: &mut NodeReport,
    ) -> Result<(), Error> {
        let now = Claims::list(self.store, self.owner).await?;
        if !before.covers(&now) {
            report.deletion_stopped = Some("a backup or a restore began meanwhile".to_owned());
            return Ok(());
        }
        let mut orphans = self.objects.iter().filter(report::is_orphan);
        loop {
            let batch = orphans.by_ref().take(orphans::DELETED_AT_ONCE);
            let keys: Vec<String> = batch.map(|found| found.key()).collect();
            if keys.is_empty() {
                return Ok(());
            }
            if !guard() {
                report.deletion_stopped = Some("whoever asked for it no longer may".to_owned());
                return Ok(());
            }
            // Whoever may no longer delete has to know when the last request is over.
            let stopped = match timeout(LIMIT, self.store.delete(&keys)).await {
                Ok(Ok(())) => None,
                Ok(Err(cause)) => Some(chain(&cause)),
                Err(_) => Some(format!("not deleted within {} s", LIMIT.as_secs())),
            };
            if stopped.is_some() {
                report.deletion_stopped = stopped;
                return Ok(());
            }
            report.deleted_files += keys.len() as u64;
            (self.check.progress)(Step::Deleted(keys.len() as u64));
        }
    }

    /// Manifests with something wrong that are gone by now: their backups are being removed.
    async fn gone(&self) -> Result<BTreeSet<ManifestKey>, Error> {
        let sets = self.objects.iter().flat_map(|found| {
            let wrong = found.part.wrong;
            [report::broken(&found), wrong]
        });
        let sets: HashSet<Set> = sets.collect();
        let numbers = sets.into_iter().flat_map(|set| self.objects.backups(set));
        let numbers: BTreeSet<u32> = numbers.collect();
        let unreadable = self.unreadable.keys();
        let read = numbers.iter().map(|number| &self.read[*number as usize]);
        let mut gone = BTreeSet::new();
        for key in read.chain(unreadable) {
            if self.store.bytes(&key.to_string()).await?.is_none() {
                gone.insert(key.clone());
            }
        }
        Ok(gone)
    }

    /// The backups of a set whose manifests could be read and are still there.
    fn tags(&self, set: Set, gone: &BTreeSet<ManifestKey>) -> BTreeSet<SnapshotTag> {
        let manifests = self.objects.backups(set).into_iter();
        let manifests = manifests.map(|number| &self.read[number as usize]);
        let there =
            manifests.filter(|key| !gone.contains(key) && !self.unreadable.contains_key(key));
        there.map(|key| key.tag.clone()).collect()
    }
}
