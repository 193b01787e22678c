//! What S3's answers mean.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use base64::Engine;

use crate::{
    Error,
    error::{Attempt, chain},
};

/// A CRC-32 as the header wants it.
pub(super) fn checksum(crc: u32) -> String {
    base64::engine::general_purpose::STANDARD.encode(crc.to_be_bytes())
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    error.code().unwrap_or_default()
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error
        .raw_response()
        .map(|response| response.status().as_u16())
}

/// The condition of a conditional write did not hold.
pub(super) fn precondition_failed<E: ProvideErrorMetadata>(
    error: &SdkError<E, HttpResponse>,
) -> bool {
    code(error) == "PreconditionFailed" || status(error) == Some(412)
}

/// The server lacks what was asked for.
pub(super) fn not_implemented<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    code(error) == "NotImplemented" || status(error) == Some(501)
}

/// There is no such object, as HEAD says it: without a body that could name the bucket.
pub(super) fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    code(error) != "NoSuchBucket" && status(error) == Some(404)
}

/// The error of a failed request.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is non-exhaustive; what is left never got as far as the network"
)]
pub(super) fn explain<E>(attempt: &Attempt<'_>, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(_) => {
            let status = status(error);
            let words = words(error.code(), error.message(), status);
            by_code(attempt, code(error), status, words)
        }
        SdkError::TimeoutError(_) => attempt.unavailable("no answer in time"),
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(cause) => connection(attempt, cause),
            None => attempt.unavailable("the request could not be sent"),
        },
        SdkError::ResponseError(_) => attempt.unavailable(format!(
            "the answer makes no sense: {}",
            error.source_text()
        )),
        _ => attempt.refused(error.source_text()),
    }
}

/// Sorts an error of the service by its code, else by its HTTP status.
pub(super) fn by_code(
    attempt: &Attempt<'_>,
    code: &str,
    status: Option<u16>,
    cause: String,
) -> Error {
    match (code, status) {
        ("NoSuchBucket", _) => attempt.no_bucket(),
        ("NoSuchKey" | "NotFound", _) => attempt.not_found(),
        (
            "AccessDenied"
            | "AllAccessDisabled"
            | "ExpiredToken"
            | "InvalidAccessKeyId"
            | "InvalidToken"
            | "SignatureDoesNotMatch"
            | "RequestTimeTooSkewed",
            _,
        )
        | (_, Some(401 | 403)) => attempt.denied(cause),
        (
            "InternalError"
            | "SlowDown"
            | "ServiceUnavailable"
            | "RequestTimeout"
            | "BadDigest"
            | "InvalidPart"
            | "OperationAborted"
            | "ConditionalRequestConflict",
            _,
        )
        // What says yes and cannot be read broke off on its way.
        | (_, Some(200..=299 | 408 | 409 | 429 | 500..)) => attempt.unavailable(cause),
        (_, Some(404)) => attempt.not_found(),
        (_, Some(301 | 307)) => {
            attempt.refused(format!("{cause}: the bucket is elsewhere; set s3.region"))
        }
        _ => attempt.refused(cause),
    }
}

/// `<code>: <message> (HTTP <status>)`.
pub(super) fn words(code: Option<&str>, message: Option<&str>, status: Option<u16>) -> String {
    let mut words = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(word), None) | (None, Some(word)) => word.to_owned(),
        (None, None) => "no reason given".to_owned(),
    };
    if let Some(status) = status {
        words = format!("{words} (HTTP {status})");
    }
    words
}

/// A request that got no answer.
fn connection(attempt: &Attempt<'_>, error: &ConnectorError) -> Error {
    let text = chain(error);
    if text.contains("credential") || text.contains("identity") {
        return no_credentials(attempt, &text);
    }
    attempt.unavailable(text)
}

/// Their source may be down as well as missing: worth another try.
pub(super) fn no_credentials(attempt: &Attempt<'_>, text: &str) -> Error {
    attempt.unavailable(format!(
        "no credentials: set s3.access_key_id and s3.secret_access_key, or provide them by the \
         environment, a profile or the instance ({text})"
    ))
}

/// The causes of an error, without the SDK's own "service error".
trait SourceText {
    fn source_text(&self) -> String;
}

impl<E: std::error::Error + 'static> SourceText for SdkError<E, HttpResponse> {
    fn source_text(&self) -> String {
        std::error::Error::source(self).map_or_else(|| self.to_string(), chain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPT: Attempt<'_> = Attempt {
        action: "read",
        key: "k",
        place: "s3:b",
    };

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let error = |code, status| by_code(&ATTEMPT, code, status, String::new());
        for (code, status) in [
            ("SlowDown", Some(503)),
            ("", Some(500)),
            ("", Some(429)),
            ("InternalError", None),
        ] {
            assert!(error(code, status).retry(), "{code} {status:?}");
        }
        for (code, status) in [
            ("AccessDenied", Some(403)),
            ("NoSuchBucket", Some(404)),
            ("NoSuchKey", Some(404)),
            ("", Some(400)),
            ("PermanentRedirect", Some(301)),
        ] {
            assert!(!error(code, status).retry(), "{code} {status:?}");
        }
    }

    #[test]
    fn a_checksum_is_the_big_endian_bytes_in_base64() {
        // Of "123456789", as every catalogue of CRCs lists it.
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        assert_eq!(checksum(0xcbf4_3926), "y/Q5Jg==");
    }
}
