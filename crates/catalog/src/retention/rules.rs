//! The rules of one task.

use std::collections::BTreeMap;

use protocol::{Retention, TaskId};

use super::{Backup, Cause, Decided, Policy, Question, Reason, Verdict};
use crate::tag;

const DAY: u64 = 86_400;

/// Days for which a deleted task's backups stay at least, as with ScyllaDB Manager.
const AFTER_DELETION: u32 = 30;

/// How far a tag may be ahead, in milliseconds, before it counts as one of the future: more than
/// clocks of one installation are apart, unless one is wrong.
const AHEAD: u64 = 3_600_000;

/// Decides on the backups of one task, which come with the oldest first.
pub(super) fn of_task(question: &Question<'_>, task: TaskId, backups: Vec<Backup>) -> Vec<Decided> {
    let policy = match question.tasks.get(&task) {
        Some(Policy::Live(policy)) => Some(*policy),
        Some(Policy::Deleted(policy)) => Some(after_deletion(*policy)),
        None => question.unknown,
    };
    let mut newer = 0;
    let mut left = Vec::new();
    for backup in backups.iter().rev() {
        left.push(newer);
        newer += u32::from(counts(question, backup));
    }
    left.reverse();
    let mut chosen = policy.map_or_else(BTreeMap::new, |policy| chosen(question, policy, &backups));
    let decided = backups.into_iter().zip(left).enumerate();
    let decided = decided.map(|(at, (backup, newer))| {
        let ask = Ask {
            question,
            task,
            backup: &backup,
            newer,
            chosen: chosen.remove(&at).unwrap_or_default(),
        };
        let verdict = ask.verdict(policy);
        Decided::new(task, backup, verdict)
    });
    decided.collect()
}

/// A deleted task makes no newer backups that could replace the ones there are, so they go by age,
/// after time enough to notice.
fn after_deletion(policy: Retention) -> Retention {
    let by_number = policy.retention > 0 || policy.thins_out();
    Retention {
        retention_days: match by_number {
            true => policy.retention_days.max(AFTER_DELETION),
            false => policy.retention_days,
        },
        ..Retention::default()
    }
}

/// Whether a backup counts as one of the newest, or of its day.
fn counts(question: &Question<'_>, backup: &Backup) -> bool {
    backup.whole && time(question, backup).is_ok()
}

/// When a backup was made, in seconds since 1970; or why nobody knows.
fn time(question: &Question<'_>, backup: &Backup) -> Result<u64, Reason> {
    let time = tag::unix(&backup.tag).ok_or(Reason::NoTime)?;
    match question.now_ms {
        Some(now) if time * 1000 > now.saturating_add(AHEAD) => Err(Reason::Future),
        Some(_) | None => Ok(time),
    }
}

/// What the `keep_` rules choose, by its place in `backups`.
fn chosen(
    question: &Question<'_>,
    policy: Retention,
    backups: &[Backup],
) -> BTreeMap<usize, Vec<Reason>> {
    type Rule = (u32, fn(u64) -> String, fn(String) -> Reason);
    let rules: [Rule; 3] = [
        (policy.keep_daily, day, Reason::Daily),
        (policy.keep_weekly, week, Reason::Weekly),
        (policy.keep_monthly, month, Reason::Monthly),
    ];
    let mut chosen = BTreeMap::<usize, Vec<Reason>>::new();
    for (count, period, reason) in rules {
        let (mut taken, mut before) = (0, None);
        for (at, backup) in backups.iter().enumerate().rev() {
            let Ok(time) = time(question, backup) else {
                continue;
            };
            let period = period(time);
            if !backup.whole || before.as_ref() == Some(&period) {
                continue;
            }
            if taken == count {
                break;
            }
            taken += 1;
            chosen.entry(at).or_default().push(reason(period.clone()));
            before = Some(period);
        }
    }
    chosen
}

/// `2026-01-31`
fn day(time: u64) -> String {
    let tag = tag::at(time);
    let text = tag.as_str();
    format!("{}-{}-{}", &text[3..7], &text[7..9], &text[9..11])
}

/// `2026-01`
fn month(time: u64) -> String {
    day(time)[..7].to_owned()
}

/// `2026-W05`, by ISO 8601: weeks begin on Mondays and belong to the year of their Thursday.
fn week(time: u64) -> String {
    // 1970 began on a Thursday.
    let thursday = (time / DAY + 3) / 7 * 7;
    let date = tag::at(thursday * DAY);
    let year = &date.as_str()[3..7];
    let first = format!("sm_{year}0101000000UTC").parse();
    let first = first.ok().and_then(|first| tag::unix(&first));
    let passed = thursday - first.unwrap_or_default() / DAY;
    format!("{year}-W{:02}", passed / 7 + 1)
}

/// What there is to say of one backup.
struct Ask<'a> {
    question: &'a Question<'a>,
    task: TaskId,
    backup: &'a Backup,
    /// How many newer ones count.
    newer: u32,
    chosen: Vec<Reason>,
}

impl Ask<'_> {
    fn verdict(self, policy: Option<Retention>) -> Verdict {
        let mut reasons = self.exempt();
        let Some(policy) = policy else {
            reasons.push(Reason::UnknownTask);
            return Verdict::Keep(reasons);
        };
        // Whether a task that nobody knows is still at work, nobody knows either.
        let known = self.question.tasks.contains_key(&self.task);
        if known && self.backup.finished.is_empty() {
            return match reasons.is_empty() {
                true => Verdict::Remove(Cause::Unfinished),
                false => Verdict::Keep(reasons),
            };
        }
        if policy.is_unset() {
            reasons.push(Reason::NoPolicy);
        }
        let cause = match time(self.question, self.backup) {
            Ok(time) => self.weigh(policy, time, &mut reasons),
            Err(reason) => {
                reasons.push(reason);
                Cause::NotChosen
            }
        };
        reasons.extend(self.chosen);
        match reasons.is_empty() {
            true => Verdict::Remove(cause),
            false => Verdict::Keep(reasons),
        }
    }

    /// Reasons that no rule overrides.
    fn exempt(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.question.pinned.contains(&self.backup.tag) {
            reasons.push(Reason::Pinned);
        }
        let this = (self.task, self.backup.tag.clone());
        if self.question.open.contains(&this) {
            reasons.push(Reason::Open);
        }
        reasons
    }

    /// Adds why age and number keep it; says why it goes if nothing does.
    fn weigh(&self, policy: Retention, time: u64, reasons: &mut Vec<Reason>) -> Cause {
        let (count, days) = (policy.retention, policy.retention_days);
        if count == 0 && days == 0 {
            if !self.backup.whole && self.newer == 0 {
                reasons.push(Reason::Unreplaced);
            }
            return Cause::NotChosen;
        }
        let reach = u64::from(days) * DAY * 1000;
        let now = self.question.now_ms;
        if days > 0 && now.is_some_and(|now| time * 1000 < now.saturating_sub(reach)) {
            return Cause::Days(days);
        }
        if count > 0 && self.newer >= count {
            return Cause::Number(count);
        }
        if count > 0 {
            reasons.push(Reason::Newest(count));
        }
        if days > 0 {
            reasons.push(match now {
                Some(_) => Reason::Days(days),
                None => Reason::ClocksDisagree,
            });
        }
        Cause::NotChosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_have_their_usual_names() {
        for (tag, expected) in [
            (
                "sm_19700101000000UTC",
                ["1970-01-01", "1970-W01", "1970-01"],
            ),
            (
                "sm_20260131235959UTC",
                ["2026-01-31", "2026-W05", "2026-01"],
            ),
            (
                "sm_20260104235959UTC",
                ["2026-01-04", "2026-W01", "2026-01"],
            ),
            (
                "sm_20260105000000UTC",
                ["2026-01-05", "2026-W02", "2026-01"],
            ),
            // The last days of a year may belong to the next one's first week, and the other way.
            (
                "sm_20241230000000UTC",
                ["2024-12-30", "2025-W01", "2024-12"],
            ),
            (
                "sm_20210103000000UTC",
                ["2021-01-03", "2020-W53", "2021-01"],
            ),
            (
                "sm_20240229120000UTC",
                ["2024-02-29", "2024-W09", "2024-02"],
            ),
        ] {
            let time = tag::unix(&tag.parse().unwrap()).unwrap();
            assert_eq!([day(time), week(time), month(time)], expected, "{tag}");
        }
    }
}
