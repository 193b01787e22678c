//! What is done to the bucket, in which order.

use std::{iter::Peekable, sync::Arc};

use super::{Remaining, table::Left};
use crate::{
    key::{ManifestKey, SchemaKey},
    retention::Sorted,
};

/// Keys of one batch at most: what S3 deletes by one request.
pub const BATCH: usize = 1_000;

/// One change of the bucket. Each is safe to do twice, and to do in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a finished manifest an unfinished one: copy it to its temporary key, in place of what
    /// may be there; then delete it.
    Unseal(ManifestKey),
    /// Delete objects.
    Delete(Batch),
}

/// Objects to be deleted by one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What they are. Nothing of a later phase may go before all of the earlier ones is gone.
    pub phase: Phase,
    /// Their keys. They may not exist.
    pub keys: Vec<String>,
    /// Their bytes, as far as they are known.
    pub bytes: u64,
}

/// What goes before what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Files of SSTables.
    Components,
    /// Older versions of such.
    Versions,
    /// ScyllaDB's own manifests.
    Lists,
    /// Schema files.
    Schemas,
    /// Unfinished manifests, and what was made of finished ones.
    Manifests,
}

type Objects = Box<dyn Iterator<Item = (Phase, String, u64)> + Send>;

/// The steps of a purge, in order.
pub struct Steps {
    unseal: std::vec::IntoIter<ManifestKey>,
    objects: Peekable<Objects>,
    batch: usize,
}

impl Remaining {
    /// All that is to be done, in batches of at most `batch` keys.
    ///
    /// Of `manifests`, the stale are those whose files were added, and all others those that have
    /// struck out theirs; `schemas` are those that no manifest which stays belongs to.
    #[must_use]
    pub fn steps(self, manifests: &Sorted, schemas: &[SchemaKey], batch: usize) -> Steps {
        let finished = manifests.stale.iter().filter(|key| !key.temporary);
        let unseal: Vec<ManifestKey> = finished.chain(&manifests.unseal).cloned().collect();
        let mut temporary: Vec<String> = manifests
            .stale
            .iter()
            .map(|key| key.with_temporary(true).to_string())
            .collect();
        temporary.sort();
        temporary.dedup();
        let schemas: Vec<String> = schemas.iter().map(SchemaKey::to_string).collect();
        let notes = of(Phase::Schemas, schemas).chain(of(Phase::Manifests, temporary));
        let objects: Objects = Box::new(self.objects().chain(notes));
        Steps {
            unseal: unseal.into_iter(),
            objects: objects.peekable(),
            batch: batch.max(1),
        }
    }

    /// Everything that is left, with its bytes, in the order in which it may be deleted.
    pub fn objects(self) -> impl Iterator<Item = (Phase, String, u64)> + Send {
        let kinds = Arc::new(self.kinds);
        let tables = self.tables.into_iter();
        let tables = tables.map(|(dir, table)| (dir.prefix(), table.into_left()));
        let mut tables: Vec<(String, Left)> = tables.collect();
        let mut rest = Vec::new();
        for (phase, take) in [
            (Phase::Versions, versions as fn(&mut Left) -> _),
            (Phase::Lists, lists),
        ] {
            for (prefix, table) in &mut tables {
                let named = take(table).into_iter();
                rest.extend(named.map(|(name, bytes)| (phase, format!("{prefix}{name}"), bytes)));
            }
        }
        let components = tables.into_iter().flat_map(move |(prefix, mut table)| {
            let names = table.take_components(&kinds);
            names.map(move |(name, bytes)| (Phase::Components, format!("{prefix}{name}"), bytes))
        });
        components.chain(rest)
    }
}

fn versions(table: &mut Left) -> Vec<(String, u64)> {
    std::mem::take(&mut table.versions)
}

fn lists(table: &mut Left) -> Vec<(String, u64)> {
    let lists = std::mem::take(&mut table.lists).into_iter();
    lists.map(|(name, bytes)| (name.into(), bytes)).collect()
}

fn of(phase: Phase, keys: Vec<String>) -> impl Iterator<Item = (Phase, String, u64)> + Send {
    keys.into_iter().map(move |key| (phase, key, 0))
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if let Some(key) = self.unseal.next() {
            return Some(Step::Unseal(key));
        }
        let (phase, key, mut bytes) = self.objects.next()?;
        let mut keys = vec![key];
        while keys.len() < self.batch
            && let Some((_, key, more)) = self.objects.next_if(|(next, ..)| *next == phase)
        {
            keys.push(key);
            bytes += more;
        }
        Some(Step::Delete(Batch { phase, keys, bytes }))
    }
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steps")
            .field("unseal", &self.unseal)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}
