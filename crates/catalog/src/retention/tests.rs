//! The rules, one by one. That they hold together is tested with whole histories, in `bucket`.

use super::*;
use crate::{document::tests::id, key::Owner};

/// 2026-01-31 12:00 UTC, a Saturday.
const NOW: u64 = 1_769_860_800;
const DAY: u64 = 86_400;

/// Manifests, tasks and what else a question is about.
struct Case {
    manifests: Vec<Found>,
    pinned: BTreeSet<SnapshotTag>,
    tasks: BTreeMap<TaskId, Policy>,
    unknown: Option<Retention>,
    open: BTreeSet<(TaskId, SnapshotTag)>,
    now_ms: Option<u64>,
    forced: bool,
}

fn task() -> TaskId {
    id("b1")
}

/// The tag of so many hours ago.
fn ago(hours: u64) -> SnapshotTag {
    crate::tag::at(NOW - hours * 3600)
}

fn found(task: TaskId, tag: &SnapshotTag, node: &str, temporary: bool) -> Found {
    Found {
        location: "s3:backups".parse().unwrap(),
        key: ManifestKey {
            owner: Owner::new(id("c1"), "dc1", id(node)).unwrap(),
            task,
            tag: tag.clone(),
            temporary,
        },
    }
}

impl Case {
    /// A live task with this policy.
    fn new(policy: Retention) -> Self {
        Self {
            manifests: Vec::new(),
            pinned: BTreeSet::new(),
            tasks: [(task(), Policy::Live(policy))].into(),
            unknown: None,
            open: BTreeSet::new(),
            now_ms: Some(NOW * 1000),
            forced: false,
        }
    }

    /// With whole backups of one node from so many hours ago.
    fn with(mut self, hours: impl IntoIterator<Item = u64>) -> Self {
        let tags = hours.into_iter().map(ago);
        let backups = tags.map(|tag| found(task(), &tag, "01", false));
        self.manifests.extend(backups);
        self
    }

    fn question(&self) -> Question<'_> {
        Question {
            cluster: id("c1"),
            manifests: &self.manifests,
            pinned: &self.pinned,
            tasks: &self.tasks,
            unknown: self.unknown,
            open: &self.open,
            now_ms: self.now_ms,
            forced: self.forced,
        }
    }

    fn decide(&self) -> Decision {
        decide(&self.question())
    }

    /// What goes, and what for.
    fn removed(&self) -> Vec<(SnapshotTag, Cause)> {
        removed(&self.decide())
    }

    /// Why the backup of so many hours ago stays.
    fn kept(&self, hours: u64) -> Vec<Reason> {
        let decision = self.decide();
        let mut backups = decision.backups.into_iter();
        let backup = backups.find(|backup| backup.tag == ago(hours)).unwrap();
        match backup.verdict {
            Verdict::Keep(reasons) => reasons,
            Verdict::Remove(cause) => panic!("{cause}"),
        }
    }
}

fn removed(decision: &Decision) -> Vec<(SnapshotTag, Cause)> {
    let backups = decision.backups.iter();
    let removed = backups.filter_map(|backup| match &backup.verdict {
        Verdict::Remove(cause) => Some((backup.tag.clone(), *cause)),
        Verdict::Keep(_) => None,
    });
    removed.collect()
}

fn newest(retention: u32) -> Retention {
    Retention {
        retention,
        ..Retention::default()
    }
}

fn days(retention_days: u32) -> Retention {
    Retention {
        retention_days,
        ..Retention::default()
    }
}

#[test]
fn without_rules_everything_stays() {
    let case = Case::new(Retention::default()).with([1, 10_000]);
    assert_eq!(case.removed(), []);
    assert_eq!(case.kept(10_000), [Reason::NoPolicy]);
}

#[test]
fn the_newest_stay() {
    let case = Case::new(newest(2)).with([1, 2, 3, 4]);
    let gone = [ago(4), ago(3)].map(|tag| (tag, Cause::Number(2)));
    assert_eq!(case.removed(), gone);
    assert_eq!(case.kept(1), [Reason::Newest(2)]);
}

#[test]
fn the_young_stay() {
    let case = Case::new(days(2)).with([1, 48, 49, 100]);
    let gone = [ago(100), ago(49)].map(|tag| (tag, Cause::Days(2)));
    assert_eq!(case.removed(), gone);
    assert_eq!(case.kept(48), [Reason::Days(2)]);
}

#[test]
fn with_both_a_backup_must_be_young_and_new() {
    let both = Retention {
        retention_days: 2,
        ..newest(3)
    };
    let case = Case::new(both).with([1, 2, 3, 4, 100]);
    let gone = [(ago(100), Cause::Days(2)), (ago(4), Cause::Number(3))];
    assert_eq!(case.removed(), gone);
    let case = Case::new(both).with([1, 60, 61]);
    assert_eq!(
        case.removed().len(),
        2,
        "the newest three are not all young"
    );
}

#[test]
fn the_last_good_one_stays_unless_forced() {
    let mut case = Case::new(days(2)).with([100, 101]);
    assert_eq!(case.removed(), [(ago(101), Cause::Days(2))]);
    assert_eq!(case.kept(100), [Reason::Last]);
    case.forced = true;
    assert_eq!(case.removed().len(), 2);

    // A deleted task need not have one, but the cluster must.
    case.forced = false;
    let deleted = id("b2");
    case.tasks.insert(deleted, Policy::Deleted(days(1)));
    case.manifests.push(found(deleted, &ago(50), "01", false));
    assert_eq!(
        case.removed(),
        [(ago(101), Cause::Days(2)), (ago(50), Cause::Days(1))]
    );
    case.tasks.insert(task(), Policy::Deleted(days(2)));
    assert_eq!(case.kept(50), [Reason::Last]);
    assert_eq!(case.removed().len(), 2);
}

#[test]
fn one_of_each_period_stays_in_addition() {
    let policy = Retention {
        keep_daily: 3,
        keep_weekly: 2,
        keep_monthly: 2,
        ..newest(1)
    };
    // Two a day, for 70 days back.
    let hours = (0..140).map(|half| half * 12);
    let case = Case::new(policy).with(hours);
    let decision = case.decide();
    let stay = decision.backups.iter().filter(|backup| !backup.goes());
    let stay: BTreeMap<SnapshotTag, String> = stay
        .map(|backup| {
            let Verdict::Keep(reasons) = &backup.verdict else {
                panic!("it stays");
            };
            let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
            (backup.tag.clone(), reasons.join(", "))
        })
        .collect();
    let text: Vec<String> = stay
        .iter()
        .map(|(tag, reasons)| format!("{tag}: {reasons}"))
        .collect();
    assert_eq!(
        text,
        [
            "sm_20251231120000UTC: monthly of 2025-12",
            "sm_20260125120000UTC: weekly of 2026-W04",
            "sm_20260129120000UTC: daily of 2026-01-29",
            "sm_20260130120000UTC: daily of 2026-01-30",
            "sm_20260131120000UTC: newest 1, daily of 2026-01-31, weekly of 2026-W05, monthly of 2026-01",
        ]
    );
}

#[test]
fn days_without_a_backup_do_not_count() {
    let policy = Retention {
        keep_daily: 2,
        ..Retention::default()
    };
    let case = Case::new(policy).with([24, 25, 24 * 10, 24 * 20]);
    let gone = [ago(24 * 20), ago(25)].map(|tag| (tag, Cause::NotChosen));
    assert_eq!(case.removed(), gone);
}

#[test]
fn what_is_not_whole_does_not_count() {
    // The newest has a node that was not finished.
    let mut case = Case::new(newest(1)).with([1, 5, 9]);
    case.manifests.push(found(task(), &ago(1), "02", true));
    assert_eq!(case.removed(), [(ago(9), Cause::Number(1))]);
    assert_eq!(case.kept(1), [Reason::Newest(1)]);
    assert!(!case.decide().backups[2].whole);

    // One that lies behind as many whole ones goes, the unfinished part waits.
    let mut case = Case::new(newest(1)).with([1, 5]);
    case.manifests.push(found(task(), &ago(5), "02", true));
    let decision = case.decide();
    assert_eq!(removed(&decision), [(ago(5), Cause::Number(1))]);
    let work = decision.work();
    let [work] = &work[..] else {
        panic!("{work:#?}");
    };
    assert_eq!(work.unseal, [found(task(), &ago(5), "01", false).key]);
    assert_eq!(work.stale, []);

    // By age it goes as all others do, and no rule for periods chooses it.
    let policy = Retention {
        keep_daily: 9,
        ..days(1)
    };
    let mut case = Case::new(policy).with([1, 50, 51]);
    case.manifests.push(found(task(), &ago(50), "02", true));
    assert_eq!(case.removed(), [(ago(50), Cause::Days(1))]);
    assert_eq!(case.kept(51), [Reason::Daily("2026-01-29".into())]);

    // With those rules alone it stays until a newer one is whole.
    let policy = Retention {
        keep_daily: 9,
        ..Retention::default()
    };
    let mut case = Case::new(policy).with([1, 2]);
    case.manifests.push(found(task(), &ago(1), "02", true));
    assert_eq!(case.kept(1), [Reason::Unreplaced]);
}

#[test]
fn a_backup_that_lacks_a_node_counts_once_later_ones_do_without_it() {
    let nodes = |hours: u64, nodes: &[&str]| -> Vec<Found> {
        let all = nodes.iter();
        all.map(|node| found(task(), &ago(hours), node, false))
            .collect()
    };
    let whole = |manifests: Vec<Found>| -> Vec<bool> {
        let mut case = Case::new(Retention::default());
        case.manifests = manifests;
        let decision = case.decide();
        decision.backups.iter().map(|one| one.whole).collect()
    };
    let (three, two): (&[&str], &[&str]) = (&["01", "02", "03"], &["01", "02"]);
    assert_eq!(whole(nodes(3, two)), [true]);
    assert_eq!(whole([nodes(3, two), nodes(2, three)].concat()), [true; 2]);
    let shrunk = [nodes(3, three), nodes(2, two)].concat();
    assert_eq!(whole(shrunk.clone()), [true, false]);
    let again = [shrunk.clone(), nodes(1, two)].concat();
    assert_eq!(whole(again), [true, true, true]);
    let back = [shrunk.clone(), nodes(1, three)].concat();
    assert_eq!(whole(back), [true, false, true]);
    // A backup that is only begun says nothing of the nodes it has not come to yet.
    let begun = [shrunk, vec![found(task(), &ago(1), "01", true)]].concat();
    assert_eq!(whole(begun), [true, false, false]);
}

#[test]
fn what_was_never_finished_goes_when_its_run_is_over() {
    let begun = found(task(), &ago(3), "01", true);
    let mut case = Case::new(Retention::default()).with([1]);
    case.manifests.push(begun.clone());
    assert_eq!(case.removed(), [(ago(3), Cause::Unfinished)]);
    assert_eq!(
        case.decide().work()[0].stale,
        [begun].map(|found| found.key)
    );

    case.open.insert((task(), ago(3)));
    assert_eq!(case.kept(3), [Reason::Open]);
    case.open.clear();
    case.pinned.insert(ago(3));
    assert_eq!(case.kept(3), [Reason::Pinned]);
    case.pinned.clear();
    case.tasks.clear();
    assert_eq!(case.kept(3), [Reason::UnknownTask]);

    // Beside a finished twin it is a part of that.
    let mut case = Case::new(newest(1)).with([1, 3]);
    case.manifests.push(found(task(), &ago(1), "01", true));
    case.manifests.push(found(task(), &ago(3), "01", true));
    let decision = case.decide();
    assert!(decision.backups.iter().all(|backup| backup.whole));
    let work = &decision.work()[0];
    let both = [false, true].map(|temporary| found(task(), &ago(3), "01", temporary).key);
    assert_eq!((&work.stale[..], work.kept.len()), (&both[..], 2));
}

#[test]
fn pinned_and_open_ones_stay() {
    let mut case = Case::new(newest(1)).with([1, 3, 5, 7]);
    case.pinned.insert(ago(5));
    case.open.insert((task(), ago(7)));
    assert_eq!(case.removed(), [(ago(3), Cause::Number(1))]);
    assert_eq!(case.kept(5), [Reason::Pinned]);
    assert_eq!(case.kept(7), [Reason::Open]);
}

#[test]
fn a_deleted_tasks_backups_go_by_age() {
    let mut case = Case::new(newest(1)).with([1, 24 * 29, 24 * 31]);
    case.tasks.insert(task(), Policy::Deleted(newest(1)));
    assert_eq!(case.removed(), [(ago(24 * 31), Cause::Days(30))]);
    let longer = Retention {
        retention_days: 40,
        ..newest(1)
    };
    case.tasks.insert(task(), Policy::Deleted(longer));
    assert_eq!(case.removed(), []);
    case.tasks.insert(task(), Policy::Deleted(days(3)));
    assert_eq!(case.removed().len(), 2);
    let thinned = Retention {
        keep_daily: 1,
        ..days(3)
    };
    case.tasks.insert(task(), Policy::Deleted(thinned));
    assert_eq!(case.removed(), [(ago(24 * 31), Cause::Days(30))]);
    case.tasks
        .insert(task(), Policy::Deleted(Retention::default()));
    assert_eq!(case.removed(), []);
}

#[test]
fn an_unknown_tasks_backups_are_left_alone_unless_there_is_a_rule_for_them() {
    let mut case = Case::new(newest(1)).with([1, 24 * 31]);
    case.tasks.clear();
    assert_eq!(case.removed(), []);
    case.unknown = Some(days(30));
    assert_eq!(case.removed(), [(ago(24 * 31), Cause::Days(30))]);
}

#[test]
fn tags_in_the_future_push_nothing_out() {
    let future = crate::tag::at(NOW + 42 * DAY);
    let mut case = Case::new(newest(2)).with([1, 2, 3]);
    case.manifests.push(found(task(), &future, "01", false));
    assert_eq!(case.removed(), [(ago(3), Cause::Number(2))]);
    let verdict = |case: &Case| case.decide().backups.pop().unwrap().verdict;
    assert_eq!(verdict(&case), Verdict::Keep(vec![Reason::Future]));
    // Some minutes ahead are no future.
    case.now_ms = Some((NOW + 42 * DAY - 3500) * 1000);
    assert_eq!(verdict(&case), Verdict::Keep(vec![Reason::Newest(2)]));

    let never: SnapshotTag = "sm_20261399000000UTC".parse().unwrap();
    let mut case = Case::new(newest(1)).with([1]);
    case.manifests.push(found(task(), &never, "01", false));
    assert_eq!(case.removed(), []);
    assert_eq!(verdict(&case), Verdict::Keep(vec![Reason::NoTime]));
}

#[test]
fn when_clocks_disagree_nothing_goes_by_age() {
    let mut case = Case::new(days(1)).with([1, 100, 1000]);
    case.now_ms = None;
    assert_eq!(case.removed(), []);
    assert!(!case.decide().aged);
    assert_eq!(case.kept(1000), [Reason::ClocksDisagree]);
    let both = Retention {
        retention_days: 1,
        ..newest(2)
    };
    case.tasks.insert(task(), Policy::Live(both));
    assert_eq!(case.removed(), [(ago(1000), Cause::Number(2))]);

    let minutes = |n: u64| Duration::from_secs(n * 60);
    assert_eq!(agreed(NOW, NOW + 60_000, minutes(1)), Some(NOW));
    assert_eq!(agreed(NOW + 60_000, NOW, minutes(1)), Some(NOW));
    assert_eq!(agreed(NOW, NOW + 60_001, minutes(1)), None);
    assert_eq!(agreed(0, u64::MAX, minutes(1)), None);
}

#[test]
fn other_clusters_are_left_alone() {
    let mut case = Case::new(newest(1)).with([1, 2]);
    for found in &mut case.manifests {
        found.key.owner.cluster = id("c2");
    }
    assert_eq!(case.decide().backups, []);
}

#[test]
fn named_backups_go_and_no_others() {
    let case = Case::new(newest(1)).with([1, 2, 3]);
    let decision = delete(&case.question(), &[ago(1), ago(3)].into()).unwrap();
    let gone = [ago(3), ago(1)].map(|tag| (tag, Cause::Named));
    assert_eq!(removed(&decision), gone);
}

#[test]
fn what_must_not_be_deleted_is_named() {
    let mut case = Case::new(newest(1)).with([1, 2, 3]);
    let error = |case: &Case, hours: &[u64]| {
        let tags = hours.iter().map(|hours| ago(*hours)).collect();
        delete(&case.question(), &tags).unwrap_err()
    };
    let unknown = error(&case, &[1, 9]);
    assert_eq!(unknown, DeleteError::NotFound(vec![ago(9)]));
    let text = format!("there is no backup {}", ago(9));
    assert_eq!(unknown.to_string(), text);
    let last = error(&case, &[1, 2, 3]);
    assert_eq!(last, DeleteError::Last(vec![ago(1)]));
    case.pinned.insert(ago(2));
    assert_eq!(error(&case, &[1, 2]), DeleteError::Pinned(vec![ago(2)]));
    case.forced = true;
    let all = [ago(1), ago(2), ago(3)].into();
    let decision = delete(&case.question(), &all).unwrap();
    assert_eq!(removed(&decision).len(), 3);
    assert!(decision.work()[0].forced);
    case.open.insert((task(), ago(1)));
    assert_eq!(error(&case, &[1, 2]), DeleteError::Open(vec![ago(1)]));

    // Nothing good is lost with one that is not whole.
    let mut case = Case::new(newest(1));
    case.manifests.push(found(task(), &ago(1), "01", true));
    assert!(delete(&case.question(), &[ago(1)].into()).is_ok());
}

#[test]
fn a_backup_of_several_nodes_goes_in_two_rounds() {
    let tag = ago(5);
    let mut case = Case::new(newest(1)).with([1]);
    for node in ["01", "02"] {
        case.manifests.push(found(task(), &ago(1), node, false));
        case.manifests.push(found(task(), &tag, node, false));
    }
    let first = case.decide().work();
    assert_eq!(first.len(), 2);
    for (work, node) in first.iter().zip(["01", "02"]) {
        assert_eq!(work.unseal, [found(task(), &tag, node, false).key]);
        assert_eq!((&work.stale[..], &work.schemas[..]), (&[][..], &[][..]));
    }
    // One has died before it did so: the other waits for it.
    for found in &mut case.manifests {
        let this = found.key.tag == tag && found.key.owner.node == id("01");
        found.key.temporary = this;
    }
    let second = case.decide().work();
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].unseal, [found(task(), &tag, "02", false).key]);

    for found in &mut case.manifests {
        found.key.temporary = found.key.tag == tag;
    }
    let third = case.decide().work();
    for (work, node) in third.iter().zip(["01", "02"]) {
        assert_eq!(work.stale, [found(task(), &tag, node, true).key]);
        assert_eq!(work.kept, [found(task(), &ago(1), node, false).key]);
        let schemas: Vec<String> = work.schemas.iter().map(ToString::to_string).collect();
        assert!(schemas.iter().all(|key| key.contains(tag.as_str())));
        assert_eq!(schemas.len(), 3);
    }
}

#[test]
fn a_purge_leaves_what_has_come_since_the_decision() {
    let case = Case::new(newest(1)).with([1, 5]);
    let work = case.decide().work().remove(0);
    let stale = found(task(), &ago(5), "01", false).key;
    let twin = stale.with_temporary(true);
    let newer = found(id("b9"), &ago(0), "01", true).key;
    let known = found(task(), &ago(1), "01", false).key;
    let there = [stale.clone(), twin.clone(), newer.clone()];
    let sorted = work.sort(there.iter(), &BTreeSet::new());
    assert_eq!(sorted.stale, [stale.clone(), twin.clone()]);
    assert_eq!(sorted.kept, [newer.clone(), known.clone()]);
    let pinned = work.sort(there.iter(), &[ago(5)].into());
    assert_eq!(pinned.kept, [stale, twin, newer, known]);
    assert_eq!(pinned.stale, []);
}
