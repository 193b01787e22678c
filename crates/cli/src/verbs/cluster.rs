//! `thetis cluster add|list|status|delete`.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    args::ClusterArg,
    error::{Exit, Failure},
    output::{agreed, note},
    shape::{Cluster, NodeStatus},
    table::{Align, Columns},
    verbs::{Client, done},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  thetis cluster add --name prod --host 10.0.0.1
  thetis cluster list
  thetis cluster status -c prod";

pub(crate) const STATUS_EXAMPLES: &str = "\
Examples:
  thetis status -c prod
  thetis status -c prod --output json
  thetis cluster status -c prod";

/// What to do with clusters.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// Register a cluster; prints its id
    Add(AddArgs),
    /// List the registered clusters
    #[command(after_help = "Examples:\n  thetis cluster list\n  thetis cluster list --output json")]
    List,
    /// See how the nodes of a cluster and the workers beside them are
    #[command(after_help = "Examples:\n  thetis cluster status -c prod")]
    Status(ClusterArg),
    /// Forget a cluster and its tasks; its backups stay
    Delete(DeleteArgs),
}

/// A cluster to register.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis cluster add --name prod --host 10.0.0.1
  thetis cluster add -n prod --host 10.0.0.1 --id 3fa1c2de-0000-4000-8000-000000000001  # with its old backups

A worker must be running beside the node that --host names.")]
pub(crate) struct AddArgs {
    /// A name of your choice
    #[arg(long, short)]
    name: String,
    /// The address of any of its nodes
    #[arg(long, value_name = "ADDRESS")]
    host: String,
    /// The id it had when it was registered before, to have its old backups
    #[arg(long, short, value_name = "UUID")]
    id: Option<String>,
}

/// A cluster to forget.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  thetis cluster delete prod\n  thetis cluster delete prod --yes"
)]
pub(crate) struct DeleteArgs {
    /// The cluster, by name or id
    #[arg(
        long = "cluster",
        short = 'c',
        value_name = "CLUSTER",
        conflicts_with = "name"
    )]
    cluster: Option<String>,
    /// The cluster, by name or id
    #[arg(value_name = "CLUSTER", required_unless_present = "cluster")]
    name: Option<String>,
    /// Do not ask first; without a terminal nothing is asked anyway
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(client: &Client, verb: ClusterVerb) -> Result<(), Failure> {
    match verb {
        ClusterVerb::Add(args) => add(client, &args).await,
        ClusterVerb::List => list(client).await,
        ClusterVerb::Status(args) => status(client, &args).await,
        ClusterVerb::Delete(args) => delete(client, args).await,
    }
}

async fn add(client: &Client, args: &AddArgs) -> Result<(), Failure> {
    let mut body = json!({"name": args.name, "host": args.host});
    if let Some(id) = &args.id {
        body["id"] = json!(id);
    }
    let answer = client.api.post(&["clusters"], &body).await?;
    client
        .output
        .answer(&answer, |cluster: Cluster| cluster.id)?;
    if client.output.live() {
        let cluster: Cluster = answer.read()?;
        note(&format!(
            "{} nodes; see how they are: thetis status -c {}",
            cluster.nodes.len(),
            args.name
        ));
    }
    Ok(())
}

async fn list(client: &Client) -> Result<(), Failure> {
    let answer = client.api.get(&["clusters"], &[]).await?;
    client.output.answer(&answer, |clusters: Vec<Cluster>| {
        if clusters.is_empty() {
            note("no cluster is registered; begin with: thetis cluster add --name NAME --host ADDRESS");
            return String::new();
        }
        let headings = ["NAME", "ID", "HOST", "NODES", "DATACENTERS"].map(|heading| (heading, Align::Left));
        let mut columns = Columns::new(client.output.colour(), &headings);
        for cluster in clusters {
            let mut dcs: Vec<&str> = cluster.nodes.iter().map(|node| node.dc.as_str()).collect();
            dcs.sort_unstable();
            dcs.dedup();
            columns.row([cluster.name, cluster.id, cluster.host, cluster.nodes.len().to_string(), dcs.join(", ")]);
        }
        columns.text()
    })
}

/// `thetis status`, and `thetis cluster status`.
pub(crate) async fn status(client: &Client, arg: &ClusterArg) -> Result<(), Failure> {
    let cluster = client.cluster(arg).await?;
    let asked = client.api.get(&["cluster", &cluster, "status"], &[]).await;
    let answer = client.known(&cluster, asked).await?;
    client.output.answer(&answer, |mut nodes: Vec<NodeStatus>| {
        nodes.sort_by(|a, b| (&a.dc, &a.rack, &a.host).cmp(&(&b.dc, &b.rack, &b.host)));
        let headings = [
            "DC", "RACK", "ADDRESS", "NODE", "AGENT", "WORKERS", "VERSION", "HOST ID",
        ];
        let mut columns = Columns::new(
            client.output.colour(),
            &headings.map(|heading| (heading, Align::Left)),
        );
        for node in nodes {
            let workers = workers(&node);
            let NodeStatus {
                dc,
                rack,
                host,
                host_id,
                status,
                rest_status,
                agent_version,
                ..
            } = node;
            columns.row([
                dc,
                rack,
                host,
                status,
                rest_status,
                workers,
                agent_version,
                host_id,
            ]);
        }
        columns.text()
    })
}

/// `snapshot, 2 upload`: the workers beside a node, by kind.
fn workers(node: &NodeStatus) -> String {
    let mut kinds: Vec<&str> = node
        .workers
        .iter()
        .map(|worker| worker.kind.as_str())
        .collect();
    kinds.sort_unstable();
    let groups = kinds.chunk_by(|a, b| a == b).map(|same| match same.len() {
        1 => same[0].to_owned(),
        several => format!("{several} {}", same[0]),
    });
    groups.collect::<Vec<_>>().join(", ")
}

async fn delete(client: &Client, args: DeleteArgs) -> Result<(), Failure> {
    let name = args.cluster.or(args.name).unwrap_or_default();
    if !args.yes
        && client.output.can_ask()
        && !agreed(&format!(
            "forget cluster {name} and its tasks (its backups stay)?"
        ))
    {
        return Err(Failure::new(Exit::Failed, "left as it is"));
    }
    let asked = client.api.delete(&["cluster", &name], &[]).await;
    client.known(&name, asked).await?;
    done(
        client.output,
        &format!("cluster {name} is no longer registered"),
    )
}
