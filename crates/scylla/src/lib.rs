//! One ScyllaDB node: its REST API, its CQL, its metrics, its data directory, the files of its SSTables.
//!
//! # Promises
//! * An answer means what it says: errors are told apart by their text, for a node answers 500 to
//!   most of what is the caller's fault; an empty body is success; a list that is missing is empty.
//! * Every call has a limit of time that suits it; [`Node::load`] has none, for it may take hours,
//!   and ends when the connection does.
//! * A snapshot is never deleted without naming its tag.
//! * SSTables are listed by their TOC, never by an assumed set of components; a component that is
//!   missing is an error that names it.
//! * Names from outside never lead out of the data directory.
//!
//! # Not here
//! What is done with a node, and when: that is the workers' and the scheduler's.

mod cql;
mod data_dir;
mod digest;
mod endpoint;
mod error;
mod handover;
mod inspect;
mod metrics;
mod node;
mod ping;
pub mod sstable;

pub use self::cql::{
    Consistency, CqlError, Credentials, Described, Fingerprint, Right, Rights, Session, Tls, Trust,
};
pub use data_dir::{DataDir, Snapshot, TableDir};
pub use digest::{crc32_of, read_digest};
pub use endpoint::{Endpoints, Wanted};
pub use error::Error;
pub use handover::{Handover, InvalidHandover};
pub use inspect::InspectError;
pub use metrics::{Counters, Load, Metrics};
pub use node::{
    Keyspaces, LoadOptions, NativeBackup, NativeRestore, Node, Range, RepairState, Replication,
    Scope, SnapshotSize, TabletsRestore, Task, TaskState, TaskSummary, ViewBuild,
};
