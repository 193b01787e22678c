//! The REST API of a node: routes, parameters, and the checks made before any handler.

mod config;
mod identity;
mod maintenance;
mod native;
mod params;
mod refresh;
mod repair;
mod schema;
mod snapshots;
mod tablets;
mod tasks;
mod topology;

pub(crate) use params::Call;

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::answer::{Answer, Fail};
use crate::cluster::Sim;
use crate::node::Node;

/// What a handler works on.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) sim: Arc<Sim>,
    pub(crate) node: Arc<Node>,
}

impl Context {
    /// Remembers that a careful client would not have sent this.
    pub(crate) fn dislike(&self, call: &Call, problem: impl Into<String>) {
        self.sim
            .recorder
            .disliked(self.node.index, &call.text, problem);
    }
}

type Handler = fn(Context, Call) -> BoxFuture<'static, Answer>;

/// One method and path.
pub(crate) struct Route {
    method: &'static str,
    /// Path; `{name}` takes any one segment.
    pattern: &'static str,
    /// Mandatory query parameters, in the order in which they are looked for.
    required: &'static [&'static str],
    /// The other known ones.
    optional: &'static [&'static str],
    /// How far the node's start must have come.
    stage: u8,
    handler: Handler,
}

/// A GET or POST without query parameters.
const fn route(method: &'static str, pattern: &'static str, stage: u8, handler: Handler) -> Route {
    Route {
        method,
        pattern,
        required: &[],
        optional: &[],
        stage,
        handler,
    }
}

impl Route {
    const fn required(self, required: &'static [&'static str]) -> Self {
        Self { required, ..self }
    }

    const fn optional(self, optional: &'static [&'static str]) -> Self {
        Self { optional, ..self }
    }
}

/// Steps of a start in the order in which routes appear; the port opens at 0.
mod stage {
    pub(crate) const FIRST: u8 = 0;
    pub(crate) const TOKENS: u8 = 1;
    pub(crate) const REPAIR: u8 = 2;
    pub(crate) const TABLES: u8 = 3;
    pub(crate) const SNAPSHOTS: u8 = 4;
    pub(crate) const LOADER: u8 = 5;
    pub(crate) const REST: u8 = crate::node::BOOTED;
}

/// Wraps handlers that do not wait.
macro_rules! now {
    ($handler:path) => {
        |context, call| Box::pin(std::future::ready($handler(&context, &call)))
    };
}
/// Wraps handlers that read or write the disk.
macro_rules! disk {
    ($handler:path) => {
        |context, call| Box::pin($crate::rest::blocking(move || $handler(&context, &call)))
    };
}
/// Wraps handlers that wait.
macro_rules! wait {
    ($handler:path) => {
        |context, call| Box::pin($handler(context, call))
    };
}
pub(crate) use {disk, now, wait};

const ROUTES: &[&[Route]] = &[
    identity::ROUTES,
    topology::ROUTES,
    schema::ROUTES,
    snapshots::ROUTES,
    maintenance::ROUTES,
    repair::ROUTES,
    tasks::ROUTES,
    native::ROUTES,
    tablets::ROUTES,
    refresh::ROUTES,
    config::ROUTES,
];

/// Answers one request.
pub(crate) async fn dispatch(context: Context, mut call: Call) -> Answer {
    let stage = *context.node.stage.borrow();
    let known = ROUTES.iter().copied().flatten();
    let Some(route) = known
        .into_iter()
        .find(|route| call.matches(route.method, route.pattern))
    else {
        context.dislike(&call, "no such method and path");
        return Err(Fail::not_found());
    };
    context.sim.recorder.called(
        context.node.index,
        format!("{} {}", route.method, route.pattern),
    );
    if route.stage > stage {
        return Err(Fail::not_found());
    }
    call.bind(route.pattern);
    for name in route.required {
        if call.text(name).is_empty() {
            return Err(Fail::bad(format!("Missing mandatory parameter '{name}'")));
        }
    }
    for name in call.query_names() {
        if !route.required.contains(&name) && !route.optional.contains(&name) {
            context.dislike(&call, format!("unknown query parameter `{name}`"));
        }
    }
    (route.handler)(context, call).await
}

/// Runs work that blocks on the disk where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fail> + Send + 'static,
) -> Result<T, Fail> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(Fail::runtime(panic)))
}
