//! Getting SSTables that lie ready into the node.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use catalog::sstable;
use protocol::{RunId, TableRef};
use queue::Context as JobContext;
use scylla::LoadOptions;
use tracing::{info, warn};

use crate::{
    RestoreWorker,
    batch::millis,
    failure::Failure,
    staging::{Mark, Staging},
};

/// Between two tries to load while the node loads something else.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// How long loaded files may stay in `upload/`: the node removes them after it has answered.
const LEFT: Duration = Duration::from_secs(120);
/// Between two looks at `upload/`.
const LOOK: Duration = Duration::from_millis(50);
/// How often a load that goes on counts as alive: the node tells nothing meanwhile.
const PULSE: Duration = Duration::from_secs(10);

impl RestoreWorker {
    /// Moves the SSTables `names` from `dir` into the table's `upload/` and has the node load them.
    ///
    /// One worker of a node at a time. Gives the milliseconds the loading took.
    pub(crate) async fn load(
        &self,
        staging: &Staging,
        dir: &Path,
        table: &TableRef,
        names: &[String],
        ctx: &JobContext,
    ) -> Result<u64, Failure> {
        let upload = self.upload_dir(table).await?;
        let _lock = staging.lock(ctx).await?;
        self.finish_earlier(staging, table, &upload, ctx).await?;
        let began = Instant::now();
        let files = move_in(staging, table, dir, &upload, names)?;
        match self.refresh(table, &upload, ctx).await {
            Ok(()) => staging.clear_mark(table)?,
            Err(
                failure @ Failure::Node(
                    scylla::Error::Malformed { .. }
                    | scylla::Error::DigestMismatch { .. }
                    | scylla::Error::View { .. },
                ),
            ) => {
                // It would be in the way of every later load.
                take_out(&upload, &files)?;
                staging.clear_mark(table)?;
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        }
        Ok(millis(began))
    }

    /// Takes away what a restore that is given up has downloaded, and what it had moved into
    /// `upload/` directories but not loaded.
    pub(crate) async fn clear(&self, origin: RunId, ctx: &JobContext) -> Result<(), Failure> {
        let staging = Staging::below(self.data_dir.path());
        if !staging.is_there()? {
            return Ok(());
        }
        staging.outwait(origin, ctx).await?;
        let _lock = staging.lock(ctx).await?;
        for mark in staging.marks()? {
            match self.upload_dir(&mark.table).await {
                Ok(upload) => take_out(&upload, &mark.files)?,
                // The table was dropped, and its files with it.
                Err(Failure::Node(scylla::Error::NoTableDir { .. })) => {}
                Err(failure) => return Err(failure),
            }
            staging.clear_mark(&mark.table)?;
        }
        staging.clear_run(origin)
    }

    async fn upload_dir(&self, table: &TableRef) -> Result<PathBuf, Failure> {
        let (data_dir, table) = (self.data_dir.clone(), table.clone());
        let found = tokio::task::spawn_blocking(move || data_dir.upload_dir(&table)).await;
        Ok(found.expect("looking at files does not panic")?)
    }

    /// Loads what a worker that died had moved in, or takes it out again if that was not all: the
    /// batch brings it once more. Other files there are somebody else's.
    async fn finish_earlier(
        &self,
        staging: &Staging,
        table: &TableRef,
        upload: &Path,
        ctx: &JobContext,
    ) -> Result<(), Failure> {
        let mark = staging.mark(table)?;
        let there = listed(upload)?;
        let Some(first) = there.first() else {
            return staging.clear_mark(table);
        };
        let Some(mark) = mark else {
            return Err(Failure::Alien {
                dir: upload.to_owned(),
                file: first.clone(),
            });
        };
        if !mark.moved {
            return take_back(staging, &mark, upload);
        }
        // The node may have given an SSTable a new id meanwhile, so only the number can be compared.
        if there.len() > mark.files.len() {
            return Err(Failure::Alien {
                dir: upload.to_owned(),
                file: first.clone(),
            });
        }
        info!(%table, files = there.len(), "loading what an earlier worker had left");
        self.refresh(table, upload, ctx).await?;
        staging.clear_mark(table)
    }

    /// Has the node load `upload/`, waiting while it loads something else, until the files are gone.
    async fn refresh(
        &self,
        table: &TableRef,
        upload: &Path,
        ctx: &JobContext,
    ) -> Result<(), Failure> {
        let mut told = false;
        loop {
            let load = self.node.load(table, LoadOptions::Stream);
            let pulse = async {
                loop {
                    tokio::time::sleep(PULSE).await;
                    ctx.alive.moved(0);
                }
            };
            let loaded = tokio::select! {
                loaded = load => loaded,
                never = pulse => never,
            };
            match loaded {
                Ok(()) => break,
                Err(scylla::Error::AlreadyLoading) => {
                    if !told {
                        warn!(%table, "the node is loading something else; waiting");
                        told = true;
                    }
                    ctx.alive.moved(0);
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(cause) => return Err(cause.into()),
            }
        }
        self.wait_gone(upload, ctx).await
    }

    async fn wait_gone(&self, upload: &Path, ctx: &JobContext) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let Some(file) = listed(upload)?.into_iter().next() else {
                return Ok(());
            };
            if began.elapsed() > LEFT {
                return Err(Failure::Left {
                    dir: upload.to_owned(),
                    file,
                });
            }
            ctx.alive.moved(0);
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Names of the files in `upload/`.
fn listed(upload: &Path) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for entry in fs::read_dir(upload).map_err(Failure::file("list", upload))? {
        let entry = entry.map_err(Failure::file("list", upload))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Renames the SSTables into `upload/`, noting their names before; each TOC after its components,
/// for the node takes what has a TOC as whole.
fn move_in(
    staging: &Staging,
    table: &TableRef,
    dir: &Path,
    upload: &Path,
    names: &[String],
) -> Result<Vec<String>, Failure> {
    let is_toc = |file: &String| file.ends_with(&format!("-{}", sstable::TOC));
    let ours = |file: &String| {
        names.iter().any(|name| {
            file.strip_prefix(&**name)
                .is_some_and(|rest| rest.starts_with('-'))
        })
    };
    let mut files = listed(dir)?;
    files.retain(ours);
    files.sort_by_key(is_toc);
    let mut mark = Mark {
        table: table.clone(),
        files,
        moved: false,
    };
    staging.set_mark(&mark)?;
    for file in &mark.files {
        let (from, to) = (dir.join(file), upload.join(file));
        fs::rename(&from, &to).map_err(Failure::file("move into `upload` the file", from))?;
    }
    mark.moved = true;
    staging.set_mark(&mark)?;
    Ok(mark.files)
}

/// Undoes a move that was cut short.
fn take_back(staging: &Staging, mark: &Mark, upload: &Path) -> Result<(), Failure> {
    take_out(upload, &mark.files)?;
    match listed(upload)?.into_iter().next() {
        None => staging.clear_mark(&mark.table),
        Some(file) => Err(Failure::Alien {
            dir: upload.to_owned(),
            file,
        }),
    }
}

/// Removes files from `upload/`, each TOC first, so that nothing half removed looks whole.
fn take_out(upload: &Path, files: &[String]) -> Result<(), Failure> {
    for file in files.iter().rev() {
        let path = upload.join(file);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Failure::file("remove", path)(e)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 3] = ["me-1-big-Data.db", "me-1-big-Index.db", "me-1-big-TOC.txt"];

    fn place() -> (tempfile::TempDir, Staging, TableRef, PathBuf, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let (dir, upload) = (root.path().join("batch"), root.path().join("upload"));
        for folder in [&dir, &upload, &root.path().join(".thetis")] {
            fs::create_dir(folder).unwrap();
        }
        for name in FILES {
            fs::write(dir.join(name), name).unwrap();
        }
        let table = TableRef {
            keyspace: "shop".into(),
            table: "users".into(),
        };
        let staging = Staging::below(root.path());
        (root, staging, table, dir, upload)
    }

    #[test]
    fn a_move_is_marked_before_and_after() {
        let (_root, staging, table, dir, upload) = place();
        let moved = move_in(&staging, &table, &dir, &upload, &["me-1-big".to_owned()]).unwrap();
        assert_eq!(moved, FILES);
        assert_eq!(listed(&upload).unwrap(), FILES);
        assert!(staging.mark(&table).unwrap().unwrap().moved);
    }

    #[test]
    fn a_move_that_was_cut_short_is_undone_and_nothing_else() {
        let (_root, staging, table, dir, upload) = place();
        // The second file cannot be moved: something lies in its way.
        fs::create_dir_all(upload.join(FILES[1]).join("x")).unwrap();
        let names = ["me-1-big".to_owned()];
        move_in(&staging, &table, &dir, &upload, &names).unwrap_err();
        let mark = staging.mark(&table).unwrap().unwrap();
        assert!(!mark.moved);
        fs::remove_dir_all(upload.join(FILES[1])).unwrap();
        assert_eq!(listed(&upload).unwrap(), [FILES[0]]);

        fs::write(upload.join("other"), "").unwrap();
        let said = take_back(&staging, &mark, &upload).unwrap_err().to_string();
        assert!(said.contains("other"), "{said}");
        assert_eq!(listed(&upload).unwrap(), ["other"]);
        fs::remove_file(upload.join("other")).unwrap();
        take_back(&staging, &mark, &upload).unwrap();
        assert!(staging.mark(&table).unwrap().is_none());
    }
}
