//! How a node is: whether it answers, how fast, and on what machine.

use std::{io, time::Duration};

use protocol::{Pinged, Probe};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{Error, Node};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Ports ScyllaDB listens on for CQL unless it is told otherwise.
const CQL_PORT: u16 = 9042;
/// A question of version 4 of CQL's protocol without content: what the server supports.
const OPTIONS: [u8; 9] = [0x04, 0, 0, 0, 0x05, 0, 0, 0, 0];
/// The beginning of an answer of version 4, and the kind of the one expected.
const ANSWER: u8 = 0x84;
const SUPPORTED: u8 = 0x06;

impl Node {
    /// Looks after the node, as it must be done on its own machine. Changes nothing, and always ends
    /// within seconds: what does not answer is part of what is found.
    pub async fn ping(&self) -> Pinged {
        let (rest, version) = self.probe_rest().await;
        let mut found = Pinged {
            scylla_version: version,
            cpus: std::thread::available_parallelism()
                .map_or(0, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            memory: memory().unwrap_or_default(),
            rest,
            ..Pinged::default()
        };
        if !found.rest.cause.is_empty() {
            "the REST API did not say where".clone_into(&mut found.cql.cause);
            return found;
        }
        found.uptime_ms = self.uptime_ms().await.unwrap_or_default();
        let (address, port, tls) = self.cql_address().await;
        found.cql_tls = tls;
        found.cql = probe(ask_cql(&address, port, tls)).await;
        found
    }

    async fn probe_rest(&self) -> (Probe, String) {
        let mut version = String::new();
        let asked = async {
            version = self.version().await.map_err(|cause| {
                if let Error::Unreachable { .. } = cause {
                    return "connection refused".to_owned();
                }
                cause.to_string()
            })?;
            Ok(())
        };
        let probe = probe(asked).await;
        (probe, version)
    }

    /// Where CQL is spoken (host and port), and whether within TLS. A node that does not say has the
    /// defaults.
    pub async fn cql_address(&self) -> (String, u16, bool) {
        let text = async |name: &str| {
            let found = self.setting(name).await.ok()?;
            found.as_str().map(str::to_owned)
        };
        let host = reqwest::Url::parse(self.api()).ok();
        let host = host.and_then(|url| url.host_str().map(str::to_owned));
        let address = match text("rpc_address").await.as_deref() {
            None | Some("" | "0.0.0.0" | "::") => host.unwrap_or_default(),
            Some(address) => address.to_owned(),
        };
        let port = self.setting("native_transport_port").await.ok();
        let port = port.and_then(|port| u16::try_from(port.as_u64()?).ok());
        let encryption = self.setting("client_encryption_options").await.ok();
        let tls = encryption.is_some_and(|options| {
            let enabled = &options["enabled"];
            enabled.as_bool() == Some(true) || enabled.as_str() == Some("true")
        });
        (address, port.unwrap_or(CQL_PORT), tls)
    }
}

/// How something answers that is asked by `asking`.
async fn probe(asking: impl Future<Output = Result<(), String>>) -> Probe {
    let began = Instant::now();
    let answer = timeout(PATIENCE, asking).await;
    let round_trip_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (timeout, cause) = match answer {
        Ok(Ok(())) => (false, String::new()),
        Ok(Err(cause)) => (false, cause),
        Err(_) => (true, format!("no answer within {PATIENCE:?}")),
    };
    Probe {
        round_trip_us,
        timeout,
        cause,
    }
}

/// Asks what the server supports, which it tells anybody. Within TLS the connection has to do: how
/// certificates are checked is not known here.
async fn ask_cql(address: &str, port: u16, tls: bool) -> Result<(), String> {
    let said = |error: io::Error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return "connection closed without an answer".to_owned();
        }
        error.to_string()
    };
    let mut stream = TcpStream::connect((address, port)).await.map_err(said)?;
    if tls {
        return Ok(());
    }
    stream.write_all(&OPTIONS).await.map_err(said)?;
    let mut header = [0; OPTIONS.len()];
    stream.read_exact(&mut header).await.map_err(said)?;
    match (header[0], header[4]) {
        (ANSWER, SUPPORTED) => Ok(()),
        (version, kind) => Err(format!(
            "answered with version {version:#04x} and kind {kind:#04x}, which is not CQL's"
        )),
    }
}

/// Bytes of memory of this machine.
fn memory() -> Option<u64> {
    let known = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = known.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_does_not_answer_is_told() {
        let node = Node::new("http://127.0.0.1:1").unwrap();
        let found = node.ping().await;
        assert_eq!(found.rest.cause, "connection refused");
        assert!(!found.rest.timeout && !found.cql.cause.is_empty());
        assert!(found.cpus > 0 && found.memory > 1 << 20, "{found:?}");
    }

    #[tokio::test]
    async fn what_is_not_cql_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400").await.unwrap();
            stream
        };
        let (asked, _stream) = tokio::join!(ask_cql("127.0.0.1", port, false), server);
        assert!(asked.unwrap_err().contains("not CQL's"));
        let server = async { drop(listener.accept().await.unwrap()) };
        let (asked, ()) = tokio::join!(ask_cql("127.0.0.1", port, false), server);
        let said = asked.unwrap_err();
        assert!(said.contains("closed") || said.contains("reset"), "{said}");
    }
}
