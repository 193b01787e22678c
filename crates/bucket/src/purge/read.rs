//! Manifests by way of a temporary file: they may be larger than what fits into memory.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufReader,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use catalog::{Manifest, TableEntry, key::ManifestKey};
use store::Store;
use tempfile::TempDir;

use crate::Error;

/// Where a node's manifests are put while they are read.
pub(super) struct Shelf<'a> {
    store: &'a Store,
    /// Their bytes, as they were listed.
    there: BTreeMap<ManifestKey, u64>,
    guard: &'a (dyn Fn() -> bool + Sync),
    dir: TempDir,
    next: AtomicU64,
}

/// A manifest on the local disk, removed when it is dropped.
pub(super) struct Copy {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

impl Drop for Copy {
    fn drop(&mut self) {
        // The whole directory goes in the end.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl<'a> Shelf<'a> {
    pub(super) fn new(
        store: &'a Store,
        there: BTreeMap<ManifestKey, u64>,
        guard: &'a (dyn Fn() -> bool + Sync),
    ) -> Result<Self, Error> {
        Ok(Self {
            store,
            there,
            guard,
            dir: tempfile::tempdir().map_err(Error::Scratch)?,
            next: AtomicU64::new(0),
        })
    }

    pub(super) fn store(&self) -> &Store {
        self.store
    }

    /// Fetches a manifest; `None` if it is gone.
    pub(super) async fn fetch(&self, key: &ManifestKey) -> Result<Option<Copy>, Error> {
        if !(self.guard)() {
            return Err(Error::Stopped);
        }
        let text = key.to_string();
        let bytes = match self.there.get(key) {
            Some(bytes) => Some(*bytes),
            None => self.store.bytes(&text).await?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let path = self.dir.path().join(name);
        match self.store.get_file(&text, &path, bytes, &|_| ()).await {
            Ok(_) => Ok(Some(Copy { path, bytes })),
            Err(store::Error::NotFound { .. }) => Ok(None),
            Err(store::Error::Torn { .. }) => Err(Error::Changed { key: text }),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Fetches a manifest that stays. An unfinished one that is gone was finished meanwhile, so its
    /// twin counts instead; `None` if that is among those listed.
    pub(super) async fn find(
        &self,
        key: ManifestKey,
    ) -> Result<Option<(ManifestKey, Copy)>, Error> {
        if let Some(copy) = self.fetch(&key).await? {
            return Ok(Some((key, copy)));
        }
        let twin = key.with_temporary(false);
        if key.temporary && self.there.contains_key(&twin) {
            return Ok(None);
        }
        if key.temporary
            && let Some(copy) = self.fetch(&twin).await?
        {
            return Ok(Some((twin, copy)));
        }
        let key = key.to_string();
        Err(Error::Changed { key })
    }
}

/// Shows `state` each table of a manifest.
pub(super) async fn visit<T: Send + 'static>(
    copy: &Copy,
    key: &ManifestKey,
    mut state: T,
    mut each: impl FnMut(&mut T, &TableEntry) -> Result<(), Error> + Send + 'static,
) -> Result<T, Error> {
    let (path, key) = (copy.path.clone(), key.clone());
    let read = tokio::task::spawn_blocking(move || {
        let file = BufReader::new(File::open(path).map_err(Error::Scratch)?);
        Manifest::visit(file, &key, |entry| each(&mut state, &entry))?;
        Ok(state)
    });
    match read.await {
        Ok(done) => done,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}
