//! A node's data directory: table directories, snapshots, `upload`.
//!
//! All calls block; they are for a blocking thread.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::SystemTime,
};

use catalog::{LocalFile, LocalTable, Name, SsTable, TableVersion, segment};
use protocol::{SnapshotTag, TableRef};
use serde::Deserialize;

use crate::{Error, read_digest, sstable};

/// ScyllaDB's own list of a snapshot. Written last: where it is, the snapshot is complete.
const MANIFEST: &str = "manifest.json";
/// Longest file that is read whole: a TOC has about a hundred bytes, a digest ten.
const SMALL: u64 = 64 << 10;
/// Where a manifest's last brace is, blanks and all.
const TAIL: u64 = 16;

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

    /// The directory into which SSTables of a table are put to be loaded: of the one that was changed last,
    /// should others of the same name have left one, too. See [`Self::upload_dirs`].
    ///
    /// # Errors
    /// [`Error::NoTableDir`] if there is none.
    pub fn upload_dir(&self, table: &TableRef) -> Result<PathBuf, Error> {
        let newest = self.upload_dirs(table)?.pop();
        newest
            .map(|dir| dir.path)
            .ok_or_else(|| self.no_table_dir(table))
    }

    /// The directories of that kind of all tables of that name: at least one. The one changed last is
    /// the last, which need not be the live one's: a table may have been made again with an id that it once had.
    ///
    /// # Errors
    /// As [`Self::upload_dir`].
    pub fn upload_dirs(&self, table: &TableRef) -> Result<Vec<TableDir>, Error> {
        let mut live: Vec<(SystemTime, TableDir)> = Vec::new();
        for dir in self.table_dirs(table)? {
            let upload = dir.path.join("upload");
            match fs::metadata(&upload).and_then(|_| fs::metadata(&dir.path)?.modified()) {
                Ok(changed) => {
                    let path = upload;
                    live.push((changed, TableDir { path, ..dir }));
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::file("look at", upload)(e)),
            }
        }
        live.sort_by_key(|(changed, _)| *changed);
        match live.is_empty() {
            true => Err(self.no_table_dir(table)),
            false => Ok(live.into_iter().map(|(_, dir)| dir).collect()),
        }
    }

    fn no_table_dir(&self, table: &TableRef) -> Error {
        Error::NoTableDir {
            table: table.to_string(),
            data_dir: self.0.clone(),
        }
    }

    /// Whether the table has a complete snapshot of that name.
    ///
    /// # Errors
    /// As [`Self::table_dirs`].
    pub fn has_snapshot(&self, table: &TableRef, tag: &SnapshotTag) -> Result<bool, Error> {
        Ok(self.snapshot_dir(table, tag)?.is_some())
    }

    /// Lists a table's snapshot, the newest should two tables of that name have one: each SSTable by its TOC, with sizes and digest.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] if it is not there or not complete, [`Error::NoComponent`] if a file
    /// is missing that a TOC or the snapshot's own manifest lists, a TOC itself among them.
    pub fn snapshot(&self, table: &TableRef, tag: &SnapshotTag) -> Result<Snapshot, Error> {
        let missing = || Error::NoSnapshot {
            table: table.to_string(),
            tag: tag.to_string(),
        };
        let (dir, version) = self.snapshot_dir(table, tag)?.ok_or_else(missing)?;
        let mut sstables = Vec::new();
        for name in names_of(&dir)? {
            sstables.push(read_sstable(&dir, &name)?);
        }
        let manifest = dir.join(MANIFEST);
        let manifest_bytes = fs::metadata(&manifest)
            .map_err(Error::file("look at", &manifest))?
            .len();
        check_manifest(&dir, &manifest, &sstables)?;
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
        let mut newest: Option<(SystemTime, PathBuf, TableVersion)> = None;
        for dir in self.table_dirs(table)? {
            let snapshot = dir.path.join("snapshots").join(tag.as_str());
            let manifest = snapshot.join(MANIFEST);
            if !is_whole(&manifest)? {
                continue;
            }
            let taken = fs::metadata(&manifest).and_then(|m| m.modified());
            let taken = taken.map_err(Error::file("look at", &manifest))?;
            if newest.as_ref().is_none_or(|(other, _, _)| *other < taken) {
                newest = Some((taken, snapshot, dir.version));
            }
        }
        Ok(newest.map(|(_, dir, version)| (dir, version)))
    }
}

/// Whether a snapshot's manifest is there from its first to its last byte: a node that dies while
/// it writes leaves a part.
fn is_whole(manifest: &Path) -> Result<bool, Error> {
    let mut file = match fs::File::open(manifest) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::file("open", manifest)(e)),
    };
    let failed = |cause| Error::file("read", manifest)(cause);
    let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let last = bytes.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(last)).map_err(failed)?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).map_err(failed)?;
    Ok(tail.trim_ascii_end().ends_with(b"}"))
}

/// Names of all SSTables that have a file in `dir`, in order.
fn names_of(dir: &Path) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(Error::file("list", dir))? {
        let entry = entry.map_err(Error::file("list", dir))?;
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.parse::<Name>().ok());
        names.extend(name.map(|name| name.sstable));
    }
    Ok(names)
}

/// What a snapshot's own manifest says of its SSTables, in its newer and its older form.
#[derive(Deserialize)]
struct ScyllaManifest {
    #[serde(default)]
    sstables: Option<Vec<ScyllaEntry>>,
    #[serde(default)]
    files: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ScyllaEntry {
    #[serde(default)]
    toc_name: Option<String>,
}

/// Makes sure that every SSTable the snapshot's own manifest names is there.
fn check_manifest(dir: &Path, manifest: &Path, found: &[SsTable]) -> Result<(), Error> {
    let file = fs::File::open(manifest).map_err(Error::file("open", manifest))?;
    let said: ScyllaManifest = serde_json::from_reader(io::BufReader::new(file))
        .map_err(|cause| Error::file("read", manifest)(cause.into()))?;
    let tocs = said.sstables.into_iter().flatten();
    let tocs = tocs.filter_map(|entry| entry.toc_name);
    for name in tocs.chain(said.files.into_iter().flatten()) {
        let Ok(name) = name.parse::<Name>() else {
            continue;
        };
        if found
            .binary_search_by(|sstable| sstable.name.cmp(&name.sstable))
            .is_err()
        {
            return Err(Error::NoComponent {
                sstable: dir.join(&name.sstable),
                component: name.component,
            });
        }
    }
    Ok(())
}

/// Reads what an SSTable consists of.
fn read_sstable(dir: &Path, sstable: &str) -> Result<SsTable, Error> {
    let path = |component: &str| dir.join(format!("{sstable}-{component}"));
    size_of(dir, sstable, sstable::TOC)?;
    let toc = String::from_utf8_lossy(&read_small(&path(sstable::TOC))?).into_owned();
    let components = sstable::read_toc(&toc).map_err(|cause| Error::Toc {
        path: path(sstable::TOC),
        cause,
    })?;
    let mut files = Vec::new();
    let mut digest = None;
    for component in components {
        files.push(LocalFile {
            bytes: size_of(dir, sstable, component)?,
            name: format!("{sstable}-{component}"),
        });
        if component.starts_with("Digest.") {
            digest = Some((component, read_small(&path(component))?));
        }
    }
    let crc32 = digest
        .as_ref()
        .filter(|(component, _)| *component == sstable::DIGEST)
        .and_then(|(_, content)| read_digest(content));
    Ok(SsTable {
        name: sstable.to_owned(),
        files,
        crc32,
        digest: digest.map(|(_, content)| content),
    })
}

/// Bytes of a component, which must be a file and not a link to one elsewhere.
fn size_of(dir: &Path, sstable: &str, component: &str) -> Result<u64, Error> {
    let path = dir.join(format!("{sstable}-{component}"));
    match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
        Ok(_) => Err(Error::file("read", path)(io::Error::other(
            "it is not a file",
        ))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NoComponent {
            sstable: dir.join(sstable),
            component: component.to_owned(),
        }),
        Err(e) => Err(Error::file("look at", path)(e)),
    }
}

fn read_small(path: &Path) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let file = fs::File::open(path).map_err(Error::file("open", path))?;
    file.take(SMALL)
        .read_to_end(&mut content)
        .map_err(Error::file("read", path))?;
    Ok(content)
}

/// A name that stays where it is put.
fn name(text: &str) -> Result<&str, Error> {
    segment::check(text).map_err(|_| Error::Name(text.to_owned()))
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
    fn an_sstable_without_its_toc_is_not_passed_over() {
        let (folder, dir) = sample();
        let toc = dir.join(format!("{SSTABLE}-TOC.txt"));
        let snapshot = || DataDir::new(folder.path()).snapshot(&table(), &tag());
        fs::write(dir.join("manifest.json"), "{}").unwrap();
        fs::write(&toc, "TOC.txt\nDat").unwrap();
        assert!(matches!(snapshot().unwrap_err(), Error::Toc { .. }));
        fs::remove_file(&toc).unwrap();
        let error = snapshot().unwrap_err();
        assert!(matches!(error, Error::NoComponent { component, .. } if component == "TOC.txt"));
        for entry in fs::read_dir(&dir).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for said in [
            format!(r#"{{"sstables":[{{"toc_name":"{SSTABLE}-TOC.txt"}}]}}"#),
            format!(r#"{{"files":["{SSTABLE}-Data.db"]}}"#),
        ] {
            fs::write(dir.join("manifest.json"), said).unwrap();
            let error = snapshot().unwrap_err();
            assert!(matches!(error, Error::NoComponent { .. }), "{error}");
        }
        fs::write(dir.join("manifest.json"), "{}\n").unwrap();
        assert_eq!(snapshot().unwrap().table.sstables, []);
    }

    #[test]
    fn a_manifest_cut_short_completes_nothing() {
        let (folder, dir) = sample();
        for torn in ["", r#"{"sstables":[{"#] {
            fs::write(dir.join("manifest.json"), torn).unwrap();
            let data = DataDir::new(folder.path());
            assert!(!data.has_snapshot(&table(), &tag()).unwrap());
        }
    }

    #[test]
    fn a_link_to_elsewhere_is_no_component() {
        let (folder, dir) = sample();
        fs::write(dir.join("manifest.json"), "{}").unwrap();
        let data = dir.join(format!("{SSTABLE}-Data.db"));
        fs::remove_file(&data).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &data).unwrap();
        let error = DataDir::new(folder.path()).snapshot(&table(), &tag());
        assert!(matches!(error, Err(Error::File { .. })));
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
