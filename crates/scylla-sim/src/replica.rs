//! One table on one node: its directory, live SSTables and memtable.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use uuid::Uuid;

use crate::repair::Purge;
use crate::sstable::frame::Entry;
use crate::sstable::name::Generations;
use crate::sstable::reader::{self, Check};
use crate::sstable::writer::{Style, Writer};
use crate::sstable::{SsTable, merge};
use crate::topology::Placement;

/// Bytes of values a memtable may hold before it is flushed.
const MEMTABLE: usize = 16 << 20;
/// SSTables one compaction reads, to bound open files.
const COMPACTED: usize = 200;

/// A row not yet in an SSTable.
#[derive(Clone, Debug)]
pub(crate) struct Fresh {
    pub(crate) entry: Entry,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) keyspace: String,
    pub(crate) table: String,
    pub(crate) dir: PathBuf,
    pub(crate) style: Style,
    pub(crate) generations: Arc<Generations>,
    live: Mutex<Vec<Arc<SsTable>>>,
    memtable: Mutex<Vec<Fresh>>,
    /// Off means compaction by itself is disabled; volatile.
    pub(crate) auto_compaction: AtomicBool,
    /// Off means compaction keeps tombstones; volatile.
    pub(crate) tombstone_gc: AtomicBool,
}

/// What a [`Replica`] is made of.
pub(crate) struct Origin<'a> {
    pub(crate) data: &'a Path,
    pub(crate) keyspace: &'a str,
    pub(crate) table: &'a str,
    pub(crate) id: Uuid,
    pub(crate) style: Style,
    pub(crate) generations: Arc<Generations>,
}

impl Replica {
    /// Makes or reopens the directory; SSTables without TOC are removed, as at a node's start.
    pub(crate) fn open(origin: Origin<'_>) -> io::Result<Self> {
        let Origin {
            data,
            keyspace,
            table,
            id,
            style,
            generations,
        } = origin;
        let dir = data.join(keyspace).join(format!("{table}-{}", id.simple()));
        for sub in [
            "",
            "snapshots",
            "staging",
            "upload",
            "quarantine",
            "pending_delete",
        ] {
            fs::create_dir_all(dir.join(sub))?;
        }
        let mut live = Vec::new();
        for (name, components) in reader::list(&dir)?.tables {
            generations.seen(&name.generation);
            if components.iter().any(|c| c == "TOC.txt") {
                live.push(Arc::new(reader::open(&dir, &name, Check::Quick)?));
            } else {
                for component in components {
                    fs::remove_file(dir.join(name.file(&component)))?;
                }
            }
        }
        Ok(Self {
            keyspace: keyspace.to_owned(),
            table: table.to_owned(),
            dir,
            style,
            generations,
            live: Mutex::new(live),
            memtable: Mutex::default(),
            auto_compaction: AtomicBool::new(true),
            tombstone_gc: AtomicBool::new(true),
        })
    }

    /// The live SSTables; while the guard is held none comes or goes.
    pub(crate) fn live(&self) -> MutexGuard<'_, Vec<Arc<SsTable>>> {
        self.live.lock().expect("no panic while held")
    }

    fn memtable(&self) -> MutexGuard<'_, Vec<Fresh>> {
        self.memtable.lock().expect("no panic while held")
    }

    /// Forgets what a restart forgets.
    pub(crate) fn restart(&self) {
        self.auto_compaction.store(true, Ordering::Relaxed);
        self.tombstone_gc.store(true, Ordering::Relaxed);
    }

    /// Begins an SSTable that [`Self::attach`] will make live.
    pub(crate) fn writer(&self) -> io::Result<Writer> {
        Writer::create(&self.dir, &self.generations, &self.style)
    }

    pub(crate) fn attach(&self, table: SsTable) {
        self.live().push(Arc::new(table));
    }

    /// Puts rows into the memtable; flushes when it has grown too large.
    pub(crate) fn write(&self, rows: Vec<Fresh>, placement: &Placement) -> io::Result<()> {
        let full = {
            let mut memtable = self.memtable();
            memtable.extend(rows);
            memtable.iter().map(|row| row.value.len()).sum::<usize>() > MEMTABLE
        };
        if full { self.flush(placement) } else { Ok(()) }
    }

    /// Writes the memtable out: one new SSTable, or one per tablet.
    pub(crate) fn flush(&self, placement: &Placement) -> io::Result<()> {
        let mut memtable = self.memtable();
        memtable.sort_by_key(|row| row.entry.order());
        memtable.dedup_by(|later, kept| later.entry.same_key(&kept.entry));
        let mut rest = memtable.as_slice();
        while let Some(first) = rest.first() {
            let tablet = placement.tablet(first.entry.token);
            let end = rest.partition_point(|row| placement.tablet(row.entry.token) <= tablet);
            let mut writer = self.writer()?;
            for row in &rest[..end] {
                writer.push(row.entry, &row.key, &row.value)?;
            }
            self.attach(writer.finish()?);
            rest = &rest[end..];
        }
        memtable.clear();
        Ok(())
    }

    /// Merges up to `most` live SSTables (of each tablet) into one and deletes the old files. Tombstones that
    /// `purge` allows are forgotten, unless something else here has the row.
    ///
    /// Returns how many SSTables were merged.
    pub(crate) fn compact(
        &self,
        placement: &Placement,
        most: usize,
        purge: Purge,
    ) -> io::Result<usize> {
        let mut by_tablet = std::collections::BTreeMap::<usize, Vec<Arc<SsTable>>>::new();
        let mut live = self.live();
        for table in live.iter() {
            let token = table.entries.first().map_or(0, |entry| entry.token);
            by_tablet
                .entry(placement.tablet(token))
                .or_default()
                .push(Arc::clone(table));
        }
        let mut merged = 0;
        for mut group in by_tablet.into_values() {
            group.truncate(most.clamp(1, COMPACTED));
            if group.len() < 2 && most != usize::MAX {
                continue;
            }
            let others: Vec<_> = live
                .iter()
                .filter(|table| !group.iter().any(|old| Arc::ptr_eq(old, table)))
                .cloned()
                .collect();
            let new = self.merge(&group, &others, purge)?;
            live.retain(|table| !group.iter().any(|old| Arc::ptr_eq(old, table)));
            live.extend(new.map(Arc::new));
            group.iter().try_for_each(|old| old.unlink(&self.dir))?;
            merged += group.len();
        }
        Ok(merged)
    }

    /// One new SSTable of `group`; none when nothing is left.
    fn merge(
        &self,
        group: &[Arc<SsTable>],
        others: &[Arc<SsTable>],
        purge: Purge,
    ) -> io::Result<Option<SsTable>> {
        let mut writer = None;
        let tables = group
            .iter()
            .map(|table| (self.dir.as_path(), table.as_ref()));
        merge::newest(tables, |entry, key, value| {
            if entry.traits.dead && purge.allows(value) && !self.elsewhere(others, &entry) {
                return Ok(());
            }
            if writer.is_none() {
                writer = Some(self.writer()?);
            }
            writer
                .as_mut()
                .map_or(Ok(()), |writer| writer.push(entry, key, value))
        })?;
        writer.map(Writer::finish).transpose()
    }

    /// Whether any of `others` or the memtable has a version of the row.
    fn elsewhere(&self, others: &[Arc<SsTable>], entry: &Entry) -> bool {
        let stored = |table: &Arc<SsTable>| {
            let start = table
                .entries
                .partition_point(|other| other.token < entry.token);
            let near = table.entries[start..].iter();
            near.take_while(|other| other.token == entry.token)
                .any(|other| other.same_key(entry))
        };
        let fresh = |row: &Fresh| row.entry.same_key(entry);
        others.iter().any(stored) || self.memtable().iter().any(fresh)
    }

    /// Takes SSTables out and deletes their files.
    pub(crate) fn retire(&self, old: &[Arc<SsTable>]) -> io::Result<()> {
        self.live()
            .retain(|table| !old.iter().any(|gone| Arc::ptr_eq(gone, table)));
        old.iter().try_for_each(|table| table.unlink(&self.dir))
    }

    /// Deletes all rows: files and memtable.
    pub(crate) fn truncate(&self) -> io::Result<()> {
        self.memtable().clear();
        let gone = std::mem::take(&mut *self.live());
        gone.iter().try_for_each(|table| table.unlink(&self.dir))
    }

    /// The newest versions here of the rows with tokens of `range`, with their values: at least `want` of
    /// them if there are so many, and whole partitions. Also how far they go.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn scan(&self, range: (i64, i64), want: usize) -> io::Result<(Vec<Fresh>, i64)> {
        // While held no file goes away.
        let live = self.live();
        let memtable: Vec<Fresh> = {
            let memtable = self.memtable();
            let inside = memtable.iter();
            let inside = inside.filter(|row| (range.0..=range.1).contains(&row.entry.token));
            inside.cloned().collect()
        };
        let mut far = range.1;
        for table in live.iter() {
            let start = table.entries.partition_point(|entry| entry.token < range.0);
            if let Some(last) = table.entries.get(start.saturating_add(want)) {
                far = far.min(last.token);
            }
        }
        let mut found: Vec<(Entry, Option<usize>, usize)> = Vec::new();
        for (at, table) in live.iter().enumerate() {
            let start = table.entries.partition_point(|entry| entry.token < range.0);
            let inside = table.entries[start..].iter();
            let inside = inside.take_while(|entry| entry.token <= far);
            found.extend(inside.map(|entry| (*entry, Some(at), 0)));
        }
        let fresh = memtable.iter().enumerate();
        let fresh = fresh.filter(|(_, row)| row.entry.token <= far);
        found.extend(fresh.map(|(at, row)| (row.entry, None, at)));
        found.sort_unstable_by_key(|(entry, ..)| entry.order());
        found.dedup_by(|(later, ..), (kept, ..)| later.same_key(kept));
        let mut files: Vec<Option<fs::File>> = live.iter().map(|_| None).collect();
        let mut rows = Vec::with_capacity(found.len());
        let mut buffer = Vec::new();
        for (entry, table, at) in found {
            let Some(table) = table else {
                rows.push(memtable[at].clone());
                continue;
            };
            let file = match &mut files[table] {
                Some(file) => file,
                unopened => {
                    let path = self.dir.join(live[table].name.file("Data.db"));
                    unopened.insert(fs::File::open(path)?)
                }
            };
            let value = entry.read(file, &mut buffer)?;
            let (key, value) = (buffer[..value].to_vec(), buffer[value..].to_vec());
            rows.push(Fresh { entry, key, value });
        }
        Ok((rows, far))
    }

    /// The newest version of every row here, by token.
    pub(crate) fn rows(&self) -> Vec<Entry> {
        let mut rows: Vec<Entry> = self.memtable().iter().map(|row| row.entry).collect();
        let live: Vec<_> = self.live().clone();
        rows.extend(live.iter().flat_map(|table| table.entries.iter().copied()));
        rows.sort_unstable_by_key(Entry::order);
        rows.dedup_by(|later, kept| later.same_key(kept));
        rows
    }

    /// Bytes on disk of the live SSTables.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.live().iter().map(|table| table.disk_bytes).sum()
    }
}
