//! Errands: deletions, validations, and the deletion of snapshots.

use protocol::{
    DeleteRequest, Fact, Job, NodeValidated, Purged, RunStatus, SnapshotTag, SnapshotsCleared,
    TaskId, ValidateRequest, Validated, WorkerKind,
};
use uuid::Uuid;
use workflow::{Errand, ErrandSpec, Run};

use crate::case::{Case, balancing, cluster, failed, locations, node, purged, run_id};

fn case(errand: Errand) -> Case {
    Case::of(Run::errand(ErrandSpec {
        cluster: cluster(),
        run: run_id(1),
        task: TaskId(Uuid::from_u128(9)),
        errand,
        scout: node(1),
        started_ms: 1_000_000,
    }))
}

fn tag() -> SnapshotTag {
    "sm_20250101000000UTC".parse().expect("a tag")
}

fn deleting() -> Case {
    case(Errand::Delete(DeleteRequest {
        location: locations(&["s3:backups"]),
        snapshot_tag: vec![tag()],
        force: true,
    }))
}

fn validating(delete_orphaned_files: bool) -> Case {
    case(Errand::Validate(ValidateRequest {
        location: locations(&["s3:backups"]),
        delete_orphaned_files,
        ..ValidateRequest::default()
    }))
}

/// One node, of which so many orphans were found and deleted.
fn found(orphaned_files: u64, deleted_files: u64) -> Validated {
    Validated {
        nodes: vec![NodeValidated {
            dc: "dc1".to_owned(),
            host: "10.0.0.1".to_owned(),
            node: node(1),
            location: "s3:backups".to_owned(),
            manifests: 1,
            scanned_files: 90,
            missing_files: 0,
            wrong_files: 0,
            orphaned_files,
            orphaned_bytes: orphaned_files * 10,
            deleted_files,
            checkable_files: 0,
            checkable_bytes: 0,
            checked_files: 0,
            checked_bytes: 0,
            broken_snapshots: Vec::new(),
        }],
        sound: true,
        ..Validated::default()
    }
}

fn clearing() -> Case {
    case(Errand::Clear {
        nodes: [node(1), node(2)].into(),
        before: tag(),
    })
}

fn cleared(snapshots: usize) -> Fact {
    Fact::SnapshotsCleared(SnapshotsCleared {
        tags: vec![tag(); snapshots],
    })
}

#[test]
fn a_deletion_is_one_job() {
    let mut case = deleting();
    assert_eq!(case.due(), ["purge n1"]);
    let due = case.run.due();
    let [Job::Purge(job)] = due.as_slice() else {
        panic!("{due:?}")
    };
    assert_eq!((job.named.len(), job.force), (1, true));
    assert!(!case.tell(1, failed("seal", 0)));
    case.tell(1, purged());
    assert_eq!(case.end(), (RunStatus::Done, String::new()));
    assert_eq!(
        case.run.report().removed.map(|removed| removed.objects),
        Some(80)
    );
    assert_eq!(case.run.resume(run_id(2), 9_000_000), None);
}

#[test]
fn what_has_nothing_to_do_with_it_is_counted() {
    let mut case = deleting();
    case.tell(1, balancing(false));
    assert_eq!(case.run.report().impossible, 1);
    assert_eq!(case.due(), ["purge n1"]);
}

/// It rests, and ends as it should then.
fn rests(mut case: Case, status: RunStatus, cause: &str) {
    assert!(case.run.leaves_off() && case.due().is_empty());
    assert!(!case.run.status().ended());
    case.tick(80, &[]);
    assert!(!case.run.status().ended());
    case.tick(20, &[]);
    assert_eq!(case.end(), (status, cause.to_owned()));
    let next = case.run.resume(run_id(2), 9_000_000);
    assert_eq!(next, None, "it is asked for anew");
}

#[test]
fn a_deletion_that_is_not_whole_fails_after_a_rest() {
    let mut late = deleting();
    late.tick(2 * 3_600, &[]);
    rests(
        late,
        RunStatus::Error,
        "n1 did not remove old backups within 2 h",
    );
    let mut refused = deleting();
    refused.tell(1, failed("purge", 0));
    rests(
        refused,
        RunStatus::Error,
        "n1 failed at purge: the disk is full",
    );
    let mut blocked = deleting();
    let obstacles = vec!["an object is locked".to_owned()];
    blocked.tell(
        1,
        Fact::Purged(Purged {
            obstacles,
            ..Purged::default()
        }),
    );
    let cause = "not all could be removed: an object is locked";
    rests(blocked, RunStatus::Error, cause);
    let mut stopped = deleting();
    assert!(stopped.stop() && !stopped.stop());
    rests(stopped, RunStatus::Stopped, "");
    let mut contended = deleting();
    contended.tell(
        1,
        Fact::Purged(Purged {
            contended: true,
            ..Purged::default()
        }),
    );
    rests(contended, RunStatus::Done, "");
    let mut absent = deleting();
    absent.tick(90, &[(1, WorkerKind::Upload)]);
    let cause = "no uploader on n1 for 90 s: start `thetis node` there";
    rests(absent, RunStatus::Error, cause);
}

#[test]
fn another_uploader_can_be_asked() {
    let mut case = deleting();
    assert!(!case.run.set_scout(node(1)) && case.run.set_scout(node(2)));
    assert_eq!(case.due(), ["purge n2"]);
    case.tell(2, purged());
    // The first may be at it again.
    rests(case, RunStatus::Done, "");
}

#[test]
fn a_validation_ends_with_its_answer() {
    let mut sound = validating(false);
    assert_eq!(sound.due(), ["validate n1"]);
    sound.tell(1, Fact::Validated(found(0, 0)));
    assert_eq!(sound.end(), (RunStatus::Done, String::new()));
    assert_eq!(sound.run.report().validated, Some(found(0, 0)));

    // Nothing is deleted, so nobody has to leave off before it ends.
    for (mut case, answer, cause) in [
        (validating(false), found(9, 0), "orphaned files: 9"),
        (
            validating(false),
            Validated {
                broken_snapshots: vec![tag(); 7],
                sound: false,
                faults: vec!["a file is missing".to_owned()],
                ..found(0, 0)
            },
            "broken snapshots: sm_20250101000000UTC, sm_20250101000000UTC, sm_20250101000000UTC, \
             sm_20250101000000UTC, sm_20250101000000UTC, …; a file is missing",
        ),
        (
            validating(false),
            Validated {
                sound: false,
                faults: vec!["a manifest cannot be read".to_owned()],
                obstacles: vec!["orphans cannot be told".to_owned()],
                ..found(0, 0)
            },
            "a manifest cannot be read",
        ),
    ] {
        case.tell(1, Fact::Validated(answer));
        assert_eq!(case.end(), (RunStatus::Error, cause.to_owned()));
    }
    let mut stopped = validating(false);
    assert!(stopped.stop());
    assert_eq!(stopped.end(), (RunStatus::Stopped, String::new()));
    let mut moved = validating(false);
    assert!(moved.run.set_scout(node(2)));
    assert_eq!(moved.due(), ["validate n2"]);
    moved.tell(2, Fact::Validated(found(0, 0)));
    assert_eq!(moved.end(), (RunStatus::Done, String::new()));
}

#[test]
fn a_validation_that_deletes_rests_unless_all_is_done() {
    let mut clean = validating(true);
    clean.tell(1, Fact::Validated(found(9, 9)));
    assert_eq!(clean.end(), (RunStatus::Done, String::new()));

    let mut blocked = validating(true);
    blocked.tell(
        1,
        Fact::Validated(Validated {
            obstacles: vec!["a backup began meanwhile".to_owned()],
            ..found(9, 4)
        }),
    );
    let cause = "orphaned files: 5; a backup began meanwhile";
    rests(blocked, RunStatus::Error, cause);
    let mut contended = validating(true);
    contended.tell(
        1,
        Fact::Validated(Validated {
            contended: true,
            ..found(9, 9)
        }),
    );
    rests(contended, RunStatus::Done, "");
    let mut stopped = validating(true);
    assert!(stopped.stop());
    rests(stopped, RunStatus::Stopped, "");
}

#[test]
fn snapshots_are_deleted_from_each_node() {
    let mut case = clearing();
    assert_eq!(case.due(), ["clear_snapshots n1", "clear_snapshots n2"]);
    assert!(!case.run.set_scout(node(2)), "nobody can do it for another");
    case.tell(1, cleared(2));
    assert!(!case.tell(1, cleared(2)) && !case.run.status().ended());
    case.tell(2, cleared(1));
    assert_eq!(case.end(), (RunStatus::Done, String::new()));
    assert_eq!(case.run.report().cleared, 3);
}

#[test]
fn a_node_that_is_away_keeps_its_snapshots_alone() {
    let mut case = clearing();
    case.tick(90, &[(1, WorkerKind::Snapshot)]);
    assert_eq!(case.due(), ["clear_snapshots n2"]);
    case.tell(2, cleared(1));
    let cause = "no snapshot-worker on n1 for 90 s: start `thetis node` there";
    assert_eq!(case.end(), (RunStatus::Error, cause.to_owned()));
    assert_eq!(case.run.report().cleared, 1);

    let mut failing = clearing();
    failing.tell(1, cleared(0));
    failing.tell(2, failed("clear_snapshots", 0));
    let cause = "n2 failed at clear_snapshots: the disk is full";
    assert_eq!(failing.end(), (RunStatus::Error, cause.to_owned()));
}
