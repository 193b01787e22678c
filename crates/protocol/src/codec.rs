//! Messages to bytes and back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Answer, Audit, Command, Event, Job, Notice};

/// The version this build writes. Additions that older builds may skip do not change it.
pub(crate) const VERSION: &str = "1";

/// How a message is written. Named in its `Content-Type` header; MessagePack when there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// MessagePack with named fields: what services send each other.
    #[default]
    MessagePack,
    /// JSON: for people and scripts.
    Json,
}

impl Encoding {
    /// The value of the `Content-Type` header.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::MessagePack => "application/msgpack",
            Self::Json => "application/json",
        }
    }

    /// The encoding a `Content-Type` header names.
    ///
    /// # Errors
    /// [`DecodeError::ContentType`] if it is neither of the two.
    pub fn from_content_type(header: Option<&str>) -> Result<Self, DecodeError> {
        match header {
            None | Some("application/msgpack" | "application/x-msgpack") => Ok(Self::MessagePack),
            Some("application/json") => Ok(Self::Json),
            Some(other) => Err(DecodeError::ContentType(other.to_owned())),
        }
    }
}

/// Why bytes are no message this build can read. Reading them again will not help.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The header names an encoding this build does not know.
    #[error("content type `{0}` is not known; use application/msgpack or application/json")]
    ContentType(String),
    /// Not a map with a version and a kind.
    #[error("not a message: {0}")]
    Shape(String),
    /// Written by a build that is newer, or by no build of ours.
    #[error("message version `{found}` is not known; this build reads version {VERSION}")]
    Version {
        /// The version found.
        found: String,
    },
    /// Version and kind are there, but the fields do not fit.
    #[error("`{kind}` message does not fit its schema: {cause}")]
    Fields {
        /// The message's kind.
        kind: String,
        /// What the decoder says.
        cause: String,
    },
}

/// What can be sent: a job, an event, a command and its answer, a note on who changed what, a
/// notice of how a run ended.
pub trait Message: Serialize + DeserializeOwned + JsonSchema {
    /// The message as bytes, in the newest version.
    ///
    /// # Panics
    /// Never: messages hold only maps, lists, text and integers.
    #[must_use]
    fn encode(&self, encoding: Encoding) -> Vec<u8> {
        let wire = Envelope {
            version: VERSION,
            body: self,
        };
        match encoding {
            Encoding::MessagePack => {
                rmp_serde::to_vec_named(&wire).expect("messages are plain data")
            }
            Encoding::Json => serde_json::to_vec(&wire).expect("messages are plain data"),
        }
    }

    /// Reads a message of any version this build knows.
    ///
    /// # Errors
    /// [`DecodeError`], which says what is wrong in words fit for the sender.
    fn decode(bytes: &[u8], encoding: Encoding) -> Result<Self, DecodeError> {
        let head: Head = read(bytes, encoding).map_err(DecodeError::Shape)?;
        if head.version != VERSION {
            return Err(DecodeError::Version {
                found: head.version,
            });
        }
        read(bytes, encoding).map_err(|cause| DecodeError::Fields {
            kind: head.kind,
            cause,
        })
    }
}

impl Message for Job {}
impl Message for Event {}
impl Message for Command {}
impl Message for Answer {}
impl Message for Audit {}
impl Message for Notice {}

/// What every message has.
#[derive(Deserialize)]
struct Head {
    version: String,
    kind: String,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    version: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

fn read<T: DeserializeOwned>(bytes: &[u8], encoding: Encoding) -> Result<T, String> {
    match encoding {
        Encoding::MessagePack => rmp_serde::from_slice(bytes).map_err(|e| e.to_string()),
        Encoding::Json => serde_json::from_slice(bytes).map_err(|e| e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<Job, DecodeError> {
        Job::decode(text.as_bytes(), Encoding::Json)
    }

    #[test]
    fn what_is_no_message_is_named() {
        assert!(matches!(json("[]"), Err(DecodeError::Shape(_))));
        assert!(matches!(json("{}"), Err(DecodeError::Shape(_))));
        assert!(
            matches!(json(r#"{"version":"2","kind":"upload"}"#), Err(DecodeError::Version { found }) if found == "2")
        );
        assert!(matches!(
            json(r#"{"version":"1","kind":"cook"}"#),
            Err(DecodeError::Fields { .. })
        ));
        let error = json(r#"{"version":"1","kind":"drop_snapshot","tag":"x"}"#)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("`drop_snapshot` message does not fit its schema"),
            "{error}"
        );
        assert!(Job::decode(&[0xc1, 0xff], Encoding::MessagePack).is_err());
    }

    #[test]
    fn unknown_fields_are_skipped() {
        for job in crate::schema::jobs() {
            let mut value: serde_json::Value =
                serde_json::from_slice(&job.encode(Encoding::Json)).unwrap();
            value["since_version_7"] = serde_json::json!({"deep": [1, 2]});
            assert_eq!(json(&value.to_string()).unwrap(), job);
        }
    }
}
