//! Buckets as ScyllaDB Manager leaves them: every key and manifest in them is read as what it is,
//! and nothing else is taken for one.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{
    Filter, Manifest, TableVersion,
    key::{ComponentKey, ManifestKey, OwnKey, SchemaKey, SchemaKind, ScyllaManifestKey},
    manifest::Replication,
    restore::{self, RestoreError, choose, resolve},
};
use protocol::{ClusterId, NodeId, SnapshotTag, TaskId};
use testkit::manager::{BackupMade, Bucket, Kind, NodeMade, TableMade, random_bucket};

const SEEDS: std::ops::Range<u64> = 0..300;

/// What a key is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Manifest { temporary: bool },
    Schema,
    Component,
    ScyllaManifest,
    Own,
}

fn read(key: &str) -> Vec<Read> {
    let manifest = key.parse::<ManifestKey>().ok();
    let all = [
        manifest.map(|ManifestKey { temporary, .. }| Read::Manifest { temporary }),
        key.parse::<SchemaKey>().ok().map(|_| Read::Schema),
        key.parse::<ComponentKey>().ok().map(|_| Read::Component),
        key.parse::<ScyllaManifestKey>()
            .ok()
            .map(|_| Read::ScyllaManifest),
        key.parse::<OwnKey>().ok().map(|_| Read::Own),
    ];
    all.into_iter().flatten().collect()
}

#[test]
fn every_key_is_read_as_what_it_is() {
    for seed in SEEDS {
        for (key, object) in &random_bucket(seed).objects {
            let expected: &[&[Read]] = match object.kind {
                Kind::Manifest => &[&[Read::Manifest { temporary: false }]],
                Kind::Temporary => &[&[Read::Manifest { temporary: true }]],
                Kind::Schema | Kind::LostSchema => &[&[Read::Schema]],
                Kind::Component => &[&[Read::Component]],
                Kind::ScyllaManifest => &[&[Read::ScyllaManifest]],
                Kind::Pending | Kind::Orphan => &[&[Read::Component], &[Read::ScyllaManifest]],
                Kind::Stray | Kind::Foreign => &[&[]],
            };
            let found = read(key);
            assert!(
                expected.contains(&&*found),
                "seed {seed}: {key} is {:?}, but was read as {found:?}",
                object.kind
            );
        }
    }
}

#[test]
fn every_schema_is_of_its_backup() {
    for seed in SEEDS {
        for made in &random_bucket(seed).backups {
            for text in &made.schemas {
                let key: SchemaKey = text.parse().unwrap();
                assert_eq!(key.cluster, cluster(made));
                assert_eq!((key.task, &key.tag), (task(made), &tag(made)));
                let kind = match key.kind {
                    SchemaKind::Cql => "_schema_with_internals.json.gz",
                    SchemaKind::Alternator => "_alternator_schema.json.gz",
                    SchemaKind::Legacy => "_schema.tar.gz",
                };
                assert!(text.ends_with(kind), "seed {seed}: {text}");
            }
        }
    }
}

#[test]
fn every_manifest_says_what_was_backed_up() {
    let mut read = 0;
    for seed in SEEDS {
        let bucket = random_bucket(seed);
        for made in &bucket.backups {
            for node in &made.nodes {
                for key in node.manifest.iter().chain(&node.temporary) {
                    let temporary = Some(key) != node.manifest.as_ref();
                    let parsed: ManifestKey = key.parse().unwrap();
                    let manifest = Manifest::read(&*bucket.objects[key].content, &parsed)
                        .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                    assert_eq!(manifest.key(temporary).unwrap(), parsed, "seed {seed}");
                    compare(seed, made, node, &manifest);
                    read += 1;
                }
            }
        }
    }
    assert!(read > 1_000, "only {read} manifests");
}

fn compare(seed: u64, made: &BackupMade, node: &NodeMade, manifest: &Manifest) {
    assert_eq!(manifest.cluster, cluster(made));
    assert_eq!(manifest.task, task(made));
    assert_eq!(manifest.tag, tag(made));
    let id: NodeId = node.node.parse().expect("an id");
    assert_eq!(manifest.node, id);
    assert_eq!(manifest.dc, node.dc);
    let (said, facts) = (&manifest.info, &node.facts);
    assert_eq!(manifest.schema, facts.schema, "seed {seed}");
    assert_eq!(said.cluster_name, facts.cluster_name, "seed {seed}");
    assert_eq!(said.scylla_version, facts.scylla_version, "seed {seed}");
    assert_eq!(said.ip, facts.ip, "seed {seed}");
    assert_eq!(said.rack, facts.rack, "seed {seed}");
    assert_eq!(said.tokens, facts.tokens, "seed {seed}");
    assert_eq!(said.shard_count, facts.shard_count, "seed {seed}");
    assert_eq!(said.cpu_count, facts.cpu_count, "seed {seed}");
    assert_eq!(said.storage_size, facts.storage_size, "seed {seed}");
    assert_eq!(said.cloud_provider, facts.cloud_provider, "seed {seed}");
    assert_eq!(said.instance_type, facts.instance_type, "seed {seed}");
    let bytes: u64 = node.tables.iter().map(TableMade::bytes).sum();
    assert_eq!(manifest.bytes(), bytes, "seed {seed}");
    assert_eq!(manifest.index.len(), node.tables.len(), "seed {seed}");
    for (entry, table) in manifest.index.iter().zip(&node.tables) {
        assert_eq!(entry.keyspace, table.keyspace, "seed {seed}");
        assert_eq!(entry.table, table.table, "seed {seed}");
        let version: TableVersion = table.version.parse().expect("a version");
        assert_eq!(entry.version, version, "seed {seed}");
        let replication = entry.replication.map(|kind| match kind {
            Replication::Vnodes => "vnodes",
            Replication::Tablets => "tablets",
        });
        assert_eq!(replication, table.replication.as_deref(), "seed {seed}");
        assert_eq!(entry.bytes, table.bytes(), "seed {seed}");
        assert_eq!(
            entry.scylla_manifests, table.scylla_manifests,
            "seed {seed}"
        );
        let names: Vec<String> = entry
            .files
            .iter()
            .map(|file| {
                // Manager does not write them.
                assert_eq!((file.bytes, file.crc32), (None, None));
                file.name.to_string()
            })
            .collect();
        let expected: Vec<&str> = table.files.iter().map(|file| &*file.name).collect();
        assert_eq!(names, expected, "seed {seed}");
    }
}

#[test]
fn every_file_is_found_where_it_is() {
    let mut moved = 0;
    for seed in SEEDS {
        let bucket = random_bucket(seed);
        let objects = sizes(&bucket);
        for made in &bucket.backups {
            let tag = tag(made);
            for node in made.nodes.iter().filter(|node| node.manifest.is_some()) {
                for table in &node.tables {
                    for file in &table.files {
                        let plain = format!("{}{}", table.dir, file.name);
                        let bytes = file.content.len() as u64;
                        let found = resolve(&plain, &tag, &objects);
                        assert_eq!(found, Some((file.key.clone(), bytes)), "seed {seed}");
                        assert_eq!(bucket.objects[&file.key].content, file.content);
                        moved += usize::from(file.key != plain);
                    }
                }
            }
        }
    }
    assert!(moved > 1_000, "only {moved} files were older versions");
}

/// A restore of one keyspace gets that keyspace's files, each from where it is.
#[test]
fn a_restore_collects_what_was_backed_up() {
    let filter = Filter::new(&["shop"]).unwrap();
    let location = "s3:backups".parse().unwrap();
    let mut collected = 0;
    for seed in SEEDS {
        let bucket = random_bucket(seed);
        let objects = sizes(&bucket);
        for made in &bucket.backups {
            for node in &made.nodes {
                let Some(key) = &node.manifest else {
                    continue;
                };
                let bytes = &*bucket.objects[key].content;
                let manifest = Manifest::read(bytes, &key.parse().unwrap()).unwrap();
                let sourced = restore::collect(&manifest, &location, &filter, &objects).unwrap();
                let files = sourced.iter().flat_map(|sourced| &sourced.sstable.files);
                let found: BTreeSet<(&str, &str, u64)> = files
                    .map(|file| (&*file.name, &*file.key, file.bytes))
                    .collect();
                let tables = node.tables.iter().filter(|table| table.keyspace == "shop");
                let files = tables.flat_map(|table| &table.files);
                let expected = files
                    .map(|file| (&*file.name, &*file.key, file.content.len() as u64))
                    .collect();
                assert_eq!(found, expected, "seed {seed}");
                collected += found.len();
            }
        }
    }
    assert!(collected > 10_000, "only {collected} files");
}

/// Of all manifests of a bucket, a restore takes those of one backup, or says that some lack.
#[test]
fn a_backup_is_chosen_whole_or_not_at_all() {
    let mut refused = 0;
    for seed in SEEDS {
        let bucket = random_bucket(seed);
        let keys: Vec<ManifestKey> = bucket
            .objects
            .keys()
            .filter_map(|key| key.parse().ok())
            .collect();
        for made in bucket.backups.iter().filter(|made| !made.nodes.is_empty()) {
            let chosen = choose(keys.clone(), &tag(made), Some(cluster(made)));
            let of = |finished: bool| {
                let nodes = made.nodes.iter();
                let nodes = nodes.filter(move |node| node.manifest.is_some() == finished);
                nodes.map(|node| node.node.parse::<NodeId>().unwrap())
            };
            if made.unfinished() {
                let expected = RestoreError::Unfinished {
                    tag: tag(made),
                    unfinished: of(false).collect(),
                };
                assert_eq!(chosen, Err(expected), "seed {seed}");
                refused += 1;
                continue;
            }
            let chosen: BTreeSet<String> =
                chosen.unwrap().iter().map(ToString::to_string).collect();
            let expected = made.nodes.iter().filter_map(|node| node.manifest.clone());
            assert_eq!(chosen, expected.collect(), "seed {seed}");
            assert_eq!(chosen.len(), of(true).count(), "seed {seed}");
        }
    }
    assert!(refused > 20, "only {refused} were unfinished");
}

fn sizes(bucket: &Bucket) -> BTreeMap<String, u64> {
    let objects = bucket.objects.iter();
    objects
        .map(|(key, object)| (key.clone(), object.content.len() as u64))
        .collect()
}

fn cluster(made: &BackupMade) -> ClusterId {
    made.id.cluster.parse().expect("an id")
}

fn task(made: &BackupMade) -> TaskId {
    made.id.task.parse().expect("an id")
}

fn tag(made: &BackupMade) -> SnapshotTag {
    made.id.tag.parse().expect("a tag")
}
