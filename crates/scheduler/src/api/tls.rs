//! HTTPS: connections that have shaken hands, as the API's server takes them.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use service::{Error, TlsConfig};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::debug;

use crate::access::Certified;

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that have shaken hands and wait to be served.
const WAITING: usize = 16;

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("`scheduler.tls.cert` and `scheduler.tls.key` belong together: set both")]
    Half,
    #[error("`scheduler.tls.client_ca` needs `scheduler.tls.cert` and `scheduler.tls.key`")]
    NoCert,
    #[error("{path}: {cause}")]
    File { path: String, cause: String },
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error("`scheduler.tls.client_ca`: {0}")]
    Verifier(String),
}

impl Wrong {
    fn file(path: &Path) -> impl Fn(rustls::pki_types::pem::Error) -> Self {
        move |cause| Self::File {
            path: path.display().to_string(),
            cause: cause.to_string(),
        }
    }
}

/// What connections are secured by, if they are to be.
///
/// # Errors
/// What is wrong with the configuration or its files.
pub(crate) fn acceptor(config: &TlsConfig) -> Result<Option<TlsAcceptor>, Error> {
    let read = server(config).map_err(|e| Error::new("reading `scheduler.tls.*`", e))?;
    Ok(read.map(|server| TlsAcceptor::from(Arc::new(server))))
}

fn server(config: &TlsConfig) -> Result<Option<ServerConfig>, Wrong> {
    let (cert, key) = match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) if config.client_ca.is_some() => return Err(Wrong::NoCert),
        (None, None) => return Ok(None),
        (Some(_), None) | (None, Some(_)) => return Err(Wrong::Half),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(path)? {
                roots.add(root)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier
                .build()
                .map_err(|e| Wrong::Verifier(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(Wrong::file(key))?;
    let mut server = builder.with_single_cert(certificates(cert)?, private)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(server))
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let all = CertificateDer::pem_file_iter(path).map_err(Wrong::file(path))?;
    let all: Result<Vec<_>, _> = all.collect();
    let all = all.map_err(Wrong::file(path))?;
    if all.is_empty() {
        return Err(Wrong::File {
            path: path.display().to_string(),
            cause: "there is no certificate in it".to_owned(),
        });
    }
    Ok(all)
}

/// Accepts connections within TLS. Handshakes wait for nobody.
pub(crate) struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    _accepting: JoinSet<()>,
}

impl TlsListener {
    pub(crate) fn new(listener: TcpListener, acceptor: TlsAcceptor) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (to, ready) = mpsc::channel(WAITING);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, acceptor, to));
        Ok(Self {
            address,
            ready,
            _accepting: accepting,
        })
    }
}

async fn accept(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    to: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let mut shaking = JoinSet::new();
    loop {
        let (stream, address) = tokio::select! {
            () = to.closed() => return,
            Some(_) = shaking.join_next() => continue,
            accepted = Listener::accept(&mut listener) => accepted,
        };
        let (acceptor, to) = (acceptor.clone(), to.clone());
        shaking.spawn(async move {
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(to.send((stream, address)).await),
                Ok(Err(cause)) => debug!(%address, %cause, "no handshake"),
                Err(_) => debug!(%address, "no handshake in time"),
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The accepting task lives as long as this.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

/// What is known of the other end of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// Set if it has shown a certificate, which was checked.
    pub(crate) certified: Option<Certified>,
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        let (_, session) = stream.io().get_ref();
        let shown = session.peer_certificates().and_then(|all| all.first());
        Self {
            certified: shown.map(|certificate| Certified {
                name: common_name(certificate).unwrap_or_else(|| "certificate".to_owned()),
            }),
        }
    }
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(_: IncomingStream<'_, TcpListener>) -> Self {
        Self::default()
    }
}

/// The last common name in a certificate: its subject's, which stands behind its issuer's. Only for
/// notes on who asked: who is let in was decided by the signature.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    /// The identifier 2.5.4.3, as it is encoded.
    const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
    let bytes = certificate.as_ref();
    let at = bytes
        .windows(COMMON_NAME.len())
        .rposition(|window| window == COMMON_NAME)?;
    // A text follows: its kind, its length in one byte, and its characters.
    let text = &bytes[at + COMMON_NAME.len()..];
    let length = usize::from(*text.get(1)?);
    let name = std::str::from_utf8(text.get(2..2 + length)?).ok()?;
    let plain = |c: char| !c.is_control();
    (length < 128 && name.chars().all(plain)).then(|| name.to_owned())
}
