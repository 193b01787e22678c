//! Planning a restore: which SSTables, in which batches, for which datacenter.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use catalog::{
    Batch, Document as _, Filter, Manifest, RestorePlan,
    key::{self, ManifestKey, OwnKey},
    restore::{Sourced, batch_methods, batches, choose, collect, methods},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{
    Cluster, Fact, Location, Method, NodeId, PlanRestore, Presence, Provider, RestorePlanned,
    TableMethod, TableRef, WorkerKind, renamed, scratch,
};
use queue::{Bucket, Context as JobContext};
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
        let (source, mut sstables) = self.find(&job, ctx).await?;
        adapt(&mut sstables, &job);
        if !job.schema {
            self.check_tables(&sstables).await?;
        }
        let told = self.methods(&job, &sstables).await?;
        let shards = self.node.shards().await?;
        let ways = batch_methods(&told, job.method);
        let (batches, mut totals) = batches(sstables, &job.dcs, shards, &ways)?;
        totals.methods = told;
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
        } = &plan.totals;
        for told in &plan.totals.methods {
            info!(run = %job.run, table = %told.table, method = %told.method, reason = told.reason, "decided who restores");
        }
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

    /// Who brings which table; refuses `native` where it is not possible, before anything is touched.
    async fn methods(
        &self,
        job: &PlanRestore,
        sstables: &[Sourced],
    ) -> Result<Vec<TableMethod>, Failure> {
        let refused = match job.method {
            Method::Agent | Method::Rclone => return Ok(Vec::new()),
            Method::Native | Method::Auto => self.unable(job).await?,
        };
        let able = |location: &Location| refused.able(location.provider);
        Ok(methods(sstables, job.method, &able)?)
    }

    /// What the nodes that may take batches can do by themselves, as the workers beside them say.
    async fn unable(&self, job: &PlanRestore) -> Result<Stores, Failure> {
        let clusters = self
            .queue
            .bucket::<Cluster>(Bucket::Clusters)
            .list("")
            .await?;
        let own = clusters
            .into_iter()
            .find_map(|(_, cluster, _)| (cluster.id == job.cluster).then_some(cluster));
        let nodes: BTreeSet<NodeId> = own
            .into_iter()
            .flat_map(|cluster| cluster.nodes.into_iter().map(|node| node.node))
            .collect();
        let takes = |worker: &Presence| {
            worker.worker == WorkerKind::Restore
                && nodes.contains(&worker.node)
                && job.dcs.iter().any(|dc| dc.dc == worker.dc)
        };
        let mut workers = self.queue.workers().await?;
        workers.retain(takes);
        Ok(Stores {
            workers,
            auto: job.method == Method::Auto,
        })
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

/// Gives tables and datacenters the names they have in this cluster.
fn adapt(sstables: &mut [Sourced], job: &PlanRestore) {
    for sstable in sstables {
        sstable.table = match job.drill {
            true => TableRef {
                keyspace: scratch(&sstable.table.keyspace),
                table: std::mem::take(&mut sstable.table.table),
            },
            false => renamed(&job.rename, &sstable.table),
        };
        let mapped = job.dc_mapping.iter().find(|dc| dc.from == sstable.dc);
        if let Some(mapping) = mapped {
            sstable.dc.clone_from(&mapping.to);
        }
    }
}

/// Which stores the nodes know.
struct Stores {
    workers: Vec<Presence>,
    /// Whether what is not ready for production does not count.
    auto: bool,
}

impl Stores {
    /// By which names, if all of them do; or who does not, and why.
    fn able(&self, provider: Provider) -> Result<String, String> {
        let (mut names, mut lacking) = (BTreeSet::new(), BTreeMap::<String, BTreeSet<&str>>::new());
        for worker in &self.workers {
            let native = worker.native.clone().unwrap_or_default();
            let endpoint = match self.auto {
                true => native.ready(provider),
                false => native.endpoint(provider),
            };
            match endpoint {
                Ok(endpoint) => drop(names.insert(endpoint.to_owned())),
                Err(reason) => drop(lacking.entry(reason).or_default().insert(&worker.address)),
            }
        }
        let join = |all: BTreeSet<&str>| all.into_iter().collect::<Vec<_>>().join(", ");
        if lacking.is_empty() {
            let names = names.iter().map(String::as_str).collect();
            return Ok(format!("every node knows the store, as {}", join(names)));
        }
        let each = lacking
            .into_iter()
            .map(|(reason, nodes)| format!("{}: {reason}", join(nodes)));
        Err(each.collect::<Vec<_>>().join("; "))
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
