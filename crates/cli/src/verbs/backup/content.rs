//! `thetis backup files` and `schema`: what a backup holds.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    args::ClusterArg,
    error::Failure,
    verbs::{Client, bucket},
};

/// Which files.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis backup files -c prod -T sm_20260131235959UTC
  thetis backup files -c prod -T sm_20260131235959UTC -K shop.users --with-version
  thetis backup files -c prod -T sm_20260131235959UTC --output json

Prints the object, and the directory it belongs into, a line each: the schema first.")]
pub(crate) struct FilesArgs {
    #[command(flatten)]
    of: OneArgs,
    /// Only these: globs of <keyspace> or <keyspace>.<table>
    #[arg(long, short = 'K', value_name = "GLOB", value_delimiter = ',')]
    keyspace: Vec<String>,
    /// What to print between the two
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "\t",
        hide_default_value = true
    )]
    delimiter: String,
    /// Name directories as on a node's disk: <table>-<id>
    #[arg(long)]
    with_version: bool,
}

/// Which schema.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis backup schema -c prod -T sm_20260131235959UTC > schema.cql
  thetis backup schema -c prod -T sm_20260131235959UTC --output json

Prints statements of CQL, in the order in which they can be run.")]
pub(crate) struct SchemaArgs {
    #[command(flatten)]
    of: OneArgs,
}

/// Which backup.
#[derive(Debug, Args)]
struct OneArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Which, as `thetis backup list` shows it
    #[arg(long, short = 'T', value_name = "TAG")]
    snapshot_tag: String,
    /// Where it lies; where the cluster's backup tasks go when absent
    #[arg(long, short = 'L', value_name = "LOCATION", value_delimiter = ',')]
    location: Vec<String>,
    /// The cluster that was backed up, where the bucket holds the tag of several
    #[arg(long, value_name = "UUID")]
    source_cluster: Option<String>,
}

/// What a backup holds of a node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    location: String,
    schema: String,
    files: Vec<Table>,
}

/// What a backup holds of a table on a node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Table {
    keyspace: String,
    table: String,
    version: String,
    path: String,
    files: Vec<String>,
}

impl OneArgs {
    fn query(&self) -> Vec<(&str, &str)> {
        let mut query = vec![("snapshot_tag", self.snapshot_tag.as_str())];
        query.extend(self.location.iter().map(|at| ("locations", at.as_str())));
        let source = self.source_cluster.iter();
        query.extend(source.map(|id| ("query_cluster_id", id.as_str())));
        query
    }
}

pub(super) async fn files(client: &Client, args: FilesArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.of.cluster).await?;
    let mut query = args.of.query();
    query.extend(args.keyspace.iter().map(|glob| ("keyspace", glob.as_str())));
    let path = ["cluster", &cluster, "backups", "files"];
    let asked = client.api.get(&path, &query).await;
    let answer = client.known(&cluster, asked).await?;
    client
        .output
        .answer(&answer, |nodes: Vec<Node>| lines(&nodes, &args))
}

fn lines(nodes: &[Node], args: &FilesArgs) -> String {
    let between = &args.delimiter;
    let mut schemas: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for node in nodes {
        let schema = format!("{}/{}{between}./", node.location, node.schema);
        if !node.schema.is_empty() && !schemas.contains(&schema) {
            schemas.push(schema);
        }
        for table in &node.files {
            let mut into = format!("{}/{}", table.keyspace, table.table);
            if args.with_version {
                into.push_str(&format!("-{}", table.version));
            }
            let of = format!("{}/{}", node.location, table.path.trim_end_matches('/'));
            lines.extend(
                table
                    .files
                    .iter()
                    .map(|name| format!("{of}/{name}{between}{into}/")),
            );
        }
    }
    schemas.extend(lines);
    schemas.join("\n")
}

pub(super) async fn schema(client: &Client, args: SchemaArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.of.cluster).await?;
    let path = ["cluster", &cluster, "backups", "schema"];
    let asked = client.api.get(&path, &args.of.query()).await;
    let answer = client.known(&cluster, asked).await?;
    client
        .output
        .answer(&answer, |schema: Value| bucket::statements(&schema))
}
