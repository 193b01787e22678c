//! Breaks a bucket that was written to a directory, one object at a time.

use std::{
    fs::{self, File, Permissions},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;

use super::{manifest::gzip, random::Random};

/// Removes an object.
///
/// # Errors
/// All here fail when there is no such object, or when it can't be read or written.
pub fn delete(bucket: &Path, key: &str) -> Result<()> {
    fs::remove_file(bucket.join(key)).with_context(|| format!("cannot delete {key}"))
}

/// Leaves an object without content.
///
/// # Errors
/// As [`delete`].
pub fn empty(bucket: &Path, key: &str) -> Result<()> {
    change(bucket, key, |_| Vec::new())
}

/// Cuts an object to its first `length` bytes.
///
/// # Errors
/// As [`delete`].
pub fn truncate(bucket: &Path, key: &str, length: usize) -> Result<()> {
    change(bucket, key, |mut bytes| {
        bytes.truncate(length);
        bytes
    })
}

/// Turns over one bit of an object, and says which: it lies in byte `bit / 8`.
///
/// # Errors
/// As [`delete`].
pub fn flip_bit(bucket: &Path, key: &str, seed: u64) -> Result<usize> {
    let mut flipped = 0;
    change(bucket, key, |mut bytes| {
        flipped = flip(&mut bytes, seed);
        bytes
    })?;
    Ok(flipped)
}

/// Turns over one bit of what a compressed object holds, and compresses it again, so that only the
/// content can tell. Says which bit of the content.
///
/// # Errors
/// As [`delete`].
pub fn flip_content_bit(bucket: &Path, key: &str, seed: u64) -> Result<usize> {
    let mut bytes = content(bucket, key)?;
    let flipped = flip(&mut bytes, seed);
    change(bucket, key, |_| gzip(&bytes))?;
    Ok(flipped)
}

/// Says a field of a manifest once more, at its end. `value` is JSON.
///
/// # Errors
/// As [`delete`].
pub fn repeat_field(bucket: &Path, key: &str, field: &str, value: &str) -> Result<()> {
    edit(bucket, key, |text| {
        let end = text.rfind('}').unwrap_or(text.len());
        format!("{},\"{field}\":{value}}}", &text[..end])
    })
}

/// Makes a manifest one of a version that does not exist yet.
///
/// # Errors
/// As [`delete`].
pub fn future_version(bucket: &Path, key: &str) -> Result<()> {
    edit(bucket, key, |text| {
        text.replacen("\"version\":\"v2\"", "\"version\":\"v9\"", 1)
    })
}

/// Changes the text of a compressed object.
///
/// # Errors
/// As [`delete`], and when the text stays the same.
pub fn edit(bucket: &Path, key: &str, with: impl FnOnce(&str) -> String) -> Result<()> {
    let before = String::from_utf8(content(bucket, key)?).context("a text")?;
    let after = with(&before);
    ensure!(before != after, "the text of {key} stays the same");
    change(bucket, key, |_| gzip(after.as_bytes()))
}

/// How [`unreadable`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is listed, and may not be read.
    Denied,
    /// Nothing is denied to whoever runs this: there is a directory in its place, with a file, so
    /// that a listing has a key that begins with this one.
    Directory,
}

/// Makes an object that can't be read.
///
/// # Errors
/// As [`delete`].
pub fn unreadable(bucket: &Path, key: &str) -> Result<Unreadable> {
    let path = bucket.join(key);
    fs::set_permissions(&path, Permissions::from_mode(0o000))?;
    if File::open(&path).is_err() {
        return Ok(Unreadable::Denied);
    }
    fs::remove_file(&path)?;
    fs::create_dir(&path)?;
    fs::write(path.join("in-its-place"), "")?;
    Ok(Unreadable::Directory)
}

/// Adds `count` objects of nobody's below a prefix.
///
/// # Errors
/// When they can't be written.
pub fn crowd(bucket: &Path, prefix: &str, count: usize) -> Result<()> {
    let dir = bucket.join(prefix);
    fs::create_dir_all(&dir)?;
    for number in 0..count {
        File::create_new(dir.join(format!("{number:07}")))?;
    }
    Ok(())
}

fn flip(bytes: &mut [u8], seed: u64) -> usize {
    let bit = Random::new(seed).index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bit
}

fn content(bucket: &Path, key: &str) -> Result<Vec<u8>> {
    let file = File::open(bucket.join(key)).with_context(|| format!("cannot read {key}"))?;
    let mut content = Vec::new();
    MultiGzDecoder::new(file).read_to_end(&mut content)?;
    Ok(content)
}

fn change(bucket: &Path, key: &str, with: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Result<()> {
    let path = bucket.join(key);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {key}"))?;
    fs::write(&path, with(bytes)).with_context(|| format!("cannot write {key}"))
}
