//! Files into S3: one request below the part size, parts in parallel above.

use std::{
    ops::Range,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, StorageClass};
use crc32fast::Hasher;
use futures::{StreamExt, TryStreamExt, stream};
use http::header::ETAG;

use super::{
    S3,
    error::{checksum, explain},
    payload::{Ask, What},
    sign::encode,
};
use crate::{
    Error, Moved,
    budget::pause,
    part,
    source::{self, Piece, Source},
};

/// Assembling thousands of parts may take a server minutes.
const ASSEMBLY: Duration = Duration::from_secs(300);

/// Tries of one part, each of which is several requests.
const TRIES: u32 = 2;

impl S3 {
    pub(crate) async fn put_file(
        &self,
        key: &str,
        path: &Path,
        bytes: u64,
        expect: Option<u32>,
        moved: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Moved, Error> {
        let part = part::size(bytes, self.budget.bytes());
        if bytes > part {
            let source = Source::open(path, bytes).await?;
            return self.put_parts(key, &source, part, expect, moved).await;
        }
        let Piece { body, crc } = source::whole(path, bytes, &self.budget).await?;
        let crc32 = crc.finalize();
        source::verify(path, crc32, expect)?;
        let class = self.clients.storage_class.as_deref();
        self.put_checked(key, &body, crc32, class).await?;
        moved(bytes);
        Ok(Moved { bytes, crc32 })
    }

    async fn put_parts(
        &self,
        key: &str,
        source: &Source,
        part: u64,
        expect: Option<u32>,
        moved: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Moved, Error> {
        let checked = Some(ChecksumAlgorithm::Crc32);
        let upload = self.begin(key, checked).await?;
        let sent = match upload.send(source, part, moved).await {
            Ok((parts, crc32)) => match source.verify(crc32, expect) {
                Ok(()) => upload.complete(parts).await.map(|()| crc32),
                Err(e) => Err(e),
            },
            Err(e) => Err(e),
        };
        match sent {
            Ok(crc32) => {
                let bytes = source.bytes();
                Ok(Moved { bytes, crc32 })
            }
            Err(e) => {
                upload.abort().await;
                Err(e)
            }
        }
    }

    /// Begins an upload whose parts are sent with a checksum, or without.
    pub(super) async fn begin<'a>(
        &'a self,
        key: &'a str,
        checksum: Option<ChecksumAlgorithm>,
    ) -> Result<Upload<'a>, Error> {
        let attempt = self.attempt("write", key);
        let _request = self.budget.requests(1).await;
        let class = self.clients.storage_class.as_deref();
        let sent = self
            .control()
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .set_checksum_algorithm(checksum)
            .set_storage_class(class.map(StorageClass::from))
            .send()
            .await;
        let output = sent.map_err(|e| explain(&attempt, &e))?;
        let id = output.upload_id.ok_or_else(|| {
            attempt.refused("the answer to the start of an upload names no upload".to_owned())
        })?;
        Ok(Upload {
            s3: self,
            key,
            id,
            open: AtomicBool::new(true),
        })
    }
}

/// A multipart upload under way; aborted when dropped before its end.
pub(super) struct Upload<'a> {
    s3: &'a S3,
    pub(super) key: &'a str,
    pub(super) id: String,
    open: AtomicBool,
}

impl Upload<'_> {
    /// Sends all parts, some at once. Returns them and the CRC-32 of the whole.
    async fn send(
        &self,
        source: &Source,
        part: u64,
        moved: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(Vec<CompletedPart>, u32), Error> {
        let ranges = stream::iter(part::cut(source.bytes(), part).zip(1..));
        let sent = ranges.map(|(range, number)| self.send_part(source, range, number, moved));
        let start = (Vec::new(), Hasher::new());
        let (parts, crc) = sent
            .buffered(part::AT_ONCE as usize)
            .try_fold(start, |(mut parts, mut crc), (part, piece)| async move {
                crc.combine(&piece);
                parts.push(part);
                Ok((parts, crc))
            })
            .await?;
        source.unchanged()?;
        Ok((parts, crc.finalize()))
    }

    async fn send_part(
        &self,
        source: &Source,
        range: Range<u64>,
        number: i32,
        moved: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(CompletedPart, Hasher), Error> {
        let bytes = range.end - range.start;
        let piece = source.read(range, &self.s3.budget).await?;
        let mut tries = 1;
        let part = loop {
            match self.try_part(&piece, number).await {
                Ok(part) => break part,
                Err(e) if e.retry() && tries < TRIES => {
                    tracing::debug!(key = self.key, number, error = %e, "sending a part again");
                    tokio::time::sleep(pause(tries)).await;
                    tries += 1;
                }
                Err(e) => return Err(e),
            }
        };
        moved(bytes);
        Ok((part, piece.crc))
    }

    async fn try_part(&self, piece: &Piece, number: i32) -> Result<CompletedPart, Error> {
        let attempt = self.s3.attempt("write", self.key);
        let crc = checksum(piece.crc.clone().finalize());
        let _request = self.s3.budget.requests(1).await;
        let query = format!("partNumber={number}&uploadId={}", encode(&self.id, false));
        let what = What::Put {
            query: &query,
            body: &piece.body,
            crc: &crc,
            class: None,
        };
        let key = self.key;
        let answer = self.s3.ask(&attempt, &Ask { key, what }).await;
        let mut answer = answer.map_err(|fault| fault.error)?;
        answer.finish().await;
        let e_tag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok());
        let e_tag = e_tag.ok_or_else(|| {
            attempt.refused("the answer to a part does not say which it is (no `ETag`)".to_owned())
        })?;
        Ok(CompletedPart::builder()
            .e_tag(e_tag)
            .part_number(number)
            .checksum_crc32(crc)
            .build())
    }

    pub(super) async fn complete(&self, parts: Vec<CompletedPart>) -> Result<(), Error> {
        let attempt = self.s3.attempt("write", self.key);
        let _request = self.s3.budget.requests(1).await;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts));
        let sending = self
            .s3
            .clients
            .unbounded
            .complete_multipart_upload()
            .bucket(&self.s3.bucket)
            .key(self.key)
            .upload_id(&self.id)
            .multipart_upload(parts.build())
            .send();
        match tokio::time::timeout(ASSEMBLY, sending).await {
            Ok(Ok(_)) => {
                self.close();
                Ok(())
            }
            Ok(Err(e)) => Err(explain(&attempt, &e)),
            Err(_) => Err(attempt.unavailable("no answer to the completion of an upload")),
        }
    }

    /// Takes back what was sent, unless it is complete.
    pub(super) async fn abort(&self) {
        if self.close() {
            abort(self.s3.clone(), self.key.to_owned(), self.id.clone()).await;
        }
    }

    /// Whether it was open until now.
    fn close(&self) -> bool {
        self.open.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if self.close() {
            let aborted = abort(self.s3.clone(), self.key.to_owned(), self.id.clone());
            self.s3.clients.in_background(aborted);
        }
    }
}

/// A failure is only logged: the bucket's lifecycle rule does the rest.
async fn abort(s3: S3, key: String, id: String) {
    let sent = s3
        .control()
        .abort_multipart_upload()
        .bucket(&s3.bucket)
        .key(&key)
        .upload_id(id)
        .send()
        .await;
    if let Err(e) = sent {
        let error = explain(&s3.attempt("abort the upload of", &key), &e);
        tracing::warn!(key, %error, "parts of an upload stay behind");
    }
}
