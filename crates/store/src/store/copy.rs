//! Copies within a bucket, which leave alone what is there.
//!
//! A copy keeps what is about to be replaced, and others may be at the same work. So this holds in
//! every store: whoever copies and then replaces the original, even twice or several at once, has
//! copied the original and not what replaced it. For that, either the original is pinned *before*
//! the copy is found missing (as bytes in hand, or by its `ETag`), or the store itself copies only
//! to where nothing is (links in a directory, GCS, Azure).
//!
//! It does not hold on servers that imitate S3 and ignore `x-amz-copy-source-if-match`, for objects
//! above [`SMALL`], if two copy at the same moment.

use futures::FutureExt as _;

use super::{Backend, Store};
use crate::{Error, key};

/// Up to this many bytes an object is read and written, which takes no longer than a copy by the
/// store and works the same everywhere.
const SMALL: u64 = 1 << 20;

impl Store {
    /// Copies the object under `from`, which must have `bytes` bytes, to `to`; `false`, and nothing
    /// done, when there is one under `to`. Large ones are copied by the store itself.
    ///
    /// `step` is called as parts of a large one are done.
    ///
    /// # Errors
    /// * [`Error::NotFound`] if neither exists.
    /// * [`Error::Torn`] if either has another length. Neither is touched.
    pub async fn copy_new(
        &self,
        from: &str,
        to: &str,
        bytes: u64,
        step: &(dyn Fn() + Send + Sync),
    ) -> Result<bool, Error> {
        key::check(from)?;
        key::check(to)?;
        if self.is_copied(to, bytes).await? {
            return Ok(false);
        }
        let (old, new) = (self.full(from), self.full(to));
        let copied = match &self.inner.backend {
            Backend::Local(local) => local.copy_new(&old, &new, bytes).await,
            Backend::Remote(remote) if bytes > SMALL && remote.copies() => {
                remote.copy_new(&old, &new, bytes).await
            }
            Backend::S3(s3) if bytes > SMALL => s3.copy_new(&old, &new, bytes, step).boxed().await,
            Backend::Remote(_) | Backend::S3(_) => self.write_again(from, to, bytes).await,
        };
        match self.own(copied) {
            // Somebody else may have copied it meanwhile, and replaced it.
            Err(e @ (Error::NotFound { .. } | Error::Torn { .. })) => {
                match self.is_copied(to, bytes).await? {
                    true => Ok(false),
                    false => Err(e),
                }
            }
            done => done,
        }
    }

    /// Whether there is a whole copy.
    async fn is_copied(&self, to: &str, bytes: u64) -> Result<bool, Error> {
        match self.bytes(to).await? {
            None => Ok(false),
            Some(found) if found == bytes => Ok(true),
            Some(found) => match &self.inner.backend {
                Backend::Remote(remote) => {
                    remote.settled(&self.full(to), bytes).await.map(|()| true)
                }
                Backend::S3(_) | Backend::Local(_) => Err(torn(to, found, bytes)),
            },
        }
    }

    async fn write_again(&self, from: &str, to: &str, bytes: u64) -> Result<bool, Error> {
        let body = self.get(from).await?;
        if body.len() as u64 != bytes {
            return Err(torn(from, body.len() as u64, bytes));
        }
        self.put_new(to, body).await
    }
}

pub(crate) fn torn(key: &str, found: u64, expected: u64) -> Error {
    Error::Torn {
        what: key.to_owned(),
        found,
        expected,
    }
}
