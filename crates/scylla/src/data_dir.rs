//! A node's data directory: table directories, snapshots, `upload`.
//!
//! All calls block; they are for a blocking thread.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use catalog::{LocalFile, LocalTable, SsTable, TableVersion, sstable};
use protocol::{SnapshotTag, TableRef};

use crate::{Error, read_digest};

/// ScyllaDB's own list of a snapshot. Written last: where it is, the snapshot is complete.
const MANIFEST: &str = "manifest.json";
/// Longest file that is read whole: a TOC has about a hundred bytes, a digest ten.
const SMALL: u64 = 64 << 10;

/// A data directory.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

/// One of a table's directories: there are several where a table was dropped and made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDir {
    /// Where it is.
    pub path: PathBuf,
    /// The table's identity, in the directory's name.
    pub version: TableVersion,
}

/// A table's part of a snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The table with its SSTables; `dir` is the snapshot's directory below the data directory.
    pub table: LocalTable,
    /// ScyllaDB's own manifest, and its bytes.
    pub manifest: PathBuf,
    /// See `manifest`.
    pub manifest_bytes: u64,
}

impl DataDir {
    /// The data directory at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// All directories of a table, whichever table of that name they belong to.
    ///
    /// # Errors
    /// [`Error::Name`] for names that are none, [`Error::File`] if the keyspace can't be listed.
    pub fn table_dirs(&self, table: &TableRef) -> Result<Vec<TableDir>, Error> {
        let keyspace = self.0.join(name(&table.keyspace)?);
        let prefix = format!("{}-", name(&table.table)?);
        let entries = match fs::read_dir(&keyspace) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::file("list", keyspace)(e)),
        };
        let mut dirs = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::file("list", &keyspace))?;
            let file = entry.file_name();
            let version = file
                .to_str()
                .and_then(|file| file.strip_prefix(&prefix)?.parse().ok());
            dirs.extend(version.map(|version| TableDir {
                path: entry.path(),
                version,
            }));
        }
        Ok(dirs)
    }

    /// The directory into which SSTables of a table are put to be loaded.
    ///
    /// The table's live directory is the one that has an `upload`; should a dropped table of the
    /// same name have left one too, the one changed last.
    ///
    /// # Errors
    /// [`Error::NoTableDir`] if there is none.
    pub fn upload_dir(&self, table: &TableRef) -> Result<PathBuf, Error> {
        let mut live: Vec<(SystemTime, PathBuf)> = Vec::new();
        for dir in self.table_dirs(table)? {
            let upload = dir.path.join("upload");
            match fs::metadata(&upload).and_then(|_| fs::metadata(&dir.path)?.modified()) {
                Ok(changed) => live.push((changed, upload)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::file("look at", upload)(e)),
            }
        }
        let none = || Error::NoTableDir {
            table: table.to_string(),
            data_dir: self.0.clone(),
        };
        live.into_iter()
            .max()
            .map(|(_, path)| path)
            .ok_or_else(none)
    }

    /// Whether the table has a complete snapshot of that name.
    ///
    /// # Errors
    /// As [`Self::table_dirs`].
    pub fn has_snapshot(&self, table: &TableRef, tag: &SnapshotTag) -> Result<bool, Error> {
        Ok(self.snapshot_dir(table, tag)?.is_some())
    }

    /// Lists a table's snapshot: each SSTable by its TOC, with sizes and digest.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] if it is not there or not complete, [`Error::NoComponent`] if a file
    /// is missing that a TOC lists.
    pub fn snapshot(&self, table: &TableRef, tag: &SnapshotTag) -> Result<Snapshot, Error> {
        let missing = || Error::NoSnapshot {
            table: table.to_string(),
            tag: tag.to_string(),
        };
        let (dir, version) = self.snapshot_dir(table, tag)?.ok_or_else(missing)?;
        let mut sstables = Vec::new();
        for entry in fs::read_dir(&dir).map_err(Error::file("list", &dir))? {
            let entry = entry.map_err(Error::file("list", &dir))?;
            let Some(file) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            if let Some(name) = file.strip_suffix(&format!("-{}", sstable::TOC)) {
                sstables.push(read_sstable(&dir, name)?);
            }
        }
        sstables.sort_by(|a, b| a.name.cmp(&b.name));
        let manifest = dir.join(MANIFEST);
        let manifest_bytes = fs::metadata(&manifest)
            .map_err(Error::file("look at", &manifest))?
            .len();
        let below = dir.strip_prefix(&self.0).unwrap_or(&dir);
        let table = LocalTable {
            keyspace: table.keyspace.clone(),
            table: table.table.clone(),
            version,
            dir: below.to_string_lossy().into_owned(),
            sstables,
        };
        Ok(Snapshot {
            table,
            manifest,
            manifest_bytes,
        })
    }

    fn snapshot_dir(
        &self,
        table: &TableRef,
        tag: &SnapshotTag,
    ) -> Result<Option<(PathBuf, TableVersion)>, Error> {
        for dir in self.table_dirs(table)? {
            let snapshot = dir.path.join("snapshots").join(tag.as_str());
            let manifest = snapshot.join(MANIFEST);
            if manifest
                .try_exists()
                .map_err(Error::file("look at", &manifest))?
            {
                return Ok(Some((snapshot, dir.version)));
            }
        }
        Ok(None)
    }
}

/// Reads what an SSTable consists of.
fn read_sstable(dir: &Path, sstable: &str) -> Result<SsTable, Error> {
    let toc_path = dir.join(format!("{sstable}-{}", sstable::TOC));
    let toc = String::from_utf8_lossy(&read_small(&toc_path)?).into_owned();
    let mut files = Vec::new();
    for component in toc.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let name = format!("{sstable}-{}", name(component)?);
        let bytes = match fs::metadata(dir.join(&name)) {
            Ok(metadata) => metadata.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoComponent {
                    sstable: dir.join(sstable),
                    component: component.to_owned(),
                });
            }
            Err(e) => return Err(Error::file("look at", dir.join(name))(e)),
        };
        files.push(LocalFile { name, bytes });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let digest_name = format!("{sstable}-{}", sstable::DIGEST);
    let digest = match files.iter().any(|file| file.name == digest_name) {
        true => Some(read_small(&dir.join(digest_name))?),
        false => None,
    };
    let crc32 = digest.as_deref().and_then(read_digest);
    Ok(SsTable {
        name: sstable.to_owned(),
        files,
        crc32,
        digest,
    })
}

fn read_small(path: &Path) -> Result<Vec<u8>, Error> {
    use io::Read as _;
    let mut content = Vec::new();
    let file = fs::File::open(path).map_err(Error::file("open", path))?;
    file.take(SMALL)
        .read_to_end(&mut content)
        .map_err(Error::file("read", path))?;
    Ok(content)
}

/// A name that stays where it is put.
fn name(text: &str) -> Result<&str, Error> {
    let leads_away = text.is_empty() || text == "." || text == ".." || text.contains(['/', '\0']);
    if leads_away {
        Err(Error::Name(text.to_owned()))
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSTABLE: &str = "me-3gsm_0lob_1zdg02we44my8dy25w-big";

    fn table() -> TableRef {
        TableRef {
            keyspace: "ks".into(),
            table: "t".into(),
        }
    }

    fn tag() -> SnapshotTag {
        "sm_20260131235959UTC".parse().unwrap()
    }

    /// A data directory with one table, made twice, and a snapshot of the one that was dropped.
    fn sample() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let live = folder.path().join("ks/t-00000000000000000000000000000001");
        fs::create_dir_all(live.join("upload")).unwrap();
        let dropped = folder
            .path()
            .join("ks/t-00000000000000000000000000000002/snapshots")
            .join(tag().as_str());
        fs::create_dir_all(&dropped).unwrap();
        fs::create_dir_all(
            folder
                .path()
                .join("ks/t2-00000000000000000000000000000003/upload"),
        )
        .unwrap();
        for (component, content) in [
            ("Data.db", "rows"),
            ("Digest.crc32", "12"),
            ("TOC.txt", "TOC.txt\nData.db\nDigest.crc32\n"),
        ] {
            fs::write(dropped.join(format!("{SSTABLE}-{component}")), content).unwrap();
        }
        (folder, dropped)
    }

    #[test]
    fn a_snapshot_is_complete_with_its_manifest() {
        let (folder, dir) = sample();
        let data = DataDir::new(folder.path());
        assert!(!data.has_snapshot(&table(), &tag()).unwrap());
        assert!(matches!(
            data.snapshot(&table(), &tag()),
            Err(Error::NoSnapshot { .. })
        ));
        fs::write(dir.join("manifest.json"), "{}").unwrap();
        let found = data.snapshot(&table(), &tag()).unwrap();
        assert_eq!(
            found.table.dir,
            "ks/t-00000000000000000000000000000002/snapshots/sm_20260131235959UTC"
        );
        let sstable = &found.table.sstables[0];
        assert_eq!((sstable.name.as_str(), sstable.crc32), (SSTABLE, Some(12)));
        assert_eq!(
            sstable.files.iter().map(|f| f.bytes).collect::<Vec<_>>(),
            [4, 2, 29]
        );
    }

    #[test]
    fn a_component_that_is_missing_is_named() {
        let (folder, dir) = sample();
        fs::write(dir.join("manifest.json"), "{}").unwrap();
        fs::remove_file(dir.join(format!("{SSTABLE}-Data.db"))).unwrap();
        let error = DataDir::new(folder.path())
            .snapshot(&table(), &tag())
            .unwrap_err();
        assert!(matches!(error, Error::NoComponent { component, .. } if component == "Data.db"));
    }

    #[test]
    fn the_live_table_is_the_one_that_can_load() {
        let (folder, _) = sample();
        let data = DataDir::new(folder.path());
        let upload = data.upload_dir(&table()).unwrap();
        assert!(
            upload.ends_with("t-00000000000000000000000000000001/upload"),
            "{}",
            upload.display()
        );
        let other = TableRef {
            keyspace: "ks".into(),
            table: "none".into(),
        };
        assert!(matches!(
            data.upload_dir(&other),
            Err(Error::NoTableDir { .. })
        ));
    }

    #[test]
    fn names_do_not_lead_away() {
        let data = DataDir::new("/nowhere");
        for wrong in ["", ".", "..", "a/b", "../etc"] {
            let table = TableRef {
                keyspace: wrong.into(),
                table: "t".into(),
            };
            assert!(
                matches!(data.table_dirs(&table), Err(Error::Name(_))),
                "{wrong}"
            );
        }
    }
}
