//! Identities: of clusters, nodes, tasks, runs and snapshots.
//!
//! Each prints and travels as the text an operator sees, in every encoding, and is safe as a token
//! of a NATS subject and as a segment of an object's key.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(into = "String", try_from = "String")]
        #[schemars(with = "Uuid")]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identity. Identities made later sort later.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = uuid::Error;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
    };
}

uuid_id!(
    /// A ScyllaDB cluster, as registered with Thetis.
    ClusterId
);
uuid_id!(
    /// A node, by the host id that ScyllaDB gave it. Never by name or address, which change.
    NodeId
);
uuid_id!(
    /// What a user asked for, once or on a schedule.
    TaskId
);
uuid_id!(
    /// One execution of a task.
    RunId
);

/// The name of a snapshot and of the backup made from it: `sm_YYYYMMDDhhmmssUTC`.
///
/// Tags sort as the times they hold. The form is ScyllaDB Manager's, so that both read each
/// other's backups.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String", extend("pattern" = "^sm_[0-9]{14}UTC$"))]
pub struct SnapshotTag(String);

impl SnapshotTag {
    /// The tag's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SnapshotTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SnapshotTag {
    type Err = InvalidTag;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .strip_prefix("sm_")
            .and_then(|rest| rest.strip_suffix("UTC"));
        match digits {
            Some(digits) if digits.len() == 14 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidTag(text.to_owned())),
        }
    }
}

impl From<SnapshotTag> for String {
    fn from(tag: SnapshotTag) -> Self {
        tag.0
    }
}

impl TryFrom<String> for SnapshotTag {
    type Error = InvalidTag;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A text that is no snapshot tag.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a snapshot tag; a tag looks like sm_20260131235959UTC")]
pub struct InvalidTag(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_exactly_one_form() {
        assert_eq!(
            "sm_20260131235959UTC"
                .parse::<SnapshotTag>()
                .unwrap()
                .as_str(),
            "sm_20260131235959UTC"
        );
        for wrong in [
            "",
            "sm_2026UTC",
            "sm_20260131235959",
            "sm_2026013123595xUTC",
            "20260131235959UTC",
        ] {
            assert_eq!(
                wrong.parse::<SnapshotTag>(),
                Err(InvalidTag(wrong.to_owned()))
            );
        }
    }

    #[test]
    fn identities_travel_as_text() {
        let id: NodeId = "6F1E0000-0000-4000-8000-000000000001".parse().unwrap();
        assert_eq!(
            serde_json::to_string(&id).unwrap(),
            "\"6f1e0000-0000-4000-8000-000000000001\""
        );
        let packed = rmp_serde::to_vec_named(&id).unwrap();
        assert_eq!(rmp_serde::from_slice::<NodeId>(&packed).unwrap(), id);
    }
}
