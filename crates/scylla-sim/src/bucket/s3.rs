//! A bucket of an S3 server, as a node uses it: small files by one request, larger ones in parts.

use std::io::SeekFrom;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use reqwest::{Method, Response};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{HTTP, local, refused, save};

/// Files up to this many bytes go by one request.
const SINGLE: u64 = 5 << 20;
/// Bytes of a part.
const PART: u64 = 50 << 20;
const REGION: &str = "us-east-1";

/// A bucket.
#[derive(Clone, Debug)]
pub(crate) struct S3 {
    /// With the bucket's name, without a slash at the end.
    url: String,
    /// None: requests go unsigned.
    credentials: Option<Credentials>,
}

impl S3 {
    pub(crate) fn new(endpoint: &str, bucket: &str, keys: Option<&(String, String)>) -> Self {
        Self {
            url: format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            credentials: keys.map(|(id, secret)| {
                Credentials::new(id, secret, None, None, "the simulator's settings")
            }),
        }
    }

    pub(crate) async fn put(&self, key: &str, path: &Path) -> Result<u64, String> {
        let bytes = fs::metadata(path).await.map_err(local)?.len();
        if bytes <= SINGLE {
            self.send(Method::PUT, key, piece(path, 0, bytes).await?)
                .await?;
            return Ok(bytes);
        }
        let begin = format!("{key}?uploads=");
        let begun = self.send(Method::POST, &begin, Payload::default());
        let begun = begun.await?.text().await.map_err(|e| failed(&e))?;
        let id = between(&begun, "<UploadId>", "</UploadId>")
            .ok_or_else(|| refused(200, "no upload was begun"))?;
        let mut parts = String::new();
        for (number, at) in (1..).zip(0..bytes.div_ceil(PART)) {
            let start = at * PART;
            let part = piece(path, start, PART.min(bytes - start)).await?;
            let key = format!("{key}?partNumber={number}&uploadId={id}");
            let sent = self.send(Method::PUT, &key, part).await?;
            let tag = sent.headers().get(http::header::ETAG);
            let tag = tag.and_then(|tag| tag.to_str().ok()).unwrap_or_default();
            parts.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            ));
        }
        let list = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let list = Payload {
            bytes: list.len() as u64,
            body: list.into(),
        };
        let end = format!("{key}?uploadId={id}");
        let ended = self.send(Method::POST, &end, list);
        let ended = ended.await?.text().await.map_err(|e| failed(&e))?;
        match between(&ended, "<Code>", "</Code>") {
            // A server may find out only after it has begun to answer.
            Some(code) => Err(refused(200, code)),
            None => Ok(bytes),
        }
    }

    pub(crate) async fn read(&self, key: &str) -> Result<Vec<u8>, String> {
        let response = self.send(Method::GET, key, Payload::default()).await?;
        let bytes: Bytes = response.bytes().await.map_err(|e| failed(&e))?;
        Ok(bytes.to_vec())
    }

    pub(crate) async fn get(&self, key: &str, path: &Path) -> Result<(), String> {
        let response = self.send(Method::GET, key, Payload::default()).await?;
        save(response, path, failed).await
    }

    /// Sends a request; `key` may have a query behind it.
    async fn send(&self, method: Method, key: &str, payload: Payload) -> Result<Response, String> {
        let url = format!("{}/{key}", self.url);
        let mut request = http::Request::builder()
            .method(&method)
            .uri(&url)
            .header(http::header::CONTENT_LENGTH, payload.bytes)
            .body(payload.body)
            .map_err(|e| refused(0, &e.to_string()))?;
        if let Some(credentials) = &self.credentials {
            signed(&mut request, &url, credentials).map_err(|e| refused(0, &format!("{e:#}")))?;
        }
        let request = request.try_into().map_err(|e: reqwest::Error| failed(&e))?;
        let response = HTTP.execute(request).await.map_err(|e| failed(&e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(refused(
            status.as_u16(),
            status.canonical_reason().unwrap_or("Unknown"),
        ))
    }
}

/// What goes along with a request.
#[derive(Default)]
struct Payload {
    bytes: u64,
    body: reqwest::Body,
}

async fn piece(path: &Path, start: u64, bytes: u64) -> Result<Payload, String> {
    let mut file = File::open(path).await.map_err(local)?;
    file.seek(SeekFrom::Start(start)).await.map_err(local)?;
    Ok(Payload {
        bytes,
        body: reqwest::Body::wrap_stream(ReaderStream::new(file.take(bytes))),
    })
}

/// Signs a request, but for its body.
fn signed(
    request: &mut http::Request<reqwest::Body>,
    url: &str,
    credentials: &Credentials,
) -> anyhow::Result<()> {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name("s3")
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .context("what to sign with is incomplete")?
        .into();
    let method = request.method().as_str().to_owned();
    let body = SignableBody::UnsignedPayload;
    let signable = SignableRequest::new(&method, url, std::iter::empty(), body)
        .context("the request cannot be signed")?;
    let signed = sign(signable, &params).context("the request cannot be signed")?;
    let (instructions, _) = signed.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

fn failed(e: &reqwest::Error) -> String {
    format!("storage_io_error (S3 request failed. Reason: {e})")
}
