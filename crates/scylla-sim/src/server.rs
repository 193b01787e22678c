//! The nodes' ports: binding, connections, and the way from a request to its answer.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures::future::OptionFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Answer, Fail};
use crate::cluster::Sim;
use crate::config::Config;
use crate::cql;
use crate::error::Error;
use crate::fault::Action;
use crate::metrics;
use crate::node::{Health, Node};
use crate::rest::{self, Call, Context};
use crate::schema::Model;
use crate::topology;

/// Times to try to listen before giving up.
const TRIES: usize = 30;
/// Between tries on the same addresses.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes a request's body may have.
const BODY: usize = 64 << 20;

/// A node's ports: those of the REST API and of CQL.
pub(crate) type Ports = (StdListener, StdListener);

/// Finds addresses for all nodes and listens on them; they are in the returned model.
pub(crate) async fn bind(
    config: &Config,
    saved: Option<Model>,
) -> Result<(Model, Vec<Ports>), Error> {
    let (mut model, base) = match saved {
        Some(model) => {
            let first = model.members.first().map(|member| member.address);
            (model, config.base_address.or(first))
        }
        None => {
            let members = topology::members(config, Ipv4Addr::LOCALHOST);
            (
                Model::new(&config.cluster_name, 0, members),
                config.base_address,
            )
        }
    };
    if model.members.is_empty() {
        return Err(Error::settings("a cluster needs at least one node"));
    }
    let port = if config.api_port == 0 {
        model.api_port
    } else {
        config.api_port
    };
    let mut last = None;
    for _ in 0..TRIES {
        let fixed = base.is_some();
        let base = base.unwrap_or_else(random_block);
        let count = model.members.len();
        let both = listen(base, count, port)
            .and_then(|rest| Ok((rest, listen(base, count, model.cql_port)?)));
        match both {
            Ok(((port, rest), (cql_port, cql))) => {
                for (number, member) in model.members.iter_mut().enumerate() {
                    member.address = topology::address(base, number);
                }
                model.api_port = port;
                model.cql_port = cql_port;
                return Ok((model, rest.into_iter().zip(cql).collect()));
            }
            Err(e) => last = Some((base, e)),
        }
        if fixed {
            // Whoever was killed just now may still be letting go of its ports.
            tokio::time::sleep(PAUSE).await;
        }
    }
    let (base, source) = last.expect("tried at least once");
    Err(Error::Listen {
        address: format!("{base}:{port}"),
        source,
    })
}

fn random_block() -> Ipv4Addr {
    let [a, b, ..] = *uuid::Uuid::new_v4().as_bytes();
    Ipv4Addr::new(127, 64 | a, b, 1)
}

fn listen(base: Ipv4Addr, count: usize, mut port: u16) -> io::Result<(u16, Vec<StdListener>)> {
    let mut listeners = Vec::new();
    for number in 0..count {
        let listener = StdListener::bind((topology::address(base, number), port))?;
        listener.set_nonblocking(true)?;
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok((port, listeners))
}

/// The server of each node, if it is open.
#[derive(Debug)]
pub(crate) struct Doors {
    doors: Vec<Mutex<Option<Door>>>,
}

#[derive(Debug)]
struct Door {
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Doors {
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            doors: (0..nodes).map(|_| Mutex::new(None)).collect(),
        }
    }

    /// Serves `node` on its ports.
    pub(crate) async fn open(&self, sim: &Arc<Sim>, node: &Arc<Node>, (rest, cql): Ports) {
        let inside = |port| TcpListener::from_std(port).expect("we are inside the runtime");
        let stop = sim.stop.child_token();
        let rest = serve(
            Arc::clone(sim),
            Arc::clone(node),
            inside(rest),
            stop.clone(),
        );
        let cql = cql::serve(Arc::clone(sim), Arc::clone(node), inside(cql), stop.clone());
        let metrics = bind_port(node, "prometheus_port")
            .await
            .map(|port| metrics::serve(Arc::clone(node), port, stop.clone()));
        let door = Door {
            stop,
            server: sim.tracker.spawn(async {
                tokio::join!(rest, cql, OptionFuture::from(metrics));
            }),
        };
        *self.doors[node.index].lock().await = Some(door);
    }

    /// Closes the port and all connections of a node; connecting is refused afterwards.
    pub(crate) async fn close(&self, node: usize) {
        if let Some(door) = self.doors[node].lock().await.take() {
            door.stop.cancel();
            let _ = door.server.await;
        }
    }

    pub(crate) async fn close_all(&self) {
        for node in 0..self.doors.len() {
            self.close(node).await;
        }
    }

    /// Opens the port again, if it is closed.
    pub(crate) async fn reopen(&self, sim: &Arc<Sim>, node: &Arc<Node>) -> Result<(), Error> {
        if self.doors[node.index].lock().await.is_some() {
            return Ok(());
        }
        let bind = |port: u16| {
            let address = SocketAddr::from((node.member.address, port));
            let failed = |source| Error::Listen {
                address: address.to_string(),
                source,
            };
            let listener = StdListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            Ok::<_, Error>(listener)
        };
        let (api, cql) = (sim.model().api_port, sim.model().cql_port);
        self.open(sim, node, (bind(api)?, bind(cql)?)).await;
        Ok(())
    }
}

/// A port besides the REST API's and CQL's, which the node's configuration names as `key`; the same one after
/// the door was closed for a while, if that is free still.
async fn bind_port(node: &Node, key: &str) -> Option<TcpListener> {
    let address = node.member.address;
    let known = node
        .config
        .lock()
        .expect("no panic while held")
        .get(key)
        .cloned();
    let known = known.and_then(|port| u16::try_from(port.as_u64()?).ok());
    let mut bound = TcpListener::bind((address, known.unwrap_or_default())).await;
    if bound.is_err() {
        bound = TcpListener::bind((address, 0)).await;
    }
    let listener = bound.ok()?;
    let port = listener.local_addr().ok()?.port();
    let mut config = node.config.lock().expect("no panic while held");
    config.insert(key.to_owned(), port.into());
    Some(listener)
}

async fn serve(sim: Arc<Sim>, node: Arc<Node>, listener: TcpListener, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let (sim, node) = (Arc::clone(&sim), Arc::clone(&node));
                let service = service_fn(move |request| handle(Arc::clone(&sim), Arc::clone(&node), request));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(connection.await) });
            }
        }
    }
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("reset by a fault")]
struct Reset;

async fn handle(
    sim: Arc<Sim>,
    node: Arc<Node>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Reset> {
    let mut health = node.health.subscribe();
    // The sender lives in the node, so this ends only when it no longer hangs.
    let _ = health.wait_for(|health| *health != Health::Hung).await;
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let method = parts.method.as_str().to_owned();
    let strike = sim.faults.strike(node.index, &method, &path, &query);
    let Ok(body) = axum::body::to_bytes(Body::new(body), BODY).await else {
        return Ok(answer::response(Err(Fail::new(
            413,
            "request body too large",
        ))));
    };
    tokio::time::sleep(strike.before).await;
    let context = Context {
        sim: Arc::clone(&sim),
        node,
    };
    let answer = match strike.instead {
        Some(action) => act(action).await?,
        None => {
            let call = Call::new(method, &path, &query, body);
            // A task of its own: the work goes on when the client hangs up.
            let stop = sim.stop.clone();
            let work = sim.tracker.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => Err(Fail::runtime("shutting down")),
                    answer = rest::dispatch(context, call) => answer,
                }
            });
            work.await.unwrap_or_else(|panic| Err(Fail::runtime(panic)))
        }
    };
    tokio::time::sleep(strike.after).await;
    let answer = match strike.finally {
        Some(action) => act(action).await?,
        None => answer,
    };
    Ok(answer::response(answer))
}

async fn act(action: Action) -> Result<Answer, Reset> {
    match action {
        Action::Status { status, message } => Ok(Err(Fail::new(status, message))),
        Action::Reset => Err(Reset),
        Action::Hang | Action::Delay { .. } => {
            let never: Infallible = std::future::pending().await;
            match never {}
        }
    }
}
