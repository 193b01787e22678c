//! What time it is for the server: a second clock beside the process's own.

use async_nats::jetstream::{self, response::Response};
use serde::Deserialize;

use crate::{Bucket, Error, Queue, error::BoxError};

/// What every answer on a stream begins with, since version 2.10.
#[derive(Deserialize)]
struct Stamped {
    ts: jiff::Timestamp,
}

impl Queue {
    /// The time by the server's clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn now_ms(&self) -> Result<u64, Error> {
        let failed = |cause: BoxError| Error::unavailable("ask the server for its time", cause);
        let subject = format!("STREAM.INFO.{}", Bucket::Control.stream());
        let js: &jetstream::Context = &self.shared.js;
        let answer = js.request(subject, &()).await;
        match answer.map_err(|e| failed(e.into()))? {
            Response::Ok(Stamped { ts }) => {
                u64::try_from(ts.as_millisecond()).map_err(|e| failed(e.into()))
            }
            Response::Err { error } => Err(failed(error.into())),
        }
    }
}
