//! Hearing what happened.

use std::{fmt::Display, future::Future, time::Duration};

use async_nats::jetstream::{
    self, AckKind,
    consumer::{DeliverPolicy, pull},
};
use protocol::{Encoding, Event, Message, Notice, subject};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    Error, Queue,
    consumer::durable,
    error::{BoxError, Chain},
    pull::{Gone, Pull},
    streams, trace,
};

/// How many events are handed over at once, at most.
const BATCH: usize = 200;
/// How long to look out for one more before handing over what is there.
const GATHER: Duration = Duration::from_millis(10);
/// Events handed to a listener that died come again after this time.
const ACK_WAIT: Duration = Duration::from_secs(15);

/// Who hears what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What listeners share that stand in for each other.
    pub name: String,
    /// The subjects of what is heard, as `thetis.event.>`.
    pub subjects: Vec<String>,
    /// Whether the first to listen under the name hears what is stored, a week back at most; if not, only
    /// what happens from then on.
    pub from_the_start: bool,
}
/// The longest pause after a failure.
const PAUSE: Duration = Duration::from_secs(5);

impl Listener {
    /// Hears all there is, from the start.
    #[must_use]
    pub fn to_all(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            subjects: vec![subject::EVENTS.to_owned()],
            from_the_start: true,
        }
    }
}

impl Queue {
    /// Hands over events as they come, some at a time and in order, until `stop`. What `handler`
    /// has not returned `Ok` for comes again, also after a crash and after a change of leader; so
    /// do, after a pause, those whose places in the batch it returns.
    ///
    /// # Errors
    /// [`Error::Settings`], at once, if the name is empty.
    pub async fn events<F, W, E>(
        &self,
        listener: &Listener,
        stop: CancellationToken,
        mut handler: F,
    ) -> Result<(), Error>
    where
        F: FnMut(Vec<Event>) -> W,
        W: Future<Output = Result<Vec<usize>, E>>,
        E: Display,
    {
        if listener.name.is_empty() {
            return Err(Error::Settings("a listener needs a name".to_owned()));
        }
        let mut pull = None;
        let mut pause = Duration::from_millis(250);
        loop {
            let (messages, events) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                gathered = self.gather(listener, &mut pull) => gathered,
            };
            let count = events.len();
            if count == 0 {
                continue;
            }
            match handler(events).await {
                Ok(again) => {
                    pause = Duration::from_millis(250);
                    let (again, done): (Vec<_>, Vec<_>) = (0..)
                        .zip(messages)
                        .partition(|(place, _)| again.contains(place));
                    answer(&unnumbered(done), AckKind::Ack).await;
                    answer(&unnumbered(again), AckKind::Nak(Some(PAUSE))).await;
                }
                Err(error) => {
                    warn!(count, %error, ?pause, "events not taken in, they will come again");
                    answer(&messages, AckKind::Nak(Some(pause))).await;
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(PAUSE);
                }
            }
        }
        if let Some(pull) = pull {
            Pull::close(pull).await;
        }
        Ok(())
    }

    /// Waits for an event and takes what has come with it. Dropped only while it still waits for
    /// the first, nothing is lost.
    async fn gather(
        &self,
        listener: &Listener,
        pull: &mut Option<Pull>,
    ) -> (Vec<jetstream::Message>, Vec<Event>) {
        let first = self.next_event(listener, pull).await;
        let mut messages = vec![first];
        while let Some(open) = pull
            && messages.len() < BATCH
            && let Some(message) = open.more(GATHER).await
        {
            messages.push(message);
        }
        let mut events = Vec::with_capacity(messages.len());
        let mut kept = Vec::with_capacity(messages.len());
        for message in messages {
            match read(&message) {
                Ok(event) => {
                    events.push(event);
                    kept.push(message);
                }
                Err(error) => {
                    let subject = message.subject.as_str();
                    warn!(subject, %error, "event not understood, left out");
                    answer(&[message], AckKind::Term).await;
                }
            }
        }
        (kept, events)
    }

    async fn next_event(&self, listener: &Listener, pull: &mut Option<Pull>) -> jetstream::Message {
        let config = pull::Config {
            deliver_policy: match listener.from_the_start {
                true => DeliverPolicy::All,
                false => DeliverPolicy::New,
            },
            ..durable(&listener.name, &listener.subjects, ACK_WAIT)
        };
        let mut told = false;
        let mut pause = Duration::from_millis(50);
        loop {
            if let Some(open) = pull {
                match open.next(BATCH).await {
                    Ok(message) => return message,
                    Err(error @ (Gone::Reconnected | Gone::Silent)) => {
                        debug!(%error, "asking for events anew");
                    }
                    Err(error) => warn!(error = %Chain(&error), "events' consumer lost"),
                }
                *pull = None;
            }
            match self.open(streams::EVENTS, config.clone()).await {
                Ok(open) => {
                    *pull = Some(open);
                    if told {
                        info!("hearing events again");
                        told = false;
                    }
                }
                Err(error) => {
                    if !told {
                        warn!(error = %Chain(&error), "cannot hear events, trying on");
                        told = true;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE);
                }
            }
        }
    }
}

impl Queue {
    /// Tells whoever listens how a run ended. It is not kept.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it is not sent.
    pub async fn notify(&self, notice: &Notice) -> Result<(), Error> {
        let headers = trace::headers(Encoding::Json);
        let payload = notice.encode(Encoding::Json).into();
        let client = &self.shared.client;
        let sent = client.publish_with_headers(subject::of_notice(notice), headers, payload);
        let failed = |cause: BoxError| Error::unavailable("send a notice", cause);
        sent.await.map_err(|e| failed(e.into()))?;
        client.flush().await.map_err(|e| failed(e.into()))
    }
}

fn read(message: &jetstream::Message) -> Result<Event, protocol::DecodeError> {
    let encoding = trace::encoding(message.headers.as_ref())?;
    Event::decode(&message.payload, encoding)
}

fn unnumbered(messages: Vec<(usize, jetstream::Message)>) -> Vec<jetstream::Message> {
    messages.into_iter().map(|(_, message)| message).collect()
}

/// Not confirmed: what gets lost comes again, and changes nothing then.
async fn answer(messages: &[jetstream::Message], kind: AckKind) {
    for message in messages {
        if let Err(error) = message.ack_with(kind).await {
            debug!(%error, "events not answered, they will come again");
            return;
        }
    }
}
