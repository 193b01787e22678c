//! Buckets.

use anyhow::{Context as _, Result};
use futures::StreamExt;
use protocol::Progress;
use queue::{Bucket, Change, Error, Kv, Revision};
use testkit::eventually;
use tokio::{task::JoinSet, time::timeout};

use crate::support::{SOON, start};

fn progress(bytes: u64) -> Progress {
    Progress {
        bytes,
        ..Progress::default()
    }
}

#[tokio::test]
async fn only_the_first_of_two_writers_wins() -> Result<()> {
    let (_nats, queue) = start().await?;
    let kv: Kv<Progress> = queue.bucket(Bucket::Runs);
    assert_eq!(kv.get("a").await?, None);
    let first = kv.create("a", &progress(1)).await?.context("nobody else")?;
    assert_eq!(kv.create("a", &progress(2)).await?, None);
    assert_eq!(kv.get("a").await?, Some((progress(1), first)));
    let second = kv
        .update("a", &progress(2), first)
        .await?
        .context("nobody else")?;
    assert!(second > first);
    assert_eq!(kv.update("a", &progress(3), first).await?, None);
    assert!(!kv.delete_at("a", first).await?);
    assert!(kv.delete_at("a", second).await?);
    assert_eq!(kv.get("a").await?, None);
    let third = kv
        .create("a", &progress(4))
        .await?
        .context("it was deleted")?;
    assert!(third > second);
    kv.delete("a").await?;
    kv.delete("never").await?;
    assert_eq!(kv.get("a").await?, None);
    Ok(())
}

#[tokio::test]
async fn of_many_writers_at_once_one_wins_each_round() -> Result<()> {
    let (_nats, queue) = start().await?;
    let kv: Kv<Progress> = queue.bucket(Bucket::Runs);
    kv.create("sum", &progress(0)).await?;
    let mut writers = JoinSet::new();
    for _ in 0..8 {
        let kv = kv.clone();
        writers.spawn(async move {
            for _ in 0..10 {
                loop {
                    let (value, revision) = kv.get("sum").await.unwrap().unwrap();
                    let more = progress(value.bytes + 1);
                    if kv.update("sum", &more, revision).await.unwrap().is_some() {
                        break;
                    }
                }
            }
        });
    }
    writers.join_all().await;
    assert_eq!(kv.get("sum").await?.unwrap().0.bytes, 80);
    Ok(())
}

#[tokio::test]
async fn a_listing_holds_what_lies_below_a_prefix() -> Result<()> {
    let (_nats, queue) = start().await?;
    let kv: Kv<Progress> = queue.bucket(Bucket::Tasks);
    assert!(kv.list("").await?.is_empty());
    for n in 0..600 {
        kv.put(&format!("a.{n:03}"), &progress(n)).await?;
    }
    kv.put("ab.1", &progress(1)).await?;
    kv.delete("a.100").await?;
    let listed = kv.list("a").await?;
    let keys: Vec<&str> = listed.iter().map(|(key, ..)| key.as_str()).collect();
    assert_eq!((keys.len(), keys[0], keys[598]), (599, "a.000", "a.599"));
    assert!(keys.is_sorted());
    assert_eq!(kv.list("").await?.len(), 600);
    assert!(kv.list("b").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_it_is_listed_is_listed() -> Result<()> {
    const WRITES: u64 = 2_000;
    let (_nats, queue) = start().await?;
    let kv: Kv<Progress> = queue.bucket(Bucket::Runs);
    let keys = ["a.1", "a.2", "a.3"];
    for key in keys {
        kv.put(key, &progress(0)).await?;
    }
    let mut writers = JoinSet::new();
    for key in keys {
        let kv = kv.clone();
        writers.spawn(async move {
            for n in 1..=WRITES {
                kv.put(key, &progress(n)).await.unwrap();
            }
        });
    }
    let mut newest = [0; 3];
    while newest.iter().any(|n| *n < WRITES) {
        let listed = kv.list("a").await?;
        let there: Vec<&str> = listed.iter().map(|(key, ..)| key.as_str()).collect();
        assert_eq!(there, keys, "after {newest:?}");
        for (newest, (key, value, _)) in newest.iter_mut().zip(&listed) {
            assert!(value.bytes >= *newest, "{key} went back");
            *newest = value.bytes;
        }
    }
    writers.join_all().await;
    Ok(())
}

#[tokio::test]
async fn a_value_that_cannot_be_read_hides_no_other() -> Result<()> {
    let (_nats, queue) = start().await?;
    let kv: Kv<Progress> = queue.bucket(Bucket::Tasks);
    let text: Kv<String> = queue.bucket(Bucket::Tasks);
    text.put("a.bad", &"text".to_owned()).await?;
    kv.put("a.good", &progress(1)).await?;
    assert_eq!(kv.list("a").await?.len(), 1);
    let error = kv.get("a.bad").await.unwrap_err();
    assert!(matches!(error, Error::Value { .. }), "{error}");
    assert!(matches!(kv.get("a b").await, Err(Error::Key(_))));
    Ok(())
}

#[tokio::test]
async fn a_lost_bucket_is_made_anew_and_revisions_go_on() -> Result<()> {
    let (mut nats, queue) = start().await?;
    let kv: Kv<Progress> = queue.bucket(Bucket::Runs);
    let before = kv.put("a", &progress(1)).await?;
    nats.wipe_and_restart()?;
    eventually("an answer", SOON, async || {
        assert_eq!(kv.get("a").await?, None);
        Ok(())
    })
    .await?;
    let after = kv.create("a", &progress(2)).await?.context("it is empty")?;
    assert!(after > before);
    assert_eq!(kv.update("a", &progress(3), before).await?, None);
    Ok(())
}

#[tokio::test]
async fn a_watch_tells_what_is_there_then_what_comes() -> Result<()> {
    let (mut nats, queue) = start().await?;
    let kv: Kv<Progress> = queue.bucket(Bucket::Tasks);
    let one = kv.put("a.1", &progress(1)).await?;
    kv.put("b.1", &progress(1)).await?;
    let mut changes = kv.watch("a");
    let mut next = async || timeout(SOON, changes.next()).await.ok().flatten();
    let put = |key: &str, bytes, revision: Revision| {
        let (key, value) = (key.to_owned(), progress(bytes));
        Some(Change::Put {
            key,
            value,
            revision,
        })
    };
    let deleted = |key: &str| {
        Some(Change::Delete {
            key: key.to_owned(),
        })
    };
    assert_eq!(next().await, put("a.1", 1, one));
    assert_eq!(next().await, Some(Change::Current));
    let two = kv.put("a.2", &progress(2)).await?;
    assert_eq!(next().await, put("a.2", 2, two));
    kv.delete("a.2").await?;
    assert_eq!(next().await, deleted("a.2"));
    // A loss looks like deletions, and then it goes on.
    nats.wipe_and_restart()?;
    assert_eq!(next().await, deleted("a.1"));
    assert_eq!(next().await, Some(Change::Current));
    let three = kv.put("a.3", &progress(3)).await?;
    assert_eq!(next().await, put("a.3", 3, three));
    Ok(())
}

#[tokio::test]
async fn a_watch_of_nothing_is_current_at_once() -> Result<()> {
    let (_nats, queue) = start().await?;
    let kv: Kv<Progress> = queue.bucket(Bucket::Tasks);
    let mut changes = kv.watch("");
    assert_eq!(timeout(SOON, changes.next()).await?, Some(Change::Current));
    Ok(())
}
