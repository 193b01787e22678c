//! Sending jobs and events.

use std::{future::IntoFuture, time::Duration};

use async_nats::{HeaderMap, header, jetstream::message::PublishMessage};
use bytes::Bytes;
use protocol::{ClusterId, Encoding, Event, Job, Message, RunId, subject};
use tracing::warn;
use uuid::Uuid;

use crate::{
    Error, Queue,
    error::{BoxError, Chain, Refusal},
    streams, trace,
};

/// The longest pause between two attempts to publish an event.
const PAUSE: Duration = Duration::from_secs(2);

/// What became of a published job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It waits now.
    New,
    /// It was there already: waiting, or in a worker's hand.
    Waiting,
}

impl Queue {
    /// Puts a job in the queue, once: while it waits or is in hand, publishing it again does
    /// nothing. After it is done it may be published anew.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`], [`Error::Foreign`], [`Error::Unavailable`]; the job
    /// may have been published all the same when the answer was lost.
    pub async fn publish_job(&self, job: &Job) -> Result<Queued, Error> {
        let what = || format!("a job of kind {}", job.kind());
        let message = PublishMessage::build()
            .payload(job.encode(Encoding::MessagePack).into())
            .headers(trace::headers(Encoding::MessagePack));
        match self.store(subject::of_job(job), message).await {
            Ok(_) => {
                self.shared.stats.jobs_published.up();
                Ok(Queued::New)
            }
            Err(Refusal::Occupied) => Ok(Queued::Waiting),
            Err(refusal) => Err(refusal.into_error(&what(), streams::JOBS)),
        }
    }

    /// Says what happened. Goes on until the server has stored it, so give it up (drop it) when
    /// it is not wanted any more. Stored once, however often it had to be sent.
    ///
    /// # Errors
    /// Only what trying again cannot mend: [`Error::TooLarge`], [`Error::Foreign`].
    pub async fn publish_event(&self, event: &Event) -> Result<(), Error> {
        let mut headers = trace::headers(Encoding::MessagePack);
        headers.insert(header::NATS_MESSAGE_ID, Uuid::new_v4().to_string());
        let payload = Bytes::from(event.encode(Encoding::MessagePack));
        let mut pause = Duration::from_millis(50);
        let mut told = false;
        loop {
            let error = match self
                .try_event(event, headers.clone(), payload.clone())
                .await
            {
                Ok(()) => return Ok(()),
                Err(error) if !error.retry() => return Err(error),
                Err(error) => error,
            };
            if !told {
                warn!(kind = event.fact.kind(), error = %Chain(&error), "event not stored yet, trying on");
                told = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE);
        }
    }

    async fn try_event(
        &self,
        event: &Event,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), Error> {
        let message = PublishMessage::build().payload(payload).headers(headers);
        match self.store(subject::of_event(event), message).await {
            Ok(_) => {
                self.shared.stats.events_published.up();
                Ok(())
            }
            Err(refusal) => {
                let what = format!("an event of kind {}", event.fact.kind());
                Err(refusal.into_error(&what, streams::EVENTS))
            }
        }
    }

    /// Removes the run's waiting jobs, as far as they are [removable](subject::removable). A job in
    /// hand is taken from its worker only by [`Control::Stop`](protocol::Control::Stop). Publish
    /// what tidies up after this, not before.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn purge_run(&self, cluster: ClusterId, run: RunId) -> Result<(), Error> {
        let unavailable =
            |cause: BoxError| Error::unavailable("remove a run's waiting jobs", cause);
        let stream = self.shared.js.get_stream_no_info(streams::JOBS).await;
        let stream = stream.map_err(|e| unavailable(e.into()))?;
        for jobs in subject::removable(cluster, run) {
            let purged = stream.purge().filter(jobs).await;
            purged.map_err(|e| unavailable(e.into()))?;
        }
        Ok(())
    }

    /// Publishes to a stream and waits for its word, making the stream first if it is missing.
    /// Returns the sequence number.
    pub(crate) async fn store(
        &self,
        subject: String,
        message: PublishMessage,
    ) -> Result<u64, Refusal> {
        match self.store_once(subject.clone(), message.clone()).await {
            Err(Refusal::NoStream) => {
                self.ensure()
                    .await
                    .map_err(|e| Refusal::Other(Box::new(e)))?;
                self.store_once(subject, message).await
            }
            other => other,
        }
    }

    async fn store_once(&self, subject: String, message: PublishMessage) -> Result<u64, Refusal> {
        let ack = self.shared.js.send_publish(subject, message).await?;
        tokio::select! {
            ack = ack.into_future() => Ok(ack?.sequence),
            () = self.answers_lost() => Err(Refusal::Other("the connection was lost meanwhile".into())),
        }
    }
}
