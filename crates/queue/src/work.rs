//! The worker loop: takes jobs, hands them to a [`Handler`], and sees to what comes of them.
//!
//! Each slot takes one job at a time and asks for the next only when it is free, so that workers
//! that share a consumer share its jobs by how fast they are.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream;
use protocol::{Job, Message, subject};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::{
    Consumer, Error, Handler, Queue,
    consumer::durable,
    control::Controls,
    delivery::Delivery,
    error::{Chain, Unfit},
    pull::{Gone, Pull},
    streams, trace,
};

/// The longest pause before a consumer that cannot be had is asked for again.
const PAUSE: Duration = Duration::from_secs(2);

impl Queue {
    /// Does the consumer's jobs until `stop`, and then ends within 20 s: jobs in hand are told to
    /// leave off and are given back, for another worker to take at once.
    ///
    /// Lost connections, lost streams and lost consumers are mended here.
    ///
    /// # Errors
    /// [`Error::Settings`], at once, if the consumer makes no sense.
    pub async fn work<H: Handler>(
        &self,
        consumer: Consumer,
        handler: Arc<H>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        consumer.check()?;
        let controls = Controls::shared(self);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = controls.current() => {}
        }
        info!(
            consumer = consumer.name,
            slots = consumer.slots,
            "taking jobs"
        );
        let desk = Arc::new(Desk {
            queue: self.clone(),
            handler,
            controls,
            stop,
            consumer,
        });
        let mut slots = JoinSet::new();
        for _ in 0..desk.consumer.slots {
            slots.spawn(Arc::clone(&desk).slot());
        }
        slots.join_all().await;
        debug!(consumer = desk.consumer.name, "no longer taking jobs");
        Ok(())
    }
}

/// What the slots of a loop share.
pub(crate) struct Desk<H> {
    pub(crate) queue: Queue,
    pub(crate) handler: Arc<H>,
    pub(crate) controls: Arc<Controls>,
    pub(crate) stop: CancellationToken,
    consumer: Consumer,
}

impl<H: Handler> Desk<H> {
    async fn slot(self: Arc<Self>) {
        let mut pull = None;
        loop {
            let message = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                message = self.next(&mut pull) => message,
            };
            self.take(message).await;
        }
        if let Some(pull) = pull {
            Pull::close(pull).await;
        }
    }

    /// The next job, whatever happens to connection, stream and consumer meanwhile. May be dropped
    /// and called again.
    async fn next(&self, pull: &mut Option<Pull>) -> jetstream::Message {
        let Consumer { name, filters, .. } = &self.consumer;
        let mut told = false;
        let mut pause = Duration::from_millis(50);
        loop {
            if let Some(open) = pull {
                match open.next(1).await {
                    Ok(message) => return message,
                    Err(error @ (Gone::Reconnected | Gone::Silent)) => {
                        debug!(consumer = name, %error, "asking for jobs anew");
                    }
                    Err(error) => {
                        warn!(consumer = name, error = %Chain(&error), "jobs' consumer lost")
                    }
                }
                *pull = None;
            }
            let config = durable(name, filters, self.queue.shared.settings.ack_wait());
            match self.queue.open(streams::JOBS, config).await {
                Ok(open) => {
                    *pull = Some(open);
                    if told {
                        info!(consumer = name, "taking jobs again");
                    }
                    (told, pause) = (false, Duration::from_millis(50));
                }
                Err(error) => {
                    if !told {
                        warn!(consumer = name, error = %Chain(&error), "cannot take jobs, trying on");
                        told = true;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE);
                }
            }
        }
    }

    async fn take(&self, message: jetstream::Message) {
        let delivery = Delivery::new(message, &self.queue);
        match read(&delivery.message) {
            Ok(job) => {
                let (cluster, run) = job.owner();
                let span = info_span!(
                    "job", kind = job.kind(), %cluster, %run,
                    part = job.part(), attempt = delivery.attempt,
                );
                trace::continue_in(&span, delivery.message.headers.as_ref());
                self.handle(job, delivery).instrument(span).await;
            }
            Err(unfit) => self.refuse(unfit, delivery).await,
        }
    }
}

/// The job a message holds. It must have come on the job's own subject: permissions and routing
/// both rest on subjects.
fn read(message: &jetstream::Message) -> Result<Job, Unfit> {
    let encoding = trace::encoding(message.headers.as_ref())?;
    let job = Job::decode(&message.payload, encoding)?;
    let expected = subject::of_job(&job);
    if message.subject.as_str() != expected {
        return Err(Unfit::Subject {
            found: message.subject.to_string(),
            expected,
        });
    }
    Ok(job)
}
