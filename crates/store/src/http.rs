//! One HTTP client for all providers, and the hands of the AWS SDK on it.
//!
//! HTTP/1.1 only: a server that offers HTTP/2 would get all transfers on one connection. Proxies
//! and CA certificates are taken from the usual environment variables.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{Error, budget::Budget, error::chain};

/// To reach a server at all.
const CONNECT: Duration = Duration::from_secs(5);

/// Within which something has to move.
pub(crate) const STALL: Duration = Duration::from_secs(60);

/// What a body is handed over in, and so the grain at which it is seen to move.
const SLICE: usize = 256 * 1024;

/// The client for all stores.
///
/// `AWS_CA_BUNDLE` adds to the system's certificates (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
pub(crate) fn client() -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .http1_only()
        .connect_timeout(CONNECT)
        .tcp_keepalive(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none());
    if let Some(path) = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) {
        let path = std::path::PathBuf::from(path);
        let wrong =
            |cause: String| Error::Settings(format!("AWS_CA_BUNDLE={}: {cause}", path.display()));
        let pem = std::fs::read(&path).map_err(|e| wrong(e.to_string()))?;
        let more = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| wrong(chain(&e)))?;
        builder = builder.tls_certs_merge(more);
    }
    builder
        .build()
        .map_err(|e| Error::Settings(format!("HTTP client: {}", chain(&e))))
}

/// What the AWS SDK sends its requests with.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) client: reqwest::Client,
    pub(crate) budget: Budget,
}

impl HttpClient for Connector {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.clone().into_shared()
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (client, budget) = (self.client.clone(), self.budget.clone());
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|e| ConnectorError::user(e.into()))?;
            let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap))
                .map_err(|e| ConnectorError::user(e.into()))?;
            let method = request.method().clone();
            let answer = client.execute(request).await;
            match &answer {
                Ok(answer) => budget.answered(&method, answer.status(), answer.headers()),
                Err(error) => budget.unanswered(&method, error.is_timeout()),
            }
            let response = answer.map_err(failure)?;
            let response: http::Response<reqwest::Body> = response.into();
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|e| ConnectorError::other(e.into(), None))
        })
    }
}

/// All of them are worth another try, except what the builder of the request did wrong.
fn failure(error: reqwest::Error) -> ConnectorError {
    let error = error.without_url();
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_builder() {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}

/// Counts what moves, so that a transfer without any movement can be told from a slow one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse(Arc<AtomicU64>);

/// Nothing moved for [`STALL`].
#[derive(Debug)]
pub(crate) struct Stalled;

impl Stalled {
    /// For an error's text.
    pub(crate) const CAUSE: &'static str = "nothing moved for a minute";
}

impl Pulse {
    fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for `work` as long as this pulse goes on beating.
    pub(crate) async fn watch<F: Future>(
        &self,
        limit: Duration,
        work: F,
    ) -> Result<F::Output, Stalled> {
        let mut work = std::pin::pin!(work);
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if let Ok(done) = tokio::time::timeout(limit, &mut work).await {
                return Ok(done);
            }
            let now = self.0.load(Ordering::Relaxed);
            if now == seen {
                return Err(Stalled);
            }
            seen = now;
        }
    }
}

/// A body that can be sent again, and whose every slice is a beat of `pulse`.
pub(crate) fn body(bytes: Bytes, pulse: &Pulse) -> SdkBody {
    let pulse = pulse.clone();
    SdkBody::retryable(move || {
        SdkBody::from_body_1_x(Slices {
            rest: bytes.clone(),
            pulse: pulse.clone(),
        })
    })
}

struct Slices {
    rest: Bytes,
    pulse: Pulse,
}

impl Body for Slices {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        self.pulse.beat();
        let next = SLICE.min(self.rest.len());
        let slice = self.rest.split_to(next);
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_transfer_is_waited_for_and_a_dead_one_is_not() {
        let limit = Duration::from_millis(500);
        let pulse = Pulse::default();
        let slow = async {
            for _ in 0..15 {
                tokio::time::sleep(limit / 10).await;
                pulse.beat();
            }
        };
        assert!(pulse.watch(limit, slow).await.is_ok());
        let dead = std::future::pending::<()>();
        assert!(pulse.watch(limit, dead).await.is_err());
    }
}
