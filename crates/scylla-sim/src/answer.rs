//! What a handler gives back: a body, or one of ScyllaDB's errors.

use std::fmt::Display;
use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::{Response, header};
use serde_json::Value;

/// A handler's result.
pub(crate) type Answer = Result<Reply, Fail>;

/// A 200.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// No body at all.
    Empty,
    /// A number, string, or object, sent with its length.
    Json(Value),
    /// A list, sent in chunks.
    List(Vec<Value>),
}

impl Reply {
    pub(crate) fn json(value: impl Into<Value>) -> Self {
        Self::Json(value.into())
    }
}

/// An error answer: `{"message": …, "code": …}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fail {
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl Fail {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// 400 with the text as it is.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// 500, as of an uncaught exception.
    pub(crate) fn thrown(kind: &str, what: impl Display) -> Self {
        Self::new(500, format!("{kind} ({what})"))
    }

    /// 500 of a `std::runtime_error`.
    pub(crate) fn runtime(what: impl Display) -> Self {
        Self::thrown("std::runtime_error", what)
    }

    /// The disk failed us; shaped like what ScyllaDB would throw.
    pub(crate) fn io(e: &io::Error) -> Self {
        match e.raw_os_error() {
            Some(code) => Self::thrown("std::system_error", format!("error system:{code}, {e}")),
            None => Self::runtime(e),
        }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "Not found")
    }

    pub(crate) fn keyspace(keyspace: &str) -> Self {
        Self::bad(format!("Can't find a keyspace {keyspace}"))
    }

    pub(crate) fn table(keyspace: &str, table: &str) -> Self {
        Self::bad(format!(
            "Can't find a column family {table} in keyspace {keyspace}"
        ))
    }
}

impl From<io::Error> for Fail {
    fn from(e: io::Error) -> Self {
        Self::io(&e)
    }
}

/// The HTTP response of an answer.
pub(crate) fn response(answer: Answer) -> Response<Body> {
    let (status, body) = match answer {
        Ok(Reply::Empty) => (200, Body::empty()),
        Ok(Reply::Json(value)) => (200, Body::from(value.to_string())),
        Ok(Reply::List(list)) => (200, chunked(&list)),
        Err(Fail { status, message }) => {
            let message = Value::from(message);
            (
                status,
                Body::from(format!("{{\"message\": {message}, \"code\": {status}}}")),
            )
        }
    };
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .expect("statuses and headers are valid")
}

/// A body without a length, in pieces of some 100 elements.
fn chunked(list: &[Value]) -> Body {
    let mut pieces: Vec<String> = vec!["[".into()];
    for (at, part) in list.chunks(100).enumerate() {
        let part: Vec<String> = part.iter().map(Value::to_string).collect();
        let comma = if at == 0 { "" } else { "," };
        pieces.push(format!("{comma}{}", part.join(",")));
    }
    pieces.push("]".into());
    Body::from_stream(stream::iter(
        pieces
            .into_iter()
            .map(|piece| Ok::<_, io::Error>(Bytes::from(piece))),
    ))
}
