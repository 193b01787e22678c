//! A local file as it is sent: read once, in pieces, each with its CRC-32.

use std::{
    fs::File,
    io,
    num::NonZeroU64,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use crc32fast::Hasher;
use rustix::fs::Advice;

use crate::{
    Error,
    budget::{Budget, Buffer},
};

/// Bytes of one read: fits a core's cache, so that hashing finds what reading brought.
const STEP: usize = 256 * 1024;

/// A file of known length, open for reading.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    file: Arc<File>,
    path: PathBuf,
    bytes: u64,
}

/// A piece of a file.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) body: Bytes,
    /// Of `body` alone; `finalize` gives the checksum, `combine` that of pieces in order.
    pub(crate) crc: Hasher,
}

impl Source {
    /// Opens `path`, which must have `bytes` bytes.
    pub(crate) async fn open(path: &Path, bytes: u64) -> Result<Self, Error> {
        let owned = path.to_owned();
        let file = blocking(move || File::open(owned))
            .await
            .map_err(|e| Error::local("open", path, e))?;
        let source = Self {
            file: Arc::new(file),
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
        let meta = self.file.metadata();
        let found = meta.map_err(|e| Error::local("read", &self.path, e))?.len();
        if found == self.bytes {
            return Ok(());
        }
        Err(self.torn(found))
    }

    /// Compares the CRC-32 of all pieces with the one expected, if any.
    pub(crate) fn verify(&self, found: u32, expected: Option<u32>) -> Result<(), Error> {
        match expected {
            Some(expected) if expected != found => Err(Error::Corrupt {
                path: self.path.clone(),
                found,
                expected,
            }),
            _ => Ok(()),
        }
    }

    /// Reads one piece into memory of the budget. The kernel is told to forget it afterwards: it
    /// won't be read again, and the page cache is the database's.
    pub(crate) async fn read(&self, range: Range<u64>, budget: &Budget) -> Result<Piece, Error> {
        let bytes = usize::try_from(range.end - range.start).expect("pieces fit into memory");
        let buffer = budget.buffer(bytes).await;
        self.fill(range, buffer, budget).await
    }

    /// As [`Self::read`], into a buffer as large as the range.
    pub(crate) async fn fill(
        &self,
        range: Range<u64>,
        mut buffer: Buffer,
        budget: &Budget,
    ) -> Result<Piece, Error> {
        let bytes = buffer.space().len();
        let turn = budget.reader().await;
        budget.pace(bytes as u64).await;
        let file = Arc::clone(&self.file);
        let start = range.start;
        let (buffer, crc, read) = blocking(move || {
            let _turn = turn;
            let (crc, read) = fill(&file, buffer.space(), start)?;
            forget(&file, start, read);
            Ok((buffer, crc, read))
        })
        .await
        .map_err(|e| Error::local("read", &self.path, e))?;
        if read < bytes {
            return Err(self.torn(start + read as u64));
        }
        Ok(piece(buffer, bytes, crc))
    }

    fn torn(&self, found: u64) -> Error {
        Error::Torn {
            what: self.path.display().to_string(),
            found,
            expected: self.bytes,
        }
    }
}

fn piece(buffer: Buffer, bytes: usize, crc: Hasher) -> Piece {
    Piece {
        body: buffer.filled(bytes),
        crc,
    }
}

/// Fills `space` from `start` on, hashing on the way; less is read only at the file's end.
fn fill(file: &File, space: &mut [u8], start: u64) -> io::Result<(Hasher, usize)> {
    let mut crc = Hasher::new();
    let mut done = 0;
    while done < space.len() {
        let end = (done + STEP).min(space.len());
        match file.read_at(&mut space[done..end], start + done as u64) {
            Ok(0) => break,
            Ok(read) => {
                crc.update(&space[done..done + read]);
                done += read;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok((crc, done))
}

/// Only advice: a file system that does not take it is none the worse.
fn forget(file: &File, start: u64, bytes: usize) {
    if let Some(bytes) = NonZeroU64::new(bytes as u64) {
        let _ = rustix::fs::fadvise(file, start, Some(bytes), Advice::DontNeed);
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
