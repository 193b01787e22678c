//! One row inside `Data.db`: a fixed header, the key, the value.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::hash::{hash, mix, token};

/// First bytes of our `Data.db`; the SSTable identifier follows.
pub(crate) const MAGIC: &[u8; 8] = b"simrows1";
/// Bytes before the first row.
pub(crate) const START: u64 = 24;
/// Bytes of a row's header: mark, key length, value length, timestamp, CRC-32 of the value.
const HEADER: usize = 22;
/// First bytes of a row; the fourth says of what kind it is.
const MARK: [u8; 3] = *b"SIM";
/// The fourth byte of a row that is nothing but a key and a value.
const PLAIN: u8 = b'R';

/// What a row is besides a key and a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// The key has two parts: the length of the first, on which the token depends, leads in two bytes.
    pub(crate) clustered: bool,
    /// A tombstone; its value is the time of deletion, seconds.
    pub(crate) dead: bool,
    /// The value has many cells.
    pub(crate) cells: bool,
}

impl Traits {
    fn mark(self) -> u8 {
        if self == Self::default() {
            return PLAIN;
        }
        0x80 | u8::from(self.clustered) | u8::from(self.dead) << 1 | u8::from(self.cells) << 2
    }

    fn read(mark: u8) -> Option<Self> {
        let known = mark == PLAIN || (0x80..0x88).contains(&mark);
        let bit = |bit: u8| mark != PLAIN && mark & bit != 0;
        known.then(|| Self {
            clustered: bit(1),
            dead: bit(2),
            cells: bit(4),
        })
    }

    /// The part of a key on which its token depends.
    pub(crate) fn partition(self, key: &[u8]) -> &[u8] {
        match key.split_first_chunk() {
            Some((length, rest)) if self.clustered => {
                &rest[..usize::from(u16::from_be_bytes(*length)).min(rest.len())]
            }
            _ => key,
        }
    }
}

/// A row without its value: where it lies and what it hashes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) token: i64,
    /// A second hash of the key; with the token it stands for the key.
    pub(crate) key: u64,
    /// Write timestamp, microseconds; the newest of a key wins.
    pub(crate) stamp: i64,
    /// Where the header begins in Data.db.
    pub(crate) offset: u64,
    pub(crate) value_crc: u32,
    pub(crate) value_len: u32,
    pub(crate) key_len: u16,
    pub(crate) traits: Traits,
}

impl Entry {
    pub(crate) fn new(key: &[u8], stamp: i64, value: &[u8]) -> Self {
        Self::with(Traits::default(), key, stamp, value)
    }

    pub(crate) fn with(traits: Traits, key: &[u8], stamp: i64, value: &[u8]) -> Self {
        Self {
            token: token(traits.partition(key)),
            key: hash(1, key),
            stamp,
            offset: 0,
            value_crc: crc32fast::hash(value),
            value_len: u32::try_from(value.len()).expect("values are small"),
            key_len: u16::try_from(key.len()).expect("keys are small"),
            traits,
        }
    }

    /// What it adds to a fingerprint.
    pub(crate) fn fingerprint(&self) -> u64 {
        let value = u64::from(self.value_crc) << 32 | u64::from(self.value_len);
        mix(mix(self.token.cast_unsigned())
            ^ mix(self.key + 1)
            ^ mix(self.stamp.cast_unsigned() ^ mix(value)))
    }

    /// Order of rows in a file; of one key, the newest first, and a tombstone before a row of the same time.
    pub(crate) fn order(&self) -> (i64, u64, std::cmp::Reverse<(i64, bool, u32)>) {
        (
            self.token,
            self.key,
            std::cmp::Reverse((self.stamp, self.traits.dead, self.value_crc)),
        )
    }

    pub(crate) fn same_key(&self, other: &Self) -> bool {
        (self.token, self.key) == (other.token, other.key)
    }

    /// Bytes of the whole frame.
    pub(crate) fn len(&self) -> u64 {
        HEADER as u64 + u64::from(self.key_len) + u64::from(self.value_len)
    }

    /// The header and key as stored.
    pub(crate) fn header(&self, key: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + key.len());
        bytes.extend(MARK);
        bytes.push(self.traits.mark());
        bytes.extend(self.key_len.to_be_bytes());
        bytes.extend(self.value_len.to_be_bytes());
        bytes.extend(self.stamp.to_be_bytes());
        bytes.extend(self.value_crc.to_be_bytes());
        bytes.extend(key);
        bytes
    }

    /// Reads key and value of this row into `buffer`; returns where the value begins.
    pub(crate) fn read(&self, file: &File, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let frame = usize::try_from(self.len()).expect("frames are small");
        buffer.resize(frame - HEADER, 0);
        file.read_exact_at(buffer, self.offset + HEADER as u64)?;
        Ok(usize::from(self.key_len))
    }
}

/// The rows of a Data.db of `bytes` bytes, without their values.
///
/// # Errors
/// `InvalidData` when it is not one of ours or is cut off.
pub(crate) fn scan(file: &File, bytes: u64) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut offset = START;
    let mut buffer = [0u8; HEADER + 64];
    while offset < bytes {
        let room =
            usize::try_from((bytes - offset).min(buffer.len() as u64)).expect("at most a buffer");
        file.read_exact_at(&mut buffer[..room], offset)?;
        let mut entry =
            parse(&buffer[..room]).ok_or_else(|| broken("no row where one should begin"))?;
        entry.offset = offset;
        let key_end = HEADER + usize::from(entry.key_len);
        let mut long = Vec::new();
        let key = if key_end <= room {
            &buffer[HEADER..key_end]
        } else {
            long.resize(usize::from(entry.key_len), 0);
            file.read_exact_at(&mut long, offset + HEADER as u64)?;
            long.as_slice()
        };
        entry.token = token(entry.traits.partition(key));
        entry.key = hash(1, key);
        offset += entry.len();
        entries.push(entry);
    }
    if offset == bytes {
        Ok(entries)
    } else {
        Err(broken("the last row is cut off"))
    }
}

/// Header fields of the frame that `bytes` begin with.
fn parse(bytes: &[u8]) -> Option<Entry> {
    let (mark, rest) = bytes.split_first_chunk::<3>()?;
    let (kind, rest) = rest.split_first()?;
    let traits = Traits::read(*kind)?;
    let (key_len, rest) = rest.split_first_chunk()?;
    let (value_len, rest) = rest.split_first_chunk()?;
    let (stamp, rest) = rest.split_first_chunk()?;
    let (crc, _) = rest.split_first_chunk()?;
    (*mark == MARK).then_some(Entry {
        token: 0,
        key: 0,
        stamp: i64::from_be_bytes(*stamp),
        offset: 0,
        value_crc: u32::from_be_bytes(*crc),
        value_len: u32::from_be_bytes(*value_len),
        key_len: u16::from_be_bytes(*key_len),
        traits,
    })
}

pub(crate) fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
