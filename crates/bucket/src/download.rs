//! A backup's tables on a local disk, as `nodetool refresh` takes them.
//!
//! `<dir>/<keyspace>/<table>-<version>/upload/` gets the files of a table. SSTables whose names
//! may be the same on several nodes, as those with integer ids, go into a directory for each node
//! below it; these are to be loaded one after the other.
//!
//! # Promises
//! * A file appears under its name when it is whole: of the object's size, of the size and CRC-32
//!   that the manifest lists and, for `Data.db`, of the CRC-32 in the SSTable's digest.
//! * An SSTable's TOC comes last, and only when all its other files are there and good: what has one
//!   is whole. What is there already and good is kept, so a download that was cut short goes on.
//!   Only one may go on in one directory.
//! * Nothing is fetched if the disk has not room for all of it.
//! * What goes wrong with one SSTable is named, and hinders no other.
//!
//! # Memory
//! A few tables' lists of files at a time; and some 20 bytes for each SSTable, to know which names
//! are taken.

mod place;
mod sstable;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use futures::{StreamExt as _, stream};
use serde::Serialize;
use store::Store;

use self::{
    place::Places,
    sstable::{Done, Parts, SsTable, sstables},
};
use crate::{
    Error,
    error::chain,
    files::{self, Failed, Select, TableFiles},
    listing::Backup,
};

/// Failures that are listed one by one.
const LISTED: usize = 100;

/// What to download, and where to.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What of the backup.
    pub select: &'a Select,
    /// The directory; made if it is not there.
    pub dir: &'a Path,
    /// SSTables under way at once.
    pub parallel: usize,
    /// Told of what was done.
    pub progress: &'a (dyn Fn(Step) + Send + Sync),
}

/// Something that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This is how much there is, kept or to be fetched.
    Planned {
        /// Files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A file of so many bytes was there already.
    Kept(u64),
    /// So many bytes more were fetched.
    Moved(u64),
    /// A file is in its place.
    File,
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Files that were fetched.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were there already.
    pub kept_files: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Files, of either kind, of which nothing but the size is known to be right.
    pub unverified_files: u64,
    /// How much could not be brought: files, or all that is left of a manifest.
    pub failures: u64,
    /// Some of that.
    pub failed: Vec<FailedFile>,
}

/// Something that could not be brought.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FailedFile {
    /// The object, or the manifest.
    pub key: String,
    /// Why.
    pub cause: String,
}

impl Report {
    fn fail(&mut self, key: String, cause: String) {
        self.failures += 1;
        if self.failed.len() < LISTED {
            self.failed.push(FailedFile { key, cause });
        }
    }

    fn add(&mut self, done: Done) {
        self.files += done.files;
        self.bytes += done.bytes;
        self.kept_files += done.kept_files;
        self.kept_bytes += done.kept_bytes;
        self.unverified_files += done.unverified_files;
        for (key, cause) in done.failed {
            self.fail(key, cause);
        }
    }
}

/// Downloads what is chosen of a backup.
///
/// # Errors
/// [`Error::Space`] before anything is fetched; else those of the buckets and the disk, but not of
/// single objects.
pub async fn download(
    stores: &[Store],
    backup: &Backup,
    request: &Request<'_>,
) -> Result<Report, Error> {
    make(request.dir)?;
    let parts = Parts::new(request.dir)?;
    let plan = plan(stores, backup, request).await?;
    (request.progress)(Step::Planned {
        files: plan.files,
        bytes: plan.bytes,
    });
    let free = free(request.dir)?;
    if plan.lacking > free {
        return Err(Error::Space {
            path: request.dir.to_owned(),
            free,
            needed: plan.lacking,
        });
    }
    let mut report = Report::default();
    let mut places = Places::new(request.dir, several(backup, request.select));
    let mut failed: Vec<Failed> = Vec::new();
    let mut missing: Vec<String> = Vec::new();
    let jobs = files::tables(stores, backup, request.select).flat_map(|found| {
        let jobs: Vec<SsTable> = match found {
            Ok(table) => {
                missing.extend(gone(&table));
                sstables(table, &mut places)
            }
            Err(one) => {
                failed.push(one);
                Vec::new()
            }
        };
        stream::iter(jobs)
    });
    let parts = &parts;
    let jobs = jobs.map(|job| async move {
        let store = &stores[job.bucket];
        job.fetch(store, parts, request.progress).await
    });
    let mut jobs = jobs.buffer_unordered(request.parallel.max(1)).boxed();
    while let Some(done) = jobs.next().await {
        report.add(done?);
    }
    drop(jobs);
    for Failed { manifest, cause } in failed {
        if cause.retry() {
            return Err(cause);
        }
        report.fail(manifest.key.to_string(), chain(&cause));
    }
    for key in missing {
        report.fail(
            key,
            "the bucket has it not, though the manifest lists it".to_owned(),
        );
    }
    report.failed.sort();
    Ok(report)
}

/// How much there is.
#[derive(Default)]
struct Plan {
    files: u64,
    bytes: u64,
    /// Bytes that are not there yet.
    lacking: u64,
}

async fn plan(stores: &[Store], backup: &Backup, request: &Request<'_>) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let mut places = Places::new(request.dir, several(backup, request.select));
    let mut tables = files::tables(stores, backup, request.select);
    while let Some(found) = tables.next().await {
        let table = match found {
            Ok(table) => table,
            Err(Failed { cause, .. }) if cause.retry() => return Err(cause),
            // It is told of when it fails again.
            Err(_) => continue,
        };
        for sstable in sstables(table, &mut places) {
            for file in &sstable.files {
                let there = fs::metadata(sstable.dir.join(&file.name));
                let there = there.is_ok_and(|meta| meta.len() == file.bytes);
                plan.files += 1;
                plan.bytes += file.bytes;
                plan.lacking += if there { 0 } else { file.bytes };
            }
        }
    }
    Ok(plan)
}

/// Whether more than one node is chosen.
fn several(backup: &Backup, select: &Select) -> bool {
    select.nodes(backup).nth(1).is_some()
}

/// Keys of what a table lacks.
fn gone(table: &TableFiles) -> impl Iterator<Item = String> {
    let keys = table.missing.iter().map(|name| table.dir.component(name));
    keys.flatten()
}

fn make(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(local("make the directory", dir))
}

/// What an error of the system means.
fn local(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path: PathBuf = path.to_owned();
    move |cause| Error::Local {
        action,
        path,
        cause,
    }
}

/// Bytes that are free for whoever runs this.
fn free(dir: &Path) -> Result<u64, Error> {
    let space =
        rustix::fs::statvfs(dir).map_err(|e| local("ask for the free space of", dir)(e.into()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}
