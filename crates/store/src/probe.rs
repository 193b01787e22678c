//! What backups need to be allowed in a bucket, tried one by one.
//!
//! All objects are made below `thetis/check/` and deleted again, as far as that is allowed.

use std::{io::Write as _, path::Path};

use bytes::Bytes;
use crc32fast::Hasher;
use futures::TryStreamExt as _;
use protocol::Provider;

use crate::{Error, Object, Store, source::blocking, store::Backend};

/// Larger than what any provider writes in one request.
const PARTS: u64 = 50 << 20;

/// Something that backups need of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// To write a small object.
    Write,
    /// To list objects.
    List,
    /// To read an object.
    Read,
    /// To read a part of an object.
    ReadRange,
    /// To write a large object, in parts.
    WriteParts,
    /// To take back parts that are not complete.
    AbortParts,
    /// To copy an object within the bucket.
    Copy,
    /// To write only where nothing is.
    WriteNew,
    /// To delete objects.
    Delete,
}

impl Need {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 9] = [
        Self::Write,
        Self::List,
        Self::Read,
        Self::ReadRange,
        Self::WriteParts,
        Self::AbortParts,
        Self::Copy,
        Self::WriteNew,
        Self::Delete,
    ];

    /// What it is, for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write an object",
            Self::List => "list objects",
            Self::Read => "read an object",
            Self::ReadRange => "read a part of an object",
            Self::WriteParts => "write a large object in parts",
            Self::AbortParts => "take back unfinished parts",
            Self::Copy => "copy an object",
            Self::WriteNew => "write only where nothing is",
            Self::Delete => "delete objects",
        }
    }

    /// The right that grants it, as the provider calls it; empty for a directory.
    #[must_use]
    pub fn grant(self, provider: Provider) -> &'static str {
        match provider {
            Provider::S3 => match self {
                Self::Write | Self::WriteParts | Self::WriteNew => "s3:PutObject",
                Self::List => "s3:ListBucket",
                Self::Read | Self::ReadRange => "s3:GetObject",
                Self::AbortParts => "s3:AbortMultipartUpload",
                Self::Copy => "s3:GetObject, s3:PutObject",
                Self::Delete => "s3:DeleteObject",
            },
            Provider::Gcs => match self {
                Self::Write | Self::WriteNew => "storage.objects.create, storage.objects.delete",
                Self::WriteParts => "storage.multipartUploads.create, storage.objects.create",
                Self::AbortParts => "storage.multipartUploads.abort",
                Self::List => "storage.objects.list",
                Self::Read | Self::ReadRange => "storage.objects.get",
                Self::Copy => "storage.objects.get, storage.objects.create",
                Self::Delete => "storage.objects.delete",
            },
            Provider::Azure => match self {
                Self::Write | Self::WriteParts | Self::AbortParts | Self::WriteNew | Self::Copy => {
                    "Microsoft.Storage/…/containers/blobs/write"
                }
                Self::List | Self::Read | Self::ReadRange => {
                    "Microsoft.Storage/…/containers/blobs/read"
                }
                Self::Delete => "Microsoft.Storage/…/containers/blobs/delete",
            },
            Provider::Local => "",
        }
    }
}

/// What became of a need.
#[derive(Debug)]
pub enum Met {
    /// It is allowed, and was done right.
    Yes,
    /// It is not, or went wrong.
    No(Error),
    /// What it would have needed was not there.
    Untried,
    /// The provider has no such thing, and backups do without.
    Needless,
}

/// The rights that backups need on S3, as a policy for `bucket`.
#[must_use]
pub fn s3_policy(bucket: &str) -> String {
    format!(
        r#"{{
  "Version": "2012-10-17",
  "Statement": [
    {{
      "Effect": "Allow",
      "Action": ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"],
      "Resource": "arn:aws:s3:::{bucket}"
    }},
    {{
      "Effect": "Allow",
      "Action": ["s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
      "Resource": "arn:aws:s3:::{bucket}/*"
    }}
  ]
}}"#
    )
}

/// Objects of one probe.
struct Keys {
    small: String,
    large: String,
    copy: String,
    new: String,
}

impl Keys {
    fn all(self) -> [String; 4] {
        [self.small, self.large, self.copy, self.new]
    }
}

impl Store {
    /// Tries everything that backups need. A temporary file of 50 MiB is made in `scratch`.
    ///
    /// # Errors
    /// [`Error::Local`] if there is no room for that.
    pub async fn probe(&self, scratch: &Path) -> Result<Vec<(Need, Met)>, Error> {
        let large = Scratch::make(scratch, PARTS).await?;
        let key = |name: &str| format!("thetis/check/{}-{name}", uuid::Uuid::new_v4());
        let keys = Keys {
            small: key("small"),
            large: key("large"),
            copy: key("copy"),
            new: key("new"),
        };
        let mut found = Vec::new();
        let (mut small, mut written) = (false, false);
        for need in Need::ALL {
            let lacks = match need {
                Need::Read | Need::ReadRange | Need::Copy => !small,
                Need::Delete => !written,
                Need::Write | Need::List | Need::WriteParts | Need::AbortParts | Need::WriteNew => {
                    false
                }
            };
            let met = match lacks {
                true => Met::Untried,
                false => self.try_need(need, &keys, &large).await,
            };
            let done = matches!(met, Met::Yes);
            small |= done && need == Need::Write;
            written |= done && matches!(need, Need::Write | Need::WriteParts | Need::WriteNew);
            found.push((need, met));
        }
        // Whatever of them is there; whether that is allowed was seen above.
        let _ = self.delete(&keys.all()).await;
        Ok(found)
    }

    async fn try_need(&self, need: Need, keys: &Keys, large: &Scratch) -> Met {
        let done = match need {
            Need::Write => self.put(&keys.small, body()).await,
            Need::List => self.lists(&keys.small).await,
            Need::Read => self.reads(&keys.small).await,
            Need::ReadRange => self.reads_range(&keys.small).await,
            Need::WriteParts => self.writes_parts(&keys.large, large).await,
            Need::AbortParts => match self.backend() {
                Backend::S3(s3) => s3.begins_and_aborts(&self.full(&keys.large)).await,
                Backend::Remote(_) | Backend::Local(_) => return Met::Needless,
            },
            Need::Copy => {
                let bytes = body().len() as u64;
                let copied = self.copy_new(&keys.small, &keys.copy, bytes, &|| {});
                copied.await.map(drop)
            }
            Need::WriteNew => self.writes_new(&keys.new).await,
            Need::Delete => self.deletes(&keys.small).await,
        };
        done.map_or_else(Met::No, |()| Met::Yes)
    }

    /// One that was written before is among them, if it could be written.
    async fn lists(&self, key: &str) -> Result<(), Error> {
        let listed: Vec<Object> = self.list(key).try_collect().await?;
        let there = self.bytes(key).await.unwrap_or_default().is_some();
        match there && listed.iter().all(|object| object.key != key) {
            true => {
                let attempt = self.attempt("list", key);
                Err(attempt.refused("an object just written is not listed".to_owned()))
            }
            false => Ok(()),
        }
    }

    async fn reads(&self, key: &str) -> Result<(), Error> {
        let read = self.get(key).await?;
        self.same(key, &read, &body())
    }

    async fn reads_range(&self, key: &str) -> Result<(), Error> {
        let read = self.get_range(key, 3..9).await?;
        self.same(key, &read, &body()[3..9])
    }

    fn same(&self, key: &str, found: &[u8], expected: &[u8]) -> Result<(), Error> {
        if found == expected {
            return Ok(());
        }
        let attempt = self.attempt("read", key);
        Err(attempt.refused("it holds something else than was written".to_owned()))
    }

    async fn writes_parts(&self, key: &str, large: &Scratch) -> Result<(), Error> {
        let bytes = large.bytes;
        self.put_file(key, large.path(), bytes, Some(large.crc32), &|_| {})
            .await?;
        // Reading may be denied, which was seen before.
        let Ok(end) = self.get_range(key, bytes - 9..bytes).await else {
            return Ok(());
        };
        self.same(key, &end, &PATTERN[PATTERN.len() - 9..])
    }

    async fn writes_new(&self, key: &str) -> Result<(), Error> {
        let first = self.put_new(key, body()).await?;
        let second = self.put_new(key, body()).await?;
        if first && !second {
            return Ok(());
        }
        let attempt = self.attempt("write", key);
        let cause = "it writes over what is there, though told not to (If-None-Match)";
        Err(attempt.refused(cause.to_owned()))
    }

    async fn deletes(&self, key: &str) -> Result<(), Error> {
        self.delete(&[key.to_owned()]).await?;
        match self.bytes(key).await {
            Ok(Some(_)) => {
                let attempt = self.attempt("delete", key);
                Err(attempt.refused("it is still there afterwards".to_owned()))
            }
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

fn body() -> Bytes {
    Bytes::from_static(b"Written by `thetis` to see whether it may. Delete freely.\n")
}

const PATTERN: &[u8; 16] = b"thetis was here\n";

/// A large file, gone when dropped.
struct Scratch {
    path: std::path::PathBuf,
    bytes: u64,
    crc32: u32,
}

impl Scratch {
    async fn make(directory: &Path, bytes: u64) -> Result<Self, Error> {
        let path = directory.join(format!("thetis-check-{}", uuid::Uuid::new_v4()));
        let made = path.clone();
        let written = blocking(move || {
            let block = PATTERN.repeat((1 << 20) / PATTERN.len());
            let mut crc = Hasher::new();
            let mut file = std::fs::File::create_new(&made)?;
            for _ in 0..bytes / block.len() as u64 {
                file.write_all(&block)?;
                crc.update(&block);
            }
            file.flush()?;
            Ok(crc.finalize())
        });
        let mut scratch = Self {
            path,
            bytes,
            crc32: 0,
        };
        scratch.crc32 = written
            .await
            .map_err(|e| Error::local("write", &scratch.path, e))?;
        Ok(scratch)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may not have been made.
        let _ = std::fs::remove_file(&self.path);
    }
}
