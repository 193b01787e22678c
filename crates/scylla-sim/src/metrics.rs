//! A node's Prometheus port: how busy its coordinator and reactors are, as tests want it.
//!
//! Requests flow at the rate that was set, half of them reads, one shard taking two thirds of them.
//! Their latency falls into the histogram's buckets as ScyllaDB's does: whole microseconds, bounds
//! that grow by a factor of 2, `le` written with six decimals.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::node::{Health, Node};

/// Upper bounds of the buckets but the last, in microseconds.
const BOUNDS: [u64; 16] = [
    64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072, 262_144,
    524_288, 1_048_576, 2_097_152,
];
/// Bytes of a request that is read at most.
const REQUEST: u64 = 8 << 10;

/// What clients ask of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Load {
    /// Reads and writes a second.
    requests: f64,
    /// The latency of all of them, in microseconds.
    latency_us: u64,
    /// How busy each reactor is.
    busy_percent: f64,
}

/// A node's load and what came of it so far.
#[derive(Debug)]
pub(crate) struct Traffic {
    load: Load,
    since: Instant,
    /// Requests by bucket; the last is for what is above all bounds.
    buckets: [f64; BOUNDS.len() + 1],
    sum_us: f64,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self {
            load: Load::default(),
            since: Instant::now(),
            buckets: [0.0; BOUNDS.len() + 1],
            sum_us: 0.0,
        }
    }

    /// Changes what clients ask from now on.
    pub(crate) fn set(&mut self, load: Load) {
        self.flow();
        self.load = load;
    }

    /// Counts what has come since the last time.
    fn flow(&mut self) {
        let now = Instant::now();
        let came = (now - self.since).as_secs_f64() * self.load.requests;
        self.since = now;
        let bucket = BOUNDS.partition_point(|bound| *bound < self.load.latency_us);
        self.buckets[bucket] += came;
        #[expect(clippy::cast_precision_loss, reason = "latencies are small")]
        let latency = self.load.latency_us as f64;
        self.sum_us += came * latency;
    }

    fn text(&mut self) -> String {
        self.flow();
        let mut text = String::new();
        for what in ["read", "write"] {
            let name = format!("scylla_storage_proxy_coordinator_{what}_latency");
            let _ = writeln!(
                text,
                "# HELP {name} The general {what} latency histogram\n# TYPE {name} histogram"
            );
            for (shard, share) in [(0, 1.0 / 3.0), (1, 1.0 / 6.0)] {
                let labels = format!("scheduling_group_name=\"sl:default\",shard=\"{shard}\"");
                let mut below = 0.0;
                for (number, count) in self.buckets.iter().enumerate() {
                    below += count * share;
                    let le = BOUNDS
                        .get(number)
                        .map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound}.000000"));
                    let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{le}\"}} {below:.0}");
                }
                let _ = writeln!(text, "{name}_sum{{{labels}}} {:.0}", self.sum_us * share);
                let _ = writeln!(text, "{name}_count{{{labels}}} {below:.0}");
            }
        }
        let _ = writeln!(
            text,
            "# HELP scylla_reactor_utilization CPU utilization\n# TYPE scylla_reactor_utilization gauge"
        );
        for shard in 0..2 {
            let busy = self.load.busy_percent;
            let _ = writeln!(
                text,
                "scylla_reactor_utilization{{shard=\"{shard}\"}} {busy:.6}"
            );
        }
        text
    }
}

pub(crate) async fn serve(node: Arc<Node>, listener: TcpListener, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let node = Arc::clone(&node);
                connections.spawn(async move { drop(answer(&node, stream).await) });
            }
        }
    }
}

/// One request a connection, whose path must be `/metrics`.
async fn answer(node: &Node, mut stream: TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        request.push(byte[0]);
        if request.len() as u64 > REQUEST {
            return Ok(());
        }
    }
    let mut health = node.health.subscribe();
    // The sender lives in the node, so this ends only when it no longer hangs.
    let _ = health.wait_for(|health| *health != Health::Hung).await;
    let (status, body) = match request.starts_with(b"GET /metrics ") {
        true => {
            let mut traffic = node.traffic.lock().expect("no panic while held");
            ("200 OK", traffic.text())
        }
        false => ("404 Not Found", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
