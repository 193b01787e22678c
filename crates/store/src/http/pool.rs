//! Connections to one server, each with one request at a time, kept for the next.
//!
//! A connection belongs to whoever has a request on it, and is driven by them: no task runs beside.
//! So a request that is dropped closes its connection, and so does an answer that is not read to its
//! end, or that comes before the request's body was sent.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt as _,
    future::{Fuse, FusedFuture as _},
};
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri,
    header::{HOST, PROXY_AUTHORIZATION},
};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use tokio::{task::JoinSet, time::Instant};

use super::{
    body::Outgoing,
    dial::{Dialer, Way, Wire},
};
use crate::error::chain;

/// How long a connection waits for the next request; many servers close it sooner.
const IDLE: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read ahead: those of 64 connections have to fit beside all buffers.
const AHEAD: usize = 64 * 1024;

/// The connections to one server.
#[derive(Debug)]
pub(crate) struct Pool {
    dialer: Dialer,
    way: Way,
    server: Uri,
    host: HeaderValue,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// The one used last is at the end, with when that was.
    connections: VecDeque<(Instant, Connection)>,
    sweep: JoinSet<()>,
}

/// Moves bytes for whoever waits.
type Driver = Pin<Box<Fuse<http1::Connection<Box<dyn Wire>, Outgoing>>>>;

/// A connection that can take a request.
struct Connection {
    sender: SendRequest<Outgoing>,
    driver: Driver,
}

/// A request that got no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What happened; without secrets.
    pub(crate) cause: String,
    /// Whether the connection was used before, so that its end may have nothing to do with this
    /// request.
    pub(crate) stale: bool,
}

impl Pool {
    /// The pool for a server, given by its scheme and authority; `None` if it lacks either.
    pub(crate) fn new(dialer: Dialer, server: Uri) -> Option<Self> {
        server.scheme()?;
        Some(Self {
            host: HeaderValue::from_str(server.authority()?.as_str()).ok()?,
            way: dialer.way(server.clone()),
            dialer,
            server,
            idle: Mutex::default(),
        })
    }

    /// Whom requests are for, as their `Host` says it.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Sends a request, whose URI is a path, and waits for the beginning of its answer. On a new
    /// connection if that is asked for, or no other is free.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<Outgoing>,
        fresh: bool,
    ) -> Result<Answer, Failure> {
        let kept = if fresh { None } else { self.take().await };
        let stale = kept.is_some();
        let failure = |cause| Failure { cause, stale };
        self.address(&mut request);
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await.map_err(failure)?,
        };
        let Connection { sender, driver } = &mut connection;
        let sent = sender.send_request(request);
        let answer = drive(driver, sent).await;
        let answer = answer.and_then(|sent| sent.map_err(|e| chain(&e)));
        let answer = answer.map_err(failure)?;
        Ok(Answer::new(answer, connection, self))
    }

    /// Says whom the request is for, also to a proxy that passes it on.
    fn address(&self, request: &mut Request<Outgoing>) {
        request.headers_mut().insert(HOST, self.host.clone());
        if let Some(auth) = self.way.forwarded() {
            let mut whole = self.server.clone().into_parts();
            whole.path_and_query = request.uri().path_and_query().cloned();
            *request.uri_mut() = Uri::from_parts(whole).expect("a server and a path make a URI");
            if let Some(auth) = auth {
                request
                    .headers_mut()
                    .insert(PROXY_AUTHORIZATION, auth.clone());
            }
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        let wire = self.dialer.dial(&self.way).await?;
        let made = http1::Builder::new()
            .max_buf_size(AHEAD)
            .handshake(wire)
            .await;
        let (sender, connection) = made.map_err(|e| chain(&e))?;
        Ok(Connection {
            sender,
            driver: Box::pin(connection.fuse()),
        })
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that the server has not closed, the one used last first.
    async fn take(&self) -> Option<Connection> {
        loop {
            let (_, mut connection) = self.idle().connections.pop_back()?;
            if connection.ready().await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request.
    fn keep(self: &Arc<Self>, connection: Connection) {
        let mut idle = self.idle();
        idle.connections.push_back((Instant::now(), connection));
        while idle.sweep.try_join_next().is_some() {}
        if idle.sweep.is_empty() {
            idle.sweep.spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Closes connections that were not used for long, until none is left.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        let old = idle.connections.iter();
        let old = old.take_while(|(since, _)| since.elapsed() >= IDLE).count();
        let closed: Vec<_> = idle.connections.drain(..old).collect();
        let done = idle.connections.is_empty();
        drop(idle);
        drop(closed);
        if done {
            return;
        }
    }
}

impl Connection {
    /// Whether it can take a request now.
    async fn ready(&mut self) -> bool {
        let driver = &mut self.driver;
        let polled = poll_fn(|cx| Poll::Ready(driver.as_mut().poll(cx))).await;
        polled.is_pending() && self.sender.is_ready()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Waits for `work`, which goes on as bytes move.
async fn drive<F: Future>(driver: &mut Driver, work: F) -> Result<F::Output, String> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let ended = driver.as_mut().poll(cx);
        match (work.as_mut().poll(cx), ended) {
            (Poll::Ready(done), _) => Poll::Ready(Ok(done)),
            (Poll::Pending, Poll::Ready(Err(e))) => Poll::Ready(Err(chain(&e))),
            (Poll::Pending, _) if driver.is_terminated() => {
                Poll::Ready(Err("the connection was closed".to_owned()))
            }
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await
}

/// An answer, on the connection that it comes by.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    /// `None` when the body has come to its end.
    rest: Option<(Connection, Arc<Pool>)>,
}

impl Answer {
    fn new(answer: Response<Incoming>, connection: Connection, pool: &Arc<Pool>) -> Self {
        let (head, body) = answer.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body,
            rest: Some((connection, Arc::clone(pool))),
        }
    }

    /// The next bytes of its body; `None` after its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let Some(((connection, _), body)) = self.rest.as_mut().zip(Some(&mut self.body)) else {
                return Ok(None);
            };
            let frame = match body.is_end_stream() {
                true => None,
                false => {
                    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
                    drive(&mut connection.driver, frame).await?
                }
            };
            match frame {
                // Trailers, if any, say nothing we wait for.
                Some(frame) => {
                    if let Ok(bytes) = frame.map_err(|e| chain(&e))?.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                None => self.end().await,
            }
        }
    }

    /// Gives its connection back at once if its body is empty, as most are that only say yes.
    pub(crate) async fn finish(&mut self) {
        if self.body.is_end_stream() {
            self.end().await;
        }
    }

    /// Gives its connection back, if that is fit for another request.
    async fn end(&mut self) {
        if let Some((mut connection, pool)) = self.rest.take()
            && (connection.sender.is_ready() || connection.ready().await)
        {
            pool.keep(connection);
        }
    }
}
