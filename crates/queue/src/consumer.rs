//! Durable consumers: what replicas of one worker share.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};

use crate::{
    Error, Queue,
    error::BoxError,
    pull::{Gone, Pull},
};

/// How many messages may be in hand or waiting to be tried again. The server's own default: each
/// worker takes only what it has a free slot for, so no less is needed to share fairly, and jobs
/// of a failing kind that wait for their next attempt must not hold up the others.
const IN_HAND: i64 = 1_000;

/// A consumer that nobody has asked for so long is deleted by the server: its node is gone. The
/// jobs stay where they are.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// Which jobs a worker does, and how many at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Workers of one name share the jobs. What NATS gives a meaning to is written as `=XX`.
    pub name: String,
    /// Subjects, as from [`subject::for_node`](protocol::subject::for_node). No two consumers of
    /// different names may want the same job.
    pub filters: Vec<String>,
    /// Jobs in hand at once.
    pub slots: usize,
}

impl Consumer {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.name.is_empty() || self.filters.is_empty() || self.slots == 0 {
            let text = format!("consumer `{}` needs a name, subjects and slots", self.name);
            return Err(Error::Settings(text));
        }
        Ok(())
    }
}

/// What a durable consumer takes from its stream.
pub(crate) fn durable(name: &str, filters: &[String], ack_wait: Duration) -> pull::Config {
    pull::Config {
        durable_name: Some(token(name)),
        filter_subjects: filters.to_vec(),
        ack_policy: AckPolicy::Explicit,
        ack_wait,
        max_ack_pending: IN_HAND,
        inactive_threshold: FORGOTTEN,
        ..pull::Config::default()
    }
}

/// A name as a consumer's: what may not stand in it is written as `=XX`.
fn token(name: &str) -> String {
    use std::fmt::Write as _;
    let mut token = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            token.push(char::from(byte));
        } else {
            write!(token, "={byte:02X}").expect("a String takes all that is written to it");
        }
    }
    token
}

impl Queue {
    /// Makes the consumer unless it is there, and gets ready to ask it. Also makes the stream if
    /// that is missing.
    pub(crate) async fn open(&self, stream: &str, config: pull::Config) -> Result<Pull, Error> {
        let js = &self.shared.js;
        let consumer = match js.create_consumer_on_stream(config.clone(), stream).await {
            Ok(consumer) => consumer,
            Err(_) => {
                self.ensure().await?;
                let made = js.create_consumer_on_stream(config, stream).await;
                made.map_err(|e| {
                    let cause = BoxError::from(e);
                    Error::unavailable(format!("make a consumer of stream {stream}"), cause)
                })?
            }
        };
        Pull::new(self, consumer)
            .await
            .map_err(|gone: Gone| Error::unavailable("ask for messages", gone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_nothing_that_nats_gives_a_meaning_to() {
        assert_eq!(token("upload-a_1"), "upload-a_1");
        assert_eq!(token("restore-dc.1 *"), "restore-dc=2E1=20=2A");
    }
}
