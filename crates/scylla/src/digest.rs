//! Checksums of files.

use std::{fs::File, io::Read as _, path::Path};

use crate::Error;

/// Bytes read at once: what fits into a processor's cache.
const STEP: usize = 256 << 10;

/// The checksum a `Digest.crc32` file holds: 1 to 10 digits and nothing else.
///
/// `None` for anything else, as where encryption at rest hides it: such an SSTable can't be checked
/// against its digest.
#[must_use]
pub fn read_digest(content: &[u8]) -> Option<u32> {
    let digits = (1..=10).contains(&content.len()) && content.iter().all(u8::is_ascii_digit);
    digits
        .then(|| std::str::from_utf8(content).ok()?.parse().ok())
        .flatten()
}

/// The CRC-32 (IEEE) and length of a file, read once in small steps. Blocks.
///
/// # Errors
/// [`Error::File`] if it can't be read.
pub fn crc32_of(path: &Path) -> Result<(u32, u64), Error> {
    let mut file = File::open(path).map_err(Error::file("open", path))?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; STEP];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).map_err(Error::file("read", path))?;
        if read == 0 {
            return Ok((hasher.finalize(), bytes));
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_digits_only() {
        assert_eq!(read_digest(b"1470505821"), Some(1_470_505_821));
        assert_eq!(read_digest(b"0"), Some(0));
        for other in [
            &b""[..],
            b"1470505821\n",
            b"99999999999",
            b"4294967296",
            b"12a",
            b"\xff\x01",
        ] {
            assert_eq!(read_digest(other), None);
        }
    }

    #[test]
    fn a_file_has_the_checksum_of_its_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"123456789").unwrap();
        assert_eq!(crc32_of(file.path()).unwrap(), (0xCBF4_3926, 9));
    }
}
