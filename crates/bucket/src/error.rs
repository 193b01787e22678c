//! What can go wrong with backups in a bucket.

use std::io;

/// Why something was not found out or done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bucket does not do what is asked of it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A manifest cannot be read, so nobody knows what it refers to.
    #[error(transparent)]
    Manifest(#[from] catalog::ManifestError),
    /// A note of Thetis cannot be read.
    #[error("`{key}` is not readable")]
    Document {
        /// The note.
        key: String,
        /// What is wrong.
        #[source]
        cause: catalog::DocumentError,
    },
    /// A name cannot be part of a key.
    #[error(transparent)]
    Segment(#[from] catalog::InvalidSegment),
    /// Something lies where only things of one kind do, and is none of them.
    #[error(
        "`{key}` in {location} is not {what}, though it lies where only such do: a newer version of \
         Thetis may know it, or it can be removed by hand"
    )]
    Strange {
        /// Its key.
        key: String,
        /// Where.
        location: String,
        /// What was expected.
        what: &'static str,
    },
    /// A manifest is another one than a moment ago, or gone.
    #[error("manifest `{key}` changed while it was looked at: begin anew")]
    Changed {
        /// The manifest.
        key: String,
    },
    /// Work was given for another bucket.
    #[error("this work is for {expected}, not for {found}")]
    Elsewhere {
        /// Where it belongs.
        expected: String,
        /// Where it was begun.
        found: String,
    },
    /// No file can be made to read a manifest into.
    #[error("cannot use a temporary directory")]
    Scratch(#[source] io::Error),
}

impl Error {
    /// Whether the same call may succeed later with nothing changed by anybody.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            Self::Store(cause) => cause.retry(),
            Self::Changed { .. } | Self::Scratch(_) => true,
            Self::Manifest(_)
            | Self::Document { .. }
            | Self::Segment(_)
            | Self::Strange { .. }
            | Self::Elsewhere { .. } => false,
        }
    }
}
