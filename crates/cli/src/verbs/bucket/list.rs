//! `thetis bucket list`.

use bucket::index::{self, Query};
use clap::Args;
use protocol::SnapshotTag;

use super::{Where, failed, filter};
use crate::{
    error::Failure,
    output::{Output, note},
    shape::Backup,
    verbs::backup,
};

/// Which backups.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis bucket list -L s3:backups
  thetis bucket list -L s3:backups -K shop --from sm_20260101000000UTC --output json
  thetis bucket list -L s3:backups --update-index

Only one listing and an index of the manifests are read; --update-index writes that where it is
behind, so that the next list is fast.")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    place: Where,
    /// Only backups that hold these: globs of <keyspace> or <keyspace>.<table>
    #[arg(long, short = 'K', value_name = "GLOB", value_delimiter = ',')]
    keyspace: Vec<String>,
    /// The oldest
    #[arg(long, value_name = "TAG")]
    from: Option<SnapshotTag>,
    /// The newest
    #[arg(long, value_name = "TAG")]
    to: Option<SnapshotTag>,
    /// Write the index where it is missing, wrong or behind
    #[arg(long)]
    update_index: bool,
}

pub(super) async fn run(output: Output, args: &ListArgs) -> Result<(), Failure> {
    let query = Query {
        cluster: args.place.cluster_id,
        filter: filter(&args.keyspace)?,
        min: args.from.clone(),
        max: args.to.clone(),
    };
    let stores = args.place.open().await?;
    let contents = index::read(&stores, query.cluster).await.map_err(failed)?;
    for warning in &contents.warnings {
        note(&format!("thetis: {warning}"));
    }
    for manifest in &contents.unreadable {
        note(&format!(
            "thetis: a manifest in {} cannot be read: {}",
            manifest.location.remote(),
            manifest.cause
        ));
    }
    if args.update_index {
        contents.save(&stores).await.map_err(failed)?;
    }
    output.show(&contents.items(&query), |backups: Vec<Backup>| {
        backup::table(&backups, output.colour())
    })
}
