//! `thetis bucket coverage`.

use bucket::coverage::{self, Group, Source};
use clap::Args;
use protocol::SnapshotTag;

use super::{Where, failed, filter};
use crate::{
    error::{Exit, Failure},
    output::{Output, note},
    table::{Align, Columns},
};

/// Which backup.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis bucket coverage sm_20260131235959UTC -L s3:backups
  thetis bucket coverage sm_20260131235959UTC -L dc1:s3:backups-eu -K shop --output json

COPIES says how much of the ring so many nodes hold. Ends with status 1 if ranges or nodes are known
to be missing.")]
pub(crate) struct CoverageArgs {
    /// The backup's tag
    tag: SnapshotTag,
    #[command(flatten)]
    place: Where,
    /// What: globs of <keyspace> or <keyspace>.<table>, `!` leaves out; everything when absent
    #[arg(long, short = 'K', value_name = "GLOB", value_delimiter = ',')]
    keyspace: Vec<String>,
}

pub(super) async fn run(output: Output, args: &CoverageArgs) -> Result<(), Failure> {
    let filter = filter(&args.keyspace)?;
    let stores = args.place.open().await?;
    let backup = args.place.backup(&stores, &args.tag).await?;
    let coverage = coverage::of(&stores, &backup, &filter)
        .await
        .map_err(failed)?;
    output.show(&coverage, |_: serde_json::Value| {
        table(&coverage.groups, output.colour())
    })?;
    if output.for_people() {
        for node in &coverage.missing_nodes {
            note(&format!("node {node} is missing"));
        }
        for cause in &coverage.unreadable {
            note(cause);
        }
    }
    match coverage.lacks() {
        false => Ok(()),
        true => Err(Failure::new(
            Exit::Failed,
            format!("backup {} lacks ranges or nodes", args.tag),
        )),
    }
}

fn table(groups: &[Group], colour: bool) -> String {
    let mut columns = Columns::new(
        colour,
        &[
            ("KEYSPACE", Align::Left),
            ("TABLE", Align::Left),
            ("TOLD BY", Align::Left),
            ("COPIES", Align::Left),
            ("GAPS", Align::Right),
        ],
    );
    for group in groups {
        let copies = group.copies.iter();
        let copies = copies.map(|part| format!("{}: {:.2} %", part.copies, part.percent));
        let copies: Vec<String> = copies.collect();
        columns.row([
            group.keyspace.clone(),
            group.table.clone().unwrap_or_else(|| "all".to_owned()),
            match group.source {
                Source::Ranges => "ranges",
                Source::ScyllaManifests => "ScyllaDB's manifests",
                Source::Tokens => "tokens",
                Source::Nothing => "nothing",
            }
            .to_owned(),
            copies.join(", "),
            group.gaps.len().to_string(),
        ]);
    }
    match groups.is_empty() {
        true => String::new(),
        false => columns.text(),
    }
}
