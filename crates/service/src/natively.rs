//! What the node beside a worker can do with object stores by itself, looked at now and then.

use std::time::Duration;

use protocol::NativeUpload;
use scylla::{Node, Wanted};
use store::Stores;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{Beside, Chain, pause};

/// How often the node is asked what it can, for others to know.
const LOOK: Duration = Duration::from_secs(30);
/// How long the first answer may take before the worker is announced without it.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// What the node can do by itself, as this worker's stores are set.
pub struct Natively {
    node: Node,
    stores: Stores,
    told: watch::Sender<Option<NativeUpload>>,
}

impl Natively {
    /// Of the node that a worker is beside. Nothing is known before the first look.
    #[must_use]
    pub fn new(beside: &Beside) -> Self {
        Self {
            node: beside.node.clone(),
            stores: beside.stores.clone(),
            told: watch::Sender::new(None),
        }
    }

    /// What the node can, when last looked at.
    #[must_use]
    pub fn told(&self) -> Option<NativeUpload> {
        self.told.borrow().clone()
    }

    /// Looks what the node can, in time for the announcement if it answers at once.
    pub async fn first_look(&self) {
        if timeout(FIRST_LOOK, self.note()).await.is_err() {
            debug!("the node does not say in time which stores it knows");
        }
    }

    /// Looks on until `stop`: what a node is configured with changes while it runs.
    pub async fn look_on(&self, stop: &CancellationToken) {
        while !pause(stop, LOOK).await {
            self.note().await;
        }
    }

    async fn note(&self) {
        match self.look().await {
            Ok(found) => drop(self.told.send_replace(Some(found))),
            // A node that restarts can the same afterwards, most likely.
            Err(error) => {
                debug!(error = %Chain(&error), "which stores the node knows is not known")
            }
        }
    }

    /// Asks the node what it can.
    ///
    /// # Errors
    /// As for every call of the node's.
    pub async fn look(&self) -> Result<NativeUpload, scylla::Error> {
        let (url, region) = self.stores.s3_place().await;
        let wanted = Wanted { url, region };
        let gcs = self.stores.gcs_endpoint();
        self.node.native_upload(&wanted, gcs).await
    }
}
