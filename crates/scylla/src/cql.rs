//! CQL to one node: the schema, what changes it, and rows to compare.
//!
//! # Promises
//! * No secret is in a text, a log or a `Debug` of this module: neither the one a session logs in
//!   with nor those in statements about roles.
//! * A change of the schema that is reported as done is seen by all nodes that answer.
//! * Each request has a limit of time; rows come in pages, so memory does not grow with a table.
//!
//! # Not here
//! What a schema's text means: that is the crate `cql`'s.

mod error;
mod fingerprint;
mod rights;
mod rows;
mod schema;
mod tls;

use std::{fmt, net::IpAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use driver::{
    client::{PoolSize, session_builder::SessionBuilder},
    statement::unprepared::Statement,
};
use futures::TryStreamExt as _;

pub use self::{
    error::CqlError,
    fingerprint::{Consistency, Fingerprint},
    rights::{Right, Rights},
    schema::Described,
    tls::{Tls, Trust},
};
use crate::Node;

/// Connecting to a node.
const CONNECT: Duration = Duration::from_secs(10);
/// A question about the schema, which is answered from memory.
const SHORT: Duration = Duration::from_secs(60);
/// How long nodes may take until they have the same schema.
const AGREEMENT: Duration = Duration::from_secs(60);

/// A user of CQL and its secret.
#[derive(Clone)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The secret.
    pub secret: String,
}

/// Never shows the secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Connections to a cluster over CQL, by way of one of its nodes.
pub struct Session {
    driver: driver::client::session::Session,
    address: String,
    user: Option<String>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("address", &self.address)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Connects to the node whose CQL is at `host` and `port`, and by what it says to the others.
    /// Nodes that do not answer do no harm, but the first must.
    ///
    /// # Errors
    /// [`CqlError::Unreachable`], [`CqlError::Credentials`], [`CqlError::Tls`].
    pub async fn connect(
        host: &str,
        port: u16,
        tls: Option<&Tls>,
        credentials: Option<&Credentials>,
    ) -> Result<Self, CqlError> {
        let address = match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(host)) => format!("[{host}]:{port}"),
            Ok(IpAddr::V4(_)) | Err(_) => format!("{host}:{port}"),
        };
        let one = NonZeroUsize::new(1).expect("1 is not 0");
        let mut builder = SessionBuilder::new()
            .known_node(&address)
            .pool_size(PoolSize::PerHost(one))
            .disallow_shard_aware_port(true)
            .connection_timeout(CONNECT)
            // Names and types are read from what the server describes.
            .fetch_schema_metadata(false)
            .auto_await_schema_agreement(false)
            .schema_agreement_timeout(AGREEMENT)
            .driver_config_reporting(false);
        if let Some(tls) = tls {
            builder = builder.tls_context(Some(Arc::new(tls.client()?)));
        }
        let user = credentials.map(|credentials| credentials.user.clone());
        if let Some(Credentials { user, secret }) = credentials {
            builder = builder.user(user, secret);
        }
        let built = builder.build().await;
        let driver = built.map_err(|e| CqlError::from_connect(&address, user.as_deref(), &e))?;
        Ok(Self {
            driver,
            address,
            user,
        })
    }

    /// Connects to `node`, at the address and port its REST API tells, or at `port`. Within TLS if
    /// the node asks for it, as `tls` says.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn of(
        node: &Node,
        port: Option<u16>,
        tls: &Tls,
        credentials: Option<&Credentials>,
    ) -> Result<Self, CqlError> {
        let (host, found, encrypted) = node.cql_address().await;
        let tls = encrypted.then_some(tls);
        Self::connect(&host, port.unwrap_or(found), tls, credentials).await
    }

    /// The node it was connected by: host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks, and reads the rows of the answer.
    async fn ask<R>(&self, attempt: &str, question: &str) -> Result<Vec<R>, CqlError>
    where
        R: for<'f, 'm> driver::deserialize::row::DeserializeRow<'f, 'm> + 'static,
    {
        let mut statement = Statement::new(question);
        statement.set_is_idempotent(true);
        statement.set_request_timeout(Some(SHORT));
        let pages = self.driver.query_iter(statement, ()).await;
        let pages = pages.map_err(|e| CqlError::from_pages(attempt, &e))?;
        let rows = pages.rows_stream::<R>();
        let rows = rows.map_err(|e| CqlError::answer(attempt, &e))?;
        let rows = rows.try_collect().await;
        rows.map_err(|e| CqlError::from_row(attempt, &e))
    }
}
