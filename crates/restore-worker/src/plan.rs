//! Planning a restore: which SSTables, in which batches, for which datacenter.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use catalog::{
    Batch, Document as _, Filter, Manifest, RestorePlan,
    key::{self, ManifestKey, OwnKey},
    restore::{Carrier, Fit, Origin, Places, Sourced, batches, carriers, choose, collect, methods},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{
    Cluster, Fact, Location, Method, NodeId, PlanRestore, Presence, Provider, RestorePlanned,
    TableMethod, TableRef, WorkerKind, renamed, scratch,
};
use queue::{Bucket, Context as JobContext};
use store::Store;
use tracing::info;

use crate::{RestoreWorker, failure::Failure, spread::unfit};

/// Small objects written at once.
pub(crate) const REQUESTS: usize = 16;

impl RestoreWorker {
    /// Writes the plan: batches, and last the plan itself. A plan that is there is kept. Of a dry one it
    /// only tells.
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
        let (source, mut origins, mut sstables) = self.find(&job, ctx).await?;
        adapt(&mut origins, &mut sstables, &job);
        if !job.schema {
            self.check_tables(&sstables).await?;
        }
        let twins = match job.one_to_one {
            true => self.twins(&origins, &sstables).await?,
            false => Vec::new(),
        };
        let (told, carriers) = self.methods(&job, &origins, &sstables, ctx).await?;
        let shards = self.node.shards().await?;
        let places = match job.one_to_one {
            true => Places::Twins(&twins),
            false => Places::Dcs(&job.dcs),
        };
        let (batches, mut totals) = batches(sstables, places, shards, &carriers)?;
        totals.methods = told;
        if job.dry {
            return Ok(Fact::RestorePlanned(totals));
        }
        write(&store, &job, &batches, ctx).await?;
        let plan = RestorePlan {
            origin: job.origin,
            source,
            tag: job.tag.clone(),
            totals,
            twins,
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
    ) -> Result<(protocol::ClusterId, Vec<Origin>, Vec<Sourced>), Failure> {
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
        let (mut origins, mut sstables) = (Vec::new(), Vec::new());
        let mut source = job.cluster;
        for manifest_key in chosen {
            let location = found[&manifest_key];
            source = manifest_key.owner.cluster;
            let (origin, found) = self.of_node(location, &manifest_key, &filter, ctx).await?;
            origins.push(origin);
            sstables.extend(found);
        }
        if sstables.is_empty() {
            return Err(Failure::Nothing {
                tag: job.tag.to_string(),
                globs: job.keyspace.clone(),
            });
        }
        Ok((source, origins, sstables))
    }

    async fn of_node(
        &self,
        location: &Location,
        manifest_key: &ManifestKey,
        filter: &Filter,
        ctx: &JobContext,
    ) -> Result<(Origin, Vec<Sourced>), Failure> {
        let store = self.open(location).await?;
        let text = manifest_key.to_string();
        let body = store
            .get(&text)
            .await
            .map_err(Failure::store(format!("read `{text}`")))?;
        let manifest = Manifest::read(&body[..], manifest_key)?;
        let objects = list(&store, &manifest_key.owner.components(), ctx).await?;
        let origin = Origin::new(&manifest, location, filter)?;
        Ok((origin, collect(&manifest, location, filter, &objects)?))
    }

    /// Who brings which table; refuses `native` where it is not possible, before anything is touched.
    async fn methods(
        &self,
        job: &PlanRestore,
        origins: &[Origin],
        sstables: &[Sourced],
        ctx: &JobContext,
    ) -> Result<(Vec<TableMethod>, BTreeMap<TableRef, Carrier>), Failure> {
        let (stores, fit) = match job.method {
            Method::Agent | Method::Rclone => return Ok((Vec::new(), BTreeMap::new())),
            Method::Native | Method::Auto => (self.unable(job).await?, Fit::new()),
            Method::Tablets => {
                let stores = self.unable(job).await?;
                let fit = match stores.by_tablets() {
                    Ok(()) => self.fit(job, origins, sstables, ctx).await?,
                    Err(why) => unfit(origins, &why),
                };
                (stores, fit)
            }
        };
        let able = |location: &Location| stores.able(location.provider);
        let told = methods(sstables, job.method, &able, &fit)?;
        let carriers = carriers(&told, job.method, &fit);
        Ok((told, carriers))
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
            auto: job.method != Method::Native,
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
fn adapt(origins: &mut [Origin], sstables: &mut [Sourced], job: &PlanRestore) {
    let name = |table: &TableRef| match job.drill {
        true => TableRef {
            keyspace: scratch(&table.keyspace),
            table: table.table.clone(),
        },
        false => renamed(&job.rename, table),
    };
    for origin in origins {
        let tablets = std::mem::take(&mut origin.tablets).into_iter();
        origin.tablets = tablets
            .map(|(table, lists)| (name(&table), lists))
            .collect();
    }
    for sstable in sstables {
        sstable.table = name(&sstable.table);
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
    /// Whether the cluster can bring back tables as a whole; or which nodes cannot, and why.
    fn by_tablets(&self) -> Result<(), String> {
        self.workers.iter().try_for_each(|worker| {
            let native = worker.native.clone().unwrap_or_default();
            native
                .tablets()
                .map_err(|why| format!("{}: {why}", worker.address))
        })
    }

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
