//! What a server of CQL refuses, and why.

use std::time::Duration;

use driver::{
    client::pager::{NextPageError, NextRowError},
    errors::{
        ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError,
        ExecutionError, MetadataError, NewSessionError, PagerExecutionError, PrepareError,
        RequestAttemptError, RequestError, SchemaAgreementError,
    },
};

/// Why a server of CQL did not do as asked. Texts hold no secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CqlError {
    /// Nobody answers, or not in CQL.
    #[error(
        "cannot speak CQL with {address}: {cause}; is that the address and port of CQL \
         (rpc_address, native_transport_port), and TLS set as the node has it?"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the driver says.
        cause: String,
    },
    /// The server wants a user, or another one.
    #[error("{}", credentials(address, user.as_deref(), message))]
    Credentials {
        /// Host and port.
        address: String,
        /// The user it was tried with, if there was one.
        user: Option<String>,
        /// The server's words.
        message: String,
    },
    /// Certificates or keys are not usable.
    #[error("TLS for CQL cannot be set up: {0}")]
    Tls(String),
    /// Connected, and no answer in time. Whether it was done is not known.
    #[error("no answer in time to {attempt}: {cause}")]
    Timeout {
        /// What was asked.
        attempt: String,
        /// What timed out.
        cause: String,
    },
    /// The server, or replicas that are needed, cannot do it now.
    #[error("the cluster cannot {attempt} now: {message}")]
    Busy {
        /// What was asked.
        attempt: String,
        /// The server's words.
        message: String,
    },
    /// The user may not do that.
    #[error("the user has no right to {attempt}: {message}; grant it, or use a superuser")]
    Rights {
        /// What was asked.
        attempt: String,
        /// The server's words.
        message: String,
    },
    /// What should be made is there.
    #[error("cannot {attempt}: {message}")]
    Exists {
        /// What was asked.
        attempt: String,
        /// The server's words.
        message: String,
    },
    /// The server does not know such words: an older version, mostly.
    #[error("the server does not understand how to {attempt}; it may be too old: {message}")]
    NotUnderstood {
        /// What was asked.
        attempt: String,
        /// The server's words.
        message: String,
    },
    /// The server said no, in other words.
    #[error("the server cannot {attempt}: {message}")]
    Refused {
        /// What was asked.
        attempt: String,
        /// The server's words.
        message: String,
    },
    /// Nodes go on having different schemas.
    #[error("nodes have different schemas still, {within:?} after a change: is one of them stuck?")]
    Disagreement {
        /// How long was waited.
        within: Duration,
    },
    /// The answer is not what the question asks for.
    #[error("the server's answer to {attempt} is not understood: {cause}")]
    Answer {
        /// What was asked.
        attempt: String,
        /// What the decoder says.
        cause: String,
    },
}

fn credentials(address: &str, user: Option<&str>, message: &str) -> String {
    match user {
        Some(user) => format!(
            "{address} does not let user `{user}` in with the secret that is set: {message}"
        ),
        None => format!(
            "{address} wants a user and a secret for CQL: set `cql.username` and `cql.password` of the workers beside it"
        ),
    }
}

impl CqlError {
    /// Whether the same may go well later, with nobody changing anything.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Busy { .. }
            | Self::Disagreement { .. } => true,
            Self::Credentials { .. }
            | Self::Tls(_)
            | Self::Rights { .. }
            | Self::Exists { .. }
            | Self::NotUnderstood { .. }
            | Self::Refused { .. }
            | Self::Answer { .. } => false,
        }
    }

    /// The same without the server's words, which may repeat a statement's secret.
    pub(super) fn without_words(mut self) -> Self {
        match &mut self {
            Self::Busy { message, .. }
            | Self::Exists { message, .. }
            | Self::Rights { message, .. }
            | Self::NotUnderstood { message, .. }
            | Self::Refused { message, .. }
            | Self::Timeout { cause: message, .. }
            | Self::Answer { cause: message, .. } => {
                "its words are not shown, for they may hold a secret".clone_into(message);
            }
            Self::Unreachable { .. }
            | Self::Credentials { .. }
            | Self::Tls(_)
            | Self::Disagreement { .. } => {}
        }
        self
    }

    pub(super) fn answer(attempt: &str, cause: &impl ToString) -> Self {
        Self::Answer {
            attempt: attempt.to_owned(),
            cause: cause.to_string(),
        }
    }

    pub(super) fn from_connect(address: &str, user: Option<&str>, error: &NewSessionError) -> Self {
        let cause = connection(error).map(setup);
        match cause {
            Some(Setup::Credentials(message)) => Self::Credentials {
                address: address.to_owned(),
                user: user.map(str::to_owned),
                message,
            },
            Some(Setup::Other(cause)) => Self::Unreachable {
                address: address.to_owned(),
                cause,
            },
            None => Self::Unreachable {
                address: address.to_owned(),
                cause: error.to_string(),
            },
        }
    }

    pub(super) fn from_execution(attempt: &str, error: &ExecutionError) -> Self {
        if let ExecutionError::LastAttemptError(error) = error {
            return Self::from_attempt(attempt, error);
        }
        if let ExecutionError::PrepareError(error) = error {
            return Self::from_prepare(attempt, error);
        }
        if let ExecutionError::SchemaAgreementError(error) = error {
            return Self::from_agreement(error);
        }
        let transient = matches!(
            error,
            ExecutionError::RequestTimeout(_) | ExecutionError::ConnectionPoolError(_)
        );
        Self::transient_or_not(transient, attempt, error)
    }

    pub(super) fn from_pages(attempt: &str, error: &PagerExecutionError) -> Self {
        if let PagerExecutionError::NextPageError(error) = error {
            return Self::from_page(attempt, error);
        }
        if let PagerExecutionError::PrepareError(error) = error {
            return Self::from_prepare(attempt, error);
        }
        Self::answer(attempt, error)
    }

    pub(super) fn from_row(attempt: &str, error: &NextRowError) -> Self {
        if let NextRowError::NextPageError(error) = error {
            return Self::from_page(attempt, error);
        }
        Self::answer(attempt, error)
    }

    pub(super) fn from_agreement(error: &SchemaAgreementError) -> Self {
        let attempt = "tell its schema's version";
        if let SchemaAgreementError::Timeout(within) = error {
            return Self::Disagreement { within: *within };
        }
        if let SchemaAgreementError::RequestError(error) = error {
            return Self::from_attempt(attempt, error);
        }
        let transient = matches!(error, SchemaAgreementError::ConnectionPoolError(_));
        Self::transient_or_not(transient, attempt, error)
    }

    fn from_prepare(attempt: &str, error: &PrepareError) -> Self {
        if let PrepareError::AllAttemptsFailed { first_attempt } = error {
            return Self::from_attempt(attempt, first_attempt);
        }
        let transient = matches!(error, PrepareError::ConnectionPoolError(_));
        Self::transient_or_not(transient, attempt, error)
    }

    fn from_page(attempt: &str, error: &NextPageError) -> Self {
        let NextPageError::RequestFailure(error) = error else {
            return Self::answer(attempt, error);
        };
        if let RequestError::LastAttemptError(error) = error {
            return Self::from_attempt(attempt, error);
        }
        let transient = matches!(
            error,
            RequestError::RequestTimeout(_) | RequestError::ConnectionPoolError(_)
        );
        Self::transient_or_not(transient, attempt, error)
    }

    fn from_attempt(attempt: &str, error: &RequestAttemptError) -> Self {
        if let RequestAttemptError::DbError(kind, message) = error {
            return Self::from_server(attempt, kind, message);
        }
        let transient = matches!(
            error,
            RequestAttemptError::BrokenConnectionError(_)
                | RequestAttemptError::UnableToAllocStreamId
        );
        Self::transient_or_not(transient, attempt, error)
    }

    fn transient_or_not(transient: bool, attempt: &str, error: &impl ToString) -> Self {
        if transient {
            return Self::Timeout {
                attempt: attempt.to_owned(),
                cause: error.to_string(),
            };
        }
        Self::answer(attempt, error)
    }

    /// What the server's error means. ScyllaDB answers as a server's error what concurrent changes
    /// of the schema collide on.
    fn from_server(attempt: &str, kind: &DbError, message: &str) -> Self {
        let (attempt, message) = (attempt.to_owned(), message.to_owned());
        // A keyspace and a table have a kind of their own, a type and an index only words.
        let exists = matches!(kind, DbError::AlreadyExists { .. });
        if exists || message.contains("already exists") {
            return Self::Exists { attempt, message };
        }
        let told = format!("{kind}: {message}");
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the driver's list is open, and what is not told apart is refused"
        )]
        match kind {
            DbError::ReadTimeout { .. } | DbError::WriteTimeout { .. } => Self::Timeout {
                attempt,
                cause: told,
            },
            DbError::Unavailable { .. }
            | DbError::Overloaded
            | DbError::IsBootstrapping
            | DbError::ReadFailure { .. }
            | DbError::WriteFailure { .. }
            | DbError::TruncateError
            | DbError::RateLimitReached { .. }
            | DbError::ServerError => Self::Busy {
                attempt,
                message: told,
            },
            DbError::Unauthorized | DbError::AuthenticationError => {
                Self::Rights { attempt, message }
            }
            DbError::SyntaxError => Self::NotUnderstood { attempt, message },
            _ => Self::Refused { attempt, message },
        }
    }
}

/// Why a connection was not set up.
enum Setup {
    Credentials(String),
    Other(String),
}

/// The connection that failed, if that is what an error is about.
fn connection(error: &NewSessionError) -> Option<&ConnectionError> {
    let NewSessionError::MetadataError(error) = error else {
        return None;
    };
    if let MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error,
    }) = error
    {
        return Some(last_connection_error);
    }
    None
}

fn setup(error: &ConnectionError) -> Setup {
    let ConnectionError::ConnectionSetupRequestError(request) = error else {
        return Setup::Other(error.to_string());
    };
    let kind = request.get_error();
    if let ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, message) = kind {
        return Setup::Credentials(message.clone());
    }
    if let ConnectionSetupRequestErrorKind::MissingAuthentication = kind {
        return Setup::Credentials(String::new());
    }
    Setup::Other(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(kind: DbError) -> CqlError {
        let error = RequestAttemptError::DbError(kind, "the words".to_owned());
        CqlError::from_execution("drop it", &ExecutionError::LastAttemptError(error))
    }

    #[test]
    fn what_a_server_says_decides_whether_to_try_again() {
        let unavailable = DbError::Unavailable {
            consistency: driver::statement::Consistency::All,
            required: 3,
            alive: 2,
        };
        for kind in [unavailable, DbError::ServerError, DbError::IsBootstrapping] {
            let error = meant(kind);
            assert!(matches!(error, CqlError::Busy { .. }) && error.retry());
            let text = error.to_string();
            assert!(
                text.contains("drop it") && text.contains("the words"),
                "{text}"
            );
        }
        let attempt = || "drop it".to_owned();
        let message = || "the words".to_owned();
        let (rights, syntax, invalid) = (
            CqlError::Rights {
                attempt: attempt(),
                message: message(),
            },
            CqlError::NotUnderstood {
                attempt: attempt(),
                message: message(),
            },
            CqlError::Refused {
                attempt: attempt(),
                message: message(),
            },
        );
        for (kind, error) in [
            (DbError::Unauthorized, rights),
            (DbError::SyntaxError, syntax),
            (DbError::Invalid, invalid.clone()),
            (DbError::ConfigError, invalid),
        ] {
            let found = meant(kind);
            assert!(!found.retry());
            assert_eq!(found, error);
            assert!(!found.without_words().to_string().contains("the words"));
        }
        let timeout = ExecutionError::RequestTimeout(Duration::from_secs(3));
        let timeout = CqlError::from_execution("drop it", &timeout);
        assert!(matches!(timeout, CqlError::Timeout { .. }) && timeout.retry());
    }

    #[test]
    fn what_exists_is_told() {
        let exists = meant(DbError::AlreadyExists {
            keyspace: "a".into(),
            table: "b".into(),
        });
        assert!(matches!(exists, CqlError::Exists { .. }) && !exists.retry());
        let words = "A user type of name a.b already exists".to_owned();
        let exists = RequestAttemptError::DbError(DbError::Invalid, words);
        let exists = CqlError::from_attempt("make it", &exists);
        assert!(matches!(exists, CqlError::Exists { .. }), "{exists}");
    }
}
