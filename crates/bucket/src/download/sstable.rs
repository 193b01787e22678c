//! One SSTable on its way to the local disk.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use catalog::{
    Name,
    sstable::{DATA, DIGEST, TOC},
};
use crc32fast::Hasher;
use store::Store;

use super::{Step, local, make, place::Places};
use crate::{
    Error,
    error::chain,
    files::{Component, TableFiles},
    validate::read_digest,
};

/// Bytes of a local file read at once.
const STEP: usize = 256 << 10;
/// The most bytes of a digest that is looked at.
const LARGEST_DIGEST: u64 = 1 << 10;

/// An SSTable, and where it goes.
pub(super) struct SsTable {
    pub(super) bucket: usize,
    /// The directory.
    pub(super) dir: PathBuf,
    /// The digest first and the TOC last.
    pub(super) files: Vec<Component>,
    /// Whether the bucket has all of its files.
    whole: bool,
}

/// How it went.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) kept_files: u64,
    pub(super) kept_bytes: u64,
    pub(super) unverified_files: u64,
    /// Keys, and why they could not be brought.
    pub(super) failed: Vec<(String, String)>,
}

/// The SSTables of a table, in order of name.
pub(super) fn sstables(table: TableFiles, places: &mut Places<'_>) -> Vec<SsTable> {
    let mut found = BTreeMap::<String, SsTable>::new();
    let mut lacking: Vec<String> = Vec::new();
    for name in &table.missing {
        lacking.extend(name.parse::<Name>().map(|name| name.sstable));
    }
    for file in table.files {
        // Names were checked when the manifest was read.
        let Ok(name) = file.name.parse::<Name>() else {
            continue;
        };
        let ids = name.id.kind();
        let one = found
            .entry(name.sstable)
            .or_insert_with_key(|sstable| SsTable {
                bucket: table.bucket,
                dir: places.place(&table.dir, sstable, ids),
                files: Vec::new(),
                whole: !lacking.contains(sstable),
            });
        one.files.push(file);
    }
    for one in found.values_mut() {
        one.files.sort_by_key(|file| match component(file) {
            name if name == DIGEST => 0,
            name if name == TOC => 2,
            _ => 1,
        });
    }
    found.into_values().collect()
}

fn component(file: &Component) -> String {
    file.name
        .parse::<Name>()
        .map(|name| name.component)
        .unwrap_or_default()
}

impl SsTable {
    /// Fetches what is not there yet, by way of `parts`.
    ///
    /// # Errors
    /// [`Error`] if nothing more can be fetched at all.
    pub(super) async fn fetch(
        self,
        store: &Store,
        parts: &Parts,
        progress: &(dyn Fn(Step) + Send + Sync),
    ) -> Result<Done, Error> {
        make(&self.dir)?;
        let mut done = Done::default();
        let mut whole = self.whole;
        let mut digest = None;
        let (dir, files) = self.check().await?;
        for (file, there) in files {
            let name = component(&file);
            if name == TOC && !whole {
                continue;
            }
            let path = dir.join(&file.name);
            let expected = file.crc32.or_else(|| digest.filter(|_| name == DATA));
            let brought = if there.is_some_and(|found| expected.is_none_or(|e| e == found)) {
                progress(Step::Kept(file.bytes));
                done.kept_files += 1;
                done.kept_bytes += file.bytes;
                Ok(())
            } else {
                let fetched = parts.fetch(store, (&file, expected), &path, progress).await;
                done.files += u64::from(fetched.is_ok());
                done.bytes += if fetched.is_ok() { file.bytes } else { 0 };
                fetched
            };
            match brought {
                Ok(()) => {
                    progress(Step::File);
                    done.unverified_files += u64::from(expected.is_none());
                }
                Err(Trouble::Whole(cause)) => return Err(cause),
                Err(Trouble::One(cause)) => {
                    done.failed.push((file.key, cause));
                    whole = false;
                    continue;
                }
            }
            if name == DIGEST {
                digest = local_digest(&path, &file)?;
            }
        }
        Ok(done)
    }

    /// Looks at what is there already: each file with the CRC-32 of the local one, if that has the
    /// right size. Where not all are good, a TOC of an earlier time goes.
    async fn check(self) -> Result<(PathBuf, Vec<(Component, Option<u32>)>), Error> {
        let checked = tokio::task::spawn_blocking(move || {
            let mut files = Vec::with_capacity(self.files.len());
            let (mut good, mut digest) = (self.whole, None);
            for file in self.files {
                let path = self.dir.join(&file.name);
                let there = there(&path, &file).map_err(local("read", &path))?;
                let name = component(&file);
                if name == DIGEST && there.is_some() {
                    digest = local_digest(&path, &file)?;
                }
                let expected = file.crc32.or_else(|| digest.filter(|_| name == DATA));
                good &= file.fits();
                good &= there.is_some_and(|found| expected.is_none_or(|e| e == found));
                files.push((file, there));
            }
            if !good {
                let tocs = files.iter_mut().filter(|(file, _)| component(file) == TOC);
                for (file, there) in tocs {
                    let path = self.dir.join(&file.name);
                    remove(&path).map_err(local("remove", &path))?;
                    *there = None;
                }
            }
            Ok((self.dir, files))
        });
        match checked.await {
            Ok(checked) => checked,
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        }
    }
}

/// What a digest on the local disk says.
fn local_digest(path: &Path, file: &Component) -> Result<Option<u32>, Error> {
    if file.bytes > LARGEST_DIGEST {
        return Ok(None);
    }
    let content = fs::read(path).map_err(local("read", path))?;
    Ok(read_digest(&content))
}

/// The CRC-32 of a local file, if it has the right size.
fn there(path: &Path, file: &Component) -> io::Result<Option<u32>> {
    let mut opened = match File::open(path) {
        Ok(opened) => opened,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    if opened.metadata()?.len() != file.bytes {
        return Ok(None);
    }
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; STEP];
    loop {
        let read = opened.read(&mut buffer)?;
        if read == 0 {
            return Ok(Some(hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What goes wrong with a file.
enum Trouble {
    /// With it alone.
    One(String),
    /// With all that are to come, too.
    Whole(Error),
}

/// Where files are fetched to before they get their names: one directory, and a number for each.
pub(super) struct Parts {
    dir: PathBuf,
    next: AtomicU64,
}

impl Parts {
    /// Below `dir`. What an earlier download left there goes.
    pub(super) fn new(dir: &Path) -> Result<Self, Error> {
        let dir = dir.join(".thetis-part");
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(local("remove the directory", &dir)(e));
            }
            Ok(()) | Err(_) => make(&dir)?,
        }
        Ok(Self {
            dir,
            next: AtomicU64::new(0),
        })
    }

    async fn fetch(
        &self,
        store: &Store,
        (file, expected): (&Component, Option<u32>),
        path: &Path,
        progress: &(dyn Fn(Step) + Send + Sync),
    ) -> Result<(), Trouble> {
        if !file.fits() {
            let listed = file.listed.unwrap_or_default();
            return Err(Trouble::One(format!(
                "it has {} bytes where the manifest lists {listed}",
                file.bytes
            )));
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let part = self.dir.join(number.to_string());
        let moved = |bytes| progress(Step::Moved(bytes));
        let found = match store.get_file(&file.key, &part, file.bytes, &moved).await {
            Ok(moved) => moved.crc32,
            Err(cause) if cause.retry() || matches!(cause, store::Error::Local { .. }) => {
                return Err(Trouble::Whole(cause.into()));
            }
            Err(cause) => return Err(Trouble::One(chain(&cause))),
        };
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            remove(&part).map_err(|e| Trouble::Whole(local("remove", &part)(e)))?;
            return Err(Trouble::One(format!(
                "its CRC-32 is {found:08x} where {expected:08x} was expected"
            )));
        }
        fs::rename(&part, path).map_err(|e| Trouble::Whole(local("rename to", path)(e)))
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // What is left is of no use; the next download removes it if this fails.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
