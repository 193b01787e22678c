//! `thetis restore`.

use clap::Args;
use serde_json::{Map, json};

use crate::{
    args::{ClusterArg, PaceArgs, ScheduleArgs},
    error::Failure,
    verbs::{Client, target, task},
};

/// A restore.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis restore -c prod -L s3:backups -T sm_20260131235959UTC --wait
  thetis restore -c test -L s3:backups -T sm_20260131235959UTC -K shop.orders --dry-run
  thetis restore -c test -L s3:backups -T sm_20260131235959UTC --source-cluster 3fa1c2de-0000-4000-8000-000000000001

`thetis backup list` shows the tags. The tables must exist in the cluster, and should be empty: what is there is kept beside what is restored.
The cluster may have another number of nodes than the one backed up. Prints <type>/<id> of the task.")]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Where from: [<dc>:]<provider>:<bucket>[/<prefix>]
    #[arg(
        long,
        short = 'L',
        value_name = "LOCATION",
        value_delimiter = ',',
        required = true
    )]
    location: Vec<String>,
    /// Which backup, as `thetis backup list` shows it
    #[arg(long, short = 'T', value_name = "TAG")]
    snapshot_tag: String,
    /// What: globs of <keyspace> or <keyspace>.<table>, `!` leaves out; everything when absent
    #[arg(long, short = 'K', value_name = "GLOB", value_delimiter = ',')]
    keyspace: Vec<String>,
    /// The id of the cluster that was backed up; needed when several in the bucket have the tag
    #[arg(long, value_name = "UUID")]
    source_cluster: Option<String>,
    /// Restore the data of tables; what is done anyway
    #[arg(long)]
    restore_tables: bool,
    /// Who moves the data
    #[arg(long, value_name = "METHOD", default_value = "agent")]
    method: String,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    schedule: ScheduleArgs,
    /// A name for the task
    #[arg(long)]
    name: Option<String>,
    /// Say what it would do, and begin nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// With --dry-run, name all tables
    #[arg(long, requires = "dry_run")]
    show_tables: bool,
    /// Wait for the end; the exit status is 0 only if it is DONE
    #[arg(long, conflicts_with_all = ["cron", "start_date"])]
    wait: bool,
}

pub(crate) async fn run(client: &Client, args: RestoreArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let mut properties = Map::new();
    properties.insert("location".to_owned(), json!(args.location));
    properties.insert("snapshot_tag".to_owned(), json!(args.snapshot_tag));
    properties.insert("keyspace".to_owned(), json!(args.keyspace));
    properties.insert("source_cluster_id".to_owned(), json!(args.source_cluster));
    properties.insert("restore_tables".to_owned(), json!(true));
    properties.insert("method".to_owned(), json!(args.method));
    args.pace.write(&mut properties);
    let task = task("restore", args.name.as_deref(), properties, &args.schedule);
    if args.dry_run {
        return target::restore(client, &cluster, &task, args.show_tables).await;
    }
    client.submit(&cluster, task, args.wait).await
}
