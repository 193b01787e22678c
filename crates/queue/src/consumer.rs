//! Durable consumers: what replicas of one worker share.

use std::{collections::BTreeSet, time::Duration};

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{Cluster, ClusterId, NodeId, Presence, WorkerKind, subject};
use tokio::time::timeout;

use crate::{
    Error, Queue,
    error::BoxError,
    pull::{Gone, Pull},
    streams,
};

/// How many messages may be in hand or waiting to be tried again. The server's own default: each
/// worker takes only what it has a free slot for, so no less is needed to share fairly, and jobs
/// of a failing kind that wait for their next attempt must not hold up the others.
const IN_HAND: i64 = 1_000;

/// A consumer that nobody has asked for so long is deleted by the server: its node is gone. The
/// jobs stay where they are.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many consumers are made at once.
const AT_ONCE: usize = 16;
/// How long a look at all consumers' names may take.
const LOOK: Duration = Duration::from_secs(10);

/// Which jobs a worker does, and how many at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Workers of one name share the jobs. What NATS gives a meaning to is written as `=XX`.
    pub name: String,
    /// Subjects, as from [`subject::for_node`](protocol::subject::for_node). No two consumers of
    /// different names may want the same job.
    pub filters: Vec<String>,
    /// Jobs in hand at once.
    pub slots: usize,
}

/// What a node's workers take for the node alone: one consumer for each of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// What a snapshot-worker does.
    Snapshots,
    /// What an uploader does for a backup.
    Uploads,
    /// What it does besides: it may take hours, and must not be in a backup's way.
    Validations,
    /// What a restore-worker does for its node.
    Restores,
    /// Batches that are bound to the node; any of a datacenter takes the others.
    Batches,
}

impl Takes {
    const ALL: [Self; 5] = [
        Self::Snapshots,
        Self::Uploads,
        Self::Validations,
        Self::Restores,
        Self::Batches,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshot",
            Self::Uploads => "upload",
            Self::Validations => "validate",
            Self::Restores => "restore",
            Self::Batches => "restore-batches",
        }
    }

    fn worker(self) -> WorkerKind {
        match self {
            Self::Snapshots => WorkerKind::Snapshot,
            Self::Uploads | Self::Validations => WorkerKind::Upload,
            Self::Restores | Self::Batches => WorkerKind::Restore,
        }
    }

    fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Snapshots => &[
                "inspect",
                "set_balancing",
                "take_snapshot",
                "index",
                "store_schema",
                "drop_snapshot",
                "clear_snapshots",
            ],
            Self::Uploads => &["upload", "seal", "purge"],
            Self::Validations => &["validate"],
            Self::Restores => &[
                "plan_restore",
                "prepare_schema",
                "prove_restore",
                "settle_schema",
                "prepare_node",
                "put_back",
            ],
            Self::Batches => &["load_batch"],
        }
    }
}

impl Consumer {
    /// Of jobs for `node` alone.
    #[must_use]
    pub fn beside(node: NodeId, takes: Takes, slots: usize) -> Self {
        let kinds = takes.kinds().iter();
        Self {
            name: format!("{}-{node}", takes.name()),
            filters: kinds.map(|kind| subject::for_node(kind, node)).collect(),
            slots,
        }
    }

    /// The one that a cluster's restore-workers in a datacenter share.
    #[must_use]
    pub fn of_batches(cluster: ClusterId, dc: &str, slots: usize) -> Self {
        Self {
            name: format!("restore-{cluster}-{dc}"),
            filters: vec![subject::for_dc("load_batch", cluster, dc)],
            slots,
        }
    }

    /// All that these workers have between them.
    #[must_use]
    pub fn of_all(workers: &[Presence], clusters: &[Cluster]) -> Vec<Self> {
        let kinds: BTreeSet<(WorkerKind, NodeId)> =
            workers.iter().map(|w| (w.worker, w.node)).collect();
        let nodes = clusters.iter().flat_map(|cluster| {
            let nodes = cluster.nodes.iter();
            nodes.map(move |node| (cluster.id, node.dc.as_str()))
        });
        let dcs: BTreeSet<(ClusterId, &str)> = nodes.collect();
        let own = kinds.into_iter().flat_map(|(kind, node)| {
            let own = Takes::ALL.into_iter();
            own.filter(move |takes| takes.worker() == kind)
                .map(move |takes| Self::beside(node, takes, 1))
        });
        let shared = dcs
            .into_iter()
            .map(|(cluster, dc)| Self::of_batches(cluster, dc, 1));
        own.chain(shared).collect()
    }

    /// Its name as the server knows it.
    #[must_use]
    pub fn known_as(&self) -> String {
        token(&self.name)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.name.is_empty() || self.filters.is_empty() || self.slots == 0 {
            let text = format!("consumer `{}` needs a name, subjects and slots", self.name);
            return Err(Error::Settings(text));
        }
        Ok(())
    }
}

/// What a durable consumer takes from its stream.
pub(crate) fn durable(name: &str, filters: &[String], ack_wait: Duration) -> pull::Config {
    pull::Config {
        durable_name: Some(token(name)),
        filter_subjects: filters.to_vec(),
        ack_policy: AckPolicy::Explicit,
        ack_wait,
        max_ack_pending: IN_HAND,
        inactive_threshold: FORGOTTEN,
        ..pull::Config::default()
    }
}

/// A name as a consumer's: what may not stand in it is written as `=XX`.
fn token(name: &str) -> String {
    use std::fmt::Write as _;
    let mut token = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            token.push(char::from(byte));
        } else {
            write!(token, "={byte:02X}").expect("a String takes all that is written to it");
        }
    }
    token
}

impl Queue {
    /// Makes the consumer unless it is there, and gets ready to ask it. Also makes the stream if
    /// that is missing.
    pub(crate) async fn open(&self, stream: &str, config: pull::Config) -> Result<Pull, Error> {
        let consumer = if self.shared.settings.provision {
            self.make(stream, config).await?
        } else {
            self.find(stream, config).await?
        };
        Pull::new(self, consumer)
            .await
            .map_err(|gone: Gone| Error::unavailable("ask for messages", gone))
    }

    async fn make(&self, stream: &str, config: pull::Config) -> Result<PullConsumer, Error> {
        let js = &self.shared.js;
        match js.create_consumer_on_stream(config.clone(), stream).await {
            Ok(consumer) => Ok(consumer),
            Err(_) => {
                self.ensure().await?;
                let made = js.create_consumer_on_stream(config, stream).await;
                made.map_err(|e| {
                    let cause = BoxError::from(e);
                    Error::unavailable(format!("make a consumer of stream {stream}"), cause)
                })
            }
        }
    }

    /// One that a scheduler has made.
    async fn find(&self, stream: &str, config: pull::Config) -> Result<PullConsumer, Error> {
        let js = &self.shared.js;
        let name = config.durable_name.unwrap_or_default();
        let found = js.get_consumer_from_stream(&name, stream).await;
        found.map_err(|e| {
            let what = format!("find consumer {name} of stream {stream}, which a scheduler makes");
            Error::unavailable(what, BoxError::from(e))
        })
    }

    /// Makes consumers of jobs, for workers whose users may not: those not in `made` yet, and those
    /// that the server has lost since. Notes in `made` what it made.
    ///
    /// # Errors
    /// [`Error::Unavailable`]. What was made until then is noted.
    pub async fn provide(
        &self,
        consumers: Vec<Consumer>,
        made: &mut BTreeSet<String>,
    ) -> Result<(), Error> {
        if !self.shared.settings.provision {
            return Ok(());
        }
        let there = self.consumers().await?;
        made.retain(|name| there.contains(name));
        let ack_wait = self.shared.settings.ack_wait();
        let lacking = consumers
            .into_iter()
            .filter(|consumer| !made.contains(&consumer.known_as()))
            .map(|consumer| durable(&consumer.name, &consumer.filters, ack_wait))
            .collect::<Vec<_>>();
        let mut making = stream::iter(lacking)
            .map(|config| async move {
                let name = config.durable_name.clone().unwrap_or_default();
                self.make(streams::JOBS, config).await.map(|_| name)
            })
            .buffer_unordered(AT_ONCE);
        while let Some(name) = making.try_next().await? {
            made.insert(name);
        }
        Ok(())
    }

    /// The names of all consumers of jobs; one request for 1,024.
    async fn consumers(&self) -> Result<BTreeSet<String>, Error> {
        let failed = |cause: BoxError| Error::unavailable("look at the consumers of jobs", cause);
        let look = async {
            let stream = self.shared.js.get_stream_no_info(streams::JOBS).await?;
            let names = stream.consumer_names().try_collect().await?;
            Ok::<_, BoxError>(names)
        };
        match timeout(LOOK, look).await {
            Ok(found) => found.map_err(failed),
            Err(late) => Err(failed(late.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_nothing_that_nats_gives_a_meaning_to() {
        assert_eq!(token("upload-a_1"), "upload-a_1");
        assert_eq!(token("restore-dc.1 *"), "restore-dc=2E1=20=2A");
    }

    /// Whoever takes a job takes it alone: the stream refuses consumers that share one.
    #[test]
    fn every_kind_of_job_of_a_node_has_one_taker() {
        let others = ["request", "ping"];
        for kind in protocol::Job::KINDS {
            let takers = Takes::ALL
                .iter()
                .filter(|takes| takes.kinds().contains(&kind));
            let expected = usize::from(!others.contains(&kind));
            assert_eq!(takers.count(), expected, "{kind}");
        }
    }
}
