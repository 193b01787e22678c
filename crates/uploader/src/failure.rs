//! Why a job was not done.

use protocol::TableRef;
use queue::JobError;
use service::Chain;

/// What stood in the way of a job.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("an uploader does not do `{kind}` jobs")]
    NotMine { kind: &'static str },
    #[error("cannot {attempt}")]
    Store {
        attempt: String,
        #[source]
        cause: store::Error,
    },
    #[error("`{key}` in the bucket is not readable")]
    Unreadable {
        key: String,
        #[source]
        cause: catalog::DocumentError,
    },
    #[error(transparent)]
    Manifest(#[from] catalog::ManifestError),
    #[error(transparent)]
    Segment(#[from] catalog::InvalidSegment),
    #[error("chunk {chunk} is not in the plan at `{key}`, though the plan is complete")]
    NoChunk { chunk: u32, key: String },
    #[error("not sealed: chunk {chunk} has no receipt")]
    NoReceipt { chunk: u32 },
    #[error("not sealed")]
    Seal(#[from] catalog::seal::SealError),
    #[error(transparent)]
    Bucket(#[from] bucket::Error),
    #[error(transparent)]
    Queue(queue::Error),
    #[error(transparent)]
    Node(#[from] scylla::Error),
    #[error("{who} could not store files of {table}: {words}")]
    Task {
        who: &'static str,
        table: TableRef,
        words: String,
    },
    #[error(
        "`{key}` is not in the bucket as it should be, though {who} was asked {tries} times to store it"
    )]
    Unproven {
        who: &'static str,
        key: String,
        tries: u32,
    },
    #[error("left off")]
    Stopped,
    #[error("left off: the run is over, or NATS was not heard of in time")]
    LeftOff,
    #[error(
        "not sealed: `{key}` and {more} other files are gone or changed that the bucket had when the \
         upload was planned; the next backup uploads them, also if it continues this one"
    )]
    Gone { key: String, more: usize },
    #[error("not sealed: `{key}` is gone from the bucket; start a new backup")]
    NoPlan { key: String },
}

impl Failure {
    pub(crate) fn store(attempt: impl Into<String>) -> impl FnOnce(store::Error) -> Self {
        let attempt = attempt.into();
        move |cause| Self::Store { attempt, cause }
    }

    /// Whether the own engine could not do better than ScyllaDB: the file is damaged, or it is to be left
    /// off.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Stopped | Self::Store { .. })
    }

    /// Whether another try may help.
    pub(crate) fn verdict(&self) -> JobError {
        let text = Chain(self).to_string();
        match self {
            Self::Store { cause, .. } if cause.retry() => JobError::Retry(text),
            Self::Bucket(cause) if cause.retry() => JobError::Retry(text),
            Self::Queue(cause) if cause.retry() => JobError::Retry(text),
            Self::Node(cause) if cause.retry() => JobError::Retry(text),
            Self::Task { words, .. } if !is_settled(words) => JobError::Retry(text),
            Self::LeftOff | Self::Unproven { .. } => JobError::Retry(text),
            Self::Stopped => JobError::Stopped,
            Self::Store { .. }
            | Self::Bucket(_)
            | Self::Queue(_)
            | Self::Node(_)
            | Self::Task { .. }
            | Self::NotMine { .. }
            | Self::Unreadable { .. }
            | Self::NoChunk { .. }
            | Self::Manifest(_)
            | Self::Segment(_)
            | Self::NoReceipt { .. }
            | Self::Seal(_)
            | Self::Gone { .. }
            | Self::NoPlan { .. } => JobError::Refuse(text),
        }
    }
}

/// Whether what another failed with will be so the next time: the store said no, or no such store is
/// known. All else may pass.
pub(crate) fn is_settled(words: &str) -> bool {
    const NO: [&str; 9] = [
        "Code: 401",
        "Code: 403",
        "Code: 404",
        "Access Denied",
        "AccessDenied",
        "Forbidden",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "NoSuchBucket",
    ];
    let no_endpoint = words.contains("endpoint") && words.contains("not found");
    no_endpoint || NO.iter().any(|no| words.contains(no))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tasks_words_decide_whether_it_is_tried_again() {
        for (words, again) in [
            (
                "storage_io_error (S3 request failed. Code: 503. Reason: Slow Down)",
                true,
            ),
            (
                "storage_io_error (S3 request failed. Code: 403. Reason: Forbidden)",
                false,
            ),
            (
                "storage_io_error (S3 request failed. Code: 404. Reason: Not Found)",
                false,
            ),
            (
                "std::invalid_argument (endpoint http://store not found)",
                false,
            ),
            ("seastar::abort_requested_exception (abort requested)", true),
            (
                "std::system_error (error system:28, No space left on device)",
                true,
            ),
        ] {
            let failure = Failure::Task {
                who: "ScyllaDB",
                table: TableRef {
                    keyspace: "shop".into(),
                    table: "users".into(),
                },
                words: words.to_owned(),
            };
            let verdict = failure.verdict();
            assert_eq!(matches!(verdict, JobError::Retry(_)), again, "{verdict:?}");
            assert!(verdict.to_string().contains(words), "{verdict}");
        }
    }
}
