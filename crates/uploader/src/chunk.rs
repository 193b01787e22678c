//! One chunk: read, checked, stored, and proven by a receipt.
//!
//! A file that takes the place of another is stored only once that lies where the plan keeps it; and
//! what lies there is never written again. So wherever this stops, and however many do it at once,
//! the old content is found under one of the two keys, and under the second as soon as the first has
//! the new one. One thing is left to fear: an upload that was held up until after the end of its run,
//! and arrives when the next backup has put yet another file there. The seal does not wait for it,
//! and only a store with conditional writes of large objects could refuse it.

use std::collections::BTreeMap;

use bytes::Bytes;
use catalog::{
    Chunk, ChunkFile, Document, IdKind, Name, Receipt, ReceiptFile, Replaced,
    key::{ComponentKey, OwnKey},
};
use protocol::{ChunkStored, Fact, TableRef, TableSize, Upload};
use queue::Context as JobContext;
use service::telling;
use store::Store;
use tracing::{Instrument as _, debug, debug_span, info, warn};

use crate::{Uploader, failure::Failure};

impl Uploader {
    /// Stores the job's chunk. A chunk that has its receipt is answered from it.
    ///
    /// `None` when the plan is gone: the run was sealed or given up meanwhile.
    pub(crate) async fn upload(
        &self,
        job: &Upload,
        ctx: &JobContext,
    ) -> Result<Option<Fact>, Failure> {
        let attempt = format!("open {}", job.location);
        let store = self
            .stores
            .open(&job.location)
            .await
            .map_err(Failure::store(attempt))?;
        let receipt_key = OwnKey::Receipt(job.origin, job.node, job.chunk).to_string();
        if let Some(body) = read(&store, &receipt_key).await? {
            let receipt: Receipt = parse(&receipt_key, &body)?;
            return Ok(Some(stored(job.chunk, &receipt)));
        }
        let chunk_key = OwnKey::Chunk(job.origin, job.node, job.chunk).to_string();
        let Some(body) = read(&store, &chunk_key).await? else {
            return self.without_plan(&store, job, chunk_key).await;
        };
        let chunk: Chunk = parse(&chunk_key, &body)?;
        let _say = self.pacer.job(job.cluster, job.task, job.pace);
        let part = format!("{}.chunk-{}", job.node, job.chunk);
        let classed = match job.storage_class.as_deref() {
            None => store.clone(),
            class => {
                let attempt = format!("open {}", job.location);
                let opened = self.stores.open_in(&job.location, class).await;
                opened.map_err(Failure::store(attempt))?
            }
        };
        let work = Box::pin(self.store_files(&classed, job, &chunk, ctx));
        let receipt = telling(&self.queue, job.run, &part, &ctx.alive, &self.pacer, work).await?;
        let body = Bytes::from(receipt.to_json());
        store
            .put(&receipt_key, body)
            .await
            .map_err(Failure::store(format!("write `{receipt_key}`")))?;
        self.metrics.chunks.inc();
        info!(run = %job.run, chunk = job.chunk, files = receipt.files.len(), "chunk stored");
        Ok(Some(stored(job.chunk, &receipt)))
    }

    /// A chunk without a plan: fine if the whole plan is gone, wrong if the plan is there without it.
    async fn without_plan(
        &self,
        store: &Store,
        job: &Upload,
        chunk_key: String,
    ) -> Result<Option<Fact>, Failure> {
        let plan_key = OwnKey::NodePlan(job.origin, job.node).to_string();
        let there = store
            .bytes(&plan_key)
            .await
            .map_err(Failure::store(format!("look for `{plan_key}`")))?;
        if there.is_some() {
            return Err(Failure::NoChunk {
                chunk: job.chunk,
                key: chunk_key,
            });
        }
        warn!(run = %job.run, chunk = job.chunk, "the plan is gone, so the run has ended; leaving the chunk");
        Ok(None)
    }

    /// Stores each file; the receipt lists them as the chunk does.
    async fn store_files(
        &self,
        store: &Store,
        job: &Upload,
        chunk: &Chunk,
        ctx: &JobContext,
    ) -> Result<Receipt, Failure> {
        let (files, share) = self.store_shared(store, job, chunk, ctx).await?;
        Ok(Receipt {
            chunk: job.chunk,
            files,
            methods: share.methods,
        })
    }

    pub(crate) async fn store_file(
        &self,
        store: &Store,
        file: ChunkFile,
        ctx: &JobContext,
    ) -> Result<ReceiptFile, Failure> {
        if let Some(old) = &file.replaces {
            keep(store, &file.key, old, ctx).await?;
        }
        let path = self.data_dir.join(&file.path);
        let moved = |bytes| {
            self.metrics.sent.inc_by(bytes);
            ctx.alive.moved(bytes);
        };
        let attempt = || format!("store {} as `{}`", path.display(), file.key);
        let span = debug_span!("file", key = file.key, bytes = file.bytes);
        let done = store
            .put_file(&file.key, &path, file.bytes, file.crc32, &moved)
            .instrument(span)
            .await;
        let done = done.map_err(Failure::store(attempt()))?;
        self.metrics.files.inc();
        Ok(ReceiptFile {
            key: file.key,
            bytes: done.bytes,
            crc32: done.crc32,
        })
    }
}

/// What a file's receipt says, if it is stored already and its CRC-32 known without reading it. Of a
/// unique SSTable, a file of the right size is the file itself; and only what matched its digest was
/// stored.
pub(crate) async fn there(store: &Store, file: &ChunkFile) -> Result<Option<ReceiptFile>, Failure> {
    let key: Option<ComponentKey> = file.key.parse().ok();
    let name: Option<Name> = key.and_then(|key| key.name.parse().ok());
    let unique = name.is_some_and(|name| name.id.kind() == IdKind::Uuid);
    let Some(crc32) = file.crc32.filter(|_| unique && file.replaces.is_none()) else {
        return Ok(None);
    };
    let found = store.bytes(&file.key).await;
    let found = found.map_err(Failure::store(format!("look for `{}`", file.key)))?;
    Ok((found == Some(file.bytes)).then(|| ReceiptFile {
        key: file.key.clone(),
        bytes: file.bytes,
        crc32,
    }))
}

/// Copies what lies under `key` to where it is to be kept, unless that was done.
async fn keep(store: &Store, key: &str, old: &Replaced, ctx: &JobContext) -> Result<(), Failure> {
    let step = || ctx.alive.moved(0);
    match store.copy_new(key, &old.kept, old.bytes, &step).await {
        Ok(true) => debug!(key, kept = old.kept, "older file kept"),
        Ok(false) => {}
        Err(store::Error::NotFound { .. }) => {
            warn!(
                key,
                "the file to be kept is gone from the bucket; nothing is replaced"
            );
        }
        Err(cause) => {
            let attempt = format!("keep `{key}` as `{}`", old.kept);
            return Err(Failure::Store { attempt, cause });
        }
    }
    Ok(())
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

/// Reads a document that lies under `key`.
pub(crate) fn parse<T: Document>(key: &str, body: &[u8]) -> Result<T, Failure> {
    T::from_json(body).map_err(|cause| Failure::Unreadable {
        key: key.to_owned(),
        cause,
    })
}

fn stored(chunk: u32, receipt: &Receipt) -> Fact {
    let bytes = receipt.files.iter().map(|f| f.bytes).sum();
    let mut tables = BTreeMap::<TableRef, u64>::new();
    for file in &receipt.files {
        // What is no component belongs to no table.
        if let Ok(ComponentKey { dir, .. }) = file.key.parse() {
            let (keyspace, table) = (dir.keyspace, dir.table);
            *tables.entry(TableRef { keyspace, table }).or_default() += file.bytes;
        }
    }
    let tables = tables.into_iter();
    Fact::ChunkStored(ChunkStored {
        chunk,
        files: receipt.files.len() as u64,
        bytes,
        tables: tables
            .map(|(table, bytes)| TableSize::new(table, bytes))
            .collect(),
        methods: receipt.methods.clone(),
    })
}
