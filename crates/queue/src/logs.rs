//! What services have logged of a run, asked of all of them that answer: `thetis.ask.logs.<who>`.
//!
//! The question is the run's id; an answer is [`Logs`] in JSON. Nothing is stored.

use std::time::Duration;

use futures::StreamExt as _;
use protocol::RunId;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{Error, Queue, error::BoxError};

/// Nobody else answers once nobody has for so long.
const QUIET: Duration = Duration::from_secs(1);
/// Bytes of lines in one answer: NATS takes a mebibyte unless told otherwise.
const ANSWER: usize = 700 << 10;

/// What one process has logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// Which process: a service's name and the process id.
    pub process: String,
    /// Its version.
    pub version: String,
    /// Its last lines on the run, each a JSON object, oldest first.
    pub lines: Vec<String>,
}

impl Queue {
    /// Answers for `who`, a node's host id or `scheduler`, until `stop`.
    ///
    /// # Errors
    /// [`Error::Unavailable`], at once, if it cannot listen.
    pub async fn answer_logs(
        &self,
        who: &str,
        stop: CancellationToken,
        logged: impl Fn(&str) -> Logs,
    ) -> Result<(), Error> {
        let client = &self.shared.client;
        let listening = client.subscribe(subject(who)).await;
        let mut questions =
            listening.map_err(|e| Error::unavailable("listen for questions on logs", e))?;
        while let Some(Some(question)) = stop.run_until_cancelled(questions.next()).await {
            let (Some(to), Ok(run)) = (question.reply, str::from_utf8(&question.payload)) else {
                continue;
            };
            if run.parse::<RunId>().is_err() {
                continue;
            }
            let mut logs = logged(run);
            cut(&mut logs.lines, ANSWER);
            let answer = serde_json::to_vec(&logs).unwrap_or_default();
            if let Err(error) = client.publish(to, answer.into()).await {
                debug!(%error, "a question on logs was not answered");
            }
        }
        Ok(())
    }

    /// What all that answer for these have logged of a run; each with whom it is for.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn logs(&self, run: RunId, whom: &[String]) -> Result<Vec<(String, Logs)>, Error> {
        let asked = self.ask_logs(run, whom).await;
        asked.map_err(|cause| Error::unavailable("ask for logs", cause))
    }

    async fn ask_logs(&self, run: RunId, whom: &[String]) -> Result<Vec<(String, Logs)>, BoxError> {
        let client = &self.shared.client;
        let mut answers = futures::stream::SelectAll::new();
        for who in whom {
            let inbox = client.new_inbox();
            let heard = client.subscribe(inbox.clone()).await?;
            let who_answers = who.clone();
            answers.push(
                heard
                    .map(move |answer| (who_answers.clone(), answer))
                    .boxed(),
            );
            let question = run.to_string().into();
            client
                .publish_with_reply(subject(who), inbox, question)
                .await?;
        }
        client.flush().await?;
        let mut found = Vec::new();
        while let Ok(Some((who, answer))) = timeout(QUIET, answers.next()).await {
            // That nobody listens is told by an answer without a payload.
            if let Ok(logs) = serde_json::from_slice(&answer.payload) {
                found.push((who, logs));
            }
        }
        Ok(found)
    }
}

fn subject(who: &str) -> String {
    format!("thetis.ask.logs.{who}")
}

/// Leaves the last lines that fit, as JSON writes them.
fn cut(lines: &mut Vec<String>, bytes: usize) {
    let mut left = bytes;
    let fit = lines.iter().rev().take_while(|line| {
        let quotes = line.bytes().filter(|b| matches!(b, b'"' | b'\\')).count();
        let fits = left.checked_sub(line.len() + quotes + 3);
        left = fits.unwrap_or(0);
        fits.is_some()
    });
    let fit = fit.count();
    lines.drain(..lines.len() - fit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_that_fit_are_left() {
        let lines = ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"].map(str::to_owned);
        let left = |bytes| {
            let mut left = lines.to_vec();
            cut(&mut left, bytes);
            assert!(serde_json::to_vec(&left).unwrap().len() <= bytes.max(2) + 2);
            left.len()
        };
        assert_eq!(
            [left(0), left(11), left(12), left(24), left(1_000)],
            [0, 0, 1, 2, 3]
        );
    }
}
