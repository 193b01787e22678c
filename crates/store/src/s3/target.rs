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
