//! Synthetic SSTables: rows of our own inside files that look like the real ones from outside.
//!
//! `Data.db` is an 8-byte magic, the 16-byte SSTable identifier and then one frame per row, by
//! ascending token. Statistics, Filter, Index, Summary, Partitions and Rows begin with the same
//! identifier, so files of different SSTables cannot be mixed up unnoticed. Digest.crc32, CRC.db,
//! Scylla.db and TOC.txt are as ScyllaDB writes them.

pub(crate) mod component;
pub(crate) mod frame;
pub(crate) mod merge;
pub(crate) mod name;
pub(crate) mod reader;
pub(crate) mod writer;

use std::io;
use std::path::Path;

use uuid::Uuid;

use frame::Entry;
use name::Name;

/// A complete SSTable on disk. Values stay there; this holds some 48 bytes per row.
#[derive(Debug)]
pub(crate) struct SsTable {
    pub(crate) name: Name,
    pub(crate) id: Uuid,
    /// Component suffixes, from TOC.txt.
    pub(crate) components: Vec<String>,
    /// Bytes of all its files as allocated on disk.
    pub(crate) disk_bytes: u64,
    /// Bytes of Data.db.
    pub(crate) data_bytes: u64,
    /// Bytes of Index.db, or Partitions.db and Rows.db.
    pub(crate) index_bytes: u64,
    /// Its rows, by token.
    pub(crate) entries: Vec<Entry>,
}

impl SsTable {
    /// Removes its files from `dir`, TOC.txt first; files already gone are fine.
    pub(crate) fn unlink(&self, dir: &Path) -> io::Result<()> {
        let toc_first = |component: &&String| *component != "TOC.txt";
        let mut components: Vec<_> = self.components.iter().collect();
        components.sort_by_key(toc_first);
        for component in components {
            match std::fs::remove_file(dir.join(self.name.file(component))) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}
