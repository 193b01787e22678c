//! One table: automatic compaction, and loading SSTables.

use protocol::TableRef;
use reqwest::Method;

use super::Node;
use crate::Error;

/// How SSTables in a table's `upload` directory are taken in.
///
/// Of what a node offers only what may be combined: skipping cleanup or reshape together with
/// streaming would leave the node refusing every later load until it is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadOptions {
    /// The node keeps the SSTables as they are; rows that it does not own it drops. For what was its own.
    Own,
    /// Each row goes to its replicas, wherever they are. Right in any topology.
    Stream,
    /// Each row goes to its primary replica only; a repair must follow.
    StreamToPrimary,
}

impl Node {
    /// Bytes that the table takes on this node's disk, what waits to be deleted included.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`] if there is no such table.
    pub async fn disk_space(&self, table: &TableRef) -> Result<u64, Error> {
        let attempt = format!("tell how large {table} is");
        let path = [
            "column_family",
            "metrics",
            "total_disk_space_used",
            &joined(table),
        ];
        self.call(Method::GET, &path, attempt).read().await
    }

    /// Whether the table is compacted automatically on this node.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`] if there is no such table.
    pub async fn auto_compaction(&self, table: &TableRef) -> Result<bool, Error> {
        let attempt = format!("tell whether {table} is compacted automatically");
        self.call(
            Method::GET,
            &["column_family", "autocompaction", &joined(table)],
            attempt,
        )
        .read()
        .await
    }

    /// Switches automatic compaction of the table on this node; lost at its restart.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`] if there is no such table.
    pub async fn set_auto_compaction(&self, table: &TableRef, enabled: bool) -> Result<(), Error> {
        let (method, state) = if enabled {
            (Method::POST, "on")
        } else {
            (Method::DELETE, "off")
        };
        let attempt = format!("switch automatic compaction of {table} {state}");
        self.call(
            method,
            &["column_family", "autocompaction", &joined(table)],
            attempt,
        )
        .done()
        .await
    }

    /// Writes to disk what the node holds in memory of a keyspace's tables; of all of them if
    /// `tables` is empty.
    ///
    /// # Errors
    /// [`Error::NoSuchKeyspace`] or [`Error::NoSuchTable`].
    pub async fn flush(&self, keyspace: &str, tables: &[String]) -> Result<(), Error> {
        let attempt = format!("flush {keyspace}");
        let path = ["storage_service", "keyspace_flush", keyspace];
        let mut call = self.call(Method::POST, &path, attempt).within(super::LONG);
        if !tables.is_empty() {
            call = call.with("cf", tables.join(","));
        }
        call.done().await
    }

    /// Takes in all SSTables in the table's `upload` directory and deletes them there, the latter
    /// shortly after the answer.
    ///
    /// May take hours, and goes on in the node if this future is dropped.
    ///
    /// # Errors
    /// [`Error::AlreadyLoading`] while another load goes on; [`Error::DigestMismatch`] or
    /// [`Error::Malformed`] for a damaged SSTable; [`Error::View`] for a view. What was taken in stays.
    pub async fn load(&self, table: &TableRef, options: LoadOptions) -> Result<(), Error> {
        let attempt = format!("load SSTables into {table}");
        let call = self.call(
            Method::POST,
            &["storage_service", "sstables", &table.keyspace],
            attempt,
        );
        let call = call.with("cf", table.table.as_str());
        let call = match options {
            LoadOptions::Own => call,
            LoadOptions::Stream => call.with("load_and_stream", "true"),
            LoadOptions::StreamToPrimary => call
                .with("load_and_stream", "true")
                .with("primary_replica_only", "true"),
        };
        call.without_limit().done().await
    }
}

pub(super) fn joined(table: &TableRef) -> String {
    format!("{}:{}", table.keyspace, table.table)
}
