//! What holds for every store.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use store::{Error, Met, Moved, Need, Object, Store};

/// A store to be tested, empty.
pub(crate) struct Subject {
    pub(crate) store: Store,
    /// How many objects to list; more than a page holds, where that does not take for ever.
    pub(crate) objects: usize,
    /// Whether conditional writes are atomic.
    pub(crate) atomic: bool,
    /// What it lacks of what backups need, being an emulator.
    pub(crate) lacks: &'static [Need],
}

const MIB: u64 = 1 << 20;

pub(crate) async fn run(subject: &Subject) -> Result<()> {
    let store = &subject.store;
    store.check().await.context("check")?;
    ensure!(keys(store, "").await?.is_empty(), "check leaves nothing");
    needs(store, subject.lacks).await.context("probe")?;
    time(store).await.context("now_ms")?;
    objects(store).await.context("objects")?;
    absent(store).await.context("absent keys")?;
    new_objects(store, subject.atomic)
        .await
        .context("put_new")?;
    listing(store, subject.objects).await.context("listing")?;
    for bytes in [0, 1, 300_000, 16 * MIB, 16 * MIB + 1, 40 * MIB + 12_345] {
        let done = a_file_goes_there_and_back(store, bytes).await;
        done.with_context(|| format!("a file of {bytes} bytes"))?;
    }
    for bytes in [100_000, 20 * MIB] {
        let done = wrong_files_leave_nothing(store, bytes).await;
        done.with_context(|| format!("a wrong file of {bytes} bytes"))?;
    }
    wrong_objects_leave_nothing(store)
        .await
        .context("get_file")?;
    super::copies::run(store, subject.atomic)
        .await
        .context("copies")?;
    escapes(store).await.context("keys that escape")
}

/// All that backups need is there, but for what lacks; and the search for it leaves nothing behind.
async fn needs(store: &Store, lacks: &[Need]) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let found = store.probe(scratch.path()).await?;
    ensure!(found.len() == Need::ALL.len(), "{found:?}");
    for (need, met) in &found {
        let fits = match met {
            Met::Yes => !lacks.contains(need),
            Met::No(_) => lacks.contains(need),
            Met::Needless => *need == Need::AbortParts,
            Met::Untried => false,
        };
        ensure!(fits, "{}: {met:?}", need.as_str());
    }
    ensure!(keys(store, "").await?.is_empty(), "probe leaves nothing");
    ensure!(fs::read_dir(scratch.path())?.next().is_none(), "nor here");
    Ok(())
}

/// One who may only read is told what is missing, and nothing is tried that cannot go well.
pub(crate) async fn a_reader_is_told_what_is_missing(store: &Store) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let found = store.probe(scratch.path()).await?;
    for (need, met) in &found {
        let fits = match need {
            Need::Write | Need::WriteParts | Need::AbortParts | Need::WriteNew => {
                matches!(met, Met::No(Error::Denied { .. }))
            }
            Need::List => matches!(met, Met::Yes),
            Need::Read | Need::ReadRange | Need::Copy | Need::Delete => {
                matches!(met, Met::Untried)
            }
        };
        ensure!(fits, "{}: {met:?}", need.as_str());
    }
    Ok(())
}

/// Two times that are read one after the other, between two of this machine, whose stores' clocks
/// are its own; and no trace of that.
async fn time(store: &Store) -> Result<()> {
    let here = || Ok::<_, anyhow::Error>(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
    let before = here()?;
    let first = u128::from(store.now_ms().await?);
    let second = u128::from(store.now_ms().await?);
    let after = here()?;
    // Whole seconds are rounded down, and a kernel takes the times of files from its last tick.
    ensure!(before <= first + 1_100, "{first} is before {before}");
    ensure!(first <= second, "{second} is before {first}");
    ensure!(second <= after, "{second} is after {after}");
    ensure!(keys(store, "").await?.is_empty(), "something is left");
    Ok(())
}

async fn objects(store: &Store) -> Result<()> {
    for key in [
        "a",
        "b/c/d.json",
        "backup/meta/with space & more=1?x#y%20+",
        "backup/sst/\u{fc}nicode-\u{1f980}.db",
    ] {
        store.put(key, Bytes::from_static(b"one")).await?;
        store.put(key, Bytes::from_static(b"twelve bytes")).await?;
        ensure!(&store.get(key).await?[..] == b"twelve bytes", "{key}");
        ensure!(&store.get_range(key, 3..6).await?[..] == b"lve", "{key}");
        ensure!(
            &store.get_range(key, 0..12).await?[..] == b"twelve bytes",
            "{key}"
        );
        ensure!(store.get_range(key, 4..4).await?.is_empty(), "{key}");
        ensure!(store.bytes(key).await? == Some(12), "{key}");
        ensure!(keys(store, key).await? == [key.to_owned()].into(), "{key}");
        let torn = store.get_range(key, 6..13).await;
        expect(torn, "torn", |e| matches!(e, Error::Torn { found: 12, .. }))?;
        let torn = store.get_range(key, 20..30).await;
        expect(torn, "torn", |e| matches!(e, Error::Torn { found: 12, .. }))?;
        store.delete(&[key.to_owned()]).await?;
        ensure!(store.bytes(key).await?.is_none(), "{key}");
    }
    store.put("empty", Bytes::new()).await?;
    ensure!(store.get("empty").await?.is_empty());
    ensure!(store.bytes("empty").await? == Some(0));
    store.delete(&["empty".to_owned()]).await?;
    Ok(())
}

async fn absent(store: &Store) -> Result<()> {
    let not_found = |e: &Error| matches!(e, Error::NotFound { key, .. } if key == "no/such");
    expect(store.get("no/such").await, "get", not_found)?;
    expect(
        store.get_range("no/such", 0..1).await,
        "get_range",
        not_found,
    )?;
    ensure!(store.bytes("no/such").await?.is_none());
    let dir = tempfile::tempdir()?;
    for bytes in [0, 5, 40 * MIB] {
        let path = dir.path().join("file");
        let got = store.get_file("no/such", &path, bytes, &|_| ()).await;
        expect(got, "get_file", not_found)?;
    }
    ensure!(files(dir.path())?.is_empty());
    store
        .delete(&["no/such".to_owned(), "nor/this".to_owned()])
        .await?;
    store.delete(&[]).await?;
    Ok(())
}

async fn new_objects(store: &Store, atomic: bool) -> Result<()> {
    ensure!(store.put_new("new/1", "first".into()).await?);
    ensure!(!store.put_new("new/1", "second".into()).await?);
    ensure!(&store.get("new/1").await?[..] == b"first");
    let racing = (0..8).map(|n| store.put_new("new/2", n.to_string().into()));
    let won = futures::future::try_join_all(racing).await?;
    let winners = won.iter().filter(|won| **won).count();
    ensure!(winners == 1 || !atomic && winners > 1, "{won:?}");
    store
        .delete(&["new/1".to_owned(), "new/2".to_owned()])
        .await?;
    Ok(())
}

async fn listing(store: &Store, count: usize) -> Result<()> {
    let all: BTreeSet<String> = (0..count)
        .map(|n| format!("list/{}/{n:05}.db", n % 3))
        .collect();
    stream::iter(&all)
        .map(|key| store.put(key, Bytes::from(key.clone().into_bytes())))
        .buffer_unordered(16)
        .try_collect::<()>()
        .await?;
    store.put("list2/x", "x".into()).await?;
    ensure!(keys(store, "list/").await? == all);
    ensure!(keys(store, "list").await?.len() == count + 1);
    ensure!(keys(store, "").await?.len() == count + 1);
    let begins = |prefix: &str| {
        let fitting = all.iter().filter(|key| key.starts_with(prefix));
        fitting.cloned().collect::<BTreeSet<_>>()
    };
    for prefix in [
        "list/1/",
        "list/2/0000",
        "list/0/00003.db",
        "list/9",
        "list/1",
    ] {
        ensure!(keys(store, prefix).await? == begins(prefix), "{prefix}");
    }
    let objects: Vec<Object> = store.list("list/").try_collect().await?;
    ensure!(objects.iter().all(|o| o.bytes == o.key.len() as u64));
    // Memory has no clock.
    let memory = !format!("{store:?}").contains(" at ");
    let (now, from) = (store.now_ms().await?, objects.iter().map(|o| o.written_ms));
    for written in from {
        let fits = written.map_or(memory, |ms| ms <= now && now - ms < 3_600_000);
        ensure!(fits, "{written:?} is not before {now}, or long before");
    }
    let folders = store.folders("").await?;
    ensure!(folders.is_sorted(), "{folders:?}");
    let there = |name: &&str| folders.iter().any(|folder| folder == name);
    ensure!(["list", "list2"].iter().all(there), "{folders:?}");
    ensure!(store.folders("list/").await? == ["0", "1", "2"]);
    for prefix in ["list/0/", "list/9/", "nothing/", "list2/x/"] {
        ensure!(store.folders(prefix).await?.is_empty(), "{prefix}");
    }

    let gone: Vec<String> = all.iter().cloned().collect();
    store.delete(&gone).await?;
    ensure!(keys(store, "").await? == ["list2/x".to_owned()].into());
    store.delete(&["list2/x".to_owned()]).await?;
    Ok(())
}

pub(crate) async fn a_file_goes_there_and_back(store: &Store, bytes: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let content = noise(bytes);
    std::fs::write(&from, &content)?;
    let crc32 = crc32fast::hash(&content);
    let told = AtomicU64::new(0);
    let tell = |bytes| {
        told.fetch_add(bytes, Ordering::Relaxed);
    };
    let put = store
        .put_file("file", &from, bytes, Some(crc32), &tell)
        .await?;
    ensure!(put == Moved { bytes, crc32 }, "{put:?}");
    ensure!(told.swap(0, Ordering::Relaxed) == bytes);
    ensure!(store.bytes("file").await? == Some(bytes));
    let got = store.get_file("file", &to, bytes, &tell).await?;
    ensure!(got == put, "{got:?}");
    ensure!(told.load(Ordering::Relaxed) == bytes);
    ensure!(std::fs::read(&to)? == content, "the content differs");
    let middle = bytes / 2..bytes.min(bytes / 2 + 1000);
    let part = store.get_range("file", middle.clone()).await?;
    ensure!(part == content[usize::try_from(middle.start)?..usize::try_from(middle.end)?]);
    ensure!(files(dir.path())? == ["from", "to"]);
    store.delete(&["file".to_owned()]).await?;
    Ok(())
}

async fn wrong_files_leave_nothing(store: &Store, bytes: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    let content = noise(bytes);
    std::fs::write(&path, &content)?;
    let crc32 = crc32fast::hash(&content);
    let put = |bytes, expect| store.put_file("wrong", &path, bytes, expect, &|_| ());

    let corrupt = put(bytes, Some(!crc32)).await;
    expect(
        corrupt,
        "corrupt",
        |e| matches!(e, Error::Corrupt { found, expected, .. } if *found == crc32 && *expected == !crc32),
    )?;
    let short = put(bytes + 1, None).await;
    expect(
        short,
        "short",
        |e| matches!(e, Error::Torn { found, .. } if *found == bytes),
    )?;
    let long = put(bytes - 1, Some(crc32)).await;
    expect(
        long,
        "long",
        |e| matches!(e, Error::Torn { found, .. } if *found == bytes),
    )?;
    let nowhere = dir.path().join("no");
    let nowhere = store.put_file("wrong", &nowhere, 1, None, &|_| ()).await;
    expect(nowhere, "nowhere", |e| matches!(e, Error::Local { .. }))?;
    ensure!(keys(store, "").await?.is_empty());

    // What was there before stays as it was.
    store.put("wrong", "right".into()).await?;
    ensure!(put(bytes, Some(!crc32)).await.is_err());
    ensure!(&store.get("wrong").await?[..] == b"right");
    store.delete(&["wrong".to_owned()]).await?;
    Ok(())
}

async fn wrong_objects_leave_nothing(store: &Store) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    store.put("object", Bytes::from(noise(1000))).await?;
    for expected in [0, 1, 999, 1001, 40 * MIB] {
        let got = store.get_file("object", &path, expected, &|_| ()).await;
        expect(got, "torn", |e| {
            matches!(e, Error::Torn { found: 1000, .. })
        })?;
        ensure!(files(dir.path())?.is_empty(), "{expected}");
    }
    let nowhere = dir.path().join("no/dir");
    let got = store.get_file("object", &nowhere, 1000, &|_| ()).await;
    expect(got, "no directory", |e| matches!(e, Error::Local { .. }))?;
    store.delete(&["object".to_owned()]).await?;
    Ok(())
}

async fn escapes(store: &Store) -> Result<()> {
    let refused = |e: &Error| matches!(e, Error::Key { .. });
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    std::fs::write(&path, "x")?;
    for key in [
        "../out",
        "a/../../out",
        "/etc/passwd",
        "",
        "a//b",
        ".",
        "a/",
    ] {
        expect(store.put(key, "x".into()).await, key, refused)?;
        expect(store.put_new(key, "x".into()).await, key, refused)?;
        expect(
            store.put_file(key, &path, 1, None, &|_| ()).await,
            key,
            refused,
        )?;
        expect(store.get(key).await, key, refused)?;
        expect(store.get_range(key, 0..1).await, key, refused)?;
        expect(store.get_file(key, &path, 1, &|_| ()).await, key, refused)?;
        expect(store.bytes(key).await, key, refused)?;
        expect(store.delete(&[key.to_owned()]).await, key, refused)?;
    }
    for prefix in ["../", "/", "a/../b"] {
        let listed = store.list(prefix).try_collect::<Vec<_>>().await;
        expect(listed, prefix, refused)?;
    }
    ensure!(std::fs::read(&path)? == b"x");
    Ok(())
}

pub(crate) async fn every_call_finds_no_bucket(store: &Store) -> Result<()> {
    let missing = |e: &Error| {
        let text = e.to_string();
        matches!(e, Error::NoBucket { .. })
            && text.contains(&store.location().bucket)
            && text.contains("create it")
    };
    expect(store.check().await, "check", missing)?;
    expect(store.put("a", "b".into()).await, "put", missing)?;
    expect(store.now_ms().await, "now_ms", missing)?;
    expect(store.put_new("a", "b".into()).await, "put_new", missing)?;
    let listed = store.list("").try_collect::<Vec<_>>().await;
    expect(listed, "list", missing)?;
    expect(store.folders("a/").await, "folders", missing)?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    for bytes in [5, 50 * MIB] {
        std::fs::write(&path, noise(bytes))?;
        let put = store.put_file("a", &path, bytes, None, &|_| ()).await;
        expect(put, "put_file", missing)?;
    }
    Ok(())
}

pub(crate) async fn every_call_is_denied(store: &Store, secret: &str) -> Result<()> {
    let denied = |e: &Error| {
        let shown = format!("{e} {e:?}");
        matches!(e, Error::Denied { .. }) && !shown.contains(secret) && !e.retry()
    };
    expect(store.check().await, "check", denied)?;
    expect(store.put("a", "b".into()).await, "put", denied)?;
    expect(store.now_ms().await, "now_ms", denied)?;
    expect(store.put_new("a", "b".into()).await, "put_new", denied)?;
    expect(store.get("a").await, "get", denied)?;
    expect(store.get_range("a", 0..1).await, "get_range", denied)?;
    expect(store.bytes("a").await, "bytes", denied)?;
    expect(store.delete(&["a".to_owned()]).await, "delete", denied)?;
    let copied = store.copy_new("a", "b", 1, &|| ()).await;
    expect(copied, "copy_new", denied)?;
    let listed = store.list("").try_collect::<Vec<_>>().await;
    expect(listed, "list", denied)?;
    ensure!(!format!("{store:?}").contains(secret));
    Ok(())
}

pub(crate) fn expect<T: Debug>(
    result: Result<T, Error>,
    what: &str,
    fits: impl Fn(&Error) -> bool,
) -> Result<()> {
    match result {
        Ok(value) => anyhow::bail!("{what}: an error was expected, not {value:?}"),
        Err(e) if fits(&e) => Ok(()),
        Err(e) => anyhow::bail!("{what}: not the expected error: {e} ({e:?})"),
    }
}

pub(crate) async fn keys(store: &Store, prefix: &str) -> Result<BTreeSet<String>> {
    let listed: Vec<Object> = store.list(prefix).try_collect().await?;
    let keys: BTreeSet<String> = listed.iter().map(|object| object.key.clone()).collect();
    ensure!(keys.len() == listed.len(), "listed twice: {listed:?}");
    Ok(keys)
}

/// Bytes that no two blocks of which are alike.
pub(crate) fn noise(bytes: u64) -> Vec<u8> {
    let words = (0..bytes.div_ceil(8)).map(|n| {
        let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^ (x >> 27)
    });
    let mut all: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    all.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
    all
}

fn files(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
