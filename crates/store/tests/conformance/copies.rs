//! Copies that keep what is about to be replaced.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use bytes::Bytes;
use store::{Error, Store};

use super::suite::{expect, keys, noise};

const MIB: u64 = 1 << 20;

/// Rounds of the race: enough that some interleave badly.
const ROUNDS: usize = 20;

pub(crate) async fn run(store: &Store, atomic: bool) -> Result<()> {
    for bytes in [0, 1, MIB, MIB + 1, 20 * MIB] {
        a_copy_is_made_once(store, bytes).await?;
    }
    what_is_wrong_is_left_alone(store).await?;
    for bytes in [1000, 2 * MIB] {
        // The check and the copy are two steps, where the store ignores conditions.
        if bytes <= MIB || atomic {
            racing_workers_keep_the_original(store, bytes).await?;
        }
    }
    ensure!(keys(store, "").await?.is_empty());
    Ok(())
}

async fn a_copy_is_made_once(store: &Store, bytes: u64) -> Result<()> {
    let (from, to) = (
        "copy/a b+%\u{fc}.db",
        "copy/a b+%\u{fc}.db.sm_20260131235959UTC",
    );
    let old = Bytes::from(noise(bytes));
    let new = Bytes::from_static(b"something else");
    let step = || ();
    store.put(from, old.clone()).await?;
    ensure!(store.copy_new(from, to, bytes, &step).await?, "{bytes}");
    ensure!(store.get(to).await? == old && store.get(from).await? == old);
    ensure!(!store.copy_new(from, to, bytes, &step).await?, "{bytes}");

    store.put(from, new.clone()).await?;
    ensure!(!store.copy_new(from, to, bytes, &step).await?, "{bytes}");
    ensure!(store.get(to).await? == old && store.get(from).await? == new);

    store.delete(&[from.to_owned()]).await?;
    ensure!(!store.copy_new(from, to, bytes, &step).await?, "{bytes}");
    ensure!(store.get(to).await? == old);
    store.delete(&[to.to_owned()]).await?;
    Ok(())
}

async fn what_is_wrong_is_left_alone(store: &Store) -> Result<()> {
    let copy = |bytes| store.copy_new("copy/from", "copy/to", bytes, &|| ());
    for bytes in [0, 5, 2 * MIB] {
        expect(
            copy(bytes).await,
            "missing",
            |e| matches!(e, Error::NotFound { key, .. } if key == "copy/from"),
        )?;
    }
    store.put("copy/from", Bytes::from(noise(2 * MIB))).await?;
    for bytes in [0, 5, MIB, 2 * MIB - 1, 2 * MIB + 1] {
        expect(
            copy(bytes).await,
            "another length",
            |e| matches!(e, Error::Torn { what, found, .. } if what == "copy/from" && *found == 2 * MIB),
        )?;
    }
    ensure!(keys(store, "copy/").await? == ["copy/from".to_owned()].into());
    store.put("copy/to", "other".into()).await?;
    expect(
        copy(2 * MIB).await,
        "another copy",
        |e| matches!(e, Error::Torn { what, found: 5, .. } if what == "copy/to"),
    )?;
    ensure!(&store.get("copy/to").await?[..] == b"other");
    let escape = store.copy_new("copy/from", "../to", 5, &|| ()).await;
    expect(escape, "escape", |e| matches!(e, Error::Key { .. }))?;
    store
        .delete(&["copy/from".to_owned(), "copy/to".to_owned()])
        .await
        .map_err(Into::into)
}

/// Several do the same: copy, then replace. Whoever comes late must not copy what replaced it.
async fn racing_workers_keep_the_original(store: &Store, bytes: u64) -> Result<()> {
    let old = Bytes::from(noise(bytes));
    let new: Bytes = old.iter().map(|byte| !byte).collect::<Vec<u8>>().into();
    let copied = AtomicUsize::new(0);
    for round in 0..ROUNDS {
        let (from, to) = (format!("race/{round}"), format!("race/{round}.kept"));
        store.put(&from, old.clone()).await?;
        let workers = (0..4).map(|_| async {
            // Another worker may have replaced it, but then a copy is there.
            if store.copy_new(&from, &to, bytes, &|| ()).await? {
                copied.fetch_add(1, Ordering::Relaxed);
            }
            store.put(&from, new.clone()).await
        });
        let done = futures::future::join_all(workers).await;
        for result in done {
            match result {
                Err(e) if !e.retry() => return Err(e.into()),
                Ok(()) | Err(_) => {}
            }
        }
        ensure!(
            store.get(&to).await? == old,
            "round {round}: the original is lost"
        );
        ensure!(store.get(&from).await? == new, "round {round}");
        store.delete(&[from, to]).await?;
    }
    ensure!(copied.into_inner() >= ROUNDS);
    Ok(())
}
