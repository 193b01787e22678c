//! Which workers live.

use std::time::Duration;

use protocol::{NodeId, Presence, WorkerKind};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    Bucket, Changes, Error, Kv, Queue,
    error::Chain,
    streams::{LEASE, now_ms},
};

/// How often a worker says that it lives; an entry outlives three of these.
const RENEW: Duration = Duration::from_secs(2);
/// How long saying so, or saying goodbye, may take.
const ATTEMPT: Duration = Duration::from_secs(2);

const PREFIX: &str = "worker";

impl Queue {
    /// Keeps a worker's presence known until `stop`, each time as it is then and with the time it is, and
    /// takes it back then. Whatever fails is tried again. Who the worker is does not change.
    ///
    /// # Errors
    /// [`Error::Key`], at once, if the instance's name cannot be part of a key.
    pub async fn announce(
        &self,
        presence: impl Fn() -> Presence + Send,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let kv: Kv<Presence> = self.bucket(Bucket::Leases);
        let Presence {
            node,
            worker,
            instance,
            ..
        } = presence();
        if instance.contains('.') {
            return Err(Error::Key(instance));
        }
        let key = format!("{PREFIX}.{}.{node}.{instance}", worker.as_str());
        let mut known = true;
        while !stop.is_cancelled() {
            let presence = Presence {
                said_ms: now_ms(),
                ..presence()
            };
            let said = timeout(ATTEMPT, kv.put(&key, &presence)).await;
            match said {
                Ok(Ok(_)) if !known => {
                    info!("others know again that this worker lives");
                    known = true;
                }
                Ok(Ok(_)) => {}
                Ok(Err(error @ Error::Key(_))) => return Err(error),
                Ok(Err(error)) if known => {
                    warn!(error = %Chain(&error), "cannot say that this worker lives, trying on");
                    known = false;
                }
                Err(_) if known => {
                    warn!("cannot say in time that this worker lives, trying on");
                    known = false;
                }
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(RENEW) => {}
            }
        }
        if !matches!(timeout(ATTEMPT, kv.delete(&key)).await, Ok(Ok(()))) {
            debug!("presence not taken back, it will expire");
        }
        Ok(())
    }

    /// Workers of one kind beside one node, each time one says that it lives: about every 2 s. One that
    /// has not said so for [`Self::PRESENT`] is gone.
    #[must_use]
    pub fn watch_workers(&self, kind: WorkerKind, node: NodeId) -> Changes<Presence> {
        let kv: Kv<Presence> = self.bucket(Bucket::Leases);
        kv.watch(&format!("{PREFIX}.{}.{node}.", kind.as_str()))
    }

    /// For how long a worker counts as present after it last said so.
    pub const PRESENT: Duration = LEASE;

    /// The workers that live: those that said so in the last 7 s.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn workers(&self) -> Result<Vec<Presence>, Error> {
        let kv: Kv<Presence> = self.bucket(Bucket::Leases);
        let found = kv.list(PREFIX).await?;
        Ok(found.into_iter().map(|(_, presence, _)| presence).collect())
    }
}
