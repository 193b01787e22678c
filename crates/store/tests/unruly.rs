//! S3 behind a proxy that fails in each way in turn: what a store says is so, and what it could not do
//! is worth another try.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use store::{Error, S3Settings, Settings, Store, Stores};
use testkit::{
    faults::{Fault, Faults},
    s3::SeaweedFs,
};

const MIB: usize = 1 << 20;
/// Each fault happens so often at least.
const TIMES: u64 = 3;
/// Rounds by which it has.
const ROUNDS: u32 = 40;
/// Tries of one thing.
const TRIES: u32 = 10;

/// Each fault, how likely it is, and whether a store says of what it could not mend that it may pass.
const FAULTS: [(Fault, f64, bool); 12] = [
    (Fault::Busy, 0.2, true),
    (Fault::BusyASecond, 0.1, true),
    (Fault::BusyLate, 0.2, true),
    (Fault::Reset, 0.2, true),
    (Fault::ResetMidway, 0.2, true),
    (Fault::ResetAfter, 0.2, true),
    (Fault::Late, 0.2, true),
    (Fault::Truncated, 0.3, true),
    (Fault::TruncatedPage, 0.5, true),
    (Fault::Flipped, 0.3, true),
    // The store knows no part of that tag, and says so when the upload is completed.
    (Fault::OtherTag, 0.1, true),
    // New credentials are not for the store to find.
    (Fault::Expired, 0.1, false),
];

/// Does something until it is done; an error that will not pass is one only if it `may_pass`.
async fn done<T>(
    what: &str,
    may_pass: bool,
    mut attempt: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(e) if tries < TRIES && (e.retry() || !may_pass) => {}
            Err(e) => return Err(e).with_context(|| format!("try {tries} to {what}")),
        }
    }
}

fn noise(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = |_| {
        // xorshift: another byte each time is all it takes.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(next).collect()
}

struct Bench<'a> {
    s3: &'a SeaweedFs,
    store: &'a Store,
    dir: &'a std::path::Path,
}

impl Bench<'_> {
    /// Stores an object and a file in parts, reads both, and lists them.
    async fn round(&self, folder: &str, round: u32, may_pass: bool) -> Result<()> {
        let (small, large) = (noise(9_999, round), noise(18 * MIB + 1, round));
        let path = self.dir.join("large");
        std::fs::write(&path, &large)?;
        let small_key = format!("{folder}/{round}/small");
        let large_key = format!("{folder}/{round}/large");
        done("put", may_pass, async || {
            self.store.put(&small_key, small.clone().into()).await
        })
        .await?;
        let bytes = large.len() as u64;
        let moved = done("put a file", may_pass, async || {
            let put = self.store.put_file(&large_key, &path, bytes, None, &|_| ());
            put.await
        });
        let moved = moved.await?;
        ensure!(moved.crc32 == crc32fast::hash(&large), "{large_key}");
        for (key, content) in [(&small_key, &small), (&large_key, &large)] {
            let there = self.s3.object("backups", key).await?;
            ensure!(there.as_ref() == Some(content), "{key} has other bytes");
        }
        let read = done("get", may_pass, async || self.store.get(&small_key).await);
        ensure!(read.await? == small, "{small_key} was read wrong");
        let fetched = self.dir.join("fetched");
        done("get a file", may_pass, async || {
            let get = self.store.get_file(&large_key, &fetched, bytes, &|_| ());
            get.await
        })
        .await?;
        let listed = done("list", may_pass, async || {
            let listed = self.store.list(&format!("{folder}/{round}/"));
            listed.map_ok(|o| (o.key, o.bytes)).try_collect().await
        });
        let listed: BTreeMap<String, u64> = listed.await?;
        let expected = [(small_key, 9_999), (large_key, bytes)].into();
        ensure!(listed == expected, "{listed:?}");
        Ok(())
    }
}

#[tokio::test]
async fn every_fault_is_mended_or_told() -> Result<()> {
    let s3 = SeaweedFs::start().await?;
    s3.bucket("backups").await?;
    let proxy = Faults::start(&s3.endpoint(), 7).await?;
    proxy.delay(Duration::from_millis(300));
    let settings = Settings {
        s3: S3Settings {
            endpoint: Some(proxy.endpoint().to_owned()),
            access_key_id: Some(SeaweedFs::ACCESS_KEY.to_owned()),
            secret_access_key: Some(SeaweedFs::SECRET_KEY.into()),
            ..S3Settings::default()
        },
        ..Settings::default()
    };
    let stores = Stores::new(settings)?;
    let store = stores.open(&"s3:backups".parse()?).await?;
    let dir = tempfile::tempdir()?;
    let bench = Bench {
        s3: &s3,
        store: &store,
        dir: dir.path(),
    };
    for (fault, odds, may_pass) in FAULTS {
        proxy.odds(&[(fault, odds)]);
        let met = || proxy.met().get(&fault).copied().unwrap_or_default();
        for round in 0..ROUNDS {
            let done = bench.round(&format!("{fault:?}"), round, may_pass).await;
            done.with_context(|| format!("{fault:?}, round {round}"))?;
            if met() >= TIMES {
                break;
            }
        }
        ensure!(met() >= TIMES, "{fault:?} happened {} times", met());
    }
    proxy.odds(&[]);
    testkit::eventually(
        "uploads to be closed",
        Duration::from_secs(20),
        async || {
            let open = s3.uploads("backups").await?;
            ensure!(open == 0, "{open} uploads are open");
            Ok(())
        },
    )
    .await
}
