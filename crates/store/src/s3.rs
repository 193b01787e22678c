//! Buckets of Amazon S3 and of everything that speaks its protocol.

mod client;
mod copy;
mod error;
mod pages;
mod upload;

use std::{ops::Range, sync::Arc};

use aws_sdk_s3::{
    Client,
    operation::get_object::GetObjectOutput,
    primitives::ByteStream,
    types::{ChecksumMode, Delete, ObjectIdentifier},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    Error, Object,
    budget::Budget,
    error::Attempt,
    http::{Pulse, STALL, Stalled},
    store::{Body, Objects},
};

pub(crate) use client::Clients;
use error::{explain, is_missing, precondition_failed};
use pages::Pages;

/// Keys one request may delete.
const DELETED_AT_ONCE: usize = 1_000;

/// Requests of one deletion in flight.
const DELETIONS: usize = 4;

/// One bucket.
#[derive(Clone, Debug)]
pub(crate) struct S3 {
    clients: Clients,
    bucket: String,
    place: Arc<str>,
    budget: Budget,
}

impl S3 {
    pub(crate) fn new(clients: Clients, bucket: &str, place: Arc<str>, budget: Budget) -> Self {
        Self {
            clients,
            bucket: bucket.to_owned(),
            place,
            budget,
        }
    }

    fn attempt<'a>(&'a self, action: &'static str, key: &'a str) -> Attempt<'a> {
        Attempt {
            action,
            key,
            place: &self.place,
        }
    }

    /// For requests without a large body: time-outs are the client's.
    fn control(&self) -> &Client {
        &self.clients.control
    }

    /// Stores `body`, checked by its CRC-32.
    pub(crate) async fn put(&self, key: &str, body: Bytes) -> Result<(), Error> {
        let crc = crc32fast::hash(&body);
        self.put_checked(key, body, crc).await
    }

    /// As [`Self::put`], where the checksum is known already.
    async fn put_checked(&self, key: &str, body: Bytes, crc: u32) -> Result<(), Error> {
        let attempt = self.attempt("write", key);
        let _request = self.budget.requests(1).await;
        let pulse = Pulse::default();
        let mut sending = self
            .clients
            .data
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_length(length(&body))
            .checksum_crc32(error::checksum(crc))
            .body(self.clients.body(body, &pulse))
            .customize();
        if !self.clients.sign_payload() {
            sending = sending.disable_payload_signing();
        }
        match pulse.watch(STALL, sending.send()).await {
            Ok(sent) => sent.map(drop).map_err(|e| explain(&attempt, &e)),
            Err(Stalled) => Err(attempt.unavailable(Stalled::CAUSE)),
        }
    }

    /// Stores `body` unless the key is taken; `false` if it is.
    pub(crate) async fn put_new(&self, key: &str, body: Bytes) -> Result<bool, Error> {
        let attempt = self.attempt("write", key);
        let request = self.budget.requests(1).await;
        let crc = crc32fast::hash(&body);
        let sent = self
            .control()
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .if_none_match("*")
            .checksum_crc32(error::checksum(crc))
            .body(ByteStream::from(body.clone()))
            .send()
            .await;
        drop(request);
        match sent {
            Ok(_) => Ok(true),
            Err(e) if precondition_failed(&e) => Ok(false),
            Err(e) if error::not_implemented(&e) => {
                // Better than nothing: a gap of one round trip, on servers without the condition.
                if self.bytes(key).await?.is_some() {
                    return Ok(false);
                }
                self.put_checked(key, body, crc).await.map(|()| true)
            }
            Err(e) => Err(explain(&attempt, &e)),
        }
    }

    /// Begins to read a whole object; the caller holds a request of the budget.
    pub(crate) async fn get(&self, key: &str) -> Result<Body, Error> {
        let attempt = self.attempt("read", key);
        let sent = self
            .control()
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        let output = sent.map_err(|e| explain(&attempt, &e))?;
        let total = output.content_length.unwrap_or_default();
        Ok(body(key, &self.place, unsigned(total), output))
    }

    /// Begins to read a part of an object; what lies behind its end is left out. The caller holds a
    /// request of the budget.
    pub(crate) async fn open(&self, key: &str, range: Range<u64>) -> Result<Body, Error> {
        let attempt = self.attempt("read", key);
        let sent = self
            .control()
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .range(format!("bytes={}-{}", range.start, range.end - 1))
            .send()
            .await;
        let output = match sent {
            Ok(output) => output,
            Err(e) if error::out_of_range(&e) => {
                let found = self.head(key).await?;
                let found = found.ok_or_else(|| attempt.not_found())?;
                return Err(Error::Torn {
                    what: key.to_owned(),
                    found,
                    expected: range.end,
                });
            }
            Err(e) => return Err(explain(&attempt, &e)),
        };
        let total = output.content_range.as_deref().and_then(total_of);
        let total = total.ok_or_else(|| {
            attempt.refused("the answer to a request for a range names no range".to_owned())
        })?;
        Ok(body(key, &self.place, total, output))
    }

    /// All objects whose keys begin with `prefix`, in the order of their keys.
    pub(crate) fn list(&self, prefix: &str) -> Objects {
        let this = self.clone();
        let prefix = prefix.to_owned();
        let pages = stream::try_unfold(Some(Pages::default()), move |from: Option<Pages>| {
            let (this, prefix) = (this.clone(), prefix.clone());
            async move {
                let Some(from) = from else { return Ok(None) };
                let (page, next) = this.page(&prefix, from).await?;
                Ok(Some((stream::iter(page.into_iter().map(Ok)), next)))
            }
        });
        pages.try_flatten().boxed()
    }

    /// One page of a listing, and where the next begins, if there is one.
    async fn page(&self, prefix: &str, from: Pages) -> Result<(Vec<Object>, Option<Pages>), Error> {
        let attempt = self.attempt("list", prefix);
        let _request = self.budget.requests(1).await;
        let sent = self
            .control()
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .set_continuation_token(from.token())
            .send()
            .await;
        let output = sent.map_err(|e| explain(&attempt, &e))?;
        let objects = output.contents.unwrap_or_default();
        let first = objects.first().and_then(|object| object.key.as_deref());
        let next = (output.is_truncated, output.next_continuation_token);
        let next = from.after(&attempt, first, next)?;
        let objects = objects.into_iter().filter_map(|object| {
            let time = object.last_modified.and_then(|time| time.to_millis().ok());
            Some(Object {
                key: object.key?,
                bytes: unsigned(object.size.unwrap_or_default()),
                written_ms: time.and_then(|ms| u64::try_from(ms).ok()),
            })
        });
        Ok((objects.collect(), next))
    }

    /// What stands between `prefix` and the next `/` of keys.
    pub(crate) async fn folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let attempt = self.attempt("list", prefix);
        let (mut names, mut from) = (Vec::new(), Pages::default());
        loop {
            let _request = self.budget.requests(1).await;
            let sent = self
                .control()
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(prefix)
                .delimiter("/")
                .set_continuation_token(from.token())
                .send()
                .await;
            let output = sent.map_err(|e| explain(&attempt, &e))?;
            let below = output.common_prefixes.unwrap_or_default();
            let first = below.first().and_then(|below| below.prefix.as_deref());
            let next = (output.is_truncated, output.next_continuation_token);
            let next = from.after(&attempt, first, next)?;
            let below = below.into_iter();
            names.extend(below.filter_map(|below| {
                let name = below.prefix?.strip_prefix(prefix)?.to_owned();
                name.strip_suffix('/').map(str::to_owned)
            }));
            match next {
                Some(next) => from = next,
                None => return Ok(names),
            }
        }
    }

    /// Deletes `keys`, a thousand a request.
    pub(crate) async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        stream::iter(keys.chunks(DELETED_AT_ONCE).map(Ok))
            .try_for_each_concurrent(DELETIONS, |keys| self.delete_some(keys))
            .await
    }

    async fn delete_some(&self, keys: &[String]) -> Result<(), Error> {
        let first = keys.first().map_or("", String::as_str);
        let attempt = self.attempt("delete", first);
        let objects = keys.iter().map(|key| {
            let object = ObjectIdentifier::builder().key(key);
            object.build().expect("a key is all it needs")
        });
        let delete = Delete::builder()
            .set_objects(Some(objects.collect()))
            .quiet(true)
            .build()
            .expect("objects are all it needs");
        let _request = self.budget.requests(1).await;
        let sent = self
            .control()
            .delete_objects()
            .bucket(&self.bucket)
            .delete(delete)
            .send()
            .await;
        let output = sent.map_err(|e| explain(&attempt, &e))?;
        for error in output.errors.unwrap_or_default() {
            let code = error.code.unwrap_or_default();
            if code == "NoSuchKey" {
                continue;
            }
            let cause = format!("{code}: {}", error.message.unwrap_or_default());
            let key = error.key.unwrap_or_default();
            let attempt = self.attempt("delete", &key);
            return Err(error::by_code(&attempt, &code, None, cause));
        }
        Ok(())
    }

    /// An object's length; `None` if there is no such object.
    pub(crate) async fn bytes(&self, key: &str) -> Result<Option<u64>, Error> {
        let _request = self.budget.requests(1).await;
        self.head(key).await
    }

    /// When an object was written, in milliseconds since 1970, if the answer says so.
    pub(crate) async fn written_ms(&self, key: &str) -> Result<Option<u64>, Error> {
        let attempt = self.attempt("read", key);
        let _request = self.budget.requests(1).await;
        let sent = self
            .control()
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await;
        let output = sent.map_err(|e| explain(&attempt, &e))?;
        let time = output.last_modified.and_then(|time| time.to_millis().ok());
        Ok(time.and_then(|ms| u64::try_from(ms).ok()))
    }

    /// Whether there is no such bucket, as far as can be seen. Servers may answer requests about a
    /// missing one with "access denied".
    pub(crate) async fn no_bucket(&self) -> bool {
        let _request = self.budget.requests(1).await;
        let sent = self.control().head_bucket().bucket(&self.bucket).send();
        sent.await.is_err_and(|e| is_missing(&e))
    }

    /// As [`Self::bytes`], for callers that hold a request of the budget already.
    async fn head(&self, key: &str) -> Result<Option<u64>, Error> {
        let attempt = self.attempt("read", key);
        let sent = self
            .control()
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await;
        match sent {
            Ok(output) => Ok(Some(unsigned(output.content_length.unwrap_or_default()))),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(explain(&attempt, &e)),
        }
    }
}

fn body(key: &str, place: &Arc<str>, total: u64, output: GetObjectOutput) -> Body {
    let (key, place) = (key.to_owned(), Arc::clone(place));
    let chunks = stream::try_unfold(output.body, move |mut body| {
        let (key, place) = (key.clone(), Arc::clone(&place));
        async move {
            match body.try_next().await {
                Ok(chunk) => Ok(chunk.map(|chunk| (chunk, body))),
                Err(e) => {
                    let attempt = Attempt {
                        action: "read",
                        key: &key,
                        place: &place,
                    };
                    Err(attempt.unavailable(crate::error::chain(&e)))
                }
            }
        }
    });
    Body {
        total,
        stream: chunks.boxed(),
    }
}

/// `1234` of `bytes 0-99/1234`.
fn total_of(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
}

/// Lengths are never negative, whatever their type says.
fn unsigned(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or_default()
}

fn length(body: &Bytes) -> i64 {
    i64::try_from(body.len()).expect("no body is that long")
}
