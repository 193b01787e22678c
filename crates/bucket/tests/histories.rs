//! Random histories of backups, crashes, retention and purges: what stays is always whole, and
//! what goes goes completely.
//!
//! `THETIS_SEEDS` sets how many histories there are, `THETIS_SEED` plays one of them again.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

#[path = "histories/backup.rs"]
mod backup;
#[path = "histories/bucket.rs"]
mod bucket;
#[path = "histories/check.rs"]
mod check;
#[path = "histories/purging.rs"]
mod purging;
#[path = "histories/world.rs"]
mod world;

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use purging::Purger;
use world::World;

/// Histories of a model of a bucket.
const MODELS: u64 = 10_000;

/// As many of these are played on a store, too, which takes longer.
const STORES: u64 = 100;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// Runs histories on all processors. The first to fail ends it, and is named.
fn play(count: u64, purger: fn() -> Purger) {
    if let Some(seed) = number("THETIS_SEED") {
        World::new(seed, purger()).live();
        return;
    }
    let first = rand::random::<u32>();
    let next = AtomicU64::new(0);
    let play = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return;
            }
            let seed = u64::from(first) + at;
            let live = AssertUnwindSafe(|| World::new(seed, purger()).live());
            if let Err(panic) = catch_unwind(live) {
                next.store(count, Ordering::Relaxed);
                eprintln!("play it again with THETIS_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(play)).collect();
        for one in all {
            if let Err(panic) = one.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

#[test]
fn whatever_happens_what_stays_is_whole() {
    play(number("THETIS_SEEDS").unwrap_or(MODELS), Purger::model);
}

#[test]
fn the_same_is_true_of_a_store() {
    let count = number("THETIS_SEEDS").unwrap_or(MODELS);
    play(count.div_ceil(MODELS / STORES), Purger::store);
}
