//! Storing the cluster's schema beside a backup.

use bytes::Bytes;
use catalog::{
    key::{SchemaKey, SchemaKind},
    schema::{Row, write_cql},
};
use protocol::{Fact, StoreSchema};
use queue::Context as JobContext;
use store::Store;
use tracing::info;

use crate::{SnapshotWorker, failure::Failure};

/// How long the node may take to learn of all that was agreed on.
const BARRIER: std::time::Duration = std::time::Duration::from_secs(60);

impl SnapshotWorker {
    /// Stores the schema in each place that has none for this backup. What the first has, all get: it was
    /// written before the snapshot was taken.
    pub(crate) async fn store_schema(
        &self,
        job: StoreSchema,
        ctx: &JobContext,
    ) -> Result<Fact, Failure> {
        let key = SchemaKey {
            cluster: job.cluster,
            task: job.task,
            tag: job.tag.clone(),
            kind: SchemaKind::Cql,
        };
        let key = key.to_string();
        let (mut body, mut lacking) = (None, Vec::new());
        for location in &job.location {
            let opened = self.stores.open(location).await;
            let store = opened.map_err(Failure::store(format!("open {location}")))?;
            match read(&store, &key).await? {
                Some(found) => body = body.or(Some(found)),
                None => lacking.push(store),
            }
        }
        if lacking.is_empty() {
            return Ok(Fact::SchemaStored);
        }
        let body = match body {
            Some(body) => body,
            None => Bytes::from(write_cql(&self.describe().await?)),
        };
        for store in lacking {
            ctx.alive.moved(0);
            let put = store.put_new(&key, body.clone()).await;
            put.map_err(Failure::store(format!("write `{key}`")))?;
        }
        info!(run = %job.run, tag = %job.tag, key, bytes = body.len(), "schema stored");
        Ok(Fact::SchemaStored)
    }

    /// All that the cluster had agreed on when it was asked.
    async fn describe(&self) -> Result<Vec<Row>, Failure> {
        self.node.read_barrier(BARRIER).await?;
        let session = self.login.session(&self.node).await?;
        Ok(session.schema(true).await?.rows)
    }
}

async fn read(store: &Store, key: &str) -> Result<Option<Bytes>, Failure> {
    match store.get(key).await {
        Ok(body) => Ok(Some(body)),
        Err(store::Error::NotFound { .. }) => Ok(None),
        Err(cause) => Err(Failure::Store {
            attempt: format!("read `{key}`"),
            cause,
        }),
    }
}
