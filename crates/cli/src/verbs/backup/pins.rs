//! `thetis backup pin`, `unpin` and `pins`.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::{
    args::ClusterArg,
    error::Failure,
    human,
    output::note,
    table::{Align, Columns},
    verbs::Client,
};

/// A backup to keep.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis backup pin -c prod -T sm_20260131235959UTC --reason release-7

Nothing removes it until it is unpinned, whatever its task's retention is.")]
pub(crate) struct PinArgs {
    #[command(flatten)]
    of: OneArgs,
    /// Why, for whoever wonders later
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
}

/// A backup to keep no longer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis backup unpin -c prod -T sm_20260131235959UTC")]
pub(crate) struct UnpinArgs {
    #[command(flatten)]
    of: OneArgs,
}

/// Which backup.
#[derive(Debug, Args)]
struct OneArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Which, as `thetis backup list` shows it
    #[arg(long, short = 'T', value_name = "TAG")]
    snapshot_tag: String,
    /// Where it lies; where the cluster's backup tasks go when absent
    #[arg(long, short = 'L', value_name = "LOCATION", value_delimiter = ',')]
    location: Vec<String>,
}

/// Where to look for pins.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis backup pins -c prod
  thetis backup pins -c prod -L s3:backups --output json")]
pub(crate) struct PinsArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Where to look; where the cluster's backup tasks go when absent
    #[arg(long, short = 'L', value_name = "LOCATION", value_delimiter = ',')]
    location: Vec<String>,
}

/// What the API says of a pin.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pin {
    snapshot_tag: String,
    reason: String,
    since: Option<String>,
}

fn places(location: &[String]) -> Vec<(&str, &str)> {
    location
        .iter()
        .map(|at| ("locations", at.as_str()))
        .collect()
}

pub(super) async fn pin(client: &Client, args: PinArgs) -> Result<(), Failure> {
    let OneArgs {
        cluster,
        snapshot_tag: tag,
        location,
    } = &args.of;
    let cluster = client.cluster(cluster).await?;
    let path = ["cluster", &cluster, "backups", "pins", tag];
    let body = json!({"reason": args.reason});
    let asked = client.api.set(&path, &places(location), &body).await;
    client.known(&cluster, asked).await?;
    if client.output.live() {
        note(&format!("{tag} is kept until it is unpinned"));
    }
    Ok(())
}

pub(super) async fn unpin(client: &Client, args: UnpinArgs) -> Result<(), Failure> {
    let OneArgs {
        cluster,
        snapshot_tag: tag,
        location,
    } = &args.of;
    let cluster = client.cluster(cluster).await?;
    let path = ["cluster", &cluster, "backups", "pins", tag];
    let asked = client.api.delete(&path, &places(location)).await;
    client.known(&cluster, asked).await?;
    if client.output.live() {
        note(&format!("{tag} is left to its task's retention"));
    }
    Ok(())
}

pub(super) async fn list(client: &Client, args: PinsArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let path = ["cluster", &cluster, "backups", "pins"];
    let asked = client.api.get(&path, &places(&args.location)).await;
    let answer = client.known(&cluster, asked).await?;
    client.output.answer(&answer, |pins: Vec<Pin>| {
        table(&pins, client.output.colour())
    })
}

fn table(pins: &[Pin], colour: bool) -> String {
    if pins.is_empty() {
        note("nothing is pinned");
        return String::new();
    }
    let mut columns = Columns::new(
        colour,
        &[
            ("SNAPSHOT TAG", Align::Left),
            ("SINCE", Align::Left),
            ("REASON", Align::Left),
        ],
    );
    for pin in pins {
        columns.row([
            pin.snapshot_tag.clone(),
            human::time(pin.since.as_deref()),
            pin.reason.clone(),
        ]);
    }
    columns.text()
}
