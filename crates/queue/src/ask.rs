//! Questions that want an answer at once, past the queue: `thetis.ask.<kind>.<node>`.
//!
//! Nothing is stored. A question that no worker hears is answered so by the server, at once.

use std::{sync::Arc, time::Duration};

use async_nats::{Message as Sent, PublishError, Request, RequestErrorKind, Subject};
use futures::StreamExt;
use protocol::{Encoding, Event, Fact, Failed, Job, Message, NodeId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

use crate::{Context, Error, Handler, JobError, Queue, error::BoxError, trace};

/// Workers of one kind and node share questions as this group.
const GROUP: &str = "thetis";
/// How many questions a worker answers at once; further ones wait.
const AT_ONCE: usize = 4;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No worker of that kind lives for the node.
    #[error("no worker answers for node {0}: is its agent running, and connected to this NATS?")]
    NoWorker(String),
    /// A worker may have heard, but has not answered in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The worker cannot or will not; in its own words.
    #[error("{0}")]
    Refused(String),
    /// The question could not be sent.
    #[error("cannot ask")]
    Unavailable(#[source] BoxError),
}

impl Queue {
    /// Asks a worker of the job's node to do the job now, and waits for what it says. Only for
    /// jobs that change nothing: nobody remembers that it was asked.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&self, job: &Job, limit: Duration) -> Result<Event, AskError> {
        let node = job.node().ok_or_else(|| {
            AskError::Refused(format!("a job of kind {} is bound to no node", job.kind()))
        })?;
        let request = Request::new()
            .payload(job.encode(Encoding::MessagePack).into())
            .headers(trace::headers(Encoding::MessagePack))
            .timeout(Some(limit));
        let answer = self
            .shared
            .client
            .send_request(subject(job.kind(), node), request)
            .await
            .map_err(|error| match error.kind() {
                RequestErrorKind::NoResponders => AskError::NoWorker(node.to_string()),
                RequestErrorKind::TimedOut => AskError::Timeout(limit),
                RequestErrorKind::InvalidSubject
                | RequestErrorKind::MaxPayloadExceeded
                | RequestErrorKind::Other => AskError::Unavailable(error.into()),
            })?;
        let event: Event = read(&answer).map_err(|e| AskError::Unavailable(e.into()))?;
        if let Fact::Refused { reason } | Fact::Failed(Failed { reason, .. }) = event.fact {
            return Err(AskError::Refused(reason));
        }
        Ok(event)
    }

    /// Answers what is asked of `node` about the `kinds` of job that this worker does, until
    /// `stop`.
    ///
    /// # Errors
    /// [`Error::Unavailable`], at once, if it cannot listen.
    pub async fn answer<H: Handler>(
        &self,
        kinds: &[&str],
        node: NodeId,
        handler: Arc<H>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let mut questions = Vec::new();
        for kind in kinds {
            let heard = self
                .shared
                .client
                .queue_subscribe(subject(kind, node), GROUP.to_owned())
                .await
                .map_err(|e| Error::unavailable("listen for questions", e))?;
            questions.push(heard);
        }
        let mut questions = futures::stream::select_all(questions);
        let subjects: Arc<[String]> = kinds.iter().map(|kind| subject(kind, node)).collect();
        let mut answering = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = answering.join_next() => {}
                Some(question) = questions.next(), if answering.len() < AT_ONCE => {
                    let (queue, handler) = (self.clone(), Arc::clone(&handler));
                    let (subjects, stop) = (Arc::clone(&subjects), stop.child_token());
                    answering.spawn(async move {
                        queue.reply(question, &subjects, &*handler, stop).await;
                    });
                }
            }
        }
        answering.shutdown().await;
        Ok(())
    }

    async fn reply<H: Handler>(
        &self,
        question: Sent,
        subjects: &[String],
        handler: &H,
        stop: CancellationToken,
    ) {
        let Some(to) = question.reply.clone() else {
            return;
        };
        let event = match job(&question, subjects) {
            Ok(job) => {
                let span = info_span!("question", kind = job.kind());
                trace::continue_in(&span, question.headers.as_ref());
                let (cluster, run) = job.owner();
                let handled = handler.handle(job, Context::new(1, stop)).instrument(span);
                Event {
                    cluster,
                    run,
                    node: handler.node(),
                    fact: fact(handled.await),
                }
            }
            Err(unfit) => Event {
                cluster: protocol::ClusterId(uuid::Uuid::nil()),
                run: protocol::RunId(uuid::Uuid::nil()),
                node: handler.node(),
                fact: Fact::Refused { reason: unfit },
            },
        };
        if let Err(error) = self.send(to.clone(), &event).await {
            // Too large, most likely; otherwise this does not get out either.
            let fact = Fact::Refused {
                reason: format!("the answer cannot be sent: {error}"),
            };
            drop(self.send(to, &Event { fact, ..event }).await);
        }
    }

    async fn send(&self, to: Subject, event: &Event) -> Result<(), PublishError> {
        let headers = trace::headers(Encoding::MessagePack);
        let payload = event.encode(Encoding::MessagePack).into();
        let client = &self.shared.client;
        client.publish_with_headers(to, headers, payload).await
    }
}

fn subject(kind: &str, node: NodeId) -> String {
    format!("thetis.ask.{kind}.{node}")
}

/// The job that is asked for. It must be the one its subject names: who may ask for what rests on
/// subjects.
fn job(question: &Sent, subjects: &[String]) -> Result<Job, String> {
    let job: Job = read(question).map_err(|e| e.to_string())?;
    let expected = job.node().map(|node| subject(job.kind(), node));
    match expected.filter(|expected| subjects.contains(expected)) {
        Some(expected) if question.subject.as_str() == expected => Ok(job),
        Some(_) | None => Err(format!(
            "a job of kind {} cannot be asked for on {}",
            job.kind(),
            question.subject
        )),
    }
}

fn read<T: Message>(message: &Sent) -> Result<T, protocol::DecodeError> {
    T::decode(&message.payload, trace::encoding(message.headers.as_ref())?)
}

fn fact(handled: Result<Option<Fact>, JobError>) -> Fact {
    let reason = match handled {
        Ok(Some(fact)) => return fact,
        Ok(None) => "the worker has nothing to say".to_owned(),
        Err(JobError::Retry(reason) | JobError::Refuse(reason)) => reason,
        Err(JobError::Stopped) => "the worker is shutting down".to_owned(),
    };
    Fact::Refused { reason }
}
