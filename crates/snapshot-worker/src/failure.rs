//! Why a job was not done.

use queue::JobError;
use service::Chain;

/// What stood in the way of a snapshot or a plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("a snapshot-worker does not do `{kind}` jobs")]
    NotMine { kind: &'static str },
    #[error(transparent)]
    Node(#[from] scylla::Error),
    #[error(transparent)]
    Cql(#[from] scylla::CqlError),
    #[error(transparent)]
    Inspect(#[from] scylla::InspectError),
    #[error("cannot {attempt}")]
    Store {
        attempt: String,
        #[source]
        cause: store::Error,
    },
    #[error("not planned")]
    Plan(#[from] catalog::plan::PlanError),
    #[error(transparent)]
    Manifest(#[from] catalog::ManifestError),
    #[error(transparent)]
    Segment(#[from] catalog::InvalidSegment),
    #[error("`{key}` in the bucket is not readable")]
    Unreadable {
        key: String,
        #[source]
        cause: catalog::DocumentError,
    },
    #[error("ScyllaDB took snapshot {tag} of {table} but has not finished it")]
    Unfinished { tag: String, table: String },
}

impl Failure {
    pub(crate) fn store(attempt: impl Into<String>) -> impl FnOnce(store::Error) -> Self {
        let attempt = attempt.into();
        move |cause| Self::Store { attempt, cause }
    }

    /// Whether another try may help.
    pub(crate) fn verdict(&self) -> JobError {
        let text = Chain(self).to_string();
        let retry = match self {
            Self::Node(cause) | Self::Inspect(scylla::InspectError::Node(cause)) => cause.retry(),
            Self::Store { cause, .. } => cause.retry(),
            Self::Cql(cause) => cause.retry(),
            Self::Unfinished { .. } => true,
            Self::NotMine { .. }
            | Self::Inspect(scylla::InspectError::Pattern(_))
            | Self::Plan(_)
            | Self::Manifest(_)
            | Self::Segment(_)
            | Self::Unreadable { .. } => false,
        };
        if retry {
            JobError::Retry(text)
        } else {
            JobError::Refuse(text)
        }
    }
}
