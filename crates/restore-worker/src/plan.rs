//! Planning a restore: which SSTables, in which batches, for which datacenter.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use catalog::{
    Batch, Document as _, Filter, Limits, Manifest, RestorePlan,
    key::{self, ManifestKey, OwnKey},
    restore::{Sourced, batches, choose, collect},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{Fact, Location, PlanRestore, RestorePlanned, TableRef};
use queue::Context as JobContext;
use store::Store;
use tracing::info;

use crate::{RestoreWorker, failure::Failure};

/// Small objects written at once.
const REQUESTS: usize = 16;

impl RestoreWorker {
    /// Writes the plan: batches, and last the plan itself. A plan that is there is kept.
    pub(crate) async fn plan(&self, job: PlanRestore, ctx: &JobContext) -> Result<Fact, Failure> {
        let first = job.location.first().ok_or(Failure::NoLocation)?;
        let store = self.open(first).await?;
        let plan_key = OwnKey::RestorePlan(job.origin).to_string();
        if let Some(body) = read(&store, &plan_key).await? {
            let read = RestorePlan::from_json(&body);
            let plan = read.map_err(|cause| Failure::Unreadable {
                key: plan_key,
                cause,
            })?;
            return Ok(Fact::RestorePlanned(plan.totals));
        }
        let (source, sstables) = self.find(&job, ctx).await?;
        self.check_tables(&sstables).await?;
        let (batches, totals) = batches(sstables, &job.dcs, Limits::BATCH)?;
        write(&store, &job, &batches, ctx).await?;
        let plan = RestorePlan {
            origin: job.origin,
            source,
            tag: job.tag.clone(),
            totals,
        };
        put(&store, plan_key, plan.to_json()).await?;
        let RestorePlanned {
            sstables,
            files,
            bytes,
            ..
        } = plan.totals;
        info!(run = %job.run, tag = %job.tag, sstables, files, bytes, batches = batches.len(), "restore planned");
        Ok(Fact::RestorePlanned(plan.totals))
    }

    /// Every SSTable of the backup that the globs choose, each of its files seen in the bucket.
    async fn find(
        &self,
        job: &PlanRestore,
        ctx: &JobContext,
    ) -> Result<(protocol::ClusterId, Vec<Sourced>), Failure> {
        let filter = Filter::new(&job.keyspace)?;
        let mut found: BTreeMap<ManifestKey, &Location> = BTreeMap::new();
        for location in &job.location {
            let store = self.open(location).await?;
            let keys = list(&store, key::MANIFESTS, ctx).await?;
            let keys = keys
                .into_keys()
                .filter_map(|key| key.parse::<ManifestKey>().ok());
            found.extend(
                keys.filter(|key| key.tag == job.tag)
                    .map(|key| (key, location)),
            );
        }
        let chosen = choose(found.keys().cloned(), &job.tag, job.source_cluster)?;
        let mut sstables = Vec::new();
        let mut source = job.cluster;
        for manifest_key in chosen {
            let location = found[&manifest_key];
            source = manifest_key.owner.cluster;
            sstables.extend(self.of_node(location, &manifest_key, &filter, ctx).await?);
        }
        if sstables.is_empty() {
            return Err(Failure::Nothing {
                tag: job.tag.to_string(),
                globs: job.keyspace.clone(),
            });
        }
        Ok((source, sstables))
    }

    async fn of_node(
        &self,
        location: &Location,
        manifest_key: &ManifestKey,
        filter: &Filter,
        ctx: &JobContext,
    ) -> Result<Vec<Sourced>, Failure> {
        let store = self.open(location).await?;
        let text = manifest_key.to_string();
        let body = store
            .get(&text)
            .await
            .map_err(Failure::store(format!("read `{text}`")))?;
        let manifest = Manifest::read(&body[..], manifest_key)?;
        let objects = list(&store, &manifest_key.owner.components(), ctx).await?;
        Ok(collect(&manifest, location, filter, &objects)?)
    }

    /// Whether the cluster has every table.
    async fn check_tables(&self, sstables: &[Sourced]) -> Result<(), Failure> {
        let here: BTreeSet<TableRef> = self.node.tables().await?.into_iter().collect();
        let wanted: BTreeSet<&TableRef> = sstables.iter().map(|one| &one.table).collect();
        let missing: Vec<&TableRef> = wanted
            .into_iter()
            .filter(|table| !here.contains(table))
            .collect();
        match missing.first() {
            Some(first) => Err(Failure::NoTable {
                first: first.to_string(),
                count: missing.len(),
            }),
            None => Ok(()),
        }
    }

    pub(crate) async fn open(&self, location: &Location) -> Result<Store, Failure> {
        self.stores
            .open(location)
            .await
            .map_err(Failure::store(format!("open {location}")))
    }
}

async fn write(
    store: &Store,
    job: &PlanRestore,
    batches: &[Batch],
    ctx: &JobContext,
) -> Result<(), Failure> {
    let mut writes = Vec::with_capacity(batches.len());
    for batch in batches {
        let key = OwnKey::Batch(job.origin, batch.batch).to_string();
        writes.push(async move {
            ctx.alive.moved(0);
            put(store, key, batch.to_json()).await
        });
    }
    stream::iter(writes)
        .buffer_unordered(REQUESTS)
        .try_collect()
        .await
}

async fn list(
    store: &Store,
    prefix: &str,
    ctx: &JobContext,
) -> Result<BTreeMap<String, u64>, Failure> {
    let objects = store.list(prefix).map_ok(|object| {
        ctx.alive.moved(0);
        (object.key, object.bytes)
    });
    objects
        .try_collect()
        .await
        .map_err(Failure::store(format!("list `{prefix}`")))
}

/// The object's content; `None` if there is none.
pub(crate) async fn read(store: &Store, key: &str) -> Result<Option<Bytes>, Failure> {
    match store.get(key).await {
        Ok(body) => Ok(Some(body)),
        Err(store::Error::NotFound { .. }) => Ok(None),
        Err(cause) => Err(Failure::Store {
            attempt: format!("read `{key}`"),
            cause,
        }),
    }
}

pub(crate) async fn put(store: &Store, key: String, body: Vec<u8>) -> Result<(), Failure> {
    let attempt = format!("write `{key}`");
    store
        .put(&key, Bytes::from(body))
        .await
        .map_err(Failure::store(attempt))
}
