//! Planning a node's upload.

use std::collections::BTreeMap;

use bytes::Bytes;
use catalog::{
    ChunkFile, Document as _, Limits, LocalTable, Manifest, NodePlan, Planned, TableEntry,
    key::{ManifestKey, OwnKey, Owner, SchemaKey, SchemaKind, ScyllaManifestKey, TableDir},
    manifest::NodeFacts,
    plan::{Frame, Remote, digests, plan},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{Fact, Index, Indexed, NodeId, TableRef, TableSize, TaskId};
use queue::Context as JobContext;
use scylla::Snapshot;
use store::Store;
use tracing::{info, warn};

use crate::{
    SnapshotWorker,
    failure::Failure,
    snapshot::{blocking, tables_of},
};

/// Small objects written or read at once.
const REQUESTS: usize = 16;

impl SnapshotWorker {
    /// Writes the plan: chunks, the temporary manifest, and last the plan itself. A plan that is
    /// there is kept. A node whose manifest is published needs none: what it would store by now, no
    /// manifest would name.
    pub(crate) async fn index(&self, job: Index, ctx: &JobContext) -> Result<Fact, Failure> {
        let opened = self.stores.open(&job.location).await;
        let store = opened.map_err(Failure::store(format!("open {}", job.location)))?;
        let plan_key = OwnKey::NodePlan(job.origin, job.node).to_string();
        match store.get(&plan_key).await {
            Ok(body) => {
                let read = NodePlan::from_json(&body);
                let plan = read.map_err(|cause| Failure::Unreadable {
                    key: plan_key,
                    cause,
                })?;
                return Ok(Fact::Indexed(plan.totals));
            }
            Err(store::Error::NotFound { .. }) => {}
            Err(cause) => {
                return Err(Failure::Store {
                    attempt: format!("read `{plan_key}`"),
                    cause,
                });
            }
        }
        if let Some(published) = self.published(&store, &job).await? {
            return Ok(Fact::Indexed(published));
        }
        let planned = self.plan(&store, &job, ctx).await?;
        self.write(&store, &job, &planned, ctx).await?;
        let totals = planned.plan.totals;
        info!(
            run = %job.run, tag = %job.tag, files = totals.files, bytes = totals.bytes,
            skipped = totals.skipped_files, replaced = planned.replaced,
            chunks = totals.chunks, "upload planned"
        );
        Ok(Fact::Indexed(totals))
    }

    /// What the node's manifest lists, if that is published already.
    async fn published(&self, store: &Store, job: &Index) -> Result<Option<Indexed>, Failure> {
        let key = ManifestKey {
            owner: Owner::new(job.cluster, &self.dc, job.node)?,
            task: job.task,
            tag: job.tag.clone(),
            temporary: false,
        };
        let text = key.to_string();
        let body = match store.get(&text).await {
            Ok(body) => body,
            Err(store::Error::NotFound { .. }) => return Ok(None),
            Err(cause) => {
                let attempt = format!("read `{text}`");
                return Err(Failure::Store { attempt, cause });
            }
        };
        let manifest = Manifest::read(&body[..], &key)?;
        let size = |entry: &TableEntry| TableSize {
            table: TableRef {
                keyspace: entry.keyspace.clone(),
                table: entry.table.clone(),
            },
            bytes: entry.bytes,
            skipped_bytes: entry.bytes,
        };
        Ok(Some(Indexed {
            chunks: 0,
            files: manifest.files(),
            bytes: manifest.bytes(),
            skipped_files: manifest.files(),
            skipped_bytes: manifest.bytes(),
            tables: manifest.index.iter().map(size).collect(),
        }))
    }

    /// Compares the snapshot with the bucket. ScyllaDB's own manifests go along with the first chunk.
    async fn plan(&self, store: &Store, job: &Index, ctx: &JobContext) -> Result<Planned, Failure> {
        let owner = Owner::new(job.cluster, &self.dc, job.node)?;
        let snapshots = self.snapshots(job).await?;
        let own = scylla_manifests(job, &owner, &snapshots)?;
        let local: Vec<LocalTable> = snapshots
            .into_iter()
            .map(|snapshot| snapshot.table)
            .collect();
        let remote = remote(store, &owner, &local, ctx).await?;
        let frame = Frame {
            owner: &owner,
            origin: job.origin,
            task: job.task,
            tag: &job.tag,
            units: &job.units,
            limits: Limits::CHUNK,
        };
        let mut planned = plan(&frame, local, &remote)?;
        for (file, of) in own {
            let entry = planned.index.iter_mut().find(|e| {
                (e.keyspace.as_str(), e.table.as_str(), e.version)
                    == (&*of.keyspace, &*of.table, of.version)
            });
            let name = file.key.rsplit('/').next().unwrap_or_default().to_owned();
            if let Some(entry) = entry {
                entry.scylla_manifests.push(name);
            }
            self.small_files(store, &file).await?;
        }
        Ok(planned)
    }

    /// Stores ScyllaDB's own manifest of a table beside its components.
    async fn small_files(&self, store: &Store, file: &ChunkFile) -> Result<(), Failure> {
        let path = self.data_dir.path().join(&file.path);
        let done = store
            .put_file(&file.key, &path, file.bytes, None, &|_| ())
            .await;
        done.map_err(Failure::store(format!("store `{}`", file.key)))
            .map(drop)
    }

    async fn snapshots(&self, job: &Index) -> Result<Vec<Snapshot>, Failure> {
        let (units, tag) = (job.units.clone(), job.tag.clone());
        blocking(&self.data_dir, move |data_dir| {
            let tables = units.iter().flat_map(tables_of);
            tables
                .map(|table| data_dir.snapshot(&table, &tag))
                .collect()
        })
        .await
    }

    async fn write(
        &self,
        store: &Store,
        job: &Index,
        planned: &Planned,
        ctx: &JobContext,
    ) -> Result<(), Failure> {
        let mut writes = Vec::with_capacity(planned.chunks.len());
        for chunk in &planned.chunks {
            let key = OwnKey::Chunk(job.origin, job.node, chunk.chunk).to_string();
            writes.push(async move {
                ctx.alive.moved(0);
                put(store, key, chunk.to_json()).await
            });
        }
        stream::iter(writes)
            .buffer_unordered(REQUESTS)
            .try_collect::<()>()
            .await?;
        let key = ManifestKey {
            owner: Owner::new(job.cluster, &self.dc, job.node)?,
            task: job.task,
            tag: job.tag.clone(),
            temporary: true,
        };
        let manifest = Manifest {
            info: self.facts(job).await?,
            index: planned.index.clone(),
            ranges: self.ranges(job).await?,
            nodes: self.nodes().await?,
            schema: schema(job),
            ..Manifest::new(&key)
        };
        put(store, key.to_string(), manifest.to_bytes()).await?;
        put(
            store,
            OwnKey::NodePlan(job.origin, job.node).to_string(),
            planned.plan.to_json(),
        )
        .await
    }

    /// What this node holds of the keyspaces that are spread by vnodes. Tablets may have moved since the
    /// snapshot; of those, ScyllaDB's own manifests tell.
    async fn ranges(&self, job: &Index) -> Result<BTreeMap<String, Vec<(i64, i64)>>, Failure> {
        let mut held = BTreeMap::new();
        for unit in job.units.iter().filter(|unit| !unit.tablets) {
            let all = self.node.ranges(&unit.keyspace, None).await?;
            let ours = all
                .iter()
                .filter(|range| range.endpoints.contains(&self.address));
            // Without its ranges the backup is no worse, only less is known of it.
            match ours.map(scylla::Range::tokens).collect::<Option<Vec<_>>>() {
                Some(ranges) => drop(held.insert(unit.keyspace.clone(), ranges)),
                None => warn!(
                    keyspace = unit.keyspace,
                    "the node tells tokens that are no numbers"
                ),
            }
        }
        Ok(held)
    }

    async fn nodes(&self) -> Result<Vec<NodeId>, Failure> {
        let mut nodes: Vec<NodeId> = self.node.host_ids().await?.into_values().collect();
        nodes.sort();
        Ok(nodes)
    }

    async fn facts(&self, job: &Index) -> Result<NodeFacts, Failure> {
        Ok(NodeFacts {
            cluster_name: job.cluster_name.clone(),
            scylla_version: self.node.version().await?,
            ip: self.address.clone(),
            rack: self.rack.clone(),
            tokens: self.node.tokens(&self.address).await?,
            shard_count: self.node.shards().await?,
            cpu_count: std::thread::available_parallelism()
                .map_or(0, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            ..NodeFacts::default()
        })
    }
}

/// ScyllaDB's own manifest of each table, as a file to store.
fn scylla_manifests<'a>(
    job: &Index,
    owner: &Owner,
    snapshots: &'a [Snapshot],
) -> Result<Vec<(ChunkFile, TableDir)>, Failure> {
    let file = |snapshot: &'a Snapshot| {
        let table = &snapshot.table;
        let dir = TableDir::new(owner, &table.keyspace, &table.table, table.version)?;
        let key = ScyllaManifestKey {
            dir: dir.clone(),
            tag: job.tag.clone(),
        }
        .to_string();
        let name = snapshot
            .manifest
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let path = format!("{}/{name}", table.dir);
        Ok((
            ChunkFile {
                path,
                key,
                bytes: snapshot.manifest_bytes,
                crc32: None,
                replaces: None,
            },
            dir,
        ))
    };
    snapshots.iter().map(file).collect()
}

/// What the bucket holds of this node, by one listing; and the digests and lists of finished backups
/// that ids which are used again need for a comparison.
async fn remote(
    store: &Store,
    owner: &Owner,
    local: &[LocalTable],
    ctx: &JobContext,
) -> Result<Remote, Failure> {
    let prefix = owner.components();
    let list = store.list(&prefix).map_ok(|object| {
        ctx.alive.moved(0);
        (object.key, object.bytes)
    });
    let objects: BTreeMap<String, u64> = list
        .try_collect()
        .await
        .map_err(Failure::store(format!("list `{prefix}`")))?;
    let fetch = digests(owner, local, &objects)?
        .into_iter()
        .map(|key| async move {
            let body = store
                .get(&key)
                .await
                .map_err(Failure::store(format!("read `{key}`")))?;
            Ok::<_, Failure>((key, body.to_vec()))
        });
    let digests: BTreeMap<String, Vec<u8>> = stream::iter(fetch)
        .buffer_unordered(REQUESTS)
        .try_collect()
        .await?;
    // Where nothing has the name of an integer's SSTable, there is nothing to be told apart.
    let doubtful = !digests.is_empty();
    let remote = Remote {
        objects,
        digests,
        ..Remote::default()
    };
    match doubtful {
        true => listed(store, owner, remote, ctx).await,
        false => Ok(remote),
    }
}

/// Adds what the newest finished backup of each task lists. Older ones list what is older, or gone.
async fn listed(
    store: &Store,
    owner: &Owner,
    mut remote: Remote,
    ctx: &JobContext,
) -> Result<Remote, Failure> {
    let prefix = owner.manifests();
    let listed: Vec<store::Object> = store
        .list(&prefix)
        .try_collect()
        .await
        .map_err(Failure::store(format!("list `{prefix}`")))?;
    let mut newest = BTreeMap::<TaskId, ManifestKey>::new();
    for object in listed {
        let Ok(key) = object.key.parse::<ManifestKey>() else {
            continue;
        };
        let newer = newest
            .get(&key.task)
            .is_none_or(|known| known.tag < key.tag);
        if !key.temporary && newer {
            newest.insert(key.task, key);
        }
    }
    for key in newest.into_values() {
        let body = store.get(&key.to_string()).await;
        let body = body.map_err(Failure::store(format!("read `{key}`")))?;
        ctx.alive.moved(0);
        Manifest::visit(&body[..], &key, |entry| {
            remote.list(&key, &entry).map_err(Failure::from)
        })?;
    }
    Ok(remote)
}

/// Key of the schema that lies beside the backup; empty if none does.
fn schema(job: &Index) -> String {
    let key = SchemaKey {
        cluster: job.cluster,
        task: job.task,
        tag: job.tag.clone(),
        kind: SchemaKind::Cql,
    };
    match job.schema {
        true => key.to_string(),
        false => String::new(),
    }
}

async fn put(store: &Store, key: String, body: Vec<u8>) -> Result<(), Failure> {
    let attempt = format!("write `{key}`");
    store
        .put(&key, Bytes::from(body))
        .await
        .map_err(Failure::store(attempt))
}
