//! The files beside `Data.db`, byte for byte where ScyllaDB or a backup looks into them.

use uuid::Uuid;

/// Bytes a CRC.db entry covers.
pub(crate) const CHUNK: usize = 65_536;
/// Uncompressed bytes a CompressionInfo.db entry claims to cover.
const COMPRESSED_CHUNK: u64 = 4096;
/// Of the smallest Statistics.db seen, without the identifier.
const STATISTICS: usize = 4613;

/// Numbers by which Scylla.db names components that it holds checksums of.
pub(crate) const NUMBERS: [(&str, u32); 11] = [
    ("Index.db", 0),
    ("CompressionInfo.db", 1),
    ("Data.db", 2),
    ("TOC.txt", 3),
    ("Summary.db", 4),
    ("Digest.crc32", 5),
    ("CRC.db", 6),
    ("Filter.db", 7),
    ("Statistics.db", 8),
    ("Rows.db", 12),
    ("Partitions.db", 13),
];

/// Bytes that depend on nothing but the identifier they begin with and their length.
pub(crate) fn filler(id: Uuid, bytes: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(bytes + 16);
    content.extend(id.as_bytes());
    let mut word = crate::hash::hash(bytes as u64, id.as_bytes());
    while content.len() < bytes + 16 {
        word = word
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        content.extend((word >> 32).to_be_bytes());
    }
    content.truncate(bytes + 16);
    content
}

/// Statistics, Filter and index components for `rows` rows and `data` bytes, by name.
pub(crate) fn fillers(
    tries: bool,
    id: Uuid,
    rows: usize,
    data: u64,
) -> Vec<(&'static str, Vec<u8>)> {
    let summary = usize::try_from(data / 2000).unwrap_or(usize::MAX);
    let mut files = vec![
        ("Statistics.db", filler(id, STATISTICS)),
        ("Filter.db", filler(id, rows * 10 / 8 + 8)),
    ];
    if tries {
        files.push(("Partitions.db", filler(id, rows * 15 + 37)));
        files.push(("Rows.db", filler(id, 4)));
    } else {
        files.push(("Index.db", filler(id, rows * 22)));
        files.push(("Summary.db", filler(id, summary + 56)));
    }
    files
}

/// CRC.db: the chunk size, then each chunk's CRC-32.
pub(crate) fn crc_db(sums: &[u32]) -> Vec<u8> {
    let mut content = u32::try_from(CHUNK).expect("fits").to_be_bytes().to_vec();
    sums.iter()
        .for_each(|sum| content.extend(sum.to_be_bytes()));
    content
}

/// CompressionInfo.db of a Data.db that claims to hold twice its size.
///
/// Our Data.db is never compressed; whoever takes the size in a manifest for that of a file is caught.
pub(crate) fn compression_info(data: u64) -> Vec<u8> {
    let whole = data * 2;
    let chunks = whole.div_ceil(COMPRESSED_CHUNK).max(1);
    let mut content = Vec::new();
    content.extend([0, 13]);
    content.extend(b"LZ4Compressor");
    content.extend(0u32.to_be_bytes());
    content.extend(4096u32.to_be_bytes());
    content.extend(whole.to_be_bytes());
    content.extend(u32::try_from(chunks).unwrap_or(u32::MAX).to_be_bytes());
    (0..chunks).for_each(|chunk| content.extend((chunk * COMPRESSED_CHUNK / 2).to_be_bytes()));
    content
}

/// Scylla.db: version (8), identifier (10) and, for `mt`, checksums of components (12) and its own.
pub(crate) fn scylla_db(release: &str, id: Uuid, checksums: Option<&[(u32, u32)]>) -> Vec<u8> {
    let text = |bytes: &[u8]| {
        let mut content = u32::try_from(bytes.len())
            .expect("short")
            .to_be_bytes()
            .to_vec();
        content.extend(bytes);
        content
    };
    let mut tags = vec![
        (8u32, text(release.as_bytes())),
        (10, id.as_bytes().to_vec()),
    ];
    if let Some(checksums) = checksums {
        let mut content = u32::try_from(checksums.len())
            .expect("few")
            .to_be_bytes()
            .to_vec();
        for (component, crc) in checksums {
            content.extend(component.to_be_bytes());
            content.extend(crc.to_be_bytes());
        }
        tags.push((12, content));
    }
    let mut file = u32::try_from(tags.len())
        .expect("few")
        .to_be_bytes()
        .to_vec();
    for (tag, content) in tags {
        file.extend(tag.to_be_bytes());
        file.extend(text(&content));
    }
    if checksums.is_some() {
        let crc = crc32fast::hash(&file);
        file.extend(crc.to_be_bytes());
    }
    file
}

/// Checksums by component number from a Scylla.db; none when it holds none; `None` when it is broken.
pub(crate) fn read_scylla_db(file: &[u8]) -> Option<(Uuid, Vec<(u32, u32)>)> {
    let (mut id, mut checksums) = (None, None);
    let (count, mut rest) = take(file)?;
    for _ in 0..count {
        let (tag, after) = take(rest)?;
        let (size, after) = take(after)?;
        let (content, after) = after.split_at_checked(usize::try_from(size).ok()?)?;
        match tag {
            10 => id = Some(Uuid::from_slice(content).ok()?),
            12 => {
                let (_, mut pairs) = take(content)?;
                let mut list = Vec::new();
                while !pairs.is_empty() {
                    let (component, after) = take(pairs)?;
                    let (crc, after) = take(after)?;
                    list.push((component, crc));
                    pairs = after;
                }
                checksums = Some(list);
            }
            _ => {}
        }
        rest = after;
    }
    if checksums.is_some() {
        let (crc, end) = take(rest)?;
        let body = file.len().checked_sub(4)?;
        if !end.is_empty() || crc != crc32fast::hash(&file[..body]) {
            return None;
        }
    }
    Some((id?, checksums.unwrap_or_default()))
}

fn take(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scylla_db_is_read_as_written() {
        let id = Uuid::new_v4();
        for checksums in [None, Some([(2u32, 7u32), (8, 9)])] {
            let mut file = scylla_db(
                "2026.4.0",
                id,
                checksums.as_ref().map(|list| list.as_slice()),
            );
            let expected = checksums.map(|list| list.to_vec()).unwrap_or_default();
            assert_eq!(read_scylla_db(&file), Some((id, expected)));
            file.pop();
            assert_eq!(read_scylla_db(&file), None);
        }
    }
}
