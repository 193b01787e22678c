//! Why a job was not done.

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

    /// Whether another try may help.
    pub(crate) fn verdict(&self) -> JobError {
        let text = Chain(self).to_string();
        match self {
            Self::Store { cause, .. } if cause.retry() => JobError::Retry(text),
            Self::Bucket(cause) if cause.retry() => JobError::Retry(text),
            Self::Queue(cause) if cause.retry() => JobError::Retry(text),
            Self::LeftOff => JobError::Retry(text),
            Self::Store { .. }
            | Self::Bucket(_)
            | Self::Queue(_)
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
