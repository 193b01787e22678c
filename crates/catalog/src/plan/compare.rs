//! Whether the bucket holds an SSTable already.

use std::collections::BTreeMap;

use protocol::SnapshotTag;

use super::{LocalFile, PlanError, Remote, SsTable};
use crate::{Id, IdKind, key::TableDir};

/// What to do with an SSTable.
pub(super) enum Verdict<'a> {
    /// The bucket has it.
    Skip,
    /// Store it, and keep first what these files would replace: bytes, by name.
    Store(BTreeMap<&'a str, u64>),
}

/// Compares an SSTable with what the bucket holds under its name.
///
/// It is there if all its files are, with their sizes. If its id is an integer, which another SSTable
/// may have had, the digest must be the same, too, and the files must be those of a backup that was
/// finished: of others nobody knows that they belong together. Whoever put something in the place of
/// such a file has set the file aside, with a tag after that backup's. Files that the SSTable does not
/// have do not matter: they were left by one that had its name before.
pub(super) fn compare<'a>(
    dir: &TableDir,
    sstable: &'a SsTable,
    remote: &Remote,
) -> Result<Verdict<'a>, PlanError> {
    let there = There::new(dir, sstable, remote);
    let same_size = |file: &LocalFile| there.now.get(&*file.name) == Some(&file.bytes);
    let id = crate::sstable::parse_sstable(&sstable.name)?.id;
    let doubtful = match id.kind() {
        IdKind::Uuid => false,
        IdKind::Integer => {
            !same_digest(dir, sstable, remote)? || !there.finished(dir, sstable, remote)?
        }
    };
    if !doubtful && sstable.files.iter().all(same_size) {
        return Ok(Verdict::Skip);
    }
    // Of a unique SSTable, a file of the right size is the file itself.
    let differs = |file: &&LocalFile| matches!(id, Id::Integer(_)) || !same_size(file);
    let replaced = sstable.files.iter().filter(differs);
    let replaced = replaced.filter_map(|file| {
        let bytes = there.now.get(&*file.name)?;
        Some((&*file.name, *bytes))
    });
    Ok(Verdict::Store(replaced.collect()))
}

/// What the bucket holds under an SSTable's name.
struct There<'a> {
    /// Bytes, by name.
    now: BTreeMap<&'a str, u64>,
    /// The backup that was the last to set a file aside, by name.
    replaced_by: BTreeMap<&'a str, SnapshotTag>,
}

impl<'a> There<'a> {
    fn new(dir: &TableDir, sstable: &SsTable, remote: &'a Remote) -> Self {
        let folder = dir.prefix();
        let prefix = format!("{folder}{}-", sstable.name);
        let mut there = Self {
            now: BTreeMap::new(),
            replaced_by: BTreeMap::new(),
        };
        let objects = remote.objects.range(prefix.clone()..);
        for (key, bytes) in objects.take_while(|(key, _)| key.starts_with(&prefix)) {
            match crate::key::split_version(&key[folder.len()..]) {
                (name, None) => {
                    there.now.insert(name, *bytes);
                }
                // Later tags come later.
                (name, Some(tag)) => drop(there.replaced_by.insert(name, tag)),
            }
        }
        there
    }

    /// Whether each file is, as it lies there, one that a finished backup lists.
    fn finished(
        &self,
        dir: &TableDir,
        sstable: &SsTable,
        remote: &Remote,
    ) -> Result<bool, PlanError> {
        for file in &sstable.files {
            let replaced = self.replaced_by.get(&*file.name);
            let listed = remote.listed.get(&dir.component(&file.name)?);
            if listed.is_none() || replaced > listed {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn same_digest(dir: &TableDir, sstable: &SsTable, remote: &Remote) -> Result<bool, PlanError> {
    let Some(name) = digest_of(sstable) else {
        return Ok(false);
    };
    let there = remote.digests.get(&dir.component(name)?);
    Ok(sstable.digest.is_some() && sstable.digest.as_ref() == there)
}

/// The file that holds the digest: `Digest.crc32`, or an older form.
pub(super) fn digest_of(sstable: &SsTable) -> Option<&str> {
    let mut names = sstable.files.iter().map(|file| &*file.name);
    names.find(|name| {
        let component = name.strip_prefix(&*sstable.name);
        component.is_some_and(|rest| rest.starts_with("-Digest."))
    })
}
