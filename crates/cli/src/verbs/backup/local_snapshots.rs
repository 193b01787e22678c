//! `thetis backup delete-local-snapshots`.

use clap::Args;

use crate::{
    args::ClusterArg,
    error::{Exit, Failure},
    output::{agreed, note},
    verbs::Client,
};

/// On which cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis backup delete-local-snapshots -c prod
  thetis backup delete-local-snapshots -c prod --yes --output json

Backups delete their snapshots by themselves; this is for what is left of backups that were stopped or
failed, and of other tools' backups. Snapshots with other names stay. A backup that was stopped takes
its snapshot anew when it is continued.")]
pub(crate) struct LocalSnapshotsArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Do not ask before deleting
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(client: &Client, args: LocalSnapshotsArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    if !args.yes {
        confirm(client, &cluster)?;
    }
    let path = ["cluster", &cluster, "backups", "local_snapshots"];
    let asked = client.api.delete(&path, &[("wait_seconds", "0")]).await;
    let answer = client.known(&cluster, asked).await?;
    let (answer, done) = super::delete::follow(client, &cluster, answer).await?;
    client.output.answer(&answer, |_: serde::de::IgnoredAny| {
        format!("deleted {} snapshots", done.snapshots)
    })
}

fn confirm(client: &Client, cluster: &str) -> Result<(), Failure> {
    if !client.output.can_ask() {
        let text = "snapshots are deleted for good: say --yes where nobody can be asked";
        return Err(Failure::new(Exit::Usage, text));
    }
    if agreed(&format!(
        "delete all snapshots of backups from the nodes of {cluster}?"
    )) {
        return Ok(());
    }
    note("nothing was deleted");
    Err(Failure::new(Exit::Failed, "not deleted"))
}
