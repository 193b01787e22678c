//! What can go wrong with backups in a bucket.

use std::{io, path::PathBuf};

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
    /// There is no such backup, or more than one.
    #[error(transparent)]
    Choice(#[from] catalog::restore::RestoreError),
    /// A schema file cannot be read.
    #[error(transparent)]
    Schema(#[from] catalog::schema::SchemaError),
    /// Backups that were named cannot be deleted.
    #[error(transparent)]
    Delete(#[from] catalog::retention::DeleteError),
    /// A backup came without a schema.
    #[error("backup `{tag}` has no schema file{}: it was taken without one, as when the credentials for CQL were missing", in_vain(.listed))]
    NoSchema {
        /// The backup.
        tag: protocol::SnapshotTag,
        /// The file that its manifests name, though it is not there; empty if they name none.
        listed: String,
    },
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
    /// Whoever had it begun wants no more of it.
    #[error("left off")]
    Stopped,
    /// No file can be made to read a manifest into.
    #[error("cannot use a temporary directory")]
    Scratch(#[source] io::Error),
    /// A local file or directory cannot be used.
    #[error("cannot {action} `{}`", path.display())]
    Local {
        /// What was attempted.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's words.
        #[source]
        cause: io::Error,
    },
    /// The disk is too small for what is to come.
    #[error(
        "`{}` has {free} bytes free, but {needed} more are to be downloaded: make room, or choose less",
        path.display()
    )]
    Space {
        /// The directory.
        path: PathBuf,
        /// Bytes free in it.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
}

fn in_vain(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!(" (its manifests name `{key}`, which is not there)")
    }
}

impl Error {
    /// Whether the same call may succeed later with nothing changed by anybody.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            Self::Store(cause) => cause.retry(),
            Self::Changed { .. } | Self::Scratch(_) | Self::Space { .. } => true,
            Self::Manifest(_)
            | Self::Document { .. }
            | Self::Segment(_)
            | Self::Choice(_)
            | Self::Delete(_)
            | Self::Schema(_)
            | Self::NoSchema { .. }
            | Self::Strange { .. }
            | Self::Elsewhere { .. }
            | Self::Stopped
            | Self::Local { .. } => false,
        }
    }

    /// Whether an object that was listed is no longer there.
    pub(crate) fn gone(&self) -> bool {
        matches!(self, Self::Store(store::Error::NotFound { .. }))
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    for cause in std::iter::successors(error.source(), |e| e.source()) {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}
