//! Pins: backups to be kept until somebody says otherwise.

use protocol::{ClusterId, SnapshotTag};
use serde::{Deserialize, Serialize};

use crate::Document;

/// Says that a backup is to be kept, whatever its task's rules are.
///
/// That the object is there is enough: a pin that cannot be read holds all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The cluster.
    pub cluster: ClusterId,
    /// The backup.
    pub tag: SnapshotTag,
    /// Why, in a user's words; may be empty.
    #[serde(default)]
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    #[serde(default)]
    pub since_ms: u64,
}

impl Document for Pin {
    const WHAT: &'static str = "pin";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::{golden, id};

    #[test]
    fn a_pin_keeps_its_form() {
        let sample = Pin {
            cluster: id("c1"),
            tag: "sm_20260131235959UTC".parse().unwrap(),
            reason: "before the migration".into(),
            since_ms: 1_769_903_999_000,
        };
        golden("pin.v1.json", &sample);
    }
}
