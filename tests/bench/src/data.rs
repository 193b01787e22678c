//! What is uploaded: SSTables with the names, digests and lists of contents of real ones, whose bytes
//! do not compress and follow from a seed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use catalog::{
    Chunk, Frame, Limits, LocalFile, LocalTable, Remote, SsTable, TableVersion,
    key::{Owner, TableDir},
    plan::plan,
};
use crc32fast::Hasher;
use protocol::SnapshotTag;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::SmallRng};

use crate::list::{List, Piece};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Components whose content says nothing: all but `Data.db` are small.
const OTHERS: [&str; 7] = [
    "Index.db",
    "Summary.db",
    "Filter.db",
    "Statistics.db",
    "Scylla.db",
    "CompressionInfo.db",
    "CRC.db",
];
/// Files of each SSTable: those, and `Data.db`, its digest and the list of all.
pub(crate) const COMPONENTS: usize = OTHERS.len() + 3;
/// What all content follows from.
const SEED: u64 = 0x7468_6574_6973;
const TAG: &str = "sm_20260101000000UTC";

/// A set of SSTables.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    /// One letter, or a few words for those of which there is a series.
    pub(crate) name: String,
    pub(crate) tables: usize,
    /// In each table.
    pub(crate) sstables: usize,
    /// Bytes of `Data.db`.
    pub(crate) data: RangeInclusive<u64>,
    /// Bytes of each of the others.
    pub(crate) rest: RangeInclusive<u64>,
}

impl Set {
    fn new(name: &str, tables: usize, sstables: usize, data: RangeInclusive<u64>) -> Self {
        Self {
            name: name.to_owned(),
            tables,
            sstables,
            data,
            rest: 16..=1536,
        }
    }

    /// Many small: freshly flushed. Ten tables, so that a part of it can be taken.
    pub(crate) fn a(full: bool) -> Self {
        let sstables = if full { 200 } else { 50 };
        Self::new("A", 10, sstables, 16 * KIB..=64 * KIB)
    }

    /// Mixed: after some compaction.
    pub(crate) fn b(full: bool) -> Self {
        let sstables = if full { 200 } else { 100 };
        let set = Self::new("B", 1, sstables, MIB..=8 * MIB);
        Self {
            rest: 16..=64 * KIB,
            ..set
        }
    }

    /// Few large: after a lot of it.
    pub(crate) fn c(full: bool) -> Self {
        let sstables = if full { 8 } else { 2 };
        Self::new("C", 1, sstables, 512 * MIB..=512 * MIB)
    }

    /// One that is larger still.
    pub(crate) fn d() -> Self {
        Self::new("D", 1, 1, 4 * GIB..=4 * GIB)
    }

    /// As [`Self::a`], in many tables.
    pub(crate) fn f(full: bool) -> Self {
        let sstables = if full { 100 } else { 25 };
        Self::new("F", 20, sstables, 16 * KIB..=64 * KIB)
    }

    /// A member of a series: `sstables` of them, in which `Data.db` has `data` bytes.
    pub(crate) fn of_series(name: &str, sstables: usize, data: u64) -> Self {
        let set = Self::new(name, 1, sstables, data..=data);
        Self {
            rest: 16..=512,
            ..set
        }
    }
}

/// A set that lies on the disk.
pub(crate) struct Filled {
    /// Below it lies nothing else.
    pub(crate) dir: PathBuf,
    root: PathBuf,
    owner: Owner,
    tables: Vec<LocalTable>,
    /// CRC-32 of each file, by its path below the root.
    sums: BTreeMap<String, u32>,
}

/// Writes a set below `root`, which is the data directory of a node.
pub(crate) fn fill(set: &Set, root: &Path) -> Result<Filled> {
    let mut filled = Filled::empty(&set.name, root)?;
    for number in 0..set.tables {
        let version = TableVersion(0x00a0_0000_0000_0000 + number as u128);
        let table = format!("table{number}");
        let dir = format!("{}/shop/{table}-{version}/snapshots/{TAG}", set.name);
        fs::create_dir_all(root.join(&dir))?;
        let sstables = (0..set.sstables).map(|n| filled.sstable(set, &dir, (number, n)));
        let sstables = sstables.collect::<Result<_>>()?;
        filled.tables.push(LocalTable {
            keyspace: "shop".to_owned(),
            table,
            version,
            dir: dir.clone(),
            sstables,
        });
    }
    // Else it is still being written while others are measured.
    rustix::fs::syncfs(File::open(root)?)?;
    Ok(filled)
}

/// How many seconds it takes to find out that `sstables` SSTables are all in the bucket.
pub(crate) fn time_of_plan(sstables: usize) -> Result<f64> {
    let mut imagined = Filled::empty("imagined", Path::new(""))?;
    let sstable = |number: usize| {
        let name = name(0, number);
        let others = OTHERS.iter().chain(&["Data.db", "Digest.crc32", "TOC.txt"]);
        let files = others.map(|component| LocalFile {
            name: format!("{name}-{component}"),
            bytes: 1,
        });
        SsTable {
            files: files.collect(),
            name,
            ..SsTable::default()
        }
    };
    imagined.tables.push(LocalTable {
        keyspace: "shop".to_owned(),
        table: "table".to_owned(),
        version: TableVersion(1),
        dir: "table".to_owned(),
        sstables: (0..sstables).map(sstable).collect(),
    });
    let remote = imagined.known(100)?;
    let began = Instant::now();
    ensure!(imagined.plan(&remote)?.is_empty(), "all of it is known");
    Ok(began.elapsed().as_secs_f64())
}

/// The name of an SSTable.
fn name(table: usize, number: usize) -> String {
    format!("me-3gqe_{table:04}_4sbpc2ezoscu{number:06}-big")
}

/// An id that is the same in each run.
fn id<T: std::str::FromStr>(number: u8) -> Result<T, T::Err> {
    format!("0192bbbb-0000-7000-8000-0000000000{number:02x}").parse()
}

impl Filled {
    fn empty(name: &str, root: &Path) -> Result<Self> {
        Ok(Self {
            dir: root.join(name),
            root: root.to_owned(),
            owner: Owner::new(id(1)?, "dc1", id(2)?)?,
            tables: Vec::new(),
            sums: BTreeMap::new(),
        })
    }

    fn sstable(
        &mut self,
        set: &Set,
        dir: &str,
        (table, number): (usize, usize),
    ) -> Result<SsTable> {
        let name = name(table, number);
        let place = format!("{dir}/{name}");
        let seed = SEED ^ ((table as u64) << 40) ^ ((number as u64) << 8);
        let mut files = Vec::new();
        let mut add = |component: &str, (bytes, crc32): (u64, u32)| {
            self.sums.insert(format!("{place}-{component}"), crc32);
            let name = format!("{name}-{component}");
            files.push(LocalFile { name, bytes });
        };
        let path = |component: &str| self.root.join(format!("{place}-{component}"));
        let mut random = SmallRng::seed_from_u64(seed);
        let bytes = random.random_range(set.data.clone());
        let crc32 = noise(&path("Data.db"), bytes, seed)?;
        add("Data.db", (bytes, crc32));
        for (component, n) in OTHERS.iter().zip(1..) {
            let bytes = random.random_range(set.rest.clone());
            let crc32 = noise(&path(component), bytes, seed + n)?;
            add(component, (bytes, crc32));
        }
        let all = ["Data.db", "Digest.crc32", "TOC.txt"];
        let list = all.iter().chain(&OTHERS).map(|name| format!("{name}\n"));
        let texts = [
            ("Digest.crc32", crc32.to_string()),
            ("TOC.txt", list.collect()),
        ];
        for (component, text) in texts {
            fs::write(path(component), &text)?;
            let crc32 = crc32fast::hash(text.as_bytes());
            add(component, (text.len() as u64, crc32));
        }
        Ok(SsTable {
            name,
            files,
            crc32: Some(crc32),
            digest: None,
        })
    }

    /// All of it, as it is to be uploaded.
    pub(crate) fn all(&self) -> Result<List> {
        self.beyond(0)
    }

    /// What is to be uploaded if the bucket holds the first `percent` of each table's SSTables.
    pub(crate) fn beyond(&self, percent: usize) -> Result<List> {
        let chunks = self.plan(&self.known(percent)?)?;
        let files = chunks.iter().flat_map(|chunk| &chunk.files).map(|file| {
            let crc32 = self.sums.get(&file.path).copied();
            Ok(Piece {
                path: self.root.join(&file.path),
                key: file.key.clone(),
                bytes: file.bytes,
                crc32: crc32.with_context(|| format!("{} was never written", file.path))?,
            })
        });
        let files = files.collect::<Result<_>>()?;
        Ok(List { files, chunks })
    }

    /// A bucket that holds the first `percent` of each table's SSTables.
    fn known(&self, percent: usize) -> Result<Remote> {
        let mut remote = Remote::default();
        for table in &self.tables {
            let (keyspace, name) = (&table.keyspace, &table.table);
            let dir = TableDir::new(&self.owner, keyspace, name, table.version)?;
            let known = &table.sstables[..table.sstables.len() * percent / 100];
            for file in known.iter().flat_map(|sstable| &sstable.files) {
                let key = dir.component(&file.name)?;
                remote.objects.insert(key, file.bytes);
            }
        }
        Ok(remote)
    }

    /// The chunks that hold what `remote` lacks.
    fn plan(&self, remote: &Remote) -> Result<Vec<Chunk>> {
        let tag: SnapshotTag = TAG.parse()?;
        let frame = Frame {
            owner: &self.owner,
            origin: id(3)?,
            task: id(4)?,
            tag: &tag,
            units: &[],
            limits: Limits::CHUNK,
        };
        Ok(plan(&frame, self.tables.clone(), remote)?.chunks)
    }

    /// The directory of its first table, with what lies there: number of files, and their bytes.
    pub(crate) fn first_table(&self) -> (PathBuf, usize, u64) {
        let table = &self.tables[0];
        let bytes = table.sstables.iter().map(SsTable::bytes).sum();
        let files = table.sstables.iter().map(|one| one.files.len()).sum();
        (self.root.join(&table.dir), files, bytes)
    }
}

/// Writes a file of random bytes; gives their CRC-32.
fn noise(path: &Path, bytes: u64, seed: u64) -> Result<u32> {
    let mut file = File::create(path)?;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut space = vec![0; usize::try_from(bytes.min(MIB))?];
    let mut crc = Hasher::new();
    let mut left = bytes;
    while left > 0 {
        let piece = &mut space[..usize::try_from(left.min(MIB))?];
        random.fill_bytes(piece);
        crc.update(piece);
        file.write_all(piece)?;
        left -= piece.len() as u64;
    }
    Ok(crc.finalize())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn small() -> Set {
        Set::new("small", 2, 10, 100..=3000)
    }

    #[test]
    fn a_set_is_the_same_each_time_and_its_digests_are_true() -> Result<()> {
        let dirs = [tempfile::tempdir()?, tempfile::tempdir()?];
        let lists = dirs.each_ref().map(|dir| fill(&small(), dir.path())?.all());
        let [one, other] = lists;
        let (one, other): (List, List) = (one?, other?);
        assert_eq!(one.files.len(), 20 * COMPONENTS);
        for (a, b) in one.files.iter().zip(&other.files) {
            assert_eq!((&a.key, a.bytes, a.crc32), (&b.key, b.bytes, b.crc32));
            let content = fs::read(&a.path)?;
            assert_eq!(
                (content.len() as u64, crc32fast::hash(&content)),
                (a.bytes, a.crc32)
            );
        }
        let sums: BTreeSet<u32> = one.files.iter().map(|file| file.crc32).collect();
        assert!(sums.len() > 20 * (COMPONENTS - 1), "contents differ");
        let digests = one
            .files
            .iter()
            .filter(|file| file.key.ends_with("Digest.crc32"));
        for file in digests {
            let data = file.key.replace("Digest.crc32", "Data.db");
            let data = one.files.iter().find(|other| other.key == data);
            let said: u32 = fs::read_to_string(&file.path)?.parse()?;
            assert_eq!(data.map(|data| data.crc32), Some(said));
        }
        let checked = one.chunks.iter().flat_map(|chunk| &chunk.files);
        assert_eq!(checked.filter(|file| file.crc32.is_some()).count(), 20);
        Ok(())
    }

    #[test]
    fn what_is_known_is_not_planned_again() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let filled = fill(&small(), dir.path())?;
        assert_eq!(filled.beyond(90)?.files.len(), 2 * COMPONENTS);
        assert_eq!(filled.beyond(100)?.chunks.len(), 0);
        Ok(())
    }
}
