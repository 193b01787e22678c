//! Manifests, read a table at a time on threads that may block.
//!
//! A small one is held in memory while it is read; a large one goes through a temporary file.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use bytes::{Buf as _, Bytes};
use catalog::{Manifest, TableEntry, key::ManifestKey};
use store::Store;
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::Error;

/// The largest manifest that is held in memory, in bytes. Dozens are read at once.
const SMALL: u64 = 1 << 20;

/// Tables that are read ahead of whoever takes them.
const AHEAD: usize = 2;

/// A manifest's bytes.
enum Body {
    Memory(Bytes),
    Disk { path: PathBuf, dir: TempDir },
}

impl Body {
    async fn fetch(store: &Store, key: &str, bytes: u64) -> Result<Self, Error> {
        if bytes <= SMALL {
            return Ok(Self::Memory(store.get(key).await?));
        }
        let dir = tempfile::tempdir().map_err(Error::Scratch)?;
        let path = dir.path().join("manifest");
        match store.get_file(key, &path, bytes, &|_| ()).await {
            Ok(_) => Ok(Self::Disk { path, dir }),
            Err(store::Error::Torn { .. }) => Err(Error::Changed {
                key: key.to_owned(),
            }),
            Err(cause) => Err(cause.into()),
        }
    }

    /// What holds the bytes, to be dropped last, and a reader of them.
    fn open(self) -> Result<(Option<TempDir>, Box<dyn Read>), Error> {
        Ok(match self {
            Self::Memory(bytes) => (None, Box::new(bytes.reader())),
            Self::Disk { path, dir } => {
                let file = File::open(path).map_err(Error::Scratch)?;
                (Some(dir), Box::new(io::BufReader::new(file)))
            }
        })
    }
}

/// Reads the manifest under `key`, which was listed with `bytes` bytes, and hands each of its
/// tables to `each` with `state`. Returns all else the manifest says, and the state.
///
/// # Errors
/// [`Error`], which names the key; or the first of `each`.
pub(crate) async fn visit<T: Send + 'static>(
    store: &Store,
    (key, bytes): (&ManifestKey, u64),
    mut state: T,
    mut each: impl FnMut(&mut T, TableEntry) -> Result<(), Error> + Send + 'static,
) -> Result<(Manifest, T), Error> {
    let body = Body::fetch(store, &key.to_string(), bytes).await?;
    let key = key.clone();
    let read = tokio::task::spawn_blocking(move || {
        let (_held, reader) = body.open()?;
        let head = Manifest::visit(reader, &key, |entry| each(&mut state, entry))?;
        Ok((head, state))
    });
    joined(read).await
}

/// A manifest being read: its tables, and then all else it says.
///
/// Tables count only if the end is reached without an error.
pub(crate) struct Reading {
    tables: mpsc::Receiver<TableEntry>,
    rest: JoinHandle<Result<Manifest, Error>>,
}

impl Reading {
    /// Begins to read the manifest under `key`, which was listed with `bytes` bytes.
    ///
    /// # Errors
    /// [`Error`], if it cannot be fetched.
    pub(crate) async fn begin(
        store: &Store,
        (key, bytes): (&ManifestKey, u64),
    ) -> Result<Self, Error> {
        let body = Body::fetch(store, &key.to_string(), bytes).await?;
        let key = key.clone();
        let (sender, tables) = mpsc::channel(AHEAD);
        let rest = tokio::task::spawn_blocking(move || {
            let (_held, reader) = body.open()?;
            Manifest::visit(reader, &key, |entry| {
                // Whoever does not want more of it does not look at the result either.
                let unwanted = |_| Error::Changed {
                    key: key.to_string(),
                };
                sender.blocking_send(entry).map_err(unwanted)
            })
        });
        Ok(Self { tables, rest })
    }

    /// The next table; `None` after the last one, and where the manifest cannot be read further.
    pub(crate) async fn next(&mut self) -> Option<TableEntry> {
        self.tables.recv().await
    }

    /// All else the manifest says.
    ///
    /// # Errors
    /// [`Error`], which names the key, if it could not be read to its end.
    pub(crate) async fn end(mut self) -> Result<Manifest, Error> {
        self.tables.close();
        joined(self.rest).await
    }
}

async fn joined<T>(task: JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    match task.await {
        Ok(read) => read,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}
