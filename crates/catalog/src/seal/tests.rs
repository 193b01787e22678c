//! A manifest is finished only when all of it is proven.

use super::*;
use crate::{
    Limits, ReceiptFile, Remote,
    document::tests::id,
    key::ManifestKey,
    plan::tests::{owner, planned, sstable, table},
};

fn receipt(chunk: &Chunk) -> Receipt {
    let stored = |file: &crate::ChunkFile| ReceiptFile {
        key: file.key.clone(),
        bytes: file.bytes,
        crc32: file.crc32.unwrap_or(9),
    };
    Receipt {
        chunk: chunk.chunk,
        files: chunk.files.iter().map(stored).collect(),
        methods: vec![],
    }
}

fn begun() -> (Sealer, Vec<Chunk>) {
    let many = usize::try_from(2 * Limits::CHUNK.sstables as u64).unwrap();
    let sstables = (0..many).map(|n| sstable(&format!("me-{n}-big"), 100));
    let planned = planned(vec![table(sstables.collect())], &Remote::default()).unwrap();
    let key = ManifestKey {
        owner: owner(),
        task: id("b1"),
        tag: "sm_20260131235959UTC".parse().unwrap(),
        temporary: true,
    };
    let manifest = Manifest {
        index: planned.index,
        ..Manifest::new(&key)
    };
    (Sealer::new(&planned.plan, manifest), planned.chunks)
}

#[test]
fn all_receipts_finish_it() {
    let (mut sealer, chunks) = begun();
    for chunk in chunks.iter().chain(&chunks) {
        assert_eq!(sealer.seen().count(), 1, "not all has a receipt yet");
        sealer.add(chunk, &receipt(chunk)).unwrap();
        if chunk.chunk + 1 == u32::try_from(chunks.len()).unwrap() {
            break;
        }
    }
    for chunk in &chunks {
        sealer.add(chunk, &receipt(chunk)).unwrap();
        assert_eq!(sealer.seen().count(), 0);
    }
    let manifest = sealer.finish().unwrap();
    let mut files = manifest.index[0].files.iter();
    assert!(
        files.all(|file| file.crc32 == Some(if file.name.ends_with("Data.db") { 7 } else { 9 }))
    );
    assert_eq!(manifest.files(), 768);
}

#[test]
fn a_missing_receipt_is_named() {
    let (mut sealer, chunks) = begun();
    sealer.add(&chunks[0], &receipt(&chunks[0])).unwrap();
    let error = sealer.finish().unwrap_err();
    assert_eq!(error, SealError::Missing { first: 1, count: 1 });
}

#[test]
fn a_receipt_that_does_not_fit_is_refused() {
    let (mut sealer, chunks) = begun();
    let mut wrong = vec![receipt(&chunks[1]); 5];
    wrong[1].chunk = 0;
    wrong[2].chunk = 0;
    wrong[2].files.pop();
    wrong[3] = receipt(&chunks[0]);
    wrong[3].files[0].bytes += 1;
    wrong[4] = receipt(&chunks[0]);
    let data = chunks[0]
        .files
        .iter()
        .position(|f| f.crc32.is_some())
        .unwrap();
    wrong[4].files[data].crc32 = 8;
    for receipt in &wrong {
        let error = sealer.add(&chunks[0], receipt).unwrap_err();
        assert!(
            matches!(error, SealError::Misfit { chunk: 0, .. }),
            "{error}"
        );
    }
    assert_eq!(sealer.waiting().len(), 2);
}

#[test]
fn what_the_manifest_does_not_list_is_no_part_of_it() {
    let (mut sealer, mut chunks) = begun();
    let strange = &mut chunks[0].files[0].key;
    *strange = strange.replace("me-", "me-77");
    let error = sealer.add(&chunks[0], &receipt(&chunks[0])).unwrap_err();
    assert!(matches!(error, SealError::Unlisted(_)), "{error}");
    chunks[0].files[0].key = "backup/x".into();
    let error = sealer.add(&chunks[0], &receipt(&chunks[0])).unwrap_err();
    assert!(matches!(error, SealError::Key(_)), "{error}");
}

#[test]
fn what_neither_was_stored_nor_skipped_is_missed() {
    let (sealer, chunks) = begun();
    let mut sealer = Sealer {
        waiting: [0].into(),
        ..sealer
    };
    sealer.add(&chunks[0], &receipt(&chunks[0])).unwrap();
    let error = sealer.finish().unwrap_err();
    assert!(matches!(error, SealError::Sum { .. }), "{error}");
}
