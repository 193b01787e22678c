//! Sealing: a manifest is finished from receipts, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Chunk, Manifest, NodePlan, Receipt, TableEntry, TableVersion,
    key::{ComponentKey, InvalidKey},
};

/// Why a manifest cannot be finished. The plan and its receipts do not prove it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Chunks have no receipt.
    #[error("{count} chunks have no receipt, the first is {first}")]
    Missing {
        /// The lowest number.
        first: u32,
        /// How many.
        count: usize,
    },
    /// A receipt is not its chunk's.
    #[error("the receipt of chunk {chunk} does not fit it: {why}")]
    Misfit {
        /// The chunk's number.
        chunk: u32,
        /// What is wrong.
        why: String,
    },
    /// A key in a chunk is none.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// A chunk has a file that the manifest does not list.
    #[error("the manifest does not list `{0}`")]
    Unlisted(String),
    /// What is proven is not what the manifest lists.
    #[error("{proven} are proven, but the manifest lists {listed}")]
    Sum {
        /// Files and bytes proven.
        proven: String,
        /// Files and bytes listed.
        listed: String,
    },
}

/// Finishes a temporary manifest, receipt by receipt.
#[derive(Debug)]
pub struct Sealer {
    manifest: Manifest,
    tables: BTreeMap<(String, String, TableVersion), usize>,
    waiting: BTreeSet<u32>,
    /// Of each entry, how many files have a receipt.
    proven: Vec<usize>,
    files: u64,
    bytes: u64,
}

impl Sealer {
    /// Begins with a plan and the temporary manifest that was written with it.
    #[must_use]
    pub fn new(plan: &NodePlan, mut manifest: Manifest) -> Self {
        let mut tables = BTreeMap::new();
        for (at, entry) in manifest.index.iter_mut().enumerate() {
            entry.files.sort();
            let name = (entry.keyspace.clone(), entry.table.clone(), entry.version);
            tables.insert(name, at);
        }
        Self {
            proven: vec![0; manifest.index.len()],
            manifest,
            tables,
            waiting: (0..plan.totals.chunks).collect(),
            files: plan.totals.skipped_files,
            bytes: plan.totals.skipped_bytes,
        }
    }

    /// Adds a chunk and its receipt. Adding it again changes nothing.
    ///
    /// # Errors
    /// [`SealError::Misfit`] if the receipt is not this chunk's or does not cover it,
    /// [`SealError::Unlisted`] if the manifest does not list what it covers.
    pub fn add(&mut self, chunk: &Chunk, receipt: &Receipt) -> Result<(), SealError> {
        let misfit = |why: String| SealError::Misfit {
            chunk: chunk.chunk,
            why,
        };
        if chunk.chunk != receipt.chunk || chunk.files.len() != receipt.files.len() {
            return Err(misfit(format!(
                "it is of chunk {} with {} files, not {}",
                receipt.chunk,
                receipt.files.len(),
                chunk.files.len()
            )));
        }
        if !self.waiting.contains(&chunk.chunk) {
            return Ok(());
        }
        for (planned, stored) in chunk.files.iter().zip(&receipt.files) {
            let same = planned.key == stored.key
                && planned.bytes == stored.bytes
                && planned.crc32.is_none_or(|crc32| crc32 == stored.crc32);
            if !same {
                return Err(misfit(format!("`{}` differs", planned.key)));
            }
            self.file(stored)?;
        }
        self.waiting.remove(&chunk.chunk);
        self.files += chunk.files.len() as u64;
        self.bytes += chunk.bytes();
        Ok(())
    }

    fn file(&mut self, stored: &crate::ReceiptFile) -> Result<(), SealError> {
        let key: ComponentKey = stored.key.parse()?;
        let owner = &key.dir.owner;
        let ours = owner.cluster == self.manifest.cluster
            && owner.node == self.manifest.node
            && owner.dc == self.manifest.dc
            && key.replaced_by.is_none();
        let unlisted = || SealError::Unlisted(stored.key.clone());
        let table = (key.dir.keyspace, key.dir.table, key.dir.version);
        let at = *self
            .tables
            .get(&table)
            .filter(|_| ours)
            .ok_or_else(unlisted)?;
        self.proven[at] += 1;
        let files = &mut self.manifest.index[at].files;
        let at = files.find(&key.name).ok_or_else(unlisted)?;
        let listed = files.get(at).and_then(|file| file.bytes);
        if listed.is_some_and(|bytes| bytes != stored.bytes) {
            return Err(unlisted());
        }
        files.set(at, stored.bytes, stored.crc32);
        Ok(())
    }

    /// Numbers of the chunks still to be added.
    #[must_use]
    pub fn waiting(&self) -> &BTreeSet<u32> {
        &self.waiting
    }

    /// The entries with files that no receipt tells of: they were in the bucket when the plan was made.
    pub fn seen(&self) -> impl Iterator<Item = &TableEntry> {
        let entries = self.manifest.index.iter().zip(&self.proven);
        let seen = entries.filter(|(entry, proven)| entry.files.len() > **proven);
        seen.map(|(entry, _)| entry)
    }

    /// The finished manifest.
    ///
    /// # Errors
    /// [`SealError::Missing`] if a chunk was not added; [`SealError::Sum`] if chunks and skipped
    /// files together are not what the manifest lists.
    pub fn finish(self) -> Result<Manifest, SealError> {
        if let Some(first) = self.waiting.first() {
            return Err(SealError::Missing {
                first: *first,
                count: self.waiting.len(),
            });
        }
        let (files, bytes) = (self.manifest.files(), self.manifest.bytes());
        if (files, bytes) != (self.files, self.bytes) {
            let say = |files: u64, bytes: u64| format!("{files} files of {bytes} bytes");
            return Err(SealError::Sum {
                proven: say(self.files, self.bytes),
                listed: say(files, bytes),
            });
        }
        Ok(self.manifest)
    }
}

#[cfg(test)]
mod tests;
