//! Why a request is refused, in the server's words and with the protocol's codes.

use std::io::{self, Cursor};

use cassandra_protocol::consistency::Consistency;
use cassandra_protocol::frame::message_error::{
    AlreadyExistsError, ErrorBody, ErrorType, UnavailableError, UnpreparedError,
};
use cassandra_protocol::types::CBytesShort;

use super::wire::VERSION;
use crate::error::Error;

/// The answer to a request that is not done.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fail {
    kind: ErrorType,
    message: String,
}

impl Fail {
    fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    /// The node itself is at fault.
    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Server, message)
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Protocol, message)
    }

    pub(crate) fn syntax(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Syntax, message)
    }

    /// Well-formed, but it makes no sense.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, message)
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Config, message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Unauthorized, message)
    }

    pub(crate) fn credentials(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Authentication, message)
    }

    pub(crate) fn keyspace_exists(keyspace: &str) -> Self {
        let message = format!("Cannot add existing keyspace \"{keyspace}\"");
        Self::exists(keyspace, "", message)
    }

    pub(crate) fn table_exists(keyspace: &str, table: &str) -> Self {
        let message =
            format!("Cannot add already existing table \"{table}\" to keyspace \"{keyspace}\"");
        Self::exists(keyspace, table, message)
    }

    fn exists(keyspace: &str, table: &str, message: String) -> Self {
        let (ks, table) = (keyspace.to_owned(), table.to_owned());
        Self::new(
            ErrorType::AlreadyExists(AlreadyExistsError { ks, table }),
            message,
        )
    }

    pub(crate) fn no_keyspace(keyspace: &str) -> Self {
        Self::invalid(format!("Keyspace '{keyspace}' does not exist"))
    }

    pub(crate) fn no_table(table: &str) -> Self {
        Self::invalid(format!("unconfigured table {table}"))
    }

    /// Fewer replicas are alive than the consistency level needs.
    pub(crate) fn unavailable(cl: Consistency, required: usize, alive: usize) -> Self {
        let count = |n: usize| i32::try_from(n).expect("few replicas");
        let message = format!(
            "Cannot achieve consistency level for cl {cl}. Requires {required}, alive {alive}"
        );
        let (required, alive) = (count(required), count(alive));
        Self::new(
            ErrorType::Unavailable(UnavailableError {
                cl,
                required,
                alive,
            }),
            message,
        )
    }

    pub(crate) fn unprepared(id: &[u8]) -> Self {
        let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let error = UnpreparedError {
            id: CBytesShort::new(id.to_vec()),
        };
        let message = format!("No prepared statement with ID {digits} found.");
        Self::new(ErrorType::Unprepared(error), message)
    }

    /// An error by its code; numbers that belong to it are those of one replica that did not answer.
    pub(crate) fn by_code(code: u16, message: &str) -> Self {
        const SIMPLE: &[u8] = b"\x00\x06SIMPLE";
        // Consistency level ONE; no answers of the one that is needed.
        let mut details = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        match code {
            0x1000 => details = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0],
            0x1100 => details.extend(SIMPLE),
            _ => details.push(0),
        }
        let mut cursor = Cursor::new(details.as_slice());
        let kind = ErrorType::from_cursor_with_code(&mut cursor, code.into(), VERSION);
        Self::new(kind.unwrap_or(ErrorType::Server), message)
    }

    pub(crate) fn body(self) -> ErrorBody {
        ErrorBody {
            message: self.message,
            ty: self.kind,
        }
    }
}

impl From<Error> for Fail {
    fn from(e: Error) -> Self {
        match e {
            Error::Settings(message) => Self::invalid(message),
            Error::Listen { .. } | Error::File { .. } => Self::server(e.to_string()),
        }
    }
}

impl From<io::Error> for Fail {
    fn from(e: io::Error) -> Self {
        Self::server(e.to_string())
    }
}
