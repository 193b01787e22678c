//! `thetis restore`.

mod at;
mod undo;

use clap::{Args, Subcommand};
use serde_json::{Map, json};

use crate::{
    args::{ClusterArg, PaceArgs, ScheduleArgs},
    error::{Exit, Failure},
    output::{agreed, note},
    verbs::{Client, target, task},
};

/// A restore.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  thetis restore -c prod -L s3:backups -T sm_20260131235959UTC --wait
  thetis restore -c test -L s3:backups --at 2026-01-31T18:00Z --dc-mapping eu=dc1,us=dc1 --dry-run
  thetis restore -c prod -L s3:backups -T sm_20260131235959UTC -K shop.orders --rename shop.orders=shop.orders_old
  thetis restore undo -c prod 3fa1c2de-0000-4000-8000-000000000001

`thetis backup list` shows the tags. Schema and rows come back, if neither --restore-schema nor --restore-tables is
given; what the cluster has already must be the same, and its tables empty. The cluster may have another number of nodes
than the one backed up. Prints <type>/<id> of the task. A restore that is stopped or fails goes on when it is started
again; `thetis restore undo` gives it up instead."
)]
pub(crate) struct RestoreArgs {
    #[command(subcommand)]
    verb: Option<RestoreVerb>,
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
    #[arg(long, short = 'T', value_name = "TAG", required_unless_present = "at")]
    snapshot_tag: Option<String>,
    /// The newest backup that was begun by then: a date, or a date and time, of UTC unless it says otherwise
    #[arg(long, value_name = "TIME", conflicts_with = "snapshot_tag")]
    at: Option<String>,
    /// What: globs of <keyspace> or <keyspace>.<table>, `!` leaves out; everything when absent
    #[arg(long, short = 'K', value_name = "GLOB", value_delimiter = ',')]
    keyspace: Vec<String>,
    /// The id of the cluster that was backed up; needed when several in the bucket have the tag
    #[arg(long, value_name = "UUID")]
    source_cluster: Option<String>,
    /// Restore the schema; without --restore-tables, the schema alone
    #[arg(long)]
    restore_schema: bool,
    /// Restore rows; without --restore-schema, rows alone, into tables that are there
    #[arg(long)]
    restore_tables: bool,
    /// Which datacenter takes the place of which of the backup: <from>=<to>; several may go to one
    #[arg(long, value_name = "FROM=TO", value_delimiter = ',')]
    dc_mapping: Vec<String>,
    /// Other names: <keyspace>=<keyspace>, or <keyspace>.<table>=<keyspace>.<table>
    #[arg(long, value_name = "FROM=TO", value_delimiter = ',')]
    rename: Vec<String>,
    /// Restore roles, with their passwords, rights and service levels, too
    #[arg(long)]
    with_roles: bool,
    /// Let rows come into tables that hold some: of each row, the newer stays; what was deleted since stays deleted
    #[arg(long)]
    merge: bool,
    /// Give each node back what the node with its tokens had: nothing is streamed
    #[arg(long)]
    one_to_one: bool,
    /// Who moves the data: `agent`, `native` (ScyllaDB itself), `tablets` (each rack what it had, where that is
    /// possible), or `auto` (`native` where it is possible)
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
    /// Do not ask; as goes without saying where nobody can be asked
    #[arg(long)]
    yes: bool,
    /// Wait for the end; the exit status is 0 only if it is DONE
    #[arg(long, conflicts_with_all = ["cron", "start_date"])]
    wait: bool,
}

/// What to do with restores.
#[derive(Debug, Subcommand)]
pub(crate) enum RestoreVerb {
    /// Give up a restore that is not done, and put back what it has changed
    Undo(undo::UndoArgs),
}

pub(crate) async fn run(client: &Client, args: RestoreArgs) -> Result<(), Failure> {
    if let Some(RestoreVerb::Undo(args)) = args.verb {
        return undo::run(client, args).await;
    }
    let cluster = client.cluster(&args.cluster).await?;
    let tag = match (&args.snapshot_tag, &args.at) {
        (Some(tag), _) => tag.clone(),
        (None, at) => {
            let (at, source) = (at.as_deref(), args.source_cluster.as_deref());
            at::newest(
                client,
                &cluster,
                &args.location,
                source,
                at.unwrap_or_default(),
            )
            .await?
        }
    };
    let mut properties = Map::new();
    properties.insert("location".to_owned(), json!(args.location));
    properties.insert("snapshot_tag".to_owned(), json!(tag));
    properties.insert("keyspace".to_owned(), json!(args.keyspace));
    properties.insert("source_cluster_id".to_owned(), json!(args.source_cluster));
    if args.restore_schema || args.restore_tables {
        properties.insert("restore_schema".to_owned(), json!(args.restore_schema));
        properties.insert("restore_tables".to_owned(), json!(args.restore_tables));
    }
    properties.insert("dc_mapping".to_owned(), json!(args.dc_mapping));
    properties.insert("rename".to_owned(), json!(args.rename));
    for (key, is) in [
        ("with_roles", args.with_roles),
        ("merge", args.merge),
        ("one_to_one", args.one_to_one),
    ] {
        if is {
            properties.insert(key.to_owned(), json!(true));
        }
    }
    properties.insert("method".to_owned(), json!(args.method));
    args.pace.write(&mut properties);
    let task = task("restore", args.name.as_deref(), properties, &args.schedule);
    if args.dry_run {
        return target::restore(client, &cluster, &task, args.show_tables).await;
    }
    if !args.yes && client.output.can_ask() {
        target::restore(client, &cluster, &task, args.show_tables).await?;
        if !agreed("restore that?") {
            note("nothing was restored");
            return Err(Failure::new(Exit::Failed, "not restored"));
        }
    }
    client.submit(&cluster, task, args.wait).await
}
