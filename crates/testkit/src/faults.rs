//! An HTTP proxy in front of an S3 server that fails as object stores do, only more often.
//!
//! Requests pass through as they are, `Host` included, so that signatures stay right; bodies are
//! streamed. Which fault meets a request follows from the seed, the request (method, path, number of
//! the part) and how often it came before, and from nothing that happens beside it.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http_body_util::BodyDataStream;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use reqwest::Body;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What may go wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// 503 `SlowDown` before the body is read.
    Busy,
    /// As [`Self::Busy`], with `Retry-After` of a second.
    BusyASecond,
    /// 503 `SlowDown` once the body is read; the store gets nothing of it.
    BusyLate,
    /// The connection is reset before anything is read.
    Reset,
    /// The connection is reset when half of the body has gone to the store.
    ResetMidway,
    /// The store has done it, and the connection is reset instead of the answer. Not when an upload in
    /// parts begins: only the bucket's own rules could end that one.
    ResetAfter,
    /// The store has done it, and its answer comes [late](Faults::delay).
    Late,
    /// What is read of an object ends in its middle, and so does the connection.
    Truncated,
    /// The same with a page of a listing, or what else is read of a bucket.
    TruncatedPage,
    /// One bit of what is read of an object is wrong.
    Flipped,
    /// The answer to a PUT names another entity tag and another CRC-32.
    OtherTag,
    /// 403 `ExpiredToken`.
    Expired,
}

impl Fault {
    /// Whether it can happen to such a request at all.
    fn fits(self, method: &Method, uri: &Uri, bytes: u64) -> bool {
        // `/bucket/` or `/bucket`, and not `/bucket/key`.
        let of_bucket = uri.path().trim_matches('/').split('/').nth(1).is_none();
        match self {
            Self::ResetMidway => bytes > 1,
            Self::Truncated | Self::Flipped => method == Method::GET && !of_bucket,
            Self::TruncatedPage => method == Method::GET && of_bucket,
            Self::OtherTag => method == Method::PUT,
            Self::Busy
            | Self::BusyASecond
            | Self::BusyLate
            | Self::Reset
            | Self::Late
            | Self::Expired => true,
            // Nobody would know the upload that has begun, and could end it.
            Self::ResetAfter => !uri
                .query()
                .is_some_and(|query| query.starts_with("uploads")),
        }
    }
}

/// A running proxy; ends when dropped.
pub struct Faults {
    endpoint: String,
    inner: Arc<Inner>,
    _task: JoinSet<()>,
}

struct Inner {
    server: String,
    seed: u64,
    http: reqwest::Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    odds: Vec<(Fault, f64)>,
    delay: Duration,
    /// How often each request came.
    seen: HashMap<String, u64>,
    met: BTreeMap<Fault, u64>,
    /// Bytes of bodies of PUTs that went on to the server, by path.
    sent: BTreeMap<String, u64>,
    in_flight: BTreeMap<u64, String>,
    next: u64,
}

/// A request that is being answered.
struct InFlight<'a>(&'a Inner, u64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight.remove(&self.1);
    }
}

/// The connection is to be reset.
#[derive(Debug, thiserror::Error)]
#[error("reset")]
struct Reset;

impl Faults {
    /// Starts a proxy in front of `server`, as in `http://127.0.0.1:8333`, without any faults yet.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(server: &str, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let inner = Arc::new(Inner {
            server: server.to_owned(),
            seed,
            http,
            state: Mutex::default(),
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&inner)));
        Ok(Self {
            endpoint,
            inner,
            _task: task,
        })
    }

    /// Its base URL.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// From now on each request that can meet a fault does so with the probability given, 0 to 1. None
    /// at all is an empty list.
    pub fn odds(&self, odds: &[(Fault, f64)]) {
        self.inner.state().odds = odds.to_vec();
    }

    /// How long an answer that is [`Fault::Late`] takes.
    pub fn delay(&self, delay: Duration) {
        self.inner.state().delay = delay;
    }

    /// How often each fault happened so far.
    #[must_use]
    pub fn met(&self) -> BTreeMap<Fault, u64> {
        self.inner.state().met.clone()
    }

    /// Bytes of bodies of PUTs that went on to the server so far, by the path of their request.
    #[must_use]
    pub fn sent(&self) -> BTreeMap<String, u64> {
        self.inner.state().sent.clone()
    }

    /// How often each request came so far, as in `PUT /bucket/key`.
    #[must_use]
    pub fn came(&self) -> BTreeMap<String, u64> {
        let state = self.inner.state();
        let came = state.seen.iter();
        came.map(|(name, n)| (name.trim_end().to_owned(), *n))
            .collect()
    }

    /// Requests that wait for their answer now, as in `PUT /bucket/key`.
    #[must_use]
    pub fn in_flight(&self) -> Vec<String> {
        self.inner.state().in_flight.values().cloned().collect()
    }
}

async fn accept(listener: TcpListener, inner: Arc<Inner>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(client, Arc::clone(&inner)));
    }
}

/// Answers one connection until it closes, or is reset.
async fn serve(client: TcpStream, inner: Arc<Inner>) -> Option<()> {
    // A second handle on the socket: what is served owns the first.
    let client = client.into_std().ok()?;
    let handle = TcpStream::from_std(client.try_clone().ok()?).ok()?;
    let client = TcpStream::from_std(client).ok()?;
    let service = service_fn(|request| inner.answer(request));
    let served = http1::Builder::new().serve_connection(TokioIo::new(client), service);
    let served = served.await;
    let reset = |e: &hyper::Error| e.source().is_some_and(|source| source.is::<Reset>());
    if served.as_ref().is_err_and(reset) {
        // What is closed with this is reset.
        handle.set_zero_linger().ok()?;
    }
    Some(())
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault a request is to meet, if any, and a number of its own.
    fn fate(&self, request: &Request<Incoming>, bytes: u64) -> (Option<Fault>, u64) {
        let query = request.uri().query().unwrap_or_default();
        let part = query.split('&').find(|word| word.starts_with("partNumber"));
        let (method, path) = (request.method(), request.uri().path());
        let name = format!("{method} {path} {}", part.unwrap_or_default());
        let mut state = self.state();
        let times = state.seen.entry(name.clone()).or_default();
        *times += 1;
        let mut hasher = DefaultHasher::new();
        (self.seed, name, *times).hash(&mut hasher);
        let number = hasher.finish();
        // 53 bits, as many as a fraction holds.
        let mut drawn = (number >> 11) as f64 / (1_u64 << 53) as f64;
        for (fault, odds) in &state.odds {
            if !fault.fits(method, request.uri(), bytes) {
                continue;
            }
            if drawn < *odds {
                return (Some(*fault), number);
            }
            drawn -= odds;
        }
        (None, number)
    }

    fn begun(&self, request: String) -> InFlight<'_> {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.in_flight.insert(number, request);
        InFlight(self, number)
    }

    fn met(&self, fault: Fault) {
        *self.state().met.entry(fault).or_default() += 1;
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
        let _in_flight = self.begun(format!("{} {}", request.method(), request.uri().path()));
        let bytes = length(request.headers()).unwrap_or_default();
        let (fault, number) = self.fate(&request, bytes);
        match fault {
            Some(fault @ Fault::Reset) => {
                self.met(fault);
                return Err(Reset);
            }
            Some(fault @ (Fault::Busy | Fault::BusyASecond)) => {
                self.met(fault);
                return Ok(refusal(fault));
            }
            Some(fault @ (Fault::BusyLate | Fault::Expired)) => {
                self.met(fault);
                let mut body = BodyDataStream::new(request.into_body());
                while body.try_next().await.map_err(|_| Reset)?.is_some() {}
                return Ok(refusal(fault));
            }
            _ => {}
        }
        let answer = self.forward(request, bytes, fault).await;
        match fault {
            Some(fault @ (Fault::ResetMidway | Fault::ResetAfter)) => {
                self.met(fault);
                Err(Reset)
            }
            fault => self.spoil(answer?, fault, number).await,
        }
    }

    /// Passes a request on; only half of its body, if it is to be reset midway.
    async fn forward(
        self: &Arc<Self>,
        request: Request<Incoming>,
        bytes: u64,
        fault: Option<Fault>,
    ) -> Result<reqwest::Response, Reset> {
        let (head, body) = request.into_parts();
        let url = format!("{}{}", self.server, head.uri);
        let mut headers = head.headers;
        headers.remove(header::CONNECTION);
        let chunked = headers.remove(header::TRANSFER_ENCODING).is_some();
        let put = head.method == Method::PUT;
        let mut request = self.http.request(head.method, url).headers(headers);
        if bytes > 0 || chunked {
            let (this, path) = (Arc::clone(self), head.uri.path().to_owned());
            let counted = BodyDataStream::new(body).inspect_ok(move |piece| {
                if put {
                    *this.state().sent.entry(path.clone()).or_default() += piece.len() as u64;
                }
            });
            request = request.body(match fault {
                Some(Fault::ResetMidway) => Body::wrap_stream(cut(counted, bytes / 2)),
                _ => Body::wrap_stream(counted),
            });
        }
        request.send().await.map_err(|_| Reset)
    }

    /// The server's answer, with what is to be wrong with it.
    async fn spoil(
        &self,
        answer: reqwest::Response,
        fault: Option<Fault>,
        number: u64,
    ) -> Result<Response<Body>, Reset> {
        let fault = fault.filter(|_| answer.status().is_success());
        let bytes = length(answer.headers()).unwrap_or_default();
        let mut response = Response::new(());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        let headers = response.headers_mut();
        headers.remove(header::CONNECTION);
        headers.remove(header::TRANSFER_ENCODING);
        let body = answer.bytes_stream();
        let body = match fault {
            Some(Fault::Truncated | Fault::TruncatedPage) => {
                Body::wrap_stream(cut(body, bytes / 2))
            }
            Some(Fault::Flipped) if bytes > 0 => {
                Body::wrap_stream(flip(body, number % bytes, 1 << (number % 8)))
            }
            Some(Fault::Late) => {
                let delay = self.state().delay;
                tokio::time::sleep(delay).await;
                Body::wrap_stream(body)
            }
            Some(Fault::OtherTag) => {
                let tag = format!("\"{number:032x}\"");
                headers.insert(header::ETAG, tag.parse().expect("hexadecimal digits"));
                let crc = "AAAAAA==".parse().expect("letters");
                headers.insert("x-amz-checksum-crc32", crc);
                Body::wrap_stream(body)
            }
            _ => Body::wrap_stream(body),
        };
        if let Some(fault) = fault {
            self.met(fault);
        }
        Ok(response.map(|()| body))
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    text.parse().ok()
}

/// What a store says that does not want the request.
fn refusal(fault: Fault) -> Response<Body> {
    let (status, code) = if fault == Fault::Expired {
        (StatusCode::FORBIDDEN, "ExpiredToken")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "SlowDown")
    };
    let text = format!("<Error><Code>{code}</Code><Message>by the test</Message></Error>");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        "application/xml".parse().expect("letters"),
    );
    if fault == Fault::BusyASecond {
        headers.insert(header::RETRY_AFTER, "1".parse().expect("a digit"));
    }
    response
}

/// The first `most` bytes of a body, and then an error.
fn cut<E>(
    body: impl Stream<Item = Result<Bytes, E>>,
    most: u64,
) -> impl Stream<Item = Result<Bytes, Reset>> {
    let mut left = most;
    let pieces = body.map(move |piece| {
        let piece = piece.map_err(|_| Reset)?;
        if left == 0 {
            return Err(Reset);
        }
        let bytes = usize::try_from(left).unwrap_or(usize::MAX);
        let bytes = bytes.min(piece.len());
        left -= bytes as u64;
        Ok(piece.slice(..bytes))
    });
    let end = async {
        // What came before is sent meanwhile.
        tokio::task::yield_now().await;
        Err(Reset)
    };
    pieces.chain(stream::once(end))
}

/// A body in which the byte at `at` differs by `mask`.
fn flip<E>(
    body: impl Stream<Item = Result<Bytes, E>>,
    at: u64,
    mask: u8,
) -> impl Stream<Item = Result<Bytes, E>> {
    let mut passed = 0;
    body.map_ok(move |piece| {
        let here = at.checked_sub(passed);
        passed += piece.len() as u64;
        match here.and_then(|here| usize::try_from(here).ok()) {
            Some(here) if here < piece.len() => {
                let mut bytes = piece.to_vec();
                bytes[here] ^= mask;
                bytes.into()
            }
            _ => piece,
        }
    })
}
