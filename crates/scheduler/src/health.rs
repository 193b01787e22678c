//! Looks again and again at what no run tells of: how nodes answer, and what waits in the queue.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use protocol::{Cluster, Presence};
use service::Chain;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::{App, clusters, metrics::Found};

/// How many nodes are asked at once.
const AT_ONCE: usize = 16;

/// Looks every `scheduler.health_secs`, until dropped.
pub(crate) async fn look_on(app: App) {
    let mut looks = interval(Duration::from_secs(app.config.scheduler.health_secs));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match app.queue.depth().await {
            Ok(depth) => app.metrics.board.depth(depth),
            Err(error) => debug!(error = %Chain(&error), "queue not looked at"),
        }
        let workers = match app.queue.workers().await {
            Ok(workers) => workers,
            Err(error) => {
                debug!(error = %Chain(&error), "nodes not looked at");
                continue;
            }
        };
        let known = app.memory().clusters.clone();
        for cluster in known {
            look_at(&app, &cluster, &workers).await;
        }
    }
}

async fn look_at(app: &App, cluster: &Cluster, workers: &[Presence]) {
    // Each future owns what it works with: those over references are not general enough here.
    let asked = cluster.nodes.iter().cloned().map(|node| {
        let (app, id) = (app.clone(), cluster.id);
        let seen = clusters::is_seen(node.node, workers);
        async move {
            let found: Found = clusters::ping(&app, id, node.node, seen).await;
            (node, found)
        }
    });
    let asked: Vec<_> = asked.collect();
    let found = stream::iter(asked).buffered(AT_ONCE).collect().await;
    app.metrics.board.nodes(cluster.id, found);
}
