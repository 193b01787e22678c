//! A local file as it is sent: read once, in pieces, each with its CRC-32.
//!
//! # Promises
//! * The page cache, which is the database's, is afterwards as it was before: large files are read
//!   past it where the file system lets us; what was read of others is dropped from it.
//! * No more than a few reads are under way at the disk at once, none of them large: whoever else
//!   uses it waits for them.

mod read;

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use crc32fast::Hasher;

use crate::{
    Error,
    budget::{BLOCK, Budget, Buffer},
};
use read::Reader;

/// Bytes of one trip to a thread that may block, so that what limits reads can act in the middle of
/// a large file.
const TRIP: usize = 1 << 20;

/// A file of known length, open for reading.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    reader: Arc<Reader>,
    path: PathBuf,
    bytes: u64,
}

/// A piece of a file.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// Its bytes, in order.
    pub(crate) body: Vec<Bytes>,
    /// Of `body` alone; `finalize` gives the checksum, `combine` that of pieces in order.
    pub(crate) crc: Hasher,
}

/// Reads a file, which must have `bytes` bytes and keep them meanwhile, into memory of the budget.
pub(crate) async fn whole(path: &Path, bytes: u64, budget: &Budget) -> Result<Piece, Error> {
    if bytes <= TRIP as u64 {
        return at_once(path, bytes, budget).await;
    }
    let source = Source::open(path, bytes).await?;
    let piece = source.read(0..bytes, budget).await?;
    source.unchanged()?;
    Ok(piece)
}

/// As [`whole`], all in one trip.
async fn at_once(path: &Path, bytes: u64, budget: &Budget) -> Result<Piece, Error> {
    let buffers = budget.buffers(size(bytes)).await;
    let turn = budget.reader().await;
    budget.pace(bytes).await;
    let path = path.to_owned();
    blocking(move || {
        let _turn = turn;
        let reader = Reader::open(&path, bytes).map_err(|e| Error::local("open", &path, e))?;
        let mut piece = Piece::default();
        let done = piece.extend(&reader, buffers, 0..bytes);
        let found = done.and_then(|()| match piece.bytes() {
            all if all == bytes => reader.bytes(),
            some => Ok(some),
        });
        match found.map_err(|e| Error::local("read", &path, e))? {
            found if found == bytes => Ok(piece),
            found => Err(torn(&path, found, bytes)),
        }
    })
    .await
}

/// Compares the CRC-32 of a file with the one expected, if any.
pub(crate) fn verify(path: &Path, found: u32, expected: Option<u32>) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != found => Err(Error::Corrupt {
            path: path.to_owned(),
            found,
            expected,
        }),
        _ => Ok(()),
    }
}

impl Source {
    /// Opens `path`, which must have `bytes` bytes.
    pub(crate) async fn open(path: &Path, bytes: u64) -> Result<Self, Error> {
        let owned = path.to_owned();
        let reader = blocking(move || Reader::open(&owned, bytes))
            .await
            .map_err(|e| Error::local("open", path, e))?;
        let source = Self {
            reader: Arc::new(reader),
            path: path.to_owned(),
            bytes,
        };
        source.unchanged()?;
        Ok(source)
    }

    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fails if the file's length is not what it should be (any more).
    pub(crate) fn unchanged(&self) -> Result<(), Error> {
        let found = self.reader.bytes();
        let found = found.map_err(|e| Error::local("read", &self.path, e))?;
        if found == self.bytes {
            return Ok(());
        }
        Err(torn(&self.path, found, self.bytes))
    }

    /// Compares the CRC-32 of all pieces with the one expected, if any.
    pub(crate) fn verify(&self, found: u32, expected: Option<u32>) -> Result<(), Error> {
        verify(&self.path, found, expected)
    }

    /// Reads one piece, which begins at a multiple of 4 KiB, into memory of the budget.
    pub(crate) async fn read(&self, range: Range<u64>, budget: &Budget) -> Result<Piece, Error> {
        let buffers = budget.buffers(size(range.end - range.start)).await;
        self.fill(range, buffers, budget).await
    }

    /// As [`Self::read`], into buffers that hold the range.
    pub(crate) async fn fill(
        &self,
        range: Range<u64>,
        buffers: Vec<Buffer>,
        budget: &Budget,
    ) -> Result<Piece, Error> {
        // One turn for all of it: of pieces that are read by turns, all are full at the same time,
        // and then nobody reads while they are sent.
        let mut turn = budget.reader().await;
        let mut piece = Piece::default();
        let mut buffers = buffers.into_iter();
        let mut at = range.start;
        while at < range.end {
            let some: Vec<_> = buffers.by_ref().take(TRIP / BLOCK).collect();
            let reader = Arc::clone(&self.reader);
            let whole = range.clone();
            budget.pace((range.end - at).min(TRIP as u64)).await;
            (piece, turn) = blocking(move || {
                piece.extend(&reader, some, at..whole.end)?;
                if whole.start + piece.bytes() == whole.end {
                    reader.forget(whole);
                }
                Ok((piece, turn))
            })
            .await
            .map_err(|e| Error::local("read", &self.path, e))?;
            let reached = range.start + piece.bytes();
            let due = (at + TRIP as u64).min(range.end);
            if reached < due {
                return Err(torn(&self.path, reached, self.bytes));
            }
            at = reached;
        }
        Ok(piece)
    }
}

impl Piece {
    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.body.iter().map(|bytes| bytes.len() as u64).sum()
    }

    /// Reads what comes next, as much as fits into `buffers`; less only at the file's end.
    fn extend(
        &mut self,
        reader: &Reader,
        buffers: Vec<Buffer>,
        range: Range<u64>,
    ) -> io::Result<()> {
        let mut at = range.start;
        for mut buffer in buffers {
            let rest = range.end - at;
            let space = buffer.space();
            let most = usize::try_from(rest).map_or(space.len(), |rest| rest.min(space.len()));
            let read = reader.fill(space, most, at, &mut self.crc)?;
            self.body.push(buffer.filled(read));
            at += read as u64;
        }
        Ok(())
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("pieces fit into memory")
}

fn torn(path: &Path, found: u64, expected: u64) -> Error {
    Error::Torn {
        what: path.display().to_string(),
        found,
        expected,
    }
}

/// Runs what may block where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        // The runtime is shutting down, and nobody will look at this again.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
