//! Writes one SSTable; `TOC.txt`, last, makes it exist.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use uuid::Uuid;

use super::SsTable;
use super::component::{self, CHUNK};
use super::frame::{Entry, MAGIC, START};
use super::name::{Generations, Name};
use crate::config::Format;

/// What all SSTables of a node and table have in common.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    pub(crate) format: Format,
    pub(crate) release: String,
    /// CompressionInfo.db instead of CRC.db.
    pub(crate) compressed: bool,
}

/// An SSTable being written. Memory: one chunk and the entries.
pub(crate) struct Writer {
    dir: PathBuf,
    style: Style,
    name: Name,
    id: Uuid,
    data: File,
    chunk: Vec<u8>,
    sums: Vec<u32>,
    whole: Hasher,
    offset: u64,
    entries: Vec<Entry>,
}

impl Writer {
    /// Begins the next SSTable of `dir`.
    pub(crate) fn create(dir: &Path, generations: &Generations, style: &Style) -> io::Result<Self> {
        let (generation, id) = generations.next();
        let version = style.format.as_str().to_owned();
        let name = Name {
            version,
            generation,
            format: "big".into(),
        };
        File::create(dir.join(name.file("TOC.txt.tmp")))?;
        let data = File::create_new(dir.join(name.file("Data.db")))?;
        let mut writer = Self {
            dir: dir.to_path_buf(),
            style: style.clone(),
            name,
            id,
            data,
            chunk: Vec::with_capacity(CHUNK),
            sums: Vec::new(),
            whole: Hasher::new(),
            offset: START,
            entries: Vec::new(),
        };
        writer.write(MAGIC)?;
        writer.write(id.as_bytes())?;
        Ok(writer)
    }

    /// Adds a row; `entry.offset` does not matter. Rows come by ascending token.
    pub(crate) fn push(&mut self, mut entry: Entry, key: &[u8], value: &[u8]) -> io::Result<()> {
        debug_assert!(
            self.entries
                .last()
                .is_none_or(|last| last.token <= entry.token)
        );
        entry.offset = self.offset;
        self.offset += entry.len();
        let header = entry.header(key);
        self.entries.push(entry);
        self.write(&header)?;
        self.write(value)
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == CHUNK {
                self.end_chunk()?;
            }
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> io::Result<()> {
        if !self.chunk.is_empty() {
            let mut sum = Hasher::new();
            sum.update(&self.chunk);
            self.whole.combine(&sum);
            self.sums.push(sum.finalize());
            self.data.write_all(&self.chunk)?;
            self.chunk.clear();
        }
        Ok(())
    }

    /// Writes the other components, `TOC.txt` last.
    pub(crate) fn finish(mut self) -> io::Result<SsTable> {
        self.end_chunk()?;
        let digest = self.whole.clone().finalize();
        let mut files = self.fillers();
        let index = files
            .iter()
            .filter(|(name, _)| matches!(*name, "Index.db" | "Partitions.db" | "Rows.db"));
        let index_bytes = index.map(|(_, content)| content.len() as u64).sum();
        let mut components = vec![
            "Data.db".to_owned(),
            "Digest.crc32".into(),
            "Scylla.db".into(),
        ];
        components.extend(files.iter().map(|(name, _)| (*name).to_owned()));
        components.push("TOC.txt".into());
        let toc: String = components
            .iter()
            .flat_map(|name| [name.as_str(), "\n"])
            .collect();
        let scylla = self.scylla_db(&files, digest, toc.as_bytes());
        files.push(("Digest.crc32", digest.to_string().into_bytes()));
        files.push(("Scylla.db", scylla));
        let mut disk_bytes = self.data.metadata()?.blocks() * 512;
        for (name, content) in &files {
            disk_bytes += self.put(name, content)?;
        }
        disk_bytes += self.seal(toc.as_bytes())?;
        Ok(SsTable {
            name: self.name,
            id: self.id,
            components,
            disk_bytes,
            data_bytes: self.offset,
            index_bytes,
            entries: self.entries,
        })
    }

    /// The components that depend on nothing but the rows.
    fn fillers(&self) -> Vec<(&'static str, Vec<u8>)> {
        let tries = self.style.format.tries();
        let mut files = component::fillers(tries, self.id, self.entries.len(), self.offset);
        files.push(if self.style.compressed {
            (
                "CompressionInfo.db",
                component::compression_info(self.offset),
            )
        } else {
            ("CRC.db", component::crc_db(&self.sums))
        });
        files
    }

    /// With checksums for `mt`; as in real ones, those of CRC.db and Digest.crc32 are not among them.
    fn scylla_db(&self, files: &[(&'static str, Vec<u8>)], digest: u32, toc: &[u8]) -> Vec<u8> {
        let number = |name: &str| {
            component::NUMBERS
                .iter()
                .find(|(n, _)| *n == name)
                .expect("known")
                .1
        };
        let mut sums: Vec<_> = files
            .iter()
            .filter(|(name, _)| *name != "CRC.db")
            .map(|(name, content)| (number(name), crc32fast::hash(content)))
            .collect();
        sums.push((number("TOC.txt"), crc32fast::hash(toc)));
        sums.push((number("Data.db"), digest));
        let mt = self.style.format == Format::Mt;
        component::scylla_db(&self.style.release, self.id, mt.then_some(&sums))
    }

    fn put(&self, component: &str, content: &[u8]) -> io::Result<u64> {
        let mut file = File::create(self.dir.join(self.name.file(component)))?;
        file.write_all(content)?;
        Ok(file.metadata()?.blocks() * 512)
    }

    fn seal(&self, toc: &[u8]) -> io::Result<u64> {
        let blocks = self.put("TOC.txt.tmp", toc)?;
        let tmp = self.dir.join(self.name.file("TOC.txt.tmp"));
        fs::rename(tmp, self.dir.join(self.name.file("TOC.txt")))?;
        Ok(blocks)
    }
}
