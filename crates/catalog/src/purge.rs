//! Purge: which objects go with a node's manifests that are to go.
//!
//! Candidates are the files that the stale manifests list. Then every other manifest of the node,
//! finished or not, of whatever task, strikes out what it refers to; what remains may go.
//!
//! # What a manifest refers to
//! A backup that puts another file in the place of one of the same name first moves that one to
//! `<name>.<tag of the backup>`. So for a manifest of tag T that lists `<name>`, the file is the
//! version with the smallest tag after T, or else the plain object. That rule decides here, too: an
//! object goes if no remaining manifest comes to it by that rule, be it plain or a version.
//!
//! ScyllaDB Manager removes a version once its tag is not after the oldest backup of the cluster,
//! and a plain object once no other manifest has its name. Both follow from the rule, but leave
//! more than it does: a plain object stays while a manifest has its name that means a version, and
//! a single old backup keeps versions of which it has not even the name. The rule itself is as
//! safe, since nothing it removes is found by anything that remains, now or later: the smallest
//! tag after T stays the smallest when others go. It needs a listing that shows the versions; one
//! that is missing there is not deleted, and makes its manifest hold the plain object instead.
//!
//! It does rest on this: whoever makes a version has a tag after that of every manifest of the
//! node. Otherwise the manifests of later tags would be wrong at once, with no purge at all.
//!
//! An unfinished manifest refers to what it will refer to when it is finished, by the same rule.
//!
//! # Order
//! First each stale manifest that is finished becomes an unfinished one; then components go, older
//! versions, ScyllaDB's own manifests, schema files, and the unfinished manifests last. So a
//! finished manifest lists nothing that is not there, not even for a moment, and whatever dies
//! when, a manifest is left that tells what is still to be done. Doing it again does the rest. A
//! backup of several nodes loses all its finished manifests before the first file: see
//! [`crate::retention::Decision::work`].
//!
//! Manager keeps the finished manifest until the end instead. But a delete that is cut short and
//! not taken up again then leaves what looks like the newest good backup, and the next retention
//! removes the good ones for it.
//!
//! # Memory
//! Of the stale manifests' files, each SSTable's name once and a set of its components; nothing of
//! the other manifests. Each manifest is read once.
//!
//! # Not here
//! Which manifests are stale is [`crate::retention`]'s. Nobody may plan a backup of the node
//! meanwhile: it could find a file here that is about to go. The cluster's lock sees to that.

mod steps;
mod table;

use std::collections::BTreeMap;

use protocol::SnapshotTag;

pub use self::steps::{BATCH, Batch, Phase, Step, Steps};
use self::table::{Kinds, Table};
use crate::{
    InvalidSegment, TableEntry,
    key::{ComponentKey, Owner, ScyllaManifestKey, TableDir},
};

/// What may go of one node, before anybody has said what it needs.
#[derive(Debug)]
pub struct Candidates {
    owner: Owner,
    kinds: Kinds,
    tables: BTreeMap<TableDir, Table>,
}

/// What may go of one node, without what manifests have struck out so far.
#[derive(Debug)]
pub struct Remaining {
    owner: Owner,
    kinds: Kinds,
    tables: BTreeMap<TableDir, Table>,
}

/// How much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Objects.
    pub files: u64,
    /// Their bytes, as far as they are known: Manager's manifests tell none.
    pub bytes: u64,
}

impl Candidates {
    /// Nothing yet.
    #[must_use]
    pub fn new(owner: &Owner) -> Self {
        Self {
            owner: owner.clone(),
            kinds: Kinds::default(),
            tables: BTreeMap::new(),
        }
    }

    /// Adds a table of a manifest that is to go.
    ///
    /// # Errors
    /// [`InvalidSegment`] if a name cannot be part of a key.
    pub fn add(&mut self, entry: &TableEntry) -> Result<(), InvalidSegment> {
        let dir = dir_of(&self.owner, entry)?;
        let table = self.tables.entry(dir.clone()).or_default();
        for file in entry.files.iter() {
            table.add(&mut self.kinds, file.name, file.bytes.unwrap_or_default());
        }
        for name in &entry.scylla_manifests {
            // Only what has the form of one: else a manifest could take any object away with it.
            let text = dir.component(name)?;
            if text.parse::<ScyllaManifestKey>().is_ok() {
                table.add_list(name, 0);
            }
        }
        Ok(())
    }

    /// Tables whose directories may hold older versions, and must be listed: those that have
    /// SSTables whose ids are integers.
    ///
    /// Versions that Manager made of SSTables with other ids stay, as orphans.
    #[must_use]
    pub fn versioned(&self) -> Vec<TableDir> {
        let tables = self.tables.iter().filter(|(_, table)| table.integer());
        tables.map(|(dir, _)| dir.clone()).collect()
    }

    /// Adds an object of a listing, if it is an older version.
    pub fn add_version(&mut self, key: &str, bytes: u64) {
        if let Some(key) = self.component(key)
            && let Some(tag) = key.replaced_by
        {
            let table = self.tables.entry(key.dir).or_default();
            table.add_version(&key.name, tag, bytes);
        }
    }

    fn component(&self, key: &str) -> Option<ComponentKey> {
        let key = key.parse::<ComponentKey>().ok();
        key.filter(|key| key.dir.owner == self.owner)
    }

    /// No more will be added: now manifests may say what they need.
    #[must_use]
    pub fn settle(self) -> Remaining {
        Remaining {
            owner: self.owner,
            kinds: self.kinds,
            tables: self.tables,
        }
    }
}

impl Remaining {
    /// Strikes out what a table of a manifest that stays refers to, one of a backup of that tag.
    ///
    /// # Errors
    /// [`InvalidSegment`] if a name cannot be part of a key.
    pub fn keep(&mut self, tag: &SnapshotTag, entry: &TableEntry) -> Result<(), InvalidSegment> {
        let dir = dir_of(&self.owner, entry)?;
        let Some(table) = self.tables.get_mut(&dir) else {
            return Ok(());
        };
        for file in entry.files.iter() {
            let bytes = file.bytes.unwrap_or_default();
            table.strike(&self.kinds, tag, file.name, bytes);
        }
        for name in &entry.scylla_manifests {
            table.strike_list(name);
        }
        Ok(())
    }

    /// How much is left.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let tables = self.tables.values().map(Table::totals);
        tables.fold(Totals::default(), |sum, table| Totals {
            files: sum.files + table.files,
            bytes: sum.bytes + table.bytes,
        })
    }
}

fn dir_of(owner: &Owner, entry: &TableEntry) -> Result<TableDir, InvalidSegment> {
    TableDir::new(owner, &entry.keyspace, &entry.table, entry.version)
}

#[cfg(test)]
mod tests;
