//! One job in hand: kept alive while it moves, called off when it must be, settled in the end.

use std::{future::Future, sync::Arc, time::Duration};

use async_nats::jetstream::{self, AckKind};
use protocol::{ClusterId, Event, Fact, Failed, Job, RunId};
use tokio::{
    task::{JoinError, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{Instrument, Span, debug, error, info, warn};
use uuid::Uuid;

use crate::{
    Alive, Context, Handler, JobError, Queue, Stats,
    control::InHand,
    error::{Chain, Unfit},
    work::Desk,
};

/// How often a job is handed out at most.
pub const ATTEMPTS: u64 = 8;
/// How long a handler that was told to stop may take before it is aborted, and how long settling
/// may take once the process shuts down.
const GRACE: Duration = Duration::from_secs(10);

/// A message in hand.
pub(crate) struct Delivery {
    pub(crate) message: jetstream::Message,
    pub(crate) attempt: u64,
    stats: Arc<Stats>,
    queue: Queue,
}

/// Why a job was called off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Off {
    RunStopped,
    Shutdown,
    Stalled,
}

/// What to do with a job that has ended.
enum End {
    Done(Option<Fact>),
    Again(String),
    Never(String),
    /// Its run was stopped: nobody wants to hear of it.
    Drop,
    /// For another worker, or for this one after its restart.
    GiveBack,
}

impl Delivery {
    pub(crate) fn new(message: jetstream::Message, queue: &Queue) -> Self {
        // Whatever carries no count was delivered past JetStream, so for the first time.
        let attempt = message.info().map_or(1, |info| info.delivered);
        let attempt = u64::try_from(attempt).unwrap_or(1).max(1);
        let stats = queue.stats();
        stats.taken.up();
        stats.in_hand.up();
        if attempt > 1 {
            stats.redelivered.up();
        }
        Self {
            message,
            attempt,
            stats,
            queue: queue.clone(),
        }
    }

    /// Tells the server that the job goes on.
    async fn beat(&self, patience: Duration) {
        match timeout(patience, self.message.ack_with(AckKind::Progress)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "sign of life not sent"),
            Err(_) => debug!("sign of life not sent in time"),
        }
    }

    /// Ends the job for good, and makes sure the server knows.
    async fn end(&self, kind: AckKind) {
        for _ in 0..3 {
            tokio::select! {
                ended = self.message.double_ack_with(kind) => match ended {
                    Ok(()) => return,
                    Err(error) => debug!(%error, "end of a job not confirmed"),
                },
                () = self.queue.answers_lost() => debug!("end of a job perhaps not heard"),
            }
        }
        warn!("server has not confirmed the end of a job; it may be handed out again");
    }

    /// Hands the job back, to be handed out again after `pause`.
    async fn again(&self, pause: Option<Duration>) {
        if let Err(error) = self.message.ack_with(AckKind::Nak(pause)).await {
            debug!(%error, "job not handed back, it will be when its time is up");
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.stats.in_hand.down();
    }
}

impl<H: Handler> Desk<H> {
    /// Sees a job through.
    pub(crate) async fn handle(&self, job: Job, delivery: Delivery) {
        let Some(hand) = self.controls.take(&job, delivery.attempt) else {
            debug!("run was stopped, job dropped");
            return self.settle(&job, End::Drop, &delivery).await;
        };
        let end = if delivery.attempt > ATTEMPTS {
            End::Never(format!(
                "given up after {ATTEMPTS} attempts, in the last of which the worker died or lost touch"
            ))
        } else {
            self.run(job.clone(), &hand, &delivery).await
        };
        drop(hand);
        self.kept_alive(&delivery, self.settle(&job, end, &delivery))
            .await;
    }

    /// Runs the handler, in a task of its own so that a busy or panicking one does no harm.
    async fn run(&self, job: Job, hand: &InHand, delivery: &Delivery) -> End {
        let context = Context {
            over: hand.over,
            ..Context::new(delivery.attempt, self.stop.child_token())
        };
        let (stop, alive) = (context.stop.clone(), context.alive.clone());
        let handler = Arc::clone(&self.handler);
        let work = async move { handler.handle(job, context).await };
        let mut task = JoinSet::new();
        task.spawn(work.instrument(Span::current()));
        let (off, done) = tokio::select! {
            biased;
            done = task.join_next() => (self.why_off(hand), done),
            off = self.called_off(hand, &alive, delivery) => {
                stop.cancel();
                (Some(off), timeout(GRACE, task.join_next()).await.ok().flatten())
            }
        };
        if off == Some(Off::Stalled) {
            delivery.stats.stalled.up();
        }
        if done.is_none() {
            warn!("handler did not heed its stop, aborted");
        }
        self.judge(off, done)
    }

    /// Why a handler may have left off that was quicker to hear of it than we.
    fn why_off(&self, hand: &InHand) -> Option<Off> {
        if hand.stop.is_cancelled() {
            Some(Off::RunStopped)
        } else {
            self.stop.is_cancelled().then_some(Off::Shutdown)
        }
    }

    /// Keeps the job alive until there is a reason to call it off.
    async fn called_off(&self, hand: &InHand, alive: &Alive, delivery: &Delivery) -> Off {
        let settings = &self.queue.shared.settings;
        let every = (settings.ack_wait() / 3).min(settings.stall() / 3);
        let mut beats = interval(every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.tick().await;
        loop {
            tokio::select! {
                biased;
                () = hand.stop.cancelled() => return Off::RunStopped,
                () = self.stop.cancelled() => return Off::Shutdown,
                _ = beats.tick() => {}
            }
            if alive.still() >= settings.stall() {
                return Off::Stalled;
            }
            delivery.beat(every).await;
        }
    }

    fn judge(
        &self,
        off: Option<Off>,
        done: Option<Result<Result<Option<Fact>, JobError>, JoinError>>,
    ) -> End {
        let done = match done {
            // Finished after all, and that is what counts.
            Some(Ok(Ok(fact))) => return End::Done(fact),
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => JobError::Retry(format!("the worker failed on it: {panic}")),
            None => JobError::Stopped,
        };
        match (off, done) {
            (Some(Off::RunStopped), _) => End::Drop,
            (_, JobError::Refuse(reason)) => End::Never(reason),
            (Some(Off::Shutdown), JobError::Retry(_) | JobError::Stopped) => End::GiveBack,
            (Some(Off::Stalled), JobError::Retry(_) | JobError::Stopped) => {
                let limit = self.queue.shared.settings.stall();
                End::Again(format!("nothing moved for {limit:?}"))
            }
            (None, JobError::Retry(reason)) => End::Again(reason),
            (None, JobError::Stopped) => End::Again("the worker left it off unasked".to_owned()),
        }
    }

    async fn settle(&self, job: &Job, end: End, delivery: &Delivery) {
        let (stats, attempt) = (&delivery.stats, delivery.attempt);
        match end {
            End::Done(None) => {
                stats.done.up();
                delivery.end(AckKind::Ack).await;
            }
            End::Done(Some(fact)) => self.done(job, fact, delivery).await,
            End::Again(reason) if attempt >= ATTEMPTS => {
                self.failed(
                    job,
                    format!("{reason} (attempt {attempt}, the last)"),
                    delivery,
                )
                .await;
            }
            End::Again(reason) => {
                let pause = self.queue.shared.settings.pause(attempt);
                warn!(reason, ?pause, "job failed, will be tried again");
                stats.retried.up();
                delivery.again(Some(pause)).await;
            }
            End::Never(reason) => self.failed(job, reason, delivery).await,
            End::Drop => {
                stats.stopped.up();
                delivery.end(AckKind::Term).await;
            }
            End::GiveBack => {
                info!("job given back, this process shuts down");
                stats.handed_back.up();
                delivery.again(None).await;
            }
        }
    }

    /// First the event, then the job: whoever dies in between does the job once more.
    async fn done(&self, job: &Job, fact: Fact, delivery: &Delivery) {
        let event = self.event(job.owner(), fact);
        match self.queue.publish_event(&event).await {
            Ok(()) => {
                delivery.stats.done.up();
                delivery.end(AckKind::Ack).await;
            }
            Err(error) => {
                let reason = format!("done, but this cannot be told: {}", Chain(&error));
                self.failed(job, reason, delivery).await;
            }
        }
    }

    async fn failed(&self, job: &Job, reason: String, delivery: &Delivery) {
        error!(reason, "job failed for good");
        delivery.stats.failed.up();
        let fact = Fact::Failed(Failed {
            job: job.kind().to_owned(),
            part: job.part(),
            reason,
        });
        self.last_word(&self.event(job.owner(), fact), delivery)
            .await;
    }

    /// Reports and removes a message that is no job.
    pub(crate) async fn refuse(&self, unfit: Unfit, delivery: Delivery) {
        let subject = delivery.message.subject.as_str();
        warn!(subject, reason = %unfit, "message refused");
        delivery.stats.refused.up();
        let reason = unfit.to_string();
        let event = self.event(owner(subject), Fact::Refused { reason });
        self.kept_alive(&delivery, self.last_word(&event, &delivery))
            .await;
    }

    async fn last_word(&self, event: &Event, delivery: &Delivery) {
        match self.queue.publish_event(event).await {
            Ok(()) => delivery.end(AckKind::Term).await,
            Err(error) => {
                error!(error = %Chain(&error), "event cannot be stored, job kept");
                let pause = self.queue.shared.settings.pause(ATTEMPTS);
                delivery.again(Some(pause)).await;
            }
        }
    }

    fn event(&self, (cluster, run): (ClusterId, RunId), fact: Fact) -> Event {
        Event {
            cluster,
            run,
            node: self.handler.node(),
            fact,
        }
    }

    /// Settles while the job stays ours; gives up a while after the process was told to end.
    async fn kept_alive(&self, delivery: &Delivery, settle: impl Future<Output = ()>) {
        let every = self.queue.shared.settings.ack_wait() / 3;
        let beats = async {
            loop {
                sleep(every).await;
                delivery.beat(every).await;
            }
        };
        let enough = async {
            self.stop.cancelled().await;
            sleep(GRACE).await;
        };
        tokio::select! {
            () = settle => {}
            () = enough => warn!("job not settled before the end, it will be handed out again"),
            () = beats => {}
        }
    }
}

/// Whose a message is, by its subject; nobody's where that cannot be read.
fn owner(subject: &str) -> (ClusterId, RunId) {
    let mut tokens = subject.split('.').skip(3);
    let mut id = |n| tokens.nth(n).and_then(|token| token.parse().ok());
    let (cluster, run): (Option<Uuid>, Option<Uuid>) = (id(0), id(1));
    (
        ClusterId(cluster.unwrap_or_default()),
        RunId(run.unwrap_or_default()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_taken_from_the_subject_where_it_can_be() {
        let (cluster, run) = (ClusterId::generate(), RunId::generate());
        let subject = format!("thetis.job.upload.{cluster}.node.{run}.0");
        assert_eq!(owner(&subject), (cluster, run));
        let nobody = (ClusterId(Uuid::nil()), RunId(Uuid::nil()));
        assert_eq!(owner("thetis.job.x"), nobody);
        assert_eq!(owner("thetis.job.upload.a.b.c.d"), nobody);
    }
}
