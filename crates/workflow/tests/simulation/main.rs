//! Runs in a world where everything goes wrong, thousands of times, and always the same way.
//!
//! `THETIS_SEED=1234 cargo test -p workflow --test simulation` plays one seed alone, with what it
//! stands for, what happens and how it ends. `THETIS_SEEDS=100000` plays more of them.

#![allow(clippy::print_stdout, reason = "a test says which seeds it has played")]

mod chance;
mod scenario;
mod scheduler;
mod workers;
mod world;

use protocol::RunStatus;
use workflow::Run;

use crate::{
    chance::Chance,
    scenario::{Scenario, Work},
    world::{World, run_id, tag},
};

/// How many seeds are played, unless told otherwise: a few seconds.
const SEEDS: u64 = 4_000;

/// Checks what has to be true of a run that has ended, when all has come to rest.
fn check(world: &World) {
    assert_eq!(world.wrongs, Vec::<String>::new());
    let run = world.run().expect("a run that ended stays saved");
    let (status, cause) = (run.status(), run.cause());
    for chunks in world.bucket.manifests.values() {
        for chunk in chunks {
            assert!(
                world.bucket.chunks.contains(chunk),
                "I1: {chunk:?} is listed but not stored"
            );
        }
    }
    assert!(
        world.uploads.values().all(|times| *times == 1),
        "a chunk was uploaded twice"
    );
    match status {
        RunStatus::Done => check_done(world, run),
        RunStatus::Error => assert_ne!(cause, "", "I3: an error says why"),
        RunStatus::Stopped => {}
        RunStatus::New
        | RunStatus::Running
        | RunStatus::Stopping
        | RunStatus::Waiting
        | RunStatus::Aborted => {
            panic!("I3: the run ended as {status}")
        }
    }
    check_put_back(world, run);
}

/// A run that is done has done all there was to do.
fn check_done(world: &World, run: &Run) {
    let report = run.report();
    for table in &report.tables {
        let told = table.skipped + table.done;
        assert_eq!(told, table.size, "done, but not all of {}", table.table);
    }
    match world.scenario.work {
        Work::Backup => {
            assert!(!report.hosts.is_empty(), "I3: a backup of no node");
            for host in &report.hosts {
                let sealed = world.bucket.manifests.contains_key(&(tag(), host.node));
                assert!(sealed, "I3: done without the manifest of {}", host.node);
            }
            for node in world.nodes.keys() {
                let named = report.hosts.iter().any(|host| host.node == *node);
                assert!(
                    named || report.cause.contains(&node.to_string()),
                    "I3: {node} is not told of"
                );
            }
        }
        Work::Delete | Work::Validate => {
            assert!(world.bucket.purged, "done without having deleted all");
        }
        Work::Clear => {
            let left = world.nodes.values().any(|node| !node.snapshots.is_empty());
            assert!(!left, "done with snapshots left");
        }
        Work::Restore => {
            let plan = &world.bucket.restore_plans[&report.origin];
            let batches: u32 = plan.iter().map(|share| share.count).sum();
            assert!(!world.shielded, "done with views dropped");
            assert!(batches > 0, "I7: done without anything to load");
            for batch in 0..batches {
                let loaded = world.loaded.contains(&(report.origin, batch));
                assert!(loaded, "I7: done without batch {batch}");
            }
        }
    }
}

/// What was switched off is on again, or the cause says what a person has to do.
fn check_put_back(world: &World, run: &Run) {
    let cause = run.cause();
    if !world.balancing {
        assert!(
            cause.contains("tablets/balancing?enabled=true"),
            "balancing is left off: {cause}"
        );
    }
    if world.scratch {
        assert!(
            cause.contains("keyspaces of the drill may be left"),
            "a drill is left: {cause}"
        );
    }
    if world.shielded {
        assert!(
            cause.contains("thetis restore undo"),
            "the schema is left as a restore made it: {cause}"
        );
    }
    for (id, node) in &world.nodes {
        // Of a node that is lost for good nobody can say; where it was when the run ended, the
        // remark says so.
        if !node.compaction && !node.lost {
            let remark = format!("automatic compaction may still be off on node {id}");
            let told =
                cause.contains(&remark) || cause.contains("automatic compaction off on some");
            assert!(told, "compaction is left off on {id}: {cause}");
        }
    }
}

/// Plays one seed to its end, lets the world heal, and has the run continued until it is done.
fn play(seed: u64, verbose: bool) -> RunStatus {
    let mut chance = Chance::new(seed);
    let scenario = Scenario::any(&mut chance);
    if verbose {
        println!("seed {seed}: {scenario:#?}");
    }
    let mut world = World::new(chance.below(u64::MAX), scenario);
    world.verbose = verbose;
    world.run_to_end();
    world.come_to_rest();
    let run = world.run().expect("a run that ended stays saved").clone();
    if verbose {
        println!("{} steps: {:#?}", world.steps, run.report());
    }
    check(&world);
    let Some(next) = run.resume(run_id(2), world.now_ms) else {
        let errand = matches!(run, Run::Errand(_));
        let again = run.status() == RunStatus::Done || errand;
        assert!(again, "{}", run.status());
        return run.status();
    };
    world.heal();
    world.open(next);
    world.run_to_end();
    world.come_to_rest();
    check(&world);
    let last = world.run().expect("a run that ended stays saved");
    let empty = last.cause().contains("nothing to restore");
    assert!(
        last.status() == RunStatus::Done || empty,
        "in a world that is well again, a run that is continued gets done: {}",
        last.cause()
    );
    assert!(
        world.balancing || run.cause().contains("balancing?"),
        "balancing stays off"
    );
    run.status()
}

fn seeds() -> Vec<u64> {
    match std::env::var("THETIS_SEED") {
        Ok(seed) => vec![seed.parse().expect("THETIS_SEED is a number")],
        Err(_) => {
            let count = std::env::var("THETIS_SEEDS")
                .map_or(SEEDS, |count| count.parse().expect("a number"));
            (0..count).collect()
        }
    }
}

#[test]
fn every_run_ends_and_ends_true_whatever_happens() {
    let seeds = seeds();
    let verbose = seeds.len() == 1;
    let mut ends = std::collections::BTreeMap::<&str, u32>::new();
    for seed in &seeds {
        let played = std::panic::catch_unwind(|| play(*seed, verbose));
        let status = played.unwrap_or_else(|cause| {
            eprintln!("seed {seed} failed; replay it alone with THETIS_SEED={seed}");
            std::panic::resume_unwind(cause)
        });
        *ends.entry(status.as_str()).or_default() += 1;
    }
    let (first, last) = (seeds[0], seeds[seeds.len() - 1]);
    println!("seeds {first} to {last}: {ends:?}");
}

/// Plays a calm world in which one scheduler step, or one worker step, is the last of who makes it.
fn broken_once(seed: u64, work: Work, die_at: Option<u64>, kill_at: Option<u64>) -> World {
    let mut world = World::new(seed, Scenario::calm(work, &[2, 1], true));
    (world.die_at, world.kill_at) = (die_at, kill_at);
    world.run_to_end();
    world.come_to_rest();
    check(&world);
    world
}

#[test]
fn a_crash_at_any_step_only_costs_time() {
    for (work, steps) in [
        (Work::Backup, 90),
        (Work::Restore, 90),
        (Work::Delete, 3),
        (Work::Validate, 3),
        (Work::Clear, 9),
    ] {
        let long = |seed: &u64| broken_once(*seed, work, None, None).worker_steps >= steps;
        let seed = (1..100).find(long).expect("a run that is worth breaking");
        let whole = broken_once(seed, work, None, None);
        let (schedulers, workers) = (whole.scheduler_steps, whole.worker_steps);
        let deaths = (1..=schedulers).map(|step| (Some(step), None));
        let kills = (1..=workers).map(|step| (None, Some(step)));
        for (die_at, kill_at) in deaths.chain(kills) {
            let world = broken_once(seed, work, die_at, kill_at);
            let run = world.run().expect("a run that ended stays saved");
            let (status, cause) = (run.status(), run.cause());
            assert_eq!(
                (status, cause),
                (RunStatus::Done, ""),
                "{die_at:?} {kill_at:?}"
            );
        }
        println!("{work:?}: died at each of {schedulers} steps, was killed at each of {workers}");
    }
}
