//! Where the requests for one bucket go.

use std::{sync::Arc, time::Duration};

use aws_sdk_s3::{Client, presigning::PresigningConfig};
use http::Uri;

use super::{
    error::explain,
    sign::{Scope, encode},
};
use crate::{Error, error::Attempt, http::Pool};

/// A bucket's server, and what its requests have in common.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pool: Arc<Pool>,
    pub(super) scope: Scope,
    /// What stands before a key in a path.
    base: String,
}

impl Target {
    /// Asks the SDK, which knows all the rules for regions, partitions, endpoints of the
    /// environment and bucket names: for a signed URL of some object, of which it tells nobody.
    pub(super) async fn find(
        client: &Client,
        bucket: &str,
        attempt: &Attempt<'_>,
        pool: impl FnOnce(Uri) -> Option<Arc<Pool>>,
    ) -> Result<Self, Error> {
        let config = PresigningConfig::expires_in(Duration::from_secs(60));
        let config = config.expect("a minute is allowed");
        let object = client.get_object().bucket(bucket).key("k");
        let signed = object.presigned(config).await;
        let signed = signed.map_err(|e| explain(attempt, &e))?;
        Self::read(signed.uri(), pool).ok_or_else(|| {
            attempt.refused("its address is none that payload can be sent to".to_owned())
        })
    }

    fn read(signed: &str, pool: impl FnOnce(Uri) -> Option<Arc<Pool>>) -> Option<Self> {
        let url: Uri = signed.parse().ok()?;
        let base = url.path().strip_suffix('k')?.to_owned();
        let mut words = url.query()?.split('&');
        let credential = words.find_map(|word| word.strip_prefix("X-Amz-Credential="))?;
        // <key id>/<date>/<region>/<service>/aws4_request
        let mut parts = credential.rsplit("%2F").skip(1);
        let (service, region) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let mut server = url.into_parts();
        server.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        // Buckets of S3 Express want keys of their own, which are not those of the account.
        (service == "s3").then_some(())?;
        Some(Self {
            pool: pool(Uri::from_parts(server).ok()?)?,
            scope: Scope { region, service },
            base,
        })
    }

    /// The path of an object, encoded.
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}{}", self.base, encode(key, true))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Clients, *};
    use crate::{S3Settings, budget::Budget, http::Connector};

    const ATTEMPT: Attempt<'_> = Attempt {
        action: "write",
        key: "k",
        place: "s3:b",
    };

    /// Where requests for the object `a b` go, and for which region they are signed.
    async fn address(bucket: &str, settings: S3Settings) -> (String, String) {
        let settings = S3Settings {
            access_key_id: Some("id/with/slashes".to_owned()),
            secret_access_key: Some("hunter2".into()),
            ..settings
        };
        let http = Connector::new(Budget::new(20, 1, Arc::default())).unwrap();
        let clients = Clients::new(&settings, http).await.unwrap();
        let target = clients.find(bucket, &ATTEMPT).await.unwrap();
        let host = target.pool.host().to_str().unwrap();
        let address = format!("{host}{}", target.path("a b"));
        (address, target.scope.region)
    }

    #[tokio::test]
    async fn requests_go_where_the_sdk_would_send_them() {
        let settings = |endpoint: Option<&str>, region: &str, path_style| S3Settings {
            endpoint: endpoint.map(str::to_owned),
            region: Some(region.to_owned()),
            path_style,
            ..S3Settings::default()
        };
        let server = Some("http://127.0.0.1:9000");
        for (bucket, settings, expected) in [
            (
                "b-c",
                settings(None, "eu-west-1", None),
                "b-c.s3.eu-west-1.amazonaws.com/a%20b",
            ),
            (
                "b-c",
                settings(None, "cn-north-1", None),
                "b-c.s3.cn-north-1.amazonaws.com.cn/a%20b",
            ),
            (
                "b.c",
                settings(None, "eu-west-1", None),
                "s3.eu-west-1.amazonaws.com/b.c/a%20b",
            ),
            (
                "b-c",
                settings(None, "eu-west-1", Some(true)),
                "s3.eu-west-1.amazonaws.com/b-c/a%20b",
            ),
            (
                "b-c",
                settings(server, "here", None),
                "127.0.0.1:9000/b-c/a%20b",
            ),
            (
                "b-c",
                settings(Some("https://s3.example"), "here", Some(false)),
                "b-c.s3.example/a%20b",
            ),
        ] {
            let region = settings.region.clone();
            let (address, signed) = address(bucket, settings).await;
            assert_eq!((&*address, Some(signed)), (expected, region));
        }
    }

    #[tokio::test]
    async fn buckets_of_a_server_share_its_connections() {
        let settings = S3Settings {
            endpoint: Some("http://127.0.0.1:9000".to_owned()),
            access_key_id: Some("id".to_owned()),
            secret_access_key: Some("hunter2".into()),
            ..S3Settings::default()
        };
        let http = Connector::new(Budget::new(20, 1, Arc::default())).unwrap();
        let clients = Clients::new(&settings, http).await.unwrap();
        let one = clients.find("one", &ATTEMPT).await.unwrap();
        let other = clients.find("other", &ATTEMPT).await.unwrap();
        assert!(Arc::ptr_eq(&one.pool, &other.pool));
        assert!(!format!("{clients:?} {one:?}").contains("hunter2"));
    }
}
