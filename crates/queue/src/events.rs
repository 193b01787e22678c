//! Hearing what happened.

use std::{fmt::Display, future::Future, time::Duration};

use async_nats::jetstream::{self, AckKind};
use protocol::{Event, Message, subject};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    Error, Queue,
    consumer::durable,
    error::Chain,
    pull::{Gone, Pull},
    streams, trace,
};

/// How many events are handed over at once, at most.
const BATCH: usize = 200;
/// How long to look out for one more before handing over what is there.
const GATHER: Duration = Duration::from_millis(10);
/// Events handed to a listener that died come again after this time.
const ACK_WAIT: Duration = Duration::from_secs(15);
/// The longest pause after a failure.
const PAUSE: Duration = Duration::from_secs(5);

impl Queue {
    /// Hands over events as they come, some at a time and in order, until `stop`. What `handler`
    /// has not returned `Ok` for comes again, also after a crash and after a change of leader; so
    /// do, after a pause, those whose places in the batch it returns. `name` is what listeners share
    /// that stand in for each other. The first to listen under a name hears what is stored, a week
    /// back at most.
    ///
    /// # Errors
    /// [`Error::Settings`], at once, if the name is empty.
    pub async fn events<F, W, E>(
        &self,
        name: &str,
        stop: CancellationToken,
        mut handler: F,
    ) -> Result<(), Error>
    where
        F: FnMut(Vec<Event>) -> W,
        W: Future<Output = Result<Vec<usize>, E>>,
        E: Display,
    {
        if name.is_empty() {
            return Err(Error::Settings("a listener needs a name".to_owned()));
        }
        let mut pull = None;
        let mut pause = Duration::from_millis(250);
        loop {
            let (messages, events) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                gathered = self.gather(name, &mut pull) => gathered,
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
        name: &str,
        pull: &mut Option<Pull>,
    ) -> (Vec<jetstream::Message>, Vec<Event>) {
        let first = self.next_event(name, pull).await;
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

    async fn next_event(&self, name: &str, pull: &mut Option<Pull>) -> jetstream::Message {
        let filters = [subject::EVENTS.to_owned()];
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
            match self
                .open(streams::EVENTS, durable(name, &filters, ACK_WAIT))
                .await
            {
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
