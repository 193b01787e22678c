//! A server's two ports.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{Options, Place, connection, control, state::State, tls, wire::Wire, write_whole};

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) state: State,
}

impl Shared {
    pub(super) fn new(options: Options) -> Arc<Self> {
        let state = State::new();
        Arc::new(Self { options, state })
    }
}

/// A server within this process.
pub(super) struct Server {
    pub(super) place: Place,
    tasks: JoinSet<()>,
}

/// Serves until killed; says on standard output where.
///
/// # Errors
/// When no port can be had, or the certificate can't be written.
pub async fn serve(options: Options) -> Result<()> {
    let server = Server::start(&Shared::new(options)).await?;
    server.place.announce()?;
    server.tasks.join_all().await;
    Ok(())
}

impl Server {
    pub(super) async fn start(shared: &Arc<Shared>) -> Result<Self> {
        let options = &shared.options;
        let data = TcpListener::bind("127.0.0.1:0").await?;
        let asked = TcpListener::bind("127.0.0.1:0").await?;
        let acceptor = options.tls.then(tls::acceptor).transpose()?;
        if let (Some((_, pem)), Some(path)) = (&acceptor, &options.authority) {
            write_whole(path, pem)?;
        }
        let scheme = if options.tls { "https" } else { "http" };
        let place = Place {
            endpoint: format!("{scheme}://{}", data.local_addr()?),
            control: format!("http://{}", asked.local_addr()?),
            authority: options.authority.clone(),
        };
        let mut tasks = JoinSet::new();
        let acceptor = acceptor.map(|(acceptor, _)| acceptor);
        tasks.spawn(accept(data, acceptor, Arc::clone(shared)));
        tasks.spawn(control::serve(asked, Arc::clone(shared)));
        Ok(Self { place, tasks })
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files, say: those that are served will end.
            open.join_next().await;
            continue;
        };
        shared.state.connected();
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        open.spawn(async move {
            // Clients come and go as they like: that is nothing to tell.
            if let Ok(wire) = shake(stream, acceptor).await {
                let _ = connection::talk(&shared, wire).await;
            }
        });
        while open.try_join_next().is_some() {}
    }
}

async fn shake(stream: TcpStream, acceptor: Option<TlsAcceptor>) -> Result<Wire> {
    stream.set_nodelay(true)?;
    let Some(acceptor) = acceptor else {
        return Ok(Wire::Plain(stream));
    };
    let stream = acceptor.accept(stream).await.context("a TLS handshake")?;
    Ok(Wire::Tls(Box::new(stream)))
}
