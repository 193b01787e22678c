//! Whatever is killed, whenever: the run goes on by itself, and ends true.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use testkit::eventually;
use tests::{Cql, Fingerprints, Kind, Options, Service, Shape, TableSpec, World, compare};

/// Kills of each kind of service at each stage of restores, and in backups: 20 of each kind.
const EACH: u32 = 2;
const IN_BACKUPS: u32 = 6;
const KINDS: [Kind; 4] = [
    Kind::Scheduler,
    Kind::Snapshot,
    Kind::Uploader,
    Kind::Restore,
];
/// Those of a restore, and any of a backup.
const STAGES: [&str; 8] = [
    "INIT", "PLAN", "SCHEMA", "PREPARE", "DATA", "VIEWS", "PUT_BACK", BACKUP,
];
const BACKUP: &str = "BACKUP";
/// Rounds within which that has to be so.
const ROUNDS: u64 = 20;
/// A run with kills may take this long.
const LIMIT: Duration = Duration::from_secs(180);

/// In the cluster that is restored into: dropped for each restore, and made again.
const VIEW: &str = "CREATE MATERIALIZED VIEW orders.by_value AS SELECT * FROM orders.open WHERE value IS NOT NULL AND key IS NOT NULL PRIMARY KEY (value, key)";

fn tables() -> Vec<TableSpec> {
    let table = |keyspace: &str, name: &str, tablets| TableSpec {
        keyspace: keyspace.to_owned(),
        name: name.to_owned(),
        tablets,
        copies: 2,
    };
    vec![table("shop", "users", false), table("orders", "open", true)]
}

/// A filled cluster of three nodes, and an empty one of two.
async fn world() -> Result<(World, [String; 2])> {
    let mut world = World::start(Options {
        local: true,
        ack_wait_secs: 2,
        ..Options::default()
    })
    .await?;
    let full = world.add_cluster(Shape::new("full", 3), 2).await?;
    let empty = world.add_cluster(Shape::new("empty", 2), 1).await?;
    let mut ids = Vec::new();
    for sim in [full, empty] {
        world.sims[sim].create(&tables()).await?;
        let name = world.sims[sim].name().to_owned();
        ids.push(
            world
                .api
                .add_cluster(&name, &world.sims[sim].nodes[0].address)
                .await?,
        );
    }
    let cql = Cql::connect(&world.sims[empty]).await?;
    cql.run(&[VIEW]).await?;
    for (seed, table) in (0..).zip(&tables()) {
        world.sims[full].load(table, seed, 256 << 10, 30).await?;
    }
    world.api.workers(&ids[0], 3, 4).await?;
    world.api.workers(&ids[1], 2, 3).await?;
    let [full, empty] = [ids[0].clone(), ids[1].clone()];
    Ok((world, [full, empty]))
}

/// Lets `torment` loose on a run until it has ended.
async fn through(
    world: &mut World,
    cluster: &str,
    kind: &str,
    properties: serde_json::Value,
    mut torment: impl AsyncFnMut(&mut World, &str) -> Result<()>,
) -> Result<tests::Ended> {
    let task = world.api.submit(cluster, kind, properties).await?;
    let began = Instant::now();
    loop {
        torment(world, &task).await?;
        world.revive()?;
        world.api.ready().await?;
        // Right after NATS has lost everything nobody knows the run, until the leader has rebuilt it.
        let api = &world.api;
        let progress = eventually("the run to be known", LIMIT, async || {
            api.progress(&task).await
        })
        .await?;
        let status = &progress["run"]["status"];
        let ended = matches!(
            status.as_str(),
            Some("DONE" | "ERROR" | "STOPPED" | "ABORTED")
        );
        if ended || began.elapsed() > LIMIT {
            return world.api.ended(&task, Duration::from_secs(1)).await;
        }
    }
}

/// A backup and its restore, each tormented; what comes back must be what was there.
async fn round(
    world: &mut World,
    [full, empty]: &[String; 2],
    seed: u64,
    before: &mut Fingerprints,
    torment: &mut impl AsyncFnMut(&mut World, &str) -> Result<()>,
) -> Result<()> {
    let location = world.store.location();
    world.sims[0]
        .load(
            &tables()[usize::try_from(seed % 2)?],
            100 + seed,
            64 << 10,
            10,
        )
        .await?;
    let backup = through(
        world,
        full,
        "backup",
        json!({"location": [location]}),
        &mut *torment,
    )
    .await?;
    let backup = backup.done().context("the backup")?;
    *before = world.sims[0].fingerprints().await?;
    for table in tables() {
        let path = format!(
            "/tables/{}/{}/truncate?snapshot=false",
            table.keyspace, table.name
        );
        world.sims[1]
            .admin(reqwest::Method::POST, &path, None)
            .await?;
    }
    let cql = Cql::connect(&world.sims[1]).await?;
    let schema = cql.schema().await?;
    let properties =
        json!({"location": [location], "snapshot_tag": backup.tag(), "restore_tables": true});
    let restore = through(world, empty, "restore", properties, &mut *torment).await?;
    restore.done().context("the restore")?;
    compare(before, &world.sims[1].fingerprints().await?)?;
    let (rows, view) = (
        cql.rows("SELECT key FROM orders.open").await?,
        cql.rows("SELECT key FROM orders.by_value").await?,
    );
    ensure!(
        rows == view,
        "the view has {} of {} rows",
        view.len(),
        rows.len()
    );
    let after = cql.schema().await?;
    ensure!(
        after == schema,
        "the schema was {schema:#?} and is {after:#?}"
    );
    for sim in &world.sims {
        sim.is_clean().await?;
    }
    Ok(())
}

/// The seed of this run: from the environment, else of the clock; printed, so that it can be had again.
fn seed() -> Result<u64> {
    let seed = match std::env::var("THETIS_SEED") {
        Ok(text) => text.parse().context("THETIS_SEED")?,
        Err(_) => u64::from(std::process::id()),
    };
    eprintln!("THETIS_SEED={seed}");
    Ok(seed)
}

/// Kills services, at moments that follow from a seed.
struct Killer {
    random: StdRng,
    /// How often each kind was killed at each stage.
    kills: BTreeMap<(Kind, String), u32>,
}

impl Killer {
    /// Whether a kind is to be killed at a stage once more.
    fn wants(&self, kind: Kind, stage: &str) -> bool {
        let times = self.kills.get(&(kind, stage.to_owned()));
        let enough = match stage == BACKUP {
            true => IN_BACKUPS,
            false => EACH,
        };
        STAGES.contains(&stage) && times.is_none_or(|times| *times < enough)
    }

    fn is_done(&self) -> bool {
        let mut kinds = KINDS.into_iter();
        kinds.all(|kind| !STAGES.iter().any(|stage| self.wants(kind, stage)))
    }

    /// Kills one of those that are to be killed at the stage that the run is at, if there are any for a while.
    async fn strike(&mut self, world: &mut World, task: &str) -> Result<()> {
        let until = Instant::now() + Duration::from_millis(400);
        let longest = match task.contains("/restore/") {
            true => 20,
            false => 400,
        };
        while Instant::now() < until {
            let pause = self.random.random_range(0..longest);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let stage = stage(world, task).await;
            let services = world.services.iter_mut();
            let wanted = services.filter(|service| self.wants(service.kind, &stage));
            let mut wanted: Vec<&mut Service> = wanted.collect();
            if wanted.is_empty() {
                continue;
            }
            let victim = wanted.swap_remove(self.random.random_range(0..wanted.len()));
            victim.kill();
            *self.kills.entry((victim.kind, stage)).or_default() += 1;
            return Ok(());
        }
        Ok(())
    }
}

/// The stage that a run is at, as far as somebody says.
async fn stage(world: &World, task: &str) -> String {
    if !task.contains("/restore/") {
        return BACKUP.to_owned();
    }
    let progress = world.api.progress(task).await.unwrap_or_default();
    let stage = progress["progress"]["stage"].as_str();
    stage.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn services_killed_at_each_stage_cost_only_time() -> Result<()> {
    let (mut world, ids) = world().await?;
    let mut killer = Killer {
        random: StdRng::seed_from_u64(seed()?),
        kills: BTreeMap::new(),
    };
    let mut before = Fingerprints::new();
    for number in 0..ROUNDS {
        let mut torment = async |world: &mut World, task: &str| killer.strike(world, task).await;
        let done = round(&mut world, &ids, number, &mut before, &mut torment).await;
        let told = || format!("round {number}, {:?}\n{}", killer.kills, world.last_words());
        done.with_context(told)?;
        if killer.is_done() {
            break;
        }
    }
    let (kills, all) = (&killer.kills, killer.kills.values().sum::<u32>());
    eprintln!("{all} kills: {kills:?}");
    ensure!(killer.is_done() && all >= 50, "too few: {kills:?}");
    Ok(())
}

#[tokio::test]
async fn nats_restarted_or_wiped_costs_only_time() -> Result<()> {
    let (mut world, ids) = world().await?;
    let mut random = StdRng::seed_from_u64(seed()?);
    let mut before = Fingerprints::new();
    for number in 0..4 {
        let wipe = number % 2 == 1;
        let mut struck = false;
        let mut torment = async |world: &mut World, _: &str| {
            tokio::time::sleep(Duration::from_millis(random.random_range(100..900))).await;
            if !std::mem::replace(&mut struck, true) {
                if wipe {
                    world.nats.wipe_and_restart()?
                } else {
                    world.nats.restart()?
                }
            }
            Ok(())
        };
        let done = round(&mut world, &ids, number, &mut before, &mut torment).await;
        done.with_context(|| format!("round {number}, wiped: {wipe}\n{}", world.last_words()))?;
    }
    Ok(())
}
