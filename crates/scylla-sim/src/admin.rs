//! The admin API: what tests do to the cluster that no client could. Documented in the crate's docs.

mod data;
mod nodes;
mod schema;
mod watch;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

use crate::answer::Fail;
use crate::cluster::{Sim, Target};
use crate::error::Error;

/// Starts the admin server; it stops with the simulator.
pub(crate) async fn serve(sim: &Arc<Sim>) -> Result<SocketAddr, Error> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, sim.config.admin_port));
    let failed = |source| Error::Listen {
        address: wanted.to_string(),
        source,
    };
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let router = Router::new()
        .merge(schema::router())
        .merge(data::router())
        .merge(watch::router())
        .merge(nodes::router())
        .with_state(Arc::clone(sim));
    let stop = sim.stop.clone();
    sim.tracker.spawn(async move {
        let server = axum::serve(listener, router);
        tokio::select! {
            () = stop.cancelled() => {}
            served = server => if let Err(e) = served {
                tracing::warn!(error = %e, "the admin server ended");
            },
        }
    });
    Ok(address)
}

/// Why an admin request was not done: 400 for senseless ones, 500 when the disk failed.
#[derive(Debug)]
pub(crate) struct Refusal(Error);

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Self(e)
    }
}

impl From<Fail> for Refusal {
    fn from(fail: Fail) -> Self {
        Self(Error::Settings(fail.message))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Error::Settings(_) => StatusCode::BAD_REQUEST,
            Error::Listen { .. } | Error::File { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let source = std::error::Error::source(&self.0).map(|e| format!(": {e}"));
        let text = format!("{}{}", self.0, source.unwrap_or_default());
        (status, axum::Json(serde_json::json!({ "error": text }))).into_response()
    }
}

type Done<T> = Result<axum::Json<T>, Refusal>;

/// Runs work that blocks on the disk, to its end even when the client hangs up.
async fn blocking<T: Send + 'static>(
    sim: &Arc<Sim>,
    work: impl FnOnce(&Arc<Sim>) -> Result<T, Refusal> + Send + 'static,
) -> Done<T> {
    let sim = Arc::clone(sim);
    let handle = tokio::task::spawn_blocking(move || work(&sim));
    let done = handle
        .await
        .unwrap_or_else(|panic| Err(Error::settings(panic.to_string()).into()));
    done.map(axum::Json)
}

/// All tables, or those of one keyspace, or one table. System keyspaces only when named.
fn targets(sim: &Sim, keyspace: Option<&str>, table: Option<&str>) -> Result<Vec<Target>, Refusal> {
    let mut names = Vec::new();
    for (name, found) in &sim.model().keyspaces {
        let wanted = keyspace.map_or(!found.system, |keyspace| keyspace == name);
        if wanted {
            let tables = found
                .tables
                .keys()
                .filter(|name| table.is_none_or(|table| table == *name));
            names.extend(tables.map(|table| (name.clone(), table.clone())));
        }
    }
    if names.is_empty() && (keyspace.is_some() || table.is_some()) {
        return Err(Error::settings(format!("no table {keyspace:?} {table:?}")).into());
    }
    names
        .iter()
        .map(|(ks, table)| Ok(sim.target(ks, table)?))
        .collect()
}
