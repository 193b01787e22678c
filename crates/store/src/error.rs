//! What can go wrong with a store.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why something was not stored, read, listed or deleted.
///
/// The text is complete: it names the attempt, the thing and the cause, and holds no secret.
/// `location` is the bucket with its provider and endpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such object.
    #[error("no object `{key}` in {location}")]
    NotFound {
        /// The object's key.
        key: String,
        /// Where it was looked for.
        location: String,
    },
    /// The bucket itself is missing.
    #[error("there is no bucket {location}: create it or correct the location")]
    NoBucket {
        /// Which bucket, and where.
        location: String,
    },
    /// The credentials are wrong, or may not do this.
    #[error(
        "not allowed to {action} `{key}` in {location} ({cause}): check the credentials and what the bucket's policy grants them"
    )]
    Denied {
        /// What was attempted: `read`, `write`, `copy`, `list` or `delete`.
        action: &'static str,
        /// The key or prefix.
        key: String,
        /// Where.
        location: String,
        /// The store's own words.
        cause: String,
    },
    /// A file's content is not what it was when its checksum was taken; nothing was stored.
    #[error("`{}` is damaged: its CRC-32 is {found:08x} where {expected:08x} was expected", path.display())]
    Corrupt {
        /// The local file.
        path: PathBuf,
        /// The CRC-32 of what was read.
        found: u32,
        /// The CRC-32 it should have.
        expected: u32,
    },
    /// A file or object has another length than it should.
    #[error("`{what}` has {found} bytes where {expected} were expected")]
    Torn {
        /// The local file (when storing) or the key (when fetching).
        what: String,
        /// Its length in bytes; the least it can be, where the end was not looked for.
        found: u64,
        /// The length it should have, in bytes.
        expected: u64,
    },
    /// The disk has no space left.
    #[error("no space left for `{}`: the file system is full, of bytes or of inodes", path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
    },
    /// The store can't be reached, is overloaded, or broke off; retries are used up.
    #[error("cannot {action} `{key}` in {location}: {cause}")]
    Unavailable {
        /// What was attempted.
        action: &'static str,
        /// The key or prefix.
        key: String,
        /// Where.
        location: String,
        /// What happened.
        cause: String,
    },
    /// The store understood and said no, for a reason that trying again won't change.
    #[error("{location} refused to {action} `{key}`: {cause}")]
    Refused {
        /// What was attempted.
        action: &'static str,
        /// The key or prefix.
        key: String,
        /// Where.
        location: String,
        /// The store's own words.
        cause: String,
    },
    /// A local file or directory can't be used.
    #[error("cannot {action} `{}`: {cause}", path.display())]
    Local {
        /// What was attempted.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// More than fits: into memory, or into the parts an upload may have.
    #[error("`{what}` has {bytes} bytes, above the limit of {limit}: {hint}")]
    TooLarge {
        /// The key or the local file.
        what: String,
        /// Its length in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
        /// Whose limit it is, or how to raise it.
        hint: &'static str,
    },
    /// A text that can't be a key on every provider.
    #[error("`{key}` cannot be a key: {why}")]
    Key {
        /// The text.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// rclone was asked for something and did not do it.
    #[error("rclone did not answer `{call}` as it should: {cause}")]
    Rclone {
        /// What it was asked for.
        call: String,
        /// Its words, or what happened.
        cause: String,
    },
    /// The configuration is wrong or incomplete.
    #[error("wrong settings: {0}")]
    Settings(String),
}

impl Error {
    /// Whether the same call may succeed later with nothing changed by anybody.
    ///
    /// A full disk counts: space is what other work gives back.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::DiskFull { .. } | Self::Rclone { .. } => true,
            Self::NotFound { .. }
            | Self::NoBucket { .. }
            | Self::Denied { .. }
            | Self::Corrupt { .. }
            | Self::Torn { .. }
            | Self::Refused { .. }
            | Self::Local { .. }
            | Self::TooLarge { .. }
            | Self::Key { .. }
            | Self::Settings(_) => false,
        }
    }

    /// The same with a key, or the beginning of one, as it is without `prefix`.
    pub(crate) fn without(mut self, prefix: &str) -> Self {
        let (Self::NotFound { key, .. }
        | Self::Denied { key, .. }
        | Self::Unavailable { key, .. }
        | Self::Refused { key, .. }
        | Self::Torn { what: key, .. }) = &mut self
        else {
            return self;
        };
        if let Some(own) = key.strip_prefix(prefix) {
            *key = own.to_owned();
        }
        self
    }

    /// What an `io::Error` on a local file means.
    pub(crate) fn local(action: &'static str, path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        if matches!(
            cause.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Self::DiskFull { path };
        }
        Self::Local {
            action,
            path,
            cause,
        }
    }
}

/// What was attempted, with which key, and where: what most errors have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) action: &'static str,
    pub(crate) key: &'a str,
    pub(crate) place: &'a str,
}

impl Attempt<'_> {
    pub(crate) fn not_found(&self) -> Error {
        Error::NotFound {
            key: self.key.to_owned(),
            location: self.place.to_owned(),
        }
    }

    pub(crate) fn no_bucket(&self) -> Error {
        Error::NoBucket {
            location: self.place.to_owned(),
        }
    }

    pub(crate) fn denied(&self, cause: String) -> Error {
        Error::Denied {
            action: self.action,
            key: self.key.to_owned(),
            location: self.place.to_owned(),
            cause,
        }
    }

    pub(crate) fn unavailable(&self, cause: impl Into<String>) -> Error {
        Error::Unavailable {
            action: self.action,
            key: self.key.to_owned(),
            location: self.place.to_owned(),
            cause: cause.into(),
        }
    }

    pub(crate) fn refused(&self, cause: String) -> Error {
        Error::Refused {
            action: self.action,
            key: self.key.to_owned(),
            location: self.place.to_owned(),
            cause,
        }
    }
}

/// An error and its causes on one line; a cause that the line already ends with is left out.
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
