//! Why a text cannot be read or rewritten.

/// Why a text cannot be read or rewritten. Offsets are bytes from the beginning of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something is opened and never closed.
    #[error("the {what} that begins at byte {at} never ends")]
    Unterminated {
        /// What: a string, a comment, …
        what: &'static str,
        /// Where it begins.
        at: usize,
    },
    /// More text than any schema needs.
    #[error("{size} bytes of CQL in one piece are more than the {limit} that are read")]
    TooLarge {
        /// Its length, in bytes.
        size: usize,
        /// The most that is read, in bytes.
        limit: usize,
    },
    /// Brackets within brackets without end.
    #[error("brackets are nested too deep at byte {at}")]
    TooDeep {
        /// Where.
        at: usize,
    },
    /// A statement that is understood up to a point.
    #[error("at byte {at}: {wanted} is expected here")]
    Unexpected {
        /// Where.
        at: usize,
        /// What should be there.
        wanted: &'static str,
    },
    /// A datacenter that nothing is said about.
    #[error(
        "keyspace `{keyspace}` has replicas in datacenter `{datacenter}`, which is mapped to none: \
         say where its data goes, or that it is left out"
    )]
    Unmapped {
        /// The keyspace.
        keyspace: String,
        /// The datacenter.
        datacenter: String,
    },
    /// A keyspace that would be left without replicas.
    #[error(
        "keyspace `{keyspace}` has replicas only in datacenters that are left out, so it would \
         have none: map one of them"
    )]
    NoDatacenter {
        /// The keyspace.
        keyspace: String,
    },
    /// A number of replicas that is no number.
    #[error("keyspace `{keyspace}` has `{found}` for its replicas in datacenter `{datacenter}`")]
    Replicas {
        /// The keyspace.
        keyspace: String,
        /// The datacenter.
        datacenter: String,
        /// What stands there.
        found: String,
    },
    /// Two things would have the same name.
    #[error("{kind} `{name}` would come from two different statements: rename one of them")]
    Clash {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A row of the schema cannot be read or rewritten.
    #[error("{kind} `{name}` of the schema")]
    Row {
        /// What the row makes.
        kind: String,
        /// Its name.
        name: String,
        /// What is wrong.
        #[source]
        cause: Box<Error>,
    },
}
