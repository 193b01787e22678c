//! Snapshots: take, list, drop.

use protocol::SnapshotTag;
use reqwest::Method;
use serde::Deserialize;

use super::{LONG, Node};
use crate::Error;

/// A table's part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSize {
    /// The snapshot's name; not always one of ours.
    pub tag: String,
    /// The keyspace.
    pub keyspace: String,
    /// The table.
    pub table: String,
    /// Bytes on disk, and how many of them only the snapshot holds.
    pub total: u64,
    /// See `total`.
    pub live: u64,
}

#[derive(Deserialize)]
struct Tagged {
    key: String,
    #[serde(default)]
    value: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    ks: String,
    cf: String,
    #[serde(default)]
    total: u64,
    #[serde(default)]
    live: u64,
}

impl Node {
    /// Flushes and takes a snapshot of a keyspace's tables; of all of them if `tables` is `None`.
    ///
    /// # Errors
    /// [`Error::SnapshotExists`] if one of them has one of that name.
    pub async fn take_snapshot(
        &self,
        tag: &SnapshotTag,
        keyspace: &str,
        tables: Option<&[String]>,
    ) -> Result<(), Error> {
        let attempt = format!("take snapshot {tag} of {keyspace}");
        let call = self.call(Method::POST, &["storage_service", "snapshots"], attempt);
        let mut call = call
            .with("tag", tag.as_str())
            .with("kn", keyspace)
            .within(LONG);
        if let Some(tables) = tables {
            call = call.with("cf", tables.join(","));
        }
        call.done().await
    }

    /// Every snapshot on the node, whoever took it.
    ///
    /// Waits while a native backup runs.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn snapshots(&self) -> Result<Vec<SnapshotSize>, Error> {
        let path = ["storage_service", "snapshots"];
        let call = self.call(Method::GET, &path, "list snapshots");
        let all: Vec<Tagged> = call.within(LONG).read().await?;
        let parts = |Tagged { key, value }| {
            value.into_iter().map(move |part| SnapshotSize {
                tag: String::clone(&key),
                keyspace: part.ks,
                table: part.cf,
                total: part.total,
                live: part.live,
            })
        };
        Ok(all.into_iter().flat_map(parts).collect())
    }

    /// Deletes a snapshot, of one keyspace or of all. Fine if there is none.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn drop_snapshot(
        &self,
        tag: &SnapshotTag,
        keyspace: Option<&str>,
    ) -> Result<(), Error> {
        let attempt = format!("delete snapshot {tag}");
        let call = self.call(Method::DELETE, &["storage_service", "snapshots"], attempt);
        let mut call = call.with("tag", tag.as_str()).within(LONG);
        if let Some(keyspace) = keyspace {
            call = call.with("kn", keyspace);
        }
        call.done().await
    }
}
