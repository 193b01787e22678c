//! Purges and pins in a bucket: what stops them, and what they tell.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Result;
use bucket::{
    Error,
    pins::{self, Pinned},
    purge::{Report, purge},
    retention::survey,
};
use bytes::Bytes;
use catalog::{
    Document as _, File, Manifest, TableEntry,
    key::{ManifestKey, OwnKey, Owner, SchemaKey, SchemaKind, TableDir},
    retention::{NodeWork, Pin, Policy, Question, decide},
};
use futures::TryStreamExt as _;
use protocol::{ClusterId, NodeId, Retention, SnapshotTag, TaskId};
use store::{Store, Stores};
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xc1));
const TASK: TaskId = TaskId(Uuid::from_u128(0xb1));

fn owner() -> Owner {
    Owner::new(CLUSTER, "dc1", NodeId(Uuid::from_u128(1))).unwrap()
}

fn tag(day: u32) -> SnapshotTag {
    format!("sm_202601{day:02}000000UTC").parse().unwrap()
}

fn dir() -> TableDir {
    TableDir::new(&owner(), "shop", "users", catalog::TableVersion(7)).unwrap()
}

/// A bucket with two backups: `old` goes, `new` stays, and one file is in both.
struct World {
    stores: Stores,
    store: Store,
    old: ManifestKey,
    new: ManifestKey,
}

impl World {
    async fn new(only_old: &[&str]) -> Result<Self> {
        let stores = Stores::memory();
        let store = stores.open(&"s3:backups".parse()?).await?;
        let key = |day| ManifestKey {
            owner: owner(),
            task: TASK,
            tag: tag(day),
            temporary: false,
        };
        let world = Self {
            old: key(1),
            new: key(2),
            stores,
            store,
        };
        let old = [&["me-1-big-Data.db"], only_old].concat();
        world.back_up(&world.old, &old).await?;
        world.back_up(&world.new, &["me-1-big-Data.db"]).await?;
        for key in [&world.old, &world.new] {
            world.put(&schema(&key.tag).to_string()).await?;
        }
        Ok(world)
    }

    async fn put(&self, key: &str) -> Result<()> {
        Ok(self.store.put(key, Bytes::from_static(b"12345")).await?)
    }

    async fn back_up(&self, key: &ManifestKey, files: &[&str]) -> Result<()> {
        let entry = TableEntry {
            files: files.iter().copied().map(file).collect(),
            bytes: 5 * files.len() as u64,
            ..TableEntry::new("shop", "users", catalog::TableVersion(7))
        };
        for name in files {
            // What cannot be a key cannot be there either.
            let _ = self.put(&dir().component(name)?).await;
        }
        let manifest = Manifest {
            index: vec![entry],
            ..Manifest::new(key)
        };
        let body = Bytes::from(manifest.to_bytes());
        Ok(self.store.put(&key.to_string(), body).await?)
    }

    fn work(&self) -> NodeWork {
        NodeWork {
            location: self.store.location().clone(),
            owner: owner(),
            stale: vec![self.old.clone()],
            unseal: Vec::new(),
            kept: vec![self.new.clone()],
            schemas: vec![schema(&self.old.tag)],
            forced: false,
        }
    }

    async fn keys(&self) -> Result<BTreeSet<String>> {
        let listed = self.store.list("").map_ok(|object| object.key);
        Ok(listed.try_collect().await?)
    }

    async fn purge(&self) -> Result<Report, Error> {
        purge(&self.store, &self.work(), &|| true, false).await
    }
}

fn file(name: &str) -> File<'_> {
    File {
        name,
        bytes: Some(5),
        crc32: None,
    }
}

fn schema(tag: &SnapshotTag) -> SchemaKey {
    SchemaKey {
        cluster: CLUSTER,
        task: TASK,
        tag: tag.clone(),
        kind: SchemaKind::Cql,
    }
}

#[tokio::test]
async fn a_backup_goes_with_all_that_is_its_own() -> Result<()> {
    let world = World::new(&["me-2-big-Data.db", "me-2-big-TOC.txt"]).await?;
    let before = world.keys().await?;
    let expected = Report {
        backups: [(TASK, tag(1))].into(),
        unsealed: 1,
        manifests: 1,
        files: 2,
        bytes: 10,
        kept: 1,
        failures: Vec::new(),
        stopped: false,
    };
    let would = purge(&world.store, &world.work(), &|| false, true).await?;
    let shown = Report {
        unsealed: 0,
        ..expected.clone()
    };
    assert_eq!(would, shown);
    assert_eq!(world.keys().await?, before, "a dry run changes nothing");

    assert_eq!(world.purge().await?, expected);
    let left = [
        world.new.to_string(),
        schema(&tag(2)).to_string(),
        dir().component("me-1-big-Data.db")?,
    ];
    assert_eq!(world.keys().await?, left.into());
    assert_eq!(world.purge().await?, Report::default(), "there is no more");
    Ok(())
}

/// Nothing is deleted, and the error says why.
async fn refused(world: &World, expected: &str) -> Result<()> {
    let before = world.keys().await?;
    let error = world.purge().await.unwrap_err();
    let text = format!("{error} {:?}", std::error::Error::source(&error));
    assert!(text.contains(expected), "{text}");
    assert!(!error.retry());
    assert_eq!(world.keys().await?, before);
    Ok(())
}

#[tokio::test]
async fn what_is_not_understood_stops_it() -> Result<()> {
    for broken in 0..2 {
        let world = World::new(&["me-2-big-Data.db"]).await?;
        let key = [&world.old, &world.new][broken].to_string();
        let body = world.store.get(&key).await?;
        world.store.put(&key, body.slice(..body.len() / 2)).await?;
        refused(&world, &key).await?;
    }
    let world = World::new(&["me-2-big-Data.db"]).await?;
    let strange = format!("{}task_x_manifest.json.gz", owner().manifests());
    world.put(&strange).await?;
    refused(&world, &strange).await?;
    let found = survey(std::slice::from_ref(&world.store), CLUSTER).await?;
    assert_eq!(found.strange, std::slice::from_ref(&strange));
    world.store.delete(&[strange]).await?;
    world
        .put(&format!("{}.version", owner().manifests()))
        .await?;
    assert_eq!(world.purge().await?.files, 1);
    Ok(())
}

#[tokio::test]
async fn another_buckets_work_is_not_done_here() -> Result<()> {
    let world = World::new(&[]).await?;
    let work = NodeWork {
        location: "s3:elsewhere".parse()?,
        ..world.work()
    };
    let error = purge(&world.store, &work, &|| true, false).await;
    let text = error.unwrap_err().to_string();
    assert_eq!(text, "this work is for s3:elsewhere, not for s3:backups");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_deleted_keeps_its_manifest() -> Result<()> {
    // No store takes a key as long as that.
    let long = format!("me-2-big-{}.db", "x".repeat(1_100));
    let world = World::new(&[&long, "me-3-big-Data.db"]).await?;
    let report = world.purge().await?;
    assert_eq!(report.failures.len(), 1, "{report:?}");
    assert!(report.failures[0].cause.contains("cannot be a key"));
    assert_eq!((report.manifests, report.unsealed), (0, 1));
    let unfinished = world.old.with_temporary(true);
    assert!(world.keys().await?.contains(&unfinished.to_string()));
    assert!(!world.keys().await?.contains(&world.old.to_string()));
    // And the next one meets it again.
    let work = NodeWork {
        stale: vec![unfinished],
        ..world.work()
    };
    let again = purge(&world.store, &work, &|| true, false).await?;
    assert_eq!(again.failures, report.failures);
    Ok(())
}

#[tokio::test]
async fn a_guard_that_says_no_ends_it_at_once() -> Result<()> {
    for allowed in 0..8 {
        let world = World::new(&["me-2-big-Data.db"]).await?;
        let before = world.keys().await?;
        let asked = AtomicU32::new(0);
        let guard = || asked.fetch_add(1, Ordering::Relaxed) < allowed;
        let report = purge(&world.store, &world.work(), &guard, false).await?;
        // Two manifests to read; the copy, the finished manifest, the file, the schema file, the copy.
        assert_eq!(report.stopped, allowed < 7, "{allowed}");
        assert_eq!(asked.load(Ordering::Relaxed), (allowed + 1).min(7));
        if allowed <= 2 {
            assert_eq!(world.keys().await?, before);
        }
        // Whatever it came to, the next one ends it.
        let found = survey(std::slice::from_ref(&world.store), CLUSTER).await?;
        let stale = found.manifests.into_iter().map(|found| found.key);
        let work = NodeWork {
            stale: stale.filter(|key| key.tag == tag(1)).collect(),
            ..world.work()
        };
        purge(&world.store, &work, &|| true, false).await?;
        assert_eq!(world.keys().await?.len(), 3, "{allowed}");
    }
    Ok(())
}

#[tokio::test]
async fn what_came_since_the_decision_counts() -> Result<()> {
    let world = World::new(&["me-2-big-Data.db", "me-3-big-Data.db"]).await?;
    let work = world.work();
    let newer = ManifestKey {
        tag: tag(3),
        temporary: true,
        ..world.new.clone()
    };
    world.back_up(&newer, &["me-2-big-Data.db"]).await?;
    // One that was unfinished then is finished now.
    let work = NodeWork {
        kept: vec![world.new.with_temporary(true)],
        ..work
    };
    let report = purge(&world.store, &work, &|| true, false).await?;
    assert_eq!((report.files, report.kept), (1, 2));
    let keys = world.keys().await?;
    assert!(keys.contains(&dir().component("me-1-big-Data.db")?));
    assert!(keys.contains(&dir().component("me-2-big-Data.db")?));

    // One that is gone altogether: who knows what else has changed.
    let world = World::new(&["me-2-big-Data.db"]).await?;
    let work = NodeWork {
        kept: vec![newer],
        ..world.work()
    };
    let error = purge(&world.store, &work, &|| true, false)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Changed { .. }) && error.retry());
    assert_eq!(world.keys().await?.len(), 6);
    Ok(())
}

#[tokio::test]
async fn a_backup_that_was_pinned_since_stays() -> Result<()> {
    let world = World::new(&["me-2-big-Data.db"]).await?;
    let pin = Pin {
        cluster: CLUSTER,
        tag: tag(1),
        reason: "before the migration".into(),
        since_ms: 7,
    };
    pins::put(&world.store, &pin).await?;
    let before = world.keys().await?;
    assert_eq!(world.purge().await?, Report::default());
    assert_eq!(world.keys().await?, before);
    let work = NodeWork {
        forced: true,
        ..world.work()
    };
    let report = purge(&world.store, &work, &|| true, false).await?;
    assert_eq!(report.files, 1);
    Ok(())
}

#[tokio::test]
async fn pins_hold_whatever_is_in_them() -> Result<()> {
    let world = World::new(&[]).await?;
    let store = &world.store;
    let pin = |day: u32| Pin {
        cluster: CLUSTER,
        tag: tag(day),
        reason: "because".into(),
        since_ms: 7,
    };
    assert_eq!(pins::get(store, CLUSTER, &tag(1)).await?, None);
    pins::put(store, &pin(1)).await?;
    let told = Pinned::Told(pin(1));
    assert_eq!(
        pins::get(store, CLUSTER, &tag(1)).await?,
        Some(told.clone())
    );

    let key = |day: u32| OwnKey::Pin(CLUSTER, tag(day)).to_string();
    store.put(&key(2), "{".into()).await?;
    store.put(&key(3), pin(1).to_json().into()).await?;
    store.put(&key(4), vec![b' '; 65 << 20].into()).await?;
    let mut all = pins::list(store, CLUSTER).await?;
    assert_eq!(all.remove(&tag(1)), Some(told));
    for (day, expected) in [(2, "EOF"), (3, "speaks of backup"), (4, "limit")] {
        match all.remove(&tag(day)) {
            Some(Pinned::Unreadable(why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(all, BTreeMap::new());
    let tags = BTreeSet::from([1, 2, 3, 4].map(tag));
    assert_eq!(pins::tags(store, CLUSTER).await?, tags);
    let found = survey(std::slice::from_ref(store), CLUSTER).await?;
    assert_eq!(found.pinned, tags);
    // The same bucket under another datacenter's name shows nothing new.
    let again = world.stores.open(&"dc2:s3:backups".parse()?).await?;
    assert_eq!(survey(&[store.clone(), again], CLUSTER).await?, found);

    // Not one of those backups goes.
    let tasks = [(
        TASK,
        Policy::Live(Retention {
            retention: 1,
            ..Retention::default()
        }),
    )];
    let decision = decide(&Question {
        cluster: CLUSTER,
        manifests: &found.manifests,
        pinned: &found.pinned,
        tasks: &tasks.into(),
        unknown: None,
        open: &BTreeSet::new(),
        now_ms: None,
        forced: true,
    });
    assert_eq!(decision.work(), []);

    assert!(pins::remove(store, CLUSTER, &tag(2)).await?);
    assert!(!pins::remove(store, CLUSTER, &tag(2)).await?);
    assert_eq!(pins::tags(store, CLUSTER).await?.len(), 3);

    // What may be meant for a backup is not passed over.
    let strange = format!("{}latest.json", OwnKey::pins(CLUSTER));
    store.put(&strange, "{}".into()).await?;
    for error in [
        pins::list(store, CLUSTER).await.unwrap_err(),
        survey(std::slice::from_ref(store), CLUSTER)
            .await
            .unwrap_err(),
        world.purge().await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains(&strange) && text.contains("a pin"), "{text}");
    }
    Ok(())
}
