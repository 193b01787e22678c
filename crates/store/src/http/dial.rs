//! How a server is reached: directly or by a proxy, in the clear or by TLS.

use std::sync::Arc;

use http::{HeaderValue, Uri, uri::Scheme};
use hyper::rt::{Read, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::{
    legacy::connect::{HttpConnector, proxy::Tunnel},
    proxy::matcher::{Intercept, Matcher},
};
use rustls::ClientConfig;
use tower_service::Service;

use super::{CONNECT, KEEP_ALIVE};
use crate::error::chain;

/// Opens connections.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    tls: Arc<ClientConfig>,
    proxies: Arc<Matcher>,
}

/// The way to one server.
#[derive(Debug)]
pub(super) struct Way {
    /// Its scheme and authority.
    server: Uri,
    proxy: Option<Intercept>,
}

impl Way {
    /// What a proxy that passes on requests, not bytes, is asked with: the server in the request's
    /// URI, and this header, if there is one.
    pub(super) fn forwarded(&self) -> Option<Option<&HeaderValue>> {
        let proxy = self.proxy.as_ref()?;
        let plain = self.server.scheme() != Some(&Scheme::HTTPS);
        plain.then(|| proxy.basic_auth())
    }
}

/// A connection to a server.
pub(super) trait Wire: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Wire for T {}

impl Dialer {
    /// Proxies are those of the environment.
    pub(super) fn new(tls: ClientConfig) -> Self {
        Self {
            tls: Arc::new(tls),
            proxies: Arc::new(Matcher::from_system()),
        }
    }

    /// How to reach a server.
    pub(super) fn way(&self, server: Uri) -> Way {
        Way {
            proxy: self.proxies.intercept(&server),
            server,
        }
    }

    /// Connects within [`CONNECT`]; an error is a text without secrets.
    pub(super) async fn dial(&self, way: &Way) -> Result<Box<dyn Wire>, String> {
        tokio::time::timeout(CONNECT, self.connect(way))
            .await
            .unwrap_or_else(|_| Err("no connection in time".to_owned()))
    }

    async fn connect(&self, way: &Way) -> Result<Box<dyn Wire>, String> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        // Of several addresses, each gets its share of it.
        tcp.set_connect_timeout(Some(CONNECT));
        let server = way.server.clone();
        let direct = HttpsConnector::from((tcp, Arc::clone(&self.tls)));
        match &way.proxy {
            None => open(direct, server).await,
            Some(proxy) if way.forwarded().is_some() => open(direct, proxy.uri().clone()).await,
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), direct);
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                open(
                    HttpsConnector::from((tunnel, Arc::clone(&self.tls))),
                    server,
                )
                .await
            }
        }
    }
}

async fn open<C>(mut connector: C, to: Uri) -> Result<Box<dyn Wire>, String>
where
    C: Service<Uri, Error = Box<dyn std::error::Error + Send + Sync>>,
    C::Response: Wire + 'static,
{
    match connector.call(to).await {
        Ok(wire) => Ok(Box::new(wire)),
        Err(e) => Err(chain(&*e)),
    }
}
