//! The HTTP API, `/api/v1`: ScyllaDB Manager's, so that its clients keep working.
//!
//! Every replica answers everything: what has to be decided is written down for the leader.

mod backups;
mod clusters;
mod error;
mod meta;
mod runs;
pub mod shape;
mod tasks;

use std::future::IntoFuture as _;

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, Uri},
    middleware::{self, Next},
    response::Response,
    routing::{self, MethodRouter, get, put},
};
use queue::CancellationToken;
use tokio::net::TcpListener;
use tracing::{Instrument as _, debug, info_span};
use utoipa::OpenApi;

pub(crate) use error::ApiError;
pub use error::ErrorBody;
pub(crate) use shape::*;

use crate::App;

/// How long answers under way may take once the service ends.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Thetis",
        description = "Backup and restore of ScyllaDB clusters. Compatible with the API of ScyllaDB Manager; every answer that is no success has the body `ErrorBody`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        meta::version,
        meta::openapi,
        clusters::list,
        clusters::add,
        clusters::show,
        clusters::remove,
        clusters::status,
        tasks::list,
        tasks::add,
        tasks::show,
        tasks::change,
        tasks::remove,
        tasks::start,
        tasks::stop,
        runs::history,
        runs::show,
        backups::list,
        backups::files::files,
        backups::schema::schema,
        backups::delete::delete,
        backups::delete::show,
        backups::delete::local_snapshots,
        backups::pins::list,
        backups::pins::pin,
        backups::pins::unpin,
    ),
    components(schemas(Schedule))
)]
struct Document;

/// The OpenAPI document of all routes.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// All routes.
fn routes() -> [(&'static str, MethodRouter<App>); 19] {
    [
        ("/api/v1/version", get(meta::version)),
        ("/api/v1/openapi.json", get(meta::openapi)),
        ("/api/v1/clusters", get(clusters::list).post(clusters::add)),
        (
            "/api/v1/cluster/{cluster}",
            get(clusters::show).delete(clusters::remove),
        ),
        ("/api/v1/cluster/{cluster}/status", get(clusters::status)),
        (
            "/api/v1/cluster/{cluster}/tasks",
            get(tasks::list).post(tasks::add),
        ),
        (
            "/api/v1/cluster/{cluster}/task/{type}/{task}",
            get(tasks::show).put(tasks::change).delete(tasks::remove),
        ),
        (
            "/api/v1/cluster/{cluster}/task/{type}/{task}/start",
            put(tasks::start),
        ),
        (
            "/api/v1/cluster/{cluster}/task/{type}/{task}/stop",
            put(tasks::stop),
        ),
        (
            "/api/v1/cluster/{cluster}/task/{type}/{task}/history",
            get(runs::history),
        ),
        (
            "/api/v1/cluster/{cluster}/task/{type}/{task}/{run}",
            get(runs::show),
        ),
        (
            "/api/v1/cluster/{cluster}/backups",
            get(backups::list).delete(backups::delete::delete),
        ),
        (
            "/api/v1/cluster/{cluster}/backups/local_snapshots",
            routing::delete(backups::delete::local_snapshots),
        ),
        (
            "/api/v1/cluster/{cluster}/backups/deletions/{run}",
            get(backups::delete::show),
        ),
        (
            "/api/v1/cluster/{cluster}/backups/pins",
            get(backups::pins::list),
        ),
        (
            "/api/v1/cluster/{cluster}/backups/pins/{tag}",
            put(backups::pins::pin).delete(backups::pins::unpin),
        ),
        (
            "/api/v1/cluster/{cluster}/backups/files",
            get(backups::files::files),
        ),
        (
            "/api/v1/cluster/{cluster}/backups/schema",
            get(backups::schema::schema),
        ),
        ("/api/v1", get(meta::openapi)),
    ]
}

fn router(app: App) -> Router {
    let mut router = Router::new();
    for (path, methods) in routes() {
        router = router.route(path, methods);
    }
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(app.clone(), observed))
        .with_state(app)
}

/// Answers on `listener` until `stop`, and then lets answers under way come to their end.
pub(crate) async fn serve(
    app: App,
    listener: TcpListener,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let stopping = stop.clone();
    let serving = axum::serve(listener, router(app))
        .with_graceful_shutdown(stop.cancelled_owned())
        .into_future();
    let late = async {
        stopping.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving => served,
        () = late => Ok(()),
    }
}

/// One span a request; it travels on with what the request brings about.
async fn observed(State(app): State<App>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = info_span!("request", %method, path);
    let response = next.run(request).instrument(span).await;
    let status = response.status().as_u16();
    debug!(%method, path, status, "answered");
    app.metrics.answered(method.as_str(), status);
    response
}

async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::not_found(format!(
        "there is nothing at `{}`; /api/v1/openapi.json lists what there is",
        uri.path()
    ))
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::no_method(format!(
        "`{}` does not take {method}; /api/v1/openapi.json lists what it takes",
        uri.path()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_documented_and_every_documented_route_is_there() {
        let document = serde_json::to_value(document()).unwrap();
        let documented: std::collections::BTreeSet<&str> = document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let routed: std::collections::BTreeSet<&str> = routes()
            .iter()
            .map(|(path, _)| *path)
            .filter(|path| *path != "/api/v1")
            .collect();
        assert_eq!(documented, routed);
        // Axum tells a route's methods only by answering.
        for (path, router) in routes() {
            if path == "/api/v1" {
                continue;
            }
            let said = format!("{router:?}");
            for method in ["get", "post", "put", "delete"] {
                let routed = !said.contains(&format!("{method}: None"));
                let documented = document["paths"][path].get(method).is_some();
                assert_eq!(documented, routed, "{method} {path}: {said}");
            }
        }
    }
}
