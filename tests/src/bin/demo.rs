//! The main job, end to end, on one machine: `make demo`.
//!
//! Backs up a simulated 3-node cluster, writes more, backs up again while an uploader and the
//! scheduler are killed, restores into an empty 5-node cluster, and compares every table's rows.
//! Ends with status 0 only if all of it is true. `KEEP=1` leaves everything running; `STORE=local`
//! uses a directory as bucket.

#![expect(
    clippy::print_stdout,
    reason = "a demo talks to the person who started it"
)]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::eventually;
use tests::{Ended, Kind, Options, Shape, TableSpec, World, compare};

/// Tables, half of them spread by tablets.
const TABLES: usize = 40;
/// Bytes of values in each table, before replication.
const TABLE_BYTES: u64 = 8 << 20;
/// SSTables of each table on each node.
const SSTABLES: usize = 17;
/// Copies of each row.
const COPIES: usize = 3;
/// Every n-th table gets more data before the second backup.
const CHANGED: usize = 5;
/// How long a run may take before the demo gives up.
const LIMIT: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> ExitCode {
    match demo().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<()> {
    let began = Instant::now();
    let local = std::env::var("STORE").is_ok_and(|store| store == "local");
    let mut options = Options {
        local,
        ack_wait_secs: 5,
        ..Options::default()
    };
    if std::env::var_os("KEEP").is_some() {
        let dir = std::env::current_dir()?.join(".demo");
        if dir.try_exists()? {
            std::fs::remove_dir_all(&dir).context("removing the last demo")?;
        }
        options.dir = Some(dir);
    }
    say(
        "starting NATS, the store, a scheduler, and a 3-node cluster with 4 workers beside each node",
    );
    let mut world = World::start(options).await?;
    let outcome = tell(&mut world, began).await;
    if outcome.is_err() {
        println!("\n{}", world.last_words());
    }
    outcome?;
    if std::env::var_os("KEEP").is_some() {
        keep(&world).await?;
    }
    Ok(())
}

async fn tell(world: &mut World, began: Instant) -> Result<()> {
    let tables = tables();
    let old = world.add_cluster(Shape::new("shop", 3), 2).await?;
    say(&format!("filling {TABLES} tables"));
    world.sims[old].create(&tables).await?;
    for (seed, table) in (0..).zip(&tables) {
        world.sims[old]
            .load(table, seed, TABLE_BYTES, SSTABLES)
            .await?;
    }
    let cluster = world
        .api
        .add_cluster("shop", &world.sims[old].nodes[0].address)
        .await?;
    world.api.workers(&cluster, 3, 4).await?;
    let location = world.store.location();

    say(&format!("backup 1 to {location}"));
    let first = follow(
        world,
        &cluster,
        "backup",
        json!({"location": [location]}),
        false,
    )
    .await?;

    say("writing more: new SSTables in some tables, newer versions of rows in others");
    for (seed, table) in (1_000..).zip(tables.iter().step_by(CHANGED)) {
        world.sims[old]
            .load(table, seed, TABLE_BYTES / 4, 4)
            .await?;
    }
    for (seed, table) in (2_000..).zip(tables.iter().skip(1).step_by(CHANGED)) {
        world.sims[old].mutate(table, seed, 200).await?;
    }
    let before = world.sims[old].fingerprints().await?;

    say("backup 2, killing an uploader and the scheduler (SIGKILL) on the way");
    let second = follow(
        world,
        &cluster,
        "backup",
        json!({"location": [location]}),
        true,
    )
    .await?;

    say("starting an empty 5-node cluster, and restoring backup 2 into it, schema and rows");
    let new = world.add_cluster(Shape::new("shop-copy", 5), 1).await?;
    let target = world
        .api
        .add_cluster("shop-copy", &world.sims[new].nodes[0].address)
        .await?;
    world.api.workers(&target, 5, 3).await?;
    let properties = json!({"location": [location], "snapshot_tag": second.0.tag()});
    let restore = follow(world, &target, "restore", properties, false).await?;

    say("comparing every row of every table");
    let after = world.sims[new].fingerprints().await?;
    compare(&before, &after)?;
    ensure!(
        before.len() == TABLES,
        "{} tables were compared",
        before.len()
    );
    for sim in &world.sims {
        sim.is_clean().await?;
    }
    let skipped = second.0.progress["skipped"].as_u64().unwrap_or_default();
    ensure!(skipped > 0, "the second backup deduplicated nothing");
    let rows: u64 = before.values().map(|table| table.rows).sum();
    println!();
    table(&[
        ("backup 1", &first),
        ("backup 2, with kills", &second),
        ("restore, 3 to 5 nodes", &restore),
    ]);
    println!("\n{rows} rows of {TABLES} tables are equal in both clusters, on every replica.");
    println!("All of it took {:.0} s.", began.elapsed().as_secs_f64());
    Ok(())
}

/// Half the tables in a keyspace spread by vnodes, half by tablets.
fn tables() -> Vec<TableSpec> {
    let table = |number: usize| {
        let tablets = number % 2 == 1;
        let keyspace = if tablets { "orders" } else { "customers" };
        TableSpec {
            keyspace: keyspace.to_owned(),
            name: format!("t{number:02}"),
            tablets,
            copies: COPIES,
        }
    };
    (0..TABLES).map(table).collect()
}

/// Runs a task to its end; in the middle, kills an uploader and the scheduler if told to.
async fn follow(
    world: &mut World,
    cluster: &str,
    kind: &str,
    properties: Value,
    kill: bool,
) -> Result<(Ended, Duration)> {
    let began = Instant::now();
    let task = world.api.submit(cluster, kind, properties).await?;
    if kill {
        let api = world.api.clone();
        eventually("some of it to be uploaded", LIMIT, async || {
            let progress = api.progress(&task).await?;
            let done = progress["progress"]["uploaded"]
                .as_u64()
                .unwrap_or_default()
                > 0;
            ensure!(
                done || progress["run"]["status"] != "RUNNING",
                "nothing yet: {progress}"
            );
            Ok(())
        })
        .await?;
        for service in world
            .services
            .iter_mut()
            .filter(|s| s.name == "shop-2-uploader-1" || s.kind == Kind::Scheduler)
        {
            println!("      killed {}", service.name);
            service.kill();
        }
        world.revive()?;
    }
    let ended = world.api.ended(&task, LIMIT).await?.done()?;
    Ok((ended, began.elapsed()))
}

fn table(runs: &[(&str, &(Ended, Duration))]) {
    println!(
        "{:<24} {:>8} {:>10} {:>14} {:>9} {:>8}",
        "", "files", "MiB", "deduplicated", "seconds", "MiB/s"
    );
    for (name, (ended, took)) in runs {
        let number = |field: &str| ended.progress[field].as_u64().unwrap_or_default();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let moved = number("size") - number("skipped");
        println!(
            "{name:<24} {:>8} {:>10.0} {:>13.0}% {:>9.1} {:>8.1}",
            number("files"),
            mib(number("size")),
            100.0 * number("skipped") as f64 / number("size").max(1) as f64,
            took.as_secs_f64(),
            mib(moved) / took.as_secs_f64(),
        );
    }
}

/// Leaves everything running until Ctrl-C, and says how to look around.
async fn keep(world: &World) -> Result<()> {
    println!(
        "\nEverything is still running, below {}. Try:",
        world.dir().display()
    );
    println!("  export THETIS_API_URL={}", world.api.base());
    println!("  thetis cluster list");
    println!("  thetis tasks -c shop");
    println!("  thetis backup list -c shop -L {}", world.store.location());
    println!(
        "Logs are in {}/logs. Ctrl-C ends it.",
        world.dir().display()
    );
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")
}

fn say(text: &str) {
    println!("==> {text}");
}
