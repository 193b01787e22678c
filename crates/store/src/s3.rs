//! Buckets of Amazon S3 and of everything that speaks its protocol.

mod client;
mod copy;
mod encryption;
mod error;
mod keys;
mod pages;
mod payload;
mod probe;
mod read;
mod sign;
mod target;
mod upload;

use std::sync::Arc;

use aws_sdk_s3::{
    Client,
    primitives::ByteStream,
    types::{Delete, ObjectIdentifier},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use crate::{Error, Object, S3Settings, budget::Budget, error::Attempt, store::Objects};

pub(crate) use client::Clients;
pub(crate) use encryption::ALGORITHM;
use encryption::Encryption;
use error::{explain, is_missing, precondition_failed};
use pages::Pages;
use payload::{Ask, What};
use target::Target;

/// Keys one request may delete.
const DELETED_AT_ONCE: usize = 1_000;

/// Requests of one deletion in flight.
const DELETIONS: usize = 4;

/// Refuses settings that contradict themselves.
pub(crate) fn check(settings: &S3Settings) -> Result<(), Error> {
    Encryption::new(settings).map(drop)
}

/// One bucket.
#[derive(Clone, Debug)]
pub(crate) struct S3 {
    clients: Clients,
    bucket: String,
    target: Arc<OnceCell<Target>>,
    place: Arc<str>,
    budget: Budget,
}

impl S3 {
    pub(crate) fn new(clients: Clients, bucket: &str, place: Arc<str>, budget: Budget) -> Self {
        Self {
            target: clients.target(bucket),
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
        self.put_checked(key, &[body], crc, None).await
    }

    /// As [`Self::put`], where the checksum is known already, in a storage class.
    async fn put_checked(
        &self,
        key: &str,
        body: &[Bytes],
        crc: u32,
        class: Option<&str>,
    ) -> Result<(), Error> {
        let attempt = self.attempt("write", key);
        let _request = self.budget.requests(1).await;
        let crc = error::checksum(crc);
        let what = What::Put {
            query: "",
            body,
            crc: &crc,
            class,
        };
        let answer = self.ask(&attempt, &Ask { key, what }).await;
        let mut answer = answer.map_err(|fault| fault.error)?;
        answer.finish().await;
        Ok(())
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
                self.put_checked(key, &[body], crc, None)
                    .await
                    .map(|()| true)
            }
            Err(e) => Err(explain(&attempt, &e)),
        }
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

/// Lengths are never negative, whatever their type says.
fn unsigned(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or_default()
}
