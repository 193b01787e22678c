//! Backups on a local disk.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use bucket::{
    Error,
    download::{Report, Request, Step, download},
    files::Select,
    listing,
};
use catalog::Filter;
use testkit::manager::{Backup, BackupMade, Bucket, Cluster, Ids, Table, damage, random_bucket};

use crate::world::{World, gather, id, run};

fn request<'a>(select: &'a Select, dir: &'a Path) -> Request<'a> {
    Request {
        select,
        dir,
        parallel: 4,
        progress: &|_| (),
    }
}

/// What must lie there: path and content.
fn expected(made: &BackupMade) -> BTreeMap<String, Vec<u8>> {
    let finished: Vec<_> = made
        .nodes
        .iter()
        .filter(|node| node.manifest.is_some())
        .collect();
    let mut files = BTreeMap::new();
    for node in &finished {
        for table in &node.tables {
            for file in &table.files {
                let dir = format!(
                    "{}/{}-{}/upload",
                    table.keyspace, table.table, table.version
                );
                let id = file.name.split('-').find(|part| part.len() == 28);
                let own = id.is_none() && finished.len() > 1;
                let own = if own {
                    format!("/{}", node.node)
                } else {
                    String::new()
                };
                files.insert(format!("{dir}{own}/{}", file.name), file.content.to_vec());
            }
        }
    }
    files
}

fn there(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    gather(dir, dir, &mut all)?;
    Ok(all)
}

#[test]
fn any_backup_comes_down_as_it_was() -> Result<()> {
    run(async {
        for seed in 0..25 {
            let bucket = random_bucket(seed);
            let world = World::by_dc(&bucket).await?;
            let listing = listing::list(&world.stores, None).await?;
            let select = Select::default();
            for made in &bucket.backups {
                let Some(backup) = listing.backups.get(&id(made)) else {
                    continue;
                };
                let dir = tempfile::tempdir()?;
                let asked = request(&select, dir.path());
                let report = download(&world.stores, backup, &asked).await?;
                let (there, expected) = (there(dir.path())?, expected(made));
                ensure!(there.keys().eq(expected.keys()), "seed {seed} {there:?}");
                ensure!(there == expected, "seed {seed}");
                ensure!(report.files == expected.len() as u64 && report.failures == 0);
                let again = download(&world.stores, backup, &asked).await?;
                ensure!(
                    again.kept_files == report.files && again.files == 0,
                    "{again:?}"
                );
            }
        }
        Ok(())
    })
    .context("download")
}

fn one(ids: Ids) -> Bucket {
    let mut prod = Cluster::new(3, "prod");
    let node = prod.node("dc1", "r1");
    let table = Table {
        ids,
        ..Table::with_integers("shop", "users")
    };
    let users = prod.table(table);
    let task = prod.task();
    for _ in 0..3 {
        prod.flush(node, users);
    }
    prod.backup(&Backup::new(&task, "sm_20260101000000UTC"));
    prod.bucket()
}

async fn bring(world: &World, dir: &Path) -> Result<Report, Error> {
    let listing = listing::list(&world.stores, None).await?;
    let backup = listing.backups.values().next().expect("one backup");
    let select = Select::default();
    download(&world.stores, backup, &request(&select, dir)).await
}

#[test]
fn what_is_there_and_good_is_kept_and_the_rest_comes_anew() -> Result<()> {
    run(async {
        let bucket = one(Ids::Integer);
        let world = World::new(&bucket).await?;
        let dir = tempfile::tempdir()?;
        let whole = bring(&world, dir.path()).await?;
        let expected = expected(&bucket.backups[0]);
        let path = |end: &str| {
            let path = expected.keys().find(|path| path.ends_with(end));
            dir.path().join(path.unwrap())
        };
        // Another content of the same size, a shorter one, and none.
        let data = path("mc-1-big-Data.db");
        let mut bytes = fs::read(&data)?;
        bytes[0] ^= 1;
        fs::write(&data, bytes)?;
        fs::write(path("mc-2-big-Index.db"), b"x")?;
        fs::remove_file(path("mc-3-big-TOC.txt"))?;
        let again = bring(&world, dir.path()).await?;
        ensure!(there(dir.path())? == expected);
        // The TOCs of both SSTables that were not whole came anew, too.
        ensure!(
            (again.files, again.kept_files) == (5, whole.files - 5),
            "{again:?}"
        );
        Ok(())
    })
}

#[test]
fn an_sstable_that_is_not_whole_has_no_toc() -> Result<()> {
    run(async {
        let bucket = one(Ids::Uuid);
        let table = &bucket.backups[0].nodes[0].tables[0];
        let key = |component: &str, at: usize| {
            let files = table.files.iter().filter(|f| f.name.ends_with(component));
            files
                .map(|f| (f.key.clone(), f.name.clone()))
                .nth(at)
                .unwrap()
        };
        let world = World::new(&bucket).await?;
        let (flipped, gone) = (key("-Data.db", 0), key("-Index.db", 1));
        damage::flip_bit(&world.path(), &flipped.0, 5)?;
        damage::delete(&world.path(), &gone.0)?;
        let dir = tempfile::tempdir()?;
        let report = bring(&world, dir.path()).await?;
        let failed: Vec<&str> = report.failed.iter().map(|one| &*one.key).collect();
        ensure!(failed.len() == 2 && failed.contains(&&*flipped.0) && failed.contains(&&*gone.0));
        ensure!(report.failures == 2, "{report:?}");
        let there = there(dir.path())?;
        let tocs: Vec<&String> = there.keys().filter(|k| k.ends_with("TOC.txt")).collect();
        ensure!(
            tocs.len() == 1 && tocs[0].ends_with(&key("-TOC.txt", 2).1),
            "{tocs:?}"
        );
        ensure!(
            there
                .keys()
                .all(|path| !path.ends_with(&flipped.1) && !path.contains("part"))
        );

        // Mended, it is completed.
        bucket.write(&world.path())?;
        let report = bring(&world, dir.path()).await?;
        ensure!(report.failures == 0);
        let mut all = BTreeMap::new();
        gather(dir.path(), dir.path(), &mut all)?;
        ensure!(all == expected(&bucket.backups[0]));

        // And spoilt again in the bucket, what is here stays.
        damage::flip_bit(&world.path(), &flipped.0, 5)?;
        ensure!(bring(&world, dir.path()).await?.failures == 0);
        Ok(())
    })
}

#[test]
fn only_what_is_chosen_comes_and_its_size_is_known_first() -> Result<()> {
    run(async {
        let bucket = one(Ids::Uuid);
        let world = World::new(&bucket).await?;
        let listing = listing::list(&world.stores, None).await?;
        let backup = listing.backups.values().next().context("one backup")?;
        let dir = tempfile::tempdir()?;
        let (planned, moved) = (AtomicU64::new(0), AtomicU64::new(0));
        let note = |step| match step {
            Step::Planned { bytes, .. } => planned.store(bytes, Ordering::Relaxed),
            Step::Moved(bytes) => {
                moved.fetch_add(bytes, Ordering::Relaxed);
            }
            Step::Kept(_) | Step::File => {}
        };
        let none = Select {
            filter: Filter::new(&["other"])?,
            ..Select::default()
        };
        let asked = Request {
            progress: &note,
            ..request(&none, dir.path())
        };
        let report = download(&world.stores, backup, &asked).await?;
        ensure!(report == Report::default() && there(dir.path())?.is_empty());
        let all = Select::default();
        let asked = Request {
            select: &all,
            ..asked
        };
        let report = download(&world.stores, backup, &asked).await?;
        ensure!(report.bytes == planned.load(Ordering::Relaxed));
        ensure!(report.bytes == moved.load(Ordering::Relaxed));
        Ok(())
    })
}

#[test]
fn a_disk_that_is_too_small_is_known_before_anything_comes() -> Result<()> {
    run(async {
        let bucket = one(Ids::Uuid);
        let world = World::new(&bucket).await?;
        let key = &bucket.backups[0].nodes[0].tables[0].files[0].key;
        // A file of a size that no disk has, which takes no space itself.
        let file = fs::OpenOptions::new()
            .write(true)
            .open(world.path().join(key))?;
        file.set_len(1 << 43)?;
        let dir = tempfile::tempdir()?;
        let said = bring(&world, dir.path()).await.unwrap_err();
        ensure!(matches!(said, Error::Space { .. }), "{said}");
        ensure!(there(dir.path())?.is_empty());
        Ok(())
    })
}
