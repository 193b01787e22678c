//! Handovers: files of a snapshot that the node is to upload itself.
//!
//! A handover is a directory beside the snapshot, `snapshots/thetis_<origin>_<chunk>_<tag>`, with hard
//! links of some of its files. To the node it is a snapshot like any other, by that name; its files
//! go one by one as they are stored. The snapshot itself stays whole. While a handover lies about,
//! what it links takes disk space.
//!
//! All calls block; they are for a blocking thread.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use protocol::{RunId, SnapshotTag};

use crate::{DataDir, Error};

const PREFIX: &str = "thetis";
const SNAPSHOTS: &str = "snapshots";

/// A handover's name: no two chunks of any backup of a node have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The snapshot whose files it has.
    pub tag: SnapshotTag,
    /// The run whose plan it follows.
    pub origin: RunId,
    /// The chunk of that plan.
    pub chunk: u32,
}

/// A text that is no handover's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a handover")]
pub struct InvalidHandover(String);

impl fmt::Display for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, origin, chunk } = self;
        // Tags have a `_` of their own, so they come last but for what has none.
        write!(f, "{PREFIX}_{origin}_{chunk}_{tag}")
    }
}

impl FromStr for Handover {
    type Err = InvalidHandover;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let mut parts = text.splitn(4, '_');
            let (PREFIX, origin, chunk, tag) =
                (parts.next()?, parts.next()?, parts.next()?, parts.next()?)
            else {
                return None;
            };
            Some(Self {
                tag: tag.parse().ok()?,
                origin: origin.parse().ok()?,
                chunk: chunk.parse().ok()?,
            })
        };
        read()
            .filter(|read| read.to_string() == text)
            .ok_or_else(|| InvalidHandover(text.to_owned()))
    }
}

impl Handover {
    /// Makes it beside `snapshot`, a snapshot's directory of one table, with `files` of that by their
    /// names and nothing else; gives where. What an earlier try has left is replaced.
    ///
    /// It gets the owner of the table's snapshots if this process may give it to them, so that the
    /// node can remove files from it.
    ///
    /// # Errors
    /// [`Error::File`] if a file is not there, or may not be linked.
    pub fn make(&self, snapshot: &Path, files: &[&str]) -> Result<PathBuf, Error> {
        let snapshots = snapshot.parent().unwrap_or(snapshot);
        let dir = snapshots.join(self.to_string());
        remove(&dir)?;
        fs::create_dir(&dir).map_err(Error::file("make", &dir))?;
        let owner = fs::metadata(snapshots).map_err(Error::file("look at", snapshots))?;
        match std::os::unix::fs::chown(&dir, Some(owner.uid()), Some(owner.gid())) {
            Ok(()) => {}
            // Then the node perhaps leaves files that are stored, and whoever made it removes them.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
            Err(e) => return Err(Error::file("give away", &dir)(e)),
        }
        for name in files {
            let from = snapshot.join(name);
            fs::hard_link(&from, dir.join(name)).map_err(Error::file("link", &from))?;
        }
        Ok(dir)
    }
}

impl DataDir {
    /// Removes each handover that `which` chooses, of whatever table; gives how many there were.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn remove_handovers(&self, which: impl Fn(&Handover) -> bool) -> Result<usize, Error> {
        let mut removed = 0;
        for keyspace in folders(self.path())? {
            for table in folders(&keyspace)? {
                for snapshot in folders(&table.join(SNAPSHOTS))? {
                    let name = snapshot.file_name().and_then(|name| name.to_str());
                    let handover = name.and_then(|name| name.parse::<Handover>().ok());
                    if handover.is_some_and(|handover| which(&handover)) {
                        remove(&snapshot)?;
                        removed += 1;
                    }
                }
            }
        }
        Ok(removed)
    }
}

/// Directories in `dir`; none if there is no such directory.
fn folders(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::file("list", dir)(e)),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::file("list", dir))?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => folders.push(entry.path()),
            Ok(_) => {}
            // The node works here, too.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::file("look at", entry.path())(e)),
        }
    }
    Ok(folders)
}

fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", dir)(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(chunk: u32) -> Handover {
        Handover {
            tag: "sm_20260131235959UTC".parse().unwrap(),
            origin: "6f1e0000-0000-4000-8000-000000000001".parse().unwrap(),
            chunk,
        }
    }

    #[test]
    fn only_our_names_are_read() {
        let name = "thetis_6f1e0000-0000-4000-8000-000000000001_12_sm_20260131235959UTC";
        assert_eq!(sample(12).to_string(), name);
        assert_eq!(name.parse(), Ok(sample(12)));
        for other in [
            "sm_20260131235959UTC",
            "thetis",
            "thetis_mine",
            "thetis_6f1e0000-0000-4000-8000-000000000001_12",
            "thetis_6f1e0000-0000-4000-8000-000000000001_012_sm_20260131235959UTC",
            "thetis_6f1e0000-0000-4000-8000-000000000001_12_sm_20260131235959UTC-users",
            "thetis_6F1E0000-0000-4000-8000-000000000001_12_sm_20260131235959UTC",
        ] {
            assert!(other.parse::<Handover>().is_err(), "{other}");
        }
    }

    #[test]
    fn it_links_what_it_is_told_and_goes_without_the_snapshot() {
        let root = tempfile::tempdir().unwrap();
        let snapshots = root
            .path()
            .join("ks/t-00000000000000000000000000000001/snapshots");
        let snapshot = snapshots.join("sm_20260131235959UTC");
        fs::create_dir_all(&snapshot).unwrap();
        for name in ["a", "b", "c"] {
            fs::write(snapshot.join(name), name).unwrap();
        }
        let names = |dir: &Path| {
            let entries = fs::read_dir(dir).unwrap();
            let mut names: Vec<String> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let dir = sample(1).make(&snapshot, &["a", "b"]).unwrap();
        assert_eq!(names(&dir), ["a", "b"]);
        // What is there from before is not.
        assert_eq!(sample(1).make(&snapshot, &["b", "c"]).unwrap(), dir);
        assert_eq!(names(&dir), ["b", "c"]);
        assert!(sample(2).make(&snapshot, &["d"]).is_err());
        sample(3).make(&snapshot, &[]).unwrap();
        fs::create_dir(snapshots.join("thetis_mine")).unwrap();

        let data = DataDir::new(root.path());
        assert_eq!(data.remove_handovers(|it| it.chunk < 3).unwrap(), 2);
        let left = ["sm_20260131235959UTC".to_owned(), "thetis_mine".to_owned()];
        let mut all = names(&snapshots);
        assert_eq!(
            all.iter().position(|name| *name == sample(3).to_string()),
            Some(1)
        );
        all.remove(1);
        assert_eq!(all, left);
        assert_eq!(names(&snapshot), ["a", "b", "c"]);
        let nowhere = DataDir::new(root.path().join("nowhere"));
        assert_eq!(nowhere.remove_handovers(|_| true).unwrap(), 0);
    }
}
