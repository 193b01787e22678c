//! Copies by the server: one request below [`PART`], parts in parallel above.

use std::{ops::Range, time::Duration};

use aws_sdk_s3::types::CompletedPart;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    S3,
    error::{explain, is_missing, precondition_failed},
    sign::encode,
    unsigned,
    upload::Upload,
};
use crate::{Error, part, store::torn};

/// What one request copies, in bytes. The protocol allows five times that, but it should be done
/// within [`COPY`].
const PART: u64 = 1 << 30;

/// One request that copies: [`PART`] at 4 MiB/s.
const COPY: Duration = Duration::from_secs(240);

/// An object as it was when it was looked at.
#[derive(Clone, Copy, Debug)]
struct Original<'a> {
    key: &'a str,
    bytes: u64,
    /// Changes with the content; all servers have it.
    e_tag: &'a str,
}

impl S3 {
    /// Copies an object unless there is one under `to`.
    ///
    /// What is copied is what was under `from` before `to` was found missing, or nothing.
    pub(crate) async fn copy_new(
        &self,
        from: &str,
        to: &str,
        bytes: u64,
        step: &(dyn Fn() + Send + Sync),
    ) -> Result<bool, Error> {
        let (found, e_tag) = self.identity(from).await?;
        if found != bytes {
            return Err(torn(from, found, bytes));
        }
        if self.bytes(to).await?.is_some() {
            return Ok(false);
        }
        let original = Original {
            key: from,
            bytes,
            e_tag: &e_tag,
        };
        let whole = if bytes <= PART {
            self.copy_whole(original, to).await?
        } else {
            self.copy_parts(original, to, PART, step).await?
        };
        step();
        match (whole, self.bytes(to).await?) {
            (copied, Some(there)) if there == bytes => Ok(copied),
            (_, Some(there)) => Err(torn(to, there, bytes)),
            (_, None) => {
                let attempt = self.attempt("copy", from);
                Err(attempt.unavailable("it was changed meanwhile"))
            }
        }
    }

    /// An object's length and `ETag`.
    async fn identity(&self, key: &str) -> Result<(u64, String), Error> {
        let attempt = self.attempt("copy", key);
        let _request = self.budget.requests(1).await;
        let sending = self.control().head_object().bucket(&self.bucket).key(key);
        let head = sending.send().await.map_err(|e| match is_missing(&e) {
            true => attempt.not_found(),
            false => explain(&attempt, &e),
        })?;
        let e_tag = head.e_tag.ok_or_else(|| {
            attempt.refused("the server does not say which content it has (no `ETag`)".to_owned())
        })?;
        Ok((unsigned(head.content_length.unwrap_or_default()), e_tag))
    }

    /// `false` if the original is another one by now.
    async fn copy_whole(&self, original: Original<'_>, to: &str) -> Result<bool, Error> {
        let attempt = self.attempt("copy", original.key);
        let _request = self.budget.requests(1).await;
        let sending = self
            .clients
            .unbounded
            .copy_object()
            .bucket(&self.bucket)
            .key(to)
            .copy_source(self.source(original.key))
            .copy_source_if_match(original.e_tag)
            .send();
        match tokio::time::timeout(COPY, sending).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(e)) if precondition_failed(&e) => Ok(false),
            Ok(Err(e)) => Err(explain(&attempt, &e)),
            Err(_) => Err(attempt.unavailable("no answer in time")),
        }
    }

    /// As [`Self::copy_whole`], in parts of `part` bytes.
    async fn copy_parts(
        &self,
        original: Original<'_>,
        to: &str,
        part: u64,
        step: &(dyn Fn() + Send + Sync),
    ) -> Result<bool, Error> {
        let upload = self.begin(to, None).await?;
        let ranges = stream::iter(part::cut(original.bytes, part).zip(1..));
        let copied = ranges
            .map(|(range, number)| self.copy_part(original, &upload, range, number))
            .buffered(part::AT_ONCE as usize)
            .inspect_ok(|_| step())
            .try_collect::<Vec<_>>()
            .await
            .map(|parts| parts.into_iter().collect::<Option<Vec<_>>>());
        let done = match copied {
            Ok(Some(parts)) => upload.complete(parts).await.map(|()| true),
            Ok(None) => Ok(false),
            Err(e) => Err(e),
        };
        upload.abort().await;
        done
    }

    /// `None` if the original is another one by now.
    async fn copy_part(
        &self,
        original: Original<'_>,
        upload: &Upload<'_>,
        range: Range<u64>,
        number: i32,
    ) -> Result<Option<CompletedPart>, Error> {
        let attempt = self.attempt("copy", original.key);
        let _request = self.budget.requests(1).await;
        let sending = self
            .clients
            .unbounded
            .upload_part_copy()
            .bucket(&self.bucket)
            .key(upload.key)
            .upload_id(&upload.id)
            .part_number(number)
            .copy_source(self.source(original.key))
            .copy_source_if_match(original.e_tag)
            .copy_source_range(format!("bytes={}-{}", range.start, range.end - 1))
            .send();
        let output = match tokio::time::timeout(COPY, sending).await {
            Ok(Ok(output)) => output,
            Ok(Err(e)) if precondition_failed(&e) => return Ok(None),
            Ok(Err(e)) => return Err(explain(&attempt, &e)),
            Err(_) => return Err(attempt.unavailable("no answer in time")),
        };
        let e_tag = output.copy_part_result.and_then(|result| result.e_tag);
        let part = CompletedPart::builder()
            .set_e_tag(e_tag)
            .part_number(number);
        Ok(Some(part.build()))
    }

    /// `<bucket>/<key>`, as a header takes it.
    fn source(&self, key: &str) -> String {
        format!("{}/{}", self.bucket, encode(key, true))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use anyhow::{Result, ensure};
    use testkit::s3::SeaweedFs;

    use super::{super::Clients, *};
    use crate::{S3Settings, budget::Budget, http};

    async fn bucket(server: &SeaweedFs) -> Result<S3> {
        server.bucket("backups").await?;
        let settings = S3Settings {
            endpoint: Some(server.endpoint()),
            access_key_id: Some(SeaweedFs::ACCESS_KEY.to_owned()),
            secret_access_key: Some(SeaweedFs::SECRET_KEY.into()),
            ..S3Settings::default()
        };
        let budget = Budget::new(64, 8, Arc::default());
        let connector = http::Connector::new(budget.clone())?;
        let clients = Clients::new(&settings, connector).await?;
        Ok(S3::new(clients, "backups", "s3:backups".into(), budget))
    }

    /// What only this server can tell: that it takes the condition seriously, in both kinds of copy.
    #[tokio::test]
    async fn an_original_that_was_replaced_is_not_copied() -> Result<()> {
        const BYTES: u64 = 12 << 20;
        const PART: u64 = 5 << 20;
        let server = SeaweedFs::start().await?;
        let s3 = bucket(&server).await?;
        let body: Vec<u8> = (0_u32..)
            .flat_map(u32::to_le_bytes)
            .take(12 << 20)
            .collect();
        let body = bytes::Bytes::from(body);
        s3.put("from", body.clone()).await?;
        let (found, e_tag) = s3.identity("from").await?;
        ensure!(found == BYTES);
        let original = Original {
            key: "from",
            bytes: BYTES,
            e_tag: &e_tag,
        };
        let steps = std::sync::atomic::AtomicU32::new(0);
        let step = || {
            steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        ensure!(s3.copy_whole(original, "whole").await?);
        ensure!(s3.copy_parts(original, "parts", PART, &step).await?);
        ensure!(steps.into_inner() == 3);
        for copy in ["whole", "parts"] {
            let mut read = s3.get(copy).await?;
            let mut content = Vec::new();
            while let Some(chunk) = read.stream.try_next().await? {
                content.extend_from_slice(&chunk);
            }
            ensure!(content == body, "`{copy}` differs");
        }

        let other: Vec<u8> = body.iter().map(|byte| !byte).collect();
        s3.put("from", other.into()).await?;
        ensure!(!s3.copy_whole(original, "late/whole").await?);
        ensure!(!s3.copy_parts(original, "late/parts", PART, &|| ()).await?);
        for copy in ["late/whole", "late/parts"] {
            ensure!(s3.bytes(copy).await?.is_none(), "`{copy}` was made");
        }
        ensure!(server.uploads("backups").await? == 0);
        Ok(())
    }
}
