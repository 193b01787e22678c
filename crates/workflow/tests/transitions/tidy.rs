//! What was changed is put back, however the run ends.

use protocol::{Fact, RunStatus, WorkerKind};
use workflow::{Run, Spec, survives_stop};

use crate::case::{
    Case, backup_spec, balancing, batches, event, failed, found, labels, prepared, restore_spec,
    run_id, schema,
};

const SNAPSHOT: WorkerKind = WorkerKind::Snapshot;
const RESTORE: WorkerKind = WorkerKind::Restore;

/// A backup of three nodes, while balancing is off.
fn balancing_off() -> Case {
    let mut case = Case::backup();
    case.inspect(found(3, true));
    case.tell(1, balancing(false));
    case
}

#[test]
fn balancing_is_on_again_when_a_run_fails() {
    let mut case = balancing_off();
    case.tell(2, failed("take_snapshot", 0));
    assert_eq!(case.due(), ["set_balancing n1 on"]);
    assert_eq!(case.run.status(), RunStatus::Running);
    case.tell(1, balancing(true));
    assert_eq!(
        case.end(),
        (
            RunStatus::Error,
            "n2 failed at take_snapshot: the disk is full".to_owned()
        )
    );
}

#[test]
fn balancing_is_on_again_when_a_run_is_stopped() {
    let mut case = balancing_off();
    case.stop();
    assert_eq!(
        (case.due(), case.run.status()),
        (vec!["set_balancing n1 on".to_owned()], RunStatus::Stopping)
    );
    case.tell(1, balancing(true));
    assert_eq!(case.run.status(), RunStatus::Stopped);
}

#[test]
fn balancing_that_may_be_off_is_put_on() {
    let mut asked = Case::backup();
    asked.inspect(found(2, true));
    let mut refused = asked.clone();
    asked.stop();
    assert_eq!(asked.due(), ["set_balancing n1 on"]);
    refused.tell(1, failed("set_balancing", 0));
    assert_eq!(refused.due(), ["set_balancing n1 on"]);
    refused.tell(1, balancing(true));
    assert_eq!(
        refused.end(),
        (
            RunStatus::Error,
            "n1 failed at set_balancing: the disk is full".to_owned()
        )
    );
}

#[test]
fn a_node_that_cannot_switch_balancing_off_for_want_of_a_worker_is_passed_over() {
    let mut case = Case::backup();
    case.inspect(found(2, true));
    case.tick(90, &[(1, SNAPSHOT)]);
    assert_eq!(case.due(), ["set_balancing n2 off"]);
    case.tick(90, &[(1, SNAPSHOT), (2, SNAPSHOT)]);
    assert_eq!(
        case.end().1,
        "no snapshot-worker on n2 for 90 s: start `thetis node` there"
    );
}

#[test]
fn a_node_that_is_absent_is_not_told_to_switch_balancing_on() {
    let mut case = balancing_off();
    case.stop();
    let before = case.run.clone();
    case.tick(10, &[(1, SNAPSHOT)]);
    assert_eq!(
        labels(&case.run.jobs_after(&before)),
        ["set_balancing n2 on"]
    );
    case.tick(10, &[(1, SNAPSHOT), (2, SNAPSHOT)]);
    assert_eq!(case.due(), ["set_balancing n3 on"]);
    case.tell(3, balancing(true));
    assert_eq!(case.run.status(), RunStatus::Stopped);
}

#[test]
fn a_node_that_does_not_answer_or_fails_is_passed_over() {
    let mut case = balancing_off();
    case.stop();
    case.tick(120, &[]);
    assert_eq!(case.due(), ["set_balancing n2 on"]);
    case.tell(2, failed("set_balancing", 1));
    assert_eq!(case.due(), ["set_balancing n3 on"]);
    case.tell(3, failed("set_balancing", 1));
    assert_eq!(
        case.due(),
        Vec::<String>::new(),
        "all have been tried: a pause"
    );
    assert_eq!(case.run.status(), RunStatus::Stopping);
    case.tick(30, &[]);
    assert_eq!(case.due().len(), 1);
    case.tell(1, balancing(true));
    assert_eq!(case.run.status(), RunStatus::Stopped);
}

#[test]
fn balancing_that_nobody_can_switch_on_is_left_to_a_person() {
    let all = [(1, SNAPSHOT), (2, SNAPSHOT), (3, SNAPSHOT)];
    let remark = "tablet balancing may still be off, since no node could be told to switch it on: run \
                  `curl -X POST 'http://10.0.0.1:10000/storage_service/tablets/balancing?enabled=true'` on \
                  one node of the cluster";
    let mut absent = balancing_off();
    absent.stop();
    absent.tick(80, &all);
    assert_eq!(absent.run.status(), RunStatus::Stopping);
    absent.tick(20, &all);
    assert_eq!(absent.end(), (RunStatus::Stopped, remark.to_owned()));

    let mut silent = balancing_off();
    silent.stop();
    silent.tick(1_800, &[]);
    assert_eq!(silent.end(), (RunStatus::Stopped, remark.to_owned()));
}

#[test]
fn balancing_that_fails_to_be_on_says_why_in_the_end() {
    let mut case = balancing_off();
    case.stop();
    for _ in 0..1_000 {
        for number in 1..=3 {
            case.tell(number, failed("set_balancing", 1));
        }
        case.tick(10, &[]);
    }
    let (status, cause) = case.end();
    assert_eq!(status, RunStatus::Stopped);
    assert!(
        cause.contains("no node could switch it on (the disk is full)"),
        "{cause}"
    );
}

#[test]
fn balancing_switched_off_once_more_by_a_late_copy_is_put_on_once_more() {
    let mut case = Case::uploading();
    assert!(!case.due().contains(&"set_balancing n1 on".to_owned()));
    case.tell(1, balancing(false));
    case.tell(1, balancing(true));
    case.tick(20, &[]);
    assert!(
        case.due().contains(&"set_balancing n1 on".to_owned()),
        "an answer at once may be an old one"
    );
    case.tell(1, balancing(true));
    assert!(!case.due().contains(&"set_balancing n1 on".to_owned()));
}

#[test]
fn a_late_copy_after_the_end_is_amended() {
    let mut case = Case::uploading();
    case.stop();
    assert_eq!(case.run.status(), RunStatus::Stopped);
    let off = event(2, balancing(false));
    assert_eq!(labels(&case.run.amends(&off)), ["set_balancing n2 on"]);
    assert_eq!(case.run.amends(&event(2, balancing(true))), Vec::new());
    let other = protocol::Event {
        run: run_id(2),
        ..off.clone()
    };
    assert_eq!(case.run.amends(&other), Vec::new());
    assert_eq!(
        Case::uploading().run.amends(&off),
        Vec::new(),
        "an open run sees to itself"
    );

    let mut restore = Case::putting_back();
    restore.tell_all(1..=2, &Fact::NodePutBack);
    restore.tell(1, balancing(true));
    assert_eq!(
        labels(&restore.run.amends(&event(2, prepared()))),
        ["put_back n2"]
    );
}

#[test]
fn a_node_prepared_once_more_is_put_back_once_more() {
    let mut case = Case::putting_back();
    case.tell(1, balancing(true));
    case.tell(1, Fact::NodePutBack);
    case.tell(1, prepared());
    case.tell_all(1..=2, &Fact::NodePutBack);
    assert_eq!(case.run.status(), RunStatus::Running);
    case.tick(20, &[]);
    assert_eq!(case.due(), ["put_back n1"]);
    case.tell(1, Fact::NodePutBack);
    assert_eq!(case.run.status(), RunStatus::Done);
}

#[test]
fn a_node_that_was_being_prepared_is_put_back_too() {
    let mut case = Case::restore();
    case.tell(1, Fact::Inspected(found(2, false)));
    case.tell(1, batches(&[("dc1", 1)]));
    case.tell(1, schema(false));
    case.tell(1, failed("prepare_node", 0));
    assert_eq!(case.due(), ["put_back n1", "put_back n2"]);
}

#[test]
fn putting_back_is_tried_again_and_fails_the_run_in_the_end() {
    let mut case = Case::putting_back();
    case.tell(1, balancing(true));
    case.tell(1, Fact::NodePutBack);
    case.tell(2, failed("put_back", 0));
    assert_eq!(
        (case.due(), case.run.status()),
        (Vec::new(), RunStatus::Running)
    );
    case.tick(30, &[]);
    assert_eq!(case.due(), ["put_back n2"]);
    let mut well = case.clone();
    well.tell(2, Fact::NodePutBack);
    assert_eq!(well.end(), (RunStatus::Done, String::new()));
    for _ in 0..300 {
        case.tell(2, failed("put_back", 0));
        case.tick(10, &[]);
    }
    let cause = "automatic compaction may still be off on n2: n2 was not put back as it was before the \
                 restore within 30 min: the disk is full";
    assert_eq!(case.end(), (RunStatus::Error, cause.to_owned()));
}

#[test]
fn a_node_without_a_worker_is_not_put_back_and_named() {
    let mut case = Case::putting_back();
    case.tell(1, balancing(true));
    case.tell(1, Fact::NodePutBack);
    case.tick(100, &[(2, RESTORE)]);
    let cause = "automatic compaction may still be off on n2: no restore-worker on n2 for 90 s: start \
                 `thetis node` there";
    assert_eq!(case.end(), (RunStatus::Done, cause.to_owned()));
}

#[test]
fn a_rebuilt_run_that_fails_early_puts_back_what_the_first_attempt_changed() {
    let mut case = Case::of(Run::rebuild(Spec::Backup(backup_spec())));
    case.tell(1, failed("inspect", 0));
    assert_eq!(case.due(), ["set_balancing n1 on"]);
    let mut well = case.clone();
    well.tell(1, balancing(true));
    assert_eq!(
        well.end(),
        (
            RunStatus::Error,
            "n1 failed at inspect: the disk is full".to_owned()
        )
    );
    case.tell(1, failed("set_balancing", 1));
    assert_eq!(
        case.run.status(),
        RunStatus::Error,
        "not sure to be needed, so not insisted on"
    );

    let mut restore = Case::of(Run::rebuild(Spec::Restore(restore_spec())));
    restore.tell(1, Fact::Inspected(found(2, true)));
    restore.tell(1, failed("plan_restore", 0));
    assert_eq!(
        restore.due(),
        ["put_back n1", "put_back n2", "set_balancing n1 on"]
    );
}

#[test]
fn a_rebuilt_run_of_a_cluster_without_tablets_leaves_balancing_alone() {
    let mut case = Case::of(Run::rebuild(Spec::Backup(backup_spec())));
    case.inspect(found(1, false));
    case.stop();
    assert_eq!(case.run.status(), RunStatus::Stopped);
}

#[test]
fn what_one_run_could_not_put_back_the_next_one_does() {
    let mut case = balancing_off();
    case.stop();
    let next = case.run.resume(run_id(2), 0);
    assert_eq!(next, None, "it is not over yet");
    case.tick(100, &[(1, SNAPSHOT), (2, SNAPSHOT), (3, SNAPSHOT)]);
    let next = case.run.resume(run_id(2), 0).expect("it was stopped");
    let Spec::Backup(spec) = next.spec() else {
        panic!("a backup goes on as one")
    };
    assert!(spec.unsettled);
    let mut tidy = balancing_off();
    tidy.stop();
    tidy.tell(1, balancing(true));
    let next = tidy.run.resume(run_id(2), 0).expect("it was stopped");
    let Spec::Backup(spec) = next.spec() else {
        panic!("a backup goes on as one")
    };
    assert!(!spec.unsettled);
}

#[test]
fn switches_are_carried_out_even_for_runs_that_are_over() {
    let mut kinds: Vec<&str> = Vec::new();
    let mut preparing = Case::restore();
    preparing.tell(1, Fact::Inspected(found(1, false)));
    preparing.tell(1, batches(&[("dc1", 1)]));
    preparing.tell(1, schema(false));
    for case in [
        balancing_off(),
        Case::uploading(),
        Case::loading(),
        Case::putting_back(),
        preparing,
    ] {
        kinds.extend(
            case.run
                .due()
                .iter()
                .filter(|job| survives_stop(job))
                .map(|job| job.kind()),
        );
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["prepare_node", "put_back", "set_balancing"]);
}
