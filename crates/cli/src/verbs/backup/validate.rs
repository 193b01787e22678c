//! `thetis backup validate`.

use clap::Args;
use serde_json::{Map, json};

use crate::{
    args::{ClusterArg, ScheduleArgs},
    error::{Exit, Failure},
    human::size,
    output::{agreed, note},
    verbs::{Client, task},
};

/// What to check.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis backup validate -c prod --wait
  thetis backup validate -c prod -T sm_20260131235959UTC --checksum --wait
  thetis backup validate -c prod --checksum --max-bytes 100GiB --cron @weekly
  thetis backup validate -c prod --delete-orphaned-files --yes --wait

Prints <type>/<id> of the task; `thetis progress` shows what was found. Names and sizes are compared
with the manifests; with --checksum contents, too. Ends as ERROR if a backup is broken, or if orphans
are left, which no backup needs. It hinders no backup, unless orphans are deleted. Where there is no
cluster any more: thetis bucket validate.")]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Where to look; where the cluster's backup tasks go when absent
    #[arg(long, short = 'L', value_name = "LOCATION", value_delimiter = ',')]
    location: Vec<String>,
    /// Only this backup; all, and what none of them needs, when absent
    #[arg(long, short = 'T', value_name = "TAG")]
    snapshot_tag: Option<String>,
    /// Read the files and compare their checksums
    #[arg(long)]
    checksum: bool,
    /// Read at most so much for --checksum, chosen at random: 500MiB, 10GiB
    #[arg(long, value_name = "SIZE", requires = "checksum", value_parser = size)]
    max_bytes: Option<u64>,
    /// Delete what no backup needs; nothing else runs on the cluster meanwhile
    #[arg(long, conflicts_with = "snapshot_tag")]
    delete_orphaned_files: bool,
    /// Do not ask before deleting
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    schedule: ScheduleArgs,
    /// A name for the task
    #[arg(long)]
    name: Option<String>,
    /// Wait for the end; the exit status is 0 only if all is as it should be
    #[arg(long, conflicts_with_all = ["cron", "start_date"])]
    wait: bool,
}

pub(super) async fn run(client: &Client, args: ValidateArgs) -> Result<(), Failure> {
    if args.delete_orphaned_files && !args.yes {
        confirm(client)?;
    }
    let cluster = client.cluster(&args.cluster).await?;
    let mut properties = Map::new();
    properties.insert("location".to_owned(), json!(args.location));
    properties.insert("snapshot_tag".to_owned(), json!(args.snapshot_tag));
    properties.insert("max_bytes".to_owned(), json!(args.max_bytes));
    for (key, asked) in [
        ("checksum", args.checksum),
        ("delete_orphaned_files", args.delete_orphaned_files),
    ] {
        properties.insert(key.to_owned(), json!(asked.then_some(true)));
    }
    let task = task(
        "validate_backup",
        args.name.as_deref(),
        properties,
        &args.schedule,
    );
    client.submit(&cluster, task, args.wait).await
}

fn confirm(client: &Client) -> Result<(), Failure> {
    if !client.output.can_ask() {
        let text = "--delete-orphaned-files deletes for good: say --yes where nobody can be asked";
        return Err(Failure::new(Exit::Usage, text));
    }
    if agreed("delete what no backup needs? No other tool may write to these buckets meanwhile") {
        return Ok(());
    }
    note("nothing was deleted");
    Err(Failure::new(Exit::Failed, "not deleted"))
}
