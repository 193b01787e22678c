//! Retention: which backups stay, and why.
//!
//! [`decide`] weighs all backups of a cluster against what their tasks are to keep; [`delete`]
//! takes the ones a user names. Either gives a [`Decision`], which says of every backup what
//! becomes of it, and what each node has to do for that.
//!
//! # How the rules combine
//! 1. By [`Retention::retention_days`], what is older goes.
//! 2. Of what is left, all but the newest [`Retention::retention`] go.
//! 3. The newest whole backup of each of the last days, weeks and months that have one stays as
//!    the `keep_` rules say, whatever 1 and 2 say. Without 1 and 2, only those stay.
//!
//! A deleted task's backups go by age alone, none before it is 30 days old; what a task that
//! nobody knows has made is left alone unless the caller gives a policy for it.
//!
//! # Which backups count
//! Only a whole one counts as one of the newest N, or as a day's, a week's or a month's. Whole is
//! a backup with finished manifests, none of whose nodes has an unfinished one only, and that
//! lacks no node: none that the whole one before it has, unless later ones do without it, too. A
//! node that is gone therefore makes the first backup without it count one backup later.
//!
//! What is not whole goes by age as all do, and by number once as many whole ones are newer. What
//! has no finished manifest at all promises nothing, and goes as soon as no run can go on with it; of
//! a task that nobody knows, by age.
//!
//! A tag in the future is a clock's mistake. It is kept until its time has come and does not count
//! until then, so it pushes out none of the others. When nobody knows how late it is, because the
//! clocks disagree, nothing goes by age, and tags are taken in their order.
//!
//! # Promises
//! * Nothing pinned, and nothing of an open run, goes.
//! * Each live task, and the cluster, keeps its newest whole backup, or where there is none, the
//!   newest with any finished manifest; unless forced.
//! * No single clock decides: see [`agreed`].
//! * A backup never looks whole while some of it is gone: its files go only when no node has a
//!   finished manifest of it any more, and until then none of its unfinished ones goes.
//!
//! # Not here
//! Which files go with a backup is `purge`'s.

mod gather;
mod pin;
mod rules;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use protocol::{ClusterId, Location, Retention, SnapshotTag, TaskId};

use self::gather::{Backup, gather};
pub use self::{
    pin::Pin,
    work::{NodeWork, Sorted},
};
use crate::key::ManifestKey;

/// A manifest, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Where.
    pub location: Location,
    /// Which.
    pub key: ManifestKey,
}

/// What a task's backups are kept by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The task is there, enabled or not.
    Live(Retention),
    /// The task was deleted.
    Deleted(Retention),
}

/// All that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its manifests in all its locations. Those of other clusters are left alone.
    pub manifests: &'a [Found],
    /// Backups to be kept until somebody says otherwise.
    pub pinned: &'a BTreeSet<SnapshotTag>,
    /// What the tasks' backups are kept by.
    pub tasks: &'a BTreeMap<TaskId, Policy>,
    /// What the backups of other tasks are kept by; with `None` they are left alone.
    pub unknown: Option<Retention>,
    /// Backups whose runs are open or can be continued, and those that a restore reads. A backup
    /// that is not finished and not among these is taken for given up.
    pub open: &'a BTreeSet<(TaskId, SnapshotTag)>,
    /// How late it is, in milliseconds since 1970, if that is known: see [`agreed`].
    pub now_ms: Option<u64>,
    /// Whether the last good backup may go, too.
    pub forced: bool,
}

/// What becomes of a cluster's backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The cluster.
    pub cluster: ClusterId,
    /// Whether ages counted. If not, the clocks disagreed.
    pub aged: bool,
    /// Every backup, by task and tag.
    pub backups: Vec<Decided>,
    forced: bool,
}

/// What becomes of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The task that made it.
    pub task: TaskId,
    /// It.
    pub tag: SnapshotTag,
    /// Whether it counts as a good one, as far as keys can tell.
    pub whole: bool,
    /// What becomes of it.
    pub verdict: Verdict,
    backup: Backup,
}

/// What becomes of a backup, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for each of these reasons.
    Keep(Vec<Reason>),
    /// It goes.
    Remove(Cause),
}

/// Why a backup stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is one of the newest so many, or newer than the last of them.
    Newest(u32),
    /// It is not so many days old.
    Days(u32),
    /// It would go by age, but nobody knows how late it is.
    ClocksDisagree,
    /// It is the newest whole one of a day, as in `2026-01-31`.
    Daily(String),
    /// It is the newest whole one of a week, as in `2026-W05`.
    Weekly(String),
    /// It is the newest whole one of a month, as in `2026-01`.
    Monthly(String),
    /// It is not whole, but no newer one is.
    Unreplaced,
    /// It is pinned.
    Pinned,
    /// Its run is open.
    Open,
    /// Nobody knows its task.
    UnknownTask,
    /// Its task keeps everything.
    NoPolicy,
    /// Nothing good would be left.
    Last,
    /// Its time has not come.
    Future,
    /// Its tag holds no time, as in a 13th month.
    NoTime,
    /// It was not asked for.
    NotNamed,
}

/// Why a backup goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is older than so many days.
    Days(u32),
    /// So many newer ones are there.
    Number(u32),
    /// No rule chooses it.
    NotChosen,
    /// It was never finished, and nobody will.
    Unfinished,
    /// A user asked for it.
    Named,
}

/// Why backups are not deleted. None of them is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// There are no such backups.
    #[error("there is no backup {}", list(.0))]
    NotFound(Vec<SnapshotTag>),
    /// Their runs are open.
    #[error("a run is still at work on backup {}: stop it or let it end", list(.0))]
    Open(Vec<SnapshotTag>),
    /// They are pinned.
    #[error("backup {} is pinned: unpin it first, or force this", list(.0))]
    Pinned(Vec<SnapshotTag>),
    /// Nothing good would be left.
    #[error(
        "backup {} is the last good one of its task or its cluster: only force deletes it",
        list(.0)
    )]
    Last(Vec<SnapshotTag>),
}

/// How late it is in milliseconds since 1970, if two clocks agree: the earlier of both.
///
/// Clocks that differ by more than `tolerance` leave nobody to say which of them is right.
#[must_use]
pub fn agreed(a_ms: u64, b_ms: u64, tolerance: Duration) -> Option<u64> {
    let apart = Duration::from_millis(a_ms.abs_diff(b_ms));
    (apart <= tolerance).then_some(a_ms.min(b_ms))
}

/// Decides what becomes of every backup of the cluster.
#[must_use]
pub fn decide(question: &Question<'_>) -> Decision {
    let mut backups = Vec::new();
    for (task, of_task) in gather(question.cluster, question.manifests) {
        backups.extend(rules::of_task(question, task, of_task));
    }
    if !question.forced {
        keep_last(question, &mut backups);
    }
    Decision {
        cluster: question.cluster,
        aged: question.now_ms.is_some(),
        backups,
        forced: question.forced,
    }
}

/// Decides that the backups of these tags go, and no others.
///
/// # Errors
/// [`DeleteError`], which names those that are not there, or must not go.
pub fn delete(
    question: &Question<'_>,
    tags: &BTreeSet<SnapshotTag>,
) -> Result<Decision, DeleteError> {
    let mut backups = Vec::new();
    for (task, of_task) in gather(question.cluster, question.manifests) {
        let decided = of_task.into_iter().map(|backup| {
            let verdict = match tags.contains(&backup.tag) {
                true => Verdict::Remove(Cause::Named),
                false => Verdict::Keep(vec![Reason::NotNamed]),
            };
            Decided::new(task, backup, verdict)
        });
        backups.extend(decided);
    }
    allowed(question, tags, &backups)?;
    Ok(Decision {
        cluster: question.cluster,
        aged: question.now_ms.is_some(),
        backups,
        forced: question.forced,
    })
}

fn allowed(
    question: &Question<'_>,
    tags: &BTreeSet<SnapshotTag>,
    backups: &[Decided],
) -> Result<(), DeleteError> {
    let there: BTreeSet<&SnapshotTag> = backups.iter().map(|backup| &backup.tag).collect();
    let missing = of(tags.iter().filter(|tag| !there.contains(tag)));
    if !missing.is_empty() {
        return Err(DeleteError::NotFound(missing));
    }
    let removed = || backups.iter().filter(|backup| backup.goes());
    let open = removed().filter(|one| question.open.contains(&(one.task, one.tag.clone())));
    let open = of(open.map(|one| &one.tag));
    if !open.is_empty() {
        return Err(DeleteError::Open(open));
    }
    if question.forced {
        return Ok(());
    }
    let pinned = of(tags.intersection(question.pinned));
    if !pinned.is_empty() {
        return Err(DeleteError::Pinned(pinned));
    }
    let groups = groups(question, backups);
    let last = groups.into_iter().filter_map(|group| {
        let whole = |at: &&usize| backups[**at].whole;
        let left = group.iter().filter(whole).any(|at| !backups[*at].goes());
        let newest = group.iter().rfind(whole);
        newest.filter(|_| !left).map(|newest| &backups[*newest].tag)
    });
    let last = of(last);
    match last.is_empty() {
        true => Ok(()),
        false => Err(DeleteError::Last(last)),
    }
}

/// Keeps the newest good backup of each group that would be left without one.
fn keep_last(question: &Question<'_>, backups: &mut [Decided]) {
    for group in groups(question, backups) {
        let any_whole = group.iter().any(|at| backups[*at].whole);
        let good = |at: &&usize| match any_whole {
            true => backups[**at].whole,
            false => !backups[**at].backup.finished.is_empty(),
        };
        let left = group.iter().filter(good).any(|at| !backups[*at].goes());
        let newest = group.iter().rfind(good).copied();
        if let Some(newest) = newest.filter(|_| !left) {
            backups[newest].verdict = Verdict::Keep(vec![Reason::Last]);
        }
    }
}

/// Where the backups are, oldest first, of each group that must keep one: each live task's, and
/// the cluster's.
fn groups(question: &Question<'_>, backups: &[Decided]) -> Vec<Vec<usize>> {
    let mut tasks = BTreeMap::<TaskId, Vec<usize>>::new();
    for (at, backup) in backups.iter().enumerate() {
        if let Some(Policy::Live(_)) = question.tasks.get(&backup.task) {
            tasks.entry(backup.task).or_default().push(at);
        }
    }
    let mut cluster: Vec<usize> = (0..backups.len()).collect();
    cluster.sort_by_key(|at| &backups[*at].tag);
    tasks.into_values().chain([cluster]).collect()
}

fn of<'a>(tags: impl Iterator<Item = &'a SnapshotTag>) -> Vec<SnapshotTag> {
    let tags: BTreeSet<&SnapshotTag> = tags.collect();
    tags.into_iter().cloned().collect()
}

fn list(tags: &[SnapshotTag]) -> String {
    let tags: Vec<&str> = tags.iter().map(SnapshotTag::as_str).collect();
    tags.join(", ")
}

impl Decided {
    fn new(task: TaskId, backup: Backup, verdict: Verdict) -> Self {
        Self {
            task,
            tag: backup.tag.clone(),
            whole: backup.whole,
            verdict,
            backup,
        }
    }

    /// Whether it goes.
    #[must_use]
    pub fn goes(&self) -> bool {
        matches!(self.verdict, Verdict::Remove(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest(count) => write!(f, "newest {count}"),
            Self::Days(days) => write!(f, "within {days} days"),
            Self::ClocksDisagree => f.write_str("clocks disagree on its age"),
            Self::Daily(day) => write!(f, "daily of {day}"),
            Self::Weekly(week) => write!(f, "weekly of {week}"),
            Self::Monthly(month) => write!(f, "monthly of {month}"),
            Self::Unreplaced => f.write_str("no newer backup is whole"),
            Self::Pinned => f.write_str("pinned"),
            Self::Open => f.write_str("its run is open"),
            Self::UnknownTask => f.write_str("unknown task"),
            Self::NoPolicy => f.write_str("its task keeps all"),
            Self::Last => f.write_str("last good one"),
            Self::Future => f.write_str("tag in the future"),
            Self::NoTime => f.write_str("tag holds no time"),
            Self::NotNamed => f.write_str("not named"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => write!(f, "older than {days} days"),
            Self::Number(count) => write!(f, "{count} newer ones are kept"),
            Self::NotChosen => f.write_str("chosen by no rule"),
            Self::Unfinished => f.write_str("never finished"),
            Self::Named => f.write_str("asked for"),
        }
    }
}

#[cfg(test)]
mod tests;
