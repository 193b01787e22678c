//! Subjects: where each message goes.
//!
//! * `thetis.job.<kind>.<cluster>.<target>.<run>.<part>`, the target being a node's host id, or
//!   `dc-<datacenter>` for a batch that is bound to none, or `scheduler` for a request. A job has one subject and the
//!   stream holds one message a subject, so a job can wait in the queue only once, however often it
//!   is published.
//! * `thetis.event.<kind>.<cluster>.<run>`.
//! * `thetis.command.<cluster>.<kind>`, the cluster by id or name.
//! * `thetis.audit.<cluster>`.
//! * `thetis.notice.<cluster>.<type>.<task>.<status>`, ids and small letters.

use crate::{ClusterId, Event, Job, LoadBatch, NodeId, Notice, RunId};

/// All jobs.
pub const JOBS: &str = "thetis.job.>";
/// All events.
pub const EVENTS: &str = "thetis.event.>";
/// All requests to the scheduler.
pub const REQUESTS: &str = "thetis.job.request.>";

/// All commands.
pub const COMMANDS: &str = "thetis.command.*.*";
/// All notes on who changed what.
pub const AUDIT: &str = "thetis.audit.>";

/// Where notes go on changes of what `cluster` names in a path; `None` if no cluster is meant.
#[must_use]
pub fn of_audit(cluster: Option<&str>) -> String {
    let token = cluster.filter(|name| is_token(name));
    format!("thetis.audit.{}", token.unwrap_or("none"))
}

/// Ends of runs, among all events: also of those that never began.
pub const ENDS: [&str; 2] = ["thetis.event.run_ended.>", "thetis.event.refused.>"];

/// Where a notice goes.
#[must_use]
pub fn of_notice(notice: &Notice) -> String {
    let Notice::RunEnded(ended) = notice;
    let (cluster, kind, task) = (ended.cluster, ended.kind.as_str(), ended.task);
    let status = ended.status.as_str().to_ascii_lowercase();
    format!("thetis.notice.{cluster}.{kind}.{task}.{status}")
}

/// Whether a text can stand between two dots of a subject.
fn is_token(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.chars().all(fits)
}

/// Where `job` goes.
#[must_use]
pub fn of_job(job: &Job) -> String {
    let (cluster, run) = job.owner();
    let target = match job {
        Job::Request(_) => "scheduler".to_owned(),
        Job::LoadBatch(LoadBatch { node: None, dc, .. }) => dc_token(dc),
        Job::Inspect(_)
        | Job::Ping(_)
        | Job::SetBalancing(_)
        | Job::TakeSnapshot(_)
        | Job::Index(_)
        | Job::StoreSchema(_)
        | Job::Upload(_)
        | Job::Seal(_)
        | Job::DropSnapshot(_)
        | Job::Purge(_)
        | Job::Validate(_)
        | Job::ClearSnapshots(_)
        | Job::PlanRestore(_)
        | Job::PrepareSchema(_)
        | Job::ProveRestore(_)
        | Job::SettleSchema(_)
        | Job::PrepareNode(_)
        | Job::LoadBatch(_)
        | Job::PutBack(_) => job.node().map(|node| node.to_string()).unwrap_or_default(),
    };
    format!(
        "thetis.job.{}.{cluster}.{target}.{run}.{}",
        job.kind(),
        job.part()
    )
}

/// Where `event` goes.
#[must_use]
pub fn of_event(event: &Event) -> String {
    format!(
        "thetis.event.{}.{}.{}",
        event.fact.kind(),
        event.cluster,
        event.run
    )
}

/// Jobs of `kind` bound to `node`, of whatever cluster: host ids are unique in the world.
#[must_use]
pub fn for_node(kind: &str, node: NodeId) -> String {
    format!("thetis.job.{kind}.*.{node}.>")
}

/// Jobs of `kind` that any node of `dc` in `cluster` may take.
#[must_use]
pub fn for_dc(kind: &str, cluster: ClusterId, dc: &str) -> String {
    format!("thetis.job.{kind}.{cluster}.{}.>", dc_token(dc))
}

/// Every job of one run that may be removed from the queue: all but those that switch something or
/// put it back. One that is in hand may have switched it and not told yet, and one that waits may
/// be there to put back what came after the run's end.
#[must_use]
pub fn removable(cluster: ClusterId, run: RunId) -> Vec<String> {
    let switches = ["set_balancing", "prepare_node", "put_back", "settle_schema"];
    Job::KINDS
        .into_iter()
        .filter(|kind| !switches.contains(kind))
        .map(|kind| format!("thetis.job.{kind}.{cluster}.*.{run}.*"))
        .collect()
}

/// A datacenter's name as a token: what NATS gives a meaning to is written as `=XX`.
fn dc_token(dc: &str) -> String {
    use std::fmt::Write as _;
    let mut token = String::from("dc-");
    for byte in dc.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            token.push(char::from(byte));
        } else {
            write!(token, "={byte:02X}").expect("a String takes all that is written to it");
        }
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datacenter_stays_one_token() {
        assert_eq!(dc_token("dc1"), "dc-dc1");
        assert_eq!(dc_token("eu.west 1*"), "dc-eu=2Ewest=201=2A");
        assert_ne!(dc_token("a=2E"), dc_token("a."));
    }
}
