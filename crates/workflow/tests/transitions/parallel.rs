//! How many nodes of a datacenter are at work at once.

use protocol::{DcLimit, Fact, RunStatus};
use workflow::{Run, limit};

use crate::case::{Case, backup_spec, chunk, found, plan_of, sealed};

fn limits(texts: &[&str]) -> Vec<DcLimit> {
    texts
        .iter()
        .map(|text| text.parse().expect("a limit"))
        .collect()
}

/// A backup of `n1`, `n2` of `dc1` and `n3`, `n4` of `dc2`.
fn begun(snapshot: &[&str], upload: &[&str]) -> Case {
    let mut spec = backup_spec();
    spec.request.snapshot_parallel = limits(snapshot);
    spec.request.upload_parallel = limits(upload);
    let mut case = Case::of(Run::backup(spec));
    let mut found = found(4, false);
    for node in &mut found.nodes[2..] {
        node.dc = "dc2".to_owned();
    }
    case.inspect(found);
    case
}

#[test]
fn snapshots_are_taken_by_as_many_as_may() {
    let mut case = begun(&["1", "dc2:0"], &[]);
    let all = ["take_snapshot n1", "take_snapshot n3", "take_snapshot n4"];
    assert_eq!(case.due(), all);
    case.tell(1, Fact::SnapshotTaken);
    assert_eq!(
        case.due(),
        [
            "index n1",
            "take_snapshot n2",
            "take_snapshot n3",
            "take_snapshot n4"
        ]
    );
}

#[test]
fn planning_and_uploading_is_one_stretch() {
    let mut case = begun(&[], &["dc1:1", "2"]);
    case.tell_all(1..=4, &Fact::SnapshotTaken);
    assert_eq!(case.due(), ["index n1", "index n3", "index n4"]);
    case.tell(1, plan_of(2));
    assert_eq!(
        case.due(),
        ["index n3", "index n4", "upload n1 #0", "upload n1 #1"]
    );
    case.tell(1, chunk(0));
    assert_eq!(case.due(), ["index n3", "index n4", "upload n1 #1"]);
    case.tell(1, chunk(1));
    assert_eq!(case.due(), ["index n2", "index n3", "index n4"]);
    case.tell_all(2..=4, &plan_of(0));
    assert_eq!(case.due(), ["seal n1", "seal n2", "seal n3", "seal n4"]);
    case.tell_all(1..=4, &sealed());
    assert_eq!(case.run.status(), RunStatus::Running);
}

#[test]
fn what_is_known_already_lets_others_in() {
    // After the state was lost, the bucket tells of what was done before.
    let mut case = begun(&["1"], &["1"]);
    assert_eq!(case.due(), ["take_snapshot n1", "take_snapshot n3"]);
    case.tell(2, plan_of(1));
    assert_eq!(
        case.due(),
        ["take_snapshot n1", "take_snapshot n3", "upload n2 #0"]
    );
    case.tell(1, Fact::SnapshotTaken);
    assert_eq!(case.due(), ["take_snapshot n3", "upload n2 #0"]);
    case.tell(2, sealed());
    assert_eq!(case.due(), ["index n1", "take_snapshot n3"]);
}

#[test]
fn the_time_of_a_node_begins_when_it_is_let_in() {
    let mut case = begun(&["1"], &[]);
    case.tell_all(3..=4, &Fact::SnapshotTaken);
    case.tell_all(3..=4, &plan_of(0));
    let nearly = limit::SNAPSHOT_MS / 1_000 - 60;
    case.tick(nearly, &[]);
    case.tell(1, Fact::SnapshotTaken);
    case.tell(1, plan_of(0));
    assert_eq!(case.due(), ["take_snapshot n2"]);
    case.tick(nearly, &[]);
    assert_eq!(case.end(), (RunStatus::Running, String::new()));
    case.tick(120, &[]);
    let (status, cause) = case.end();
    assert_eq!(status, RunStatus::Error);
    assert_eq!(cause, "n2 did not take its snapshot within 30 min");
}

#[test]
fn a_limit_of_a_datacenter_that_is_not_there_is_no_limit_to_believe_in() {
    let case = begun(&["dc3:1"], &[]);
    let said = "snapshot_parallel names datacenter dc3: the cluster has dc1, dc2";
    assert_eq!(case.end(), (RunStatus::Error, said.to_owned()));
}
