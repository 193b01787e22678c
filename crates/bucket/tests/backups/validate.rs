//! Whether backups are whole, and what no backup needs.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use bucket::{
    files::Select,
    listing::{self, Listing},
    validate::{self, Check, Kind as Wrong, NodeReport, Report, Step},
};
use catalog::{Chunk, ChunkFile, Document as _, key::OwnKey};
use testkit::manager::{Backup, Bucket, Cluster, FileMade, Kind, Table, damage, random_bucket};

use crate::world::{World, count, run};

const TAGS: [&str; 3] = [
    "sm_20260101000000UTC",
    "sm_20260102000000UTC",
    "sm_20260103000000UTC",
];

/// A check that began after all was written.
fn check(select: &Select) -> Check<'_> {
    Check {
        backup: None,
        select,
        checksum: None,
        started_ms: u64::MAX,
        delete_orphans: None,
        progress: &|_| (),
    }
}

async fn validate(world: &World, check: &Check<'_>) -> Result<(Listing, Report)> {
    let listing = listing::list(&world.stores, None).await?;
    let report = validate::all(&world.stores, &listing, None, check).await?;
    Ok((listing, report))
}

fn sum(report: &Report, of: impl Fn(&NodeReport) -> u64) -> u64 {
    report.nodes.iter().map(of).sum()
}

#[test]
fn whole_buckets_are_sound_and_their_orphans_are_known() -> Result<()> {
    run(async {
        let mut orphans = 0;
        for seed in 0..40 {
            let bucket = random_bucket(seed);
            let world = World::new(&bucket).await?;
            let done = random(&world, &bucket).await;
            orphans += done.with_context(|| format!("seed {seed}"))?;
        }
        ensure!(orphans > 0, "the seeds do not test what they should");
        Ok(())
    })
}

async fn random(world: &World, bucket: &Bucket) -> Result<u64> {
    let select = Select::default();
    let all = Check {
        checksum: Some(u64::MAX),
        ..check(&select)
    };
    let (_, report) = validate(world, &all).await?;
    ensure!(report.sound(), "{report:#?}");
    let truth: BTreeSet<&str> = bucket.keys(Kind::Orphan).collect();
    let bytes = truth
        .iter()
        .map(|key| bucket.objects[*key].content.len() as u64);
    ensure!(
        sum(&report, |n| n.orphaned_files) == truth.len() as u64,
        "{report:#?}\n{truth:#?}"
    );
    ensure!(sum(&report, |n| n.orphaned_bytes) == bytes.sum::<u64>());
    ensure!(sum(&report, |n| n.foreign_files) == count(bucket, Kind::Stray, ""));
    ensure!(report.lost_schemas == count(bucket, Kind::LostSchema, ""));
    ensure!(report.schemas == count(bucket, Kind::Schema, ""));
    // Of Manager's files only data has a digest, and not in the two oldest formats.
    let data = bucket.keys(Kind::Component).filter(|key| {
        let old = key.contains("-ka-") || key.contains("/la-");
        key.contains("-Data.db") && !old
    });
    ensure!(sum(&report, |n| n.checkable_files) == data.count() as u64);
    ensure!(sum(&report, |n| n.checked_files) == sum(&report, |n| n.checkable_files));

    // They go, and nothing else does.
    let all = Check {
        delete_orphans: Some(&|| true),
        ..check(&select)
    };
    let (_, report) = validate(world, &all).await?;
    ensure!(sum(&report, |n| n.deleted_files) == truth.len() as u64);
    let kept = bucket
        .objects
        .iter()
        .filter(|(key, _)| !truth.contains(key.as_str()));
    let kept: Vec<(&str, &[u8])> = kept.map(|(key, o)| (key.as_str(), &*o.content)).collect();
    let there = world.objects()?;
    let there: Vec<(&str, &[u8])> = there.iter().map(|(k, o)| (k.as_str(), &o[..])).collect();
    ensure!(there == kept);
    let (_, report) = validate(world, &all).await?;
    ensure!(report.sound() && sum(&report, |n| n.orphaned_files) == 0);
    Ok(truth.len() as u64)
}

/// One node, with an SSTable more in each of three backups.
fn growing() -> Cluster {
    let mut prod = Cluster::new(5, "prod");
    let node = prod.node("dc1", "r1");
    let users = prod.table(Table::new("shop", "users"));
    let task = prod.task();
    for tag in TAGS {
        prod.flush(node, users);
        prod.backup(&Backup::new(&task, tag));
    }
    prod
}

/// The files that came with a backup, by component.
fn file<'a>(bucket: &'a Bucket, tag: &str, component: &str) -> Result<&'a FileMade> {
    let table = |tag: &str| bucket.backup(tag).map(|made| &made.nodes[0].tables[0]);
    let at = TAGS.iter().position(|one| *one == tag).context("a tag")?;
    let before = at.checked_sub(1).and_then(|at| table(TAGS[at]));
    let mut files = table(tag).context("made")?.files.iter();
    let new = files.find(|file| {
        let old = before.is_some_and(|table| table.files.iter().any(|f| f.name == file.name));
        file.name.ends_with(component) && !old
    });
    new.context("a file")
}

fn broken(report: &Report) -> Vec<String> {
    report
        .broken()
        .into_iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn what_is_missing_cut_or_changed_breaks_the_backups_that_mean_it() -> Result<()> {
    run(async {
        let bucket = growing().bucket();
        let world = World::new(&bucket).await?;
        let path = world.path();
        let gone = file(&bucket, TAGS[0], "-Index.db")?;
        damage::delete(&path, &gone.key)?;
        let flipped = file(&bucket, TAGS[1], "-Data.db")?;
        damage::flip_bit(&path, &flipped.key, 1)?;
        let select = Select::default();
        let (_, report) = validate(&world, &check(&select)).await?;
        ensure!(broken(&report) == TAGS, "the first SSTable is in all");
        ensure!(sum(&report, |n| n.missing_files) == 1);
        ensure!(report.nodes[0].findings.len() == 1);
        ensure!(report.nodes[0].findings[0].key == gone.key);

        let mut content = check(&select);
        content.checksum = Some(u64::MAX);
        let (_, report) = validate(&world, &content).await?;
        let [missing, wrong] = &report.nodes[0].findings[..] else {
            anyhow::bail!("{report:#?}");
        };
        ensure!((missing.kind, wrong.kind) == (Wrong::Missing, Wrong::WrongContent));
        ensure!(wrong.key == flipped.key);
        ensure!(
            wrong
                .snapshots
                .iter()
                .map(ToString::to_string)
                .eq(TAGS[1..].iter().copied())
        );
        ensure!(report.nodes[0].wrong_content_files == 1 && !report.sound());
        Ok(())
    })
}

#[test]
fn one_backup_is_checked_alone() -> Result<()> {
    run(async {
        let bucket = growing().bucket();
        let world = World::new(&bucket).await?;
        damage::empty(&world.path(), &file(&bucket, TAGS[2], "-Data.db")?.key)?;
        let select = Select::default();
        let listing = listing::list(&world.stores, None).await?;
        for (tag, sound) in TAGS.into_iter().zip([true, true, false]) {
            let backup = listing.choose(&tag.parse()?, None)?;
            let alone = Check {
                backup: Some(&backup.id),
                checksum: Some(u64::MAX),
                ..check(&select)
            };
            let report = validate::all(&world.stores, &listing, None, &alone).await?;
            ensure!(report.sound() == sound, "{tag} {report:#?}");
            ensure!(report.nodes[0].manifests == 1 && report.nodes[0].orphaned_files == 0);
            ensure!(report.schemas == 1);
        }
        Ok(())
    })
}

/// Writes manifests as Thetis does: with sizes and checksums.
fn with_facts(
    world: &World,
    bucket: &Bucket,
    change: impl Fn(&str, &mut u64, &mut u32),
) -> Result<()> {
    for made in &bucket.backups {
        for node in &made.nodes {
            let key = node.manifest.as_ref().context("finished")?;
            damage::edit(&world.path(), key, |text| {
                let mut manifest: serde_json::Value =
                    serde_json::from_str(text).expect("a manifest");
                for (entry, table) in node.tables.iter().enumerate() {
                    let facts = table.files.iter().map(|file| {
                        let bytes = file.content.len() as u64;
                        let mut fact = (bytes, crc32fast::hash(&file.content));
                        change(&file.name, &mut fact.0, &mut fact.1);
                        fact
                    });
                    let (sizes, crc32): (Vec<u64>, Vec<u32>) = facts.unzip();
                    let facts = serde_json::json!({"sizes": sizes, "crc32": crc32});
                    manifest["index"][entry]["thetis"] = facts;
                }
                manifest.to_string()
            })?;
        }
    }
    Ok(())
}

#[test]
fn with_what_thetis_notes_every_file_is_checked() -> Result<()> {
    run(async {
        let bucket = growing().bucket();
        let world = World::new(&bucket).await?;
        with_facts(&world, &bucket, |_, _, _| ())?;
        let select = Select::default();
        let content = Check {
            checksum: Some(u64::MAX),
            ..check(&select)
        };
        let (_, report) = validate(&world, &content).await?;
        ensure!(report.sound(), "{report:#?}");
        let files = count(&bucket, Kind::Component, "");
        ensure!(report.nodes[0].checked_files == files);
        let bytes = bucket
            .keys(Kind::Component)
            .map(|key| bucket.objects[key].content.len());
        ensure!(report.nodes[0].checked_bytes == bytes.sum::<usize>() as u64);

        // A manifest of its own that has it otherwise is wrong, alone.
        let [cut, other] = [
            file(&bucket, TAGS[0], "-Filter.db")?,
            file(&bucket, TAGS[1], "-TOC.txt")?,
        ];
        let world = World::new(&bucket).await?;
        with_facts(&world, &bucket, |name, bytes, crc32| {
            *bytes += u64::from(name == cut.name);
            *crc32 ^= u32::from(name == other.name);
        })?;
        let (_, report) = validate(
            &world,
            &Check {
                checksum: None,
                ..content
            },
        )
        .await?;
        ensure!(report.nodes[0].wrong_size_files == 1, "{report:#?}");
        let (_, report) = validate(&world, &content).await?;
        let kinds: Vec<_> = report.nodes[0]
            .findings
            .iter()
            .map(|f| (f.kind, &*f.key))
            .collect();
        ensure!(
            kinds
                == [
                    (Wrong::WrongSize, &*cut.key),
                    (Wrong::WrongContent, &*other.key)
                ]
        );
        Ok(())
    })
}

#[test]
fn a_budget_takes_a_sample_that_stays_the_same() -> Result<()> {
    run(async {
        let mut cluster = growing();
        let (node, users) = (
            cluster.node("dc1", "r2"),
            cluster.table(Table::new("shop", "big")),
        );
        for _ in 0..30 {
            cluster.flush(node, users);
        }
        let task = cluster.task();
        cluster.backup(&Backup::new(&task, "sm_20260104000000UTC"));
        let world = World::new(&cluster.bucket()).await?;
        let select = Select::default();
        let planned = AtomicU64::new(0);
        let note = |step| {
            if let Step::Planned { bytes, .. } = step {
                planned.fetch_add(bytes, Ordering::Relaxed);
            }
        };
        let of = |checksum| Check {
            checksum: Some(checksum),
            progress: &note,
            ..check(&select)
        };
        let (_, whole) = validate(&world, &of(u64::MAX)).await?;
        let all = sum(&whole, |n| n.checkable_bytes);
        planned.store(0, Ordering::Relaxed);
        let (_, first) = validate(&world, &of(all)).await?;
        let checked = sum(&first, |n| n.checked_bytes);
        ensure!(checked > 0 && checked < all, "{checked} of {all}");
        ensure!(planned.load(Ordering::Relaxed) == checked);
        ensure!(sum(&first, |n| n.checkable_bytes) == all);
        let (_, second) = validate(&world, &of(all)).await?;
        ensure!(first == second);
        let (_, none) = validate(&world, &of(0)).await?;
        ensure!(sum(&none, |n| n.checked_bytes) == 0 && none.sound());
        Ok(())
    })
}

#[test]
fn what_is_new_or_under_way_is_no_orphan() -> Result<()> {
    run(async {
        let mut cluster = growing();
        cluster.clutter();
        let bucket = cluster.bucket();
        let world = World::new(&bucket).await?;
        let orphans: Vec<&str> = bucket.keys(Kind::Orphan).collect();
        let select = Select::default();
        let early = Check {
            started_ms: 0,
            delete_orphans: Some(&|| true),
            ..check(&select)
        };
        let (_, report) = validate(&world, &early).await?;
        ensure!(report.nodes[0].recent_files == orphans.len() as u64);
        ensure!(report.nodes[0].orphaned_files + report.nodes[0].deleted_files == 0);

        let chunk = Chunk {
            chunk: 0,
            files: vec![ChunkFile {
                path: "x".to_owned(),
                key: orphans[0].to_owned(),
                bytes: 1,
                ..serde_json::from_value(serde_json::json!({"path": "x", "key": "x", "bytes": 0}))?
            }],
        };
        let run = "01920000-0000-7000-8000-0000000000a1".parse()?;
        let node = bucket.backups[0].nodes[0].node.parse()?;
        let key = OwnKey::Chunk(run, node, 0).to_string();
        world.put(&key, &chunk.to_json())?;
        let (_, report) = validate(&world, &check(&select)).await?;
        ensure!(report.nodes[0].orphaned_files == orphans.len() as u64 - 1);
        ensure!(report.nodes[0].findings.iter().all(|f| f.key != orphans[0]));

        // A plan that nobody can read may mean anything.
        world.put(&key, b"{")?;
        let late = Check {
            started_ms: u64::MAX,
            ..early
        };
        let (_, report) = validate(&world, &late).await?;
        let why = report.nodes[0].orphans_unknown.clone().unwrap_or_default();
        ensure!(why.contains(&key), "{why}");
        ensure!(report.nodes[0].orphaned_files + report.nodes[0].deleted_files == 0);
        Ok(())
    })
}

#[test]
fn nothing_goes_without_leave() -> Result<()> {
    run(async {
        let mut cluster = growing();
        cluster.clutter();
        let bucket = cluster.bucket();
        let world = World::new(&bucket).await?;
        let before = world.objects()?;
        let select = Select::default();
        let forbidden = Check {
            delete_orphans: Some(&|| false),
            ..check(&select)
        };
        let (_, report) = validate(&world, &forbidden).await?;
        ensure!(report.nodes[0].deletion_stopped.is_some());
        ensure!(report.nodes[0].orphaned_files > 0 && report.nodes[0].deleted_files == 0);
        ensure!(world.objects()? == before);

        // A backup that begins between the look and the first delete could find what is to go.
        let manifest = bucket.backups[0].nodes[0]
            .manifest
            .clone()
            .context("finished")?;
        let another = manifest.replace(TAGS[0], "sm_20260109000000UTC") + ".tmp";
        let begins = |step| {
            if step == Step::Manifest {
                world.put(&another, b"").unwrap();
            }
        };
        let meanwhile = Check {
            delete_orphans: Some(&|| true),
            progress: &begins,
            ..check(&select)
        };
        let (_, report) = validate(&world, &meanwhile).await?;
        ensure!(report.nodes[0].deleted_files == 0, "{report:#?}");
        Ok(())
    })
}

#[test]
fn schemas_are_read_too() -> Result<()> {
    run(async {
        let bucket = growing().bucket();
        let world = World::new(&bucket).await?;
        let key = |at: usize| bucket.backups[at].schemas[0].clone();
        damage::flip_content_bit(&world.path(), &key(0), 1)?;
        damage::truncate(&world.path(), &key(1), 30)?;
        damage::delete(&world.path(), &key(2))?;
        let select = Select::default();
        let (_, report) = validate(&world, &check(&select)).await?;
        let wrong: BTreeSet<&str> = report.wrong_schemas.iter().map(|f| &*f.key).collect();
        // A bit of the text may leave a text.
        ensure!(
            wrong.contains(&*key(1)) && wrong.contains(&*key(2)),
            "{wrong:?}"
        );
        ensure!(!report.sound() && broken(&report).contains(&TAGS[2].to_owned()));
        Ok(())
    })
}
