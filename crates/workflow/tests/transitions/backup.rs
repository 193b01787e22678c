//! A backup, from step to step.

use protocol::{ChunkStored, Event, Fact, Job, Method, Purged, RunStatus, TableMethod, WorkerKind};
use workflow::{Input, Run};

use crate::case::{
    Case, backup_spec, balancing, chunk, cluster, event, failed, found, labels, locations, node,
    orders, plan_of, purged, run_id, sealed,
};

#[test]
fn a_backup_goes_from_step_to_step() {
    let mut case = Case::backup();
    assert_eq!(
        (case.due(), case.stage().as_str()),
        (vec!["inspect n1".to_owned()], "INIT")
    );
    case.inspect(found(2, true));
    assert_eq!(case.due(), ["set_balancing n1 off"]);
    case.tell(1, balancing(false));
    assert_eq!(case.due(), ["take_snapshot n1", "take_snapshot n2"]);
    assert_eq!(case.stage(), "SNAPSHOT");
    case.tell(2, Fact::SnapshotTaken);
    assert_eq!(case.due(), ["index n2", "take_snapshot n1"]);
    case.tell(1, Fact::SnapshotTaken);
    assert_eq!(case.due(), ["index n1", "index n2", "set_balancing n1 on"]);
    case.tell(2, plan_of(2));
    assert_eq!(
        case.due(),
        [
            "index n1",
            "set_balancing n1 on",
            "upload n2 #0",
            "upload n2 #1"
        ]
    );
    assert_eq!(case.stage(), "INDEX");
    case.tell(1, balancing(true));
    case.tell(1, plan_of(1));
    case.tell(2, chunk(0));
    assert_eq!(case.due(), ["upload n1 #0", "upload n2 #1"]);
    assert_eq!(case.stage(), "UPLOAD");
    case.tell(2, chunk(1));
    assert_eq!(
        case.due(),
        ["upload n1 #0"],
        "nothing is sealed before all is stored"
    );
    case.tell(1, chunk(0));
    assert_eq!(
        (case.due(), case.stage().as_str()),
        (vec!["seal n1".to_owned(), "seal n2".to_owned()], "SEAL")
    );
    case.tell(1, sealed());
    assert_eq!(
        case.due(),
        ["seal n2"],
        "no snapshot is dropped before all is sealed"
    );
    case.tell(2, sealed());
    assert_eq!(case.due(), ["drop_snapshot n1", "drop_snapshot n2"]);
    case.tell(1, Fact::SnapshotDropped);
    assert_eq!(case.run.status(), RunStatus::Running);
    case.tell(2, Fact::SnapshotDropped);
    assert_eq!(
        (case.due(), case.stage().as_str()),
        (vec!["purge n1".to_owned()], "PURGE")
    );
    case.tell(1, purged());
    assert_eq!(case.end(), (RunStatus::Done, String::new()));
    assert_eq!((case.due(), case.stage().as_str()), (Vec::new(), "DONE"));
    let removed = case.run.report().removed.expect("it was purged");
    assert_eq!(
        (removed.backups, removed.objects, removed.bytes),
        (2, 80, 4_000)
    );
}

#[test]
fn the_report_adds_up() {
    let mut case = Case::uploading();
    case.tell(2, chunk(1));
    let report = case.run.report();
    assert_eq!(
        (report.size, report.uploaded, report.skipped),
        (2_400, 100, 2_000)
    );
    assert_eq!((report.parts_done, report.parts, report.files), (1, 4, 48));
    assert_eq!((report.started_ms, report.ended_ms), (1_000_000, None));
    assert_eq!((report.tables.len(), report.tables[0].size), (1, 2_400));
    let host = &report.hosts[1];
    assert_eq!(
        (host.address.as_str(), host.dc.as_str(), host.stage.as_str()),
        ("10.0.0.2", "dc1", "UPLOAD")
    );
    assert_eq!(
        (host.size, host.uploaded, host.parts_done, host.parts),
        (1_200, 100, 1, 2)
    );
    case.tell(2, failed("upload", 0));
    let report = case.run.report();
    assert_eq!(
        (report.status, report.failed, report.ended_ms),
        (RunStatus::Error, 100, Some(5_000_000))
    );
}

#[test]
fn who_moved_a_table_is_told_for_each_node_and_for_all() {
    let by = |number: u32, method, reason: &str| {
        let Fact::ChunkStored(stored) = chunk(number) else {
            panic!("a chunk is stored")
        };
        Fact::ChunkStored(ChunkStored {
            methods: vec![TableMethod {
                table: orders(),
                method,
                reason: reason.to_owned(),
            }],
            ..stored
        })
    };
    let mut case = Case::uploading();
    case.tell(1, by(0, Method::Native, "asked for"));
    case.tell(1, by(1, Method::Agent, "ids are used again"));
    case.tell(2, by(0, Method::Native, "asked for, too"));
    case.tell(2, by(0, Method::Agent, "told again"));
    let report = case.run.report();
    let told = |tables: &[workflow::Table]| tables[0].methods.clone();
    let native = (Method::Native, "asked for".to_owned());
    let agent = (Method::Agent, "ids are used again".to_owned());
    assert_eq!(told(&report.tables), [agent.clone(), native.clone()]);
    assert_eq!(told(&report.hosts[0].tables), [agent, native]);
    let second = (Method::Native, "asked for, too".to_owned());
    assert_eq!(told(&report.hosts[1].tables), [second]);
}

#[test]
fn without_tablets_balancing_is_left_alone() {
    let mut case = Case::backup();
    case.inspect(found(1, false));
    assert_eq!(case.due(), ["take_snapshot n1"]);
    case.tell(1, Fact::SnapshotTaken);
    assert_eq!(case.due(), ["index n1"]);
    case.tell(1, plan_of(0));
    assert_eq!(
        case.due(),
        ["seal n1"],
        "a node without new files has nothing to upload"
    );
    case.tell(1, sealed());
    case.tell(1, Fact::SnapshotDropped);
    case.tell(1, purged());
    assert_eq!(case.run.status(), RunStatus::Done);
}

/// What becomes of a backup whose inspection is changed so.
fn inspected(change: impl FnOnce(&mut protocol::Inspected, &mut workflow::BackupSpec)) -> Case {
    let (mut found, mut spec) = (found(3, false), backup_spec());
    change(&mut found, &mut spec);
    let mut case = Case::of(Run::backup(spec));
    case.inspect(found);
    case
}

#[test]
fn a_backup_that_cannot_begin_says_why() {
    let error = |case: Case| {
        assert_eq!(
            (case.run.status(), case.due()),
            (RunStatus::Error, Vec::new())
        );
        case.end().1
    };
    let none = inspected(|found, _| found.units.clear());
    assert_eq!(error(none), "the cluster has no table to back up");
    let globs = inspected(|found, spec| {
        found.units.clear();
        spec.request.keyspace = vec!["shop.*".to_owned(), "!shop.tmp".to_owned()];
    });
    assert_eq!(
        error(globs),
        "nothing to back up: no table matches shop.*, !shop.tmp"
    );
    let dcs = inspected(|found, spec| {
        found.nodes.iter_mut().for_each(|node| node.chosen = false);
        spec.request.dc = vec!["eu*".to_owned()];
    });
    assert_eq!(error(dcs), "no datacenter matches eu*: the cluster has dc1");
    let uncovered = inspected(|found, _| found.uncovered = vec!["shop: (1, 2]".to_owned()]);
    assert_eq!(
        error(uncovered),
        "token ranges without a live replica in the chosen datacenters: shop: (1, 2]"
    );
    let down = inspected(|found, _| found.nodes.iter_mut().for_each(|node| node.up = false));
    assert_eq!(error(down), "every node of the chosen datacenters is down");
    let unserved = inspected(|found, spec| {
        found.nodes[2].dc = "dc2".to_owned();
        spec.request.location = locations(&["dc1:s3:one"]);
    });
    assert_eq!(
        error(unserved),
        "no location serves datacenter dc2: add dc2:<provider>:<bucket>, or a location without a datacenter"
    );
    let twice = inspected(|found, _| found.nodes[2].node = found.nodes[1].node);
    assert_eq!(error(twice), "the inspection names n2 twice");
}

#[test]
fn a_node_that_is_down_is_left_out_and_named() {
    let mut case = inspected(|found, _| found.nodes[1].up = false);
    assert_eq!(case.due(), ["take_snapshot n1", "take_snapshot n3"]);
    for fact in [
        Fact::SnapshotTaken,
        plan_of(0),
        sealed(),
        Fact::SnapshotDropped,
    ] {
        case.tell(1, fact.clone());
        case.tell(3, fact);
    }
    case.tell(1, purged());
    assert_eq!(
        case.end(),
        (
            RunStatus::Done,
            "n2 was down and is not in this backup".to_owned()
        )
    );
}

#[test]
fn a_node_that_was_not_chosen_is_left_out_in_silence() {
    let case = inspected(|found, _| found.nodes[1].chosen = false);
    assert_eq!(case.due(), ["take_snapshot n1", "take_snapshot n3"]);
    assert_eq!(case.run.cause(), "");
}

#[test]
fn each_datacenter_has_its_location() {
    let mut case = inspected(|found, spec| {
        found.nodes[2].dc = "dc2".to_owned();
        spec.request.location = locations(&["s3:all", "dc2:gcs:two"]);
    });
    case.tell_all(1..=3, &Fact::SnapshotTaken);
    let places: Vec<String> = case
        .run
        .due()
        .iter()
        .filter_map(|job| {
            if let Job::Index(job) = job {
                Some(job.location.to_string())
            } else {
                None
            }
        })
        .collect();
    assert_eq!(places, ["s3:all", "s3:all", "dc2:gcs:two"]);
}

#[test]
fn a_snapshot_is_never_asked_to_delete_its_own_tag() {
    let mut spec = backup_spec();
    let stale = "sm_20250101000000UTC".parse().expect("a tag");
    spec.stale = vec![spec.tag.clone(), stale];
    let mut case = Case::of(Run::backup(spec));
    case.inspect(found(1, false));
    let due = case.run.due();
    let [Job::TakeSnapshot(job)] = due.as_slice() else {
        panic!("{due:?}")
    };
    assert_eq!(job.stale, ["sm_20250101000000UTC".parse().expect("a tag")]);
}

#[test]
fn an_event_told_again_changes_nothing() {
    let mut case = Case::backup();
    let history = [
        (1, Fact::Inspected(found(2, true))),
        (1, Fact::SchemaStored),
        (1, balancing(false)),
        (1, Fact::SnapshotTaken),
        (2, Fact::SnapshotTaken),
        (1, balancing(true)),
        (1, plan_of(1)),
        (2, plan_of(0)),
        (1, chunk(0)),
        (1, sealed()),
        (2, sealed()),
        (1, Fact::SnapshotDropped),
        (2, Fact::SnapshotDropped),
    ];
    for (step, (number, fact)) in history.iter().enumerate() {
        assert!(case.tell(*number, fact.clone()), "step {step} is news");
        let once = case.clone();
        for (number, fact) in &history[..=step] {
            // Balancing that is off again after it was put on is news indeed: see `tidy`.
            if *fact != balancing(false) {
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
fn what_the_bucket_proves_is_believed_before_it_is_asked_for() {
    let mut case = Case::backup();
    case.inspect(found(2, false));
    assert!(case.tell(1, chunk(1)), "a chunk before its plan");
    assert!(case.tell(1, plan_of(3)), "a plan before its snapshot");
    assert_eq!(
        case.due(),
        ["take_snapshot n2", "upload n1 #0", "upload n1 #2"]
    );
    assert!(case.tell(2, sealed()), "a manifest before anything else");
    assert_eq!(case.due(), ["upload n1 #0", "upload n1 #2"]);
    case.tell(1, chunk(0));
    case.tell(1, chunk(2));
    assert_eq!(case.due(), ["seal n1"]);
    case.tell(1, sealed());
    assert_eq!(case.due(), ["drop_snapshot n1", "drop_snapshot n2"]);
}

#[test]
fn a_manifest_proves_all_chunks() {
    let mut case = Case::uploading();
    case.tell(1, sealed());
    assert_eq!(case.due(), ["upload n2 #0", "upload n2 #1"]);
    assert_eq!(case.run.report().hosts[0].parts_done, 2);
}

#[test]
fn chunks_told_of_early_that_no_plan_has_are_forgotten() {
    let mut case = Case::backup();
    case.inspect(found(1, false));
    case.tell(1, Fact::SnapshotTaken);
    case.tell(1, chunk(7));
    case.tell(1, plan_of(1));
    assert_eq!(case.due(), ["upload n1 #0"]);
    assert_eq!(case.run.report().parts_done, 0);
}

#[test]
fn what_no_history_explains_is_counted_and_changes_nothing_else() {
    let mut case = Case::uploading();
    let due = case.due();
    let strange = [
        (9, Fact::SnapshotTaken),
        (9, chunk(0)),
        (1, chunk(2)),
        (1, chunk(u32::MAX)),
        (1, Fact::NodePutBack),
    ];
    for (count, (number, fact)) in strange.into_iter().enumerate() {
        assert!(case.tell(number, fact));
        assert_eq!(case.run.report().impossible as usize, count + 1);
    }
    let nobody = Event {
        node: None,
        ..event(1, chunk(0))
    };
    assert!(case.run.apply(&Input::Event(&nobody)));
    assert_eq!(case.run.report().impossible, 6);
    assert_eq!((case.due(), case.run.status()), (due, RunStatus::Running));
}

#[test]
fn a_plan_too_large_to_be_true_fails_the_run() {
    let mut case = Case::backup();
    case.inspect(found(1, false));
    case.tell(1, Fact::SnapshotTaken);
    case.tell(1, plan_of(u32::MAX));
    let cause = "the plan of n1 has 4294967295 chunks, where 1048576 are the most";
    assert_eq!(case.end(), (RunStatus::Error, cause.to_owned()));
}

#[test]
fn events_of_other_runs_and_clusters_change_nothing() {
    let case = Case::uploading();
    let mut other = case.clone();
    let run = Event {
        run: run_id(2),
        ..event(1, chunk(0))
    };
    let strange = protocol::ClusterId(uuid::Uuid::from_u128(8));
    assert_ne!(strange, cluster());
    let elsewhere = Event {
        cluster: strange,
        ..event(1, chunk(0))
    };
    for event in [run, elsewhere] {
        assert!(!other.run.apply(&Input::Event(&event)));
    }
    assert_eq!(other.run, case.run);
}

#[test]
fn a_failed_job_fails_the_run_and_is_named() {
    let mut case = Case::uploading();
    case.tell(2, failed("upload", 1));
    let cause = "n2 failed at upload of chunk 1: the disk is full".to_owned();
    assert_eq!(case.end(), (RunStatus::Error, cause));
}

#[test]
fn a_failure_of_what_is_done_or_not_asked_for_is_passed_over() {
    let mut case = Case::uploading();
    case.tell(1, chunk(0));
    let before = case.run.clone();
    for (job, part) in [
        ("upload", 0),
        ("upload", 7),
        ("take_snapshot", 0),
        ("index", 0),
        ("seal", 0),
        ("?", 0),
    ] {
        assert!(!case.tell(1, failed(job, part)), "{job} {part}");
    }
    assert_eq!(case.run, before);
}

#[test]
fn each_step_can_fail() {
    let mut inspecting = Case::backup();
    inspecting.tell(1, failed("inspect", 0));
    assert_eq!(inspecting.end().1, "n1 failed at inspect: the disk is full");
    let mut snapshot = Case::backup();
    snapshot.inspect(found(2, false));
    let mut index = snapshot.clone();
    snapshot.tell(2, failed("take_snapshot", 0));
    assert_eq!(
        snapshot.end().1,
        "n2 failed at take_snapshot: the disk is full"
    );
    index.tell(1, Fact::SnapshotTaken);
    index.tell(1, failed("index", 0));
    assert_eq!(index.end().1, "n1 failed at index: the disk is full");
    let mut seal = Case::sealing();
    seal.tell(1, failed("seal", 0));
    assert_eq!(seal.end().1, "n1 failed at seal: the disk is full");
    for case in [inspecting, snapshot, index, seal] {
        assert_eq!(
            (case.run.status(), case.due()),
            (RunStatus::Error, Vec::new())
        );
    }
}

#[test]
fn a_snapshot_that_cannot_be_dropped_does_not_spoil_the_backup() {
    let mut case = Case::dropping();
    case.tell(2, failed("drop_snapshot", 0));
    assert_eq!(case.due(), ["drop_snapshot n1"]);
    case.tell(1, Fact::SnapshotDropped);
    case.tell(1, purged());
    let cause = "the snapshot stays on n2 until the next backup: n2 failed at drop_snapshot: the disk is full";
    assert_eq!(case.end(), (RunStatus::Done, cause.to_owned()));
}

#[test]
fn a_backup_can_be_stopped_until_all_is_published() {
    let mut inspecting = Case::backup();
    let mut snapshot = Case::backup();
    snapshot.inspect(found(2, false));
    let (mut uploading, mut sealing) = (Case::uploading(), Case::sealing());
    sealing.tell(1, sealed());
    for case in [&mut inspecting, &mut snapshot, &mut uploading, &mut sealing] {
        assert!(case.stop());
        assert_eq!(case.end(), (RunStatus::Stopped, String::new()));
        assert_eq!(case.due(), Vec::<String>::new());
    }
    let mut dropping = Case::dropping();
    dropping.tell(1, Fact::SnapshotDropped);
    assert!(dropping.stop());
    let cause = "the snapshot stays on n2 until the next backup: the run was told to stop when all else was done";
    assert_eq!(dropping.end(), (RunStatus::Done, cause.to_owned()));
}

#[test]
fn a_purge_names_what_the_driver_is_to_complete() {
    let due = Case::purging().run.due();
    let [Job::Purge(purge)] = due.as_slice() else {
        panic!("{due:?}")
    };
    assert_eq!(purge.locations, backup_spec().request.location);
    // Nothing would go if it were done like this.
    assert!(purge.tasks.is_empty() && purge.unknown.is_unset());
}

#[test]
fn a_purge_comes_only_when_all_else_is_done() {
    let mut early = Case::dropping();
    assert!(!early.tell(1, purged()));
    early.tell_all(1..=2, &Fact::SnapshotDropped);
    assert_eq!(
        early.due(),
        ["purge n1"],
        "what was told too early counts for nothing"
    );
}

#[test]
fn what_a_purge_could_not_remove_is_told() {
    let mut case = Case::purging();
    let obstacles = vec!["node n in s3:b: no".to_owned(), "s3:c: gone".to_owned()];
    case.tell(
        1,
        Fact::Purged(Purged {
            obstacles,
            ..Purged::default()
        }),
    );
    let cause = "not all old backups could be removed: node n in s3:b: no; s3:c: gone".to_owned();
    assert!(case.run.leaves_off(), "a copy of it may be trying still");
    assert_eq!(case.end(), (RunStatus::Running, cause.clone()));
    case.tick(100, &[]);
    assert_eq!(case.end(), (RunStatus::Done, cause));
}

#[test]
fn a_purge_that_another_worker_may_still_be_at_is_waited_out() {
    let mut case = Case::purging();
    let contended = Purged {
        contended: true,
        ..Purged::default()
    };
    case.tell(1, Fact::Purged(contended));
    assert!(case.run.leaves_off());
    case.tick(100, &[]);
    assert_eq!(case.end(), (RunStatus::Done, String::new()));
}

/// A run whose purge gave no good answer asks for nothing, has workers leave off, and ends only when
/// that has surely reached whoever may still be deleting.
fn rests(mut case: Case, why: &str) {
    assert_eq!(case.due(), Vec::<String>::new());
    assert!(case.run.leaves_off());
    let remark = format!("old backups stay until the next backup: {why}");
    assert_eq!(case.end(), (RunStatus::Running, remark.clone()));
    assert!(!case.tell(1, purged()), "it is too late for that");
    assert!(!case.stop(), "it ends anyway");
    case.tick(80, &[]);
    assert_eq!(case.run.status(), RunStatus::Running);
    case.tick(20, &[]);
    assert_eq!(case.end(), (RunStatus::Done, remark));
    assert!(!case.run.leaves_off());
    assert_eq!(case.run.report().removed, None);
}

#[test]
fn a_purge_without_an_answer_is_waited_out() {
    let mut failed_for_good = Case::purging();
    assert!(!failed_for_good.run.leaves_off());
    failed_for_good.tell(1, failed("purge", 0));
    rests(failed_for_good, "n1 failed at purge: the disk is full");
    let mut stopped = Case::purging();
    assert!(stopped.stop());
    rests(stopped, "the run was told to stop when all else was done");
    let mut late = Case::purging();
    late.tick(2 * 3_600, &[]);
    rests(late, "n1 did not remove old backups within 2 h");
    let mut absent = Case::purging();
    let nobody = [(1, WorkerKind::Upload), (2, WorkerKind::Upload)];
    absent.tick(90, &nobody);
    rests(
        absent,
        "no uploader on n1 for 90 s: start `thetis node` there",
    );
}

#[test]
fn another_uploader_purges_when_the_first_is_away() {
    let mut case = Case::purging();
    case.tick(100, &[(1, WorkerKind::Upload)]);
    assert_eq!(case.due(), ["purge n2"]);
    case.tell(2, purged());
    assert!(case.run.leaves_off(), "the first may be at it again");
    case.tick(100, &[]);
    assert_eq!(case.end(), (RunStatus::Done, String::new()));
}

#[test]
fn nothing_changes_a_run_that_has_ended() {
    let mut case = Case::uploading();
    case.tell(2, failed("upload", 1));
    let ended = case.clone();
    for fact in [
        chunk(0),
        sealed(),
        balancing(false),
        balancing(true),
        failed("upload", 0),
    ] {
        assert!(!case.tell(1, fact));
    }
    case.tick(100_000, &[]);
    assert!(!case.stop());
    assert_eq!(case.run, ended.run);
}

#[test]
fn only_what_is_newly_due_has_to_be_published() {
    let mut case = Case::backup();
    case.inspect(found(2, false));
    case.tell_all(1..=2, &Fact::SnapshotTaken);
    let mut after = |number, fact| {
        let before = case.run.clone();
        case.tell(number, fact);
        labels(&case.run.jobs_after(&before))
    };
    assert_eq!(after(1, plan_of(2)), ["upload n1 #0", "upload n1 #1"]);
    assert_eq!(after(1, chunk(0)), Vec::<String>::new());
    assert_eq!(after(2, plan_of(1)), ["upload n2 #0"]);
    assert_eq!(after(1, chunk(1)), Vec::<String>::new());
    assert_eq!(after(2, chunk(0)), ["seal n1", "seal n2"]);
}

#[test]
fn a_run_that_stopped_or_failed_goes_on_as_another() {
    let mut case = Case::uploading();
    assert_eq!(case.run.resume(run_id(2), 9_000_000), None, "it is open");
    case.stop();
    let next = case
        .run
        .resume(run_id(2), 9_000_000)
        .expect("it was stopped");
    let mut next = Case::of(next);
    assert_eq!(
        (next.due(), next.run.owner().1),
        (vec!["inspect n1".to_owned()], run_id(2))
    );
    assert_eq!(next.run.report().started_ms, 9_000_000);
    let mut tell = |fact| {
        next.run.apply(&Input::Event(&Event {
            run: run_id(2),
            ..event(1, fact)
        }))
    };
    tell(Fact::Inspected(found(1, false)));
    tell(Fact::SchemaStored);
    tell(Fact::SnapshotTaken);
    let due = next.run.due();
    let [Job::Index(index)] = due.as_slice() else {
        panic!("{due:?}")
    };
    assert_eq!((index.run, index.origin), (run_id(2), run_id(1)));
    assert_eq!(index.tag, backup_spec().tag);
}

#[test]
fn a_run_that_is_done_does_not_go_on() {
    let mut case = Case::purging();
    case.tell(1, purged());
    assert_eq!(case.run.status(), RunStatus::Done);
    assert_eq!(case.run.resume(run_id(2), 9_000_000), None);
}

#[test]
fn another_node_can_be_asked_while_nothing_is_known() {
    let mut case = Case::backup();
    assert!(!case.run.set_scout(node(1)));
    let before = case.run.clone();
    assert!(case.run.set_scout(node(2)));
    assert_eq!(labels(&case.run.jobs_after(&before)), ["inspect n2"]);
    let mut case = Case::uploading();
    assert!(!case.run.set_scout(node(2)));
}

#[test]
fn uploads_are_asked_for_as_the_user_wants_them() {
    let mut spec = backup_spec();
    spec.request.method = Method::Rclone;
    spec.request.rate_limit = vec!["50".parse().unwrap(), "dc1:20".parse().unwrap()];
    spec.request.transfers = Some(3);
    spec.request.storage_class = Some("STANDARD_IA".to_owned());
    let mut case = Case::of(Run::backup(spec));
    case.inspect(found(1, false));
    case.tell(1, Fact::SnapshotTaken);
    case.tell(1, plan_of(1));
    let due = case.run.due();
    let [Job::Upload(job)] = &due[..] else {
        panic!("{due:?}")
    };
    assert_eq!(job.method, Method::Rclone);
    assert_eq!(
        (job.pace.rate_limit, job.pace.transfers),
        (Some(20), Some(3))
    );
    assert_eq!(job.storage_class.as_deref(), Some("STANDARD_IA"));
}
