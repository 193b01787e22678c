//! What a seed stands for: a cluster, a task, and what goes wrong how often.

use crate::chance::Chance;

/// What goes wrong, each so many times in 10,000 chances to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// A worker is killed, at a step of the world.
    pub(crate) kill_worker: u64,
    /// A node goes down for a while, at a step of the world.
    pub(crate) node_down: u64,
    /// A node hangs for good, at a step of the world: jobs on it never end.
    pub(crate) node_hangs: u64,
    /// A node and its workers are lost for good, at a step of the world.
    pub(crate) node_lost: u64,
    /// The scheduler dies, at each of its steps.
    pub(crate) scheduler_dies: u64,
    /// A waiting job is lost, at a step of the world.
    pub(crate) job_lost: u64,
    /// An event is lost, when published.
    pub(crate) event_lost: u64,
    /// An event is published twice.
    pub(crate) event_twice: u64,
    /// A job that is done is delivered again.
    pub(crate) job_again: u64,
    /// A job fails, and may be tried again.
    pub(crate) job_fails: u64,
    /// A job fails for good.
    pub(crate) job_refused: u64,
    /// The queue is wiped, but not the state, at a step of the world.
    pub(crate) queue_wiped: u64,
    /// The queue and all state are wiped, at a step of the world.
    pub(crate) all_wiped: u64,
    /// A backup turns out to be empty.
    pub(crate) empty_plan: u64,
    /// A purge cannot remove all that is to go.
    pub(crate) purge_blocked: u64,
    /// The user stops the run, at a step of the world.
    pub(crate) stop: u64,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Backup,
    Restore,
    Delete,
    Validate,
    Clear,
}

/// What a seed stands for.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) work: Work,
    /// Nodes of each datacenter.
    pub(crate) dcs: Vec<u64>,
    pub(crate) tablets: bool,
    /// How many nodes of a datacenter may be at work at once; 0 for all.
    pub(crate) parallel: u32,
    /// Whether a restore is a drill.
    pub(crate) drill: bool,
    /// Whether a restore's batches are bound to nodes.
    pub(crate) one_to_one: bool,
    pub(crate) faults: Faults,
}

impl Scenario {
    /// A world where nothing goes wrong.
    pub(crate) fn calm(work: Work, dcs: &[u64], tablets: bool) -> Self {
        let faults = Faults::default();
        Self {
            work,
            dcs: dcs.to_vec(),
            tablets,
            parallel: 0,
            drill: false,
            one_to_one: false,
            faults,
        }
    }

    /// Any scenario. Each fault has a part in about a third of them.
    pub(crate) fn any(chance: &mut Chance) -> Self {
        let work = match chance.below(12) {
            0..=4 => Work::Backup,
            5..=8 => Work::Restore,
            9 => Work::Delete,
            10 => Work::Validate,
            _ => Work::Clear,
        };
        let dcs = (0..=chance.below(2)).map(|_| 1 + chance.below(3)).collect();
        let tablets = chance.below(3) > 0;
        let mut rate = |most: u64| {
            if chance.below(3) == 0 {
                1 + chance.below(most)
            } else {
                0
            }
        };
        let faults = Faults {
            kill_worker: rate(300),
            node_down: rate(20),
            node_hangs: rate(5),
            node_lost: rate(8),
            scheduler_dies: rate(2_000),
            job_lost: rate(300),
            event_lost: rate(1_500),
            event_twice: rate(3_000),
            job_again: rate(2_000),
            job_fails: rate(3_000),
            job_refused: rate(100),
            queue_wiped: rate(20),
            all_wiped: rate(20),
            empty_plan: rate(1_000),
            purge_blocked: rate(5_000),
            stop: rate(20),
        };
        let parallel = u32::from(chance.below(3) == 0);
        Self {
            work,
            dcs,
            tablets,
            parallel,
            // Restores know no such limit.
            drill: parallel > 0,
            one_to_one: !tablets,
            faults,
        }
    }
}
