//! `thetis restore undo`.

use clap::Args;
use serde_json::{Map, json};

use crate::{
    args::{ClusterArg, ScheduleArgs},
    error::Failure,
    verbs::{Client, task},
};

/// A restore to give up.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis restore undo -c prod 3fa1c2de-0000-4000-8000-000000000001 --wait
  thetis restore undo -c prod 3fa1c2de-0000-4000-8000-000000000001 -L s3:backups

Makes the views and indexes again that the restore has dropped, lets tombstones go as before, and switches automatic
compaction and tablet balancing on where it has switched them off. Rows that were restored stay, and tables that were made.
Works however long ago it was: what to put back lies in the bucket. The restore can't be continued then.")]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The restore's run, as its remark or `thetis progress` names it
    #[arg(value_name = "RUN")]
    run: String,
    /// The restore's first location; needed only when the scheduler does not know the run any more
    #[arg(long, short = 'L', value_name = "LOCATION", value_delimiter = ',')]
    location: Vec<String>,
    /// Wait for the end; the exit status is 0 only if it is DONE
    #[arg(long)]
    wait: bool,
}

pub(crate) async fn run(client: &Client, args: UndoArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let mut properties = Map::new();
    properties.insert("undo".to_owned(), json!(args.run));
    properties.insert("location".to_owned(), json!(args.location));
    let task = task("restore", None, properties, &ScheduleArgs::default());
    client.submit(&cluster, task, args.wait).await
}
