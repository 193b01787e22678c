//! Errors that end a service, and how any error is printed.

use std::{error::Error as StdError, fmt, iter};

/// Why a service ended.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct Error {
    attempt: String,
    #[source]
    cause: Box<dyn StdError + Send + Sync>,
}

impl Error {
    /// `attempt` says what was tried, as in `connecting to NATS`.
    pub fn new(
        attempt: impl Into<String>,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            attempt: attempt.into(),
            cause: cause.into(),
        }
    }
}

/// Prints an error and its causes on one line.
///
/// A cause that the line already ends with is left out: some libraries print theirs themselves.
pub struct Chain<'a>(pub &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        for cause in iter::successors(self.0.source(), |&e| e.source()) {
            let text = cause.to_string();
            if !line.ends_with(&text) {
                line = format!("{line}: {text}");
            }
        }
        f.write_str(&line)
    }
}
