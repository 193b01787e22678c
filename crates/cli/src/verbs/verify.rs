//! `thetis verify`.

use clap::{Args, ValueEnum};
use serde_json::{Map, json};

use crate::{
    args::{ClusterArg, ScheduleArgs},
    error::Failure,
    human::size,
    verbs::{Client, task},
};

/// How deep a proof goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Depth {
    /// Each object is there, with its size
    Present,
    /// Each byte is read, and its checksum compared
    #[default]
    Content,
    /// It is restored into keyspaces of its own, all rows are read, and it is dropped again
    Drill,
}

/// A backup to prove.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis verify -c prod -T sm_20260131235959UTC --wait
  thetis verify -c prod -T sm_20260131235959UTC --depth present --wait
  thetis verify -c scratch -L s3:backups -T sm_20260131235959UTC --depth drill --source-cluster 3fa1c2de-0000-4000-8000-000000000001
  thetis verify -c prod --depth content --max-bytes 100GiB --cron @weekly

Prints <type>/<id> of the task. `thetis backup list` shows when each backup was last proven. A drill makes keyspaces whose
names begin with thetis_drill_ in the cluster that -c names, which needs the disk space for it; best a cluster that serves nobody.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Where the backup lies; where the cluster's backup tasks go when absent, but for a drill
    #[arg(
        long,
        short = 'L',
        value_name = "LOCATION",
        value_delimiter = ',',
        required_if_eq("depth", "drill")
    )]
    location: Vec<String>,
    /// Which backup; all of the cluster when absent, but for a drill
    #[arg(
        long,
        short = 'T',
        value_name = "TAG",
        required_if_eq("depth", "drill")
    )]
    snapshot_tag: Option<String>,
    /// How deep
    #[arg(long, value_enum, default_value_t)]
    depth: Depth,
    /// Read at most so much of the contents, chosen at random; that proves less
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// For a drill: the id of the cluster that was backed up, if it is another
    #[arg(long, value_name = "UUID")]
    source_cluster: Option<String>,
    /// For a drill: other datacenters than the backup's, as in `thetis restore`
    #[arg(long, value_name = "FROM=TO", value_delimiter = ',')]
    dc_mapping: Vec<String>,
    #[command(flatten)]
    schedule: ScheduleArgs,
    /// A name for the task
    #[arg(long)]
    name: Option<String>,
    /// Wait for the end; the exit status is 0 only if it is proven
    #[arg(long, conflicts_with_all = ["cron", "start_date"])]
    wait: bool,
}

pub(crate) async fn run(client: &Client, args: VerifyArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let mut properties = Map::new();
    properties.insert("location".to_owned(), json!(args.location));
    properties.insert("snapshot_tag".to_owned(), json!(args.snapshot_tag));
    let kind = match args.depth {
        Depth::Drill => {
            properties.insert("drill".to_owned(), json!(true));
            properties.insert("source_cluster_id".to_owned(), json!(args.source_cluster));
            properties.insert("dc_mapping".to_owned(), json!(args.dc_mapping));
            "restore"
        }
        Depth::Present | Depth::Content => {
            let checksum = args.depth == Depth::Content;
            properties.insert("checksum".to_owned(), json!(checksum.then_some(true)));
            properties.insert("max_bytes".to_owned(), json!(args.max_bytes));
            "validate_backup"
        }
    };
    let task = task(kind, args.name.as_deref(), properties, &args.schedule);
    client.submit(&cluster, task, args.wait).await
}
