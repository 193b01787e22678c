//! Making a node ready to take in data, and putting it back.

use std::collections::BTreeSet;

use catalog::{Document as _, Undo, key::OwnKey};
use protocol::{Fact, NodePrepared, PrepareNode, PutBack, RunId, TableRef};
use queue::{Bucket, Context as JobContext, Kv};
use service::Chain;
use store::Store;
use tracing::{info, warn};

use crate::{
    RestoreWorker,
    failure::Failure,
    plan::{put, read},
};

impl RestoreWorker {
    /// Switches automatic compaction off where it is on, after noting where that is.
    ///
    /// What an earlier attempt noted stays noted: it had switched some of it off already.
    pub(crate) async fn prepare(
        &self,
        job: PrepareNode,
        ctx: &JobContext,
    ) -> Result<Fact, Failure> {
        if ctx.over {
            let compacting = Vec::new();
            return Ok(Fact::NodePrepared(NodePrepared { compacting }));
        }
        let store = self.open(&job.location).await?;
        self.check_owner(&store, job.origin).await?;
        let noted = self.undo(&store, job.origin).await?;
        let mut compacting: BTreeSet<TableRef> =
            noted.into_iter().flat_map(|undo| undo.compacting).collect();
        for table in &job.tables {
            ctx.alive.moved(0);
            if self.node.auto_compaction(table).await? {
                compacting.insert(table.clone());
            }
        }
        let undo = Undo {
            node: self.id,
            compacting: compacting.into_iter().collect(),
        };
        self.note(&store, job.origin, &undo).await?;
        for table in &undo.compacting {
            ctx.alive.moved(0);
            self.node.set_auto_compaction(table, false).await?;
        }
        info!(run = %job.run, tables = undo.compacting.len(), "automatic compaction switched off");
        Ok(Fact::NodePrepared(NodePrepared {
            compacting: undo.compacting,
        }))
    }

    /// Switches automatic compaction on again where it was noted, and clears the disk of what a
    /// restore that was given up left there. A table dropped since is fine.
    pub(crate) async fn put_back(&self, job: PutBack, ctx: &JobContext) -> Result<Fact, Failure> {
        let store = self.open(&job.location).await?;
        for table in self
            .undo(&store, job.origin)
            .await?
            .into_iter()
            .flat_map(|undo| undo.compacting)
        {
            ctx.alive.moved(0);
            match self.node.set_auto_compaction(&table, true).await {
                Ok(())
                | Err(scylla::Error::NoSuchTable { .. } | scylla::Error::NoSuchKeyspace { .. }) => {
                }
                Err(cause) => return Err(cause.into()),
            }
        }
        // Last, for it may fail on a full disk, which compaction may make room on.
        self.clear(job.origin, ctx).await?;
        self.noted().delete(&self.note_key(job.origin)).await?;
        Ok(Fact::NodePutBack)
    }

    /// Notes how the node was: first in the bucket, which outlives NATS, and then in NATS, so that the node
    /// can be put back also while the bucket is out of reach.
    async fn note(&self, store: &Store, origin: RunId, undo: &Undo) -> Result<(), Failure> {
        let key = OwnKey::Undo(origin, self.id).to_string();
        put(store, key, undo.to_json()).await?;
        let (noted, key) = (self.noted(), self.note_key(origin));
        if let Err(error) = noted.put(&key, undo).await {
            // One of very many tables is more than a message holds. An older one knows less.
            noted.delete(&key).await?;
            warn!(error = %Chain(&error), "how the node was is noted in the bucket alone");
        }
        Ok(())
    }

    fn noted(&self) -> Kv<Undo> {
        self.queue.bucket(Bucket::Undo)
    }

    fn note_key(&self, origin: RunId) -> String {
        format!("nodes.{origin}.{}", self.id)
    }

    async fn undo(&self, store: &Store, origin: RunId) -> Result<Option<Undo>, Failure> {
        if let Some((undo, _)) = self.noted().get(&self.note_key(origin)).await? {
            return Ok(Some(undo));
        }
        let key = OwnKey::Undo(origin, self.id).to_string();
        let Some(body) = read(store, &key).await? else {
            return Ok(None);
        };
        let undo = Undo::from_json(&body).map_err(|cause| Failure::Unreadable { key, cause })?;
        Ok(Some(undo))
    }
}
