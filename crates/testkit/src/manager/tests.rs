//! The generator, checked by hand where that can be done, and by its own promises elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
};

use flate2::read::{GzDecoder, MultiGzDecoder};
use serde_json::Value;

use super::*;

const T1: &str = "sm_20260102000000UTC";
const T2: &str = "sm_20260103000000UTC";
const T3: &str = "sm_20260104000000UTC";

fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    MultiGzDecoder::new(bytes)
        .read_to_string(&mut text)
        .unwrap();
    text
}

/// One node, one table; SSTable 1 has another content in each of the backups at T1, T2 and T3.
fn replaced_twice() -> (Cluster, String) {
    let mut cluster = Cluster::new(7, "prod");
    let node = cluster.node("dc1", "rack1");
    let table = cluster.table(Table::with_integers("shop", "users"));
    let task = cluster.task();
    for tag in [T1, T2, T3] {
        cluster.set_up_anew(node);
        cluster.flush(node, table);
        cluster.backup(&Backup::new(&task, tag));
    }
    (cluster, task)
}

/// Where the backup of a tag finds a file.
fn place<'a>(bucket: &'a Bucket, tag: &str, file: &str) -> &'a FileMade {
    let table = &bucket.backup(tag).unwrap().nodes[0].tables[0];
    table
        .files
        .iter()
        .find(|made| made.name.ends_with(file))
        .unwrap()
}

#[test]
fn tags_are_times() {
    for (unix, tag) in [
        (0, "sm_19700101000000UTC"),
        (951_782_399, "sm_20000228235959UTC"),
        (951_782_400, "sm_20000229000000UTC"),
        (1_769_903_999, "sm_20260131235959UTC"),
        (4_107_542_400, "sm_21000301000000UTC"),
    ] {
        assert_eq!(tag_at(unix), tag);
        assert_eq!(tag_time(tag), Some(unix));
    }
    for none in [
        "",
        "sm_2026UTC",
        "sm_20260230000000UTC",
        "tmp",
        "sm_+0260102000000UTC",
    ] {
        assert_eq!(tag_time(none), None, "{none}");
    }
}

#[test]
fn an_older_version_is_where_the_backup_that_replaced_it_put_it() {
    let (cluster, _) = replaced_twice();
    let bucket = cluster.bucket();
    let plain = format!(
        "{}mc-1-big-Data.db",
        bucket.backups[0].nodes[0].tables[0].dir
    );
    for (tag, key) in [
        (T1, format!("{plain}.{T2}")),
        (T2, format!("{plain}.{T3}")),
        (T3, plain),
    ] {
        let file = place(&bucket, tag, "-Data.db");
        assert_eq!(file.key, key);
        assert_eq!(bucket.objects[&key].content, file.content);
        // The table of contents never changed, so it never moved.
        assert!(
            place(&bucket, tag, "-TOC.txt")
                .key
                .ends_with("/mc-1-big-TOC.txt")
        );
    }
}

#[test]
fn a_file_that_stays_is_stored_once() {
    let mut cluster = Cluster::new(7, "prod");
    let node = cluster.node("dc1", "rack1");
    let table = cluster.table(Table::new("shop", "users"));
    let task = cluster.task();
    cluster.flush(node, table);
    cluster.backup(&Backup::new(&task, T1));
    cluster.flush(node, table);
    cluster.backup(&Backup::new(&task, T2));
    cluster.compact(node, table, 2);
    cluster.backup(&Backup::new(&task, T3));
    let bucket = cluster.bucket();
    let names = |tag| {
        let table = &bucket.backup(tag).unwrap().nodes[0].tables[0];
        table
            .files
            .iter()
            .map(|file| file.key.as_str())
            .collect::<BTreeSet<_>>()
    };
    assert!(names(T1).is_subset(&names(T2)));
    assert_eq!(
        (names(T1).len(), names(T2).len(), names(T3).len()),
        (9, 18, 9)
    );
    assert!(names(T3).is_disjoint(&names(T2)));
    assert_eq!(bucket.keys(Kind::Component).count(), 27);
    assert_eq!(bucket.keys(Kind::ScyllaManifest).count(), 3);
}

#[test]
fn the_files_of_an_sstable_agree() {
    let (cluster, _) = replaced_twice();
    let bucket = cluster.bucket();
    let files = &bucket.backups[0].nodes[0].tables[0].files;
    let names: Vec<&str> = files
        .iter()
        .map(|file| &file.name["mc-1-big-".len()..])
        .collect();
    let toc = String::from_utf8(place(&bucket, T1, "-TOC.txt").content.to_vec()).unwrap();
    assert_eq!(toc.lines().collect::<Vec<_>>(), names);
    let digest = String::from_utf8(place(&bucket, T1, "-Digest.crc32").content.to_vec()).unwrap();
    let data = &place(&bucket, T1, "-Data.db").content;
    assert_eq!(digest.parse::<u32>().unwrap(), crc32fast::hash(data));
}

#[test]
fn manifests_have_the_form_of_their_age() {
    let mut cluster = Cluster::new(7, "prod");
    let node = cluster.node("dc1", "rack1");
    let table = cluster.table(Table::with_integers("shop", "users"));
    cluster.table(Table::with_integers("shop", "empty"));
    let task = cluster.task();
    cluster.flush(node, table);
    for (era, tag) in [(Era::Current, T1), (Era::Middle, T2), (Era::Oldest, T3)] {
        let schemas = match era {
            Era::Oldest => vec![Schema::Legacy],
            Era::Current | Era::Middle => vec![Schema::Cql, Schema::Alternator],
        };
        cluster.backup(&Backup {
            era,
            schemas,
            ..Backup::new(&task, tag)
        });
    }
    let bucket = cluster.bucket();
    let manifest = |tag| {
        let key = bucket.backup(tag).unwrap().nodes[0]
            .manifest
            .as_ref()
            .unwrap();
        text(&bucket.objects[key].content)
    };
    let current: Value = serde_json::from_str(&manifest(T1)).unwrap();
    let entry = &current["index"][0];
    assert_eq!(current["snapshot_tag"], T1);
    assert_eq!(entry["replication_type"], "vnodes");
    assert_eq!(entry["files"].as_array().unwrap().len(), 9);
    assert_eq!(entry["scylla_manifests"].as_array().unwrap().len(), 1);
    assert_eq!(current["size"], entry["size"]);
    let middle: Value = serde_json::from_str(&manifest(T2)).unwrap();
    assert_eq!(middle["rack"], "rack1");
    assert_eq!(middle.get("scylla_version"), None);
    assert_eq!(middle["index"][0].get("replication_type"), None);
    let oldest = manifest(T3);
    assert!(
        oldest.find("\"index\"").unwrap() < oldest.find("\"ip\"").unwrap(),
        "{oldest}"
    );
    let oldest: Value = serde_json::from_str(&oldest).unwrap();
    assert_eq!(oldest["index"][1]["files"], Value::Null);
    assert_eq!(oldest.get("rack"), None);
    assert!(
        oldest["schema"]
            .as_str()
            .unwrap()
            .ends_with("_schema.tar.gz")
    );
    let legacy = text(&bucket.objects[&bucket.backup(T3).unwrap().schemas[0]].content);
    assert!(legacy.starts_with("shop.cql\0"));
    assert_eq!(bucket.backup(T1).unwrap().schemas.len(), 2);
}

#[test]
fn an_unfinished_backup_promises_nothing() {
    let mut cluster = Cluster::new(11, "prod");
    let nodes = [cluster.node("dc1", "rack1"), cluster.node("dc1", "rack2")];
    let table = cluster.table(Table::new("shop", "users"));
    let task = cluster.task();
    nodes.iter().for_each(|node| cluster.flush(*node, table));
    cluster.backup(&Backup {
        unfinished: [nodes[1]].into(),
        shadowed: true,
        ..Backup::new(&task, T1)
    });
    let bucket = cluster.bucket();
    let made = bucket.backup(T1).unwrap();
    assert!(made.unfinished());
    let of = |node| {
        made.nodes
            .iter()
            .find(|made| made.node == cluster.node_id(node))
            .unwrap()
    };
    assert!(of(nodes[0]).manifest.is_some() && of(nodes[0]).temporary.is_some());
    let cut = of(nodes[1]);
    assert!(cut.manifest.is_none() && cut.temporary.is_some());
    let stored = |file: &&FileMade| file.stored;
    let count = cut.tables[0].files.iter().filter(stored).count();
    assert!(count < 9);
    assert_eq!(bucket.keys(Kind::Pending).count(), count + 1);
    let all = &of(nodes[0]).tables[0].files;
    assert_eq!(all.iter().filter(stored).count(), 9);
}

#[test]
fn what_goes_is_what_nothing_else_needs() {
    let (mut cluster, task) = replaced_twice();
    let bucket = cluster.bucket();
    let owner = cluster.id().to_owned();
    let id = |tag: &str| BackupId {
        cluster: owner.clone(),
        task: task.clone(),
        tag: tag.to_owned(),
    };
    let gone = BTreeSet::from([id(T2)]);
    let garbage = bucket.garbage(&gone);
    let data = place(&bucket, T2, "-Data.db").key.clone();
    assert!(garbage.contains(&data));
    assert!(!garbage.contains(&place(&bucket, T2, "-TOC.txt").key));
    for made in &bucket.backups {
        let node = &made.nodes[0];
        let goes = made.id == id(T2);
        assert_eq!(garbage.contains(node.manifest.as_ref().unwrap()), goes);
        assert_eq!(garbage.contains(&made.schemas[0]), goes);
    }
    // Set aside at T3, when the oldest backup left is T1's: Manager leaves it.
    assert!(bucket.left_by_manager(&gone).contains(&data));
    let gone = BTreeSet::from([id(T1), id(T2)]);
    assert_eq!(bucket.left_by_manager(&gone), BTreeSet::new());

    cluster.purge(&[T1]);
    let after = cluster.bucket();
    let kept: BTreeSet<_> = after.objects.keys().cloned().collect();
    let before: BTreeSet<_> = bucket.objects.keys().cloned().collect();
    let removed: BTreeSet<_> = before.difference(&kept).cloned().collect();
    assert_eq!(removed, bucket.garbage(&BTreeSet::from([id(T1)])));
}

#[test]
fn retention_is_days_first_then_count() {
    let mut cluster = Cluster::new(3, "prod");
    let node = cluster.node("dc1", "rack1");
    let table = cluster.table(Table::new("shop", "users"));
    let (daily, other) = (cluster.task(), cluster.task());
    cluster.flush(node, table);
    let tag = |day: u64| format!("sm_202601{day:02}000000UTC");
    for day in 1..=6 {
        cluster.backup(&Backup::new(&daily, &tag(day)));
    }
    cluster.backup(&Backup {
        unfinished: [node].into(),
        ..Backup::new(&daily, &tag(7))
    });
    cluster.backup(&Backup::new(&other, &tag(8)));
    let bucket = cluster.bucket();
    let now = tag_time(&tag(9)).unwrap();
    let stale = |count, days, now| {
        let policies = BTreeMap::from([(daily.clone(), Policy { count, days })]);
        let stale = bucket.stale(cluster.id(), &policies, now);
        stale
            .into_iter()
            .map(|id| id.tag[9..11].parse::<u64>().unwrap())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(stale(0, 0, now), BTreeSet::from([7]));
    assert_eq!(stale(2, 0, now), BTreeSet::from([1, 2, 3, 4, 7]));
    // Exactly four days old is not too old.
    assert_eq!(stale(0, 4, now), BTreeSet::from([1, 2, 3, 4, 7]));
    assert_eq!(stale(1, 4, now), BTreeSet::from([1, 2, 3, 4, 5, 7]));
    assert_eq!(stale(0, 0, now + 40 * 86_400), BTreeSet::from([7, 8]));
}

#[test]
fn a_seed_makes_the_same_bucket_and_another_one_another() {
    let (one, same, other) = (random_bucket(5), random_bucket(5), random_bucket(6));
    assert_eq!(one.objects, same.objects);
    assert_ne!(one.objects, other.objects);
}

/// What the layout says, read from it anew: the first version set aside after `tag`, else the plain
/// name.
fn resolve(bucket: &Bucket, plain: &str, tag: &str) -> Option<String> {
    let prefix = format!("{plain}.sm_");
    let aside = bucket.objects.keys().filter(|key| key.starts_with(&prefix));
    let later = aside.filter(|key| key[plain.len() + 1..] > *tag).min();
    later
        .cloned()
        .or_else(|| bucket.objects.contains_key(plain).then(|| plain.to_owned()))
}

#[test]
fn what_was_made_can_be_found_by_the_rules() {
    let mut seen = BTreeMap::<Kind, usize>::new();
    let mut moved = 0;
    for seed in 0..300 {
        let bucket = random_bucket(seed);
        for object in bucket.objects.values() {
            *seen.entry(object.kind).or_default() += 1;
        }
        for made in &bucket.backups {
            for node in made.nodes.iter().filter(|node| node.manifest.is_some()) {
                for table in &node.tables {
                    for file in &table.files {
                        let plain = format!("{}{}", table.dir, file.name);
                        let key = resolve(&bucket, &plain, &made.id.tag);
                        assert_eq!(key.as_ref(), Some(&file.key), "seed {seed}");
                        assert_eq!(
                            bucket.objects[&file.key].content, file.content,
                            "seed {seed}"
                        );
                        moved += usize::from(file.key != plain);
                    }
                }
            }
        }
    }
    assert_eq!(seen.len(), 10, "{seen:?}");
    assert!(moved > 1_000, "{moved}");
}

#[test]
fn a_bucket_is_written_key_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = random_bucket(9);
    bucket.write(&dir.path().join("all")).unwrap();
    for (key, object) in &bucket.objects {
        let found = std::fs::read(dir.path().join("all").join(key)).unwrap();
        assert_eq!(found, *object.content, "{key}");
    }
    let mut cluster = Cluster::new(1, "prod");
    cluster.node("dc1", "r");
    cluster.node("dc2", "r");
    let task = cluster.task();
    cluster.backup(&Backup::new(&task, T1));
    let bucket = cluster.bucket();
    let dcs = bucket.write_by_dc(dir.path()).unwrap();
    assert_eq!(dcs, BTreeSet::from(["dc1".to_owned(), "dc2".to_owned()]));
    let made = bucket.backup(T1).unwrap();
    for node in &made.nodes {
        let key = node.manifest.as_ref().unwrap();
        for dc in &dcs {
            assert_eq!(
                dir.path().join(dc).join(key).try_exists().unwrap(),
                *dc == node.dc
            );
            assert!(
                dir.path()
                    .join(dc)
                    .join(&made.schemas[0])
                    .try_exists()
                    .unwrap()
            );
        }
    }
}

#[test]
fn damage_is_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path();
    let (cluster, _) = replaced_twice();
    let made = cluster.bucket();
    made.write(bucket).unwrap();
    let manifest = |tag| made.backup(tag).unwrap().nodes[0].manifest.clone().unwrap();
    let read = |key: &str| std::fs::read(bucket.join(key)).unwrap();
    let data = place(&made, T3, "-Data.db");

    let bit = damage::flip_bit(bucket, &data.key, 1).unwrap();
    let mut expected = data.content.to_vec();
    expected[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(read(&data.key), expected);
    damage::truncate(bucket, &data.key, 10).unwrap();
    assert_eq!(read(&data.key), expected[..10]);
    damage::empty(bucket, &data.key).unwrap();
    assert_eq!(read(&data.key), b"");
    damage::delete(bucket, &data.key).unwrap();
    assert!(damage::delete(bucket, &data.key).is_err());

    let first = manifest(T1);
    let before = text(&read(&first));
    let bit = damage::flip_content_bit(bucket, &first, 3).unwrap();
    let mut expected = before.into_bytes();
    expected[bit / 8] ^= 1 << (bit % 8);
    let mut found = Vec::new();
    GzDecoder::new(&read(&first)[..])
        .read_to_end(&mut found)
        .unwrap();
    assert_eq!(found, expected);

    let second = manifest(T2);
    let before = text(&read(&second));
    damage::repeat_field(bucket, &second, "dc", "\"dc9\"").unwrap();
    let repeated = text(&read(&second));
    assert_eq!(repeated.matches("\"dc\":").count(), 2);
    assert_eq!(
        serde_json::from_str::<Value>(&repeated).unwrap()["dc"],
        "dc9"
    );
    damage::future_version(bucket, &second).unwrap();
    assert_eq!(
        text(&read(&second)),
        repeated.replacen("\"v2\"", "\"v9\"", 1)
    );
    assert!(damage::future_version(bucket, &second).is_err());
    assert_ne!(before, repeated);

    let third = manifest(T3);
    damage::unreadable(bucket, &third).unwrap();
    assert!(std::fs::read(bucket.join(&third)).is_err());
    damage::crowd(bucket, "backup/sst/crowd", 1_234).unwrap();
    let crowd = std::fs::read_dir(bucket.join("backup/sst/crowd")).unwrap();
    assert_eq!(crowd.count(), 1_234);
}

#[test]
fn many_manifests_are_whole_ones() {
    let dir = tempfile::tempdir().unwrap();
    let scale = Scale {
        backups: 12,
        nodes: 2,
        changes: 3,
        ..Scale::default()
    };
    let made = scale.write(dir.path()).unwrap();
    assert_eq!((made.tags.len(), made.nodes.len(), made.files), (12, 2, 90));
    let mut different = BTreeSet::new();
    for node in &made.nodes {
        for tag in &made.tags {
            let bytes = std::fs::read(dir.path().join(made.manifest(node, tag))).unwrap();
            let mut json = String::new();
            // One member, and nothing behind it.
            let mut gzip = GzDecoder::new(&bytes[..]);
            gzip.read_to_string(&mut json).unwrap();
            assert_eq!(gzip.into_inner(), b"");
            let manifest: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(manifest["snapshot_tag"], **tag);
            assert_eq!(manifest["node_id"], **node);
            assert_eq!(manifest["size"], made.bytes);
            let index = manifest["index"].as_array().unwrap();
            let files = index
                .iter()
                .flat_map(|entry| entry["files"].as_array().unwrap());
            let files: BTreeSet<String> = files.map(Value::to_string).collect();
            assert_eq!(files.len(), made.files);
            different.insert(files);
        }
    }
    assert_eq!(different.len(), 6);
}
