//! Whether the bucket holds an SSTable already.

use std::collections::{BTreeMap, BTreeSet};

use super::{LocalFile, PlanError, Remote, SsTable};
use crate::{IdKind, key::TableDir};

/// What to do with an SSTable.
pub(super) enum Verdict {
    /// Store it.
    Store,
    /// The bucket has it.
    Skip,
    /// The bucket has another one; says how it differs.
    Conflict(&'static str),
}

/// Compares an SSTable with what the bucket holds under its name.
pub(super) fn compare(
    dir: &TableDir,
    sstable: &SsTable,
    remote: &Remote,
) -> Result<Verdict, PlanError> {
    let prefix = format!("{}{}-", dir.prefix(), sstable.name);
    let mut there = BTreeMap::new();
    for (key, bytes) in remote.objects.range(prefix.clone()..) {
        let Some(name) = key.strip_prefix(&dir.prefix()) else {
            break;
        };
        if !key.starts_with(&prefix) {
            break;
        }
        if crate::key::split_version(name).1.is_none() {
            there.insert(name, *bytes);
        }
    }
    if there.is_empty() {
        return Ok(Verdict::Store);
    }
    let id = crate::sstable::parse_sstable(&sstable.name)?.id;
    if id.kind() == IdKind::Integer {
        let Some(digest) = digest_of(sstable) else {
            return Ok(Verdict::Conflict("there is no digest to compare"));
        };
        let key = dir.component(digest)?;
        // A backup that was finished has the digest: what is there is left from one that was not.
        if !remote.objects.contains_key(&key) {
            return Ok(Verdict::Store);
        }
        let same = sstable.digest.is_some() && sstable.digest.as_ref() == remote.digests.get(&key);
        if !same {
            return Ok(Verdict::Conflict("its digest differs"));
        }
    }
    let here = |file: &LocalFile| there.get(&*file.name) == Some(&file.bytes);
    let other = |file: &LocalFile| there.contains_key(&*file.name) && !here(file);
    if sstable.files.iter().any(other) {
        return Ok(Verdict::Conflict("the size of a file differs"));
    }
    let names: BTreeSet<&str> = sstable.files.iter().map(|file| &*file.name).collect();
    let whole = sstable.files.iter().all(here) && there.keys().all(|name| names.contains(name));
    Ok(if whole { Verdict::Skip } else { Verdict::Store })
}

/// The file that holds the digest: `Digest.crc32`, or an older form.
pub(super) fn digest_of(sstable: &SsTable) -> Option<&str> {
    let mut names = sstable.files.iter().map(|file| &*file.name);
    names.find(|name| {
        let component = name.strip_prefix(&*sstable.name);
        component.is_some_and(|rest| rest.starts_with("-Digest."))
    })
}
