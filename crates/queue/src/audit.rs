//! Notes on who changed what: kept for a year. [`Queue::audits`] reads them.

use async_nats::{header, jetstream::message::PublishMessage};
use protocol::{Audit, Encoding, Message as _, subject};
use uuid::Uuid;

use crate::{Error, Queue, streams, trace};

impl Queue {
    /// Keeps a note. What was removed by a run is noted once, however often that is told.
    ///
    /// # Errors
    /// [`Error`] if it is not kept.
    pub async fn audit(&self, cluster: Option<&str>, note: &Audit) -> Result<(), Error> {
        let encoding = Encoding::MessagePack;
        let id = match note {
            Audit::Asked { .. } | Audit::Refused { .. } => Uuid::new_v4().to_string(),
            Audit::Removed { run, .. } => format!("removed.{run}"),
        };
        let mut headers = trace::headers(encoding);
        headers.insert(header::NATS_MESSAGE_ID, id);
        let message = PublishMessage::build()
            .payload(note.encode(encoding).into())
            .headers(headers);
        match self.store(subject::of_audit(cluster), message).await {
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal.into_error("a note on a change", streams::AUDIT)),
        }
    }
}
