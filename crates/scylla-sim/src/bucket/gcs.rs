//! A bucket of Google Cloud Storage, or of an emulator, by its JSON interface. Requests go without
//! credentials.

use std::path::Path;

use reqwest::{Body, Response, Url};
use tokio::fs::{self, File};
use tokio_util::io::ReaderStream;

use super::{HTTP, local, refused, save};

/// A bucket.
#[derive(Clone, Debug)]
pub(crate) struct Gcs {
    endpoint: String,
    bucket: String,
}

impl Gcs {
    pub(crate) fn new(endpoint: &str, bucket: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
        }
    }

    pub(crate) async fn put(&self, key: &str, path: &Path) -> Result<u64, String> {
        let bytes = fs::metadata(path).await.map_err(local)?.len();
        let mut url = self.url(&["upload", "storage", "v1", "b", &self.bucket, "o"])?;
        url.query_pairs_mut()
            .extend_pairs([("uploadType", "media"), ("name", key)]);
        let file = File::open(path).await.map_err(local)?;
        let request = HTTP
            .post(url)
            .header(http::header::CONTENT_LENGTH, bytes)
            .header(http::header::CONTENT_TYPE, "application/octet-stream")
            .body(Body::wrap_stream(ReaderStream::new(file)));
        answered(request.send().await).map(|_| bytes)
    }

    pub(crate) async fn read(&self, key: &str) -> Result<Vec<u8>, String> {
        let bytes = self.object(key).await?.bytes().await;
        Ok(bytes.map_err(|e| failed(&e))?.to_vec())
    }

    pub(crate) async fn get(&self, key: &str, path: &Path) -> Result<(), String> {
        save(self.object(key).await?, path, failed).await
    }

    async fn object(&self, key: &str) -> Result<Response, String> {
        let mut url = self.url(&["storage", "v1", "b", &self.bucket, "o", key])?;
        url.set_query(Some("alt=media"));
        answered(HTTP.get(url).send().await)
    }

    /// The endpoint's URL with a path, of which each segment may have slashes of its own.
    fn url(&self, path: &[&str]) -> Result<Url, String> {
        let url = Url::parse(&self.endpoint).map_err(|e| refused(0, &e.to_string()));
        let mut url = url?;
        url.path_segments_mut()
            .map_err(|()| refused(0, "no base URL"))?
            .pop_if_empty()
            .extend(path);
        Ok(url)
    }
}

fn answered(response: Result<Response, reqwest::Error>) -> Result<Response, String> {
    let response = response.map_err(|e| failed(&e))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let reason = status.canonical_reason().unwrap_or("Unknown");
    Err(refused(status.as_u16(), reason))
}

fn failed(e: &reqwest::Error) -> String {
    format!("storage_io_error (GCS request failed. Reason: {e})")
}
