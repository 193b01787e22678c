//! What `opendal`'s errors mean.

use opendal::ErrorKind;

use crate::{
    Error,
    error::{Attempt, chain},
};

/// How stores name a missing bucket where they could also mean an object.
const NO_BUCKET: [&str; 3] = [
    "ContainerNotFound",
    "The specified bucket does not exist",
    "NoSuchBucket",
];

/// What signing says when there is nothing to sign with, or its source is down.
const NO_CREDENTIALS: &str = "load signing credential";

/// Settings that no client can be made of.
pub(super) fn settings(place: &str, error: &opendal::Error) -> Error {
    Error::Settings(format!("{place}: {}", words(error)))
}

/// The error of a failed operation.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is non-exhaustive, and the rest is told by whether it may pass"
)]
pub(super) fn explain(attempt: &Attempt<'_>, error: &opendal::Error) -> Error {
    let cause = words(error);
    if cause.contains(NO_CREDENTIALS) {
        return attempt.unavailable(format!(
            "no credentials: configure them for this provider, or provide them by the environment \
             or the instance ({cause})"
        ));
    }
    match error.kind() {
        ErrorKind::NotFound => {
            let of_bucket = matches!(attempt.action, "write" | "list");
            if of_bucket || NO_BUCKET.iter().any(|words| cause.contains(words)) {
                attempt.no_bucket()
            } else {
                attempt.not_found()
            }
        }
        ErrorKind::PermissionDenied => attempt.denied(cause),
        ErrorKind::ConfigInvalid => Error::Settings(format!("{}: {cause}", attempt.place)),
        ErrorKind::RateLimited => attempt.unavailable(cause),
        _ if error.is_permanent() => attempt.refused(cause),
        _ => attempt.unavailable(cause),
    }
}

/// Message and causes, without the context: that may hold a signed URL.
fn words(error: &opendal::Error) -> String {
    let message = error.message().to_owned();
    match std::error::Error::source(error) {
        Some(cause) => format!("{message}: {}", chain(cause)),
        None => message,
    }
}
