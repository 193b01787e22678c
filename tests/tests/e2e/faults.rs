//! Whatever goes wrong on the way to a store: what is proven is true, and what was broken off goes on.
//!
//! `THETIS_FAULT_SEED` chooses other faults, `THETIS_FAULT_SECS` makes the run longer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use catalog::{Chunk, ChunkFile, Document as _, Receipt, key::OwnKey};
use protocol::{Event, Fact, Job, RunId};
use queue::Queued;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use store::Stores;
use testkit::{
    eventually,
    faults::{Fault, Faults},
    s3::SeaweedFs,
};
use tests::{Direct, Options, Shape, World, compare};
use tokio::task::JoinSet;

use crate::retention::table;

/// Any one round, and any one wait.
const LIMIT: Duration = Duration::from_secs(120);
/// What a bad hour of an object store is made of: 1 % of answers are 503, 0.5 % of connections break.
///
/// Not with them are listings that end in their middle: what the SDK makes of those is no error that a
/// store would try again.
const BAD: [(Fault, f64); 10] = [
    (Fault::Busy, 0.004),
    (Fault::BusyASecond, 0.002),
    (Fault::BusyLate, 0.004),
    (Fault::Reset, 0.002),
    (Fault::ResetMidway, 0.0015),
    (Fault::ResetAfter, 0.0015),
    (Fault::Late, 0.01),
    (Fault::Truncated, 0.02),
    (Fault::Flipped, 0.02),
    (Fault::OtherTag, 0.01),
];
/// Chunks of small files, and how many files each has.
const SMALL: (usize, usize) = (4, 100);
/// Files of each further chunk, in MiB; some need several parts.
const LARGE: [[usize; 2]; 2] = [[20, 70], [33, 48]];
/// How often a chunk may fail before that is called a fault of ours.
const AGAIN: usize = 20;

fn from_environment(name: &str, usual: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("reading {name}")),
        Err(_) => Ok(usual),
    }
}

/// A server of S3 behind a proxy that fails.
pub(crate) struct Gate {
    pub(crate) proxy: Faults,
    pub(crate) s3: SeaweedFs,
}

impl Gate {
    pub(crate) async fn open(seed: u64) -> Result<Self> {
        let s3 = SeaweedFs::start().await?;
        s3.bucket("thetis").await?;
        let proxy = Faults::start(&s3.endpoint(), seed).await?;
        proxy.delay(Duration::from_secs(2));
        Ok(Self { proxy, s3 })
    }

    /// Settings that lead to the proxy, with few pauses.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let all = [
            ("THETIS_STORE__S3__ENDPOINT", self.proxy.endpoint()),
            ("THETIS_STORE__S3__ACCESS_KEY_ID", SeaweedFs::ACCESS_KEY),
            ("THETIS_STORE__S3__SECRET_ACCESS_KEY", SeaweedFs::SECRET_KEY),
            ("THETIS_NATS__RETRY_PAUSE_MS", "200"),
        ];
        all.map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// The bucket, past the proxy.
    pub(crate) async fn bucket(&self) -> Result<store::Store> {
        let mut settings = store::Settings::default();
        settings.s3.endpoint = Some(self.s3.endpoint());
        settings.s3.access_key_id = Some(SeaweedFs::ACCESS_KEY.to_owned());
        settings.s3.secret_access_key = Some(SeaweedFs::SECRET_KEY.into());
        Ok(Stores::new(settings)?.open(&"s3:thetis".parse()?).await?)
    }

    /// No upload in parts is left open.
    async fn nothing_open(&self) -> Result<()> {
        eventually("uploads to be closed", LIMIT, async || {
            let open = self.s3.uploads("thetis").await?;
            ensure!(open == 0, "{open} uploads are open");
            Ok(())
        })
        .await
    }
}

/// A file on the node.
struct Source {
    path: String,
    content: Vec<u8>,
    /// The CRC-32 that its digest tells, which is not that of its content when it is damaged.
    told: Option<u32>,
    damaged: bool,
}

/// An uploader with files, behind a gate.
struct Rig {
    direct: Direct<Gate>,
    bucket: store::Store,
    chunks: Vec<Vec<Source>>,
    failed: Arc<Mutex<Vec<(RunId, u32, String)>>>,
    rounds: u64,
    _listener: JoinSet<()>,
}

impl Rig {
    async fn start(seed: u64) -> Result<Self> {
        let gate = Gate::open(seed).await?;
        let (environment, bucket) = (gate.environment(), gate.bucket().await?);
        let direct = Direct::with(gate, environment).await?;
        let chunks = sources(&mut StdRng::seed_from_u64(seed));
        for source in chunks.iter().flatten() {
            std::fs::write(direct.data().join(&source.path), &source.content)?;
        }
        let failed = Arc::new(Mutex::new(Vec::new()));
        let (queue, heard) = (direct.queue.clone(), Arc::clone(&failed));
        let mut listener = JoinSet::new();
        listener.spawn(async move {
            let hear = |events: Vec<Event>| {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                for Event { run, fact, .. } in events {
                    if let Fact::Failed(failed) = fact {
                        heard.push((run, failed.part, failed.reason));
                    }
                }
                std::future::ready(anyhow::Ok(Vec::new()))
            };
            let listener = queue::Listener::to_all("tests");
            let heard = queue.events(&listener, tokio_util::sync::CancellationToken::new(), hear);
            heard.await.expect("a listener with a name");
        });
        Ok(Self {
            direct,
            bucket,
            chunks,
            failed,
            rounds: 0,
            _listener: listener,
        })
    }

    fn proxy(&self) -> &Faults {
        &self.direct.store.proxy
    }

    /// What has failed of a run, by chunk.
    fn failed(&self, run: RunId) -> BTreeMap<u32, Vec<String>> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = BTreeMap::<_, Vec<_>>::new();
        for (_, chunk, reason) in failed.iter().filter(|(of, _, _)| *of == run) {
            found.entry(*chunk).or_default().push(reason.clone());
        }
        found
    }

    fn plans(&self, round: u64) -> Vec<Chunk> {
        let file = |source: &Source| ChunkFile {
            path: source.path.clone(),
            key: format!("backup/sst/{round}/{}", source.path),
            bytes: source.content.len() as u64,
            crc32: source.told,
            replaces: None,
        };
        let chunks = (0..).zip(&self.chunks).map(|(chunk, sources)| Chunk {
            chunk,
            files: sources.iter().map(file).collect(),
        });
        chunks.collect()
    }

    /// Has all chunks uploaded once more, under keys of their own, and proves what is said of them;
    /// gives how long the uploads took. With `expired`, credentials are refused until each chunk
    /// has failed for that.
    async fn round(&mut self, expired: bool) -> Result<Duration> {
        self.rounds += 1;
        let round = self.rounds;
        let run: RunId = format!("00000000-0000-4000-8000-{round:012x}").parse()?;
        let (node, plans) = (self.direct.node(), self.plans(round));
        for plan in &plans {
            let key = OwnKey::Chunk(run, node, plan.chunk).to_string();
            self.bucket.put(&key, plan.to_json().into()).await?;
        }
        if expired {
            self.proxy().odds(&[(Fault::Expired, 1.0)]);
        }
        let mut asked = vec![0; plans.len()];
        let mut waits: BTreeSet<u32> = plans.iter().map(|plan| plan.chunk).collect();
        let began = Instant::now();
        let ended = eventually("all chunks to end", LIMIT, async || {
            for chunk in waits.clone() {
                let job = Job::Upload(self.direct.job(run, run, chunk));
                if self.direct.queue.publish_job(&job).await? == Queued::New {
                    asked[chunk as usize] += 1;
                    waits.remove(&chunk);
                }
            }
            let (failed, mut open) = (self.failed(run), 0);
            if expired && failed.len() == plans.len() {
                self.proxy().odds(&BAD);
            }
            for plan in &plans {
                let key = OwnKey::Receipt(run, node, plan.chunk).to_string();
                let reasons = failed.get(&plan.chunk).map_or(&[][..], Vec::as_slice);
                let damaged = reasons.iter().any(|reason| reason.contains("is damaged"));
                if damaged || self.bucket.bytes(&key).await?.is_some() {
                    continue;
                }
                open += 1;
                if reasons.len() == asked[plan.chunk as usize] {
                    waits.insert(plan.chunk);
                }
            }
            ensure!(open == 0, "{open} chunks are open: {failed:#?}");
            Ok(())
        });
        ended.await.with_context(|| self.direct.uploader.log())?;
        let took = began.elapsed();
        for (chunk, reasons) in self.failed(run) {
            ensure!(reasons.len() < AGAIN, "chunk {chunk}: {reasons:#?}");
            let expired_only = |reason: &&String| {
                reason.contains("ExpiredToken") && reason.contains("check the credentials")
            };
            if expired {
                ensure!(reasons.iter().any(|r| expired_only(&r)), "{reasons:#?}");
            }
            for reason in reasons.iter().filter(|r| !expired_only(r)) {
                eprintln!("round {round}, chunk {chunk}: {reason}");
            }
        }
        for (plan, sources) in plans.iter().zip(&self.chunks) {
            self.proven(run, plan, sources).await?;
        }
        Ok(took)
    }

    /// What a chunk's receipt says is so; a chunk with a damaged file has none.
    async fn proven(&self, run: RunId, plan: &Chunk, sources: &[Source]) -> Result<()> {
        let s3 = &self.direct.store.s3;
        let key = OwnKey::Receipt(run, self.direct.node(), plan.chunk).to_string();
        let receipt = s3.object("thetis", &key).await?;
        if let Some(damaged) = sources.iter().find(|source| source.damaged) {
            ensure!(receipt.is_none(), "{key} proves a damaged file");
            let reasons = self.failed(run).remove(&plan.chunk).unwrap_or_default();
            let named =
                |reason: &String| reason.contains("is damaged") && reason.contains(&damaged.path);
            ensure!(reasons.iter().any(named), "{reasons:#?}");
            for (file, source) in plan.files.iter().zip(sources) {
                let there = s3.object("thetis", &file.key).await?;
                ensure!(
                    !(source.damaged && there.is_some()),
                    "{} is there",
                    file.key
                );
            }
            return Ok(());
        }
        let receipt = Receipt::from_json(&receipt.with_context(|| key.clone())?)?;
        ensure!(receipt.chunk == plan.chunk, "{key}: {}", receipt.chunk);
        ensure!(receipt.files.len() == sources.len(), "{key}: too few files");
        let files = receipt.files.iter().zip(&plan.files).zip(sources);
        for ((proof, file), source) in files {
            let (told, is) = ((&proof.key, proof.bytes), (&file.key, file.bytes));
            ensure!(told == is, "{key}: {told:?}, not {is:?}");
            let crc32 = crc32fast::hash(&source.content);
            ensure!(proof.crc32 == crc32, "{}: wrong CRC-32", file.key);
            let stored = s3.object("thetis", &file.key).await?;
            let stored = stored.with_context(|| format!("{} is not there", file.key))?;
            ensure!(stored == source.content, "{} has other bytes", file.key);
        }
        Ok(())
    }
}

/// Small files, large ones, and a damaged one of each kind between good ones.
fn sources(random: &mut StdRng) -> Vec<Vec<Source>> {
    let mut source = |name: String, bytes: usize, damaged: bool| {
        let mut content = vec![0; bytes];
        random.fill_bytes(&mut content);
        let crc32 = crc32fast::hash(&content);
        let large = bytes > 1 << 20;
        let told = (large || damaged).then_some(crc32);
        if damaged {
            content[bytes / 2] ^= 1;
        }
        Source {
            path: name,
            content,
            told,
            damaged,
        }
    };
    let mut sizes = StdRng::seed_from_u64(0);
    let mut chunks: Vec<Vec<Source>> = Vec::new();
    for chunk in 0..SMALL.0 {
        let small = (0..SMALL.1).map(|n| {
            let bytes = sizes.random_range(1..64 << 10);
            source(format!("small-{chunk}-{n}"), bytes, false)
        });
        chunks.push(small.collect());
    }
    for mib in LARGE.into_iter().flatten().collect::<Vec<_>>().chunks(2) {
        // Not whole parts.
        let large = mib.iter();
        let large = large.map(|mib| source(format!("large-{mib}"), (mib << 20) + mib, false));
        chunks.push(large.collect());
    }
    for (name, bytes) in [("small", 9_999), ("large", 30 << 20)] {
        let part = [false, true, false].map(|damaged| {
            let what = if damaged { "damaged" } else { "beside" };
            (format!("{what}-{name}"), damaged)
        });
        let part = part.into_iter().enumerate();
        let part = part.map(|(n, (path, damaged))| source(format!("{path}-{n}"), bytes, damaged));
        chunks.push(part.collect());
    }
    chunks
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_proven_under_faults_is_true() -> Result<()> {
    let seed = from_environment("THETIS_FAULT_SEED", 1)?;
    let time = Duration::from_secs(from_environment("THETIS_FAULT_SECS", 20)?);
    let run = fault_run(seed, time).await;
    run.with_context(|| format!("with THETIS_FAULT_SEED={seed}"))
}

async fn fault_run(seed: u64, time: Duration) -> Result<()> {
    let mut rig = Rig::start(seed).await?;
    // The first makes the server's volumes.
    rig.round(false).await?;
    let clean = rig.round(false).await?;
    ensure!(rig.proxy().met().is_empty());

    rig.proxy().odds(&BAD);
    let began = Instant::now();
    let mut bad = Vec::new();
    while began.elapsed() < time || bad.len() < 3 {
        bad.push(rig.round(bad.len() == 1).await?);
    }
    let met = rig.proxy().met();
    eprintln!("clean {clean:.1?}, bad {bad:.1?}: {met:?}");
    let hits: u64 = met.values().sum();
    ensure!(met.len() >= 6 && hits > 20, "few faults: {met:?}");

    // Nothing is remembered of the bad time.
    rig.proxy().odds(&[]);
    let mut after = Vec::new();
    while after.last().is_none_or(|took| *took > clean * 2) {
        // The machine may have had other things to do.
        ensure!(after.len() < 10, "{after:?} after it, {clean:?} before");
        after.push(rig.round(false).await?);
    }
    eprintln!("clean again {after:.1?}");
    rig.direct.store.nothing_open().await
}

#[tokio::test]
async fn a_backup_under_faults_ends_well_and_comes_back() -> Result<()> {
    let seed = from_environment("THETIS_FAULT_SEED", 1)?;
    let backed_up = backup_under_faults(seed).await;
    backed_up.with_context(|| format!("with THETIS_FAULT_SEED={seed}"))
}

async fn backup_under_faults(seed: u64) -> Result<()> {
    let gate = Gate::open(seed).await?;
    let environment = gate.environment();
    let Gate { proxy, s3 } = gate;
    proxy.delay(Duration::from_millis(500));
    let options = Options {
        environment,
        ..Options::default()
    };
    let mut world = World::on(s3, options).await?;
    // A bit that is wrong is told of as damage, rightly: by nothing can it be known where it happened.
    let odds = BAD
        .into_iter()
        .filter(|(fault, _)| *fault != Fault::Flipped);
    proxy.odds(&odds.collect::<Vec<_>>());
    let full = world.add_cluster(Shape::new("full", 2), 1).await?;
    let empty = world.add_cluster(Shape::new("empty", 2), 1).await?;
    let mut ids = Vec::new();
    for sim in [full, empty] {
        world.sims[sim].create(&[table()]).await?;
        let (name, host) = {
            let sim = &world.sims[sim];
            (sim.name().to_owned(), sim.nodes[0].address.clone())
        };
        let id = world.api.add_cluster(&name, &host).await?;
        world.api.workers(&id, 2, 3).await?;
        ids.push(id);
    }
    world.sims[full].load(&table(), seed, 2 << 20, 40).await?;
    let before = world.sims[full].fingerprints().await?;
    let location = json!({"location": [world.store.location()]});

    let tag = world
        .api
        .done(&ids[0], "backup", location, LIMIT)
        .await?
        .tag();
    let location = world.store.location();
    let proven =
        world
            .api
            .validate_and_restore([&ids[0], &ids[1]], [location, &tag, "agent"], LIMIT);
    proven.await?;
    compare(&before, &world.sims[empty].fingerprints().await?)?;
    world.sims[full].is_clean().await?;
    world.sims[empty].is_clean().await?;
    eprintln!("{:?}", proxy.met());
    ensure!(proxy.met().len() >= 5, "few faults: {:?}", proxy.met());
    Ok(())
}
