//! The REST API of one node: the calls that backup and restore need.

mod call;
mod repair;
mod schema;
mod snapshot;
mod table;
mod task;
mod topology;

use std::time::Duration;

pub use self::{
    repair::RepairState,
    schema::ViewBuild,
    snapshot::SnapshotSize,
    table::LoadOptions,
    task::{NativeBackup, NativeRestore, Scope, TabletsRestore, Task, TaskState, TaskSummary},
    topology::{Keyspaces, Range, Replication},
};
use crate::Error;

/// Connecting to a node on the same machine or network.
const CONNECT: Duration = Duration::from_secs(5);
/// Questions that a node answers from memory.
pub(crate) const SHORT: Duration = Duration::from_secs(10);
/// Flushes, snapshots and switches that wait for the node's disk or for raft: as ScyllaDB Manager.
pub(crate) const LONG: Duration = Duration::from_secs(30 * 60);

/// A node's REST API. Cloning shares the connections.
#[derive(Clone, Debug)]
pub struct Node {
    http: reqwest::Client,
    api: String,
}

impl Node {
    /// The node whose REST API answers at `api`, as in `http://127.0.0.1:10000`.
    ///
    /// # Errors
    /// [`Error::Address`] if that is no URL.
    pub fn new(api: &str) -> Result<Self, Error> {
        let wrong = || Error::Address(api.to_owned());
        let url = reqwest::Url::parse(api).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong());
        }
        // A proxy of the environment is for the outside, and a node is never there.
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT)
            .tcp_keepalive(Duration::from_secs(15))
            .build()
            .map_err(|_| wrong())?;
        Ok(Self {
            http,
            api: api.trim_end_matches('/').to_owned(),
        })
    }

    /// The address it was made with.
    #[must_use]
    pub fn api(&self) -> &str {
        &self.api
    }
}

#[cfg(test)]
mod tests;
