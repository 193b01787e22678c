//! A node's port for CQL: the native protocol, version 4.
//!
//! Statements are read by a parser of its own, run against the schema and rows that the REST API and
//! the admin API know too, and refused in the server's words. Rows are written to and read from as many replicas
//! as the consistency level asks for: a replica that lacks a row shows.
//!
//! Not here: lightweight transactions, counters, static columns, times to live, functions, compression, TLS. A write
//! stores the whole row, with what live replicas held of it before, and one timestamp for all its cells.

mod ast;
mod change;
mod connection;
mod coordinate;
pub(crate) mod describe;
pub(crate) mod fail;
mod parse;
pub(crate) mod prepare;
mod role;
mod row;
mod select;
mod session;
mod system;
mod table;
mod token;
pub(crate) mod types;
mod value;
pub(crate) mod view;
mod wire;
mod write;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::Sim;
use crate::node::Node;
use session::Change;

/// Changes of the schema a slow client may be behind before it misses some.
const BEHIND: usize = 1024;

/// What goes on between the CQL ports of all nodes.
#[derive(Debug)]
pub(crate) struct Hub {
    changes: broadcast::Sender<Change>,
    /// How long a new view or index waits before it is filled.
    pub(crate) build_delay: Mutex<Duration>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            changes: broadcast::Sender::new(BEHIND),
            build_delay: Mutex::default(),
        }
    }
}

impl Hub {
    /// Tells all clients that registered for it.
    fn announce(&self, change: &Change) {
        // Nobody may be listening.
        let _ = self.changes.send(change.clone());
    }
}

/// Serves clients until `stop`.
pub(crate) async fn serve(
    sim: Arc<Sim>,
    node: Arc<Node>,
    listener: TcpListener,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let (sim, node) = (Arc::clone(&sim), Arc::clone(&node));
                connections.spawn(async move { drop(connection::converse(sim, node, stream).await) });
            }
        }
    }
}
