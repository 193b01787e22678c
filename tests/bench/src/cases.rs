//! What is measured: which files, against which server, by whom.

use ::tests::null_s3::{Faults, Options};

use crate::{data::Set, peers::Peer, who::Who};

/// One table of the results.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What it is asked for by.
    pub(crate) id: &'static str,
    /// In words.
    pub(crate) what: &'static str,
    pub(crate) server: Options,
    pub(crate) who: Vec<Who>,
    pub(crate) rounds: usize,
    /// How much of the set the bucket holds already, in percent.
    pub(crate) known: usize,
    /// Whether the files are to be read from the disk.
    pub(crate) cold: bool,
}

/// Rounds of the short form and of the full one.
const ROUNDS: [usize; 2] = [3, 5];

const MANAGER: Who = Who::Peer(Peer::Manager);
const TUNED: Who = Who::Peer(Peer::Tuned);
const S5CMD: Who = Who::Peer(Peer::S5cmd);

impl Case {
    fn new(id: &'static str, what: &'static str, server: Options, raw: usize) -> Self {
        Self {
            id,
            what,
            server,
            who: vec![
                Who::Raw(raw),
                Who::Thetis,
                Who::Engine,
                MANAGER,
                TUNED,
                S5CMD,
            ],
            rounds: ROUNDS[0],
            known: 0,
            cold: false,
        }
    }

    fn by(self, who: Vec<Who>) -> Self {
        Self { who, ..self }
    }

    fn rounds(self, rounds: usize) -> Self {
        Self { rounds, ..self }
    }
}

/// Which cases there are, by the set that they share.
pub(crate) fn all(full: bool) -> Vec<(Set, Vec<Case>)> {
    let mut sets = vec![
        (Set::a(full), small(full)),
        (Set::f(full), vec![tables()]),
        (Set::b(full), mixed(full)),
        (Set::c(full), large(full)),
    ];
    if full {
        let one = Case::new("one-large", "one file of 4 GiB", Options::default(), 2);
        sets.push((Set::d(), vec![one]));
        for case in sets.iter_mut().flat_map(|(_, cases)| cases) {
            if case.rounds == ROUNDS[0] {
                case.rounds = ROUNDS[1];
            }
        }
    }
    sets
}

fn small(full: bool) -> Vec<Case> {
    let in_part = Who::PeerInPart(Peer::Manager);
    let far = |id, what, latency| {
        let case = Case::new(id, what, Options::latency(latency), 256);
        let who = vec![
            Who::Raw(256),
            Who::Thetis,
            Who::Engine,
            in_part,
            TUNED,
            S5CMD,
        ];
        case.by(who)
    };
    let incremental = Case {
        known: 90,
        ..Case::new(
            "incremental",
            "many small, of which 90 % are known",
            Options::default(),
            8,
        )
    };
    let faulty = Options {
        faults: Faults {
            seed: 1,
            slow_down: 0.01,
            reset: 0.005,
            expired_at: None,
            ..Faults::default()
        },
        ..Options::latency(20)
    };
    let faulty = Case::new(
        "faults",
        "many small, 20 ms, 1 % SlowDown, 0.5 % resets",
        faulty,
        256,
    );
    let mut cases = vec![
        Case::new("many-small", "many small, HTTP", Options::default(), 8),
        far("many-small-20ms", "many small, 20 ms a request", 20),
        incremental.by(vec![Who::Raw(8), Who::Thetis, Who::Engine]),
        faulty.by(vec![Who::Thetis, TUNED]).rounds(1),
    ];
    if full {
        cases.push(Case::new(
            "many-small-tls",
            "many small, TLS",
            Options::tls(),
            8,
        ));
        cases.push(far("many-small-50ms", "many small, 50 ms a request", 50).rounds(3));
    } else {
        // Only its rate is of interest, and a turn takes it ten seconds.
        cases[1].rounds = 2;
    }
    cases
}

fn tables() -> Case {
    Case::new(
        "many-tables",
        "20 tables of many small, HTTP",
        Options::default(),
        8,
    )
    .by(vec![Who::Raw(8), Who::Thetis, Who::Engine, TUNED])
}

fn mixed(full: bool) -> Vec<Case> {
    let mut cases = vec![Case::new("mixed", "mixed, HTTP", Options::default(), 4)];
    if full {
        cases.push(Case::new("mixed-tls", "mixed, TLS", Options::tls(), 4));
    }
    cases
}

fn large(full: bool) -> Vec<Case> {
    let cold = Case {
        cold: true,
        ..Case::new(
            "cold",
            "few large, HTTP, read from the disk",
            Options::default(),
            2,
        )
    };
    vec![
        Case::new("few-large", "few large, HTTP", Options::default(), 2),
        Case::new("few-large-tls", "few large, TLS", Options::tls(), 8),
        cold.by(vec![Who::Raw(2), Who::Thetis, TUNED])
            .rounds(if full { 3 } else { 1 }),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_case_has_a_name_of_its_own_and_the_limit_beside_it() {
        for full in [false, true] {
            let sets = all(full);
            let cases: Vec<_> = sets.iter().flat_map(|(_, cases)| cases).collect();
            let ids: BTreeSet<_> = cases.iter().map(|case| case.id).collect();
            assert_eq!(ids.len(), cases.len());
            let raw = |case: &&&Case| matches!(case.who[0], Who::Raw(_));
            assert_eq!(
                cases.iter().filter(raw).count(),
                cases.len() - 1,
                "all but faults"
            );
        }
    }
}
