//! What can go wrong with the queue, and what JetStream's answers mean.

use std::{error, fmt, iter};

use async_nats::jetstream::{
    self, ErrorCode,
    context::{PublishError, PublishErrorKind},
};
use protocol::DecodeError;

/// The cause of an error, of whatever type.
pub type BoxError = Box<dyn error::Error + Send + Sync>;

/// Why the queue did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong, or a file it names cannot be read.
    #[error("queue settings: {0}")]
    Settings(String),
    /// No server answers at any of the addresses.
    #[error("cannot reach a NATS server at {address}")]
    Unreachable {
        /// The addresses, without secrets.
        address: String,
        /// What the last attempt met.
        #[source]
        cause: BoxError,
    },
    /// The server does not let us in.
    #[error(
        "the NATS server at {address} refuses the login (authorization violation): check user and password, token, nkey or creds"
    )]
    Denied {
        /// The addresses, without secrets.
        address: String,
    },
    /// The server is older than what we can talk to.
    #[error("the NATS server at {address} is version {found}; Thetis needs 2.10 or newer")]
    TooOld {
        /// The addresses, without secrets.
        address: String,
        /// The server's version.
        found: String,
    },
    /// The server, or this account, has no JetStream.
    #[error(
        "JetStream is not enabled on the NATS server at {address} ({detail}): start it with `-js`, or enable JetStream for this account"
    )]
    NoJetStream {
        /// The addresses, without secrets.
        address: String,
        /// The server's own words.
        detail: String,
    },
    /// A stream or bucket of that name serves something else.
    #[error("stream {stream} exists but is not Thetis': {detail}")]
    Foreign {
        /// The stream.
        stream: String,
        /// What differs.
        detail: String,
    },
    /// There is no room for more.
    #[error("{what} has no room left: {detail}")]
    Full {
        /// The stream.
        what: String,
        /// The server's own words.
        detail: String,
    },
    /// The message is larger than the server takes.
    #[error("{what} is too large for the NATS server: {detail}; raise its max_payload")]
    TooLarge {
        /// What was sent.
        what: String,
        /// Sizes.
        detail: String,
    },
    /// A key that no bucket can hold.
    #[error(
        "`{0}` is not a key: only letters, digits, `-`, `_`, `=`, `/` and inner `.` may be used"
    )]
    Key(String),
    /// What lies under a key is not what it should be.
    #[error("what lies in bucket {bucket} under `{key}` cannot be read: {cause}")]
    Value {
        /// The bucket.
        bucket: &'static str,
        /// The key.
        key: String,
        /// What the decoder says.
        cause: String,
    },
    /// The server could not do it now.
    #[error("NATS could not {what}")]
    Unavailable {
        /// What was attempted.
        what: String,
        /// What it met.
        #[source]
        cause: BoxError,
    },
}

impl Error {
    /// Whether the same may go better later, without anyone changing anything.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Full { .. } | Self::Unavailable { .. } => true,
            Self::Settings(_)
            | Self::Denied { .. }
            | Self::TooOld { .. }
            | Self::NoJetStream { .. }
            | Self::Foreign { .. }
            | Self::TooLarge { .. }
            | Self::Key(_)
            | Self::Value { .. } => false,
        }
    }

    pub(crate) fn unavailable(what: impl Into<String>, cause: impl Into<BoxError>) -> Self {
        Self::Unavailable {
            what: what.into(),
            cause: cause.into(),
        }
    }
}

/// Why a message from outside is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the message came on subject {found} but belongs on {expected}")]
    Subject { found: String, expected: String },
}

/// Prints an error with its causes on one line, leaving out what the line ends with already.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        for cause in iter::successors(self.0.source(), |e| e.source()) {
            let text = cause.to_string();
            if !line.ends_with(&text) {
                line = format!("{line}: {text}");
            }
        }
        f.write_str(&line)
    }
}

/// What the server makes of something published to a stream.
pub(crate) enum Refusal {
    /// The subject has a message already, and the stream takes one a subject.
    Occupied,
    /// The revision given is not the last one.
    Conflict,
    /// No stream takes the subject: it was never made, or it is gone.
    NoStream,
    /// No room.
    Full(String),
    /// Larger than the server takes.
    TooLarge(String),
    /// Anything else; it may go better later.
    Other(BoxError),
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match error.kind() {
            PublishErrorKind::StreamNotFound => Self::NoStream,
            PublishErrorKind::WrongLastSequence => Self::Conflict,
            PublishErrorKind::MaxPayloadExceeded => Self::TooLarge(Chain(&error).to_string()),
            PublishErrorKind::Other => match api_error(&error) {
                Some(api) => Self::from_api(api),
                None => Self::Other(error.into()),
            },
            PublishErrorKind::WrongLastMessageId
            | PublishErrorKind::TimedOut
            | PublishErrorKind::BrokenPipe
            | PublishErrorKind::MaxAckPending => Self::Other(error.into()),
        }
    }
}

impl Refusal {
    fn from_api(error: jetstream::Error) -> Self {
        let text = error.to_string();
        match error.error_code() {
            ErrorCode::STREAM_STORE_FAILED if text.contains("maximum messages per subject") => {
                Self::Occupied
            }
            ErrorCode::STREAM_STORE_FAILED if text.contains("maximum") => Self::Full(text),
            ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED
            | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => Self::Full(text),
            ErrorCode::STREAM_NOT_FOUND => Self::NoStream,
            _ => Self::Other(error.into()),
        }
    }

    /// The error to report when nothing else can be done about it.
    pub(crate) fn into_error(self, what: &str, stream: &str) -> Error {
        let unavailable = |cause: BoxError| Error::unavailable(format!("store {what}"), cause);
        match self {
            Self::Occupied => unavailable("its subject is occupied".into()),
            Self::Conflict => unavailable("another revision is stored".into()),
            Self::NoStream => unavailable(format!("stream {stream} is missing").into()),
            Self::Full(detail) => Error::Full {
                what: format!("stream {stream}"),
                detail,
            },
            Self::TooLarge(detail) => Error::TooLarge {
                what: what.to_owned(),
                detail,
            },
            Self::Other(cause) => unavailable(cause),
        }
    }
}

/// The JetStream error at the bottom of `error`, if that is what it rests on.
pub(crate) fn api_error(error: &(dyn error::Error + 'static)) -> Option<jetstream::Error> {
    iter::successors(Some(error), |e| e.source())
        .find_map(|e| e.downcast_ref::<jetstream::Error>())
        .cloned()
}
