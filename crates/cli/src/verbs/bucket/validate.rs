//! `thetis bucket validate`.

use std::time::{SystemTime, UNIX_EPOCH};

use bucket::validate::{self, Check, Finding, NodeReport, Report, Step};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::SnapshotTag;
use store::Store;

use super::{Choice, Where, failed, usage};
use crate::{
    error::{Exit, Failure},
    human::{bytes, size},
    output::{Output, agreed, note},
    table::{Align, Columns},
};

/// What to check.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis bucket validate -L s3:backups
  thetis bucket validate sm_20260131235959UTC -L s3:backups --checksum --max-bytes 10GiB
  thetis bucket validate -L s3:backups --delete-orphaned-files --yes

Names and sizes are compared with the manifests; with --checksum contents, too, as far as checksums
are known. Ends with status 1 if a backup is broken. Orphans, which no backup needs, break none.")]
pub(crate) struct ValidateArgs {
    /// The backup's tag; all backups, and what none of them needs, when absent
    tag: Option<SnapshotTag>,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    choice: Choice,
    /// Read the files and compare their checksums
    #[arg(long)]
    checksum: bool,
    /// Read at most so much for --checksum, chosen at random: 500MiB, 10GiB
    #[arg(long, value_name = "SIZE", requires = "checksum", value_parser = size)]
    max_bytes: Option<u64>,
    /// Delete what no backup needs. No backup may run meanwhile, by whatever tool
    #[arg(long, conflicts_with = "tag")]
    delete_orphaned_files: bool,
    /// Do not ask before deleting
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(output: Output, args: &ValidateArgs) -> Result<(), Failure> {
    let select = args.choice.select()?;
    if args.delete_orphaned_files {
        whole(args)?;
        confirm(output, args)?;
    }
    let stores = args.place.open().await?;
    let started_ms = match args.delete_orphaned_files {
        true => clock(&stores).await?,
        false => now_ms(),
    };
    let listing = args.place.list(&stores).await?;
    let backup = match &args.tag {
        Some(tag) => Some(&args.place.choose(&listing, tag)?.id),
        None => None,
    };
    let bar = Bar::new(output.live());
    let progress = |step| bar.step(step);
    let yes: validate::Guard<'_> = &|| true;
    let check = Check {
        backup,
        select: &select,
        checksum: args.checksum.then(|| args.max_bytes.unwrap_or(u64::MAX)),
        started_ms,
        delete_orphans: args.delete_orphaned_files.then_some(yes),
        progress: &progress,
    };
    let report = validate::all(&stores, &listing, args.place.cluster_id, &check).await;
    bar.clear();
    let report = report.map_err(failed)?;
    output.show(&report, |report: Report| table(&report, output.colour()))?;
    verdict(output, args, &report)
}

/// What is chosen out must not look as if nothing needed it.
fn whole(args: &ValidateArgs) -> Result<(), Failure> {
    match args.choice.keyspace.is_empty() {
        true => Ok(()),
        false => Err(usage(
            "--delete-orphaned-files looks at all keyspaces: leave --keyspace out".to_owned(),
        )),
    }
}

fn confirm(output: Output, args: &ValidateArgs) -> Result<(), Failure> {
    if args.yes {
        return Ok(());
    }
    if !output.can_ask() {
        return Err(usage(
            "--delete-orphaned-files deletes for good: say --yes where nobody can be asked"
                .to_owned(),
        ));
    }
    match agreed("delete what no backup needs, while no backup runs on these buckets?") {
        true => Ok(()),
        false => Err(Failure::new(Exit::Failed, "nothing was deleted")),
    }
}

/// The earliest that the buckets' clocks say: what was written since is left alone.
async fn clock(stores: &[Store]) -> Result<u64, Failure> {
    let mut earliest = u64::MAX;
    for store in stores {
        let now = store.now_ms().await.map_err(|e| failed(e.into()))?;
        earliest = earliest.min(now);
    }
    Ok(earliest)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn table(report: &Report, colour: bool) -> String {
    let mut columns = Columns::new(
        colour,
        &[
            ("DC", Align::Left),
            ("NODE", Align::Left),
            ("LOCATION", Align::Left),
            ("MANIFESTS", Align::Right),
            ("FILES", Align::Right),
            ("CHECKED", Align::Right),
            ("MISSING", Align::Right),
            ("WRONG", Align::Right),
            ("ORPHANED", Align::Right),
            ("BYTES", Align::Right),
            ("DELETED", Align::Right),
        ],
    );
    for node in &report.nodes {
        let wrong = node.wrong_size_files + node.wrong_content_files + node.unreadable_files;
        columns.row([
            node.dc.clone(),
            match node.host.is_empty() {
                true => node.node.to_string(),
                false => node.host.clone(),
            },
            node.location.clone(),
            node.manifests.to_string(),
            node.scanned_files.to_string(),
            bytes(node.checked_bytes),
            node.missing_files.to_string(),
            wrong.to_string(),
            node.orphaned_files.to_string(),
            bytes(node.orphaned_bytes),
            node.deleted_files.to_string(),
        ]);
    }
    match report.nodes.is_empty() {
        true => String::new(),
        false => columns.text(),
    }
}

/// Says what is wrong, and fails if a backup is broken or not all was done.
fn verdict(output: Output, args: &ValidateArgs, report: &Report) -> Result<(), Failure> {
    if output.for_people() {
        for node in &report.nodes {
            remarks(node);
        }
        for schema in &report.wrong_schemas {
            note(&format!("schema `{}`: {}", schema.key, schema.cause));
        }
        if report.nodes.is_empty() {
            note("there is nothing to check");
        }
    }
    let broken: Vec<&str> = report
        .broken()
        .into_iter()
        .map(SnapshotTag::as_str)
        .collect();
    if !report.sound() {
        let what = match broken.is_empty() {
            true => "manifests that cannot be read".to_owned(),
            false => format!("broken backups: {}", broken.join(", ")),
        };
        return Err(Failure::new(Exit::Failed, what));
    }
    let stopped = report.nodes.iter().find_map(|node| {
        let why = node
            .deletion_stopped
            .as_ref()
            .or(node.orphans_unknown.as_ref());
        why.map(|why| format!("not all orphans of node {} were deleted: {why}", node.node))
    });
    match stopped.filter(|_| args.delete_orphaned_files) {
        Some(why) => Err(Failure::new(Exit::Failed, why)),
        None => Ok(()),
    }
}

fn remarks(node: &NodeReport) {
    for (key, cause) in &node.unreadable_manifests {
        note(&format!("manifest `{key}`: {cause}"));
    }
    for Finding {
        kind,
        key,
        snapshots,
        ..
    } in &node.findings
    {
        if snapshots.is_empty() {
            continue;
        }
        let tags: Vec<&str> = snapshots.iter().map(SnapshotTag::as_str).collect();
        note(&format!(
            "{}: `{key}` of {}",
            kind.as_str(),
            tags.join(", ")
        ));
    }
    if let Some(why) = &node.orphans_unknown {
        note(&format!(
            "node {}: orphans cannot be told: {why}",
            node.node
        ));
    }
}

/// A line that moves while somebody looks on.
struct Bar(ProgressBar);

impl Bar {
    fn new(live: bool) -> Self {
        if !live {
            return Self(ProgressBar::hidden());
        }
        let style = "{spinner} {binary_bytes} of {binary_total_bytes} read, {msg}";
        let style = ProgressStyle::with_template(style).expect("the template is valid");
        let bar = ProgressBar::new(0).with_style(style);
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Self(bar)
    }

    fn step(&self, step: Step) {
        match step {
            Step::Listed(objects) => self.0.set_message(format!("{objects} more objects listed")),
            Step::Manifest => self.0.set_message("reading manifests"),
            Step::Planned { bytes, .. } => self.0.inc_length(bytes),
            Step::Read(bytes) => self.0.inc(bytes),
            Step::Deleted(objects) => self
                .0
                .set_message(format!("{objects} more objects deleted")),
        }
    }

    fn clear(self) {
        self.0.finish_and_clear();
    }
}
