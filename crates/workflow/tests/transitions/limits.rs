//! Every wait has a limit, and says whose it was.

use protocol::{Fact, RunStatus, WorkerKind};
use workflow::limit;

use crate::case::{
    Case, balancing, batches, chunk, failed, found, loaded, prepared, purged, schema,
};

const SNAPSHOT: WorkerKind = WorkerKind::Snapshot;
const UPLOAD: WorkerKind = WorkerKind::Upload;
const RESTORE: WorkerKind = WorkerKind::Restore;

/// A case that has come to each step, what is said when its time is up, and its time.
fn steps() -> Vec<(Case, &'static str, u64)> {
    let at = |case: Case, facts: Vec<(u64, Fact)>| {
        facts.into_iter().fold(case, |mut case, (number, fact)| {
            case.tell(number, fact);
            case
        })
    };
    let (vnodes, tablets) = (
        Fact::Inspected(found(2, false)),
        Fact::Inspected(found(2, true)),
    );
    let stored = (1, Fact::SchemaStored);
    let snapshot = at(Case::backup(), vec![(1, vnodes.clone()), stored.clone()]);
    let one = at(snapshot.clone(), vec![(2, Fact::SnapshotTaken)]);
    let index = at(one.clone(), vec![(1, Fact::SnapshotTaken)]);
    let plan = at(Case::restore(), vec![(1, vnodes)]);
    let ready = at(plan.clone(), vec![(1, batches(&[("dc1", 1)]))]);
    let prepare = at(ready.clone(), vec![(1, schema(false))]);
    let half = at(prepare.clone(), vec![(1, prepared())]);
    vec![
        (
            Case::backup(),
            "n1 did not say what the cluster looks like within 2 min",
            limit::INSPECT_MS,
        ),
        (
            snapshot,
            "n1 did not take its snapshot within 30 min",
            limit::SNAPSHOT_MS,
        ),
        (
            one,
            "n1 did not take its snapshot within 30 min",
            limit::SNAPSHOT_MS,
        ),
        (
            index,
            "n1 did not plan its upload within 1 h",
            limit::INDEX_MS,
        ),
        (
            Case::uploading(),
            "n1 uploaded nothing within 2 h",
            limit::UPLOAD_MS,
        ),
        (
            Case::sealing(),
            "n1 did not publish its manifest within 30 min",
            limit::SEAL_MS,
        ),
        (
            Case::restore(),
            "n1 did not say what the cluster looks like within 2 min",
            limit::INSPECT_MS,
        ),
        (
            plan,
            "n1 did not plan the restore within 1 h",
            limit::PLAN_MS,
        ),
        (
            ready,
            "n1 did not make the schema ready for the restore within 2 h",
            limit::PREPARE_SCHEMA_MS,
        ),
        (
            half,
            "n2 was not made ready for the restore within 30 min",
            limit::PREPARE_MS,
        ),
        (
            prepare,
            "n1 was not made ready for the restore within 30 min",
            limit::PREPARE_MS,
        ),
        (
            Case::loading(),
            "datacenter dc1 loaded nothing within 2 h",
            limit::LOAD_MS,
        ),
        (
            at(Case::backup(), vec![(1, tablets), stored]),
            "n1 did not switch tablet balancing off within 30 min",
            limit::BALANCING_OFF_MS,
        ),
    ]
}

/// Why the run ends, without what it leaves.
fn told(case: &Case) -> String {
    let (_, cause) = case.end();
    let left = cause.find("; views and indexes of the restored tables");
    cause[..left.unwrap_or(cause.len())].to_owned()
}

#[test]
fn the_schema_may_be_lacking_in_a_backup() {
    let mut case = Case::backup();
    case.tell(1, Fact::Inspected(found(2, false)));
    assert_eq!(case.due(), ["store_schema n1"]);
    let mut failing = case.clone();
    failing.tell(1, failed("store_schema", 0));
    case.tick(limit::STORE_SCHEMA_MS / 1_000, &[]);
    for (case, why) in [
        (&failing, "the disk is full"),
        (&case, "n1 did not store the schema within 10 min"),
    ] {
        assert_eq!(case.due(), ["take_snapshot n1", "take_snapshot n2"]);
        let remark = format!("the schema is not in this backup: {why}");
        assert_eq!(case.end(), (RunStatus::Running, remark));
    }
}

#[test]
fn a_step_that_takes_too_long_fails_the_run_and_is_named() {
    for (mut case, cause, limit_ms) in steps() {
        case.tick(limit_ms / 1_000 - 1, &[]);
        assert_eq!(case.run.cause(), "", "{cause}: not yet");
        case.tick(1, &[]);
        assert_eq!(told(&case), cause);
        // What is to be put back now is never answered.
        case.tick(3_700, &[]);
        assert_eq!(case.run.status(), RunStatus::Error, "{cause}");
    }
}

#[test]
fn progress_gives_more_time() {
    let mut case = Case::uploading();
    case.tick(7_000, &[]);
    case.tell(1, chunk(0));
    case.tell(2, chunk(0));
    case.tick(7_000, &[]);
    assert_eq!(case.run.status(), RunStatus::Running);
    case.tell(1, chunk(1));
    case.tick(500, &[]);
    assert_eq!(
        case.end(),
        (
            RunStatus::Error,
            "n2 uploaded nothing within 2 h".to_owned()
        )
    );
    let mut case = Case::loading();
    case.tick(7_000, &[]);
    case.tell(1, loaded(0));
    case.tick(7_000, &[]);
    assert_eq!(case.run.cause(), "");
}

#[test]
fn a_node_that_waited_for_others_has_its_whole_time() {
    let mut case = Case::uploading();
    case.tell(1, chunk(0));
    case.tell(1, chunk(1));
    for number in 0..2 {
        case.tick(7_000, &[]);
        case.tell(2, chunk(number));
    }
    case.tick(1_000, &[]);
    assert_eq!(
        (case.due(), case.run.cause()),
        (vec!["seal n1".to_owned(), "seal n2".to_owned()], "")
    );
}

#[test]
fn a_scheduler_that_was_away_passes_no_limit() {
    let mut case = Case::uploading();
    case.now_ms += 30 * 24 * 3_600_000;
    case.tick(60, &[]);
    assert_eq!(case.run.cause(), "");
}

#[test]
fn a_worker_that_stays_away_fails_the_run() {
    let mut snapshot = Case::backup();
    snapshot.inspect(found(2, false));
    let mut plan = Case::restore();
    plan.tell(1, Fact::Inspected(found(2, false)));
    let mut prepare = plan.clone();
    prepare.tell(1, batches(&[("dc1", 1)]));
    prepare.tell(1, schema(false));
    let cases = [
        (
            Case::backup(),
            (1, SNAPSHOT),
            30,
            "no snapshot-worker on n1 for 30 s",
        ),
        (
            snapshot,
            (2, SNAPSHOT),
            90,
            "no snapshot-worker on n2 for 90 s",
        ),
        (
            Case::uploading(),
            (2, UPLOAD),
            90,
            "no uploader on n2 for 90 s",
        ),
        (
            Case::sealing(),
            (1, UPLOAD),
            90,
            "no uploader on n1 for 90 s",
        ),
        (plan, (1, RESTORE), 90, "no restore-worker on n1 for 90 s"),
        (
            prepare,
            (2, RESTORE),
            90,
            "no restore-worker on n2 for 90 s",
        ),
    ];
    for (mut case, absent, seconds, cause) in cases {
        case.tick(seconds - 10, &[absent]);
        case.tick(10, &[]);
        case.tick(seconds - 10, &[absent]);
        assert_eq!(case.run.cause(), "", "{cause}: it was back in between");
        case.tick(10, &[absent]);
        assert_eq!(told(&case), format!("{cause}: start `thetis node` there"));
    }
}

#[test]
fn an_absent_worker_that_nobody_needs_is_no_matter() {
    let mut case = Case::uploading();
    case.tick(
        1_000,
        &[(1, SNAPSHOT), (2, SNAPSHOT), (1, RESTORE), (9, UPLOAD)],
    );
    assert_eq!(case.run.cause(), "");
}

#[test]
fn a_datacenter_loads_as_long_as_one_of_its_nodes_can() {
    let mut case = Case::loading();
    case.tick(1_000, &[(1, RESTORE)]);
    assert_eq!(case.run.cause(), "");
    case.tick(90, &[(1, RESTORE), (2, RESTORE)]);
    let cause = "no restore-worker on datacenter dc1 for 90 s: start `thetis node` there";
    assert_eq!(told(&case), cause);
}

#[test]
fn a_snapshot_nobody_can_drop_is_left_with_a_remark() {
    let mut absent = Case::dropping();
    absent.tell(1, Fact::SnapshotDropped);
    absent.tick(100, &[(2, SNAPSHOT)]);
    absent.tell(1, purged());
    let cause = "the snapshot stays on n2 until the next backup: no snapshot-worker on n2 for 90 s: \
                 start `thetis node` there";
    assert_eq!(absent.end(), (RunStatus::Done, cause.to_owned()));
    let mut late = Case::dropping();
    late.tell(1, Fact::SnapshotDropped);
    late.tick(600, &[]);
    late.tell(1, purged());
    let cause = "the snapshot stays on n2 until the next backup: n2 did not delete its snapshot within 10 min";
    assert_eq!(late.end(), (RunStatus::Done, cause.to_owned()));
}

#[test]
fn all_workers_that_matter_are_asked_after() {
    let needs = |case: &Case| case.run.needs().len();
    assert_eq!(needs(&Case::backup()), 1);
    assert_eq!(needs(&Case::uploading()), 2);
    assert_eq!(
        needs(&Case::loading()),
        2,
        "a datacenter's batches need its nodes"
    );
    let mut case = Case::backup();
    case.inspect(found(5, true));
    assert_eq!(needs(&case), 5, "any node can switch balancing");
    case.tell(1, balancing(false));
    assert_eq!(needs(&case), 5);
    case.stop();
    case.tell(1, balancing(true));
    assert_eq!(needs(&case), 0);
}
