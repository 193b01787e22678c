//! Making a node ready to take in data, and putting it back.

use std::collections::BTreeSet;

use catalog::{Document as _, Undo, key::OwnKey};
use protocol::{Fact, NodePrepared, PrepareNode, PutBack, RunId, TableRef};
use queue::Context as JobContext;
use store::Store;
use tracing::info;

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
        put(
            &store,
            OwnKey::Undo(job.origin, self.id).to_string(),
            undo.to_json(),
        )
        .await?;
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
        Ok(Fact::NodePutBack)
    }

    async fn undo(&self, store: &Store, origin: RunId) -> Result<Option<Undo>, Failure> {
        let key = OwnKey::Undo(origin, self.id).to_string();
        let Some(body) = read(store, &key).await? else {
            return Ok(None);
        };
        let undo = Undo::from_json(&body).map_err(|cause| Failure::Unreadable { key, cause })?;
        Ok(Some(undo))
    }
}
