//! The files of one upload, as whoever uploads them is told of them.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use catalog::Chunk;
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};

/// A file to be uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Where it goes.
    pub(crate) key: String,
    pub(crate) bytes: u64,
    /// Of its content.
    pub(crate) crc32: u32,
}

/// All files of an upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct List {
    pub(crate) files: Vec<Piece>,
    /// The same, as an uploader is told of them.
    pub(crate) chunks: Vec<Chunk>,
}

impl List {
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Writes it for a program to read.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        Ok(fs::write(path, serde_json::to_vec(self)?)?)
    }

    /// Reads what [`Self::write`] wrote.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Brings its files into the page cache: some readers tell the kernel to forget them.
    pub(crate) fn warm(&self) -> Result<()> {
        let mut space = vec![0; 1 << 20];
        for file in &self.files {
            let mut open = File::open(&file.path)?;
            while open.read(&mut space)? > 0 {}
        }
        Ok(())
    }

    /// Has the kernel forget its files, which must have been written to the disk.
    pub(crate) fn cool(&self) -> Result<()> {
        for file in &self.files {
            fadvise(File::open(&file.path)?, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }
}
