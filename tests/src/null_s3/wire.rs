//! A connection, plain or by TLS.

use std::{io, time::Duration};

use rustix::net::{RecvFlags, recv, sockopt};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Reads what there is; 0 at the end.
    pub(super) async fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(space).await,
            Self::Tls(stream) => stream.read(space).await,
        }
    }

    /// As [`Self::read`], of what nobody will look at: what is plain is not even copied.
    pub(super) async fn skip(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => return stream.read(space).await,
        };
        loop {
            stream.readable().await?;
            let skipped = stream.try_io(Interest::READABLE, || {
                let (_, bytes) = recv(&*stream, &mut *space, RecvFlags::TRUNC)?;
                Ok(bytes)
            });
            match skipped {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Has the other side see a reset instead of an end.
    pub(super) fn reset(&self) -> io::Result<()> {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        Ok(sockopt::set_socket_linger(stream, Some(Duration::ZERO))?)
    }
}
