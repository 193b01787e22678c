//! The limit: what it costs to read files, hash them and send them, and nothing else.
//!
//! A thread for each connection; requests made by hand; parts of 16 MiB, read and sent 256 KiB at a
//! time. The checksum of a small file is known before it is sent, as ScyllaDB's digests are, and goes
//! into a header; those of parts are computed on the way and go into the list of parts. All are
//! compared with what was read.

mod connection;

use std::{
    collections::BTreeMap,
    fs::File,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::Args;
use crc32fast::Hasher;

use self::connection::{Connection, Endpoint};
use crate::list::{List, Piece};

/// Bytes read at once.
const STEP: u64 = 256 << 10;
/// Bytes of a part; a file of at most that goes in one request.
const PART: u64 = 16 << 20;

/// Send files as fast as can be.
#[derive(Args, Clone, Debug)]
pub(crate) struct Raw {
    /// Which files: as `List` writes them
    #[arg(long)]
    pub(crate) list: PathBuf,
    /// The server's base URL
    #[arg(long)]
    pub(crate) endpoint: String,
    /// The certificate to trust
    #[arg(long)]
    pub(crate) authority: Option<PathBuf>,
    /// How many at once
    #[arg(long)]
    pub(crate) connections: usize,
}

/// What is sent by one request.
struct Unit<'a> {
    file: &'a Piece,
    range: Range<u64>,
    /// Of which upload, and as which part.
    part: Option<(&'a str, u32)>,
}

/// Parts sent, with their CRC-32, by upload.
type Sent = Mutex<BTreeMap<String, BTreeMap<u32, Hasher>>>;

/// Sends all files; gives how many seconds that took.
pub(crate) fn send(raw: &Raw) -> Result<f64> {
    let list = List::read(&raw.list)?;
    let endpoint = Endpoint::new(&raw.endpoint, raw.authority.as_deref())?;
    let began = Instant::now();
    let mut first = endpoint.connect()?;
    let mut uploads = BTreeMap::new();
    for file in list.files.iter().filter(|file| file.bytes > PART) {
        let answer = first.ask("POST", &format!("{}?uploads", file.key), "", b"")?;
        let (_, rest) = answer
            .split_once("<UploadId>")
            .context("an upload has a name")?;
        let (id, _) = rest.split_once('<').context("a name ends")?;
        uploads.insert(&*file.key, id.to_owned());
    }
    let units = units(&list, &uploads);
    let (next, sent) = (AtomicUsize::new(0), Sent::default());
    thread::scope(|scope| {
        let mut threads = vec![scope.spawn(|| work(&mut first, &units, &next, &sent))];
        for _ in 1..raw.connections.min(units.len()) {
            threads.push(scope.spawn(|| work(&mut endpoint.connect()?, &units, &next, &sent)));
        }
        let mut ends = threads.into_iter().map(|one| one.join().expect("no panic"));
        ends.try_for_each(|end| end)
    })?;
    let mut sent = sent.into_inner().unwrap_or_else(PoisonError::into_inner);
    for file in list.files.iter().filter(|file| file.bytes > PART) {
        let id = &uploads[&*file.key];
        let parts = sent.remove(id).context("each upload has parts")?;
        complete(&mut first, file, id, &parts)?;
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Large files first, so that no connection is left with one of them at the end.
fn units<'a>(list: &'a List, uploads: &'a BTreeMap<&str, String>) -> Vec<Unit<'a>> {
    let (mut large, mut small) = (Vec::new(), Vec::new());
    for file in &list.files {
        let Some(id) = uploads.get(&*file.key) else {
            let range = 0..file.bytes;
            let part = None;
            small.push(Unit { file, range, part });
            continue;
        };
        let starts = (0..file.bytes.div_ceil(PART)).map(|n| n * PART);
        for (start, number) in starts.zip(1..) {
            let range = start..(start + PART).min(file.bytes);
            let part = Some((&**id, number));
            large.push(Unit { file, range, part });
        }
    }
    large.append(&mut small);
    large
}

fn work(to: &mut Connection, units: &[Unit<'_>], next: &AtomicUsize, sent: &Sent) -> Result<()> {
    let most = units.iter().map(|unit| unit.range.end - unit.range.start);
    let most = most.max().unwrap_or(0).min(STEP);
    let mut space = vec![0; usize::try_from(most)?];
    while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
        let crc = one(to, unit, &mut space)?;
        match unit.part {
            None => {
                let (found, expected) = (crc.finalize(), unit.file.crc32);
                let path = unit.file.path.display();
                ensure!(
                    found == expected,
                    "{path} has changed: {found} is not {expected}"
                );
            }
            Some((id, number)) => {
                let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                sent.entry(id.to_owned()).or_default().insert(number, crc);
            }
        }
    }
    Ok(())
}

/// Reads, hashes and sends one unit.
fn one(to: &mut Connection, unit: &Unit<'_>, space: &mut [u8]) -> Result<Hasher> {
    let (target, header) = match unit.part {
        None => {
            let crc32 = encoded(unit.file.crc32);
            (
                unit.file.key.clone(),
                format!("x-amz-checksum-crc32: {crc32}\r\n"),
            )
        }
        Some((id, number)) => {
            let key = &unit.file.key;
            (
                format!("{key}?partNumber={number}&uploadId={id}"),
                String::new(),
            )
        }
    };
    let file = File::open(&unit.file.path)?;
    let mut crc = Hasher::new();
    to.begin("PUT", &target, &header, unit.range.end - unit.range.start);
    let mut at = unit.range.start;
    while at < unit.range.end {
        let bytes = usize::try_from(unit.range.end - at)?.min(space.len());
        file.read_exact_at(&mut space[..bytes], at)?;
        crc.update(&space[..bytes]);
        to.write(&space[..bytes])?;
        at += bytes as u64;
    }
    to.end()?;
    Ok(crc)
}

fn complete(
    to: &mut Connection,
    file: &Piece,
    id: &str,
    parts: &BTreeMap<u32, Hasher>,
) -> Result<()> {
    let (mut list, mut whole) = (String::new(), Hasher::new());
    for (number, crc) in parts {
        whole.combine(crc);
        let crc32 = encoded(crc.clone().finalize());
        list += &format!(
            "<Part><PartNumber>{number}</PartNumber><ChecksumCRC32>{crc32}</ChecksumCRC32></Part>"
        );
    }
    let found = whole.finalize();
    let path = file.path.display();
    ensure!(
        found == file.crc32,
        "{path} has changed: {found} is not {}",
        file.crc32
    );
    let body = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    to.ask(
        "POST",
        &format!("{}?uploadId={id}", file.key),
        "",
        body.as_bytes(),
    )?;
    Ok(())
}

fn encoded(crc32: u32) -> String {
    BASE64_STANDARD.encode(crc32.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use ::tests::{NullS3, null_s3::Options};

    use super::*;
    use crate::data::{Set, fill};

    /// A server that checks sees each byte, small files, large ones and parts alike.
    async fn all_arrives(options: Options) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let set = Set::of_series("raw", 3, PART + PART / 3);
        let list = fill(&set, dir.path())?.all()?;
        let path = dir.path().join("list.json");
        list.write(&path)?;
        let null = NullS3::start(&options).await?;
        let raw = Raw {
            list: path,
            endpoint: null.endpoint().to_owned(),
            authority: null.authority().map(PathBuf::from),
            connections: 3,
        };
        tokio::task::spawn_blocking(move || send(&raw)).await??;
        let stored = null.below("").await?;
        assert_eq!(stored.len(), list.files.len());
        for file in &list.files {
            let object = &stored[&file.key];
            assert_eq!((object.bytes, object.crc32), (file.bytes, Some(file.crc32)));
        }
        let tally = null.tally().await?;
        assert_eq!((tally.damaged, tally.connections), (0, 3));
        assert_eq!(tally.requests["UploadPart"], 6);
        Ok(())
    }

    #[tokio::test]
    async fn all_bytes_arrive() -> Result<()> {
        all_arrives(Options::checking()).await
    }

    #[tokio::test]
    async fn all_bytes_arrive_by_tls() -> Result<()> {
        let options = Options {
            check: true,
            ..Options::tls()
        };
        all_arrives(options).await
    }

    #[tokio::test]
    async fn a_file_that_is_not_what_it_was_is_not_sent_as_what_it_was() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut list = fill(&Set::of_series("raw", 1, 100), dir.path())?.all()?;
        list.files[0].crc32 ^= 1;
        let path = dir.path().join("list.json");
        list.write(&path)?;
        let null = NullS3::start(&Options::checking()).await?;
        let raw = Raw {
            list: path,
            endpoint: null.endpoint().to_owned(),
            authority: None,
            connections: 1,
        };
        let sent = tokio::task::spawn_blocking(move || send(&raw)).await?;
        assert!(sent.unwrap_err().to_string().contains("400"));
        assert_eq!(null.tally().await?.damaged, 1);
        Ok(())
    }
}
