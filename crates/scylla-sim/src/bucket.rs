//! The object store of a native backup: a directory, an S3 server, or one of Google's kind.

mod gcs;
mod s3;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use futures::TryStreamExt as _;
use reqwest::Response;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

use self::gcs::Gcs;
use self::s3::S3;
use crate::config::{Config, Endpoint};

static HTTP: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);

/// One bucket; errors are the texts a task ends with.
#[derive(Clone, Debug)]
pub(crate) enum Bucket {
    /// A folder; objects are files below it.
    Dir(PathBuf),
    /// On an S3 server.
    S3(S3),
    /// On a server of Google's kind.
    Gcs(Gcs),
}

impl Bucket {
    pub(crate) fn new(name: &str, endpoint: &Endpoint, bucket: &str, config: &Config) -> Self {
        match endpoint {
            Endpoint::Dir(root) => Self::Dir(root.join(bucket)),
            Endpoint::S3 => Self::S3(S3::new(name, bucket, config.s3_keys.as_ref())),
            Endpoint::Gcs => Self::Gcs(Gcs::new(name, bucket)),
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
            Self::S3(s3) => s3.put(key, path).await,
            Self::Gcs(gcs) => gcs.put(key, path).await,
        }
    }

    /// The whole of a small object.
    pub(crate) async fn read(&self, key: &str) -> Result<Vec<u8>, String> {
        match self {
            Self::Dir(root) => match fs::read(root.join(key)).await {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(refused(404, "Not Found")),
                other => other.map_err(local),
            },
            Self::S3(s3) => s3.read(key).await,
            Self::Gcs(gcs) => gcs.read(key).await,
        }
    }

    /// Writes the object `key` to a new file.
    pub(crate) async fn get(&self, key: &str, path: &Path) -> Result<(), String> {
        match self {
            Self::Dir(root) => match fs::copy(root.join(key), path).await {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(refused(404, "Not Found")),
                other => other.map(drop).map_err(local),
            },
            Self::S3(s3) => s3.get(key, path).await,
            Self::Gcs(gcs) => gcs.get(key, path).await,
        }
    }
}

/// Writes the body of an answer to a new file.
async fn save(
    response: Response,
    path: &Path,
    failed: fn(&reqwest::Error) -> String,
) -> Result<(), String> {
    let mut file = File::create(path).await.map_err(local)?;
    let mut stream = response.bytes_stream();
    while let Some(bytes) = stream.try_next().await.map_err(|e| failed(&e))? {
        file.write_all(&bytes).await.map_err(local)?;
    }
    file.flush().await.map_err(local)
}

fn refused(code: u16, reason: &str) -> String {
    format!("storage_io_error (S3 request failed. Code: {code}. Reason: {reason})")
}

fn local(e: io::Error) -> String {
    crate::answer::Fail::from(e).message
}
