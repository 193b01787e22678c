//! Purging a node's place in a bucket.
//!
//! # Promises
//! * What is to go was decided by the caller; what that takes away is found out here, from all
//!   manifests of the node that a fresh listing shows. One that the caller did not call stale
//!   counts, whether the caller knew it or not.
//! * One manifest that cannot be read, or one key among the manifests that is none, and nothing is
//!   deleted.
//! * A backup that was pinned since the decision stays.
//! * `guard` is asked before each request that changes something, and before each manifest that is
//!   fetched; once it says no, nothing is changed any more, and what is on its way then is there or
//!   given up after [`LIMIT`].
//! * A manifest goes only when all that goes with it is gone. If something cannot be deleted, it
//!   stays, unfinished, and the next purge tries again.
//!
//! # Crashes
//! Nothing is remembered. See [`catalog::purge`] for why that is enough.
//!
//! # Not here
//! Locks: the caller makes sure that no backup of the node is being planned.

mod read;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use catalog::{
    key::{ManifestKey, Owner, SchemaKey},
    purge::{Candidates, Remaining},
    retention::{NodeWork, Sorted},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{SnapshotTag, TaskId};
use store::Store;

pub use self::steps::LIMIT;
use self::{
    read::{Copy, Shelf, visit},
    steps::Purge,
};
use crate::{Error, pins, retention};

/// Manifests fetched at once, and small objects.
const READS: usize = 4;

/// What a purge of one node did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Backups of which the node has nothing any more.
    pub backups: BTreeSet<(TaskId, SnapshotTag)>,
    /// Finished manifests made unfinished ones.
    pub unsealed: u64,
    /// Manifests removed.
    pub manifests: u64,
    /// Objects removed beside manifests and schema files, whether or not they were there.
    pub files: u64,
    /// Their bytes, as far as they are known: Manager's manifests tell none.
    pub bytes: u64,
    /// Files of the removed backups that stay, because others refer to them.
    pub kept: u64,
    /// What could not be removed.
    pub failures: Vec<Failed>,
    /// Whether `guard` ended it.
    pub stopped: bool,
}

/// Objects that were not removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// How many.
    pub keys: usize,
    /// Why the first of them was not; the others may be gone.
    pub cause: String,
}

/// Removes a node's stale manifests and what only they refer to.
///
/// Doing it again does what is left to be done; with `dry_run` nothing is changed, `guard` is not
/// asked, and the report says what would be.
///
/// # Errors
/// [`Error`], if not everything is known that must be; nothing was deleted then.
pub async fn purge(
    store: &Store,
    work: &NodeWork,
    guard: &(impl Fn() -> bool + Sync),
    dry_run: bool,
) -> Result<Report, Error> {
    if store.location() != &work.location {
        return Err(Error::Elsewhere {
            expected: work.location.to_string(),
            found: store.location().to_string(),
        });
    }
    match begin(store, work, guard, dry_run).await {
        Err(Error::Stopped) => Ok(Report {
            stopped: true,
            ..Report::default()
        }),
        done => done,
    }
}

async fn begin<G: Fn() -> bool + Sync>(
    store: &Store,
    work: &NodeWork,
    guard: &G,
    dry_run: bool,
) -> Result<Report, Error> {
    let there = manifests(store, &work.owner).await?;
    let pinned = pins::tags(store, work.owner.cluster).await?;
    let mut sorted = work.sort(there.keys(), &pinned);
    if dry_run {
        // Shown as one, though it takes a second round.
        sorted.stale.append(&mut sorted.unseal);
    }
    let looking: &(dyn Fn() -> bool + Sync) = match dry_run {
        true => &|| true,
        false => guard,
    };
    let shelf = Shelf::new(store, there, looking)?;
    let mut copies = Copies::new();
    let all = condemn(&shelf, &work.owner, &mut sorted.stale, &mut copies).await?;
    let before = all.totals().files;
    // Where nothing is to go, nothing has to be known of the others.
    let kept = match sorted.stale.is_empty() {
        true => Vec::new(),
        false => std::mem::take(&mut sorted.kept),
    };
    let remaining = keep(&shelf, all, kept).await?;
    let remaining = lend(&shelf, remaining, &mut sorted.unseal, &mut copies).await?;
    let mut purge = Purge {
        store,
        guard,
        copies,
        report: Report {
            kept: before - remaining.totals().files,
            ..Report::default()
        },
    };
    let steps = remaining.steps(&sorted, &schemas(work, &sorted), catalog::purge::BATCH);
    match dry_run {
        true => purge.pretend(steps),
        false => purge.run(steps).await,
    }
    Ok(purge.report)
}

/// Schema files of the backups that still go.
fn schemas(work: &NodeWork, sorted: &Sorted) -> Vec<SchemaKey> {
    let goes = |schema: &&SchemaKey| {
        let of = |key: &ManifestKey| (key.task, &key.tag) == (schema.task, &schema.tag);
        sorted.stale.iter().any(of)
    };
    work.schemas.iter().filter(goes).cloned().collect()
}

/// A node's manifests, with their bytes.
async fn manifests(store: &Store, owner: &Owner) -> Result<BTreeMap<ManifestKey, u64>, Error> {
    let mut listed = store.list(&owner.manifests());
    let mut there = BTreeMap::new();
    while let Some(object) = listed.try_next().await? {
        match retention::parse(&object.key) {
            Ok(Some(key)) => {
                there.insert(key, object.bytes);
            }
            Ok(None) => {}
            Err(key) => {
                return Err(Error::Strange {
                    key,
                    location: store.location().to_string(),
                    what: "a manifest",
                });
            }
        }
    }
    Ok(there)
}

/// Finished manifests on the local disk that are needed there once more.
type Copies = BTreeMap<ManifestKey, Copy>;

/// Finds out what goes with the stale manifests, if nobody else needs it. Those that are gone were
/// purged before, and are left out.
async fn condemn(
    shelf: &Shelf<'_>,
    owner: &Owner,
    stale: &mut Vec<ManifestKey>,
    copies: &mut Copies,
) -> Result<Remaining, Error> {
    let mut candidates = Candidates::new(owner);
    for key in std::mem::take(stale) {
        let Some(copy) = shelf.fetch(&key).await? else {
            continue;
        };
        let add = |candidates: &mut Candidates, entry: &_| Ok(candidates.add(entry)?);
        candidates = visit(&copy, &key, candidates, add).await?;
        if !key.temporary {
            copies.insert(key.clone(), copy);
        }
        stale.push(key);
    }
    for dir in candidates.versioned() {
        let mut listed = shelf.store().list(&dir.prefix());
        while let Some(object) = listed.try_next().await? {
            candidates.add_version(&object.key, object.bytes);
        }
    }
    Ok(candidates.settle())
}

/// Strikes out what those refer to that are yet to lose their files, which come next time.
async fn lend(
    shelf: &Shelf<'_>,
    mut remaining: Remaining,
    unseal: &mut Vec<ManifestKey>,
    copies: &mut Copies,
) -> Result<Remaining, Error> {
    for key in std::mem::take(unseal) {
        let Some(copy) = shelf.fetch(&key).await? else {
            continue;
        };
        remaining = strike(remaining, &key, &copy).await?;
        copies.insert(key.clone(), copy);
        unseal.push(key);
    }
    Ok(remaining)
}

async fn strike(remaining: Remaining, key: &ManifestKey, copy: &Copy) -> Result<Remaining, Error> {
    let tag = key.tag.clone();
    visit(copy, key, remaining, move |remaining, entry| {
        Ok(remaining.keep(&tag, entry)?)
    })
    .await
}

/// Strikes out what the other manifests refer to.
async fn keep(
    shelf: &Shelf<'_>,
    mut remaining: Remaining,
    kept: Vec<ManifestKey>,
) -> Result<Remaining, Error> {
    let fetched = kept.into_iter().map(|key| shelf.find(key));
    let mut fetched = stream::iter(fetched).buffered(READS);
    while let Some(found) = fetched.try_next().await? {
        if let Some((key, copy)) = found {
            remaining = strike(remaining, &key, &copy).await?;
        }
    }
    Ok(remaining)
}
