//! A server that does what a test says, request by request, and notes what it was asked.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Method and target.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// The connection it came by, from 1.
    pub(crate) connection: usize,
}

/// What to do with a request.
pub(crate) enum Act {
    /// Read it to its end, and answer with a head (without its end) and a body.
    Answer(String, Vec<u8>),
    /// Answer without reading its body, and read nothing any more.
    Early(String),
    /// Read so much of its body, and reset the connection.
    Reset(usize),
    /// As `Answer`, but close the connection behind so much of the body.
    Broken(String, Vec<u8>, usize),
    /// Read it to its end, and say nothing.
    Silence,
    /// Be a proxy: connect to there, and pass on what comes both ways.
    Tunnel(SocketAddr),
}

/// An answer with nothing in it.
pub(crate) fn answer(head: &str) -> Act {
    Act::Answer(head.to_owned(), Vec::new())
}

/// A refusal as S3 words it.
pub(crate) fn refusal(status: &str, code: &str, more: &str) -> Act {
    let text = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>because</Message></Error>"
    );
    Act::Answer(format!("{status}\r\n{more}"), text.into_bytes())
}

type Script = dyn Fn(usize, &Seen) -> Act + Send + Sync;

/// Runs until dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    closed: AtomicUsize,
    script: Box<Script>,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Starts one that asks `script` what to do with the head of each request, counted from 1.
    pub(crate) async fn start(
        script: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::with(None, script).await
    }

    /// As [`Self::start`], with TLS or without.
    pub(crate) async fn with(
        tls: Option<TlsAcceptor>,
        script: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            script: Box::new(script),
            tls,
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            _task: task,
        })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, in the order of their heads.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen().clone()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many of them are over.
    pub(crate) fn closed(&self) -> usize {
        self.shared.closed.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        connections.spawn(async move {
            // That the client goes away is the test's business, not ours.
            let _ = match shared.tls.clone() {
                None => serve(stream, number, &shared).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, number, &shared).await,
                    Err(e) => Err(e.into()),
                },
            };
            shared.closed.fetch_add(1, Ordering::SeqCst);
        });
    }
}

/// A stream that can be reset, where it is TCP.
trait Stream: AsyncRead + AsyncWrite + Unpin {
    fn reset(&self) {}
}

impl Stream for TcpStream {
    fn reset(&self) {
        let _ = self.set_zero_linger();
    }
}

impl Stream for tokio_rustls::server::TlsStream<TcpStream> {}

async fn serve(mut stream: impl Stream, connection: usize, shared: &Shared) -> Result<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let rest = read.split_off(end);
        let mut seen = head(&String::from_utf8(read)?, connection)?;
        read = rest;
        let number = {
            let mut all = shared.seen();
            all.push(seen.clone());
            all.len()
        };
        let act = (shared.script)(number, &seen);
        let length = seen.headers.get("content-length");
        let length: usize = length.map_or(Ok(0), |text| text.parse())?;
        let most = match act {
            Act::Answer(..) | Act::Broken(..) | Act::Silence => length,
            Act::Reset(bytes) => bytes,
            Act::Early(_) | Act::Tunnel(_) => 0,
        };
        while read.len() < most && stream.read_buf(&mut read).await? > 0 {}
        let rest = read.split_off(read.len().min(length));
        seen.body = std::mem::replace(&mut read, rest);
        shared.seen()[number - 1] = seen;
        match act {
            Act::Answer(head, body) => {
                let bytes = body.len();
                let text = format!("HTTP/1.1 {head}\r\nContent-Length: {bytes}\r\n\r\n");
                stream.write_all(&[text.as_bytes(), &body].concat()).await?;
            }
            Act::Broken(head, body, sent) => {
                let bytes = body.len();
                let text = format!("HTTP/1.1 {head}\r\nContent-Length: {bytes}\r\n\r\n");
                stream
                    .write_all(&[text.as_bytes(), &body[..sent]].concat())
                    .await?;
                return Ok(stream.shutdown().await?);
            }
            Act::Early(head) => {
                let text = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(text.as_bytes()).await?;
                return std::future::pending().await;
            }
            Act::Silence => return std::future::pending().await,
            Act::Reset(_) => {
                stream.reset();
                return Ok(());
            }
            Act::Tunnel(to) => {
                let mut to = TcpStream::connect(to).await?;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                tokio::io::copy_bidirectional(&mut stream, &mut to).await?;
                return Ok(());
            }
        }
    }
}

fn head(text: &str, connection: usize) -> Result<Seen> {
    let mut lines = text.trim_end().split("\r\n");
    let line = lines.next().context("a request line")?;
    let line = line.trim_end_matches(" HTTP/1.1").to_owned();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').context("a header")?;
        Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Ok(Seen {
        line,
        headers: headers.collect::<Result<_>>()?,
        body: Vec::new(),
        connection,
    })
}
