//! What reading files does to the machine they are on. Alone in its process, whose reads it counts.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::Advice;
use store::Stores;

const MIB: u64 = 1 << 20;

/// `f_type` of what lies in memory.
const TMPFS: i64 = 0x0102_1994;

/// Bytes that this process has had read from disks.
fn disk() -> Result<u64> {
    let counts = std::fs::read_to_string("/proc/self/io")?;
    let line = counts
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "));
    Ok(line.context("a count of bytes read")?.parse()?)
}

/// Writes a file that is on the disk and nowhere else.
fn write(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&vec![7; usize::try_from(bytes)?])?;
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?)
}

#[tokio::test]
async fn a_file_is_read_once_and_the_page_cache_left_alone() -> Result<()> {
    // Where temporary files are may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    if rustix::fs::statfs(dir.path())?.f_type == TMPFS {
        eprintln!("not tested: the build directory is in memory");
        return Ok(());
    }
    let store = Stores::memory().open(&"s3:b".parse()?).await?;
    for (count, bytes) in [(1, 24 * MIB + 5), (40, 100_000), (8, 200_000)] {
        let paths: Vec<_> = (0..count)
            .map(|n| dir.path().join(format!("{bytes}-{n}")))
            .collect();
        for path in &paths {
            write(path, bytes)?;
        }
        let before = disk()?;
        for path in &paths {
            store.put_file("k", path, bytes, None, &|_| ()).await?;
        }
        let all = count * bytes;
        let read = disk()? - before;
        // Disks are read in blocks of 4 KiB.
        let most = all / 50 + all + count * 4_096;
        ensure!(
            (all..=most).contains(&read),
            "{read} bytes were read, of {all}"
        );

        let before = disk()?;
        for path in &paths {
            File::open(path)?.read_to_end(&mut Vec::new())?;
        }
        let read = disk()? - before;
        ensure!(
            read >= all / 20 * 19,
            "{read} bytes of {all} were not in the page cache"
        );
    }
    Ok(())
}
