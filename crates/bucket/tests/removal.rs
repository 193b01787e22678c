//! Backups of a whole cluster removed: by rules and by name, dry, cut short and done again.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Result;
use bucket::{
    Error, pins,
    removal::{Removed, Terms, remove},
    retention::Survey,
};
use bytes::Bytes;
use catalog::{
    File, Manifest, TableEntry, TableVersion,
    key::{ManifestKey, Owner, TableDir},
    retention::{DeleteError, Pin},
};
use futures::TryStreamExt as _;
use protocol::{
    BackupId, ClusterId, NodeId, Purge, Retention, RunId, SnapshotTag, TaskId, TaskRetention,
};
use store::{Store, Stores};
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xc1));
const TASK: TaskId = TaskId(Uuid::from_u128(0xb1));

fn owner(node: u128) -> Owner {
    Owner::new(CLUSTER, "dc1", NodeId(Uuid::from_u128(node))).unwrap()
}

fn tag(day: u32) -> SnapshotTag {
    format!("sm_202601{day:02}000000UTC").parse().unwrap()
}

/// Five backups of two nodes; each has a file of its own, and one that all share.
async fn bucket() -> Result<Store> {
    let store = Stores::memory().open(&"s3:backups".parse()?).await?;
    for node in [1, 2] {
        let dir = TableDir::new(&owner(node), "shop", "users", TableVersion(7))?;
        for day in 1..=5 {
            let names = [
                "me-1-big-Data.db".to_owned(),
                format!("me-1{day}-big-Data.db"),
            ];
            for name in &names {
                store
                    .put(&dir.component(name)?, Bytes::from_static(b"12345"))
                    .await?;
            }
            let file = |name| File {
                name,
                bytes: Some(5),
                crc32: None,
            };
            let entry = TableEntry {
                files: names.iter().map(|name| file(name.as_str())).collect(),
                bytes: 10,
                ..TableEntry::new("shop", "users", TableVersion(7))
            };
            let key = ManifestKey {
                owner: owner(node),
                task: TASK,
                tag: tag(day),
                temporary: false,
            };
            let manifest = Manifest {
                index: vec![entry],
                ..Manifest::new(&key)
            };
            store
                .put(&key.to_string(), manifest.to_bytes().into())
                .await?;
        }
    }
    Ok(store)
}

fn job(named: &[u32], force: bool) -> Purge {
    let location = vec!["s3:backups".parse().unwrap()];
    Purge {
        cluster: CLUSTER,
        run: RunId::generate(),
        node: NodeId(Uuid::from_u128(1)),
        locations: location.clone(),
        tasks: vec![TaskRetention {
            task: TASK,
            deleted: false,
            location,
            retention: Retention {
                retention: 2,
                ..Retention::default()
            },
        }],
        unknown: Retention::default(),
        open: Vec::new(),
        restored: Vec::new(),
        named: named.iter().map(|day| tag(*day)).collect(),
        force,
    }
}

/// Removes what `job` says; `life` is how often the guard says yes.
async fn removed(store: &Store, job: &Purge, life: u32, dry: bool) -> Result<Removed, Error> {
    let terms = Terms::new(job, &BTreeSet::new());
    let left = AtomicU32::new(life);
    let guard = || {
        let took = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        took.is_ok()
    };
    let stores = [store.clone()];
    let decide = |survey: &Survey| Ok::<_, Error>(terms.decide(survey, None)?);
    remove(&stores, CLUSTER, decide, &guard, dry).await
}

async fn keys(store: &Store) -> Result<BTreeSet<String>> {
    let listed = store.list("").map_ok(|object| object.key);
    Ok(listed.try_collect().await?)
}

fn days(removed: &Removed) -> Vec<SnapshotTag> {
    removed.backups.iter().map(|(_, tag)| tag.clone()).collect()
}

#[tokio::test]
async fn what_a_rule_lets_go_goes_from_all_nodes() -> Result<()> {
    let store = bucket().await?;
    let (job, before) = (job(&[], false), keys(&store).await?);
    let would = removed(&store, &job, u32::MAX, true).await?;
    assert_eq!(keys(&store).await?, before, "a dry run changes nothing");
    assert_eq!(days(&would), [tag(1), tag(2), tag(3)]);
    // On each node three manifests and three files that no other backup has.
    assert_eq!((would.objects, would.bytes), (12, 30));
    let did = removed(&store, &job, u32::MAX, false).await?;
    assert_eq!((days(&did), did.objects, did.bytes), (days(&would), 12, 30));
    assert!(did.obstacles.is_empty() && !did.stopped);
    let left = keys(&store).await?;
    assert_eq!((before.len(), left.len()), (22, 10));
    assert!(left.is_subset(&before), "{left:?}");
    let again = removed(&store, &job, u32::MAX, false).await?;
    assert_eq!((again.backups.len(), again.objects), (0, 0));
    Ok(())
}

#[tokio::test]
async fn cut_short_anywhere_the_next_does_the_rest() -> Result<()> {
    let whole = bucket().await?;
    let job = job(&[], false);
    removed(&whole, &job, u32::MAX, false).await?;
    let expected = keys(&whole).await?;
    for life in 0..200 {
        let store = bucket().await?;
        let first = removed(&store, &job, life, false).await?;
        let second = removed(&store, &job, u32::MAX, false).await?;
        assert_eq!(keys(&store).await?, expected, "cut short after {life}");
        if !first.stopped {
            assert!(
                life > 20 && second.objects == 0,
                "it took only {life} looks at the guard"
            );
            return Ok(());
        }
    }
    panic!("it never ends by itself");
}

#[tokio::test]
async fn what_is_named_goes_and_nothing_else() -> Result<()> {
    let store = bucket().await?;
    let pin = Pin {
        cluster: CLUSTER,
        tag: tag(4),
        reason: String::new(),
        since_ms: 0,
    };
    pins::put(&store, &pin).await?;
    let before = keys(&store).await?;
    let pinned = removed(&store, &job(&[4], false), u32::MAX, false).await;
    let expected = DeleteError::Pinned(vec![tag(4)]);
    assert!(
        matches!(&pinned, Err(Error::Delete(error)) if *error == expected),
        "{pinned:?}"
    );
    let all = removed(&store, &job(&[1, 2, 3, 5], false), u32::MAX, true).await?;
    assert_eq!(all.backups.len(), 4, "one that is pinned is left");
    let mut open = job(&[2], true);
    open.open.push(BackupId {
        task: TASK,
        tag: tag(2),
    });
    let mut read = job(&[2], true);
    read.restored.push(tag(2));
    for job in [open, read] {
        let refused = removed(&store, &job, u32::MAX, false).await;
        let expected = DeleteError::Open(vec![tag(2)]);
        assert!(
            matches!(&refused, Err(Error::Delete(error)) if *error == expected),
            "{refused:?}"
        );
    }
    assert_eq!(keys(&store).await?, before);

    // One that is gone already does not stand in the way of the other: it may be the second try.
    let did = removed(&store, &job(&[2, 9], false), u32::MAX, false).await?;
    assert_eq!((days(&did), did.objects), (vec![tag(2)], 4));
    let forced = removed(&store, &job(&[1, 3, 4, 5], true), u32::MAX, false).await?;
    assert_eq!(forced.backups.len(), 4);
    let left = keys(&store).await?;
    assert!(
        left.iter().all(|key| key.starts_with("thetis/pins/")),
        "{left:?}"
    );
    Ok(())
}
