//! What the scheduler counts. Only the leader has anything to say of runs.

mod board;

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use protocol::{Cluster, ClusterId, RunStatus, TaskKind};

pub(crate) use self::board::{Board, Found};
use crate::proofs::Proof;

/// Which cluster, by its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCluster {
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDepth {
    cluster: String,
    depth: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStatus {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    kind: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfNotice {
    outcome: &'static str,
}

/// What became of a try to tell a webhook of a run's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Sent,
    Failed,
    GivenUp,
}

/// The scheduler's metrics, under `thetis_scheduler_`.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) leader: Gauge,
    pub(crate) events: Counter,
    /// What is shown of clusters, tasks and nodes.
    pub(crate) board: Board,
    backup_age: Family<OfCluster, Gauge<f64, AtomicU64>>,
    proof_age: Family<OfDepth, Gauge<f64, AtomicU64>>,
    open: Family<OfStatus, Gauge>,
    ended: Family<Outcome, Counter>,
    answers: Family<Answer, Counter>,
    notices: Family<OfNotice, Counter>,
}

impl Metrics {
    pub(crate) fn register(r: &mut Registry) -> Self {
        let metrics = Self::default();
        r.register(
            "leader",
            "Whether this replica leads",
            metrics.leader.clone(),
        );
        r.register("events", "Events folded into runs", metrics.events.clone());
        r.register_with_unit(
            "last_good_backup_age",
            "Time since a backup of the cluster was last done",
            Unit::Seconds,
            metrics.backup_age.clone(),
        );
        r.register_with_unit(
            "last_proof_age",
            "Time since a backup of the cluster was last proven to be restorable, by depth: `present`, `content` or `drill`",
            Unit::Seconds,
            metrics.proof_age.clone(),
        );
        r.register(
            "open_runs",
            "Runs under way, by status",
            metrics.open.clone(),
        );
        r.register(
            "runs_ended",
            "Runs that ended, by kind and status",
            metrics.ended.clone(),
        );
        r.register(
            "http_answers",
            "Requests answered, by method and status",
            metrics.answers.clone(),
        );
        r.register(
            "webhook_notices",
            "Tries to tell webhooks of a run's end, by outcome: `sent`, `failed` or `given_up`",
            metrics.notices.clone(),
        );
        for told in [Told::Sent, Told::Failed, Told::GivenUp] {
            metrics.notices_of(told);
        }
        metrics
    }

    fn notices_of(&self, told: Told) -> Counter {
        let outcome = match told {
            Told::Sent => "sent",
            Told::Failed => "failed",
            Told::GivenUp => "given_up",
        };
        self.notices.get_or_create_owned(&OfNotice { outcome })
    }

    /// A webhook was told of a run's end, or not.
    pub(crate) fn told(&self, told: Told) {
        self.notices_of(told).inc();
    }

    /// A run has ended.
    pub(crate) fn ended(&self, kind: TaskKind, status: RunStatus) {
        self.ended
            .get_or_create(&Outcome {
                kind: kind.as_str(),
                status: status.as_str(),
            })
            .inc();
    }

    /// These are the runs under way.
    pub(crate) fn open(&self, runs: impl Iterator<Item = RunStatus>) {
        let mut counts = BTreeMap::from([("RUNNING", 0), ("STOPPING", 0)]);
        for status in runs {
            *counts.entry(status.as_str()).or_default() += 1;
        }
        for (status, count) in counts {
            self.open.get_or_create(&OfStatus { status }).set(count);
        }
    }

    /// When each cluster was last backed up, in milliseconds since 1970.
    pub(crate) fn ages(&self, clusters: &[Cluster], good: &BTreeMap<ClusterId, u64>, now_ms: u64) {
        self.backup_age.clear();
        for cluster in clusters {
            if let Some(at) = good.get(&cluster.id) {
                let age =
                    std::time::Duration::from_millis(now_ms.saturating_sub(*at)).as_secs_f64();
                self.backup_age
                    .get_or_create(&OfCluster {
                        cluster: cluster.id.to_string(),
                    })
                    .set(age);
            }
        }
    }

    /// What was last proven of each cluster's backups.
    pub(crate) fn proofs(
        &self,
        clusters: &[Cluster],
        proven: &BTreeMap<ClusterId, Proof>,
        now_ms: u64,
    ) {
        self.proof_age.clear();
        for cluster in clusters {
            let proof = proven.get(&cluster.id).copied().unwrap_or_default();
            for (depth, at) in [
                ("present", proof.present_ms),
                ("content", proof.content_ms),
                ("drill", proof.drill_ms),
            ] {
                if at > 0 {
                    let age = std::time::Duration::from_millis(now_ms.saturating_sub(at));
                    let cluster = cluster.id.to_string();
                    self.proof_age
                        .get_or_create(&OfDepth { cluster, depth })
                        .set(age.as_secs_f64());
                }
            }
        }
    }

    /// Another replica knows better now.
    pub(crate) fn not_leading(&self) {
        self.leader.set(0);
        self.board.clear();
        self.open.clear();
        self.backup_age.clear();
        self.proof_age.clear();
    }

    /// A request was answered. Clients may make methods up, and those are all one.
    pub(crate) fn answered(&self, method: &str, status: u16) {
        let known = ["GET", "POST", "PUT", "DELETE"];
        let method = known
            .into_iter()
            .find(|known| *known == method)
            .unwrap_or("other");
        self.answers.get_or_create(&Answer { method, status }).inc();
    }
}
