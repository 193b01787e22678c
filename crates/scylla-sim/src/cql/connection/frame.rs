//! What is in frames, and what faults put in their place.

use std::collections::HashMap;
use std::convert::Infallible;

use cassandra_protocol::compression::Compression;
use cassandra_protocol::frame::Envelope;
use cassandra_protocol::frame::message_request::RequestBody;
use cassandra_protocol::frame::message_supported::BodyResSupported;
use cassandra_protocol::query::QueryValues;
use cassandra_protocol::types::value::Value;

use crate::cql::fail::Fail;
use crate::fault::Action;

/// The version that is spoken.
const VERSION: u8 = 4;

/// The stream and content of a frame.
pub(super) fn request_of(frame: &[u8]) -> Result<(i16, RequestBody), Fail> {
    let version = frame[0];
    if version != VERSION {
        return Err(Fail::protocol(format!(
            "Invalid or unsupported protocol version ({version}); the lowest supported version is {VERSION} and the greatest is {VERSION}"
        )));
    }
    let wrong = |e: &dyn std::error::Error| Fail::protocol(e.to_string());
    let envelope = Envelope::from_buffer(frame, Compression::None)
        .map_err(|e| wrong(&e))?
        .envelope;
    let body = envelope.request_body().map_err(|e| wrong(&e))?;
    Ok((envelope.stream_id, body))
}

/// What a fault does instead of, or after, the work; `None`: takes the connection away.
pub(super) async fn act(action: Action) -> Option<Result<Vec<u8>, Fail>> {
    match action {
        Action::Status { status, message } => Some(Err(Fail::by_code(status, &message))),
        Action::Reset => None,
        Action::Hang | Action::Delay { .. } => {
            let never: Infallible = std::future::pending().await;
            match never {}
        }
    }
}

pub(super) fn stream_of(frame: &[u8]) -> i16 {
    i16::from_be_bytes([frame[2], frame[3]])
}

/// The values of the `?`s, in order.
pub(super) fn bound(
    values: Option<QueryValues>,
    names: &[Option<String>],
) -> Result<Vec<Option<Vec<u8>>>, Fail> {
    let values = match values {
        None => Vec::new(),
        Some(QueryValues::SimpleValues(values)) => values,
        Some(QueryValues::NamedValues(mut named)) => {
            let take = |name: &Option<String>| named.remove(name.as_ref()?);
            let all: Option<Vec<Value>> = names.iter().map(take).collect();
            all.ok_or_else(|| Fail::invalid("Invalid amount of bind variables"))?
        }
    };
    let plain = |value| match value {
        Value::Some(bytes) => Ok(Some(bytes)),
        Value::Null => Ok(None),
        Value::NotSet => Err(Fail::invalid("unset values are not simulated")),
    };
    values.into_iter().map(plain).collect()
}

pub(super) fn supported() -> BodyResSupported {
    let none = Vec::new;
    let data: HashMap<String, Vec<String>> = HashMap::from([
        ("CQL_VERSION".to_owned(), vec!["3.3.1".to_owned()]),
        ("PROTOCOL_VERSIONS".to_owned(), vec!["4/v4".to_owned()]),
        ("COMPRESSION".to_owned(), none()),
    ]);
    BodyResSupported { data }
}
