use std::{fs::OpenOptions, path::PathBuf, sync::Arc};

use tempfile::TempDir;

use super::*;

const MIB: u64 = 1 << 20;

/// Bytes of which no two blocks are alike.
fn content(bytes: u64) -> Vec<u8> {
    let words = (0_u64..).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    words.take(size(bytes)).collect()
}

fn file(content: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

fn budget() -> Budget {
    Budget::new(32, 1, Arc::default())
}

fn torn_at<T: std::fmt::Debug>(said: Result<T, Error>) -> (u64, u64) {
    match said {
        Err(Error::Torn {
            found, expected, ..
        }) => (found, expected),
        said => panic!("{said:?}"),
    }
}

#[tokio::test]
async fn a_file_of_any_length_is_read_as_it_is() {
    let budget = budget();
    let lengths = [
        0,
        1,
        4_095,
        4_096,
        4_097,
        262_144,
        MIB,
        MIB + 3,
        5 * MIB + 1,
    ];
    for bytes in lengths.into_iter().chain(131_071..=131_073) {
        let written = content(bytes);
        let (_dir, path) = file(&written);
        let piece = whole(&path, bytes, &budget).await.unwrap();
        assert_eq!(piece.bytes(), bytes);
        assert!(piece.body.concat() == written, "{bytes} bytes differ");
        assert_eq!(piece.crc.finalize(), crc32fast::hash(&written), "{bytes}");
    }
}

#[tokio::test]
async fn pieces_make_up_the_file() {
    let (bytes, step) = (9 * MIB + 4_097, 4 * MIB);
    let written = content(bytes);
    let (_dir, path) = file(&written);
    let source = Source::open(&path, bytes).await.unwrap();
    let (mut read, mut crc) = (Vec::new(), Hasher::new());
    for range in crate::part::cut(bytes, step) {
        let piece = source.read(range, &budget()).await.unwrap();
        piece
            .body
            .iter()
            .for_each(|bytes| read.extend_from_slice(bytes));
        crc.combine(&piece.crc);
    }
    source.unchanged().unwrap();
    assert!(read == written);
    assert_eq!(crc.finalize(), crc32fast::hash(&written));
}

#[test]
fn where_a_file_cannot_be_read_past_the_page_cache_it_is_read_all_the_same() {
    let written = content(MIB);
    let (_dir, path) = file(&written);
    let direct = Reader::open(&path, MIB).unwrap();
    // No file system takes this, of those that read past it at all.
    let (mut space, mut crc) = (vec![0; 300_000], Hasher::new());
    let read = direct.fill(&mut space, 300_000, 1, &mut crc).unwrap();
    assert!(read == 300_000 && space == written[1..300_001]);
    // As after a short read; and at the end there is no more.
    let read = direct
        .fill(&mut space, 300_000, MIB - 10, &mut crc)
        .unwrap();
    assert!(read == 10 && space[..10] == written[size(MIB - 10)..]);
    assert_eq!(direct.fill(&mut space, 1, MIB, &mut crc).unwrap(), 0);
}

#[tokio::test]
async fn a_file_of_another_length_is_torn() {
    let budget = budget();
    for bytes in [1_000, 4 * MIB] {
        let (_dir, path) = file(&content(bytes));
        for expected in [bytes - 1, bytes + 1] {
            let said = whole(&path, expected, &budget).await;
            assert_eq!(torn_at(said), (bytes, expected));
        }
    }
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_torn() {
    let (bytes, budget) = (4 * MIB, budget());
    for (length, found) in [(2 * MIB + 5, 2 * MIB + 5), (MIB, MIB), (0, MIB)] {
        let (_dir, path) = file(&content(bytes));
        let source = Source::open(&path, bytes).await.unwrap();
        source.read(0..MIB, &budget).await.unwrap();
        let changed = OpenOptions::new().write(true).open(&path).unwrap();
        changed.set_len(length).unwrap();
        let said = source.read(MIB..bytes, &budget).await;
        assert_eq!(torn_at(said), (found, bytes));
    }
    let (_dir, path) = file(&content(bytes));
    let source = Source::open(&path, bytes).await.unwrap();
    let changed = OpenOptions::new().write(true).open(&path).unwrap();
    changed.set_len(bytes + 1).unwrap();
    let piece = source.read(0..bytes, &budget).await.unwrap();
    assert_eq!(piece.bytes(), bytes);
    assert_eq!(torn_at(source.unchanged()), (bytes + 1, bytes));
}
