//! What is stored again, what is not, and what is kept.

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
    let first: SnapshotTag = "sm_20250101000000UTC".parse().unwrap();
    Remote {
        digests: digests.into_iter().map(|key| (key, b"7".into())).collect(),
        listed: objects
            .keys()
            .map(|key| (key.clone(), first.clone()))
            .collect(),
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
        methods: vec![],
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
    assert!(entry.files.iter().is_sorted());
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

/// Files that take the place of others, with the bytes of those.
fn replaced(of: &Planned) -> BTreeMap<String, u64> {
    let files = of.chunks.iter().flat_map(|chunk| &chunk.files);
    let replaced = files.filter_map(|file| {
        let old = file.replaces.as_ref()?;
        assert_eq!(old.kept, format!("{}.sm_20260131235959UTC", file.key));
        assert!(old.kept.parse::<crate::key::ComponentKey>().is_ok());
        let component = file.key.rsplit('-').next().unwrap().to_owned();
        Some((component, old.bytes))
    });
    let replaced: BTreeMap<String, u64> = replaced.collect();
    assert_eq!(of.replaced, replaced.len() as u64);
    replaced
}

fn bytes(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let own = |(name, bytes): &(&str, u64)| ((*name).to_owned(), *bytes);
    of.iter().map(own).collect()
}

#[test]
fn what_lies_there_in_part_is_stored_whole() {
    let all = [("Data.db", 173), ("Digest.crc32", 10), ("TOC.txt", 104)];
    for (name, gone, unique) in [
        (ONE, "Data.db", true),
        ("me-3-big", "Data.db", false),
        ("me-3-big", "Digest.crc32", false),
    ] {
        let local = vec![table(vec![sstable(name, 173)])];
        let mut remote = bucket(&local);
        remote.objects.remove(&key(&format!("{name}-{gone}")));
        remote.digests.remove(&key(&format!("{name}-{gone}")));
        let planned = planned(local, &remote).unwrap();
        assert_eq!(planned.chunks[0].files.len(), 3, "{name} without {gone}");
        // What is there of a unique SSTable can only be its own.
        let rest = all.into_iter().filter(|(name, _)| !unique && *name != gone);
        let rest: Vec<_> = rest.collect();
        assert_eq!(replaced(&planned), bytes(&rest), "{name} without {gone}");
    }
}

#[test]
fn another_sstable_of_the_same_name_is_kept() {
    let all = bytes(&[("Data.db", 173), ("Digest.crc32", 10), ("TOC.txt", 104)]);
    let kept = |local: &SsTable, remote: &Remote| {
        let planned = planned(vec![table(vec![local.clone()])], remote).unwrap();
        assert_eq!(planned.plan.totals.skipped_files, 0);
        assert_eq!(planned.chunks[0].files.len(), local.files.len());
        assert_eq!(planned.index[0].files.len(), local.files.len());
        replaced(&planned)
    };
    let remote = bucket(&[table(vec![sstable(ONE, 173)])]);
    let other = kept(&sstable(ONE, 174), &remote);
    assert_eq!(other, bytes(&[("Data.db", 173)]));

    let remote = bucket(&[table(vec![sstable("me-3-big", 173)])]);
    assert_eq!(kept(&sstable("me-3-big", 174), &remote), all);
    let mut other = sstable("me-3-big", 173);
    other.digest = Some(b"8".into());
    assert_eq!(kept(&other, &remote), all);
    other.digest = None;
    assert_eq!(kept(&other, &remote), all);
    other.files.pop();
    let but_digest = bytes(&[("Data.db", 173), ("TOC.txt", 104)]);
    assert_eq!(kept(&other, &remote), but_digest);
}

#[test]
fn a_file_left_by_another_sstable_is_in_nobodys_way() {
    for name in [ONE, "me-3-big"] {
        let local = vec![table(vec![sstable(name, 173)])];
        let mut remote = bucket(&local);
        remote.objects.insert(key(&format!("{name}-CRC.db")), 5);
        let planned = planned(local, &remote).unwrap();
        assert_eq!(planned.plan.totals.skipped_files, 3, "{name}");
        assert_eq!(planned.index[0].files.len(), 3, "{name}");
    }
}

#[test]
fn files_that_no_finished_backup_lists_are_not_trusted() {
    let skipped = |name: &str, tags: &[&str], listed: &[&str]| {
        let local = vec![table(vec![sstable(name, 173)])];
        let mut remote = bucket(&local);
        for tag in tags {
            let old = key(&format!("{name}-TOC.txt.{tag}"));
            remote.objects.insert(old, 104);
        }
        remote.listed.clear();
        for tag in listed {
            let of = ManifestKey {
                owner: owner(),
                task: id("b1"),
                tag: tag.parse().unwrap(),
                temporary: false,
            };
            let files = &local[0].sstables[0].files;
            let file = |file: &'_ LocalFile| file.name.clone();
            let names: Vec<String> = files.iter().map(file).collect();
            let entry = TableEntry {
                files: names
                    .iter()
                    .map(|name| File {
                        name,
                        bytes: None,
                        crc32: None,
                    })
                    .collect(),
                ..TableEntry::new("shop", "users", TableVersion(0xab))
            };
            remote.list(&of, &entry).unwrap();
        }
        let planned = planned(local, &remote).unwrap();
        assert!(replaced(&planned).len() as u64 + planned.plan.totals.skipped_files == 3);
        planned.plan.totals.skipped_files == 3
    };
    let (first, second) = ("sm_20250101000000UTC", "sm_20250201000000UTC");
    assert!(skipped("me-3-big", &[], &[first]));
    assert!(skipped("me-3-big", &[first], &[first]));
    assert!(skipped("me-3-big", &[first, second], &[second, first]));
    assert!(!skipped("me-3-big", &[], &[]));
    assert!(!skipped("me-3-big", &[first], &[]));
    assert!(!skipped("me-3-big", &[first, second], &[first]));
    assert!(skipped(ONE, &[first], &[]));
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
