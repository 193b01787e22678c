//! The object store of a native backup: a directory, or an S3 server that takes unsigned requests.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use futures::TryStreamExt;
use tokio::fs;
use tokio::io::AsyncWriteExt;

use crate::config::Endpoint;

static HTTP: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);

/// One bucket; errors are the texts a task ends with.
#[derive(Clone, Debug)]
pub(crate) enum Bucket {
    /// A folder; objects are files below it.
    Dir(PathBuf),
    /// URL with the bucket's name, without slash at the end.
    S3(String),
}

impl Bucket {
    pub(crate) fn new(name: &str, endpoint: &Endpoint, bucket: &str) -> Self {
        match endpoint {
            Endpoint::Dir(root) => Self::Dir(root.join(bucket)),
            Endpoint::S3 => Self::S3(format!("{}/{bucket}", name.trim_end_matches('/'))),
        }
    }

    /// Stores a file as `key`, replacing what was there; returns its bytes.
    pub(crate) async fn put(&self, key: &str, path: &Path) -> Result<u64, String> {
        match self {
            Self::Dir(root) => {
                if !fs::try_exists(root).await.unwrap_or(false) {
                    return Err(refused(404, "NoSuchBucket"));
                }
                let object = root.join(key);
                let folder = object.parent().unwrap_or(root);
                fs::create_dir_all(folder).await.map_err(local)?;
                // No reader may see half an object.
                let hidden = object.with_extension("part");
                let bytes = fs::copy(path, &hidden).await.map_err(local)?;
                fs::rename(&hidden, &object).await.map_err(local)?;
                Ok(bytes)
            }
            Self::S3(url) => {
                let file = fs::File::open(path).await.map_err(local)?;
                let bytes = file.metadata().await.map_err(local)?.len();
                let stream = tokio_util::io::ReaderStream::new(file);
                let request = HTTP
                    .put(format!("{url}/{key}"))
                    .header(http::header::CONTENT_LENGTH, bytes);
                let sent = request
                    .body(reqwest::Body::wrap_stream(stream))
                    .send()
                    .await;
                answered(sent).map(|_| bytes)
            }
        }
    }

    /// The whole of a small object.
    pub(crate) async fn read(&self, key: &str) -> Result<Vec<u8>, String> {
        match self {
            Self::Dir(root) => match fs::read(root.join(key)).await {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(refused(404, "Not Found")),
                other => other.map_err(local),
            },
            Self::S3(url) => {
                let response = answered(HTTP.get(format!("{url}/{key}")).send().await)?;
                let bytes = response.bytes().await.map_err(|e| failed(&e))?;
                Ok(bytes.to_vec())
            }
        }
    }

    /// Writes the object `key` to a new file.
    pub(crate) async fn get(&self, key: &str, path: &Path) -> Result<(), String> {
        match self {
            Self::Dir(root) => match fs::copy(root.join(key), path).await {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(refused(404, "Not Found")),
                other => other.map(drop).map_err(local),
            },
            Self::S3(url) => {
                let response = answered(HTTP.get(format!("{url}/{key}")).send().await)?;
                let mut file = fs::File::create(path).await.map_err(local)?;
                let mut stream = response.bytes_stream();
                while let Some(bytes) = stream.try_next().await.map_err(|e| failed(&e))? {
                    file.write_all(&bytes).await.map_err(local)?;
                }
                file.flush().await.map_err(local)
            }
        }
    }
}

fn answered(result: reqwest::Result<reqwest::Response>) -> Result<reqwest::Response, String> {
    let response = result.map_err(|e| failed(&e))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    Err(refused(
        status.as_u16(),
        status.canonical_reason().unwrap_or("Unknown"),
    ))
}

fn refused(code: u16, reason: &str) -> String {
    format!("storage_io_error (S3 request failed. Code: {code}. Reason: {reason})")
}

fn failed(e: &reqwest::Error) -> String {
    format!("storage_io_error (S3 request failed. Reason: {e})")
}

fn local(e: io::Error) -> String {
    crate::answer::Fail::from(e).message
}
