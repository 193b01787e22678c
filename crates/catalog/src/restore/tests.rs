//! A restore takes all of a backup, once, or says what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use protocol::DcNodes;

use super::*;
use crate::{
    File, Files, Filter, Manifest, TableEntry, TableVersion,
    document::tests::{golden, id},
    key::{ManifestKey, Owner, TableDir},
};

const TAG: &str = "sm_20260131235959UTC";

fn tag() -> SnapshotTag {
    TAG.parse().unwrap()
}

pub(super) fn manifest(node: &str, dc: &str, names: &[&str], bytes: u64) -> Manifest {
    let names = names
        .iter()
        .flat_map(|name| ["Data.db", "TOC.txt"].map(|component| format!("{name}-{component}")));
    let mut files = Files::new();
    for name in names {
        files.push(File {
            name: &name,
            bytes: Some(bytes),
            crc32: Some(7),
        });
    }
    let key = ManifestKey {
        owner: Owner::new(id("c1"), dc, id(node)).unwrap(),
        task: id("b1"),
        tag: tag(),
        temporary: false,
    };
    Manifest {
        index: vec![TableEntry {
            bytes: bytes * files.len() as u64,
            files,
            ..TableEntry::new("shop", "users", TableVersion(0xab))
        }],
        ..Manifest::new(&key)
    }
}

fn objects(of: &Manifest) -> BTreeMap<String, u64> {
    let owner = Owner::new(of.cluster, &of.dc, of.node).unwrap();
    let dir = TableDir::new(&owner, "shop", "users", TableVersion(0xab)).unwrap();
    let files = of.index[0].files.iter();
    files
        .map(|file| (dir.component(file.name).unwrap(), file.bytes.unwrap()))
        .collect()
}

pub(super) fn sourced(of: &Manifest) -> Vec<Sourced> {
    let location = "s3:backups".parse().unwrap();
    let all = Filter::new::<&str>(&[]).unwrap();
    collect(of, &location, &all, &objects(of)).unwrap()
}

fn dcs(of: &[(&str, u32)]) -> Vec<DcNodes> {
    let dc = |(dc, nodes): &(&str, u32)| DcNodes {
        dc: (*dc).into(),
        nodes: *nodes,
    };
    of.iter().map(dc).collect()
}

#[test]
fn documents_keep_their_form() {
    let sourced = sourced(&manifest("01", "dc1", &["me-3-big"], 5));
    let (batches, totals) = batches(
        sourced,
        Places::Dcs(&dcs(&[("dc1", 3)])),
        2,
        &BTreeMap::new(),
    )
    .unwrap();
    golden("batch.v1.json", &batches[0]);
    let plan = RestorePlan {
        origin: id("a1"),
        source: id("c1"),
        tag: tag(),
        totals,
        twins: Vec::new(),
    };
    golden("restore-plan.v1.json", &plan);
    let receipt = BatchReceipt {
        node: id("01"),
        loaded: protocol::BatchLoaded {
            batch: 0,
            files: 2,
            bytes: 10,
            download_ms: 1200,
            load_ms: 3400,
            table: None,
        },
    };
    golden("batch-receipt.v1.json", &receipt);
    let undo = Undo {
        node: id("01"),
        compacting: vec![batches[0].table.clone()],
    };
    golden("undo.v1.json", &undo);
}

fn keys(of: &[(&str, &str, &str, bool)]) -> Vec<ManifestKey> {
    let key = |&(cluster, task, node, temporary): &(&str, &str, &str, bool)| ManifestKey {
        owner: Owner::new(id(cluster), "dc1", id(node)).unwrap(),
        task: id(task),
        tag: tag(),
        temporary,
    };
    of.iter().map(key).collect()
}

#[test]
fn a_backup_is_all_finished_manifests_of_its_tag() {
    let found = keys(&[
        ("c1", "b1", "01", false),
        ("c1", "b1", "02", true),
        ("c1", "b1", "02", false),
        ("c2", "b1", "09", true),
    ]);
    let chosen = choose(found.clone(), &tag(), None).unwrap();
    assert_eq!(chosen, [found[0].clone(), found[2].clone()]);
    let other = "sm_20250131235959UTC".parse().unwrap();
    let error = choose(found, &other, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no backup `sm_20250131235959UTC`"
    );
}

#[test]
fn what_is_not_one_whole_backup_is_refused() {
    let error = |found: &[_], cluster| choose(keys(found), &tag(), cluster).unwrap_err();
    let unfinished = error(&[("c1", "b1", "01", false), ("c1", "b1", "02", true)], None);
    assert!(
        matches!(&unfinished, RestoreError::Unfinished { unfinished, .. } if unfinished.len() == 1)
    );
    let never = error(&[("c1", "b1", "01", true)], None);
    assert!(matches!(never, RestoreError::Unfinished { .. }));
    let two = [("c1", "b1", "01", false), ("c2", "b1", "01", false)];
    assert!(matches!(
        error(&two, None),
        RestoreError::SeveralClusters { .. }
    ));
    assert_eq!(choose(keys(&two), &tag(), Some(id("c2"))).unwrap().len(), 1);
    assert!(matches!(
        error(&two, Some(id("c3"))),
        RestoreError::NoBackup { .. }
    ));
    let tasks = [("c1", "b1", "01", false), ("c1", "b2", "01", false)];
    assert!(matches!(
        error(&tasks, None),
        RestoreError::SeveralTasks { .. }
    ));
}

#[test]
fn an_object_that_is_missing_or_other_is_named() {
    let manifest = manifest("01", "dc1", &["me-3-big"], 5);
    let location = "s3:backups".parse().unwrap();
    let all = Filter::new::<&str>(&[]).unwrap();
    let mut there = objects(&manifest);
    let key = there.keys().next().unwrap().clone();
    there.insert(key.clone(), 6);
    let error = collect(&manifest, &location, &all, &there).unwrap_err();
    assert!(
        matches!(
            error,
            RestoreError::Size {
                found: 6,
                expected: 5,
                ..
            }
        ),
        "{error}"
    );
    there.remove(&key);
    let error = collect(&manifest, &location, &all, &there).unwrap_err();
    assert!(error.to_string().contains(&key), "{error}");
    let none = Filter::new(&["other"]).unwrap();
    assert_eq!(collect(&manifest, &location, &none, &there), Ok(vec![]));
    let mut torn = manifest;
    let data = torn.index[0].files.iter().take(1).collect();
    torn.index[0].files = data;
    let error = collect(&torn, &location, &all, &objects(&torn)).unwrap_err();
    assert!(matches!(error, RestoreError::NoToc { .. }), "{error}");
}

#[test]
fn the_version_of_a_file_is_that_of_the_backup() {
    let there: BTreeMap<String, u64> = [
        ("a/x.db", 1),
        ("a/x.db.sm_20260101000000UTC", 2),
        ("a/x.db.sm_20260301000000UTC", 3),
        ("a/x.dbx", 4),
    ]
    .map(|(key, bytes)| (key.to_owned(), bytes))
    .into();
    let at = |tag: &str| resolve("a/x.db", &tag.parse().unwrap(), &there).unwrap().1;
    assert_eq!(at("sm_20251231000000UTC"), 2);
    assert_eq!(at("sm_20260101000000UTC"), 3);
    assert_eq!(at("sm_20260228000000UTC"), 3);
    assert_eq!(at("sm_20260301000000UTC"), 1);
    assert_eq!(resolve("a/y.db", &tag(), &there), None);
}

#[test]
fn integer_ids_of_different_nodes_never_meet() {
    let names: Vec<String> = (0..200).map(|n| format!("me-{n}-big")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let unique = ["mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big"];
    let mut all = Vec::new();
    for node in ["01", "02", "03"] {
        all.extend(sourced(&manifest(node, "dc1", &names, 5)));
    }
    all.extend(sourced(&manifest("01", "dc1", &unique, 9)));
    let (batches, totals) =
        batches(all, Places::Dcs(&dcs(&[("dc1", 3)])), 2, &BTreeMap::new()).unwrap();
    assert_eq!(
        (totals.sstables, totals.files, totals.bytes),
        (601, 1202, 6018)
    );
    assert_eq!(totals.tables[0].bytes, 6018);
    assert_eq!(batches.len(), 3 * 4 + 1);
    for batch in &batches {
        let names: BTreeSet<&str> = batch.sstables.iter().map(|s| &*s.name).collect();
        assert_eq!(names.len(), batch.sstables.len());
        assert!(batch.sstables.len() <= 64);
        assert_eq!(batch.node.is_some(), batch.ids == IdKind::Integer);
    }
    let sum: u64 = batches.iter().map(Batch::bytes).sum();
    assert_eq!(sum, totals.bytes);
}

#[test]
fn batches_go_to_their_own_datacenter_or_are_shared_out() {
    let names: Vec<String> = (0..640).map(|n| format!("me-{n}-big")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let all = || {
        let mut all = sourced(&manifest("01", "dc1", &names, 5));
        all.extend(sourced(&manifest("02", "dc2", &names, 5)));
        all
    };
    let place = |dcs: &[DcNodes]| {
        let (batches, totals) = batches(all(), Places::Dcs(dcs), 2, &BTreeMap::new()).unwrap();
        assert!(batches.iter().zip(0..).all(|(batch, at)| batch.batch == at));
        for part in &totals.dcs {
            let of = &batches[part.first as usize..(part.first + part.count) as usize];
            assert!(of.iter().all(|batch| batch.dc == part.dc));
        }
        totals.dcs.iter().map(|dc| dc.count).collect::<Vec<_>>()
    };
    assert_eq!(place(&dcs(&[("dc1", 1), ("dc2", 9)])), [10, 10]);
    assert_eq!(place(&dcs(&[("x", 1), ("y", 3)])), [5, 15]);
    assert_eq!(place(&dcs(&[("x", 0), ("y", 3)])), [20]);
    let none = batches(all(), Places::Dcs(&dcs(&[("x", 0)])), 2, &BTreeMap::new()).unwrap_err();
    assert_eq!(none, RestoreError::NoDatacenter);
}

#[test]
fn one_to_one_each_node_gets_what_its_twin_had() {
    let names = ["mt-3gqe_1lnj_4sbpc2ezoscu9hhtor-big", "me-3-big"];
    let all: Vec<Sourced> = ["01", "02"]
        .iter()
        .flat_map(|node| sourced(&manifest(node, "dc1", &names, 5)))
        .collect();
    let twin = |source: &str, node: &str| Twin {
        node: id(node),
        dc: "dc2".into(),
        source: id(source),
        ranges: BTreeMap::new(),
    };
    let twins = [twin("01", "0b"), twin("02", "0a")];
    let (batches, totals) =
        batches(all.clone(), Places::Twins(&twins), 2, &BTreeMap::new()).unwrap();
    let mut seen = Vec::new();
    for (share, twin) in totals.dcs.iter().zip(&twins) {
        assert_eq!((share.node, &*share.dc), (Some(twin.node), "dc2"));
        for batch in &batches[share.first as usize..(share.first + share.count) as usize] {
            assert_eq!(batch.to, Some(twin.node));
            let owned = |sstable: &&BatchSsTable| {
                all.iter()
                    .any(|one| (one.node, &one.sstable) == (twin.source, sstable))
            };
            seen.extend(batch.sstables.iter().filter(owned).cloned());
        }
    }
    assert_eq!(seen.len(), all.len());
}

#[test]
fn what_goes_by_tablets_is_one_batch() {
    let names: Vec<String> = (10..30)
        .map(|n| format!("mt-3gqe_1lnj_4sbpc2ezoscu9hht{n}-big"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let all = sourced(&manifest("01", "dc1", &names, 1 << 34));
    let carrier = |method| {
        let lists = Some(Lists {
            snapshot: tag(),
            keys: vec!["list".to_owned()],
        });
        BTreeMap::from([(all[0].table.clone(), Carrier { method, lists })])
    };
    let count = |method| {
        let dcs = dcs(&[("dc1", 3)]);
        let (batches, _) = batches(all.clone(), Places::Dcs(&dcs), 2, &carrier(method)).unwrap();
        assert_eq!(batches[0].lists.as_ref().unwrap().keys, ["list"]);
        batches.len()
    };
    assert_eq!(count(Method::Tablets), 1);
    assert!(count(Method::Auto) > 1);
}
