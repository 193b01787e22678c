//! `thetis backup delete`.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::{
    api::Answer,
    args::ClusterArg,
    error::{Exit, Failure},
    human::bytes,
    output::{agreed, note},
    verbs::Client,
};

/// How often it is asked whether all is deleted.
const EVERY: Duration = Duration::from_millis(500);

/// Which backups go.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis backup delete -c prod -T sm_20260131235959UTC --dry-run
  thetis backup delete -c prod -T sm_20260131235959UTC -T sm_20260201235959UTC --yes
  thetis backup delete -c prod -T sm_20260131235959UTC -L s3:backups --force

Files that other backups need stay. A backup that is pinned, or the last good one of a task or of the
cluster, goes only with --force. Nothing else runs on the cluster meanwhile.")]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Which, as `thetis backup list` shows them
    #[arg(
        long,
        short = 'T',
        value_name = "TAG",
        value_delimiter = ',',
        required = true
    )]
    snapshot_tag: Vec<String>,
    /// Where they lie; where the cluster's backup tasks go when absent
    #[arg(long, short = 'L', value_name = "LOCATION", value_delimiter = ',')]
    location: Vec<String>,
    /// Delete them even if they are pinned, or the last good ones
    #[arg(long)]
    force: bool,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before deleting
    #[arg(long)]
    yes: bool,
}

/// What the API says of a deletion.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Deletion {
    run_id: String,
    status: String,
    snapshot_tags: Vec<String>,
    pub(super) snapshots: u64,
    objects: u64,
    bytes: u64,
}

pub(super) async fn run(client: &Client, args: DeleteArgs) -> Result<(), Failure> {
    if !args.dry_run && !args.yes {
        confirm(client, &args)?;
    }
    let cluster = client.cluster(&args.cluster).await?;
    let mut query: Vec<(&str, &str)> = Vec::new();
    query.extend(
        args.snapshot_tag
            .iter()
            .map(|tag| ("snapshot_tags", tag.as_str())),
    );
    query.extend(args.location.iter().map(|at| ("locations", at.as_str())));
    query.push(("force", if args.force { "true" } else { "false" }));
    query.push(("dry_run", if args.dry_run { "true" } else { "false" }));
    query.push(("wait_seconds", "0"));
    let asked = client
        .api
        .delete(&["cluster", &cluster, "backups"], &query)
        .await;
    let answer = client.known(&cluster, asked).await?;
    if args.dry_run {
        return show(client, &answer, "would delete");
    }
    let (answer, _) = follow(client, &cluster, answer).await?;
    show(client, &answer, "deleted")
}

/// Waits for a deletion's end; `answer` is what beginning it was answered with.
pub(super) async fn follow(
    client: &Client,
    cluster: &str,
    mut answer: Answer,
) -> Result<(Answer, Deletion), Failure> {
    loop {
        let found: Deletion = answer.read()?;
        if found.status == "DONE" {
            return Ok((answer, found));
        }
        tokio::time::sleep(EVERY).await;
        let path = ["cluster", cluster, "backups", "deletions", &found.run_id];
        answer = client.api.get(&path, &[]).await?;
    }
}

fn show(client: &Client, answer: &Answer, did: &str) -> Result<(), Failure> {
    client.output.answer(answer, |found: Deletion| {
        let tags = found.snapshot_tags.join(", ");
        let (objects, size) = (found.objects, bytes(found.bytes));
        format!("{did} {tags}: {objects} objects, {size}")
    })
}

fn confirm(client: &Client, args: &DeleteArgs) -> Result<(), Failure> {
    if !client.output.can_ask() {
        let text = "backups are deleted for good: say --yes where nobody can be asked";
        return Err(Failure::new(Exit::Usage, text));
    }
    let tags = args.snapshot_tag.join(", ");
    if agreed(&format!("delete backup {tags} for good?")) {
        return Ok(());
    }
    note("nothing was deleted");
    Err(Failure::new(Exit::Failed, "not deleted"))
}
