//! Reads from a file, past the page cache where that can be.

use std::{
    fs::{File, OpenOptions},
    io,
    num::NonZeroU64,
    ops::Range,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use crc32fast::Hasher;
use rustix::fs::{Advice, OFlags};

use crate::budget::LARGE;

/// The least that is worth telling the kernel to forget, in bytes: it keeps its pages in folios,
/// and forgets none that it is told only a part of.
const FORGOTTEN: u64 = 4 << 20;

/// A file that is read from.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    /// Whether reads go past the page cache. Then they begin at multiples of 4 KiB, in the file as
    /// in memory.
    direct: AtomicBool,
}

impl Reader {
    /// Opens a file of `bytes`. For small ones, going past the page cache costs more than it saves.
    pub(super) fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        let (file, direct) = match bytes < LARGE as u64 {
            true => (File::open(path)?, false),
            false => open_direct(path)?,
        };
        Ok(Self {
            file,
            direct: AtomicBool::new(direct),
        })
    }

    /// The file's length in bytes.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Fills `most` bytes of `space`, a block at most, from `at` on, hashing on the way; gives how many were
    /// filled, which is less only at the file's end. The rest of `space` may be written to as well.
    pub(super) fn fill(
        &self,
        space: &mut [u8],
        most: usize,
        at: u64,
        crc: &mut Hasher,
    ) -> io::Result<usize> {
        let mut done = 0;
        while done < most {
            let direct = self.direct.load(Ordering::Relaxed);
            match self.file.read_at(&mut space[done..], at + done as u64) {
                Ok(0) => break,
                Ok(read) => {
                    let read = read.min(most - done);
                    crc.update(&space[done..done + read]);
                    done += read;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if direct && refuses_direct(&e) => self.give_up_direct()?,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Some file systems refuse only when read from, or want larger multiples.
    fn give_up_direct(&self) -> io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(&self.file)?;
        rustix::fs::fcntl_setfl(&self.file, flags - OFlags::DIRECT)?;
        self.direct.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Tells the kernel that a range was read and won't be again.
    pub(super) fn forget(&self, range: Range<u64>) {
        let bytes = range.end - range.start;
        if bytes >= FORGOTTEN {
            self.advise(range.start, NonZeroU64::new(bytes));
        }
    }

    /// Only advice: a file system that does not take it is none the worse.
    fn advise(&self, start: u64, bytes: Option<NonZeroU64>) {
        if !self.direct.load(Ordering::Relaxed) {
            let _ = rustix::fs::fadvise(&self.file, start, bytes, Advice::DontNeed);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.advise(0, None);
    }
}

/// Opens a file for reading past the page cache, and says whether that can be.
fn open_direct(path: &Path) -> io::Result<(File, bool)> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).expect("a flag is small");
    let mut options = OpenOptions::new();
    match options.read(true).custom_flags(flags).open(path) {
        Err(e) if refuses_direct(&e) => Ok((File::open(path)?, false)),
        opened => Ok((opened?, true)),
    }
}

fn refuses_direct(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error())
}
