//! A restore, from step to step.

use protocol::{
    Event, Fact, Job, Method, RestoreProven, Restored, RunStatus, SchemaPrepared, SchemaSettled,
    TableMethod,
};
use workflow::{Input, Run};

use crate::case::{
    Case, balancing, batches, bound, building, event, failed, found, labels, loaded, plan_of,
    prepared, restore_spec, run_id, schema, sealed, settled,
};

#[test]
fn a_restore_goes_from_step_to_step() {
    let mut case = Case::restore();
    assert_eq!(
        (case.due(), case.stage().as_str()),
        (vec!["inspect n1".to_owned()], "INIT")
    );
    case.tell(1, Fact::Inspected(found(2, true)));
    assert_eq!(
        (case.due(), case.stage().as_str()),
        (vec!["plan_restore n1".to_owned()], "PLAN")
    );
    case.tell(1, batches(&[("dc1", 2)]));
    assert_eq!(
        (case.due(), case.stage().as_str()),
        (vec!["prepare_schema n1".to_owned()], "SCHEMA")
    );
    case.tell(1, schema(true));
    assert_eq!(case.due(), ["set_balancing n1 off"]);
    case.tell(1, balancing(false));
    assert_eq!(case.due(), ["prepare_node n1", "prepare_node n2"]);
    assert_eq!(case.stage(), "PREPARE");
    case.tell(2, prepared());
    assert_eq!(case.due(), ["prepare_node n1"]);
    case.tell(1, prepared());
    assert_eq!(case.due(), ["load_batch dc1 #0", "load_batch dc1 #1"]);
    assert_eq!(case.stage(), "DATA");
    case.tell(2, loaded(1));
    assert_eq!(case.due(), ["load_batch dc1 #0"]);
    case.tell(2, loaded(0));
    assert_eq!(
        (case.due(), case.stage().as_str()),
        (vec!["settle_schema n1".to_owned()], "VIEWS")
    );
    case.tell(1, settled());
    assert_eq!(
        case.due(),
        ["put_back n1", "put_back n2", "set_balancing n1 on"]
    );
    assert_eq!(case.stage(), "PUT_BACK");
    case.tell(1, balancing(true));
    case.tell(1, Fact::NodePutBack);
    assert_eq!(
        (case.due(), case.run.status()),
        (vec!["put_back n2".to_owned()], RunStatus::Running)
    );
    case.tell(2, Fact::NodePutBack);
    assert_eq!(case.end(), (RunStatus::Done, String::new()));
    assert_eq!((case.due(), case.stage().as_str()), (Vec::new(), "DONE"));
    let report = case.run.report();
    assert_eq!(
        (
            report.restored,
            report.size,
            report.parts_done,
            report.parts
        ),
        (200, 400, 2, 2)
    );
    assert_eq!(
        (report.hosts[1].restored, report.hosts[1].download_ms),
        (200, 10)
    );
}

#[test]
fn batches_that_are_bound_go_to_their_nodes_only() {
    let mut case = Case::restore();
    case.tell(1, Fact::Inspected(found(2, true)));
    case.tell(1, bound(&[(1, 1), (2, 2)]));
    case.tell(1, schema(false));
    case.tell(1, prepared());
    case.tell(2, prepared());
    assert_eq!(
        case.due(),
        [
            "load_batch n1 dc1 #0",
            "load_batch n2 dc1 #1",
            "load_batch n2 dc1 #2"
        ]
    );
    case.tell(2, loaded(1));
    case.tell(1, loaded(0));
    assert_eq!(case.due(), ["load_batch n2 dc1 #2"]);
    // Whose failure it is depends on whose batch it is.
    case.tell(1, failed("load_batch", 2));
    assert_eq!(case.run.status(), RunStatus::Running);
    case.tell(2, failed("load_batch", 2));
    case.tell_all(1..=2, &Fact::NodePutBack);
    let (status, cause) = case.end();
    assert_eq!(status, RunStatus::Error);
    assert!(cause.contains("failed at load_batch of batch 2"), "{cause}");
}

#[test]
fn a_plan_that_binds_a_node_twice_or_an_unknown_one_is_refused() {
    for plan in [bound(&[(1, 1), (1, 2)]), bound(&[(1, 1), (9, 2)])] {
        let mut case = Case::restore();
        case.tell(1, Fact::Inspected(found(2, true)));
        case.tell(1, plan);
        let (status, cause) = case.end();
        assert_eq!(status, RunStatus::Error);
        assert!(cause.contains("contradicts itself"), "{cause}");
    }
}

#[test]
fn balancing_is_left_alone_by_who_brings_tables_by_tablets() {
    let mut case = Case::restore();
    case.tell(1, Fact::Inspected(found(2, true)));
    let Fact::RestorePlanned(mut plan) = batches(&[("dc1", 1)]) else {
        unreachable!("that is what it is")
    };
    plan.methods = vec![TableMethod {
        table: plan.tables[0].table.clone(),
        method: Method::Tablets,
        reason: "asked for".to_owned(),
    }];
    case.tell(1, Fact::RestorePlanned(plan));
    case.tell(1, schema(true));
    assert_eq!(case.due(), ["prepare_node n1", "prepare_node n2"]);
}

#[test]
fn balancing_is_left_alone_where_no_table_to_be_restored_is_on_tablets() {
    let mut case = Case::restore();
    case.tell(1, Fact::Inspected(found(1, true)));
    case.tell(1, batches(&[("dc1", 1)]));
    case.tell(1, schema(false));
    assert_eq!(case.due(), ["prepare_node n1"]);
}

#[test]
fn each_datacenter_loads_its_own_batches() {
    let mut found = found(3, false);
    found.nodes[2].dc = "dc2".to_owned();
    let mut case = Case::restore();
    case.tell(1, Fact::Inspected(found));
    let due = case.run.due();
    let [Job::PlanRestore(job)] = due.as_slice() else {
        panic!("{due:?}")
    };
    let dcs: Vec<(&str, u32)> = job
        .dcs
        .iter()
        .map(|dc| (dc.dc.as_str(), dc.nodes))
        .collect();
    assert_eq!(dcs, [("dc1", 2), ("dc2", 1)]);
    case.tell(1, batches(&[("dc1", 1), ("dc2", 2)]));
    case.tell(1, schema(false));
    case.tell_all(1..=3, &prepared());
    assert_eq!(
        case.due(),
        [
            "load_batch dc1 #0",
            "load_batch dc2 #1",
            "load_batch dc2 #2"
        ]
    );
    case.tell(3, loaded(1));
    assert_eq!(case.due(), ["load_batch dc1 #0", "load_batch dc2 #2"]);
}

/// Why a restore fails whose inspection and plan are these.
fn error(found: protocol::Inspected, plan: Option<Fact>) -> String {
    let mut case = Case::restore();
    case.tell(1, Fact::Inspected(found));
    if let Some(plan) = plan {
        case.tell(1, plan);
    }
    assert_eq!(
        (case.run.status(), case.due()),
        (RunStatus::Error, Vec::new())
    );
    case.end().1
}

#[test]
fn a_restore_that_cannot_begin_says_why() {
    let mut down = found(3, false);
    down.nodes[1].up = false;
    let text = "a restore needs every node of the cluster it goes to";
    assert_eq!(error(down.clone(), None), format!("n2 is down: {text}"));
    down.nodes[2].up = false;
    assert_eq!(error(down, None), format!("n2 is down, and 1 more: {text}"));
    assert_eq!(
        error(found(0, false), None),
        "the cluster to restore into has no nodes"
    );
    let mut twice = found(2, false);
    twice.nodes[0].node = twice.nodes[1].node;
    assert_eq!(error(twice, None), "the inspection names n2 twice");
    let mut spec = restore_spec();
    spec.request.location.clear();
    let mut nowhere = Case::of(Run::restore(spec));
    nowhere.tell(1, Fact::Inspected(found(1, false)));
    assert_eq!(nowhere.end().1, "no location says where the backup lies");
}

#[test]
fn a_restore_of_nothing_is_an_error() {
    let text = "nothing to restore: backup sm_20260101000000UTC holds no data";
    assert_eq!(error(found(2, true), Some(batches(&[]))), text);
    assert_eq!(error(found(2, true), Some(batches(&[("dc1", 0)]))), text);
    let mut spec = restore_spec();
    spec.request.keyspace = vec!["shop".to_owned(), "!shop.tmp".to_owned()];
    let mut case = Case::of(Run::restore(spec));
    case.tell(1, Fact::Inspected(found(1, false)));
    case.tell(1, batches(&[]));
    assert_eq!(
        case.end(),
        (RunStatus::Error, format!("{text} of shop, !shop.tmp"))
    );
}

#[test]
fn a_plan_that_contradicts_itself_is_an_error() {
    let unknown = error(found(2, false), Some(batches(&[("dc1", 1), ("dc9", 2)])));
    let text = "the restore's plan contradicts itself: 2 batches from 1 on for datacenter dc9, where \
                number 1 was next";
    assert_eq!(unknown, text);
    for (first, count) in [(1, 1), (0, u32::MAX), (u32::MAX, 1)] {
        let Fact::RestorePlanned(mut plan) = batches(&[("dc1", 1)]) else {
            unreachable!()
        };
        (plan.dcs[0].first, plan.dcs[0].count) = (first, count);
        let cause = error(found(2, false), Some(Fact::RestorePlanned(plan)));
        assert!(cause.contains("contradicts itself"), "{cause}");
    }
}

#[test]
fn a_failed_batch_fails_the_run_and_everything_is_put_back() {
    let mut case = Case::loading();
    case.tell(2, failed("load_batch", 1));
    assert_eq!(case.run.status(), RunStatus::Running);
    assert_eq!(
        case.due(),
        ["put_back n1", "put_back n2", "set_balancing n1 on"]
    );
    case.tell_all(1..=2, &Fact::NodePutBack);
    case.tell(1, balancing(true));
    let cause = format!(
        "n2 failed at load_batch of batch 1: the disk is full; {}",
        left("are")
    );
    assert_eq!(case.end(), (RunStatus::Error, cause));
}

#[test]
fn before_anything_was_prepared_nothing_is_put_back() {
    let mut case = Case::restore();
    case.tell(1, Fact::Inspected(found(2, true)));
    case.tell(1, failed("plan_restore", 0));
    assert_eq!(
        case.end(),
        (
            RunStatus::Error,
            "n1 failed at plan_restore: the disk is full".to_owned()
        )
    );
}

#[test]
fn a_restore_can_be_stopped_until_all_is_loaded() {
    let mut case = Case::loading();
    assert!(case.stop());
    assert!(!case.stop());
    assert_eq!(case.run.status(), RunStatus::Stopping);
    assert_eq!(
        case.due(),
        ["put_back n1", "put_back n2", "set_balancing n1 on"]
    );
    case.tell(1, loaded(0));
    case.tell_all(1..=2, &Fact::NodePutBack);
    case.tell(1, balancing(true));
    assert_eq!(case.end(), (RunStatus::Stopped, left("are")));
    assert_eq!(
        case.run.report().parts_done,
        1,
        "what was loaded while stopping counts"
    );

    let mut late = Case::putting_back();
    assert!(!late.stop());
    late.tell_all(1..=2, &Fact::NodePutBack);
    late.tell(1, balancing(true));
    assert_eq!(late.run.status(), RunStatus::Done);
}

/// What a run leaves that is over before its end.
fn left(may: &str) -> String {
    format!(
        "views and indexes of the restored tables {may} dropped and their tombstones kept until the restore is \
         continued, or given up with `thetis restore undo {}`",
        run_id(1)
    )
}

#[test]
fn a_schema_that_does_not_fit_changes_nothing() {
    let mut case = Case::restore();
    case.tell(1, Fact::Inspected(found(2, true)));
    case.tell(1, batches(&[("dc1", 2)]));
    let objection = "shop.orders has a column less".to_owned();
    case.tell(
        1,
        Fact::SchemaPrepared(SchemaPrepared {
            objection: Some(objection.clone()),
            ..SchemaPrepared::default()
        }),
    );
    assert_eq!(case.end(), (RunStatus::Error, objection));

    // Whoever fails at it may have begun.
    let mut case = Case::restore();
    case.tell(1, Fact::Inspected(found(2, true)));
    case.tell(1, batches(&[("dc1", 2)]));
    case.tell(1, failed("prepare_schema", 0));
    let cause = format!(
        "n1 failed at prepare_schema: the disk is full; {}",
        left("may be")
    );
    assert_eq!(case.end(), (RunStatus::Error, cause));

    let mut case = Case::restore();
    case.tell(1, Fact::Inspected(found(2, true)));
    case.tell(1, batches(&[("dc1", 2)]));
    case.stop();
    assert_eq!(case.end(), (RunStatus::Stopped, left("may be")));
}

#[test]
fn a_schema_alone_needs_no_plan() {
    let mut spec = restore_spec();
    spec.request.what = Restored::Schema;
    let mut case = Case::of(Run::restore(spec));
    case.tell(1, Fact::Inspected(found(2, true)));
    assert_eq!(case.due(), ["prepare_schema n1"]);
    case.tell(1, schema(true));
    assert_eq!(case.due(), ["settle_schema n1"]);
    case.tell(1, settled());
    case.tell_all(1..=2, &Fact::NodePutBack);
    assert_eq!(case.end(), (RunStatus::Done, String::new()));
}

#[test]
fn views_may_take_long_to_build_but_not_for_ever() {
    let mut case = Case::loading();
    for batch in 0..3 {
        case.tell(1, loaded(batch));
    }
    let before = case.run.clone();
    assert!(case.tell(1, building(2)));
    assert_eq!(labels(&case.run.jobs_after(&before)), ["settle_schema n1"]);
    for _ in 0..100 {
        case.tick(3_600, &[]);
        case.tell(1, building(1));
    }
    assert_eq!(case.due(), ["settle_schema n1"]);
    for _ in 0..100 {
        case.tick(3_600, &[]);
        case.tell(1, building(1));
    }
    let (_, cause) = case.end();
    let text = "1 views and indexes are not built after 168 h";
    assert!(cause.starts_with(text), "{cause}");
}

#[test]
fn an_undo_puts_everything_back_and_restores_nothing() {
    let mut spec = restore_spec();
    (spec.request.undo, spec.origin, spec.unsettled) = (Some(run_id(7)), run_id(7), true);
    let mut down = found(2, true);
    down.nodes[1].up = false;
    let mut case = Case::of(Run::restore(spec));
    case.tell(1, Fact::Inspected(down));
    let due = case.run.due();
    let [Job::SettleSchema(job)] = due.as_slice() else {
        panic!("{due:?}")
    };
    assert_eq!((job.origin, job.undo), (run_id(7), true));
    case.tell(1, settled());
    assert_eq!(
        case.due(),
        ["put_back n1", "put_back n2", "set_balancing n1 on"]
    );
    case.tell_all(1..=2, &Fact::NodePutBack);
    case.tell(1, balancing(true));
    assert_eq!(case.end(), (RunStatus::Done, String::new()));
}

#[test]
fn an_event_told_again_changes_nothing() {
    let mut case = Case::restore();
    let history = [
        (1, Fact::Inspected(found(2, true))),
        (1, batches(&[("dc1", 2)])),
        (1, schema(true)),
        (1, balancing(false)),
        (1, prepared()),
        (2, prepared()),
        (1, loaded(0)),
        (2, loaded(1)),
        (1, settled()),
        (1, Fact::NodePutBack),
        (2, Fact::NodePutBack),
        (1, balancing(true)),
    ];
    for (step, (number, fact)) in history.iter().enumerate() {
        assert!(case.tell(*number, fact.clone()), "step {step} is news");
        let once = case.clone();
        for (number, fact) in &history[..=step] {
            // What is changed again after it was put back is news indeed: see `tidy`.
            if step < 8 || (*fact != balancing(false) && *fact != prepared()) {
                assert!(
                    !case.tell(*number, fact.clone()),
                    "{fact:?} again after step {step}"
                );
            }
        }
        assert_eq!(case.run, once.run);
    }
}

#[test]
fn events_that_come_before_their_time_are_passed_over() {
    let mut case = Case::restore();
    for fact in [
        batches(&[("dc1", 2)]),
        prepared(),
        loaded(0),
        Fact::NodePutBack,
    ] {
        assert!(!case.tell(1, fact));
    }
    case.tell(1, Fact::Inspected(found(1, false)));
    for fact in [prepared(), loaded(0), Fact::NodePutBack] {
        assert!(!case.tell(1, fact));
    }
    assert_eq!(case.due(), ["plan_restore n1"]);
}

#[test]
fn what_no_history_explains_is_counted() {
    let mut case = Case::loading();
    for fact in [
        loaded(3),
        loaded(u32::MAX),
        plan_of(1),
        sealed(),
        Fact::SnapshotTaken,
    ] {
        assert!(case.tell(1, fact));
    }
    assert!(case.tell(9, prepared()));
    assert_eq!(
        (case.run.report().impossible, case.run.status()),
        (6, RunStatus::Running)
    );
}

#[test]
fn only_what_is_newly_due_has_to_be_published() {
    let mut case = Case::loading();
    let before = case.run.clone();
    case.tell(1, loaded(0));
    assert_eq!(labels(&case.run.jobs_after(&before)), Vec::<String>::new());
    assert_eq!(case.due(), ["load_batch dc1 #1", "load_batch dc1 #2"]);
}

#[test]
fn a_restore_goes_on_with_the_plan_it_had() {
    let mut case = Case::restore();
    case.tell(1, Fact::Inspected(found(1, false)));
    case.stop();
    let mut next = case
        .run
        .resume(run_id(2), 9_000_000)
        .expect("it was stopped");
    let inspected = Event {
        run: run_id(2),
        ..event(1, Fact::Inspected(found(1, false)))
    };
    next.apply(&Input::Event(&inspected));
    let due = next.due();
    let [Job::PlanRestore(job)] = due.as_slice() else {
        panic!("{due:?}")
    };
    assert_eq!((job.run, job.origin), (run_id(2), run_id(1)));
}

/// A drill of two nodes that has loaded all.
fn drill() -> Case {
    let mut spec = restore_spec();
    spec.request.drill = true;
    let mut case = Case::of(Run::restore(spec));
    case.tell(1, Fact::Inspected(found(2, false)));
    case.tell(1, batches(&[("dc1", 1)]));
    case.tell(1, schema(false));
    case.tell_all(1..=2, &prepared());
    case.tell(1, loaded(0));
    case
}

fn scrapped() -> Fact {
    Fact::SchemaSettled(SchemaSettled {
        scrapped: true,
        ..SchemaSettled::default()
    })
}

#[test]
fn a_drill_is_read_and_then_it_goes() {
    let mut case = drill();
    case.tell(1, settled());
    assert_eq!(
        (case.due(), case.stage().as_str()),
        (vec!["prove_restore n1".to_owned()], "PROVE")
    );
    case.tell(
        1,
        Fact::RestoreProven(RestoreProven {
            tables: 3,
            rows: 120,
        }),
    );
    assert_eq!(
        case.due(),
        ["put_back n1", "put_back n2", "settle_schema n1"]
    );
    case.tell_all(1..=2, &Fact::NodePutBack);
    // A late word of what was settled before is none that it is gone.
    assert!(!case.tell(1, settled()));
    assert_eq!(case.run.status(), RunStatus::Running);
    case.tell(1, scrapped());
    let read = "120 rows of 3 tables were restored and read".to_owned();
    assert_eq!(case.end(), (RunStatus::Done, read));
}

#[test]
fn a_drill_that_fails_goes_too_or_says_what_is_left() {
    let mut case = drill();
    case.tell(1, failed("settle_schema", 0));
    let due = case.run.due();
    let scraps = |job: &Job| matches!(job, Job::SettleSchema(job) if job.scrap && job.undo);
    assert!(due.iter().any(scraps), "{due:?}");
    case.tell_all(1..=2, &Fact::NodePutBack);
    let mut gone = case.clone();
    gone.tell(1, scrapped());
    let cause = "n1 failed at settle_schema: the disk is full".to_owned();
    assert_eq!(gone.end(), (RunStatus::Error, cause));
    for _ in 0..1_000 {
        case.tell(1, failed("settle_schema", 0));
        case.tick(30, &[]);
    }
    let (status, cause) = case.end();
    assert_eq!(status, RunStatus::Error);
    assert!(
        cause.contains("keyspaces of the drill may be left"),
        "{cause}"
    );
}
