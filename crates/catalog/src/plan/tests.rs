//! What is stored again, what is not, and what is refused.

use super::*;
use crate::document::tests::{golden, id};

const ONE: &str = "mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big";

pub(crate) fn owner() -> Owner {
    Owner::new(id("c1"), "dc1", id("01")).unwrap()
}

pub(crate) fn sstable(name: &str, bytes: u64) -> SsTable {
    let file = |component: &str, bytes| LocalFile {
        name: format!("{name}-{component}"),
        bytes,
    };
    SsTable {
        name: name.into(),
        files: vec![
            file("TOC.txt", 104),
            file("Data.db", bytes),
            file("Digest.crc32", 10),
        ],
        crc32: Some(7),
        digest: Some(b"7".into()),
    }
}

pub(crate) fn table(sstables: Vec<SsTable>) -> LocalTable {
    LocalTable {
        keyspace: "shop".into(),
        table: "users".into(),
        version: TableVersion(0xab),
        dir: format!("shop/users-{:032x}/snapshots/t", 0xab),
        sstables,
    }
}

pub(crate) fn planned(local: Vec<LocalTable>, remote: &Remote) -> Result<Planned, PlanError> {
    let frame = Frame {
        owner: &owner(),
        origin: id("a1"),
        task: id("b1"),
        tag: &"sm_20260131235959UTC".parse().unwrap(),
        units: &[Unit {
            keyspace: "shop".into(),
            tables: vec!["users".into()],
            all_tables: true,
            tablets: true,
        }],
        limits: Limits::CHUNK,
    };
    plan(&frame, local, remote)
}

/// A bucket that holds what `local` would store.
fn bucket(local: &[LocalTable]) -> Remote {
    let planned = planned(local.to_vec(), &Remote::default()).unwrap();
    let files = planned.chunks.into_iter().flat_map(|chunk| chunk.files);
    let objects: BTreeMap<_, _> = files.map(|file| (file.key, file.bytes)).collect();
    let digests = digests(&owner(), local, &objects).unwrap();
    Remote {
        digests: digests.into_iter().map(|key| (key, b"7".into())).collect(),
        objects,
    }
}

fn key(file: &str) -> String {
    let dir = TableDir::new(&owner(), "shop", "users", TableVersion(0xab)).unwrap();
    dir.component(file).unwrap()
}

#[test]
fn documents_keep_their_form() {
    let planned = planned(vec![table(vec![sstable(ONE, 173)])], &Remote::default()).unwrap();
    golden("node-plan.v1.json", &planned.plan);
    golden("chunk.v1.json", &planned.chunks[0]);
    let stored = |file: &ChunkFile| ReceiptFile {
        key: file.key.clone(),
        bytes: file.bytes,
        crc32: file.crc32.unwrap_or(9),
    };
    let receipt = Receipt {
        chunk: 0,
        files: planned.chunks[0].files.iter().map(stored).collect(),
    };
    golden("receipt.v1.json", &receipt);
}

#[test]
fn a_first_backup_stores_all() {
    let local = vec![table(vec![sstable(ONE, 173), sstable("me-3-big", 200)])];
    let planned = planned(local, &Remote::default()).unwrap();
    let totals = &planned.plan.totals;
    assert_eq!((totals.files, totals.bytes), (6, 601));
    assert_eq!((totals.skipped_files, totals.chunks), (0, 1));
    assert_eq!(planned.chunks[0].bytes(), 601);
    let entry = &planned.index[0];
    assert_eq!((entry.bytes, entry.files.len()), (601, 6));
    assert_eq!(entry.replication, Some(Replication::Tablets));
    assert!(entry.files.is_sorted());
    let data = planned.chunks[0].files.iter().find(|f| f.crc32.is_some());
    assert!(data.unwrap().path.ends_with("-Data.db"));
}

#[test]
fn an_empty_table_is_in_the_manifest_and_in_no_chunk() {
    let planned = planned(vec![table(vec![])], &Remote::default()).unwrap();
    assert_eq!((planned.chunks.len(), planned.index.len()), (0, 1));
}

#[test]
fn what_the_bucket_holds_is_skipped() {
    for name in [ONE, "me-3-big"] {
        let local = vec![table(vec![sstable(name, 173)])];
        let again = planned(local.clone(), &bucket(&local)).unwrap();
        assert_eq!(again.chunks, []);
        assert_eq!(again.plan.totals.skipped_bytes, 287);
        assert_eq!(again.index[0].files.len(), 3);
    }
}

#[test]
fn a_name_that_begins_alike_is_another_sstable() {
    let remote = bucket(&[table(vec![sstable("me-30-big", 173)])]);
    let other = planned(vec![table(vec![sstable("me-3-big", 173)])], &remote).unwrap();
    assert_eq!(other.plan.totals.skipped_files, 0);
}

#[test]
fn older_versions_of_a_file_do_not_count() {
    let mut remote = Remote::default();
    let old = key("me-3-big-Data.db.sm_20250131235959UTC");
    remote.objects.insert(old, 5);
    let planned = planned(vec![table(vec![sstable("me-3-big", 173)])], &remote).unwrap();
    assert_eq!(planned.chunks.len(), 1);
}

#[test]
fn what_lies_there_in_part_is_stored_whole() {
    for (name, gone) in [
        (ONE, "Data.db"),
        ("me-3-big", "Data.db"),
        ("me-3-big", "Digest.crc32"),
    ] {
        let local = vec![table(vec![sstable(name, 173)])];
        let mut remote = bucket(&local);
        remote.objects.remove(&key(&format!("{name}-{gone}")));
        let planned = planned(local, &remote).unwrap();
        assert_eq!(planned.chunks[0].files.len(), 3, "{name} without {gone}");
    }
}

#[test]
fn another_sstable_of_the_same_name_is_never_replaced() {
    let conflict = |local: LocalTable, remote: &Remote| {
        let error = planned(vec![local], remote).unwrap_err();
        assert!(matches!(error, PlanError::Conflict { .. }), "{error}");
        error.to_string()
    };
    for name in [ONE, "me-3-big"] {
        let remote = bucket(&[table(vec![sstable(name, 173)])]);
        let error = conflict(table(vec![sstable(name, 174)]), &remote);
        assert!(
            error.contains("shop.users") && error.contains(name),
            "{error}"
        );
    }
    let mut other = sstable("me-3-big", 173);
    let remote = bucket(&[table(vec![other.clone()])]);
    other.digest = Some(b"8".into());
    assert!(conflict(table(vec![other.clone()]), &remote).contains("digest differs"));
    other.digest = None;
    assert!(conflict(table(vec![other.clone()]), &remote).contains("digest differs"));
    other.files.pop();
    assert!(conflict(table(vec![other]), &remote).contains("no digest"));
}

#[test]
fn a_file_of_another_sstable_is_refused() {
    let mut wrong = sstable(ONE, 1);
    wrong.name = "me-3-big".into();
    let error = planned(vec![table(vec![wrong])], &Remote::default()).unwrap_err();
    assert!(matches!(error, PlanError::Stranger { .. }), "{error}");
    let mut hostile = table(vec![]);
    hostile.table = "../x".into();
    assert!(planned(vec![hostile], &Remote::default()).is_err());
}

#[test]
fn many_sstables_make_many_even_chunks() {
    let sstables = (0..1000).map(|n| sstable(&format!("me-{n}-big"), (n % 10) << 20));
    let planned = planned(vec![table(sstables.collect())], &Remote::default()).unwrap();
    assert_eq!(planned.plan.totals.chunks, 8);
    let sizes: Vec<u64> = planned.chunks.iter().map(Chunk::bytes).collect();
    let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
    assert!(most - least <= 10 << 20, "{sizes:?}");
    assert_eq!(sizes.iter().sum::<u64>(), planned.plan.totals.bytes);
}
