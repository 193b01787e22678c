//! Buckets: values of one type under keys, written by compare-and-set.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    time::Duration,
};

use async_nats::{
    HeaderMap, HeaderValue, header,
    jetstream::{ErrorCode, message::PublishMessage, stream::LastRawMessageErrorKind},
};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Serialize, de::DeserializeOwned};
use tracing::{debug, warn};

use crate::{
    Bucket, Error, Queue,
    error::{BoxError, Refusal},
    watch::{Change, Changes, MARKER, below, change, deleted},
};

/// How long listing a bucket may take.
const LISTING: Duration = Duration::from_secs(20);
/// How many values one request of a listing asks for.
const PAGE: usize = 256;

/// Which version of a value: what compare-and-set compares. Grows with every write to a bucket,
/// also across the bucket's loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub(crate) u64);

/// A bucket whose values are `T`, written as MessagePack with named fields. Cheap to clone.
///
/// A bucket that is missing is made, and is empty then. Reads see every write that was answered.
pub struct Kv<T> {
    queue: Queue,
    bucket: Bucket,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Kv<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            bucket: self.bucket,
            value: PhantomData,
        }
    }
}

impl Queue {
    /// A bucket, as holding values of type `T`.
    #[must_use]
    pub fn bucket<T: Serialize + DeserializeOwned>(&self, bucket: Bucket) -> Kv<T> {
        Kv {
            queue: self.clone(),
            bucket,
            value: PhantomData,
        }
    }
}

impl<T: Serialize + DeserializeOwned> Kv<T> {
    /// The value of `key`, with its revision.
    ///
    /// # Errors
    /// [`Error::Value`] if it is no `T`; [`Error::Key`]; [`Error::Unavailable`].
    pub async fn get(&self, key: &str) -> Result<Option<(T, Revision)>, Error> {
        match self.queue.last(self.bucket, key).await? {
            Last::Value(bytes, revision) => Ok(Some((self.read(key, &bytes)?, revision))),
            Last::Deleted(_) | Last::Never => Ok(None),
        }
    }

    /// Writes `key` if it has no value; `None` if it has one.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`], [`Error::Key`]; [`Error::Unavailable`], when it may
    /// have been written all the same.
    pub async fn create(&self, key: &str, value: &T) -> Result<Option<Revision>, Error> {
        let written = self.update(key, value, Revision(0)).await?;
        if written.is_some() {
            return Ok(written);
        }
        // What was deleted has left a mark, and that has a revision.
        match self.queue.last(self.bucket, key).await? {
            Last::Deleted(revision) => self.update(key, value, revision).await,
            Last::Never => self.update(key, value, Revision(0)).await,
            Last::Value(..) => Ok(None),
        }
    }

    /// Writes `key` if its revision is still `revision`; `None` if it is not.
    ///
    /// # Errors
    /// As [`Kv::create`].
    pub async fn update(
        &self,
        key: &str,
        value: &T,
        revision: Revision,
    ) -> Result<Option<Revision>, Error> {
        match self.write(key, self.bytes(value), Some(revision)).await {
            Ok(revision) => Ok(Some(revision)),
            Err(Wrote::Conflict) => Ok(None),
            Err(Wrote::Failed(error)) => Err(error),
        }
    }

    /// Writes `key`, whatever it holds.
    ///
    /// # Errors
    /// As [`Kv::create`].
    pub async fn put(&self, key: &str, value: &T) -> Result<Revision, Error> {
        self.write(key, self.bytes(value), None)
            .await
            .map_err(|refused| refused.into_error(self.bucket))
    }

    /// Deletes `key`; well if it is not there.
    ///
    /// # Errors
    /// As [`Kv::create`].
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.mark_deleted(key, None)
            .await
            .map(drop)
            .map_err(|refused| refused.into_error(self.bucket))
    }

    /// Deletes `key` if its revision is still `revision`; says whether it was.
    ///
    /// # Errors
    /// As [`Kv::create`].
    pub async fn delete_at(&self, key: &str, revision: Revision) -> Result<bool, Error> {
        match self.mark_deleted(key, Some(revision)).await {
            Ok(_) => Ok(true),
            Err(Wrote::Conflict) => Ok(false),
            Err(Wrote::Failed(error)) => Err(error),
        }
    }

    /// All values below `prefix`, in order of key; a prefix is whole tokens (`worker` for
    /// `worker.x`, never for `workers`), and an empty one is everything. Values that are no `T`
    /// are left out, with a warning.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, T, Revision)>, Error> {
        let listing = tokio::time::timeout(LISTING, self.queue.list_raw(self.bucket, prefix));
        let found = listing.await.map_err(|_| {
            let what = format!("list bucket {} within {LISTING:?}", self.bucket.name());
            Error::unavailable(what, "no answer")
        })??;
        let read =
            |(key, (bytes, revision)): (String, (Bytes, Revision))| match self.read(&key, &bytes) {
                Ok(value) => Some((key, value, revision)),
                Err(error) => {
                    warn!(%error, "value left out of a listing");
                    None
                }
            };
        Ok(found.into_iter().filter_map(read).collect())
    }

    /// What lies below `prefix`, then [`Change::Current`], then every change.
    #[must_use]
    pub fn watch(&self, prefix: &str) -> Changes<T> {
        self.queue.changes(self.bucket, prefix)
    }

    fn bytes(&self, value: &T) -> Bytes {
        rmp_serde::to_vec_named(value)
            .expect("records are plain data")
            .into()
    }

    fn read(&self, key: &str, bytes: &[u8]) -> Result<T, Error> {
        rmp_serde::from_slice(bytes).map_err(|cause| Error::Value {
            bucket: self.bucket.name(),
            key: key.to_owned(),
            cause: cause.to_string(),
        })
    }

    async fn write(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<Revision>,
    ) -> Result<Revision, Wrote> {
        self.queue
            .write(self.bucket, key, value, HeaderMap::new(), expected)
            .await
    }

    async fn mark_deleted(&self, key: &str, expected: Option<Revision>) -> Result<Revision, Wrote> {
        let mut headers = HeaderMap::new();
        headers.insert(MARKER, "DEL");
        self.queue
            .write(self.bucket, key, Bytes::new(), headers, expected)
            .await
    }
}

/// Why nothing was written.
enum Wrote {
    Conflict,
    Failed(Error),
}

impl Wrote {
    fn into_error(self, bucket: Bucket) -> Error {
        match self {
            Self::Conflict => Error::unavailable(
                format!("write to bucket {}", bucket.name()),
                "a conflict where none was asked for",
            ),
            Self::Failed(error) => error,
        }
    }
}

/// What a key last held.
pub(crate) enum Last {
    Value(Bytes, Revision),
    Deleted(Revision),
    Never,
}

impl Queue {
    async fn write(
        &self,
        bucket: Bucket,
        key: &str,
        value: Bytes,
        mut headers: HeaderMap,
        expected: Option<Revision>,
    ) -> Result<Revision, Wrote> {
        check_key(key).map_err(Wrote::Failed)?;
        if let Some(Revision(revision)) = expected {
            headers.insert(
                header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
                HeaderValue::from(revision),
            );
        }
        let message = PublishMessage::build().payload(value).headers(headers);
        match self.store(bucket.subject(key), message).await {
            Ok(sequence) => Ok(Revision(sequence)),
            Err(Refusal::Conflict) => Err(Wrote::Conflict),
            Err(refusal) => {
                let what = format!("`{key}`");
                Err(Wrote::Failed(refusal.into_error(&what, &bucket.stream())))
            }
        }
    }

    /// Reads from the stream's leader, so that what was written is seen.
    pub(crate) async fn last(&self, bucket: Bucket, key: &str) -> Result<Last, Error> {
        check_key(key)?;
        let found = match self.last_once(bucket, key).await {
            Err(Read::NoStream(_)) => {
                self.ensure().await?;
                self.last_once(bucket, key).await
            }
            other => other,
        };
        found.map_err(|error| match error {
            Read::NoStream(cause) | Read::Failed(cause) => {
                Error::unavailable(format!("read `{key}` of bucket {}", bucket.name()), cause)
            }
        })
    }

    async fn last_once(&self, bucket: Bucket, key: &str) -> Result<Last, Read> {
        let stream = self
            .shared
            .js
            .get_stream_no_info(bucket.stream())
            .await
            .map_err(|e| Read::Failed(e.into()))?;
        let subject = bucket.subject(key);
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) if deleted(Some(&message.headers)) => {
                Ok(Last::Deleted(Revision(message.sequence)))
            }
            Ok(message) => Ok(Last::Value(message.payload, Revision(message.sequence))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(Last::Never),
                LastRawMessageErrorKind::JetStream(api)
                    if api.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Err(Read::NoStream(error.into()))
                }
                LastRawMessageErrorKind::JetStream(_)
                | LastRawMessageErrorKind::InvalidSubject
                | LastRawMessageErrorKind::Other => Err(Read::Failed(error.into())),
            },
        }
    }

    /// Reads all at once, and then one by one what was written meanwhile: the server leaves that out
    /// where it counts on what it has replaced.
    async fn list_raw(
        &self,
        bucket: Bucket,
        prefix: &str,
    ) -> Result<BTreeMap<String, (Bytes, Revision)>, Error> {
        let failed =
            |cause: BoxError| Error::unavailable(format!("list bucket {}", bucket.name()), cause);
        let reader = self.reader(bucket, prefix, LISTING * 2).await?;
        let mut found = BTreeMap::new();
        let mut seen = BTreeSet::new();
        loop {
            let page = reader.fetch().max_messages(PAGE).messages().await;
            let mut page = page.map_err(|e| failed(e.into()))?;
            let mut count = 0;
            while let Some(message) = page.next().await {
                let message = message.map_err(failed)?;
                count += 1;
                match change(bucket, &message) {
                    Some((
                        Change::Put {
                            key,
                            value,
                            revision,
                        },
                        _,
                    )) => {
                        seen.insert(key.clone());
                        found.insert(key, (value, revision));
                    }
                    Some((Change::Delete { key }, _)) => {
                        found.remove(&key);
                        seen.insert(key);
                    }
                    Some((Change::Current, _)) | None => {}
                }
            }
            if count < PAGE {
                break;
            }
        }
        self.forget(bucket, &reader.cached_info().name).await;
        for key in self.keys(bucket, prefix).await? {
            if seen.contains(&key) {
                continue;
            }
            if let Last::Value(value, revision) = self.last(bucket, &key).await? {
                found.insert(key, (value, revision));
            }
        }
        Ok(found)
    }

    /// All keys below `prefix`, also those that were deleted.
    async fn keys(&self, bucket: Bucket, prefix: &str) -> Result<Vec<String>, Error> {
        let failed = |cause: BoxError| {
            Error::unavailable(format!("list keys of bucket {}", bucket.name()), cause)
        };
        let stream = self.shared.js.get_stream_no_info(bucket.stream()).await;
        let stream = stream.map_err(|e| failed(e.into()))?;
        let subjects = stream.info_with_subjects(bucket.subject(&below(prefix)));
        let mut subjects = subjects.await.map_err(|e| failed(e.into()))?;
        let before = bucket.subject("");
        let mut keys = Vec::new();
        while let Some(subject) = subjects.next().await {
            let (subject, _) = subject.map_err(|e| failed(e.into()))?;
            keys.extend(subject.strip_prefix(&before).map(str::to_owned));
        }
        Ok(keys)
    }

    /// Deletes a reader that is done; one left over is forgotten by the server by itself.
    async fn forget(&self, bucket: Bucket, reader: &str) {
        let js = &self.shared.js;
        let gone = js.delete_consumer_from_stream(reader, bucket.stream());
        if let Err(error) = gone.await {
            debug!(%error, "reader not deleted");
        }
    }
}

/// Why nothing was read.
enum Read {
    NoStream(BoxError),
    Failed(BoxError),
}

/// Keys become parts of subjects; what NATS gives a meaning to is no part of a key.
fn check_key(key: &str) -> Result<(), Error> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_=/.".contains(c);
    if key.is_empty() || !key.chars().all(fine) || key.split('.').any(str::is_empty) {
        return Err(Error::Key(key.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hold_nothing_that_nats_gives_a_meaning_to() {
        for fine in ["leader", "worker.upload.x-1", "a=2E"] {
            assert!(check_key(fine).is_ok(), "{fine}");
        }
        for wrong in ["", ".", "a.", ".a", "a..b", "a*", "a b", ">", "ä"] {
            assert!(check_key(wrong).is_err(), "{wrong}");
        }
    }
}
