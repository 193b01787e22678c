//! Whether objects hold what they did when they were stored.

use std::ops::Range;

use bytes::Bytes;
use crc32fast::Hasher;
use futures::{StreamExt as _, stream::FuturesUnordered};
use store::Store;

use super::{
    Step,
    objects::{Found, Objects, Place},
};
use crate::Error;

/// Bytes read by one request.
const PIECE: u64 = 4 << 20;
/// Objects read at once; each takes one piece of memory.
const READS: usize = 8;
/// The most bytes of a digest: ten digits, and room for what may be there instead.
const LARGEST_DIGEST: u64 = 1 << 10;

/// How much could be checked, and was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) checkable_files: u64,
    pub(super) checkable_bytes: u64,
    pub(super) checked_files: u64,
    pub(super) checked_bytes: u64,
}

/// What a check found.
enum Outcome {
    Good,
    Bad,
    Unreadable,
    Gone,
    /// Its digest has no checksum, as where it is encrypted.
    NoChecksum,
}

/// Checks objects that backups mean, at most `most` bytes of them, and marks those that are wrong.
///
/// Which ones it takes, when it cannot take all, depends on their keys only.
///
/// # Errors
/// Those of the bucket, but not of single objects.
pub(super) async fn check(
    store: &Store,
    objects: &mut Objects,
    most: u64,
    progress: &(dyn Fn(Step) + Send + Sync),
) -> Result<Covered, Error> {
    let mut covered = Covered::default();
    let mut wrong: Vec<(Place, Outcome)> = Vec::new();
    let picked = pick(objects, most, &mut covered);
    progress(Step::Planned {
        files: picked.len() as u64,
        bytes: picked.iter().map(|found| found.part.bytes).sum(),
    });
    let mut picked = picked.into_iter();
    let mut checks = FuturesUnordered::new();
    loop {
        checks.extend(
            picked
                .by_ref()
                .take(READS - checks.len())
                .map(|found| one(store, found, progress)),
        );
        let Some(checked) = checks.next().await else {
            break;
        };
        let (found, outcome) = checked?;
        match outcome {
            Outcome::NoChecksum => {
                covered.checkable_files -= 1;
                covered.checkable_bytes -= found.part.bytes;
                continue;
            }
            Outcome::Good => {}
            Outcome::Bad | Outcome::Unreadable | Outcome::Gone => {
                wrong.push((found.place(), outcome));
            }
        }
        covered.checked_files += 1;
        covered.checked_bytes += found.part.bytes;
    }
    drop(checks);
    for (place, outcome) in wrong {
        let Some(part) = objects.at(&place) else {
            continue;
        };
        match outcome {
            Outcome::Bad => part.state.content = true,
            Outcome::Unreadable => part.state.unreadable = true,
            Outcome::Gone => part.state.absent = true,
            Outcome::Good | Outcome::NoChecksum => {}
        }
    }
    Ok(covered)
}

/// The objects to check: all, or in an order that only their keys decide, each that still fits.
fn pick<'a>(objects: &'a Objects, most: u64, covered: &mut Covered) -> Vec<Found<'a>> {
    let mut all: Vec<(u32, Found<'_>)> = Vec::new();
    for found in objects.iter() {
        let state = found.part.state;
        let there = !state.absent && !state.size && !found.part.used.is_empty();
        if there && (found.crc32().is_some() || found.digest().is_some()) {
            covered.checkable_files += 1;
            covered.checkable_bytes += found.part.bytes;
            all.push((crc32fast::hash(found.key().as_bytes()), found));
        }
    }
    if covered.checkable_bytes > most {
        all.sort_by_key(|(rank, _)| *rank);
        let mut left = most;
        all.retain(|(_, found)| match left.checked_sub(found.part.bytes) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        });
    }
    all.into_iter().map(|(_, found)| found).collect()
}

async fn one<'a>(
    store: &Store,
    found: Found<'a>,
    progress: &(dyn Fn(Step) + Send + Sync),
) -> Result<(Found<'a>, Outcome), Error> {
    let outcome = compare(store, found, progress).await?;
    Ok((found, outcome))
}

async fn compare(
    store: &Store,
    found: Found<'_>,
    progress: &(dyn Fn(Step) + Send + Sync),
) -> Result<Outcome, Error> {
    let expected = match (found.crc32(), found.digest()) {
        (Some(crc32), _) => Some(crc32),
        (None, Some(digest)) if digest.part.bytes <= LARGEST_DIGEST => {
            match store.get(&digest.key()).await {
                Ok(content) => read_digest(&content),
                Err(cause) => return failed(cause),
            }
        }
        (None, Some(_) | None) => None,
    };
    let Some(expected) = expected else {
        return Ok(Outcome::NoChecksum);
    };
    match crc32(store, &found.key(), found.part.bytes, progress).await {
        Ok(crc32) if crc32 == expected => Ok(Outcome::Good),
        Ok(_) => Ok(Outcome::Bad),
        Err(cause) => failed(cause),
    }
}

/// An object that cannot be read is a finding; a bucket that cannot is a failure.
fn failed(cause: store::Error) -> Result<Outcome, Error> {
    if cause.retry() {
        return Err(cause.into());
    }
    if matches!(cause, store::Error::NotFound { .. }) {
        return Ok(Outcome::Gone);
    }
    // It ends before it should.
    if matches!(cause, store::Error::Torn { .. }) {
        return Ok(Outcome::Bad);
    }
    Ok(Outcome::Unreadable)
}

/// The CRC-32 of an object, read in pieces.
async fn crc32(
    store: &Store,
    key: &str,
    bytes: u64,
    progress: &(dyn Fn(Step) + Send + Sync),
) -> Result<u32, store::Error> {
    let mut hasher = Hasher::new();
    let mut at = 0;
    while at < bytes {
        let range: Range<u64> = at..bytes.min(at + PIECE);
        let piece: Bytes = store.get_range(key, range.clone()).await?;
        hasher.update(&piece);
        at = range.end;
        progress(Step::Read(piece.len() as u64));
    }
    Ok(hasher.finalize())
}

/// The checksum that a digest's content is; `None` where it is none.
pub(crate) fn read_digest(content: &[u8]) -> Option<u32> {
    let digits = content.iter().all(u8::is_ascii_digit);
    digits
        .then(|| std::str::from_utf8(content).ok()?.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_digits_only() {
        assert_eq!(read_digest(b"4294967295"), Some(u32::MAX));
        for wrong in [&b""[..], b"+1", b"4294967296", b"1\n", b"\xff"] {
            assert_eq!(read_digest(wrong), None, "{wrong:?}");
        }
    }
}
