//! What a restore needs of each node's disk.

use std::{collections::BTreeSet, time::Duration};

use cql::Schema;
use futures::{StreamExt as _, stream};
use protocol::{Fact, Job, NodeId, Ping, PrepareSchema, Room, TableRef};

use super::decide::copies;
use crate::{RestoreWorker, failure::Failure};

/// How long a node's worker may take to say how full its disk is.
const LIMIT: Duration = Duration::from_secs(15);
/// Nodes asked at once.
const AT_ONCE: usize = 16;

impl RestoreWorker {
    /// What comes to each node, with the node's name. Every copy of a row that the backup has goes to each
    /// replica, unless replicas get what they had, and is compacted only afterwards. Rows are taken to be
    /// spread evenly.
    pub(super) async fn rooms(
        &self,
        job: &PrepareSchema,
        existing: &Schema,
        wanted: Option<&Schema>,
    ) -> Result<Vec<(String, Room)>, Failure> {
        let as_stored: BTreeSet<&TableRef> = job.as_stored.iter().collect();
        let all: u64 = job
            .tables
            .iter()
            .map(|size| {
                let copies = match as_stored.contains(&size.table) {
                    true => 1,
                    false => copies(&size.table.keyspace, existing, wanted),
                };
                size.bytes.saturating_mul(copies)
            })
            .fold(0, u64::saturating_add);
        let needed = all.div_ceil((job.nodes.len() as u64).max(1));
        // Each future owns what it works with: those over references are not general enough for a handler.
        let mut asked = Vec::with_capacity(job.nodes.len());
        for node in job.nodes.clone() {
            asked.push(self.room(job, node, needed));
        }
        let rooms: Vec<Option<(String, Room)>> =
            stream::iter(asked).buffered(AT_ONCE).collect().await;
        Ok(rooms.into_iter().flatten().collect())
    }

    /// None of a node whose worker does not say: each batch looks again, before it comes.
    async fn room(&self, job: &PrepareSchema, node: NodeId, needed: u64) -> Option<(String, Room)> {
        let ping = Job::Ping(Ping {
            cluster: job.cluster,
            run: job.run,
            node,
        });
        let answer = self.queue.ask(&ping, LIMIT).await.ok()?;
        let Fact::Pinged(found) = answer.fact else {
            return None;
        };
        if found.disk_total == 0 {
            return None;
        }
        let kept = found.disk_total / 100 * u64::from(self.min_free_percent);
        let free = found.disk_free.saturating_sub(kept);
        Some((format!("node {node}"), Room { node, needed, free }))
    }
}
