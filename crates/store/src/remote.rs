//! Buckets of Google Cloud Storage and Azure Blob Storage, by `opendal`; and buckets in memory.
//!
//! # Not here
//! Neither is told checksums: transport is trusted (TLS), and the CRC-32 computed on the way is in
//! the caller's hands. A cancelled upload leaves its parts to the store's own clean-up.

mod copy;
mod error;

use std::{
    ops::Range,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use crc32fast::Hasher;
use futures::{StreamExt, TryStreamExt, future, stream};
use opendal::{Buffer, ErrorKind, OperationContext, Operator, Writer, layers, services};

use crate::{
    AzureSettings, Error, GcsSettings, Moved, Object,
    budget::Budget,
    error::Attempt,
    http::{Connector, STALL},
    part,
    requests::Counted,
    source::{self, Piece, Source},
    store::{Body, Objects},
    time::since_1970,
};
use error::explain;

/// One request with a large body. `opendal` does not show how a body moves, so this bounds the
/// whole: 16 MiB at 90 KiB/s.
const TRANSFER: Duration = Duration::from_secs(180);

/// Tries after the first.
const RETRIES: usize = 4;

/// Requests of one deletion in flight.
const DELETIONS: usize = 32;

/// One bucket.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    operator: Operator,
    place: Arc<str>,
    budget: Budget,
    /// The largest file that goes in one request, in bytes.
    single: u64,
    /// Whether one request deletes many objects. GCS has an interface for that, which emulators
    /// get wrong.
    deletes_many: bool,
}

/// A bucket of Google Cloud Storage, and the class that objects are to have in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GcsBucket<'a> {
    pub(crate) name: &'a str,
    pub(crate) class: Option<&'a str>,
}

/// A bucket of Google Cloud Storage.
pub(crate) fn gcs(
    settings: &GcsSettings,
    http: &Connector,
    bucket: GcsBucket<'_>,
    place: Arc<str>,
    budget: Budget,
) -> Result<Remote, Error> {
    let mut builder = services::Gcs::default().bucket(bucket.name);
    if let Some(class) = bucket.class {
        builder = builder.default_storage_class(class);
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.endpoint(endpoint);
    }
    if let Some(path) = &settings.credential_file {
        builder = builder.credential_path(&path.display().to_string());
    }
    if settings.anonymous {
        builder = builder.skip_signature();
    }
    let operator = Operator::new(builder).map_err(|e| error::settings(&place, &e))?;
    let single = u64::from(settings.single_write_mb) << 20;
    Ok(Remote {
        operator: layered(operator, http),
        single: single.min(budget.bytes() / 2),
        deletes_many: false,
        place,
        budget,
    })
}

/// A container of Azure Blob Storage.
pub(crate) fn azure(
    settings: &AzureSettings,
    http: &Connector,
    bucket: &str,
    place: Arc<str>,
    budget: Budget,
) -> Result<Remote, Error> {
    let endpoint = azure_endpoint(settings)
        .ok_or_else(|| Error::Settings(format!("{place} needs azure.account or azure.endpoint")))?;
    let mut builder = services::Azblob::default()
        .container(bucket)
        .endpoint(&endpoint);
    if let Some(account) = &settings.account {
        builder = builder.account_name(account);
    }
    if let Some(key) = &settings.account_key {
        builder = builder.account_key(key.reveal());
    }
    if let Some(token) = &settings.sas_token {
        builder = builder.sas_token(token.reveal());
    }
    let operator = Operator::new(builder).map_err(|e| error::settings(&place, &e))?;
    Ok(Remote {
        operator: layered(operator, http),
        single: 0,
        deletes_many: true,
        place,
        budget,
    })
}

/// Where the containers of an account are.
pub(crate) fn azure_endpoint(settings: &AzureSettings) -> Option<String> {
    let usual = |account| format!("https://{account}.blob.core.windows.net");
    let endpoint = settings.endpoint.clone();
    endpoint.or_else(|| settings.account.as_ref().map(usual))
}

/// A bucket in memory, for tests.
pub(crate) fn memory(place: Arc<str>, budget: Budget) -> Remote {
    let builder = services::Memory::default();
    Remote {
        operator: Operator::new(builder).expect("memory needs no settings"),
        place,
        budget,
        single: u64::MAX,
        deletes_many: true,
    }
}

fn layered(operator: Operator, http: &Connector) -> Operator {
    let counted = Counted::new(http.client.clone(), http.budget.clone());
    let transport = opendal::HttpTransporter::new(counted);
    let timeout = layers::TimeoutLayer::new()
        .with_timeout(STALL)
        .with_io_timeout(TRANSFER);
    let retry = layers::RetryLayer::new()
        .with_max_times(RETRIES)
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(8))
        .with_jitter();
    operator
        .with_context(OperationContext::new().with_http_transport(transport))
        .layer(timeout)
        .layer(retry)
}

impl Remote {
    fn attempt<'a>(&'a self, action: &'static str, key: &'a str) -> Attempt<'a> {
        Attempt {
            action,
            key,
            place: &self.place,
        }
    }

    pub(crate) async fn put(&self, key: &str, body: impl Into<Buffer>) -> Result<(), Error> {
        let _request = self.budget.requests(1).await;
        let written = self.operator.write(key, body.into()).await;
        let written = written.map_err(|e| explain(&self.attempt("write", key), &e));
        written.map(drop)
    }

    pub(crate) async fn put_new(&self, key: &str, body: Bytes) -> Result<bool, Error> {
        // Only the condition is atomic, but emulators of GCS ignore it.
        if self.bytes(key).await?.is_some() {
            return Ok(false);
        }
        let _request = self.budget.requests(1).await;
        let written = self
            .operator
            .write_with(key, body)
            .if_not_exists(true)
            .await;
        match written {
            Ok(_) => Ok(true),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists
                ) =>
            {
                Ok(false)
            }
            Err(e) => Err(explain(&self.attempt("write", key), &e)),
        }
    }

    pub(crate) async fn put_file(
        &self,
        key: &str,
        path: &Path,
        bytes: u64,
        expect: Option<u32>,
        moved: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Moved, Error> {
        let part = part::size(bytes, self.budget.bytes());
        if bytes > part.max(self.single) {
            let source = Source::open(path, bytes).await?;
            return self.put_parts(key, &source, part, expect, moved).await;
        }
        let Piece { body, crc } = source::whole(path, bytes, &self.budget).await?;
        let crc32 = crc.finalize();
        source::verify(path, crc32, expect)?;
        let body = match self.operator.info().scheme() == services::MEMORY_SCHEME {
            // It keeps what it is given, and must not keep the budget's memory.
            true => Buffer::from(Bytes::from(body.concat())),
            false => Buffer::from(body),
        };
        self.put(key, body).await?;
        moved(bytes);
        Ok(Moved { bytes, crc32 })
    }

    async fn put_parts(
        &self,
        key: &str,
        source: &Source,
        part: u64,
        expect: Option<u32>,
        moved: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Moved, Error> {
        // The writer holds back one part, and one is being read: all memory is taken at once, for
        // files that wait for each other's held-back parts would wait for ever.
        let lanes = (self.budget.bytes() / part).saturating_sub(2);
        let lanes = u32::try_from(lanes).map_or(part::AT_ONCE, |n| n.clamp(1, part::AT_ONCE));
        let _memory = self.budget.memory(u64::from(lanes + 2) * part).await;
        let _requests = self.budget.requests(lanes).await;
        let attempt = self.attempt("write", key);
        let opened = self.operator.writer_with(key).concurrent(lanes as usize);
        let mut writer = opened.await.map_err(|e| explain(&attempt, &e))?;
        let sent = match self.send(&mut writer, key, source, part, moved).await {
            Ok(crc32) => source.verify(crc32, expect).map(|()| crc32),
            Err(e) => Err(e),
        };
        match sent {
            Ok(crc32) => {
                writer.close().await.map_err(|e| explain(&attempt, &e))?;
                let bytes = source.bytes();
                Ok(Moved { bytes, crc32 })
            }
            Err(e) => {
                if let Err(error) = writer.abort().await {
                    let error = explain(&self.attempt("abort the upload of", key), &error);
                    tracing::warn!(key, %error, "parts of an upload stay behind");
                }
                Err(e)
            }
        }
    }

    /// Hands all parts to `writer`; returns the CRC-32 of the whole.
    async fn send(
        &self,
        writer: &mut Writer,
        key: &str,
        source: &Source,
        part: u64,
        moved: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u32, Error> {
        let mut crc = Hasher::new();
        for range in part::cut(source.bytes(), part) {
            let bytes = range.end - range.start;
            let length = usize::try_from(bytes).expect("parts fit into memory");
            let buffers = self.budget.covered(length);
            let piece = source.fill(range, buffers, &self.budget).await?;
            crc.combine(&piece.crc);
            let written = writer.write(piece.body).await;
            written.map_err(|e| explain(&self.attempt("write", key), &e))?;
            moved(bytes);
        }
        source.unchanged()?;
        Ok(crc.finalize())
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Body, Error> {
        let total = self.total(key).await?;
        self.read(key, 0..total, total).await
    }

    pub(crate) async fn open(&self, key: &str, range: Range<u64>) -> Result<Body, Error> {
        let total = self.total(key).await?;
        self.read(key, range.start..range.end.min(total), total)
            .await
    }

    async fn total(&self, key: &str) -> Result<u64, Error> {
        let meta = self.operator.stat(key).await;
        let meta = meta.map_err(|e| explain(&self.attempt("read", key), &e))?;
        Ok(meta.content_length())
    }

    async fn read(&self, key: &str, range: Range<u64>, total: u64) -> Result<Body, Error> {
        if range.is_empty() {
            let stream = stream::empty().boxed();
            return Ok(Body { total, stream });
        }
        let failed = |e: &opendal::Error| explain(&self.attempt("read", key), e);
        let reader = self.operator.reader(key).await.map_err(|e| failed(&e))?;
        let chunks = reader.into_stream(range).await.map_err(|e| failed(&e))?;
        let (this, key) = (self.clone(), key.to_owned());
        let chunks = chunks.map(move |chunk| match chunk {
            Ok(chunk) => Ok(chunk.to_bytes()),
            Err(e) => Err(explain(&this.attempt("read", &key), &e)),
        });
        Ok(Body {
            total,
            stream: chunks.boxed(),
        })
    }

    pub(crate) fn list(&self, prefix: &str) -> Objects {
        let (this, prefix) = (self.clone(), prefix.to_owned());
        let listed = async move {
            let failed = {
                let (this, prefix) = (this.clone(), prefix.clone());
                move |e: opendal::Error| explain(&this.attempt("list", &prefix), &e)
            };
            let lister = this.operator.lister_with(&prefix).recursive(true).await;
            let entries = lister.map_err(failed.clone())?.map_err(failed);
            Ok(entries.try_filter_map(move |entry| {
                let file = entry.metadata().is_file() && entry.path().starts_with(&prefix);
                let time = entry.metadata().last_modified().map(SystemTime::from);
                future::ready(Ok(file.then(|| Object {
                    key: entry.path().to_owned(),
                    bytes: entry.metadata().content_length(),
                    written_ms: time.and_then(since_1970),
                })))
            }))
        };
        stream::once(listed).try_flatten().boxed()
    }

    /// What stands between `prefix` and the next `/` of keys.
    pub(crate) async fn folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let _request = self.budget.requests(1).await;
        let listed = self.operator.list(prefix).await;
        let listed = listed.map_err(|e| explain(&self.attempt("list", prefix), &e))?;
        let names = listed.iter().filter_map(|entry| {
            let name = entry.path().strip_prefix(prefix)?.strip_suffix('/')?;
            (!name.is_empty()).then(|| name.to_owned())
        });
        Ok(names.collect())
    }

    pub(crate) async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        if !self.deletes_many {
            return stream::iter(keys.iter().map(Ok))
                .try_for_each_concurrent(DELETIONS, |key| self.delete_one(key))
                .await;
        }
        let first = keys.first().map_or("", String::as_str);
        let _request = self.budget.requests(1).await;
        let deleted = self.operator.delete_iter(keys.to_vec()).await;
        deleted.map_err(|e| explain(&self.attempt("delete", first), &e))
    }

    async fn delete_one(&self, key: &str) -> Result<(), Error> {
        let _request = self.budget.requests(1).await;
        let deleted = self.operator.delete(key).await;
        deleted.map_err(|e| explain(&self.attempt("delete", key), &e))
    }

    /// When an object was written, in milliseconds since 1970, if the store says so. What lies in
    /// memory has this process's time.
    pub(crate) async fn written_ms(&self, key: &str) -> Result<Option<u64>, Error> {
        let _request = self.budget.requests(1).await;
        let meta = self.operator.stat(key).await;
        let meta = meta.map_err(|e| explain(&self.attempt("read", key), &e))?;
        let time = match meta.last_modified() {
            None if self.operator.info().scheme() == services::MEMORY_SCHEME => {
                Some(SystemTime::now())
            }
            time => time.map(SystemTime::from),
        };
        Ok(time.and_then(since_1970))
    }

    pub(crate) async fn bytes(&self, key: &str) -> Result<Option<u64>, Error> {
        let _request = self.budget.requests(1).await;
        match self.total(key).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }
}
