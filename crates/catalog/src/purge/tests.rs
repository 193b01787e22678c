//! What a manifest refers to, and what may go. That nothing is ever lost is tested with whole
//! histories, in `bucket`.

use protocol::SnapshotTag;

use super::*;
use crate::{File, document::tests::id, key::ManifestKey, retention::Sorted};

fn owner() -> Owner {
    Owner::new(id("c1"), "dc1", id("01")).unwrap()
}

fn tag(day: u32) -> SnapshotTag {
    format!("sm_202601{day:02}000000UTC").parse().unwrap()
}

fn key(day: u32, temporary: bool) -> ManifestKey {
    ManifestKey {
        owner: owner(),
        task: id("b1"),
        tag: tag(day),
        temporary,
    }
}

fn dir() -> TableDir {
    TableDir::new(&owner(), "shop", "users", crate::TableVersion(7)).unwrap()
}

fn entry(files: &[&str], lists: &[&str]) -> TableEntry {
    let files = files.iter().map(|name| File {
        name,
        bytes: Some(10),
        crc32: None,
    });
    TableEntry {
        files: files.collect(),
        scylla_manifests: lists.iter().map(|name| (*name).to_owned()).collect(),
        ..TableEntry::new("shop", "users", crate::TableVersion(7))
    }
}

/// What goes, without the directory.
fn names(remaining: Remaining) -> Vec<String> {
    let prefix = dir().prefix();
    let objects = remaining.objects();
    objects
        .map(|(_, key, _)| key.strip_prefix(&prefix).unwrap().to_owned())
        .collect()
}

/// Candidates from one stale manifest and a listing.
fn candidates(stale: &[&str], versions: &[&str]) -> Remaining {
    let mut candidates = Candidates::new(&owner());
    candidates.add(&entry(stale, &[])).unwrap();
    for name in versions {
        candidates.add_version(&format!("{}{name}", dir().prefix()), 3);
    }
    candidates.settle()
}

#[test]
fn what_nobody_else_lists_goes() {
    let all = ["me-1-big-Data.db", "me-1-big-TOC.txt", "me-2-big-Data.db"];
    let mut remaining = candidates(&all, &[]);
    assert_eq!(
        remaining.totals(),
        Totals {
            files: 3,
            bytes: 30
        }
    );
    let other = entry(&["me-1-big-TOC.txt", "me-9-big-Data.db"], &[]);
    remaining.keep(&tag(9), &other).unwrap();
    // Another table's file of the same name is another file.
    let elsewhere = TableEntry {
        table: "orders".into(),
        ..entry(&["me-2-big-Data.db"], &[])
    };
    remaining.keep(&tag(9), &elsewhere).unwrap();
    assert_eq!(
        remaining.totals(),
        Totals {
            files: 2,
            bytes: 20
        }
    );
    assert_eq!(names(remaining), ["me-1-big-Data.db", "me-2-big-Data.db"]);
}

#[test]
fn a_version_stays_while_a_manifest_comes_to_it() {
    let name = "me-1-big-Data.db";
    let (third, fifth) = (format!("{name}.{}", tag(3)), format!("{name}.{}", tag(5)));
    let versions = [&*third, &*fifth];
    let left = |kept: &[u32]| {
        let mut remaining = candidates(&[name], &versions);
        for day in kept {
            remaining.keep(&tag(*day), &entry(&[name], &[])).unwrap();
        }
        names(remaining)
    };
    assert_eq!(left(&[]), [name, &third, &fifth]);
    assert_eq!(left(&[2]), [name, &fifth]);
    // A version is of those before the backup that made it, not of that itself.
    assert_eq!(left(&[3]), [name, &third]);
    assert_eq!(left(&[4]), [name, &third]);
    assert_eq!(left(&[5]), [&*third, &*fifth]);
    assert_eq!(left(&[1, 6]), [&*fifth]);
}

#[test]
fn a_version_of_which_no_stale_manifest_knows_goes_too() {
    let version = format!("me-2-big-Data.db.{}", tag(3));
    let remaining = candidates(&["me-1-big-Data.db"], &[&version]);
    assert_eq!(names(remaining), ["me-1-big-Data.db", &version]);
}

#[test]
fn a_manifest_that_lists_a_version_by_its_own_name_keeps_it() {
    let version = format!("me-1-big-Data.db.{}", tag(3));
    let mut remaining = candidates(&[&version], &[&version]);
    assert_eq!(remaining.totals().files, 1, "it is one object, not two");
    let other = entry(&[&version], &[]);
    remaining.keep(&tag(9), &other).unwrap();
    assert_eq!(names(remaining), [""; 0]);
}

#[test]
fn only_integers_need_a_listing() {
    let mut candidates = Candidates::new(&owner());
    let unique = "me-3gqe_1lnj_4sbpc2ezoscu9hhtor-big-Data.db";
    candidates.add(&entry(&[unique], &[])).unwrap();
    assert_eq!(candidates.versioned(), []);
    candidates.add(&entry(&["ks-t-ka-3-Data.db"], &[])).unwrap();
    assert_eq!(candidates.versioned(), [dir()]);
}

#[test]
fn a_listing_of_others_adds_nothing() {
    let mut candidates = Candidates::new(&owner());
    let other = Owner::new(id("c1"), "dc1", id("02")).unwrap();
    let other = TableDir::new(&other, "shop", "users", crate::TableVersion(7)).unwrap();
    for key in [
        format!("{}me-1-big-Data.db.{}", other.prefix(), tag(3)),
        format!("{}me-1-big-Data.db", other.prefix()),
        format!("{}something", dir().prefix()),
        format!("{}me-1-big-Data.db/x", dir().prefix()),
        "backup/meta/x".to_owned(),
    ] {
        candidates.add_version(&key, 1);
    }
    candidates.add_version(&format!("{}me-1-big-Data.db", dir().prefix()), 1);
    assert_eq!(candidates.settle().totals(), Totals::default());
}

#[test]
fn scyllas_own_lists_go_unless_others_name_them() {
    let list = |day| {
        let dir = dir();
        ScyllaManifestKey { dir, tag: tag(day) }.name()
    };
    let mut candidates = Candidates::new(&owner());
    // A name that is none of a list's would take a component away from whoever needs it.
    let stale = entry(&[], &[&list(1), &list(2), "me-1-big-Data.db"]);
    candidates.add(&stale).unwrap();
    let mut remaining = candidates.settle();
    remaining.keep(&tag(9), &entry(&[], &[&list(2)])).unwrap();
    assert_eq!(names(remaining), [list(1)]);
}

#[test]
fn more_kinds_of_component_than_there_are_bits_are_no_matter() {
    let all: Vec<String> = (0..100).map(|n| format!("me-1-big-C{n}.db")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut remaining = candidates(&all, &[]);
    assert_eq!(
        remaining.totals(),
        Totals {
            files: 100,
            bytes: 1_000
        }
    );
    let kept = entry(&[all[3], all[97]], &[]);
    remaining.keep(&tag(9), &kept).unwrap();
    let left: std::collections::BTreeSet<String> = names(remaining).into_iter().collect();
    let expected = all.iter().filter(|name| ![all[3], all[97]].contains(name));
    assert_eq!(left, expected.map(|name| (*name).to_owned()).collect());
}

#[test]
fn steps_come_in_order_and_in_batches() {
    let list = ScyllaManifestKey {
        dir: dir(),
        tag: tag(1),
    };
    let mut candidates = Candidates::new(&owner());
    let files = ["me-1-big-Data.db", "me-1-big-TOC.txt", "me-2-big-Data.db"];
    candidates.add(&entry(&files, &[&list.name()])).unwrap();
    let version = format!("{}me-7-big-Data.db.{}", dir().prefix(), tag(3));
    candidates.add_version(&version, 3);
    let sorted = Sorted {
        stale: vec![key(1, false), key(1, true), key(2, true)],
        unseal: vec![key(3, false)],
        kept: Vec::new(),
    };
    let schema = crate::key::SchemaKey {
        cluster: id("c1"),
        task: id("b1"),
        tag: tag(1),
        kind: crate::key::SchemaKind::Cql,
    };
    let steps = candidates
        .settle()
        .steps(&sorted, std::slice::from_ref(&schema), 2);
    let component = |at: usize| dir().component(files[at]).unwrap();
    let batch = |phase, keys: &[String], bytes| {
        Step::Delete(Batch {
            phase,
            keys: keys.to_vec(),
            bytes,
        })
    };
    let expected = [
        Step::Unseal(key(1, false)),
        Step::Unseal(key(3, false)),
        batch(Phase::Components, &[component(0), component(1)], 20),
        batch(Phase::Components, &[component(2)], 10),
        batch(Phase::Versions, &[version], 3),
        batch(Phase::Lists, &[list.to_string()], 0),
        batch(Phase::Schemas, &[schema.to_string()], 0),
        batch(
            Phase::Manifests,
            &[key(1, true).to_string(), key(2, true).to_string()],
            0,
        ),
    ];
    assert_eq!(steps.collect::<Vec<_>>(), expected);
}
