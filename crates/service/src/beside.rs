//! What every worker beside a node starts with: who the node is, and the way to NATS and the stores.

use std::{path::PathBuf, sync::Arc, time::Duration};

use protocol::{NodeId, Presence, WorkerKind};
use queue::Queue;
use scylla::Node;
use store::Stores;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Chain, Context, Error, Login};

/// How long to wait before asking a node again that does not answer yet.
const NODE_PAUSE: Duration = Duration::from_secs(2);

/// A worker's surroundings.
#[derive(Clone)]
pub struct Beside {
    /// The node's REST API.
    pub node: Node,
    /// Its data directory, as this process sees it.
    pub data_dir: PathBuf,
    /// Who the node is and what this worker does for it.
    pub presence: Arc<Presence>,
    /// The way to the scheduler.
    pub queue: Queue,
    /// The way to the buckets.
    pub stores: Stores,
    /// The way into the database.
    pub login: Login,
}

impl Beside {
    /// Asks the node who it is, waiting for as long as it does not answer, and connects to NATS.
    ///
    /// `None` if `ctx.stop` was cancelled before the node answered.
    ///
    /// # Errors
    /// When NATS refuses, or the stores' settings are wrong.
    pub async fn start(ctx: &Context, worker: WorkerKind) -> Result<Option<Self>, Error> {
        let node =
            Node::new(&ctx.config.node.api).map_err(|e| Error::new("reading `node.api`", e))?;
        let stores = Stores::new(ctx.config.store.clone())
            .map_err(|e| Error::new("reading `store.*`", e))?;
        let login = Login::new(&ctx.config.cql)?;
        let Some((presence, data_dir)) = identify(ctx, &node, worker).await else {
            return Ok(None);
        };
        let name = format!("thetis-{}-{}", worker.as_str(), presence.node);
        let queue = Queue::connect(&ctx.config.nats, &name)
            .await
            .map_err(|e| Error::new("connecting to NATS", e))?;
        queue
            .ensure()
            .await
            .map_err(|e| Error::new("preparing streams and buckets", e))?;
        ctx.registry.connected(&queue, &stores);
        info!(node = %presence.node, address = presence.address, dc = presence.dc, "ready to work");
        ctx.health.ready(true);
        Ok(Some(Self {
            node,
            data_dir,
            presence: Arc::new(presence),
            queue,
            stores,
            login,
        }))
    }

    /// The node's host id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.presence.node
    }
}

/// Asks until the node answers; `None` when told to stop first.
async fn identify(ctx: &Context, node: &Node, worker: WorkerKind) -> Option<(Presence, PathBuf)> {
    let mut told = false;
    loop {
        let error = match describe(ctx, node, worker).await {
            Ok(found) => return Some(found),
            Err(error) => error,
        };
        if !told {
            warn!(api = ctx.config.node.api, error = %Chain(&error), "the node does not say who it is yet; asking on");
            told = true;
        }
        if pause(&ctx.stop, NODE_PAUSE).await {
            return None;
        }
    }
}

async fn describe(
    ctx: &Context,
    node: &Node,
    worker: WorkerKind,
) -> Result<(Presence, PathBuf), scylla::Error> {
    let id = node.local_host_id().await?;
    let address = node.address_of(id).await?;
    let data_dir = match &ctx.config.node.data_dir {
        Some(path) => path.clone(),
        None => node.data_directory().await?,
    };
    let presence = Presence {
        node: id,
        worker,
        instance: format!("{:08x}{:04x}", std::process::id(), rand_suffix()),
        dc: node.datacenter(&address).await?,
        rack: node.rack(&address).await?,
        cluster_name: node.cluster_name().await?,
        address,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        said_ms: 0,
        native: None,
        rclone: None,
    };
    Ok((presence, data_dir))
}

/// Tells apart workers whose process ids are equal, as in containers.
fn rand_suffix() -> u16 {
    use std::hash::{BuildHasher as _, RandomState};
    let [a, b, ..] = RandomState::new().hash_one(0).to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// Waits for `time`, or returns `true` as soon as `stop` is cancelled.
pub async fn pause(stop: &CancellationToken, time: Duration) -> bool {
    stop.run_until_cancelled(tokio::time::sleep(time))
        .await
        .is_none()
}
