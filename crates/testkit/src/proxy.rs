//! A TCP proxy that fails when told to: a cut connection, a network that swallows everything, or a narrow one.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
    time::Instant,
};

/// Forwards connections to one server, until dropped.
pub struct Proxy {
    address: SocketAddr,
    faults: Arc<Faults>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Faults {
    /// Bytes until a connection is cut; negative is never.
    fuse: [AtomicI64; 2],
    swallow: AtomicBool,
    cuts: AtomicU64,
    /// Bytes a second down; 0 is no limit.
    rate: AtomicU64,
    /// When the next bytes have their turn.
    free: Mutex<Option<Instant>>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// From the client to the server.
    Up = 0,
    /// From the server to the client.
    Down = 1,
}

impl Proxy {
    /// Starts a proxy in front of `server`, as in `127.0.0.1:4222`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(server: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let faults = Arc::new(Faults {
            fuse: [AtomicI64::new(-1), AtomicI64::new(-1)],
            ..Faults::default()
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, server.to_owned(), Arc::clone(&faults)));
        Ok(Self {
            address,
            faults,
            _task: task,
        })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts one connection, the one that carries the byte after the next `bytes` that go `way`.
    pub fn cut_after(&self, way: Way, bytes: u32) {
        self.faults.fuse[way as usize].store(bytes.into(), Ordering::SeqCst);
    }

    /// How many connections were cut.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.faults.cuts.load(Ordering::SeqCst)
    }

    /// From now on no more of these bytes a second, 0 for no limit, go from the server to all its clients.
    pub fn narrow(&self, bytes_per_second: u64) {
        self.faults.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    /// From now on bytes vanish, both ways, and connections stay open. `false` ends that for new
    /// connections.
    pub fn swallow(&self, swallow: bool) {
        self.faults.swallow.store(swallow, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, server: String, faults: Arc<Faults>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (server, faults) = (server.clone(), Arc::clone(&faults));
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else {
                return;
            };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                () = forward(from_client, to_server, Way::Up, &faults) => {}
                () = forward(from_server, to_client, Way::Down, &faults) => {}
            }
        });
    }
}

/// Forwards until either end closes or the fuse blows.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, faults: &Faults) {
    let mut buffer = vec![0; 64 * 1024];
    let mut lost = false;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        lost |= faults.swallow.load(Ordering::SeqCst);
        if lost {
            continue;
        }
        if matches!(way, Way::Down) {
            faults.turn(read as u64).await;
        }
        let passed = faults.pass(way, read);
        if to.write_all(&buffer[..passed]).await.is_err() || passed < read {
            return;
        }
    }
}

impl Faults {
    /// Waits for `bytes` to have their turn, one after the other.
    async fn turn(&self, bytes: u64) {
        let rate = self.rate.load(Ordering::SeqCst);
        if rate == 0 {
            return;
        }
        let takes = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate);
        let until = {
            let mut free = self.free.lock().expect("nothing panics with this lock");
            let until = free.map_or_else(Instant::now, |free| free.max(Instant::now())) + takes;
            *free = Some(until);
            until
        };
        tokio::time::sleep_until(until).await;
    }

    /// How many of `bytes` get through before the fuse blows.
    fn pass(&self, way: Way, bytes: usize) -> usize {
        let fuse = &self.fuse[way as usize];
        let length = i64::try_from(bytes).unwrap_or(i64::MAX);
        let burn = |left: i64| match left {
            ..0 => None,
            _ if left < length => Some(-1),
            _ => Some(left - length),
        };
        match fuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, burn) {
            Ok(left) if left < length => {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                usize::try_from(left).unwrap_or_default()
            }
            _ => bytes,
        }
    }
}
