//! The HTTP API, `/api/v1`: ScyllaDB Manager's, so that its clients keep working.
//!
//! Every replica answers everything: what has to be decided is written down for the leader.

mod advice;
mod audit;
mod backups;
mod bundle;
mod clusters;
mod commands;
mod error;
mod guard;
mod meta;
mod runs;
mod secrets;
pub mod shape;
mod suspended;
mod targets;
mod tasks;
mod throttle;
pub(crate) mod tls;
mod tokens;

use std::future::IntoFuture as _;

use service::Chain;
use tokio_rustls::TlsAcceptor;

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, Uri},
    middleware::{self, Next},
    response::Response,
    routing::{self, MethodRouter, get, post, put},
};
use queue::CancellationToken;
use tokio::net::TcpListener;
use tracing::{Instrument as _, debug, info_span, warn};
use utoipa::{
    OpenApi,
    openapi::{ContentBuilder, Ref, ResponseBuilder},
};

pub(crate) use error::ApiError;
pub use error::ErrorBody;
pub(crate) use shape::*;

use self::tls::{Peer, TlsListener};
use crate::App;

/// What all paths begin with.
const PREFIX: &str = "/api/v1";

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
        clusters::change,
        clusters::remove,
        clusters::status,
        tasks::list,
        tasks::add,
        tasks::show,
        tasks::change,
        tasks::remove,
        tasks::start,
        tasks::stop,
        targets::backup,
        targets::restore,
        targets::repair,
        runs::history,
        runs::show,
        runs::events,
        bundle::show,
        suspended::show,
        suspended::change,
        suspended::details,
        throttle::show,
        throttle::change,
        meta::repairs,
        meta::repairs_parallel,
        backups::list,
        backups::files::files,
        backups::schema::schema,
        backups::delete::delete,
        backups::delete::show,
        backups::delete::local_snapshots,
        backups::pins::list,
        backups::pins::pin,
        backups::pins::unpin,
        tokens::list,
        tokens::make,
        tokens::revoke,
        secrets::rotate,
        audit::list,
    ),
    components(schemas(Schedule, ErrorBody))
)]
struct Document;

/// The OpenAPI document of all routes.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let refusal = || {
        ResponseBuilder::new()
            .description("what is wrong, for whatever reason")
            .content(
                "application/json",
                ContentBuilder::new()
                    .schema(Some(Ref::from_schema_name("ErrorBody")))
                    .build(),
            )
            .build()
    };
    for path in document.paths.paths.values_mut() {
        let methods = [
            &mut path.get,
            &mut path.put,
            &mut path.post,
            &mut path.delete,
        ];
        for operation in methods.into_iter().flatten() {
            let answers = &mut operation.responses.responses;
            answers.insert("default".to_owned(), refusal().into());
        }
    }
    document
}

/// All routes.
fn routes() -> [(&'static str, MethodRouter<App>); 33] {
    [
        ("/api/v1/version", get(meta::version)),
        ("/api/v1/openapi.json", get(meta::openapi)),
        ("/api/v1/clusters", get(clusters::list).post(clusters::add)),
        (
            "/api/v1/cluster/{cluster}",
            get(clusters::show)
                .put(clusters::change)
                .delete(clusters::remove),
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
            "/api/v1/cluster/{cluster}/task/{type}/{task}/{run}/events",
            get(runs::events),
        ),
        (
            "/api/v1/cluster/{cluster}/task/{type}/{task}/{run}/bundle",
            get(bundle::show),
        ),
        (
            "/api/v1/cluster/{cluster}/tasks/backup/target",
            get(targets::backup),
        ),
        (
            "/api/v1/cluster/{cluster}/tasks/restore/target",
            get(targets::restore),
        ),
        (
            "/api/v1/cluster/{cluster}/tasks/repair/target",
            get(targets::repair),
        ),
        (
            "/api/v1/cluster/{cluster}/suspended",
            get(suspended::show).put(suspended::change),
        ),
        (
            "/api/v1/cluster/{cluster}/suspended/details",
            get(suspended::details),
        ),
        (
            "/api/v1/cluster/{cluster}/throttle",
            get(throttle::show).put(throttle::change),
        ),
        (
            "/api/v1/cluster/{cluster}/repairs/intensity",
            put(meta::repairs),
        ),
        (
            "/api/v1/cluster/{cluster}/repairs/parallel",
            put(meta::repairs_parallel),
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
        ("/api/v1/tokens", get(tokens::list).post(tokens::make)),
        ("/api/v1/tokens/{name}", routing::delete(tokens::revoke)),
        ("/api/v1/secrets/rotation", post(secrets::rotate)),
        ("/api/v1/audit", get(audit::list)),
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
        .layer(middleware::from_fn_with_state(app.clone(), guard::guarded))
        .layer(middleware::from_fn_with_state(app.clone(), observed))
        .with_state(app)
}

/// Answers on `listener`, and what comes over NATS, until `stop`; then lets answers under way come to
/// their end.
pub(crate) async fn serve(
    app: App,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let stopping = stop.clone();
    let router = router(app.clone());
    let within = router.clone();
    let commands = app.queue.commands(stop.clone(), move |commanded| {
        commands::obey(within.clone(), commanded)
    });
    let serving = async {
        let connected = router.into_make_service_with_connect_info::<Peer>();
        let stop = stop.cancelled_owned();
        match tls {
            None => {
                let serving = axum::serve(listener, connected);
                serving.with_graceful_shutdown(stop).into_future().await
            }
            Some(tls) => {
                let serving = axum::serve(TlsListener::new(listener, tls)?, connected);
                serving.with_graceful_shutdown(stop).into_future().await
            }
        }
    };
    let late = async {
        stopping.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let served = async {
        let (served, commanded) = tokio::join!(serving, commands);
        if let Err(cause) = commanded {
            warn!(error = %Chain(&cause), "commands over NATS are not heard");
        }
        served
    };
    tokio::select! {
        served = served => served,
        () = late => Ok(()),
    }
}

/// One span a request; it travels on with what the request brings about.
async fn observed(State(app): State<App>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = info_span!("request", %method, path);
    if let Some(Ok(parent)) = request.headers().get("traceparent").map(|h| h.to_str()) {
        queue::continue_trace(&span, parent);
    }
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
