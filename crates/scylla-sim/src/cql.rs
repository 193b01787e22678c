//! A node's port for CQL: as much of it as anybody may use without logging in.
//!
//! Version 4 of the protocol. `OPTIONS` is answered with what is supported; everything else with the
//! error that a server gives to a client that breaks the protocol, and the end of the connection.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::node::{Health, Node};

/// Bytes a request may have.
const BODY: u32 = 256 << 20;
/// Bytes of a frame's header.
const HEADER: usize = 9;
/// The version of requests; answers have the highest bit set as well.
const VERSION: u8 = 4;
const OPTIONS: u8 = 5;
const SUPPORTED: u8 = 6;
const ERROR: u8 = 0;
/// The error for what the protocol does not allow.
const PROTOCOL_ERROR: u32 = 0x000A;

pub(crate) async fn serve(node: Arc<Node>, listener: TcpListener, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let node = Arc::clone(&node);
                connections.spawn(async move { drop(converse(&node, stream).await) });
            }
        }
    }
}

async fn converse(node: &Node, mut stream: TcpStream) -> io::Result<()> {
    let mut health = node.health.subscribe();
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).await?;
        let [version, _, high, low, kind, length @ ..] = header;
        let length = u32::from_be_bytes(length);
        if length > BODY {
            return Ok(());
        }
        tokio::io::copy(
            &mut (&mut stream).take(length.into()),
            &mut tokio::io::sink(),
        )
        .await?;
        // The sender lives in the node, so this ends only when it no longer hangs.
        let _ = health.wait_for(|health| *health != Health::Hung).await;
        if version == VERSION && kind == OPTIONS {
            let body = multimap(&[
                ("CQL_VERSION", &["3.3.1"]),
                ("COMPRESSION", &["lz4", "snappy"]),
            ]);
            stream
                .write_all(&frame(high, low, SUPPORTED, &body))
                .await?;
        } else {
            let mut body = PROTOCOL_ERROR.to_be_bytes().to_vec();
            body.extend(text("this request is not simulated"));
            return stream.write_all(&frame(high, low, ERROR, &body)).await;
        }
    }
}

fn frame(high: u8, low: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | VERSION, 0, high, low, kind];
    let length = u32::try_from(body.len()).expect("bodies here are short");
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    frame
}

/// A `[string multimap]` of the protocol.
fn multimap(entries: &[(&str, &[&str])]) -> Vec<u8> {
    let mut bytes = count(entries.len()).to_vec();
    for (key, values) in entries {
        bytes.extend(text(key));
        bytes.extend(count(values.len()));
        bytes.extend(values.iter().flat_map(|value| text(value)));
    }
    bytes
}

/// A `[string]` of the protocol.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = count(text.len()).to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// A `[short]` of the protocol.
fn count(of: usize) -> [u8; 2] {
    u16::try_from(of)
        .expect("texts here are short")
        .to_be_bytes()
}
