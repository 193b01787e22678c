//! Where backups go: `[<dc>:]<provider>:<bucket>[/<prefix>]`.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A bucket, and the datacenter it serves.
///
/// Written `[<dc>:]<provider>:<bucket>[/<prefix>]`, as in `s3:backups`, `dc1:gcs:backups-eu` or
/// `s3:company/scylla/prod`. A location without a datacenter serves every datacenter that has none of
/// its own. ScyllaDB Manager knows no prefixes.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String", extend("examples" = ["s3:backups", "dc1:gcs:backups-eu", "s3:company/scylla"]))]
pub struct Location {
    /// The datacenter served; `None` for all that have no location of their own.
    pub dc: Option<String>,
    /// The kind of store.
    pub provider: Provider,
    /// The bucket (S3, GCS), container (Azure) or directory name (`localstorage`).
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; empty for a bucket of its own.
    pub prefix: String,
}

/// A kind of object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// Amazon S3 and everything that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// A directory below the configured root, local or mounted.
    Local,
}

impl Provider {
    /// Every provider, in the order help texts list them.
    pub const ALL: [Self; 4] = [Self::S3, Self::Gcs, Self::Azure, Self::Local];

    /// The name used in locations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gcs",
            Self::Azure => "azure",
            Self::Local => "localstorage",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no location.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLocation {
    /// Not two or three parts.
    #[error(
        "location `{0}` is not of the form [<dc>:]<provider>:<bucket>[/<prefix>], as in s3:backups or dc1:s3:backups"
    )]
    Shape(String),
    /// The provider is unknown.
    #[error(
        "location `{location}` names the provider `{provider}`; known are s3, gcs, azure and localstorage"
    )]
    Provider {
        /// The whole text.
        location: String,
        /// What stands where the provider should.
        provider: String,
    },
    /// The bucket's name has characters no bucket has.
    #[error(
        "location `{0}` has no valid bucket name: lower-case letters, digits, `-` and `.` are allowed"
    )]
    Bucket(String),
    /// The prefix has characters that not every store takes, or empty segments.
    #[error(
        "location `{0}` has no valid prefix: letters, digits, `-`, `_`, `.` and `=` are allowed, and `/` between them"
    )]
    Prefix(String),
    /// The datacenter's name has characters no datacenter has.
    #[error(
        "location `{0}` has no valid datacenter name: letters, digits, `-`, `_` and `.` are allowed"
    )]
    Dc(String),
}

impl FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        let (dc, provider, bucket) = match parts[..] {
            [provider, bucket] => (None, provider, bucket),
            [dc, provider, bucket] => (Some(dc), provider, bucket),
            _ => return Err(InvalidLocation::Shape(text.to_owned())),
        };
        let provider = Provider::ALL
            .into_iter()
            .find(|p| p.as_str() == provider)
            .ok_or_else(|| InvalidLocation::Provider {
                location: text.to_owned(),
                provider: provider.to_owned(),
            })?;
        let (bucket, prefix) = match bucket.split_once('/') {
            Some((bucket, prefix)) => (bucket, Some(prefix)),
            None => (bucket, None),
        };
        let in_bucket =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if bucket.is_empty() || bucket.starts_with('.') || !bucket.bytes().all(in_bucket) {
            return Err(InvalidLocation::Bucket(text.to_owned()));
        }
        if prefix.is_some_and(|prefix| !prefix.split('/').all(is_segment)) {
            return Err(InvalidLocation::Prefix(text.to_owned()));
        }
        let in_dc = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if dc.is_some_and(|dc| dc.is_empty() || !dc.bytes().all(in_dc)) {
            return Err(InvalidLocation::Dc(text.to_owned()));
        }
        Ok(Self {
            dc: dc.map(str::to_owned),
            provider,
            bucket: bucket.to_owned(),
            prefix: prefix.unwrap_or_default().to_owned(),
        })
    }
}

/// Whether a text may stand between slashes of a prefix.
fn is_segment(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=');
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(allowed)
}

impl Location {
    /// The location that serves `dc`: its own, else the first that serves all.
    #[must_use]
    pub fn serving<'a>(locations: &'a [Self], dc: &str) -> Option<&'a Self> {
        let own = locations.iter().find(|l| l.dc.as_deref() == Some(dc));
        own.or_else(|| locations.iter().find(|l| l.dc.is_none()))
    }

    /// A key, or the beginning of one, as the bucket has it.
    #[must_use]
    pub fn key(&self, key: &str) -> String {
        match self.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    /// `<provider>:<bucket>[/<prefix>]`: the same store, whatever the datacenter.
    #[must_use]
    pub fn remote(&self) -> String {
        let Self {
            provider,
            bucket,
            prefix,
            ..
        } = self;
        match prefix.as_str() {
            "" => format!("{provider}:{bucket}"),
            prefix => format!("{provider}:{bucket}/{prefix}"),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.dc {
            Some(dc) => write!(f, "{dc}:{}", self.remote()),
            None => f.write_str(&self.remote()),
        }
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.to_string()
    }
}

impl TryFrom<String> for Location {
    type Error = InvalidLocation;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_prints_as_it_was_read() {
        for text in [
            "s3:backups",
            "dc1:s3:backups",
            "gcs:a.b-c",
            "my_dc.1:azure:x",
            "localstorage:thetis",
            "s3:company/scylla/prod",
            "dc1:azure:x/a=1_b.c",
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_location_says_what_is_wrong() {
        type E = InvalidLocation;
        let error = |text: &str| text.parse::<Location>().unwrap_err();
        assert!(matches!(error("backups"), E::Shape(_)));
        assert!(matches!(error("a:b:s3:x"), E::Shape(_)));
        assert!(matches!(error("ftp:x"), E::Provider { provider, .. } if provider == "ftp"));
        assert!(matches!(error("s3:"), E::Bucket(_)));
        assert!(matches!(error("s3:../x"), E::Bucket(_)));
        assert!(matches!(error("localstorage:.."), E::Bucket(_)));
        assert!(matches!(error("dc/1:s3:x"), E::Dc(_)));
        for text in [
            "s3:x/",
            "s3:x//a",
            "s3:x/a/",
            "s3:x/../a",
            "s3:x/.a",
            "s3:x/a b",
            "s3:/a",
        ] {
            assert!(matches!(error(text), E::Prefix(_) | E::Bucket(_)), "{text}");
        }
    }

    #[test]
    fn a_datacenters_own_location_comes_first() {
        let all: Vec<Location> = ["s3:all", "dc1:s3:one"].map(|l| l.parse().unwrap()).into();
        assert_eq!(Location::serving(&all, "dc1").unwrap().bucket, "one");
        assert_eq!(Location::serving(&all, "dc2").unwrap().bucket, "all");
        assert_eq!(Location::serving(&all[1..], "dc2"), None);
    }
}
