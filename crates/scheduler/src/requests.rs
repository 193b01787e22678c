//! Requests as they come out of the queue, from the API and from outside.

use std::sync::Arc;

use protocol::{Fact, Job, NodeId, Request};
use queue::{Context, Handler, JobError};
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

/// Whom to tell that a request is written down or refused, and the span it came in.
pub(crate) struct Asked {
    pub(crate) settled: oneshot::Sender<()>,
    pub(crate) span: Span,
}

/// Hands requests to the leader.
struct Desk {
    leader: mpsc::Sender<(Request, Asked)>,
}

/// Takes requests for the leader at the other end of `leader`.
pub(crate) fn handler(leader: mpsc::Sender<(Request, Asked)>) -> Arc<impl Handler> {
    Arc::new(Desk { leader })
}

impl Handler for Desk {
    async fn handle(&self, job: Job, ctx: Context) -> Result<Option<Fact>, JobError> {
        let Job::Request(request) = job else {
            return Err(JobError::Refuse(format!(
                "a job of kind `{}` is no request",
                job.kind()
            )));
        };
        let (settled, answer) = oneshot::channel();
        let asked = Asked {
            settled,
            span: Span::current(),
        };
        let handed_over = async {
            self.leader
                .send((request, asked))
                .await
                .map_err(|_| JobError::Stopped)?;
            answer.await.map_err(|_| JobError::Stopped)
        };
        tokio::select! {
            () = ctx.stop.cancelled() => Err(JobError::Stopped),
            done = handed_over => done.map(|()| None),
        }
    }

    fn node(&self) -> Option<NodeId> {
        None
    }
}
