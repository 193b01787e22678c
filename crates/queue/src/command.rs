//! Commands by request and reply.

use std::sync::Arc;

use async_nats::Message as Sent;
use futures::StreamExt as _;
use protocol::{Answer, Command, Message as _, subject};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info_span};

use crate::{Error, Queue, trace};

/// Replicas share commands as this group.
const GROUP: &str = "thetis";
/// How many commands a replica answers at once; further ones wait.
const AT_ONCE: usize = 16;
/// The header with a token, as in HTTP: `Bearer <token>`.
const AUTHORIZATION: &str = "Authorization";

/// A command as it came.
#[derive(Clone, Debug)]
pub struct Commanded {
    /// The cluster, by id or name.
    pub cluster: String,
    /// What is asked of it.
    pub command: Command,
    /// What the sender shows to be let in.
    pub authorization: Option<String>,
}

impl Queue {
    /// Answers commands until `stop`: each by what `handle` makes of it.
    ///
    /// # Errors
    /// [`Error::Unavailable`], at once, if it cannot listen.
    pub async fn commands<F, A>(&self, stop: CancellationToken, handle: F) -> Result<(), Error>
    where
        F: Fn(Commanded) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send,
    {
        let handle = Arc::new(handle);
        let listening = self
            .shared
            .client
            .queue_subscribe(subject::COMMANDS, GROUP.to_owned());
        let mut commands = listening
            .await
            .map_err(|e| Error::unavailable("listen for commands", e))?;
        let mut answering = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = answering.join_next() => {}
                Some(sent) = commands.next(), if answering.len() < AT_ONCE => {
                    let (queue, handle) = (self.clone(), Arc::clone(&handle));
                    answering.spawn(async move { queue.obey(sent, &*handle).await });
                }
            }
        }
        // What is under way has changed something, and says so.
        while answering.join_next().await.is_some() {}
        Ok(())
    }

    async fn obey<F, A>(&self, sent: Sent, handle: &F)
    where
        F: Fn(Commanded) -> A + Send + Sync,
        A: Future<Output = Answer> + Send,
    {
        let encoding = trace::encoding(sent.headers.as_ref());
        let span = info_span!("command", subject = %sent.subject);
        trace::continue_in(&span, sent.headers.as_ref());
        let answer = match read(&sent) {
            Ok(commanded) => handle(commanded).instrument(span).await,
            Err(message) => Answer::Answer {
                status: 400,
                body: json!({"message": message, "details": "", "trace_id": ""}),
            },
        };
        let Some(to) = sent.reply else { return };
        let encoding = encoding.unwrap_or_default();
        let (headers, payload) = (trace::headers(encoding), answer.encode(encoding));
        let client = &self.shared.client;
        if let Err(error) = client
            .publish_with_headers(to, headers, payload.into())
            .await
        {
            debug!(%error, "a command's answer was not sent");
        }
    }
}

/// The command, or what is wrong with it.
fn read(sent: &Sent) -> Result<Commanded, String> {
    let mut tokens = sent.subject.split('.').skip(2);
    let (Some(cluster), Some(verb)) = (tokens.next(), tokens.next()) else {
        return Err(format!(
            "`{}` is not thetis.command.<cluster>.<command>",
            sent.subject
        ));
    };
    if !Command::KINDS.contains(&verb) {
        let known = Command::KINDS.join(", ");
        return Err(format!("there is no command `{verb}`; known are {known}"));
    }
    let encoding = trace::encoding(sent.headers.as_ref()).map_err(|e| e.to_string())?;
    let command = Command::decode(&sent.payload, encoding).map_err(|e| e.to_string())?;
    if command.kind() != verb {
        return Err(format!(
            "the subject says `{verb}` and the message `{}`",
            command.kind()
        ));
    }
    let headers = sent.headers.as_ref();
    let shown = headers.and_then(|headers| headers.get(AUTHORIZATION));
    Ok(Commanded {
        cluster: cluster.to_owned(),
        command,
        authorization: shown.map(|value| value.as_str().to_owned()),
    })
}
