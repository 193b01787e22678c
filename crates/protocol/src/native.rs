//! Uploads that ScyllaDB does itself: whether a node can, and who brought a table to the bucket.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Method, Provider, TableRef};

/// What a node can upload by itself, as the uploader beside it sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NativeUpload {
    /// ScyllaDB's version; empty when it does not say.
    pub scylla_version: String,
    /// To `s3:` locations.
    pub s3: NativeStore,
    /// To `gcs:` locations.
    pub gcs: NativeStore,
    /// `backup_io_throughput_mb_per_sec` of the node, in MiB per second; 0 is no limit, absent when the
    /// node does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_throughput: Option<u32>,
    /// `stream_io_throughput_mb_per_sec`, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_throughput: Option<u32>,
}

/// Whether a node reaches a kind of store, as the uploader beside it is set to reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NativeStore {
    /// The name by which the node knows the store; absent if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Why there is none, and what to do; for a person.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl NativeUpload {
    /// The name by which the node knows a provider's store; or why it cannot upload there, and what to
    /// do, for a person.
    ///
    /// # Errors
    /// That reason.
    pub fn endpoint(&self, provider: Provider) -> Result<&str, String> {
        let store = match provider {
            Provider::S3 => &self.s3,
            Provider::Gcs => &self.gcs,
            Provider::Azure | Provider::Local => {
                return Err(format!(
                    "ScyllaDB itself reaches s3 and gcs, not {provider}"
                ));
            }
        };
        store
            .endpoint
            .as_deref()
            .ok_or_else(|| match &*store.reason {
                "" => "its worker does not say whether it can".to_owned(),
                reason => reason.to_owned(),
            })
    }
}

impl NativeUpload {
    /// As [`Self::endpoint`], where ScyllaDB's uploads to the provider are ready for production.
    ///
    /// # Errors
    /// Why the node does not count as one that can, for a person.
    pub fn ready(&self, provider: Provider) -> Result<&str, String> {
        let endpoint = self.endpoint(provider)?;
        let (year, number) = match provider {
            Provider::S3 => (2025, 2),
            Provider::Gcs | Provider::Azure | Provider::Local => (2026, 1),
        };
        match release(&self.scylla_version) {
            Some(release) if release >= (year, number) => Ok(endpoint),
            Some(_) => Err(format!(
                "ScyllaDB {} is older than {year}.{number}, the first whose transfers with {provider} are ready \
                 for production",
                self.scylla_version
            )),
            None => Err(format!(
                "`{}` is no version of ScyllaDB that is known",
                self.scylla_version
            )),
        }
    }
}

/// The first release whose cluster brings back tables by tablets.
const TABLETS: (u32, u32) = (2026, 3);

impl NativeUpload {
    /// Whether the node's cluster can bring back a table as a whole.
    ///
    /// # Errors
    /// Why not, for a person.
    pub fn tablets(&self) -> Result<(), String> {
        let (year, number) = TABLETS;
        match release(&self.scylla_version) {
            Some(release) if release >= TABLETS => Ok(()),
            Some(_) | None => Err(format!(
                "ScyllaDB {} is older than {year}.{number}, the first that can",
                self.scylla_version
            )),
        }
    }
}

/// Year and number of a release.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-', '~']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Who brought a table's files to the bucket, where that is not Thetis' own engine as a matter of
/// course. A table that both brought a part of is told twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableMethod {
    /// The table.
    #[serde(flatten)]
    pub table: TableRef,
    /// Who.
    pub method: Method,
    /// Why it was not the other one, for a person.
    pub reason: String,
}

impl Method {
    /// The name in properties.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Native => "native",
            Self::Rclone => "rclone",
            Self::Tablets => "tablets",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_ready_from_a_version_on() {
        let store = NativeStore {
            endpoint: Some("here".to_owned()),
            reason: String::new(),
        };
        for (version, provider, fine) in [
            ("2025.1.9-0.20250601.abc", Provider::S3, false),
            ("2025.2.0-0.20250601.abc", Provider::S3, true),
            ("2025.2.0~rc1-0.20250601.abc", Provider::S3, true),
            ("2025.4", Provider::Gcs, false),
            ("2026.1.0", Provider::Gcs, true),
            ("2026.4.0~dev-0.20260821.f4a4091ca28e", Provider::Gcs, true),
            ("6.2.1", Provider::S3, false),
            ("", Provider::S3, false),
            ("666.development-0.x", Provider::S3, false),
            ("2026.4.0", Provider::Azure, false),
            ("2026.4.0", Provider::Local, false),
        ] {
            let upload = NativeUpload {
                scylla_version: version.to_owned(),
                s3: store.clone(),
                gcs: store.clone(),
                ..NativeUpload::default()
            };
            let said = upload.ready(provider);
            assert_eq!(said.is_ok(), fine, "{version} {provider}: {said:?}");
        }
    }

    #[test]
    fn what_is_not_there_has_a_reason() {
        let silent = NativeUpload::default();
        assert!(
            silent
                .endpoint(Provider::S3)
                .unwrap_err()
                .contains("does not say")
        );
        let lacking = NativeUpload {
            gcs: NativeStore {
                endpoint: None,
                reason: "add this line".to_owned(),
            },
            ..NativeUpload::default()
        };
        assert_eq!(
            lacking.endpoint(Provider::Gcs).unwrap_err(),
            "add this line"
        );
        assert_eq!(lacking.ready(Provider::Gcs).unwrap_err(), "add this line");
    }
}
