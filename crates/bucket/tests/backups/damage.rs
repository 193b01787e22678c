//! Damaged buckets: what is wrong is named, and the rest is there all the same.

use anyhow::{Context as _, Result, ensure};
use bucket::{
    Error, coverage,
    files::{self, Select},
    index, listing,
    validate::{self, Check},
};
use catalog::Filter;
use futures::StreamExt as _;
use testkit::manager::{Backup, Bucket, Cluster, Table, damage};

use crate::world::{World, run};

const TAG: &str = "sm_20260102000000UTC";

/// Three nodes, two backups.
fn prod() -> Bucket {
    let mut prod = Cluster::new(11, "prod");
    let nodes = [
        prod.node("dc1", "r1"),
        prod.node("dc1", "r2"),
        prod.node("dc2", "r1"),
    ];
    let users = prod.table(Table::new("shop", "users"));
    let task = prod.task();
    for tag in ["sm_20260101000000UTC", TAG] {
        for node in nodes {
            prod.flush(node, users);
        }
        prod.backup(&Backup::new(&task, tag));
    }
    prod.clutter();
    prod.bucket()
}

/// Breaks the object under a key.
type Way = fn(&World, &str) -> Result<()>;

/// Ways to break a manifest.
const WAYS: [(&str, Way); 8] = [
    ("cut short", |world, key| {
        damage::truncate(&world.path(), key, 100)
    }),
    ("empty", |world, key| damage::empty(&world.path(), key)),
    ("a bit of the object", |world, key| {
        damage::flip_bit(&world.path(), key, 3).map(drop)
    }),
    ("of the future", |world, key| {
        damage::future_version(&world.path(), key)
    }),
    ("no JSON", |world, key| {
        damage::edit(&world.path(), key, |text| text.replacen('{', "[", 1))
    }),
    ("another node's", |world, key| {
        damage::edit(&world.path(), key, |text| {
            text.replacen("\"node_id\":\"", "\"node_id\":\"0", 1)
        })
    }),
    ("a name that leaves its place", |world, key| {
        damage::edit(&world.path(), key, |text| text.replacen("me-", "../me-", 1))
    }),
    ("unreadable", |world, key| {
        damage::unreadable(&world.path(), key).map(drop)
    }),
];

#[test]
fn a_manifest_that_cannot_be_read_is_named_and_hides_no_other() -> Result<()> {
    run(async {
        let bucket = prod();
        let made = bucket.backup(TAG).context("made")?;
        let key = made.nodes[0].manifest.clone().context("finished")?;
        for (way, hurt) in WAYS {
            let world = World::new(&bucket).await?;
            hurt(&world, &key)?;
            one(&world, &key).await.context(way)?;
        }
        Ok(())
    })
}

async fn one(world: &World, key: &str) -> Result<()> {
    let stores = &world.stores;
    // Where a directory took its place, for those who may read everything, it is just gone.
    let there = world.path().join(key).is_file();
    let contents = index::read(stores, None).await?;
    let unreadable: Vec<String> = contents
        .unreadable
        .iter()
        .map(|u| u.key.to_string())
        .collect();
    ensure!(unreadable == [key][..usize::from(there)], "{unreadable:?}");
    let tags: Vec<_> = contents
        .backups
        .iter()
        .map(|backup| {
            let nodes = backup.nodes().count();
            (backup.id.tag.to_string(), nodes, backup.unreadable.len())
        })
        .collect();
    let hurt = (TAG.to_owned(), 2, usize::from(there));
    ensure!(
        tags == [("sm_20260101000000UTC".to_owned(), 3, 0), hurt],
        "{tags:?}"
    );
    if there {
        ensure!(
            contents.unreadable[0].cause.contains(key),
            "{:?}",
            contents.unreadable
        );
    }

    let listing = listing::list(stores, None).await?;
    let backup = listing.choose(&TAG.parse()?, None)?;
    let select = Select::default();
    let (mut tables, mut failed) = (0, Vec::new());
    let mut all = files::tables(stores, backup, &select);
    while let Some(found) = all.next().await {
        match found {
            Ok(_) => tables += 1,
            Err(one) => failed.push(one.manifest.key.to_string()),
        }
    }
    ensure!(
        tables >= 2 && failed == [key][..usize::from(there)],
        "{tables} {failed:?}"
    );

    let coverage = coverage::of(stores, backup, &Filter::new::<&str>(&[])?).await?;
    ensure!(coverage.nodes.len() == 2 && coverage.unreadable.len() == usize::from(there));

    let check = Check {
        backup: None,
        select: &select,
        checksum: None,
        started_ms: u64::MAX,
        delete_orphans: Some(&|| true),
        progress: &|_| (),
    };
    let before = world.objects()?.len();
    let report = validate::all(stores, &listing, None, &check).await?;
    ensure!(report.sound() != there, "{report:#?}");
    let hurt = report
        .nodes
        .iter()
        .filter(|n| !n.unreadable_manifests.is_empty());
    for node in hurt {
        ensure!(node.unreadable_manifests.keys().eq([key]));
        ensure!(
            node.orphans_unknown
                .as_deref()
                .is_some_and(|why| why.contains(key))
        );
        ensure!(node.orphaned_files + node.deleted_files + node.missing_files == 0);
        ensure!(
            node.broken_snapshots
                .iter()
                .map(ToString::to_string)
                .eq([TAG])
        );
    }
    // Of the other nodes, what is an orphan is known, and went.
    let gone: u64 = report.nodes.iter().map(|node| node.deleted_files).sum();
    ensure!(gone > 0 && world.objects()?.len() as u64 == before as u64 - gone);
    Ok(())
}

#[test]
fn a_bucket_that_is_not_there_is_named() -> Result<()> {
    run(async {
        let world = World::empty().await?;
        std::fs::remove_dir_all(world.path())?;
        let said = index::read(&world.stores, None).await.unwrap_err();
        ensure!(
            matches!(said, Error::Store(store::Error::NoBucket { .. })),
            "{said}"
        );
        ensure!(said.to_string().contains("localstorage:backups"), "{said}");
        Ok(())
    })
}

#[test]
fn a_backup_is_chosen_by_tag_and_cluster() -> Result<()> {
    run(async {
        let cluster = |seed| {
            let mut one = Cluster::new(seed, "one");
            one.node("dc1", "r1");
            let task = one.task();
            one.backup(&Backup::new(&task, TAG));
            one
        };
        let (one, two) = (cluster(1), cluster(2));
        let ids = [one.id().to_owned(), two.id().to_owned()];
        let world = World::new(&Bucket::of([one, two])).await?;
        let listing = listing::list(&world.stores, None).await?;
        let said = listing.choose(&TAG.parse()?, None).unwrap_err().to_string();
        ensure!(
            ids.iter().all(|id| said.contains(id)) && said.contains("name one"),
            "{said}"
        );
        let chosen = listing.choose(&TAG.parse()?, Some(ids[1].parse()?))?;
        ensure!(chosen.id.cluster.to_string() == ids[1]);
        let none = listing.choose(&"sm_20270101000000UTC".parse()?, None);
        let said = none.unwrap_err().to_string();
        ensure!(said.contains("no backup `sm_20270101000000UTC`"), "{said}");
        Ok(())
    })
}
