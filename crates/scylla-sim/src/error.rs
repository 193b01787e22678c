//! Why a simulated cluster could not be started or an admin request not be done.

use std::io;
use std::path::{Path, PathBuf};

/// Failures of the simulator itself, not those it simulates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration, or an admin request, makes no sense.
    #[error("{0}")]
    Settings(String),
    /// No free loopback addresses, or the wanted ones are taken.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: String,
        #[source]
        /// From the system.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("cannot {attempt} {}", path.display())]
    File {
        /// A verb.
        attempt: &'static str,
        /// Which file.
        path: PathBuf,
        #[source]
        /// From the system.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn settings(text: impl Into<String>) -> Self {
        Self::Settings(text.into())
    }

    pub(crate) fn file(attempt: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            attempt,
            path: path.to_path_buf(),
            source,
        }
    }
}
