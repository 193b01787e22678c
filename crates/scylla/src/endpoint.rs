//! Object stores that a node is configured with: which of them, if any, is the one meant.
//!
//! In `scylla.yaml` an endpoint has a name: the store's whole URL; or in older versions its host alone,
//! with `port` and `use_https` beside it. The node tells them as texts that hold JSON.

use std::{collections::BTreeMap, fmt::Write as _};

use protocol::{NativeStore, NativeUpload};
use reqwest::Url;
use serde::Deserialize;

use crate::{Error, Node};

/// Where Google's store is.
const GOOGLE: &str = "https://storage.googleapis.com";
/// The region that servers without regions go by.
const USUAL_REGION: &str = "us-east-1";

/// A store that a worker is set to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its base URL; of Amazon's in `region` if `None`.
    pub url: Option<String>,
    /// Its region, if one is set.
    pub region: Option<String>,
}

/// What a node says of an endpoint, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    #[serde(rename = "type")]
    kind: Option<String>,
    port: Option<u16>,
    use_https: Option<bool>,
}

/// Scheme, host and port: what two URLs of one server have in common.
type Server = (String, String, u16);

/// The endpoints of a node, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(BTreeMap<String, String>);

impl Endpoints {
    /// As a node tells them: an object of texts that hold JSON. What is none is left out.
    #[must_use]
    pub fn read(told: &serde_json::Value) -> Self {
        let pairs = told.as_object().into_iter().flatten();
        Self(
            pairs
                .map(|(name, value)| {
                    let text = value.as_str().map(str::to_owned);
                    (name.clone(), text.unwrap_or_else(|| value.to_string()))
                })
                .collect(),
        )
    }

    /// The endpoint of an S3 store.
    #[must_use]
    pub fn s3(&self, wanted: &Wanted) -> NativeStore {
        let url = match (&wanted.url, &wanted.region) {
            (Some(url), _) => url.clone(),
            (None, Some(region)) => amazon(region),
            (None, None) => {
                return NativeStore {
                    endpoint: None,
                    reason: "which of Amazon's endpoints is meant is not said: set `store.s3.region` of its \
                             workers"
                        .to_owned(),
                };
            }
        };
        let region = wanted.region.as_deref().unwrap_or(USUAL_REGION);
        self.find(&url, false, &format!("aws_region: {region}"))
    }

    /// The endpoint of Google's store, or of what stands for it.
    #[must_use]
    pub fn gcs(&self, url: Option<&str>) -> NativeStore {
        self.find(url.unwrap_or(GOOGLE), true, "type: gs")
    }

    fn find(&self, url: &str, google: bool, more: &str) -> NativeStore {
        let Some(wanted) = server(url) else {
            return NativeStore {
                endpoint: None,
                reason: format!("`{url}`, which its workers are set to, is no URL of a server"),
            };
        };
        let found = self.0.iter().find(|(name, settings)| {
            let Ok(endpoint) = serde_json::from_str::<Endpoint>(settings) else {
                return false;
            };
            endpoint.serves(google) && endpoint.server(name, google).as_ref() == Some(&wanted)
        });
        match found {
            Some((name, _)) => NativeStore {
                endpoint: Some(name.clone()),
                reason: String::new(),
            },
            None => NativeStore {
                endpoint: None,
                reason: self.lacking(&wanted, google, more),
            },
        }
    }

    /// What to write into `scylla.yaml`.
    fn lacking(&self, (scheme, host, port): &Server, google: bool, more: &str) -> String {
        let usual = matches!((&**scheme, port), ("https", 443) | ("http", 80));
        let name = match (google && format!("{scheme}://{host}") == GOOGLE, usual) {
            (true, _) => "default".to_owned(),
            (false, true) => format!("{scheme}://{host}"),
            (false, false) => format!("{scheme}://{host}:{port}"),
        };
        let mut text = format!(
            "its scylla.yaml names no such endpoint; add `object_storage_endpoints: [{{name: {name}, {more}}}]`"
        );
        if !google {
            let _ = write!(
                text,
                ", or in older versions `[{{name: {host}, port: {port}, use_https: {}, {more}}}]`",
                scheme == "https"
            );
        }
        let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
        if !known.is_empty() {
            let _ = write!(text, " (it names {})", known.join(", "));
        }
        text
    }
}

impl Endpoint {
    fn serves(&self, google: bool) -> bool {
        match self.kind.as_deref() {
            Some("gs") => google,
            None | Some("s3") => !google,
            Some(_) => false,
        }
    }

    /// Where it leads to.
    fn server(&self, name: &str, google: bool) -> Option<Server> {
        if google && matches!(name, "" | "default") {
            return server(GOOGLE);
        }
        if name.contains("://") {
            return server(name);
        }
        let https = self.use_https.unwrap_or(true);
        let scheme = if https { "https" } else { "http" };
        let port = self.port.map(|port| format!(":{port}"));
        server(&format!("{scheme}://{name}{}", port.unwrap_or_default()))
    }
}

fn amazon(region: &str) -> String {
    let cn = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://s3.{region}.amazonaws.com{cn}")
}

/// The server that a URL without a path leads to.
fn server(url: &str) -> Option<Server> {
    let url = Url::parse(url).ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && matches!(url.path(), "" | "/");
    let host = url.host_str().filter(|_| plain)?.to_ascii_lowercase();
    Some((url.scheme().to_owned(), host, url.port_or_known_default()?))
}

impl Node {
    /// The object stores the node is configured with; none if it is too old to know any.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn object_storage_endpoints(&self) -> Result<Endpoints, Error> {
        match self.setting("object_storage_endpoints").await {
            Ok(told) => Ok(Endpoints::read(&told)),
            // Such an entry is not known.
            Err(Error::Refused { status: 400, .. }) => Ok(Endpoints::default()),
            Err(error) => Err(error),
        }
    }

    /// What the node can upload by itself to the stores that are meant.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn native_upload(
        &self,
        s3: &Wanted,
        gcs: Option<&str>,
    ) -> Result<NativeUpload, Error> {
        let endpoints = self.object_storage_endpoints().await?;
        Ok(NativeUpload {
            scylla_version: self.version().await?,
            s3: endpoints.s3(s3),
            gcs: endpoints.gcs(gcs),
            backup_throughput: self.throughput("backup_io_throughput_mb_per_sec").await?,
            stream_throughput: self.throughput("stream_io_throughput_mb_per_sec").await?,
        })
    }

    /// A limit in MiB per second; `None` where the node knows of none.
    async fn throughput(&self, name: &str) -> Result<Option<u32>, Error> {
        match self.setting(name).await {
            Ok(told) => Ok(told.as_u64().and_then(|limit| u32::try_from(limit).ok())),
            Err(Error::Refused { status: 400, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn s3(url: &str) -> Wanted {
        Wanted {
            url: Some(url.to_owned()),
            region: None,
        }
    }

    fn amazons(region: &str) -> Wanted {
        Wanted {
            url: None,
            region: Some(region.to_owned()),
        }
    }

    #[test]
    fn an_s3_endpoint_matches_by_scheme_host_and_port() {
        const S3: &str = r#"{ "type": "s3", "aws_region": "us-east-1", "iam_role_arn": "" }"#;
        const OLD: &str = r#"{ "port": 443, "use_https": true, "aws_region": "eu-west-1" }"#;
        const OLD_PLAIN: &str = r#"{ "port": 9000, "use_https": false, "aws_region": "x" }"#;
        const BARE: &str = r#"{ "aws_region": "eu-west-1" }"#;
        for (name, settings, wanted, matches) in [
            (
                "http://127.0.0.1:9000",
                S3,
                s3("http://127.0.0.1:9000"),
                true,
            ),
            (
                "http://127.0.0.1:9000",
                S3,
                s3("http://127.0.0.1:9000/"),
                true,
            ),
            (
                "http://127.0.0.1:9000",
                S3,
                s3("http://127.0.0.1:9001"),
                false,
            ),
            (
                "http://127.0.0.1:9000",
                S3,
                s3("https://127.0.0.1:9000"),
                false,
            ),
            (
                "https://Minio.Example",
                S3,
                s3("https://minio.example:443"),
                true,
            ),
            (
                "http://minio.example:80",
                S3,
                s3("http://minio.example"),
                true,
            ),
            (
                "https://minio.example/below",
                S3,
                s3("https://minio.example"),
                false,
            ),
            (
                "https://minio.example",
                S3,
                s3("https://minio.example/below"),
                false,
            ),
            (
                "https://s3.eu-west-1.amazonaws.com",
                S3,
                amazons("eu-west-1"),
                true,
            ),
            (
                "https://s3.eu-west-1.amazonaws.com:443",
                S3,
                amazons("eu-west-1"),
                true,
            ),
            (
                "https://s3.eu-west-2.amazonaws.com",
                S3,
                amazons("eu-west-1"),
                false,
            ),
            (
                "https://s3.cn-north-1.amazonaws.com.cn",
                S3,
                amazons("cn-north-1"),
                true,
            ),
            (
                "s3.eu-west-1.amazonaws.com",
                OLD,
                amazons("eu-west-1"),
                true,
            ),
            (
                "s3.eu-west-1.amazonaws.com",
                BARE,
                amazons("eu-west-1"),
                true,
            ),
            (
                "minio.example",
                OLD_PLAIN,
                s3("http://minio.example:9000"),
                true,
            ),
            (
                "minio.example",
                OLD_PLAIN,
                s3("https://minio.example:9000"),
                false,
            ),
            (
                "https://minio.example",
                r#"{"type":"gs"}"#,
                s3("https://minio.example"),
                false,
            ),
            (
                "https://minio.example",
                r#"{"type":"tape"}"#,
                s3("https://minio.example"),
                false,
            ),
            (
                "https://minio.example",
                "no JSON",
                s3("https://minio.example"),
                false,
            ),
        ] {
            let endpoints = Endpoints::read(&json!({"other": S3, name: settings}));
            let found = endpoints.s3(&wanted);
            let expected = matches.then(|| name.to_owned());
            assert_eq!(found.endpoint, expected, "{name} {settings} {wanted:?}");
            assert_eq!(found.reason.is_empty(), matches, "{}", found.reason);
        }
    }

    #[test]
    fn googles_store_is_the_default_of_its_kind() {
        const GS: &str = r#"{ "type": "gs", "credentials_file": "" }"#;
        for (name, settings, url, matches) in [
            ("default", GS, None, true),
            ("", GS, None, true),
            ("https://storage.googleapis.com", GS, None, true),
            ("https://storage.googleapis.com", "{}", None, false),
            ("default", "{}", None, false),
            ("default", GS, Some("http://127.0.0.1:4443"), false),
            (
                "http://127.0.0.1:4443",
                GS,
                Some("http://127.0.0.1:4443"),
                true,
            ),
        ] {
            let found = Endpoints::read(&json!({name: settings})).gcs(url);
            let expected = matches.then(|| name.to_owned());
            assert_eq!(found.endpoint, expected, "{name} {settings} {url:?}");
        }
    }

    #[test]
    fn what_is_lacking_is_said_as_it_is_to_be_written() {
        let none = Endpoints::default();
        for (wanted, text) in [
            (
                amazons("eu-west-1"),
                "[{name: https://s3.eu-west-1.amazonaws.com, aws_region: eu-west-1}]",
            ),
            (
                amazons("eu-west-1"),
                "[{name: s3.eu-west-1.amazonaws.com, port: 443, use_https: true, aws_region: eu-west-1}]",
            ),
            (
                s3("http://minio:9000"),
                "[{name: http://minio:9000, aws_region: us-east-1}]",
            ),
            (s3("minio"), "is no URL"),
            (
                Wanted {
                    url: None,
                    region: None,
                },
                "store.s3.region",
            ),
        ] {
            let said = none.s3(&wanted).reason;
            assert!(said.contains(text), "{said}");
        }
        let said = none.gcs(None).reason;
        assert!(said.contains("[{name: default, type: gs}]"), "{said}");
        let other = Endpoints::read(&json!({"http://other:1": "{}"}));
        let said = other.s3(&s3("http://minio:9000")).reason;
        assert!(said.contains("it names http://other:1"), "{said}");
        assert_eq!(Endpoints::read(&json!([])), none);
    }
}
