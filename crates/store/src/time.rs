//! What time it is for a bucket: a second clock beside the process's own.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::FutureExt as _;

use crate::{Error, Store, store::Backend};

impl Store {
    /// The time by the bucket's own clock, in milliseconds since 1970. Many stores count in whole
    /// seconds.
    ///
    /// It is the time at which a small object below `thetis/check/` was written, which is deleted
    /// again. In a directory it is the file system's time, which for a local one is this machine's.
    ///
    /// # Errors
    /// See [`Store`]; [`Error::Refused`] when the store does not tell.
    pub async fn now_ms(&self) -> Result<u64, Error> {
        let key = format!("thetis/check/{}", uuid::Uuid::new_v4());
        let body = Bytes::from_static(b"Written by `thetis` to see what time it is.\n");
        self.put(&key, body).await?;
        let full = self.full(&key);
        let written = match self.backend() {
            Backend::S3(s3) => s3.written_ms(&full).boxed().await,
            Backend::Remote(remote) => remote.written_ms(&full).await,
            Backend::Local(local) => local.written_ms(&full).await,
        };
        let deleted = self.delete(std::slice::from_ref(&key)).await;
        let written = written?;
        deleted?;
        written.ok_or_else(|| {
            let attempt = self.attempt("read", &key);
            attempt.refused("it does not say when the object was written".to_owned())
        })
    }
}

/// Milliseconds since 1970; `None` before.
pub(crate) fn since_1970(time: SystemTime) -> Option<u64> {
    let passed = time.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(passed.as_millis()).ok()
}
