//! `thetis cluster add|update|list|status|delete`, and `thetis status`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    args::{ClusterArg, label},
    error::{Exit, Failure},
    human::{bytes, duration},
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
    Add(Box<AddArgs>),
    /// Change a cluster's name, host, labels, or the credentials kept for it
    Update(Box<UpdateArgs>),
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
  thetis cluster add -n prod --host 10.0.0.1 --label team=db
  thetis cluster add -n prod --host 10.0.0.1 --id 3fa1c2de-0000-4000-8000-000000000001  # with its old backups

A worker must be running beside each of its nodes that is up.")]
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
    #[command(flatten)]
    about: AboutArgs,
}

/// What to change of a cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis cluster update -c prod --name production
  thetis cluster update -c prod --label team=db --label tier=1
  thetis cluster update -c prod --username thetis --password-file cql.password
  thetis cluster update -c prod --delete-cql-credentials")]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// A new name
    #[arg(long, short)]
    name: Option<String>,
    /// Another address
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    #[command(flatten)]
    about: AboutArgs,
    /// Forget the user and password for CQL
    #[arg(long)]
    delete_cql_credentials: bool,
    /// Forget the key for Alternator
    #[arg(long)]
    delete_alternator_credentials: bool,
    /// Forget the client's certificate
    #[arg(long)]
    delete_ssl_user_cert: bool,
}

/// What may be said of a cluster. Credentials are kept encrypted, and never shown.
#[derive(Debug, Args)]
pub(crate) struct AboutArgs {
    /// A note on the cluster, as team=db; may be repeated, and takes the place of all before
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// The user for CQL
    #[arg(long, short, requires = "password_file")]
    username: Option<String>,
    /// The file with the user's password
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// The id of the key for Alternator
    #[arg(long, value_name = "ID", requires = "alternator_secret_file")]
    alternator_access_key_id: Option<String>,
    /// The file with that key's secret
    #[arg(long, value_name = "FILE", requires = "alternator_access_key_id")]
    alternator_secret_file: Option<PathBuf>,
    /// The client's certificate for CQL (PEM)
    #[arg(long, value_name = "FILE", requires = "ssl_user_key_file")]
    ssl_user_cert_file: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "ssl_user_cert_file")]
    ssl_user_key_file: Option<PathBuf>,
}

impl AboutArgs {
    /// Puts what is said into a request.
    fn say(&self, body: &mut Value) -> Result<(), Failure> {
        if !self.label.is_empty() {
            let labels = self.label.iter();
            let labels: BTreeMap<&str, &str> =
                labels.map(|(k, v)| (k.as_str(), v.as_str())).collect();
            body["labels"] = json!(labels);
        }
        for (key, text) in [
            ("username", &self.username),
            ("alternator_access_key_id", &self.alternator_access_key_id),
        ] {
            if let Some(text) = text {
                body[key] = json!(text);
            }
        }
        for (key, file) in [
            ("password", &self.password_file),
            ("alternator_secret_access_key", &self.alternator_secret_file),
        ] {
            if let Some(file) = file {
                let text = String::from_utf8(read(file)?);
                let text = text.map_err(|_| {
                    Failure::new(Exit::Usage, format!("{} is no text", file.display()))
                })?;
                body[key] = json!(text.trim_end_matches(['\r', '\n']));
            }
        }
        for (key, file) in [
            ("ssl_user_cert_file", &self.ssl_user_cert_file),
            ("ssl_user_key_file", &self.ssl_user_key_file),
        ] {
            if let Some(file) = file {
                body[key] = json!(BASE64.encode(read(file)?));
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|e| Failure::new(Exit::Usage, format!("cannot read {}: {e}", path.display())))
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
        ClusterVerb::Update(args) => update(client, &args).await,
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
    args.about.say(&mut body)?;
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

async fn update(client: &Client, args: &UpdateArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let gone: Vec<(&str, &str)> = [
        ("cql_creds", args.delete_cql_credentials),
        ("alternator_creds", args.delete_alternator_credentials),
        ("ssl_user_cert", args.delete_ssl_user_cert),
    ]
    .into_iter()
    .filter(|(_, gone)| *gone)
    .map(|(name, _)| (name, "true"))
    .collect();
    if !gone.is_empty() {
        let asked = client.api.delete(&["cluster", &cluster], &gone).await;
        client.known(&cluster, asked).await?;
    }
    let mut body = json!({});
    for (key, text) in [("name", &args.name), ("host", &args.host)] {
        if let Some(text) = text {
            body[key] = json!(text);
        }
    }
    args.about.say(&mut body)?;
    let asked = client.api.set(&["cluster", &cluster], &[], &body).await;
    let answer = client.known(&cluster, asked).await?;
    client.output.answer(&answer, |cluster: Cluster| {
        format!("cluster {} is as asked", cluster.name)
    })
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
    client.output.answer(&answer, |nodes: Vec<NodeStatus>| {
        status_text(nodes, client.output.colour())
    })
}

fn status_text(mut nodes: Vec<NodeStatus>, colour: bool) -> String {
    nodes.sort_by(|a, b| (&a.dc, &a.rack, &a.host).cmp(&(&b.dc, &b.rack, &b.host)));
    let mut lines = Vec::new();
    for dc in nodes.chunk_by(|a, b| a.dc == b.dc) {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(format!("Datacenter: {}", dc[0].dc));
        lines.push(table(dc, colour));
    }
    let mut causes = Vec::new();
    for node in &nodes {
        for (what, cause) in [("REST", &node.rest_cause), ("CQL", &node.cql_cause)] {
            if !cause.is_empty() {
                causes.push(format!("  {} {what}: {cause}", node.host));
            }
        }
    }
    if !causes.is_empty() {
        lines.extend([String::new(), "Errors:".to_owned()]);
        lines.extend(causes);
    }
    lines.join("\n")
}

fn table(nodes: &[NodeStatus], colour: bool) -> String {
    let headings = [
        "",
        "CQL",
        "REST",
        "ADDRESS",
        "UPTIME",
        "CPUS",
        "MEMORY",
        "SCYLLA",
        "AGENT",
        "WORKERS",
        "HEARTBEAT",
        "RACK",
        "HOST ID",
    ];
    let mut columns = Columns::new(colour, &headings.map(|heading| (heading, Align::Left)));
    for node in nodes {
        let known = |known: bool, text: String| if known { text } else { String::new() };
        columns.row([
            node.status.clone(),
            answer(&node.cql_status, node.cql_rtt_ms, node.ssl),
            answer(&node.rest_status, node.rest_rtt_ms, false),
            node.host.clone(),
            known(node.uptime > 0, duration(node.uptime)),
            known(node.cpu_count > 0, node.cpu_count.to_string()),
            known(node.total_ram > 0, bytes(node.total_ram)),
            node.scylla_version.clone(),
            node.agent_version.clone(),
            workers(node),
            heartbeat(node),
            node.rack.clone(),
            node.host_id.clone(),
        ]);
    }
    columns.text()
}

/// `UP SSL (3ms)`: how something answers.
fn answer(status: &str, millis: f64, ssl: bool) -> String {
    match (status, ssl) {
        ("UP", true) => format!("UP SSL ({millis:.0}ms)"),
        ("UP", false) => format!("UP ({millis:.0}ms)"),
        (other, _) => other.to_owned(),
    }
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

/// `1.5s`: for how long the worker that was quiet the longest has said nothing.
fn heartbeat(node: &NodeStatus) -> String {
    let ages = node.workers.iter().map(|worker| worker.heartbeat_age_ms);
    let age = ages.max().map(std::time::Duration::from_millis);
    age.map_or(String::new(), |age| format!("{:.1}s", age.as_secs_f64()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_datacenter_has_a_table_and_errors_come_last() {
        let nodes = json!([
            {"dc": "dc2", "host": "10.0.1.1", "status": "DN", "rest_status": "DOWN", "rest_cause": "no snapshot-worker is connected"},
            {"dc": "dc1", "rack": "r1", "host": "10.0.0.1", "host_id": "h", "status": "UN", "cql_status": "UP", "cql_rtt_ms": 3.4, "ssl": true,
             "rest_status": "UP", "rest_rtt_ms": 1.6, "uptime": 7500, "cpu_count": 8, "total_ram": 68_719_476_736_u64,
             "scylla_version": "2026.1.0", "agent_version": "0.1.0", "workers": [{"kind": "upload", "heartbeat_age_ms": 260}, {"kind": "snapshot", "heartbeat_age_ms": 1520}, {"kind": "upload"}]},
        ]);
        let shown = status_text(serde_json::from_value(nodes).unwrap(), false);
        let expected = "\
Datacenter: dc1
    CQL           REST      ADDRESS   UPTIME  CPUS  MEMORY    SCYLLA    AGENT  WORKERS             HEARTBEAT  RACK  HOST ID
UN  UP SSL (3ms)  UP (2ms)  10.0.0.1  2h05m   8     64.0 GiB  2026.1.0  0.1.0  snapshot, 2 upload  1.5s       r1    h

Datacenter: dc2
    CQL  REST  ADDRESS   UPTIME  CPUS  MEMORY  SCYLLA  AGENT  WORKERS  HEARTBEAT  RACK  HOST ID
DN  -    DOWN  10.0.1.1  -       -     -       -       -      -        -          -     -

Errors:
  10.0.1.1 REST: no snapshot-worker is connected";
        assert_eq!(shown, expected);
    }
}
