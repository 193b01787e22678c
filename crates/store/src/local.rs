//! Buckets that are folders of a local or mounted file system.
//!
//! An object is a file of the key's path. It is written below `.thetis-tmp` in its bucket, synced,
//! and renamed. Symbolic links that the operator puts into a bucket are followed.

mod copy;
mod walk;

use std::{
    fs::{self, File},
    io::{self, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use crc32fast::Hasher;
use futures::{StreamExt, stream};

use crate::{
    Error, LocalSettings, Moved, Object,
    budget::Budget,
    error::Attempt,
    part,
    source::{Source, blocking},
    store::{Body, Objects},
    time::since_1970,
};
use walk::Walk;

/// The directory of files in the making, in each bucket.
pub(crate) const TEMPORARY: &str = ".thetis-tmp";

/// After this nobody works on a temporary file any more.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes copied, or read, at a time.
const PIECE: u64 = 4 << 20;

/// A directory may be removed as empty between its creation and its use; so often it is made again.
const TRIES: usize = 5;

/// One bucket.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    folder: Arc<Path>,
    place: Arc<str>,
    budget: Budget,
}

impl Local {
    pub(crate) async fn open(
        settings: &LocalSettings,
        bucket: &str,
        place: Arc<str>,
        budget: Budget,
    ) -> Result<Self, Error> {
        let root = settings.root.as_ref().ok_or_else(|| {
            Error::Settings(format!(
                "{place} needs localstorage.root, the directory its buckets are folders of"
            ))
        })?;
        let local = Self {
            folder: root.join(bucket).into(),
            place,
            budget,
        };
        local.exists()?;
        let folder = Arc::clone(&local.folder);
        blocking(move || clean(&folder)).await;
        Ok(local)
    }

    fn exists(&self) -> Result<(), Error> {
        match fs::metadata(&self.folder) {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(self.attempt("open", "").no_bucket()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(self.attempt("open", "").no_bucket())
            }
            Err(e) => Err(self.failed("open", "", &self.folder, e)),
        }
    }

    fn attempt<'a>(&'a self, action: &'static str, key: &'a str) -> Attempt<'a> {
        Attempt {
            action,
            key,
            place: &self.place,
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(key)
    }

    fn failed(&self, action: &'static str, key: &str, path: &Path, cause: io::Error) -> Error {
        if cause.kind() == io::ErrorKind::PermissionDenied {
            return self.attempt(action, key).denied(cause.to_string());
        }
        Error::local(action, path, cause)
    }

    /// A missing object, or a missing bucket.
    fn missing(&self, key: &str) -> Error {
        match self.exists() {
            Ok(()) => self.attempt("read", key).not_found(),
            Err(e) => e,
        }
    }

    pub(crate) async fn put(&self, key: &str, body: Bytes) -> Result<(), Error> {
        let draft = self.draft(key).await?;
        draft.write(vec![body]).await?;
        draft.publish().await
    }

    pub(crate) async fn put_new(&self, key: &str, body: Bytes) -> Result<bool, Error> {
        let draft = self.draft(key).await?;
        draft.write(vec![body]).await?;
        draft.publish_new().await
    }

    pub(crate) async fn put_file(
        &self,
        key: &str,
        path: &Path,
        bytes: u64,
        expect: Option<u32>,
        moved: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Moved, Error> {
        let source = Source::open(path, bytes).await?;
        let draft = self.draft(key).await?;
        let mut crc = Hasher::new();
        for range in part::cut(bytes, PIECE) {
            let piece = source.read(range, &self.budget).await?;
            let written = piece.bytes();
            crc.combine(&piece.crc);
            draft.write(piece.body).await?;
            moved(written);
        }
        source.unchanged()?;
        let crc32 = crc.finalize();
        source.verify(crc32, expect)?;
        draft.publish().await?;
        Ok(Moved { bytes, crc32 })
    }

    async fn draft<'a>(&'a self, key: &'a str) -> Result<Draft<'a>, Error> {
        let directory = self.folder.join(TEMPORARY);
        let path = directory.join(uuid::Uuid::new_v4().to_string());
        self.exists()?;
        let created = path.clone();
        let file = blocking(move || {
            fs::create_dir_all(&directory)?;
            File::create_new(created)
        })
        .await
        .map_err(|e| self.failed("write", key, &path, e))?;
        Ok(Draft {
            local: self,
            key,
            file: Arc::new(file),
            path,
        })
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Body, Error> {
        self.get_from(key, 0..u64::MAX).await
    }

    pub(crate) async fn get_from(&self, key: &str, range: Range<u64>) -> Result<Body, Error> {
        let path = self.path(key);
        let opened = path.clone();
        let (file, total) = blocking(move || {
            let file = File::open(opened)?;
            let meta = file.metadata()?;
            if meta.is_dir() {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok((Arc::new(file), meta.len()))
        })
        .await
        .map_err(|e: io::Error| {
            if is_missing(&e) {
                self.missing(key)
            } else {
                self.failed("read", key, &path, e)
            }
        })?;
        let end = range.end.min(total);
        let chunks = stream::try_unfold(range.start, move |at| {
            let (file, path) = (Arc::clone(&file), path.clone());
            async move {
                if at >= end {
                    return Ok(None);
                }
                let bytes = usize::try_from((end - at).min(PIECE / 4)).expect("a piece is small");
                let read = blocking(move || {
                    let mut chunk = BytesMut::zeroed(bytes);
                    file.read_exact_at(&mut chunk, at).map(|()| chunk.freeze())
                });
                match read.await {
                    Ok(chunk) => Ok(Some((chunk, at + bytes as u64))),
                    Err(e) => Err(Error::local("read", &path, e)),
                }
            }
        });
        Ok(Body {
            total,
            stream: chunks.boxed(),
        })
    }

    /// All objects whose keys begin with `prefix`.
    pub(crate) fn list(&self, prefix: &str) -> Objects {
        let this = self.clone();
        let walk = Walk::new(&self.folder, prefix);
        let pages = stream::try_unfold(walk, move |mut walk| {
            let this = this.clone();
            async move {
                if walk.fresh() {
                    this.exists()?;
                }
                let folder = Arc::clone(&this.folder);
                let (walk, page) = blocking(move || {
                    let page = walk.page();
                    (walk, page)
                })
                .await;
                let page = page.map_err(|e| this.failed("list", "", &folder, e))?;
                Ok((!page.is_empty()).then_some((page, walk)))
            }
        });
        let objects = pages.map(|page: Result<Vec<Object>, Error>| match page {
            Ok(page) => stream::iter(page).map(Ok).left_stream(),
            Err(e) => stream::iter([Err(e)]).right_stream(),
        });
        objects.flatten().boxed()
    }

    /// What stands between `prefix` and the next `/` of keys.
    pub(crate) async fn folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        self.exists()?;
        let path = self.path(prefix);
        let looked = path.clone();
        let names = blocking(move || walk::folders(&looked)).await;
        names.map_err(|e| self.failed("list", prefix, &path, e))
    }

    pub(crate) async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        self.exists()?;
        for key in keys {
            let path = self.path(key);
            let (removed, folder) = (path.clone(), Arc::clone(&self.folder));
            blocking(move || remove(&removed, &folder))
                .await
                .map_err(|e| self.failed("delete", key, &path, e))?;
        }
        Ok(())
    }

    /// When an object was written, in milliseconds since 1970.
    pub(crate) async fn written_ms(&self, key: &str) -> Result<Option<u64>, Error> {
        let path = self.path(key);
        let looked = path.clone();
        let time = blocking(move || fs::metadata(looked)?.modified()).await;
        let time = time.map_err(|e| self.failed("read", key, &path, e))?;
        Ok(since_1970(time))
    }

    pub(crate) async fn bytes(&self, key: &str) -> Result<Option<u64>, Error> {
        let path = self.path(key);
        let looked = path.clone();
        match blocking(move || fs::metadata(looked)).await {
            Ok(meta) => Ok(meta.is_file().then_some(meta.len())),
            Err(e) if is_missing(&e) => self.exists().map(|()| None),
            Err(e) => Err(self.failed("read", key, &path, e)),
        }
    }
}

/// An object in the making, removed unless it is published.
struct Draft<'a> {
    local: &'a Local,
    key: &'a str,
    file: Arc<File>,
    path: PathBuf,
}

impl Draft<'_> {
    async fn write(&self, body: Vec<Bytes>) -> Result<(), Error> {
        let file = Arc::clone(&self.file);
        blocking(move || body.iter().try_for_each(|bytes| (&*file).write_all(bytes)))
            .await
            .map_err(|e| self.failed(e))
    }

    async fn publish(self) -> Result<(), Error> {
        self.place(|from, to| fs::rename(from, to)).await
    }

    async fn publish_new(self) -> Result<bool, Error> {
        let linked = self.place(|from, to| fs::hard_link(from, to)).await;
        match linked {
            Ok(()) => Ok(true),
            Err(Error::Local { cause, .. }) if cause.kind() == io::ErrorKind::AlreadyExists => {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// Syncs the content, gives it its name, and syncs the name.
    async fn place(
        &self,
        name: impl Fn(&Path, &Path) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Error> {
        let file = Arc::clone(&self.file);
        let from = self.path.clone();
        let to = self.local.path(self.key);
        blocking(move || {
            file.sync_all()?;
            let parent = to.parent().expect("a key lies in its bucket");
            let mut tries = TRIES;
            loop {
                fs::create_dir_all(parent)?;
                match name(&from, &to) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound && tries > 1 => tries -= 1,
                    Err(e) => return Err(e),
                    Ok(()) => return File::open(parent)?.sync_all(),
                }
            }
        })
        .await
        .map_err(|e| self.failed(e))
    }

    fn failed(&self, cause: io::Error) -> Error {
        let path = self.local.path(self.key);
        self.local.failed("write", self.key, &path, cause)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // Gone already when it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}

/// Nothing has this name, or something on the way to it is no directory.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Removes a file and the directories that this leaves empty, but not `folder`.
fn remove(path: &Path, folder: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if is_missing(&e) || e.kind() == io::ErrorKind::IsADirectory => {
            return Ok(());
        }
        Err(e) => return Err(e),
    }
    let above = path.ancestors().skip(1);
    for directory in above.take_while(|directory| *directory != folder) {
        if fs::remove_dir(directory).is_err() {
            break;
        }
    }
    Ok(())
}

/// Removes temporary files of processes that died; what can't be removed is left for next time.
fn clean(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder.join(TEMPORARY)) else {
        return;
    };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified.ok().and_then(|modified| modified.elapsed().ok());
        if age.is_some_and(|age| age > STALE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
