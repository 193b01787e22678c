//! `thetis bucket download`.

use std::path::PathBuf;

use bucket::download::{self, Report, Request, Step};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::SnapshotTag;

use super::{Choice, Where, failed};
use crate::{
    error::{Exit, Failure},
    human::bytes,
    output::{Output, note},
};

/// What to download, and where to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis bucket download sm_20260131235959UTC -L s3:backups --to /var/tmp/restore
  thetis bucket download sm_20260131235959UTC -L s3:backups -K shop.users --dc dc1 --to /var/tmp/users

Each table's SSTables come to <dir>/<keyspace>/<table>-<id>/upload/, or into a folder for each node
below it where names are the same on several nodes: copy one folder after the other into a node's
upload directory, and run `nodetool refresh --load-and-stream <keyspace> <table>`. Files are checked
as they come; a download that was cut short goes on where it was.")]
pub(crate) struct DownloadArgs {
    /// The backup's tag
    tag: SnapshotTag,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    choice: Choice,
    /// The directory; made if it is not there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// SSTables to bring at once
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
}

pub(super) async fn run(output: Output, args: &DownloadArgs) -> Result<(), Failure> {
    let select = args.choice.select()?;
    let stores = args.place.open().await?;
    let backup = args.place.backup(&stores, &args.tag).await?;
    let bar = bar(output.live());
    let progress = |step| match step {
        Step::Planned { bytes, .. } => bar.inc_length(bytes),
        Step::Kept(bytes) | Step::Moved(bytes) => bar.inc(bytes),
        Step::File => {}
    };
    let request = Request {
        select: &select,
        dir: &args.to,
        parallel: args.parallel.into(),
        progress: &progress,
    };
    let done = download::download(&stores, &backup, &request).await;
    bar.finish_and_clear();
    let report = done.map_err(failed)?;
    output.show(&report, |_: serde_json::Value| text(&report, args))?;
    if report.failures == 0 {
        return Ok(());
    }
    if output.for_people() {
        for failed in &report.failed {
            note(&format!("`{}`: {}", failed.key, failed.cause));
        }
    }
    let message = format!("{} files could not be brought", report.failures);
    Err(Failure::new(Exit::Failed, message).advise("what is whole stays; the same command goes on"))
}

fn text(report: &Report, args: &DownloadArgs) -> String {
    let mut lines = vec![format!(
        "{} in {} files brought to {}",
        bytes(report.bytes),
        report.files,
        args.to.display()
    )];
    if report.kept_files > 0 {
        lines.push(format!(
            "{} in {} files were there already",
            bytes(report.kept_bytes),
            report.kept_files
        ));
    }
    if report.unverified_files > 0 {
        lines.push(format!(
            "of {} files only the size is known to be right: their manifests have no checksums",
            report.unverified_files
        ));
    }
    lines.join("\n")
}

fn bar(live: bool) -> ProgressBar {
    if !live {
        return ProgressBar::hidden();
    }
    let style = "{bar:32} {percent:>3}% {binary_bytes:>11} of {binary_total_bytes:<11} {binary_bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(style).expect("the template is valid");
    ProgressBar::new(0).with_style(style)
}
