//! What the rest of Thetis sees of one bucket, whatever keeps it.

mod copy;

use std::{borrow::Cow, fmt, ops::Range, path::Path, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt, TryStreamExt, future, stream, stream::BoxStream};
use protocol::Location;

use crate::{
    Error,
    budget::{Budget, pause},
    download,
    error::Attempt,
    http::{STALL, Stalled},
    key,
    local::Local,
    part,
    remote::Remote,
    s3::S3,
    source::Source,
};

pub(crate) use copy::torn;

/// The largest object [`Store::get`] returns, in bytes.
const SMALL: u64 = 64 << 20;

/// Bytes of a file that is only checked in memory at once.
const CHECKED_AT_ONCE: u64 = 1 << 20;

/// Tries to read what breaks off on the way; each begins with several of the client's.
const TRIES: u32 = 5;

/// The objects of a listing.
pub(crate) type Objects = BoxStream<'static, Result<Object, Error>>;

/// An object being read.
pub(crate) struct Body {
    /// Of the whole object, in bytes.
    pub(crate) total: u64,
    /// What was asked for.
    pub(crate) stream: BoxStream<'static, Result<Bytes, Error>>,
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its whole key.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was written, in milliseconds since 1970 by the bucket's clock; `None` if the store
    /// does not say. Many count in whole seconds.
    pub written_ms: Option<u64>,
}

/// A file that was stored or fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Its length in bytes.
    pub bytes: u64,
    /// The CRC-32 (IEEE) of its content, as it was seen on the way.
    pub crc32: u32,
}

/// One bucket. Clones are cheap.
///
/// Every call checks its keys ([`Error::Key`]), may find the bucket missing ([`Error::NoBucket`])
/// or itself not allowed ([`Error::Denied`]), and ends as [`Error::Unavailable`] when its retries
/// are used up.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    location: Location,
    /// What the keys of objects begin with: the location's prefix and a slash, or nothing.
    prefix: String,
    place: Arc<str>,
    budget: Budget,
    backend: Backend,
}

pub(crate) enum Backend {
    S3(S3),
    Remote(Remote),
    Local(Local),
}

impl Store {
    pub(crate) fn new(
        location: Location,
        place: Arc<str>,
        budget: Budget,
        backend: Backend,
    ) -> Self {
        let prefix = match location.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Self {
            inner: Arc::new(Inner {
                location,
                prefix,
                place,
                budget,
                backend,
            }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.inner.location
    }

    /// The key as the bucket has it.
    pub(crate) fn full<'a>(&self, key: &'a str) -> Cow<'a, str> {
        match self.inner.prefix.as_str() {
            "" => Cow::Borrowed(key),
            prefix => Cow::Owned(format!("{prefix}{key}")),
        }
    }

    /// What was done, with the key that it was asked for where it went wrong.
    fn own<T>(&self, done: Result<T, Error>) -> Result<T, Error> {
        done.map_err(|e| e.without(&self.inner.prefix))
    }

    /// Proves that the bucket exists and that objects in it can be written, read, listed and
    /// deleted, with one object below `thetis/check/`.
    ///
    /// # Errors
    /// Those of the step that failed; [`Error::Refused`] when the store does not give back what
    /// it was given.
    pub async fn check(&self) -> Result<(), Error> {
        let key = format!("thetis/check/{}", uuid::Uuid::new_v4());
        let body =
            Bytes::from_static(b"Written by `thetis` to see whether it may. Delete freely.\n");
        if let Err(e) = self.put(&key, body.clone()).await {
            return Err(self.denied_or_missing(e).await);
        }
        let read = self.get(&key).await?;
        if read != body {
            let attempt = self.attempt("read", &key);
            return Err(attempt.refused("it holds something else than was written".to_owned()));
        }
        let listed: Vec<Object> = self.list(&key).try_collect().await?;
        if listed.iter().all(|object| object.key != key) {
            let attempt = self.attempt("list", &key);
            return Err(attempt.refused("an object just written is not listed".to_owned()));
        }
        self.delete(&[key]).await
    }

    async fn denied_or_missing(&self, error: Error) -> Error {
        match (&error, &self.inner.backend) {
            (Error::Denied { .. }, Backend::S3(s3)) if s3.no_bucket().await => {
                self.attempt("write", "").no_bucket()
            }
            _ => error,
        }
    }

    /// Stores `body` under `key`, in place of what may be there.
    ///
    /// # Errors
    /// See [`Store`].
    pub async fn put(&self, key: &str, body: Bytes) -> Result<(), Error> {
        key::check(key)?;
        let key = self.full(key);
        let done = match &self.inner.backend {
            Backend::S3(s3) => s3.put(&key, body).boxed().await,
            Backend::Remote(remote) => remote.put(&key, body).await,
            Backend::Local(local) => local.put(&key, body).await,
        };
        self.own(done)
    }

    /// Stores `body` under `key` if nothing is there; `false` when something is.
    ///
    /// Atomic where the store knows conditional writes, which is everywhere but on some servers
    /// that imitate S3. A retry after a lost answer may find the object it has itself written:
    /// whoever needs to know compares contents.
    ///
    /// # Errors
    /// See [`Store`].
    pub async fn put_new(&self, key: &str, body: Bytes) -> Result<bool, Error> {
        key::check(key)?;
        let key = self.full(key);
        let done = match &self.inner.backend {
            Backend::S3(s3) => s3.put_new(&key, body).boxed().await,
            Backend::Remote(remote) => remote.put_new(&key, body).await,
            Backend::Local(local) => local.put_new(&key, body).await,
        };
        self.own(done)
    }

    /// Stores the file at `path`, `bytes` long, under `key`. Reads it once.
    ///
    /// `moved` is told of bytes as they arrive in the bucket. When this fails, nothing is under
    /// `key` that was not before. Safe to cancel: what was sent is taken back in the background.
    ///
    /// # Errors
    /// * [`Error::Corrupt`] if `expect` is given and is not the CRC-32 of what was read.
    /// * [`Error::Torn`] if the file is not `bytes` long, or stops being so.
    /// * [`Error::Local`] if it can't be read.
    pub async fn put_file(
        &self,
        key: &str,
        path: &Path,
        bytes: u64,
        expect: Option<u32>,
        moved: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Moved, Error> {
        key::check(key)?;
        let key = self.full(key);
        let done = match &self.inner.backend {
            Backend::S3(s3) => s3.put_file(&key, path, bytes, expect, moved).boxed().await,
            Backend::Remote(remote) => {
                remote
                    .put_file(&key, path, bytes, expect, moved)
                    .boxed()
                    .await
            }
            Backend::Local(local) => {
                local
                    .put_file(&key, path, bytes, expect, moved)
                    .boxed()
                    .await
            }
        };
        self.own(done)
    }

    /// Reads the file at `path` as [`Self::put_file`] would, and stores nothing: for what somebody else
    /// is to store. It goes by the same limits. `step` is told of bytes as they are read.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Torn`] and [`Error::Local`], as of that.
    pub async fn check_file(
        &self,
        path: &Path,
        bytes: u64,
        expect: Option<u32>,
        step: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Moved, Error> {
        let source = Source::open(path, bytes).await?;
        let mut crc = crc32fast::Hasher::new();
        for range in part::cut(bytes, CHECKED_AT_ONCE) {
            let piece = source.read(range, &self.inner.budget).await?;
            step(piece.bytes());
            crc.combine(&piece.crc);
        }
        source.unchanged()?;
        let crc32 = crc.finalize();
        source.verify(crc32, expect)?;
        Ok(Moved { bytes, crc32 })
    }

    /// A whole object of at most 64 MiB.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::TooLarge`] for larger ones.
    pub async fn get(&self, key: &str) -> Result<Bytes, Error> {
        key::check(key)?;
        self.read(key, None).await
    }

    /// The bytes `range` of an object, at most 64 MiB of them.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Torn`] if the object ends before the range does;
    /// [`Error::TooLarge`] for larger ranges.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Error> {
        key::check(key)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.read(key, Some(range)).await
    }

    /// Reads an object or a part of it; from its beginning again, if it breaks off on the way.
    async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Bytes, Error> {
        let mut tries = 1;
        loop {
            let request = self.inner.budget.requests(1).await;
            let (body, bytes) = match &range {
                None => {
                    let body = self.open_whole(key).await?;
                    let total = body.total;
                    (body, total)
                }
                Some(range) => {
                    let body = self.open(key, range.clone()).await?;
                    if body.total < range.end {
                        return Err(Error::Torn {
                            what: key.to_owned(),
                            found: body.total,
                            expected: range.end,
                        });
                    }
                    (body, range.end - range.start)
                }
            };
            let read = self.collect(key, bytes, body).await;
            drop(request);
            match read {
                Err(e) if e.retry() && tries < TRIES => {
                    tracing::debug!(key, error = %e, "reading again what broke off");
                    tokio::time::sleep(pause(tries)).await;
                    tries += 1;
                }
                read => return read,
            }
        }
    }

    async fn open_whole(&self, key: &str) -> Result<Body, Error> {
        let key = self.full(key);
        let done = match &self.inner.backend {
            Backend::S3(s3) => s3.get(&key).boxed().await,
            Backend::Remote(remote) => remote.get(&key).await,
            Backend::Local(local) => local.get(&key).await,
        };
        self.own(done)
    }

    async fn collect(&self, key: &str, bytes: u64, body: Body) -> Result<Bytes, Error> {
        if bytes > SMALL {
            return Err(Error::TooLarge {
                what: key.to_owned(),
                bytes,
                limit: SMALL,
                hint: "that much is not read into memory at once",
            });
        }
        let mut stream = body.stream;
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.next(key, &mut stream).await? {
            whole.extend_from_slice(&chunk);
        }
        if whole.len() as u64 != bytes {
            let cause = format!("{} of {bytes} bytes arrived", whole.len());
            return Err(self.attempt("read", key).unavailable(cause));
        }
        Ok(whole.freeze())
    }

    /// Fetches an object that must have `bytes` bytes into the file at `path`, replacing it.
    ///
    /// The file is written as `<path>.part` and renamed when complete; it is not synced to disk.
    /// `moved` is told of bytes as they are written. When this fails, or is cancelled, nothing
    /// stays behind. `path`'s directory must exist.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Torn`] if the object has another length;
    /// [`Error::DiskFull`]; [`Error::Local`].
    pub async fn get_file(
        &self,
        key: &str,
        path: &Path,
        bytes: u64,
        moved: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Moved, Error> {
        key::check(key)?;
        download::file(self, key, path, bytes, moved).boxed().await
    }

    /// All objects whose keys begin with `prefix`, a page at a time, in no promised order.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<Object, Error>> {
        if let Err(e) = key::check_prefix(prefix) {
            return stream::once(future::ready(Err(e))).boxed();
        }
        let full = self.full(prefix);
        let listed = match &self.inner.backend {
            Backend::S3(s3) => s3.list(&full),
            Backend::Remote(remote) => remote.list(&full),
            Backend::Local(local) => local.list(&full),
        };
        if self.inner.prefix.is_empty() {
            return listed;
        }
        let prefix = self.inner.prefix.clone();
        let own = move |object: Object| {
            let key = object.key.strip_prefix(&prefix).map(str::to_owned);
            future::ready(Ok(key.map(|key| Object { key, ..object })))
        };
        let prefix = self.inner.prefix.clone();
        let listed = listed.map_err(move |e| e.without(&prefix));
        listed.try_filter_map(own).boxed()
    }

    /// The names that stand between `prefix`, which ends in `/`, and the next `/` of keys that
    /// begin with it: what would be the directories in a directory. In order, each once. Some
    /// stores name those, too, whose last key is gone.
    ///
    /// # Errors
    /// See [`Store`].
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        key::check_prefix(prefix)?;
        let full = self.full(prefix);
        let names = match &self.inner.backend {
            Backend::S3(s3) => s3.folders(&full).boxed().await,
            Backend::Remote(remote) => remote.folders(&full).await,
            Backend::Local(local) => local.folders(&full).await,
        };
        let mut names = self.own(names)?;
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Deletes objects, as many a request as the store takes. Absent ones are fine.
    ///
    /// # Errors
    /// Of the first that can't be deleted; others may or may not be gone then.
    pub async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        for key in keys {
            key::check(key)?;
        }
        let full: Vec<String>;
        let keys = match self.inner.prefix.as_str() {
            "" => keys,
            prefix => {
                full = keys.iter().map(|key| format!("{prefix}{key}")).collect();
                &full
            }
        };
        let done = match &self.inner.backend {
            Backend::S3(s3) => s3.delete(keys).boxed().await,
            Backend::Remote(remote) => remote.delete(keys).await,
            Backend::Local(local) => local.delete(keys).await,
        };
        self.own(done)
    }

    /// An object's length in bytes; `None` if there is no such object.
    ///
    /// # Errors
    /// See [`Store`]. On S3 a missing bucket is not told from a missing object.
    pub async fn bytes(&self, key: &str) -> Result<Option<u64>, Error> {
        key::check(key)?;
        let key = self.full(key);
        let done = match &self.inner.backend {
            Backend::S3(s3) => s3.bytes(&key).boxed().await,
            Backend::Remote(remote) => remote.bytes(&key).await,
            Backend::Local(local) => local.bytes(&key).await,
        };
        self.own(done)
    }

    /// Begins to read a part of an object that is not empty.
    pub(crate) async fn open(&self, key: &str, range: Range<u64>) -> Result<Body, Error> {
        let key = self.full(key);
        let done = match &self.inner.backend {
            Backend::S3(s3) => s3.open(&key, range).boxed().await,
            Backend::Remote(remote) => remote.open(&key, range).await,
            Backend::Local(local) => local.get_from(&key, range).await,
        };
        self.own(done)
    }

    /// The next bytes of an object, if they come within [`STALL`].
    pub(crate) async fn next(
        &self,
        key: &str,
        stream: &mut BoxStream<'static, Result<Bytes, Error>>,
    ) -> Result<Option<Bytes>, Error> {
        let next = tokio::time::timeout(STALL, stream.try_next()).await;
        next.unwrap_or_else(|_| Err(self.attempt("read", key).unavailable(Stalled::CAUSE)))
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.inner.backend
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    pub(crate) fn attempt<'a>(&'a self, action: &'static str, key: &'a str) -> Attempt<'a> {
        Attempt {
            action,
            key,
            place: &self.inner.place,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.inner.place).finish()
    }
}
