//! `thetis backup`, and what there is to do with backups.

mod content;
mod delete;
mod local_snapshots;
mod pins;
mod validate;

use clap::{Args, Subcommand};
use serde_json::{Map, json};

use crate::{
    args::{ClusterArg, PaceArgs, ScheduleArgs},
    error::Failure,
    human::bytes,
    output::note,
    shape::{Backup, Cluster, Proofs, Snapshot},
    table::{Align, Columns},
    verbs::{Client, target, task},
};

/// A backup to take.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  thetis backup -c prod -L s3:backups
  thetis backup -c prod -L dc1:s3:backups-eu -L dc2:s3:backups-us --wait
  thetis backup -c prod -L s3:backups -K shop -K '!shop.tmp_*' --dry-run
  thetis backup -c prod -L s3:backups --cron @daily --keep-daily 7 --rate-limit 200,dc2:50

Prints <type>/<id> of the task. Only files that the bucket has not are uploaded.

What is kept: 3 backups of this task, unless a rule is given. With --retention-days, what is older
goes; of the rest, --retention keeps the newest. What a --keep-… rule chooses stays in addition. The
last good backup stays, and what is pinned. Older backups go at the end of each backup."
)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    verb: Option<BackupVerb>,
    #[command(flatten)]
    cluster: ClusterArg,
    /// Where to: [<dc>:]<provider>:<bucket>[/<prefix>], one for all datacenters or one for each
    #[arg(
        long,
        short = 'L',
        value_name = "LOCATION",
        value_delimiter = ',',
        required = true
    )]
    location: Vec<String>,
    /// What: globs of <keyspace> or <keyspace>.<table>, `!` leaves out; everything when absent
    #[arg(long, short = 'K', value_name = "GLOB", value_delimiter = ',')]
    keyspace: Vec<String>,
    /// Which datacenters: globs, `!` leaves out; all when absent
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    dc: Vec<String>,
    /// Who moves the data: `agent`, `native` (ScyllaDB itself), `auto` (ScyllaDB where it can), or `rclone`
    #[arg(long, value_name = "METHOD", default_value = "agent")]
    method: String,
    #[command(flatten)]
    pace: PaceArgs,
    /// What files are stored as, in s3 and gcs, as STANDARD_IA; what workers are set to when absent
    #[arg(long, value_name = "CLASS")]
    storage_class: Option<String>,
    /// How many nodes of a datacenter take their snapshots at once: [<dc>:]<count>; all when absent
    #[arg(long, value_name = "LIMIT", value_delimiter = ',')]
    snapshot_parallel: Vec<String>,
    /// How many nodes of a datacenter upload at once: [<dc>:]<count>; all when absent
    #[arg(long, value_name = "LIMIT", value_delimiter = ',')]
    upload_parallel: Vec<String>,
    /// How many backups to keep, the newest; 0 for all
    #[arg(long, value_name = "COUNT")]
    retention: Option<u32>,
    /// For how many days to keep a backup; 0 for ever
    #[arg(long, value_name = "DAYS")]
    retention_days: Option<u32>,
    /// Keep the newest backup of each of the last so many days that have one
    #[arg(long, value_name = "COUNT")]
    keep_daily: Option<u32>,
    /// The same of weeks, by ISO 8601
    #[arg(long, value_name = "COUNT")]
    keep_weekly: Option<u32>,
    /// The same of months
    #[arg(long, value_name = "COUNT")]
    keep_monthly: Option<u32>,
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

/// What to do with backups.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupVerb {
    /// List the backups of a cluster
    List(ListArgs),
    /// List the files of a backup
    Files(content::FilesArgs),
    /// Print the schema that came with a backup
    Schema(content::SchemaArgs),
    /// Keep a backup whatever its task's retention is
    Pin(pins::PinArgs),
    /// Leave a backup to its task's retention again
    Unpin(pins::UnpinArgs),
    /// List the pinned backups
    Pins(pins::PinsArgs),
    /// Delete backups
    Delete(delete::DeleteArgs),
    /// Say whether the backups of a cluster are whole, and what lies there that none needs
    Validate(validate::ValidateArgs),
    /// Delete the snapshots that backups have left on the nodes
    DeleteLocalSnapshots(local_snapshots::LocalSnapshotsArgs),
}

/// Which backups.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis backup list -c prod
  thetis backup list -c prod -L s3:backups --all-clusters
  thetis backup list -c prod -L s3:backups -K shop --output json")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Where to look; where the cluster's backup tasks go when absent
    #[arg(long, short = 'L', value_name = "LOCATION", value_delimiter = ',')]
    location: Vec<String>,
    /// Only backups that hold these: globs of <keyspace> or <keyspace>.<table>
    #[arg(long, short = 'K', value_name = "GLOB", value_delimiter = ',')]
    keyspace: Vec<String>,
    /// Also backups of other clusters in the same buckets
    #[arg(long)]
    all_clusters: bool,
}

pub(crate) async fn run(client: &Client, args: BackupArgs) -> Result<(), Failure> {
    match args.verb {
        Some(BackupVerb::List(args)) => return list(client, args).await,
        Some(BackupVerb::Files(args)) => return content::files(client, args).await,
        Some(BackupVerb::Schema(args)) => return content::schema(client, args).await,
        Some(BackupVerb::Pin(args)) => return pins::pin(client, args).await,
        Some(BackupVerb::Unpin(args)) => return pins::unpin(client, args).await,
        Some(BackupVerb::Pins(args)) => return pins::list(client, args).await,
        Some(BackupVerb::Delete(args)) => return delete::run(client, args).await,
        Some(BackupVerb::Validate(args)) => return validate::run(client, args).await,
        Some(BackupVerb::DeleteLocalSnapshots(args)) => {
            return local_snapshots::run(client, args).await;
        }
        None => {}
    }
    let cluster = client.cluster(&args.cluster).await?;
    let mut properties = Map::new();
    properties.insert("location".to_owned(), json!(args.location));
    properties.insert("keyspace".to_owned(), json!(args.keyspace));
    properties.insert("dc".to_owned(), json!(args.dc));
    properties.insert("method".to_owned(), json!(args.method));
    args.pace.write(&mut properties);
    properties.insert(
        "snapshot_parallel".to_owned(),
        json!(args.snapshot_parallel),
    );
    properties.insert("upload_parallel".to_owned(), json!(args.upload_parallel));
    if let Some(class) = args.storage_class {
        properties.insert("storage_class".to_owned(), json!(class));
    }
    for (key, count) in [
        ("retention", args.retention),
        ("retention_days", args.retention_days),
        ("keep_daily", args.keep_daily),
        ("keep_weekly", args.keep_weekly),
        ("keep_monthly", args.keep_monthly),
    ] {
        if let Some(count) = count {
            properties.insert(key.to_owned(), json!(count));
        }
    }
    let task = task("backup", args.name.as_deref(), properties, &args.schedule);
    if args.dry_run {
        return target::backup(client, &cluster, &task, args.show_tables).await;
    }
    client.submit(&cluster, task, args.wait).await
}

async fn list(client: &Client, args: ListArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let asked = client.api.get(&["cluster", &cluster], &[]).await;
    let Cluster { id, .. } = client.known(&cluster, asked).await?.read()?;
    let mut query: Vec<(&str, &str)> = Vec::new();
    query.extend(
        args.location
            .iter()
            .map(|location| ("locations", location.as_str())),
    );
    query.extend(args.keyspace.iter().map(|glob| ("keyspace", glob.as_str())));
    if !args.all_clusters {
        query.push(("query_cluster_id", &id));
    }
    let answer = client.api.get(&["cluster", &id, "backups"], &query).await?;
    client.output.answer(&answer, |backups: Vec<Backup>| {
        table(&backups, client.output.colour())
    })
}

/// A line for each backup, newest first.
pub(crate) fn table(backups: &[Backup], colour: bool) -> String {
    let mut rows = Vec::new();
    for backup in backups {
        let tables: usize = backup.units.iter().map(|unit| unit.tables.len()).sum();
        let keyspaces: Vec<&str> = backup
            .units
            .iter()
            .map(|unit| unit.keyspace.as_str())
            .collect();
        let held = format!("{} ({tables} tables)", keyspaces.join(", "));
        for snapshot in &backup.snapshot_info {
            rows.push((
                &snapshot.snapshot_tag,
                [
                    snapshot.snapshot_tag.clone(),
                    bytes(snapshot.size),
                    nodes(snapshot),
                    held.clone(),
                    proven(&snapshot.proven),
                    snapshot.locations.join(", "),
                    backup.cluster_id.clone(),
                    format!("backup/{}", backup.task_id),
                ],
            ));
        }
    }
    if rows.is_empty() {
        note("no backups found");
        return String::new();
    }
    // Tags hold the time, so this is newest first.
    rows.sort_by(|a, b| b.0.cmp(a.0));
    let mut columns = Columns::new(
        colour,
        &[
            ("SNAPSHOT TAG", Align::Left),
            ("SIZE", Align::Right),
            ("NODES", Align::Right),
            ("KEYSPACES", Align::Left),
            ("PROVEN", Align::Left),
            ("LOCATIONS", Align::Left),
            ("CLUSTER", Align::Left),
            ("TASK", Align::Left),
        ],
    );
    for (_, row) in rows {
        columns.row(row);
    }
    columns.text()
}

/// How deep it was proven, and the day.
fn proven(proofs: &Proofs) -> String {
    let depths = [
        ("drill", &proofs.drill),
        ("content", &proofs.content),
        ("present", &proofs.present),
    ];
    let deepest = depths.into_iter().find(|(_, at)| !at.is_empty());
    deepest.map_or_else(String::new, |(depth, at)| {
        let day = at.split('T').next().unwrap_or_default();
        format!("{depth} {day}")
    })
}

fn nodes(snapshot: &Snapshot) -> String {
    match snapshot.complete {
        Some(false) => format!("{}, incomplete", snapshot.nodes),
        Some(true) | None => snapshot.nodes.to_string(),
    }
}
