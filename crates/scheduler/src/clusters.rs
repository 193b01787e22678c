//! Registering clusters and looking at them. Nodes are reached through the workers beside them.

use std::{collections::BTreeSet, time::Duration};

use protocol::{
    Cluster, ClusterId, ClusterNode, Fact, Inspect, Inspected, Job, NodeId, NodeInfo, Ping, Pinged,
    Presence, RunId, Throttles, WorkerKind,
};
use queue::AskError;
use service::Chain;
use tracing::{info, warn};

use crate::{
    App,
    api::{ApiError, ClusterUpdate},
    ask, copies, properties,
};

/// How long a node may take to say what its cluster looks like. Its tables may be many.
const LOOK: Duration = Duration::from_secs(60);
/// How long a worker may take to say how its node is.
const PING: Duration = Duration::from_secs(20);
/// How many workers are asked before giving up.
const TRIES: usize = 3;

/// Registers the cluster that `update` names, with all nodes it has now.
pub(crate) async fn register(app: &App, update: &ClusterUpdate) -> Result<Cluster, ApiError> {
    let host = update.host.as_deref().unwrap_or_default().trim();
    if host.is_empty() {
        return Err(ApiError::bad(
            "`host` is missing: give the address of one node of the cluster",
        ));
    }
    let name = update.name.as_deref().unwrap_or_default().trim();
    let name = valid_name(if name.is_empty() { host } else { name })?;
    let id = match update.id.as_deref().map(str::trim) {
        None | Some("") => ClusterId::generate(),
        Some(text) => text
            .parse()
            .map_err(|_| ApiError::bad(format!("`id` is `{text}`, which is no UUID")))?,
    };
    let known = app.ledger.clusters().await?;
    if let Some(other) = known
        .iter()
        .find(|other| other.name == name || other.id == id)
    {
        return Err(ApiError::conflict(format!(
            "cluster {} ({}) is registered already",
            other.name, other.id
        )));
    }
    let workers = app.queue.workers().await?;
    let found = inspect_by_host(app, id, host, &workers).await?;
    let nodes = nodes(&found.nodes);
    let shared = |other: &&Cluster| {
        other
            .nodes
            .iter()
            .any(|a| nodes.iter().any(|b| a.node == b.node))
    };
    if let Some(other) = known.iter().find(shared) {
        return Err(ApiError::conflict(format!(
            "the nodes of this cluster are registered already, as cluster {} ({})",
            other.name, other.id
        )));
    }
    staffed(&found.nodes, &workers)?;
    let cluster = Cluster {
        id,
        name,
        host: host.to_owned(),
        labels: update.labels.clone().unwrap_or_default(),
        nodes,
        throttles: Throttles::default(),
    };
    keep_secrets(app, id, update).await?;
    if !app.ledger.new_cluster(&cluster).await? {
        return Err(ApiError::conflict(format!(
            "cluster {} ({id}) is registered already",
            cluster.name
        )));
    }
    info!(cluster = %id, name = cluster.name, nodes = cluster.nodes.len(), "cluster registered");
    Ok(cluster)
}

/// Changes what a user may change of a cluster.
pub(crate) async fn change(
    app: &App,
    cluster: &Cluster,
    update: &ClusterUpdate,
) -> Result<Cluster, ApiError> {
    let given = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default().trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    if let Some(id) = given(&update.id)
        && id != cluster.id.to_string()
    {
        return Err(ApiError::bad(
            "a cluster's `id` does not change: its backups lie under it; delete it and add it again",
        ));
    }
    let name = given(&update.name)
        .map(|name| valid_name(&name))
        .transpose()?;
    if let Some(name) = &name {
        let known = app.ledger.clusters().await?;
        let taken = |other: &&Cluster| other.name == *name && other.id != cluster.id;
        if let Some(other) = known.iter().find(taken) {
            return Err(ApiError::conflict(format!(
                "there is a cluster `{name}` already ({})",
                other.id
            )));
        }
    }
    keep_secrets(app, cluster.id, update).await?;
    let (host, labels) = (given(&update.host), update.labels.clone());
    let changed = app.ledger.change_cluster(cluster.id, |found| {
        let before = found.clone();
        for (field, given) in [(&mut found.name, &name), (&mut found.host, &host)] {
            if let Some(given) = given {
                field.clone_from(given);
            }
        }
        if let Some(labels) = &labels {
            found.labels.clone_from(labels);
        }
        *found != before
    });
    changed
        .await?
        .ok_or_else(|| ApiError::not_found(format!("cluster {} is gone", cluster.name)))
}

/// Names of credentials that go together: for CQL, for Alternator, and the client's certificate.
pub(crate) const CREDENTIALS: [&[&str]; 3] = [
    &["username", "password"],
    &["alternator_access_key_id", "alternator_secret_access_key"],
    &["ssl_user_cert_file", "ssl_user_key_file"],
];

/// Keeps the credentials that are given, encrypted.
async fn keep_secrets(app: &App, id: ClusterId, update: &ClusterUpdate) -> Result<(), ApiError> {
    let mut given = update.secrets().peekable();
    if given.peek().is_none() {
        return Ok(());
    }
    let Some(keys) = &*app.keys else {
        let names: Vec<&str> = given.map(|(name, _)| name).collect();
        return Err(ApiError::bad(format!(
            "credentials are kept encrypted: set `scheduler.secret_key` in the scheduler's configuration, or leave out {}",
            names.join(", ")
        )));
    };
    let mut kept = app.ledger.secrets(id).await?.unwrap_or_default();
    for (name, text) in given {
        let sealed = keys.seal(id, name, text.as_bytes());
        let sealed =
            sealed.ok_or_else(|| ApiError::upstream(format!("cannot encrypt `{name}`")))?;
        kept.0.insert(name.to_owned(), sealed);
    }
    Ok(app.ledger.keep_secrets(id, &kept).await?)
}

/// Forgets credentials.
pub(crate) async fn forget_secrets(
    app: &App,
    cluster: &Cluster,
    names: &[&str],
) -> Result<(), ApiError> {
    let Some(mut kept) = app.ledger.secrets(cluster.id).await? else {
        return Ok(());
    };
    kept.0.retain(|name, _| !names.contains(&name.as_str()));
    Ok(app.ledger.keep_secrets(cluster.id, &kept).await?)
}

/// Whether beside each node that is up a worker is connected that takes snapshots.
fn staffed(nodes: &[NodeInfo], workers: &[Presence]) -> Result<(), ApiError> {
    let has = |node: &NodeInfo| {
        let mut all = workers.iter();
        all.any(|w| w.node == node.node && w.worker == WorkerKind::Snapshot)
    };
    let lacking = nodes.iter().filter(|node| node.up && !has(node));
    let lacking: Vec<&str> = lacking.map(|node| node.address.as_str()).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad(format!(
        "no worker is connected on {} of this cluster: start `thetis node` beside {}, with this NATS as `nats.url`, \
         and add the cluster again",
        lacking.join(", "),
        if lacking.len() == 1 {
            "that node"
        } else {
            "these nodes"
        }
    )))
}

/// How a node is, as the worker beside it finds, if one is seen there.
pub(crate) async fn ping(
    app: &App,
    cluster: ClusterId,
    node: NodeId,
    seen: bool,
) -> Result<Pinged, String> {
    if !seen {
        return Err("no snapshot-worker is connected: start `thetis node` there".to_owned());
    }
    let run = RunId::generate();
    let job = Job::Ping(Ping { cluster, run, node });
    let asked = app.queue.ask(&job, PING).await;
    let event = asked.map_err(|cause| Chain(&cause).to_string())?;
    if let Fact::Pinged(found) = event.fact {
        return Ok(found);
    }
    Err(format!("its worker answered with `{}`", event.fact.kind()))
}

fn valid_name(name: &str) -> Result<String, ApiError> {
    let fine = |c: char| !c.is_control() && !c.is_whitespace() && c != '/';
    if name.len() > 128 || !name.chars().all(fine) {
        return Err(ApiError::bad(format!(
            "`{}` cannot be a cluster's name: at most 128 bytes, without spaces and `/`",
            name.escape_debug()
        )));
    }
    Ok(name.to_owned())
}

async fn inspect_by_host(
    app: &App,
    cluster: ClusterId,
    host: &str,
    workers: &[Presence],
) -> Result<Inspected, ApiError> {
    let able = || workers.iter().filter(|w| w.worker == WorkerKind::Snapshot);
    let here: Vec<NodeId> = able()
        .filter(|w| w.address == host || w.cluster_name == host)
        .map(|w| w.node)
        .collect();
    if here.is_empty() {
        let seen: BTreeSet<String> = able()
            .map(|w| format!("{} of {}", w.address, w.cluster_name))
            .collect();
        let seen = if seen.is_empty() {
            "No workers are connected at all".to_owned()
        } else {
            let list: Vec<String> = seen.into_iter().take(20).collect();
            format!("Workers are connected on {}", list.join(", "))
        };
        return Err(ApiError::bad(format!(
            "no worker is connected on `{host}`: start `thetis node` beside that node, with this NATS as `nats.url`. {seen}"
        )));
    }
    let mut last = None;
    for node in here.into_iter().take(TRIES) {
        match inspect(app, cluster, node, Look::default()).await {
            Ok(found) => return Ok(found),
            Err(error) => last = Some(error),
        }
    }
    let cause = last
        .map(|error| Chain(&error).to_string())
        .unwrap_or_default();
    Err(ApiError::upstream(format!(
        "the worker on `{host}` cannot say what the cluster looks like: {cause}"
    )))
}

/// What a look at a cluster is to tell of: tables and datacenters, all unless chosen by globs, and what
/// the tables take on the node that looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    pub(crate) keyspace: Vec<String>,
    pub(crate) dc: Vec<String>,
    pub(crate) sizes: bool,
}

/// The cluster as it is now, if one of its workers can say; else why not.
pub(crate) async fn inspect_any(
    app: &App,
    cluster: &Cluster,
    workers: &[Presence],
    look: Look,
) -> Result<Inspected, String> {
    let mut last = format!(
        "no snapshot-worker of cluster {} is connected; start `thetis node` beside its nodes",
        cluster.name
    );
    for node in scouts(cluster, workers).into_iter().take(TRIES) {
        match inspect(app, cluster.id, node, look.clone()).await {
            Ok(found) => return Ok(found),
            Err(error) => {
                last = Chain(&error).to_string();
                warn!(cluster = cluster.name, %node, error = last, "node not asked");
            }
        }
    }
    Err(last)
}

/// The cluster's nodes beside which a snapshot-worker lives.
pub(crate) fn scouts(cluster: &Cluster, workers: &[Presence]) -> Vec<NodeId> {
    let nodes = cluster.nodes.iter().map(|node| node.node);
    nodes.filter(|node| is_seen(*node, workers)).collect()
}

/// Whether a snapshot-worker lives beside the node.
pub(crate) fn is_seen(node: NodeId, workers: &[Presence]) -> bool {
    let mut beside = workers.iter().filter(|worker| worker.node == node);
    beside.any(|worker| worker.worker == WorkerKind::Snapshot)
}

/// The cluster as the worker beside a node sees it.
pub(crate) async fn inspect(
    app: &App,
    cluster: ClusterId,
    node: NodeId,
    look: Look,
) -> Result<Inspected, AskError> {
    let job = Job::Inspect(Inspect {
        cluster,
        run: RunId::generate(),
        node,
        keyspace: look.keyspace,
        dc: look.dc,
        sizes: look.sizes,
    });
    let event = app.queue.ask(&job, LOOK).await?;
    if let Fact::Inspected(found) = event.fact {
        return Ok(found);
    }
    Err(AskError::Refused(format!(
        "it answered with `{}`",
        event.fact.kind()
    )))
}

/// Nodes as a cluster's record keeps them.
pub(crate) fn nodes(found: &[NodeInfo]) -> Vec<ClusterNode> {
    let node = |info: &NodeInfo| ClusterNode {
        node: info.node,
        address: info.address.clone(),
        dc: info.dc.clone(),
        rack: info.rack.clone(),
    };
    found.iter().map(node).collect()
}

/// Forgets a cluster with its tasks and runs.
pub(crate) async fn forget(app: &App, cluster: &Cluster) -> Result<(), ApiError> {
    let runs = app.ledger.runs(cluster.id).await?;
    if let Some(open) = runs.iter().find(|run| !run.status.ended()) {
        return Err(ApiError::conflict(ask::busy(&cluster.name, open)));
    }
    let tasks = app.ledger.tasks_ever(cluster.id).await?;
    let mut locations = Vec::new();
    for task in &tasks {
        locations.extend(
            properties::of_task(task)
                .map(|wish| wish.locations().to_vec())
                .unwrap_or_default(),
        );
        ask::forget(app, task).await?;
    }
    for run in &runs {
        app.ledger.remove_run(run).await?;
    }
    app.ledger.remove_cluster(cluster.id).await?;
    copies::forget_cluster(app, &locations, cluster).await;
    info!(cluster = %cluster.id, name = cluster.name, "cluster forgotten");
    Ok(())
}
