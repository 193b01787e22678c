//! The value itself: small, readable again, and never surprised.

use proptest::{prelude::*, test_runner::RngSeed};
use protocol::{Fact, RunStatus, WorkerKind};
use workflow::{Input, Run};

use crate::case::{
    Case, balancing, batches, chunk, event, failed, found, loaded, node, plan_of, prepared, sealed,
};

#[test]
fn a_run_of_a_large_cluster_is_small() {
    let mut case = Case::backup();
    let mut cluster = found(300, true);
    cluster.units[0].tables = (0..500).map(|table| format!("table_{table}")).collect();
    case.inspect(cluster);
    case.tell(1, balancing(false));
    case.tell_all(1..=300, &Fact::SnapshotTaken);
    case.tell_all(1..=300, &plan_of(1_000));
    for number in (0..1_000).step_by(3) {
        case.tell_all(1..=300, &chunk(number));
    }
    let bytes = rmp_serde::to_vec_named(&case.run)
        .expect("a run can be packed")
        .len();
    assert!(
        bytes < 300_000,
        "{bytes} bytes for 300 nodes with 300,000 chunks"
    );
    assert_eq!(case.run.due().len(), 300 * 666 + 1);
}

fn facts() -> impl Strategy<Value = Fact> {
    let part = prop_oneof![0..4_u32, Just(u32::MAX), Just(workflow::limit::PARTS + 1)];
    let job = prop::sample::select(vec![
        "inspect",
        "set_balancing",
        "take_snapshot",
        "index",
        "upload",
        "seal",
        "drop_snapshot",
        "plan_restore",
        "prepare_node",
        "load_batch",
        "put_back",
        "nonsense",
    ]);
    prop_oneof![
        (0..4_u64, any::<bool>())
            .prop_map(|(nodes, tablets)| Fact::Inspected(found(nodes, tablets))),
        Just(Fact::Inspected(found(3, true))),
        any::<bool>().prop_map(balancing),
        Just(Fact::SnapshotTaken),
        part.clone().prop_map(plan_of),
        Just(plan_of(1)),
        part.clone().prop_map(chunk),
        Just(sealed()),
        Just(Fact::SnapshotDropped),
        (0..4_u32, 0..4_u32).prop_map(|(one, two)| batches(&[("dc1", one), ("dc2", two)])),
        Just(batches(&[("dc1", 2)])),
        Just(prepared()),
        part.clone().prop_map(loaded),
        Just(Fact::NodePutBack),
        (job, part).prop_map(|(job, part)| failed(job, part)),
        Just(Fact::RunStarted),
    ]
}

#[derive(Clone, Debug)]
enum Move {
    Tell(u64, Fact),
    Tick(u64, Vec<(u64, WorkerKind)>),
    Stop,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let kind = prop::sample::select(vec![
        WorkerKind::Snapshot,
        WorkerKind::Upload,
        WorkerKind::Restore,
    ]);
    let absent = prop::collection::vec((1..5_u64, kind), 0..4);
    let one = prop_oneof![
        20 => (1..5_u64, facts()).prop_map(|(number, fact)| Move::Tell(number, fact)),
        3 => (0..200_000_u64, absent).prop_map(|(ms, absent)| Move::Tick(ms, absent)),
        1 => Just(Move::Stop),
    ];
    prop::collection::vec(one, 0..60)
}

/// Makes a move, and checks what is true after every move.
fn make(run: &mut Run, now_ms: &mut u64, one: &Move) {
    let (before, strange) = (run.clone(), run.report().impossible);
    let changed = match one {
        Move::Tell(number, fact) => {
            let event = event(*number, fact.clone());
            let changed = run.apply(&Input::Event(&event));
            let once = run.clone();
            let again = run.apply(&Input::Event(&event));
            // A pause begins anew with each proof that something was changed again.
            if run.report().impossible == strange {
                assert!(!again, "{fact:?} told twice");
                assert_eq!(*run, once);
            }
            changed
        }
        Move::Tick(ms, absent) => {
            *now_ms += ms;
            let absent = absent
                .iter()
                .map(|(number, kind)| (node(*number), *kind))
                .collect();
            run.apply(&Input::Tick {
                now_ms: *now_ms,
                absent: &absent,
            });
            true
        }
        Move::Stop => run.apply(&Input::Stop),
    };
    assert_eq!(
        changed,
        *run != before || matches!(one, Move::Tick(..)),
        "{one:?}"
    );
    let due = run.due();
    let after = run.jobs_after(&before);
    assert!(
        after.iter().all(|job| due.contains(job)),
        "what is new is due"
    );
    if run.status().ended() {
        assert!(due.is_empty());
        assert!(run.status() != RunStatus::Error || !run.cause().is_empty());
        assert!(run.report().ended_ms.is_some());
    }
    let text = serde_json::to_string(run).expect("a run can be written");
    assert_eq!(
        serde_json::from_str::<Run>(&text).expect("a written run can be read"),
        *run
    );
}

proptest! {
    // The same cases each time; another `rng_seed` gives others.
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_surprises_a_run(moves in moves(), restore: bool) {
        let case = if restore { Case::restore() } else { Case::backup() };
        let (mut run, mut now_ms) = (case.run, case.now_ms);
        for one in &moves {
            make(&mut run, &mut now_ms, one);
        }
        // Left alone, it ends: within all its limits, one after the other.
        let absent = std::collections::BTreeSet::new();
        for _ in 0..2_000 {
            now_ms += 25_000;
            run.apply(&Input::Tick { now_ms, absent: &absent });
        }
        prop_assert!(run.status().ended(), "{run:#?}");
    }
}
