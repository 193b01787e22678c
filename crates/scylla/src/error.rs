//! What a node's answers mean.

use std::{io, path::PathBuf};

/// Why a node, or its data directory, did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is no URL.
    #[error("`{0}` is not the URL of a node's REST API; it looks like http://127.0.0.1:10000")]
    Address(String),
    /// Nobody answers: the node is down, or the address is wrong.
    #[error("cannot reach the node at {api} to {attempt}: is ScyllaDB running there?")]
    Unreachable {
        /// The REST API's address.
        api: String,
        /// What was asked.
        attempt: String,
        /// What the client says.
        #[source]
        cause: reqwest::Error,
    },
    /// The node accepted the call and did not answer in time.
    #[error("the node at {api} did not answer in time to {attempt}")]
    Timeout {
        /// The REST API's address.
        api: String,
        /// What was asked.
        attempt: String,
    },
    /// The node is starting or stopping: the call does not exist now.
    #[error(
        "the node at {api} does not offer to {attempt} now: it is starting, draining or too old"
    )]
    NotReady {
        /// The REST API's address.
        api: String,
        /// What was asked.
        attempt: String,
    },
    /// A refresh is under way on that shard.
    #[error("the node is loading SSTables already")]
    AlreadyLoading,
    /// The snapshot exists.
    #[error("cannot {attempt}: a snapshot of that name exists ({message})")]
    SnapshotExists {
        /// What was asked.
        attempt: String,
        /// The node's words.
        message: String,
    },
    /// The keyspace is not there.
    #[error("cannot {attempt}: {message}")]
    NoSuchKeyspace {
        /// What was asked.
        attempt: String,
        /// The node's words.
        message: String,
    },
    /// The table is not there.
    #[error("cannot {attempt}: {message}")]
    NoSuchTable {
        /// What was asked.
        attempt: String,
        /// The node's words.
        message: String,
    },
    /// The task is not known (any more).
    #[error("cannot {attempt}: {message}")]
    NoSuchTask {
        /// What was asked.
        attempt: String,
        /// The node's words.
        message: String,
    },
    /// Something goes on; ask again. An answer to waiting for a task.
    #[error("still running")]
    StillRunning,
    /// The rows of an SSTable are not those its digest was made from.
    #[error("cannot {attempt}: an SSTable is damaged: {message}")]
    DigestMismatch {
        /// What was asked.
        attempt: String,
        /// The node's words.
        message: String,
    },
    /// An SSTable cannot be read.
    #[error("cannot {attempt}: an SSTable is damaged: {message}")]
    Malformed {
        /// What was asked.
        attempt: String,
        /// The node's words.
        message: String,
    },
    /// The table is a view, or belongs to an index: its rows follow from another table's.
    #[error("cannot {attempt}: it is a view or an index ({message})")]
    View {
        /// What was asked.
        attempt: String,
        /// The node's words.
        message: String,
    },
    /// The disk is full.
    #[error("cannot {attempt}: the node's disk is full ({message})")]
    DiskFull {
        /// What was asked.
        attempt: String,
        /// The node's words.
        message: String,
    },
    /// The node said no, in other words.
    #[error("the node cannot {attempt}: {message} (status {status})")]
    Refused {
        /// What was asked.
        attempt: String,
        /// The HTTP status.
        status: u16,
        /// The node's words.
        message: String,
    },
    /// The answer is not what the call gives.
    #[error("the node's answer to {attempt} is not understood: {cause}")]
    Answer {
        /// What was asked.
        attempt: String,
        /// What the decoder says.
        cause: String,
    },
    /// A local file or directory can't be used.
    #[error("cannot {attempt} {}", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// A name that would lead out of the data directory.
    #[error("`{0}` is not the name of a keyspace, table or snapshot")]
    Name(String),
    /// There is no directory for the table.
    #[error("there is no directory of table {table} in {}", data_dir.display())]
    NoTableDir {
        /// The table.
        table: String,
        /// The data directory.
        data_dir: PathBuf,
    },
    /// There is no complete snapshot of the table.
    #[error("there is no complete snapshot `{tag}` of table {table}")]
    NoSnapshot {
        /// The table.
        table: String,
        /// The snapshot.
        tag: String,
    },
    /// A TOC is damaged.
    #[error("`{}` is damaged", path.display())]
    Toc {
        /// The TOC.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: crate::sstable::InvalidToc,
    },
    /// A file that a TOC lists is not there.
    #[error("SSTable {} lacks its component {component}, which its TOC lists", sstable.display())]
    NoComponent {
        /// The SSTable's path without a component.
        sstable: PathBuf,
        /// The component.
        component: String,
    },
}

impl Error {
    /// Whether the same call may go well later, with nobody changing anything.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::NotReady { .. }
            | Self::AlreadyLoading
            | Self::StillRunning
            | Self::DiskFull { .. }
            | Self::Refused { status: 500.., .. } => true,
            Self::Address(_)
            | Self::SnapshotExists { .. }
            | Self::NoSuchKeyspace { .. }
            | Self::NoSuchTable { .. }
            | Self::NoSuchTask { .. }
            | Self::DigestMismatch { .. }
            | Self::Malformed { .. }
            | Self::View { .. }
            | Self::Refused { .. }
            | Self::Answer { .. }
            | Self::File { .. }
            | Self::Name(_)
            | Self::NoTableDir { .. }
            | Self::NoSnapshot { .. }
            | Self::Toc { .. }
            | Self::NoComponent { .. } => false,
        }
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

    /// What an error answer means. Most faults come as 500, so its text decides.
    pub(crate) fn from_answer(api: &str, attempt: &str, status: u16, message: String) -> Self {
        let attempt = attempt.to_owned();
        let says = |text: &str| message.contains(text);
        match status {
            // An unknown path; and a host id or a gossiper that is not there yet.
            404 => Self::NotReady {
                api: api.to_owned(),
                attempt,
            },
            408 => Self::StillRunning,
            _ if NOT_READY.iter().any(|text| says(text)) => Self::NotReady {
                api: api.to_owned(),
                attempt,
            },
            _ if says("Already loading SSTables") => Self::AlreadyLoading,
            _ if says("already exists") && says("snapshot") => {
                Self::SnapshotExists { attempt, message }
            }
            _ if says("find a keyspace") || says("no_such_keyspace") => {
                Self::NoSuchKeyspace { attempt, message }
            }
            _ if says("find a column family")
                || says("no_such_column_family")
                || (says("Column family") && says("not found")) =>
            {
                Self::NoSuchTable { attempt, message }
            }
            _ if says("task with id") && says("not found") => Self::NoSuchTask { attempt, message },
            _ if says("Digest mismatch") => Self::DigestMismatch { attempt, message },
            _ if says("Materialized View") => Self::View { attempt, message },
            _ if says("error system:28") || says("No space left") => {
                Self::DiskFull { attempt, message }
            }
            _ if says("malformed_sstable_exception") => Self::Malformed { attempt, message },
            _ => Self::Refused {
                attempt,
                status,
                message,
            },
        }
    }
}

/// What a node says that is about to work, or about to stop, under another status than 404.
const NOT_READY: [&str; 2] = ["gossiper is not ready yet", "gate closed"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_decides_what_an_answer_means() {
        let meant = |status, message: &str| {
            Error::from_answer("http://n", "load", status, message.to_owned())
        };
        let loading = "Failed to load new sstables: std::runtime_error (Already loading SSTables. Try again later)";
        assert!(matches!(meant(500, loading), Error::AlreadyLoading));
        let exists = "std::runtime_error (Keyspace k: snapshot t already exists.)";
        assert!(matches!(meant(500, exists), Error::SnapshotExists { .. }));
        assert!(matches!(meant(404, "Not found"), Error::NotReady { .. }));
        assert!(matches!(meant(408, "timedout"), Error::StillRunning));
        assert!(matches!(
            meant(400, "Can't find a keyspace k"),
            Error::NoSuchKeyspace { .. }
        ));
        assert!(matches!(
            meant(400, "Can't find a column family t in keyspace k"),
            Error::NoSuchTable { .. }
        ));
        for starting in [
            (404, "local host ID is not yet set"),
            (500, "std::runtime_error (The gossiper is not ready yet)"),
            (
                500,
                "seastar::named_gate_closed_exception (snapshot_ctl gate closed)",
            ),
        ] {
            let error = meant(starting.0, starting.1);
            assert!(matches!(error, Error::NotReady { .. }) && error.retry());
        }
        let view = "Failed to load new sstables: std::runtime_error (Loading Materialized View SSTables is not supported. Re-create the view instead.)";
        assert!(matches!(meant(500, view), Error::View { .. }));
        let torn = "sstables::malformed_sstable_exception (End of file)";
        assert!(matches!(meant(500, torn), Error::Malformed { .. }));
        assert!(matches!(
            meant(400, "Column family 'ks:t' not found"),
            Error::NoSuchTable { .. }
        ));
        assert!(matches!(
            meant(400, "task with id 1 not found"),
            Error::NoSuchTask { .. }
        ));
        let damaged = "sstables::malformed_sstable_exception (Failed to read partition due to Digest mismatch: expected=1, actual=2)";
        assert!(matches!(meant(500, damaged), Error::DigestMismatch { .. }));
        assert!(matches!(
            meant(500, "std::system_error (error system:28, No space left)"),
            Error::DiskFull { .. }
        ));
        assert!(meant(500, "std::bad_alloc (std::bad_alloc)").retry());
        assert!(!meant(400, "Only one keyspace allowed").retry());
    }
}
