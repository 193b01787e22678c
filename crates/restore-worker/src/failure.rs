//! Why a job was not done.

use std::{io, path::PathBuf};

use protocol::TableRef;
use queue::JobError;
use service::Chain;

/// What stood in the way of a restore.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("a restore-worker does not do `{kind}` jobs")]
    NotMine { kind: &'static str },
    #[error(transparent)]
    Node(#[from] scylla::Error),
    #[error("cannot {attempt}")]
    Store {
        attempt: String,
        #[source]
        cause: store::Error,
    },
    #[error("cannot ask NATS whether the run is over")]
    Queue(#[from] queue::Error),
    #[error(transparent)]
    Plan(#[from] catalog::restore::RestoreError),
    #[error(transparent)]
    Cql(#[from] scylla::CqlError),
    #[error(transparent)]
    Schema(#[from] cql::Error),
    #[error(transparent)]
    Bucket(#[from] bucket::Error),
    #[error(transparent)]
    Pattern(#[from] catalog::InvalidPattern),
    #[error(transparent)]
    Manifest(#[from] catalog::ManifestError),
    #[error("`{key}` in the bucket is not readable")]
    Unreadable {
        key: String,
        #[source]
        cause: catalog::DocumentError,
    },
    #[error("restore {origin} has made keyspaces that are no drill's, so they are not dropped")]
    NoDrill { origin: protocol::RunId },
    #[error(
        "table {table} was made by an attempt of this restore that was cut short, and holds rows since: nothing is dropped; start the restore anew, with --no-continue and --merge"
    )]
    HoldsRows { table: String },
    #[error("the request names no location")]
    NoLocation,
    #[error("backup {tag} holds nothing that the keyspace globs {globs:?} choose")]
    Nothing { tag: String, globs: Vec<String> },
    #[error(
        "{count} tables of the backup are not in this cluster, the first being {first}: restore their schema first, or leave them out with --keyspace '!{first}'"
    )]
    NoTable { first: String, count: usize },
    #[error("batch {batch} is not in the restore's plan, though the plan is complete")]
    NoBatch { batch: u32 },
    #[error(
        "`{key}` in the bucket is damaged: its CRC-32 is {found} where the {listed} says {expected}"
    )]
    Damaged {
        key: String,
        found: u32,
        listed: &'static str,
        expected: u32,
    },
    #[error(
        "SSTable `{sstable}` of the backup lacks its component {component}, which its TOC lists"
    )]
    Incomplete { sstable: String, component: String },
    #[error(
        "not enough space on the node for batch {batch}: it needs {needed} bytes and {free} of {total} are free, {percent} % of which must stay free (`restore.min_free_percent`)"
    )]
    NoSpace {
        batch: u32,
        needed: u64,
        free: u64,
        total: u64,
        percent: u8,
    },
    #[error("ScyllaDB itself could not restore files of {table}: {words}")]
    Task { table: TableRef, words: String },
    #[error("this node cannot restore batches by method `native`: {reason}")]
    NoEndpoint { reason: String },
    #[error(
        "this node owns less of keyspace {keyspace} than node {source_node} of the backup did: not the tokens from {start} to {end}. Rows of them would be lost, so nothing was loaded; replication of the keyspace, or its racks, differ. Leave `one_to_one` out"
    )]
    NotOwner {
        keyspace: String,
        source_node: protocol::NodeId,
        start: i64,
        end: i64,
    },
    #[error(
        "ScyllaDB says that it has restored {table} by tablets, but has {found} bytes of it on this node and not {expected}: it passes over what it has restored of the same snapshot in the last three days. Restore the table again, by another method"
    )]
    PassedOver {
        table: TableRef,
        found: u64,
        expected: u64,
    },
    #[error("the restore's plan does not say whose place this node takes")]
    NoTwin,
    #[error("ScyllaDB has forgotten the restore of batch {batch} {tries} times, as at a restart")]
    Lost { batch: u32, tries: u32 },
    #[error("{why}; left to other nodes of the datacenter")]
    LeftToOthers { why: String },
    #[error("{} holds `{file}`, which Thetis has not put there: load it or remove it, then start the restore again", dir.display())]
    Alien { dir: PathBuf, file: String },
    #[error("ScyllaDB has loaded the SSTables but left `{file}` in {}", dir.display())]
    Left { dir: PathBuf, file: String },
    #[error("cannot {attempt} {}", path.display())]
    File {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl Failure {
    pub(crate) fn store(attempt: impl Into<String>) -> impl FnOnce(store::Error) -> Self {
        let attempt = attempt.into();
        move |cause| Self::Store { attempt, cause }
    }

    pub(crate) fn file(
        attempt: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File {
            attempt,
            path,
            cause,
        }
    }

    /// Whether another try may help: here, or on another node.
    pub(crate) fn verdict(&self) -> JobError {
        let text = Chain(self).to_string();
        match self.retry() {
            true => JobError::Retry(text),
            false => JobError::Refuse(text),
        }
    }

    /// Whether the same may go well later.
    pub(crate) fn retry(&self) -> bool {
        match self {
            Self::Cql(cause) => cause.retry(),
            Self::Bucket(cause) => cause.retry(),
            Self::Node(cause) => cause.retry(),
            Self::Store { cause, .. } => cause.retry(),
            Self::Queue(_)
            | Self::NoSpace { .. }
            | Self::Left { .. }
            | Self::NoEndpoint { .. }
            | Self::Lost { .. }
            | Self::LeftToOthers { .. } => true,
            Self::Task { words, .. } => !is_settled(words),
            Self::File { cause, .. } => cause.kind() == io::ErrorKind::StorageFull,
            Self::NotMine { .. }
            | Self::Plan(_)
            | Self::Schema(_)
            | Self::Pattern(_)
            | Self::Manifest(_)
            | Self::Unreadable { .. }
            | Self::NoDrill { .. }
            | Self::HoldsRows { .. }
            | Self::NotOwner { .. }
            | Self::NoTwin
            | Self::PassedOver { .. }
            | Self::NoLocation
            | Self::Nothing { .. }
            | Self::NoTable { .. }
            | Self::NoBatch { .. }
            | Self::Damaged { .. }
            | Self::Incomplete { .. }
            | Self::Alien { .. } => false,
        }
    }
}

/// Whether ScyllaDB would say the same each time.
fn is_settled(words: &str) -> bool {
    let settled = [
        "no_such_column_family",
        "Materialized View",
        "malformed_sstable",
        "Digest mismatch",
        "primary replica only",
    ];
    settled.iter().any(|text| words.contains(text))
}
