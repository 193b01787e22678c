//! What every worker beside a node starts with: who the node is, and the way to NATS and the stores.

use std::{path::PathBuf, sync::Arc, time::Duration};

use protocol::{NodeId, Presence, WorkerKind};
use queue::{Queue, Settings};
use scylla::Node;
use store::Stores;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Chain, Context, Error, Login, recent};

/// How long to wait before asking a node again that does not answer yet.
const NODE_PAUSE: Duration = Duration::from_secs(2);
/// How long to wait before NATS is tried again.
const NATS_PAUSE: Duration = Duration::from_secs(2);

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
    /// Tells what this process has logged, to whoever asks.
    _answering: Arc<JoinSet<()>>,
}

impl Beside {
    /// Asks the node who it is and connects to NATS, waiting for as long as either does not answer.
    ///
    /// `None` if `ctx.stop` was cancelled before they did.
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
        let settings = ctx.config.nats.answered_at(&presence.node.to_string());
        let Some(queue) = connect(&settings, &name, &ctx.stop).await? else {
            return Ok(None);
        };
        ctx.registry.connected(&queue, &stores);
        let answering = answer_logs(&queue, presence.node, &ctx.stop);
        info!(node = %presence.node, address = presence.address, dc = presence.dc, "ready to work");
        ctx.health.ready(true);
        Ok(Some(Self {
            node,
            data_dir,
            presence: Arc::new(presence),
            queue,
            stores,
            login,
            _answering: Arc::new(answering),
        }))
    }

    /// The node's host id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.presence.node
    }
}

fn answer_logs(queue: &Queue, node: NodeId, stop: &CancellationToken) -> JoinSet<()> {
    let mut answering = JoinSet::new();
    if recent::answers() {
        let (queue, stop) = (queue.clone(), stop.clone());
        answering.spawn(async move {
            let who = node.to_string();
            if let Err(error) = queue.answer_logs(&who, stop, recent::logged).await {
                warn!(error = %Chain(&error), "nobody can be told what was logged here");
            }
        });
    }
    answering
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

/// Connects to NATS and makes what is lacking there, trying again for as long as that may help: a service
/// that ends takes others with it, as in the pod of a database.
///
/// `None` if `stop` was cancelled before.
///
/// # Errors
/// When NATS refuses.
pub async fn connect(
    settings: &Settings,
    name: &str,
    stop: &CancellationToken,
) -> Result<Option<Queue>, Error> {
    let mut told = false;
    loop {
        let connecting = Box::pin(async {
            let queue = Queue::connect(settings, name).await?;
            queue.ensure().await?;
            Ok::<_, queue::Error>(queue)
        });
        let Some(connected) = stop.run_until_cancelled(connecting).await else {
            return Ok(None);
        };
        match connected {
            Ok(queue) => return Ok(Some(queue)),
            Err(cause) if !cause.retry() => return Err(Error::new("connecting to NATS", cause)),
            Err(cause) if !told => {
                warn!(error = %Chain(&cause), "cannot connect to NATS yet, trying on");
                told = true;
            }
            Err(_) => {}
        }
        if pause(stop, NATS_PAUSE).await {
            return Ok(None);
        }
    }
}

/// Waits for `time`, or returns `true` as soon as `stop` is cancelled.
pub async fn pause(stop: &CancellationToken, time: Duration) -> bool {
    stop.run_until_cancelled(tokio::time::sleep(time))
        .await
        .is_none()
}
