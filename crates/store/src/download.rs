//! Objects onto the local disk: in ranges, some at once, each resumed where it broke off.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Buf, Bytes};
use crc32fast::Hasher;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    Error, Moved, Store,
    budget::{Buffer, pause},
    part,
    source::blocking,
};

/// Bytes fetched by one request, and the least that is worth another one beside it.
const RANGE: u64 = 16 << 20;

/// Tries in a row that began and brought nothing.
const TRIES: u32 = 5;

/// Fetches `key`, which must have `bytes` bytes, into `path`.
///
/// The file appears under its name when it is complete; until then, and if the process dies, it
/// is `<path>.part`.
pub(crate) async fn file(
    store: &Store,
    key: &str,
    path: &Path,
    bytes: u64,
    moved: &(dyn Fn(u64) + Send + Sync),
) -> Result<Moved, Error> {
    let target = Target::create(path).await?;
    if bytes == 0 {
        empty(store, key).await?;
    }
    let ranges = stream::iter(part::cut(bytes, RANGE));
    let fetched = ranges.map(|range| {
        Fetch {
            store,
            key,
            bytes,
            target: &target,
            moved,
        }
        .range(range)
    });
    let crc = fetched
        .buffered(part::AT_ONCE as usize)
        .try_fold(Hasher::new(), |mut whole, crc| async move {
            whole.combine(&crc);
            Ok(whole)
        })
        .await?;
    target.finish().await?;
    Ok(Moved {
        bytes,
        crc32: crc.finalize(),
    })
}

/// An object without bytes has no range to ask for.
async fn empty(store: &Store, key: &str) -> Result<(), Error> {
    match store.bytes(key).await? {
        Some(0) => Ok(()),
        Some(found) => Err(Error::Torn {
            what: key.to_owned(),
            found,
            expected: 0,
        }),
        None => Err(store.attempt("read", key).not_found()),
    }
}

/// One range of one object on its way to one file.
struct Fetch<'a> {
    store: &'a Store,
    key: &'a str,
    bytes: u64,
    target: &'a Target,
    moved: &'a (dyn Fn(u64) + Send + Sync),
}

/// How far a range has come.
struct Progress {
    next: u64,
    crc: Hasher,
}

impl Fetch<'_> {
    /// Fetches `range`, going on where a try broke off.
    async fn range(self, range: Range<u64>) -> Result<Hasher, Error> {
        let mut progress = Progress {
            next: range.start,
            crc: Hasher::new(),
        };
        let mut tries = 0;
        loop {
            let before = progress.next;
            let broke = match self.go_on(&mut progress, range.end).await? {
                None => return Ok(progress.crc),
                Some(broke) => broke,
            };
            tries = if progress.next > before { 1 } else { tries + 1 };
            if tries >= TRIES {
                return Err(broke);
            }
            tracing::debug!(key = self.key, error = %broke, "resuming a download");
            tokio::time::sleep(pause(tries)).await;
        }
    }

    /// One request. Gives what it broke off with, if it did once it had begun; that it could not
    /// begin is final, for it was tried often enough.
    async fn go_on(&self, progress: &mut Progress, end: u64) -> Result<Option<Error>, Error> {
        let rest = usize::try_from(end - progress.next).unwrap_or(usize::MAX);
        let mut buffer = self.store.budget().buffer(rest).await;
        let size = buffer.space().len();
        let _request = self.store.budget().requests(1).await;
        let mut body = self.store.open(self.key, progress.next..end).await?;
        if body.total != self.bytes {
            return Err(self.torn(body.total));
        }
        let mut filled = 0;
        loop {
            let mut chunk = match self.store.next(self.key, &mut body.stream).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(e) if e.retry() => return Ok(Some(e)),
                Err(e) => return Err(e),
            };
            while chunk.has_remaining() {
                if progress.next + filled as u64 == end {
                    return Err(self.torn(self.bytes + chunk.remaining() as u64));
                }
                let room = end - progress.next;
                filled += copy(&mut chunk, &mut buffer, filled, room);
                if filled == size || progress.next + filled as u64 == end {
                    buffer = self.write(buffer, filled, progress).await?;
                    filled = 0;
                }
            }
        }
        if progress.next == end {
            return Ok(None);
        }
        // What is in the buffer is left out: it is fetched again.
        let attempt = self.store.attempt("read", self.key);
        Ok(Some(
            attempt.unavailable("the object broke off before its end"),
        ))
    }

    async fn write(
        &self,
        mut buffer: Buffer,
        filled: usize,
        progress: &mut Progress,
    ) -> Result<Buffer, Error> {
        self.store.budget().pace(filled as u64).await;
        let file = Arc::clone(&self.target.file);
        let at = progress.next;
        let mut crc = std::mem::take(&mut progress.crc);
        let (buffer, crc) = blocking(move || {
            let bytes = &buffer.space()[..filled];
            crc.update(bytes);
            file.write_all_at(bytes, at).map(|()| (buffer, crc))
        })
        .await
        .map_err(|e| Error::local("write", &self.target.path, e))?;
        progress.crc = crc;
        progress.next += filled as u64;
        (self.moved)(filled as u64);
        Ok(buffer)
    }

    fn torn(&self, found: u64) -> Error {
        Error::Torn {
            what: self.key.to_owned(),
            found,
            expected: self.bytes,
        }
    }
}

/// Copies what fits between `at` and the end of the buffer, or of `room` if that comes first.
fn copy(chunk: &mut Bytes, buffer: &mut Buffer, at: usize, room: u64) -> usize {
    let space = buffer.space();
    let end = usize::try_from(room).map_or(space.len(), |room| room.min(space.len()));
    let space = &mut space[at..end];
    let bytes = space.len().min(chunk.remaining());
    chunk.copy_to_slice(&mut space[..bytes]);
    bytes
}

/// A file in the making, removed unless it is finished.
struct Target {
    file: Arc<File>,
    path: PathBuf,
    part: PathBuf,
}

impl Target {
    async fn create(path: &Path) -> Result<Self, Error> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let created = part.clone();
        let file = blocking(move || File::create(created))
            .await
            .map_err(|e| Error::local("create", path, e))?;
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            part,
        })
    }

    async fn finish(self) -> Result<(), Error> {
        let (part, path) = (self.part.clone(), self.path.clone());
        let renamed: io::Result<()> = blocking(move || std::fs::rename(part, path)).await;
        renamed.map_err(|e| Error::local("rename to", &self.path, e))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Gone already when it was finished.
        let _ = std::fs::remove_file(&self.part);
    }
}
