//! Publishing a node's manifest, once everything it lists is proven.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use catalog::{
    Chunk, Manifest, NodePlan, Receipt, Sealer, TableEntry,
    key::{ManifestKey, OwnKey, Owner, TableDir},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{Fact, Seal, Sealed};
use queue::Context as JobContext;
use store::Store;
use tracing::info;

use crate::{
    Uploader,
    chunk::{parse, read},
    failure::Failure,
};

/// Chunks and receipts read at once.
const READS: usize = 16;

impl Uploader {
    /// Publishes the manifest, or finds it published; then removes the plan and the receipts.
    pub(crate) async fn seal(&self, job: &Seal, ctx: &JobContext) -> Result<Option<Fact>, Failure> {
        let attempt = format!("open {}", job.location);
        let store = self
            .stores
            .open(&job.location)
            .await
            .map_err(Failure::store(attempt))?;
        let owner = Owner::new(job.cluster, &self.dc, job.node)?;
        let key = ManifestKey {
            owner,
            task: job.task,
            tag: job.tag.clone(),
            temporary: false,
        };
        let manifest = match read(&store, &key.to_string()).await? {
            Some(body) => Manifest::read(&body[..], &key)?,
            None => self.publish(&store, job, &key, ctx).await?,
        };
        self.tidy(&store, job, &key).await?;
        let origin = job.origin;
        self.native
            .remove_handovers(move |found| found.origin == origin)
            .await;
        Ok(Some(Fact::Sealed(Sealed {
            files: manifest.files(),
            bytes: manifest.bytes(),
        })))
    }

    async fn publish(
        &self,
        store: &Store,
        job: &Seal,
        key: &ManifestKey,
        ctx: &JobContext,
    ) -> Result<Manifest, Failure> {
        let temporary = key.with_temporary(true);
        let Some(body) = read(store, &temporary.to_string()).await? else {
            return Err(Failure::NoPlan {
                key: temporary.to_string(),
            });
        };
        let manifest = Manifest::read(&body[..], &temporary)?;
        let manifest = match prove(store, job, manifest, key, ctx).await {
            Err(gone @ Failure::Gone { .. }) => {
                // So that whoever goes on plans anew.
                self.drop_plan(store, job).await?;
                return Err(gone);
            }
            proven => proven?,
        };
        let manifest = Manifest {
            sealed_ms: now_ms(),
            ..manifest
        };
        let text = key.to_string();
        // A manifest that is there already was published by another uploader that took this job.
        let put = store.put_new(&text, Bytes::from(manifest.to_bytes())).await;
        put.map_err(Failure::store(format!("publish `{text}`")))?;
        self.metrics.sealed.inc();
        info!(run = %job.run, tag = %job.tag, manifest = text, "manifest published");
        Ok(manifest)
    }

    /// Removes what only an unfinished backup needs. The plan's own object goes first, so that a
    /// plan half removed does not look complete.
    async fn tidy(&self, store: &Store, job: &Seal, key: &ManifestKey) -> Result<(), Failure> {
        let temporary = [key.with_temporary(true).to_string()];
        self.drop_plan(store, job).await?;
        store
            .delete(&temporary)
            .await
            .map_err(Failure::store("remove the unfinished manifest"))
    }

    async fn drop_plan(&self, store: &Store, job: &Seal) -> Result<(), Failure> {
        let plan = OwnKey::NodePlan(job.origin, job.node).to_string();
        store
            .delete(&[plan])
            .await
            .map_err(Failure::store("remove the plan"))?;
        let folder = OwnKey::of_node(job.origin, job.node);
        let rest = store
            .list(&folder)
            .map_ok(|object| object.key)
            .try_collect::<Vec<_>>()
            .await;
        let rest = rest.map_err(Failure::store(format!("list `{folder}`")))?;
        store
            .delete(&rest)
            .await
            .map_err(Failure::store("remove the plan's chunks and receipts"))
    }
}

/// Milliseconds since 1970 by this machine's clock: for people, and for nothing else.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// The manifest completed from every chunk's receipt. Chunk by chunk, so that memory holds few.
async fn prove(
    store: &Store,
    job: &Seal,
    manifest: Manifest,
    key: &ManifestKey,
    ctx: &JobContext,
) -> Result<Manifest, Failure> {
    let plan_key = OwnKey::NodePlan(job.origin, job.node).to_string();
    let Some(body) = read(store, &plan_key).await? else {
        return Err(Failure::NoPlan { key: plan_key });
    };
    let plan: NodePlan = parse(&plan_key, &body)?;
    let mut sealer = Sealer::new(&plan, manifest);
    let pairs = (0..plan.totals.chunks).map(|chunk| pair(store, job, chunk));
    let mut pairs = stream::iter(pairs).buffer_unordered(READS);
    while let Some((chunk, receipt)) = pairs.try_next().await? {
        ctx.alive.moved(0);
        sealer.add(&chunk, &receipt)?;
    }
    let mut gone = Vec::new();
    for entry in sealer.seen() {
        gone.extend(missing(store, &key.owner, entry, ctx).await?);
    }
    if let Some(key) = gone.first().cloned() {
        let more = gone.len() - 1;
        return Err(Failure::Gone { key, more });
    }
    Ok(sealer.finish()?)
}

/// The keys of a table's files that are not there as they are to be. What was not uploaded was there
/// when the plan was made; since then somebody may have taken it away.
async fn missing(
    store: &Store,
    owner: &Owner,
    entry: &TableEntry,
    ctx: &JobContext,
) -> Result<Vec<String>, Failure> {
    let dir = TableDir::new(owner, &entry.keyspace, &entry.table, entry.version)?;
    let prefix = dir.prefix();
    let mut left: BTreeMap<&str, Option<u64>> = entry
        .files
        .iter()
        .map(|file| (file.name, file.bytes))
        .collect();
    let mut listed = store.list(&prefix);
    while let Some(object) = listed
        .try_next()
        .await
        .map_err(Failure::store(format!("list `{prefix}`")))?
    {
        ctx.alive.moved(0);
        let name = object.key.strip_prefix(&prefix).unwrap_or_default();
        let expected = left.get(name).copied();
        if expected.is_some_and(|bytes| bytes.is_none_or(|bytes| bytes == object.bytes)) {
            left.remove(name);
        }
    }
    Ok(left
        .into_keys()
        .map(|name| format!("{prefix}{name}"))
        .collect())
}

async fn pair(store: &Store, job: &Seal, chunk: u32) -> Result<(Chunk, Receipt), Failure> {
    let chunk_key = OwnKey::Chunk(job.origin, job.node, chunk).to_string();
    let receipt_key = OwnKey::Receipt(job.origin, job.node, chunk).to_string();
    let Some(body) = read(store, &chunk_key).await? else {
        return Err(Failure::NoChunk {
            chunk,
            key: chunk_key,
        });
    };
    let Some(proof) = read(store, &receipt_key).await? else {
        return Err(Failure::NoReceipt { chunk });
    };
    Ok((parse(&chunk_key, &body)?, parse(&receipt_key, &proof)?))
}
