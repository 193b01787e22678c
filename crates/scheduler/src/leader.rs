//! The one replica that acts: from winning the lease to losing it.
//!
//! A term owns its state alone and handles one thing after another: events, requests, stops, the
//! timer. It may be cut off at any point; the next term goes on from what is saved.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    time::Duration,
};

use futures::StreamExt as _;
use protocol::{ClusterId, Control, Event, Request, RunId, TaskId};
use queue::{CancellationToken, Change, Changes, Consumer, Leadership, Listener};
use service::Chain;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep},
};
use tracing::{Span, error, info, warn};

use crate::{
    App,
    close::Closed,
    driver::Open,
    health, notices,
    record::Record,
    recover::Searched,
    requests::{self, Asked},
    start::Begun,
    timetable::Agenda,
};

/// Listeners under this name stand in for each other: what one leader has not folded, the next does.
const LISTENER: &str = "scheduler";
/// Requests taken at once; each only has to be written down.
const REQUESTS: usize = 4;
/// Pause after a term that ended badly, so that a lasting trouble does not fill the log.
const PAUSE: Duration = Duration::from_secs(1);
/// What is due later than this can wait for a sweep to come closer to it.
const PERIOD: Duration = Duration::from_secs(60);

/// Why a term ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// The lease was not renewed in time.
    #[error("the lease is lost")]
    Lease,
    /// Another leader has written to one of our runs.
    #[error("run {run} was written by the leader of term {theirs} in our term {ours}")]
    Overtaken { run: RunId, theirs: u64, ours: u64 },
    /// Something that trying again does not mend.
    #[error("cannot go on")]
    Broken(#[source] queue::Error),
    /// The events' consumer ended.
    #[error("events are no longer heard")]
    Deaf,
}

/// Leads whenever it can, until `stop`.
pub(crate) async fn run(app: App, instance: &str, stop: &CancellationToken) {
    while let Some(lead) = app.queue.lead(instance, stop).await {
        app.metrics.leader.set(1);
        let lost = lead.lost().clone();
        let background = stop.child_token();
        let term = async {
            let mut term = Term::new(&app, &lead);
            match Box::pin(term.serve(&background)).await {
                Ok(never) => match never {},
                Err(lost) => lost,
            }
        };
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            () = lost.cancelled() => Some(Lost::Lease),
            ended = term => Some(ended),
        };
        background.cancel();
        app.metrics.not_leading();
        match ended {
            None => info!(epoch = lead.epoch(), "no longer leading: shutting down"),
            Some(cause) => {
                warn!(epoch = lead.epoch(), error = %Chain(&cause), "no longer leading");
                lead.release().await;
                stop.run_until_cancelled(sleep(PAUSE)).await;
                continue;
            }
        }
        lead.release().await;
    }
}

/// A leader's term.
pub(crate) struct Term<'a> {
    pub(crate) app: &'a App,
    pub(crate) lead: &'a Leadership,
    /// Runs under way.
    pub(crate) open: BTreeMap<RunId, Open>,
    /// Runs whose beginning is being prepared; each
    /// with its task, and its cluster if nothing else may run there.
    pub(crate) starting: BTreeMap<RunId, (TaskId, Option<ClusterId>)>,
    pub(crate) preparing: JoinSet<Begun>,
    /// Runs that cannot be prepared yet.
    pub(crate) waiting: Vec<(Record, queue::Revision, Span)>,
    /// Runs that have ended and are being tidied up after; those that are not trying are to be
    /// tried again.
    pub(crate) closing: BTreeMap<RunId, Record>,
    pub(crate) tidying: JoinSet<Closed>,
    pub(crate) trying: BTreeSet<RunId>,
    /// Object stores that are being asked what NATS has lost, and whether one did not answer.
    pub(crate) searching: JoinSet<Searched>,
    pub(crate) search_failed: bool,
    /// When one refused.
    pub(crate) search_refused: Option<Instant>,
    /// Which consumers of jobs this leader has made for workers.
    pub(crate) provided: BTreeSet<String>,
    /// When the last look at everything was, and when something calls for the next; in milliseconds
    /// since 1970.
    pub(crate) kept_house: Option<Instant>,
    pub(crate) house_ms: u64,
    /// When tasks are due.
    pub(crate) agenda: Agenda,
}

/// Events, and whom to tell that they are folded, but for which that are to come again.
type Batch = (Vec<Event>, oneshot::Sender<Vec<usize>>);

/// What keeps a term busy.
struct Inbox {
    events: mpsc::Receiver<Batch>,
    requests: mpsc::Receiver<(Request, Asked)>,
    stops: Changes<Control>,
    timer: Interval,
    /// Dropped with the term, and all that feeds it.
    feeding: JoinSet<()>,
}

impl<'a> Term<'a> {
    fn new(app: &'a App, lead: &'a Leadership) -> Self {
        Self {
            app,
            lead,
            open: BTreeMap::new(),
            starting: BTreeMap::new(),
            preparing: JoinSet::new(),
            waiting: Vec::new(),
            closing: BTreeMap::new(),
            tidying: JoinSet::new(),
            trying: BTreeSet::new(),
            searching: JoinSet::new(),
            search_failed: false,
            search_refused: None,
            provided: BTreeSet::new(),
            kept_house: None,
            house_ms: u64::MAX,
            agenda: Agenda::default(),
        }
    }

    async fn serve(&mut self, stop: &CancellationToken) -> Result<Infallible, Lost> {
        self.take_over().await?;
        self.sweep().await?;
        let mut inbox = self.inbox(stop);
        loop {
            self.app
                .metrics
                .open(self.open.values().map(|open| open.record.status));
            let away = Duration::from_millis(self.agenda.away_ms(crate::now_ms()));
            tokio::select! {
                biased;
                Some(change) = inbox.stops.next() => if let Change::Put { key, value, .. } = change {
                    self.told_to_stop(&key, value).await?;
                },
                Some(begun) = self.preparing.join_next() => Box::pin(self.begun(joined(begun))).await?,
                Some(closed) = self.tidying.join_next() => self.closed(joined(closed)).await?,
                Some(found) = self.searching.join_next() => self.found(joined(found)).await?,
                Some((request, asked)) = inbox.requests.recv() => self.requested(request, asked).await?,
                _ = inbox.timer.tick() => self.sweep().await?,
                () = sleep(away.min(PERIOD)), if away < PERIOD => self.activate().await?,
                batch = inbox.events.recv() => {
                    let (events, done) = batch.ok_or(Lost::Deaf)?;
                    let again = self.fold(events).await?;
                    let _nobody_waits = done.send(again);
                }
                Some(fed) = inbox.feeding.join_next() => {
                    if let Err(cause) = fed {
                        error!(%cause, "a listener of the leader died");
                    }
                    return Err(Lost::Deaf);
                }
            }
        }
    }

    /// Starts whatever feeds the term. Nothing of it outlives the term.
    fn inbox(&self, stop: &CancellationToken) -> Inbox {
        let mut feeding = JoinSet::new();
        let (to, events) = mpsc::channel::<Batch>(1);
        let (queue, stopped) = (self.app.queue.clone(), stop.clone());
        feeding.spawn(async move {
            let hand_over = |events| {
                let to = to.clone();
                async move {
                    let (done, folded) = oneshot::channel::<Vec<usize>>();
                    to.send((events, done)).await.map_err(|_| Lost::Deaf)?;
                    folded.await.map_err(|_| Lost::Deaf)
                }
            };
            let listener = Listener::to_all(LISTENER);
            if let Err(cause) = queue.events(&listener, stopped, hand_over).await {
                error!(error = %Chain(&cause), "cannot hear events");
            }
        });
        let (to, requests) = mpsc::channel(REQUESTS);
        let (queue, stopped) = (self.app.queue.clone(), stop.clone());
        feeding.spawn(async move {
            let consumer = Consumer {
                name: LISTENER.to_owned(),
                filters: vec![protocol::subject::REQUESTS.to_owned()],
                slots: REQUESTS,
            };
            if let Err(cause) = queue.work(consumer, requests::handler(to), stopped).await {
                error!(error = %Chain(&cause), "cannot take requests");
            }
        });
        feeding.spawn(health::look_on(self.app.clone()));
        feeding.spawn(notices::tell(self.app.clone(), stop.clone()));
        let sweep = Duration::from_secs(self.app.config.scheduler.sweep_secs);
        let mut timer = interval(sweep.min(Duration::from_millis(workflow::limit::STEP_MS)));
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        timer.reset();
        Inbox {
            events,
            requests,
            stops: self.app.ledger.control.watch(""),
            timer,
            feeding,
        }
    }

    /// Whether we may still act.
    pub(crate) fn held(&self) -> Result<(), Lost> {
        if self.lead.held() {
            Ok(())
        } else {
            Err(Lost::Lease)
        }
    }

    /// Tries until it is done or cannot be, or the lease is lost. `what` is for the log.
    pub(crate) async fn insist<T, F>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Lost>
    where
        F: Future<Output = Result<T, queue::Error>>,
    {
        let mut pause = Duration::from_millis(50);
        let mut told = false;
        loop {
            self.held()?;
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(cause) if !cause.retry() => return Err(Lost::Broken(cause)),
                Err(cause) => {
                    if !told {
                        warn!(error = %Chain(&cause), what, "not done yet, trying on");
                        told = true;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE);
        }
    }
}

fn joined<T>(ended: Result<T, tokio::task::JoinError>) -> T {
    ended.expect("these tasks neither panic nor get aborted while the term lives")
}
