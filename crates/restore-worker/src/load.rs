//! Getting SSTables that lie ready into the node.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use catalog::sstable;
use protocol::{BatchLoaded, RunId, TableRef};
use queue::Context as JobContext;
use scylla::LoadOptions;
use service::Chain;
use tokio::sync::MutexGuard;
use tracing::{info, warn};

use crate::{
    RestoreWorker,
    batch::millis,
    download::alive,
    failure::Failure,
    staging::{Mark, Marked, Staging, is_held, sync},
};

/// Between two tries to load while the node loads something else.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// How long loaded files may stay in `upload/`: the node removes them after it has answered.
const LEFT: Duration = Duration::from_secs(120);
/// Between two looks at `upload/`.
const LOOK: Duration = Duration::from_millis(20);

/// A batch whose SSTables, `names`, lie ready in `dir`.
pub(crate) struct Ready<'a> {
    pub(crate) table: &'a TableRef,
    pub(crate) dir: &'a Path,
    pub(crate) names: &'a [String],
    pub(crate) options: LoadOptions,
    pub(crate) batch: Marked,
}

/// The turn to load: one worker of a node at a time, and in it one batch.
pub(crate) struct Turn<'a> {
    _worker: MutexGuard<'a, ()>,
    _node: File,
}

impl RestoreWorker {
    /// Moves a batch's SSTables into the table's `upload/` and has the node load them. Gives what is to be
    /// told of the batch, with the milliseconds the loading took.
    pub(crate) async fn load(
        &self,
        staging: &Staging,
        ready: Ready<'_>,
        ctx: &JobContext,
    ) -> Result<BatchLoaded, Failure> {
        let table = ready.table;
        let (upload, _turn) = self.turn(staging, table, ctx).await?;
        self.finish_earlier(staging, table, &upload, ctx).await?;
        let began = Instant::now();
        let mark = move_in(staging, &ready, &upload)?;
        match self.refresh(table, &upload, ready.options, ctx).await {
            Ok(()) => staging.clear_mark(table)?,
            Err(
                failure @ Failure::Node(
                    scylla::Error::Malformed { .. }
                    | scylla::Error::DigestMismatch { .. }
                    | scylla::Error::View { .. },
                ),
            ) => {
                // It would be in the way of every later load.
                throw_out(staging, mark, &upload)?;
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        }
        Ok(BatchLoaded {
            load_ms: millis(began),
            ..ready.batch.loaded
        })
    }

    /// Waits until nobody else loads on this node. Gives the table's `upload/`.
    pub(crate) async fn turn(
        &self,
        staging: &Staging,
        table: &TableRef,
        ctx: &JobContext,
    ) -> Result<(PathBuf, Turn<'_>), Failure> {
        let upload = self.upload_dir(table).await?;
        let turn = Turn {
            // In the order of their coming, and without a pause between two.
            _worker: alive(ctx, self.loading.lock()).await,
            _node: staging.lock(ctx).await?,
        };
        Ok((upload, turn))
    }

    /// Takes away what a restore that is given up has downloaded, and what it had moved into
    /// `upload/` directories but not loaded; ScyllaDB's own restores are called off.
    pub(crate) async fn clear(&self, origin: RunId, ctx: &JobContext) -> Result<(), Failure> {
        let staging = Staging::below(self.data_dir.path());
        if !staging.is_there()? {
            return Ok(());
        }
        staging.outwait(origin, ctx).await?;
        for dir in staging.batch_dirs(Some(origin))? {
            self.call_off(&dir).await;
        }
        let _lock = staging.lock(ctx).await?;
        // First, for it makes the room that a mark needs on a full disk.
        staging.clear_run(origin)?;
        for mark in staging.marks()? {
            match self.upload_dir(&mark.table).await {
                Ok(upload) => throw_out(&staging, mark, &upload)?,
                // The table was dropped, and its files with it.
                Err(Failure::Node(scylla::Error::NoTableDir { .. })) => {
                    staging.clear_mark(&mark.table)?;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    async fn upload_dir(&self, table: &TableRef) -> Result<PathBuf, Failure> {
        let (data_dir, of) = (self.data_dir.clone(), table.clone());
        let found = tokio::task::spawn_blocking(move || data_dir.upload_dirs(&of)).await;
        let mut dirs = found.expect("looking at files does not panic")?;
        if dirs.len() > 1 {
            match self.table_id(table).await {
                Ok(id) => dirs.retain(|dir| Some(dir.version.0) == id),
                // Files that are put elsewhere stay there, and that is told.
                Err(error) => {
                    warn!(%table, error = %Chain(&error), "which of several directories is the table's is not known; taking the newest");
                }
            }
        }
        dirs.pop().map(|dir| dir.path).ok_or_else(|| {
            let cause = scylla::Error::NoTableDir {
                table: table.to_string(),
                data_dir: self.data_dir.path().to_owned(),
            };
            cause.into()
        })
    }

    async fn table_id(&self, table: &TableRef) -> Result<Option<u128>, scylla::CqlError> {
        let session = self.login.session(&self.node).await?;
        session.table_id(&table.keyspace, &table.table).await
    }

    /// Loads what a worker that died had moved in, and proves its batch; or takes it back if that was not
    /// all of it. Other files there are somebody else's.
    ///
    /// The node deletes files only when their rows are where they belong. So if all were moved in, and
    /// none is left, all are loaded.
    pub(crate) async fn finish_earlier(
        &self,
        staging: &Staging,
        table: &TableRef,
        upload: &Path,
        ctx: &JobContext,
    ) -> Result<(), Failure> {
        let there = listed(upload)?;
        let alien = |file: &String| Failure::Alien {
            dir: upload.to_owned(),
            file: file.clone(),
        };
        let mark = match (staging.mark(table)?, there.first()) {
            (Some(mark), _) => mark,
            (None, None) => return Ok(()),
            (None, Some(first)) => return Err(alien(first)),
        };
        if !mark.moved {
            return take_back(staging, &mark, upload);
        }
        let began = Instant::now();
        if let Some(first) = there.first() {
            // The node may have given an SSTable a new id meanwhile, so only the number can be compared.
            if there.len() > mark.files.len() {
                return Err(alien(first));
            }
            info!(%table, files = there.len(), "loading what an earlier worker had left");
            // Right for whatever was moved in.
            self.refresh(table, upload, LoadOptions::Stream, ctx)
                .await?;
        }
        if let Some(batch) = mark.batch {
            self.prove_earlier(staging, batch, began).await?;
        }
        staging.clear_mark(table)
    }

    /// Proves a batch that an earlier worker had moved in.
    async fn prove_earlier(
        &self,
        staging: &Staging,
        batch: Marked,
        began: Instant,
    ) -> Result<(), Failure> {
        let loaded = BatchLoaded {
            load_ms: millis(began),
            ..batch.loaded
        };
        self.prove(&batch.location, batch.origin, &loaded).await?;
        let dir = staging.batch_dir(batch.origin, loaded.batch);
        match is_held(&dir)? {
            true => Ok(()),
            false => Staging::clear_batch(&dir),
        }
    }

    /// Has the node load `upload/`, waiting while it loads something else, until the files are gone.
    async fn refresh(
        &self,
        table: &TableRef,
        upload: &Path,
        options: LoadOptions,
        ctx: &JobContext,
    ) -> Result<(), Failure> {
        let mut told = false;
        loop {
            // The node tells nothing meanwhile.
            let load = self.node.load(table, options);
            match alive(ctx, load).await {
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
fn move_in(staging: &Staging, ready: &Ready<'_>, upload: &Path) -> Result<Mark, Failure> {
    let is_toc = |file: &String| file.ends_with(&format!("-{}", sstable::TOC));
    let ours = |file: &String| {
        ready.names.iter().any(|name| {
            file.strip_prefix(&**name)
                .is_some_and(|rest| rest.starts_with('-'))
        })
    };
    let mut files = listed(ready.dir)?;
    files.retain(ours);
    files.sort_by_key(is_toc);
    let mut mark = Mark {
        table: ready.table.clone(),
        files,
        moved: false,
        batch: Some(ready.batch.clone()),
    };
    staging.set_mark(&mark)?;
    for file in &mark.files {
        let (from, to) = (ready.dir.join(file), upload.join(file));
        fs::rename(&from, &to).map_err(Failure::file("move into `upload` the file", from))?;
    }
    sync(upload)?;
    mark.moved = true;
    staging.set_mark(&mark)?;
    Ok(mark)
}

/// Undoes a move that was cut short: what was moved is the batch's again, if that is still wanted.
fn take_back(staging: &Staging, mark: &Mark, upload: &Path) -> Result<(), Failure> {
    let dir = mark.batch.as_ref().map(|batch| {
        let dir = staging.batch_dir(batch.origin, batch.loaded.batch);
        dir.is_dir().then_some(dir)
    });
    if let Some(dir) = dir.flatten() {
        for file in mark.files.iter().rev() {
            let from = upload.join(file);
            gone(fs::rename(&from, dir.join(file)), "take back", from)?;
        }
    }
    take_out(upload, &mark.files)?;
    match listed(upload)?.into_iter().next() {
        None => staging.clear_mark(&mark.table),
        Some(file) => Err(Failure::Alien {
            dir: upload.to_owned(),
            file,
        }),
    }
}

/// Removes a batch from `upload/`. Should that be cut short, nobody takes it for loaded.
fn throw_out(staging: &Staging, mark: Mark, upload: &Path) -> Result<(), Failure> {
    let mark = Mark {
        moved: false,
        batch: None,
        ..mark
    };
    staging.set_mark(&mark)?;
    take_out(upload, &mark.files)?;
    staging.clear_mark(&mark.table)
}

/// Removes files from `upload/`, each TOC first, so that nothing half removed looks whole.
fn take_out(upload: &Path, files: &[String]) -> Result<(), Failure> {
    for file in files.iter().rev() {
        let path = upload.join(file);
        gone(fs::remove_file(&path), "remove", path)?;
    }
    Ok(())
}

/// What was done to a file, or need not be: it is not there.
fn gone(done: io::Result<()>, attempt: &'static str, path: PathBuf) -> Result<(), Failure> {
    match done {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Failure::file(attempt, path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 3] = ["me-1-big-Data.db", "me-1-big-Index.db", "me-1-big-TOC.txt"];

    struct Place {
        root: tempfile::TempDir,
        staging: Staging,
        table: TableRef,
        batch: Marked,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let place = Self {
                staging: Staging::below(root.path()),
                table: TableRef {
                    keyspace: "shop".into(),
                    table: "users".into(),
                },
                batch: Marked {
                    origin: RunId::generate(),
                    location: "s3:backups".parse().unwrap(),
                    loaded: BatchLoaded {
                        batch: 3,
                        ..BatchLoaded::default()
                    },
                },
                root,
            };
            fs::create_dir_all(place.dir()).unwrap();
            fs::create_dir(place.upload()).unwrap();
            for name in FILES {
                fs::write(place.dir().join(name), name).unwrap();
            }
            place
        }

        fn dir(&self) -> PathBuf {
            self.staging.batch_dir(self.batch.origin, 3)
        }

        fn upload(&self) -> PathBuf {
            self.root.path().join("upload")
        }

        fn move_in(&self) -> Result<Mark, Failure> {
            let ready = Ready {
                table: &self.table,
                dir: &self.dir(),
                names: &["me-1-big".to_owned()],
                options: LoadOptions::Stream,
                batch: self.batch.clone(),
            };
            move_in(&self.staging, &ready, &self.upload())
        }

        fn mark(&self) -> Option<Mark> {
            self.staging.mark(&self.table).unwrap()
        }
    }

    #[test]
    fn a_move_is_marked_before_and_after() {
        let place = Place::new();
        assert_eq!(place.move_in().unwrap().files, FILES);
        assert_eq!(listed(&place.upload()).unwrap(), FILES);
        let mark = place.mark().unwrap();
        assert!(mark.moved && mark.is_of(place.batch.origin, 3));
        assert!(!mark.is_of(place.batch.origin, 4) && !mark.is_of(RunId::generate(), 3));
        throw_out(&place.staging, mark, &place.upload()).unwrap();
        assert!(listed(&place.upload()).unwrap().is_empty() && place.mark().is_none());
    }

    #[test]
    fn a_move_that_was_cut_short_is_undone_and_nothing_else() {
        let place = Place::new();
        let upload = place.upload();
        // The second file cannot be moved: something lies in its way.
        fs::create_dir_all(upload.join(FILES[1]).join("x")).unwrap();
        place.move_in().err().unwrap();
        let mark = place.mark().unwrap();
        assert!(!mark.moved);
        fs::remove_dir_all(upload.join(FILES[1])).unwrap();
        assert_eq!(listed(&upload).unwrap(), [FILES[0]]);

        fs::write(upload.join("other"), "").unwrap();
        let said = take_back(&place.staging, &mark, &upload);
        let said = said.unwrap_err().to_string();
        assert!(said.contains("other"), "{said}");
        assert_eq!(listed(&upload).unwrap(), ["other"]);
        fs::remove_file(upload.join("other")).unwrap();
        take_back(&place.staging, &mark, &upload).unwrap();
        assert!(place.mark().is_none());
        // What was downloaded need not be downloaded once more.
        assert_eq!(listed(&place.dir()).unwrap(), FILES);
    }

    #[test]
    fn what_earlier_versions_noted_is_read() {
        let place = Place::new();
        let old = r#"{"table":{"keyspace":"shop","table":"users"},"files":["a"],"moved":true}"#;
        let path = place.root.path().join(".thetis/loading.shop.users.json");
        fs::write(path, old).unwrap();
        let mark = place.mark().unwrap();
        assert!(mark.moved && mark.batch.is_none());
    }
}
