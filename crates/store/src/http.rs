//! HTTP for all providers: a client with everything, and connections with nothing between them and
//! payload, which are what S3's is sent by.
//!
//! HTTP/1.1 only: a server that offers HTTP/2 would get all transfers on one connection. Proxies
//! and CA certificates are taken from the usual environment variables.

mod body;
mod dial;
mod pool;
mod trust;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
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
use http::{HeaderMap, header::RETRY_AFTER};

use crate::{Error, budget::Budget, error::chain};

pub(crate) use body::Outgoing;
pub(crate) use dial::Dialer;
pub(crate) use pool::{Answer, Failure, Pool};

/// To reach a server at all.
const CONNECT: Duration = Duration::from_secs(5);

/// Within which something has to move.
pub(crate) const STALL: Duration = Duration::from_secs(60);

/// How often an idle connection is asked whether it is there still.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What the AWS SDK sends its requests with, and `opendal`; and what opens connections for others.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) client: reqwest::Client,
    pub(crate) dialer: Dialer,
    pub(crate) budget: Budget,
}

impl Connector {
    /// The one for all stores.
    pub(crate) fn new(budget: Budget) -> Result<Self, Error> {
        let tls = trust::tls()?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .http1_only()
            .connect_timeout(CONNECT)
            .tcp_keepalive(KEEP_ALIVE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Error::Settings(format!("HTTP client: {}", chain(&e))))?;
        Ok(Self {
            client,
            dialer: Dialer::new(tls),
            budget,
        })
    }
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
            let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            let rest = answer.as_ref().ok();
            let rest = rest.and_then(|answer| retry_after(answer.headers()));
            budget.answered(method.as_str(), status, rest);
            if answer.as_ref().is_err_and(reqwest::Error::is_timeout) {
                budget.throttled(None);
            }
            let response = answer.map_err(failure)?;
            let response: http::Response<reqwest::Body> = response.into();
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|e| ConnectorError::other(e.into(), None))
        })
    }
}

/// The pause that an answer asks for.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
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
