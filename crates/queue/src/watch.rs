//! Watching a bucket: what is there, then every change.
//!
//! A watch outlives its connection and its bucket. Whenever either was lost it starts over with
//! what is there, and says of what is not there any more that it was deleted.

use std::{
    collections::BTreeSet,
    pin::Pin,
    task::{self, Poll},
    time::Duration,
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
};
use bytes::Bytes;
use futures::Stream;
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{debug, warn};
use uuid::Uuid;

use crate::{
    Bucket, Error, Queue, Revision,
    error::{BoxError, Chain},
    pull::{Gone, Pull},
};

/// How many changes may wait for whoever watches.
const AHEAD: usize = 64;
/// How many messages one request asks for.
const BATCH: usize = 256;
/// A watcher that has gone silent is forgotten by the server after this time.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// When nothing comes for so long, all that was there has come.
const QUIET: Duration = Duration::from_secs(3);
/// The longest pause before a watch that cannot be made is tried again. Short: a stop must be
/// known within 2 s.
const PAUSE: Duration = Duration::from_secs(1);

/// A change in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// The key has this value. It may be told again without having changed.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: T,
        /// The value's revision.
        revision: Revision,
    },
    /// The key is gone. What expires is not told of.
    Delete {
        /// The key.
        key: String,
    },
    /// All that was there has been told; from here on it is news. Comes again whenever the watch
    /// had to start over.
    Current,
}

/// A change whose value has not been read yet.
pub(crate) type Raw = Change<Bytes>;

/// Changes as they come. Ends only with the process.
pub struct Changes<T> {
    raw: RawChanges,
    bucket: Bucket,
    read: std::marker::PhantomData<fn() -> T>,
}

/// Changes whose values have not been read yet.
pub(crate) struct RawChanges {
    pub(crate) changes: mpsc::Receiver<Raw>,
    /// Ends with us.
    _watching: JoinSet<()>,
}

impl<T: DeserializeOwned> Stream for Changes<T> {
    type Item = Change<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(raw) = std::task::ready!(self.raw.changes.poll_recv(cx)) else {
                return Poll::Ready(None);
            };
            if let Some(change) = read(self.bucket, raw) {
                return Poll::Ready(Some(change));
            }
        }
    }
}

/// What cannot be read is left out, with a warning: one bad value must not hide the others.
fn read<T: DeserializeOwned>(bucket: Bucket, raw: Raw) -> Option<Change<T>> {
    match raw {
        Change::Put {
            key,
            value,
            revision,
        } => match rmp_serde::from_slice(&value) {
            Ok(value) => Some(Change::Put {
                key,
                value,
                revision,
            }),
            Err(error) => {
                warn!(bucket = bucket.name(), key, %error, "value not understood, left out");
                None
            }
        },
        Change::Delete { key } => Some(Change::Delete { key }),
        Change::Current => Some(Change::Current),
    }
}

impl Queue {
    pub(crate) fn changes<T>(&self, bucket: Bucket, prefix: &str) -> Changes<T> {
        Changes {
            raw: self.watch_raw(bucket, prefix),
            bucket,
            read: std::marker::PhantomData,
        }
    }

    pub(crate) fn watch_raw(&self, bucket: Bucket, prefix: &str) -> RawChanges {
        let (send, changes) = mpsc::channel(AHEAD);
        let mut watching = JoinSet::new();
        watching.spawn(watch(self.clone(), bucket, prefix.to_owned(), send));
        RawChanges {
            changes,
            _watching: watching,
        }
    }
}

/// Watches until nobody listens.
async fn watch(queue: Queue, bucket: Bucket, prefix: String, to: mpsc::Sender<Raw>) {
    let mut known = BTreeSet::new();
    let mut told = false;
    let mut pause = Duration::ZERO;
    loop {
        let error = tokio::select! {
            () = to.closed() => return,
            error = watch_once(&queue, bucket, &prefix, &to, &mut known) => error,
        };
        match error {
            Lost::Closed => return,
            Lost::Gone(error @ (Gone::Reconnected | Gone::Silent)) => {
                debug!(bucket = bucket.name(), %error, "watching anew");
                (told, pause) = (false, Duration::ZERO);
            }
            Lost::Gone(error) => {
                warn!(bucket = bucket.name(), error = %Chain(&error), "watching anew");
                (told, pause) = (false, Duration::ZERO);
            }
            Lost::NotMade(error) => {
                if !told {
                    warn!(bucket = bucket.name(), error = %Chain(&error), "cannot watch, trying on");
                    told = true;
                }
                pause = (pause * 2).clamp(Duration::from_millis(100), PAUSE);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Why a watch ended.
enum Lost {
    Closed,
    Gone(Gone),
    NotMade(Error),
}

async fn watch_once(
    queue: &Queue,
    bucket: Bucket,
    prefix: &str,
    to: &mpsc::Sender<Raw>,
    known: &mut BTreeSet<String>,
) -> Lost {
    let consumer = match queue.reader(bucket, prefix, FORGOTTEN).await {
        Ok(consumer) => consumer,
        Err(error) => return Lost::NotMade(error),
    };
    let mut behind = consumer.cached_info().num_pending;
    let mut pull = match Pull::new(queue, consumer).await {
        Ok(pull) => pull,
        Err(gone) => return Lost::Gone(gone),
    };
    let before = std::mem::take(known);
    let mut current = false;
    loop {
        if behind == 0 && !current {
            current = true;
            for key in before.difference(known) {
                let change = Change::Delete { key: key.clone() };
                if to.send(change).await.is_err() {
                    return Lost::Closed;
                }
            }
            if to.send(Change::Current).await.is_err() {
                return Lost::Closed;
            }
        }
        let patience = if current { FORGOTTEN * 60 } else { QUIET };
        let message = match tokio::time::timeout(patience, pull.next(BATCH)).await {
            // What was to come may have expired on its way.
            Err(_) => {
                behind = 0;
                continue;
            }
            Ok(Ok(message)) => message,
            Ok(Err(gone)) => {
                if !current {
                    known.extend(before);
                }
                return Lost::Gone(gone);
            }
        };
        let Some((change, pending)) = change(bucket, &message) else {
            continue;
        };
        behind = pending;
        match &change {
            Change::Put { key, .. } => drop(known.insert(key.clone())),
            Change::Delete { key } => drop(known.remove(key)),
            Change::Current => {}
        }
        if to.send(change).await.is_err() {
            return Lost::Closed;
        }
    }
}

/// The change a bucket's message stands for, and how many more are waiting.
pub(crate) fn change(bucket: Bucket, message: &jetstream::Message) -> Option<(Raw, u64)> {
    let info = message.info().ok()?;
    let key = message
        .subject
        .strip_prefix(bucket.subject("").as_str())?
        .to_owned();
    let change = if deleted(message.headers.as_ref()) {
        Change::Delete { key }
    } else {
        Change::Put {
            key,
            value: message.payload.clone(),
            revision: Revision(info.stream_sequence),
        }
    };
    Some((change, info.pending))
}

/// Whether a message marks that its key was deleted.
pub(crate) fn deleted(headers: Option<&async_nats::HeaderMap>) -> bool {
    headers.is_some_and(|headers| {
        headers.get(MARKER).is_some() || headers.get("Nats-Marker-Reason").is_some()
    })
}

/// The header by which NATS' key-value stores mark what is deleted or purged.
pub(crate) const MARKER: &str = "KV-Operation";

impl Queue {
    /// A short-lived consumer of what lies below `prefix`, and of what comes there later.
    pub(crate) async fn reader(
        &self,
        bucket: Bucket,
        prefix: &str,
        forgotten: Duration,
    ) -> Result<PullConsumer, Error> {
        let config = pull::Config {
            // With a name the subject of the request says what is read, and the server checks that
            // it is true: so a user can be held to what lies below a prefix.
            name: Some(format!("thetis-{}", Uuid::new_v4().simple())),
            description: Some("thetis reads a bucket".to_owned()),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            filter_subject: bucket.subject(&below(prefix)),
            inactive_threshold: forgotten,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let js = &self.shared.js;
        let stream = bucket.stream();
        match js.create_consumer_on_stream(config.clone(), &stream).await {
            Ok(consumer) => Ok(consumer),
            Err(error) => {
                // The bucket is missing, or it is not: either way this puts it right.
                self.ensure().await?;
                debug!(%error, stream, "reading after making sure the bucket is there");
                js.create_consumer_on_stream(config, &stream)
                    .await
                    .map_err(|e| {
                        let cause = BoxError::from(e);
                        Error::unavailable(format!("read bucket {}", bucket.name()), cause)
                    })
            }
        }
    }
}

/// The pattern of all keys below a prefix of whole tokens.
pub(crate) fn below(prefix: &str) -> String {
    match prefix.trim_end_matches('.') {
        "" => ">".to_owned(),
        prefix => format!("{prefix}.>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_made_of_whole_tokens() {
        assert_eq!(below(""), ">");
        assert_eq!(below("worker"), "worker.>");
        assert_eq!(below("worker."), "worker.>");
    }
}
