//! One connection that is kept, and requests made by hand.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

/// What a signature of an S3 request looks like: nobody here checks it, but it takes its place.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=anybody/20260101/us-east-1/s3/aws4_request, \
    SignedHeaders=host;x-amz-checksum-crc32;x-amz-content-sha256;x-amz-date, \
    Signature=0000000000000000000000000000000000000000000000000000000000000000";

/// Bytes of the longest answer, and of the longest body that goes out together with its head.
const SMALL: usize = 64 << 10;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Where connections go.
pub(super) struct Endpoint {
    address: String,
    tls: Option<Arc<ClientConfig>>,
}

/// A connection.
pub(super) struct Connection {
    host: String,
    stream: Box<dyn Stream>,
    /// A head that has not been sent yet: it goes out with the first bytes of the body.
    head: Vec<u8>,
    answer: Vec<u8>,
}

impl Endpoint {
    pub(super) fn new(url: &str, authority: Option<&Path>) -> Result<Self> {
        let (scheme, address) = url.split_once("://").context("a URL has a scheme")?;
        let tls = match (scheme, authority) {
            ("https", Some(path)) => Some(Arc::new(trusting(path)?)),
            ("https", None) => bail!("{url} needs the certificate to trust"),
            _ => None,
        };
        let address = address.to_owned();
        Ok(Self { address, tls })
    }

    pub(super) fn connect(&self) -> Result<Connection> {
        let plain = TcpStream::connect(&self.address)
            .with_context(|| format!("connecting to {}", self.address))?;
        plain.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(plain),
            Some(config) => {
                let name = ServerName::from(plain.peer_addr()?.ip());
                let client = ClientConnection::new(Arc::clone(config), name)?;
                Box::new(StreamOwned::new(client, plain))
            }
        };
        Ok(Connection {
            host: self.address.clone(),
            stream,
            head: Vec::new(),
            answer: Vec::new(),
        })
    }
}

fn trusting(authority: &Path) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

impl Connection {
    /// Begins a request whose body has `bytes` bytes.
    pub(super) fn begin(&mut self, method: &str, key: &str, headers: &str, bytes: u64) {
        let mut head = String::with_capacity(1 << 10);
        let host = &self.host;
        let _ = write!(
            head,
            "{method} /bucket/{key} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\
             Authorization: {AUTHORIZATION}\r\nx-amz-date: 20260101T000000Z\r\n\
             x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n{headers}\r\n"
        );
        self.head = head.into_bytes();
    }

    /// Sends some of the body.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() <= SMALL && !self.head.is_empty() {
            self.head.extend_from_slice(bytes);
            return self.flush();
        }
        self.flush()?;
        Ok(self.stream.write_all(bytes)?)
    }

    fn flush(&mut self) -> Result<()> {
        if !self.head.is_empty() {
            self.stream.write_all(&self.head)?;
            self.head.clear();
        }
        Ok(())
    }

    /// Reads the answer, which must be a good one; gives its body.
    pub(super) fn end(&mut self) -> Result<String> {
        self.flush()?;
        self.stream.flush()?;
        self.answer.clear();
        loop {
            if let Some(body) = self.complete()? {
                return Ok(body);
            }
            ensure!(self.answer.len() < SMALL, "an answer is too long");
            let mut piece = [0; 4096];
            let read = self.stream.read(&mut piece)?;
            ensure!(read > 0, "the connection ends within an answer");
            self.answer.extend_from_slice(&piece[..read]);
        }
    }

    /// The answer's body, if all of it is there.
    fn complete(&self) -> Result<Option<String>> {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(start) = head.parse(&self.answer)? else {
            return Ok(None);
        };
        let length = head.headers.iter();
        let mut length = length.filter(|one| one.name.eq_ignore_ascii_case("content-length"));
        let length: usize = match length.next() {
            Some(header) => std::str::from_utf8(header.value)?.parse()?,
            None => 0,
        };
        let Some(body) = self.answer.get(start..start + length) else {
            return Ok(None);
        };
        let body = String::from_utf8_lossy(body).into_owned();
        let status = head.code.context("an answer has a status")?;
        ensure!(status == 200, "the server answers {status}: {body}");
        Ok(Some(body))
    }

    /// A request with all of its body; gives the body of the answer.
    pub(super) fn ask(
        &mut self,
        method: &str,
        key: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<String> {
        self.begin(method, key, headers, body.len() as u64);
        self.write(body)?;
        self.end()
    }
}
