//! Taking messages from a consumer, one request at a time.
//!
//! A request that the server has forgotten (it restarted, its leader moved, the consumer is gone)
//! looks just like an empty queue. So the server is asked for a sign of life every few seconds, and
//! a new connection means asking anew.

use std::time::Duration;

use async_nats::{
    StatusCode, Subject, Subscriber,
    jetstream::{
        self, AckKind,
        consumer::{PullConsumer, pull::BatchConfig},
    },
};
use futures::StreamExt;
use tokio::{sync::watch, time::timeout};
use tracing::debug;

use crate::{Queue, error::BoxError};

/// How long one request waits for messages.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that it still knows the request.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Without any sign for so long the request is lost.
const SILENCE: Duration = Duration::from_secs(8);
/// How long to look out for messages that were on their way when we stopped asking.
const STRAGGLERS: Duration = Duration::from_millis(300);

/// Why no more messages come: the consumer must be made anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Gone {
    #[error("consumer or stream is missing: {0}")]
    Missing(String),
    #[error("the request was lost")]
    Silent,
    #[error("the connection was made anew")]
    Reconnected,
    #[error("cannot ask for messages: {0}")]
    Ask(#[source] BoxError),
}

/// Asks one consumer for messages.
pub(crate) struct Pull {
    consumer: PullConsumer,
    queue: Queue,
    inbox: Subject,
    messages: Subscriber,
    connections: watch::Receiver<u64>,
    /// Messages asked for that have not come.
    asked: usize,
}

impl Pull {
    pub(crate) async fn new(queue: &Queue, consumer: PullConsumer) -> Result<Self, Gone> {
        let mut connections = queue.shared.connections.clone();
        connections.borrow_and_update();
        let inbox = Subject::from(queue.shared.client.new_inbox());
        let messages = queue
            .shared
            .client
            .subscribe(inbox.clone())
            .await
            .map_err(|e| Gone::Ask(e.into()))?;
        Ok(Self {
            consumer,
            queue: queue.clone(),
            inbox,
            messages,
            connections,
            asked: 0,
        })
    }

    /// The next message, however long it takes; if none is on its way, `want` are asked for.
    ///
    /// May be dropped and called again.
    pub(crate) async fn next(&mut self, want: usize) -> Result<jetstream::Message, Gone> {
        loop {
            if self.asked == 0 {
                self.ask(want).await?;
            }
            let message = tokio::select! {
                biased;
                message = timeout(SILENCE, self.messages.next()) => message,
                Ok(()) = self.connections.changed() => return Err(Gone::Reconnected),
            };
            let message = message.map_err(|_| Gone::Silent)?.ok_or(Gone::Silent)?;
            match message.status {
                None | Some(StatusCode::OK) => {
                    self.asked = self.asked.saturating_sub(1);
                    return Ok(jetstream::Message {
                        message,
                        context: self.queue.shared.js.clone(),
                    });
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => self.asked = 0,
                Some(status) => self.refused(status, message.description.as_deref()).await?,
            }
        }
    }

    /// A message that has come already, if there is one.
    pub(crate) async fn more(&mut self, wait: Duration) -> Option<jetstream::Message> {
        if self.asked == 0 {
            return None;
        }
        let message = timeout(wait, self.messages.next()).await.ok()??;
        match message.status {
            None | Some(StatusCode::OK) => {
                self.asked = self.asked.saturating_sub(1);
                let context = self.queue.shared.js.clone();
                Some(jetstream::Message { message, context })
            }
            Some(StatusCode::IDLE_HEARTBEAT) => None,
            // Ended or refused: whatever it was, asking again will tell.
            Some(_) => {
                self.asked = 0;
                None
            }
        }
    }

    /// Asks for no more, and gives back what was on its way.
    pub(crate) async fn close(mut self) {
        if self.asked == 0 || self.messages.drain().await.is_err() {
            return;
        }
        while let Ok(Some(message)) = timeout(STRAGGLERS, self.messages.next()).await {
            if message.status.is_none_or(|status| status == StatusCode::OK) {
                let context = self.queue.shared.js.clone();
                let message = jetstream::Message { message, context };
                if let Err(error) = message.ack_with(AckKind::Nak(None)).await {
                    debug!(%error, "a message was not given back and will be late");
                }
            }
        }
    }

    async fn ask(&mut self, want: usize) -> Result<(), Gone> {
        let request = BatchConfig {
            batch: want,
            expires: Some(EXPIRES),
            idle_heartbeat: HEARTBEAT,
            ..BatchConfig::default()
        };
        self.consumer
            .request_batch(request, self.inbox.clone())
            .await
            .map_err(|e| Gone::Ask(e.into()))?;
        self.asked = want;
        Ok(())
    }

    /// The server has ended the request early.
    async fn refused(&mut self, status: StatusCode, why: Option<&str>) -> Result<(), Gone> {
        let why = why.unwrap_or_default();
        if status == StatusCode::NO_RESPONDERS || why.contains("Deleted") {
            return Err(Gone::Missing(format!("{status} {why}")));
        }
        // Its leader moves, it shuts down, too many ask: ask again, but not at once.
        debug!(%status, why, "request for messages ended");
        self.asked = 0;
        tokio::time::sleep(Duration::from_millis(250)).await;
        Ok(())
    }
}
