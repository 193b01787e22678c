//! What streams have kept: read again, by whoever wants to know how it was.

use std::{collections::VecDeque, time::Duration};

use async_nats::{
    datetime, jetstream,
    jetstream::consumer::{AckPolicy, DeliverPolicy, pull},
};
use futures::StreamExt as _;
use protocol::{Audit, ClusterId, Event, Message, RunId, subject};
use tokio::time::timeout;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::{Error, Queue, error::BoxError, streams, trace};

/// How long reading may take.
const READING: Duration = Duration::from_secs(20);
/// How many messages one request asks for.
const PAGE: usize = 256;

impl Queue {
    /// The last `limit` notes on changes that were kept since `since_ms` (milliseconds since 1970),
    /// oldest first; of all clusters, or those that name one as in `clusters`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn audits(
        &self,
        clusters: &[String],
        since_ms: u64,
        limit: usize,
    ) -> Result<Vec<Audit>, Error> {
        let mut filters: Vec<String> = clusters
            .iter()
            .map(|cluster| subject::of_audit(Some(cluster)))
            .collect();
        filters.sort();
        filters.dedup();
        if filters.is_empty() {
            filters.push(subject::AUDIT.to_owned());
        }
        let nanos = i128::from(since_ms) * 1_000_000;
        let from = match datetime::from_nanos(nanos) {
            Ok(start_time) => DeliverPolicy::ByStartTime { start_time },
            // No stream is older than what can be said.
            Err(_) => DeliverPolicy::All,
        };
        self.past(streams::AUDIT, filters, from, limit).await
    }

    /// The last `limit` events of a run that are still kept, oldest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn events_of(
        &self,
        cluster: ClusterId,
        run: RunId,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        let filters = vec![format!("thetis.event.*.{cluster}.{run}")];
        self.past(streams::EVENTS, filters, DeliverPolicy::All, limit)
            .await
    }

    async fn past<M: Message>(
        &self,
        stream: &str,
        filters: Vec<String>,
        from: DeliverPolicy,
        limit: usize,
    ) -> Result<Vec<M>, Error> {
        let what = || format!("read what stream {stream} has kept");
        match timeout(READING, self.read_past(stream, filters, from, limit)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(cause)) => Err(Error::unavailable(what(), cause)),
            Err(late) => Err(Error::unavailable(what(), late)),
        }
    }

    async fn read_past<M: Message>(
        &self,
        stream: &str,
        filters: Vec<String>,
        from: DeliverPolicy,
        limit: usize,
    ) -> Result<Vec<M>, BoxError> {
        let config = pull::Config {
            name: Some(format!("thetis-{}", Uuid::new_v4().simple())),
            description: Some("thetis reads what was kept".to_owned()),
            deliver_policy: from,
            ack_policy: AckPolicy::None,
            filter_subjects: filters,
            inactive_threshold: READING * 2,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let js = &self.shared.js;
        let reader = js.create_consumer_on_stream(config, stream).await?;
        let mut found = VecDeque::new();
        loop {
            let mut page = reader.fetch().max_messages(PAGE).messages().await?;
            let mut count = 0;
            while let Some(message) = page.next().await {
                count += 1;
                let message: jetstream::Message = message?;
                let read = trace::encoding(message.headers.as_ref())
                    .and_then(|encoding| M::decode(&message.payload, encoding));
                match read {
                    Ok(message) => found.push_back(message),
                    Err(error) => {
                        let subject = message.subject.as_str();
                        warn!(subject, %error, "not understood, left out");
                    }
                }
                if found.len() > limit {
                    found.pop_front();
                }
            }
            if count < PAGE {
                break;
            }
        }
        let gone = js.delete_consumer_from_stream(&reader.cached_info().name, stream);
        if let Err(error) = gone.await {
            debug!(%error, "reader not deleted");
        }
        Ok(found.into())
    }
}
