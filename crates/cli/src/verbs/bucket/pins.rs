//! `thetis bucket pin`, `unpin` and `pins`.

use std::collections::{BTreeMap, BTreeSet};

use bucket::{
    listing::BackupId,
    pins::{self, Pinned},
};
use catalog::retention::Pin;
use clap::Args;
use protocol::{ClusterId, SnapshotTag};
use serde::{Deserialize, Serialize};
use store::Store;

use super::{Where, failed};
use crate::{
    error::{Exit, Failure},
    human,
    output::{Output, note},
    table::{Align, Columns},
};

/// A backup to keep.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis bucket pin sm_20260131235959UTC -L s3:backups --reason release-7

Name all buckets that the backup lies in: it is pinned in each. ScyllaDB Manager knows nothing of pins.")]
pub(crate) struct PinArgs {
    /// The backup's tag
    tag: SnapshotTag,
    #[command(flatten)]
    place: Where,
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
  thetis bucket unpin sm_20260131235959UTC -L s3:backups")]
pub(crate) struct UnpinArgs {
    /// The backup's tag
    tag: SnapshotTag,
    #[command(flatten)]
    place: Where,
}

/// Where to look for pins.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis bucket pins -L s3:backups
  thetis bucket pins -L s3:backups --output json")]
pub(crate) struct PinsArgs {
    #[command(flatten)]
    place: Where,
}

/// A pinned backup.
#[derive(Debug, Serialize, Deserialize)]
struct Shown {
    cluster_id: ClusterId,
    snapshot_tag: SnapshotTag,
    reason: String,
    since: Option<String>,
}

pub(super) async fn pin(output: Output, args: &PinArgs) -> Result<(), Failure> {
    let stores = args.place.open().await?;
    let BackupId { cluster, tag, .. } = args.place.backup(&stores, &args.tag).await?.id;
    let mut pin = Pin {
        cluster,
        tag,
        reason: args.reason.clone(),
        since_ms: 0,
    };
    for store in &stores {
        pin.since_ms = store.now_ms().await.map_err(|e| failed(e.into()))?;
        pins::put(store, &pin).await.map_err(failed)?;
    }
    if output.live() {
        note(&format!("{} is kept until it is unpinned", args.tag));
    }
    Ok(())
}

pub(super) async fn unpin(output: Output, args: &UnpinArgs) -> Result<(), Failure> {
    let stores = args.place.open().await?;
    let pinned = found(args, &stores).await?;
    let [cluster] = pinned.iter().copied().collect::<Vec<_>>()[..] else {
        let what = format!("backup {} is not pinned", args.tag);
        return Err(match pinned.is_empty() {
            true => Failure::new(Exit::NotFound, what),
            false => Failure::new(
                Exit::Usage,
                "several clusters have pinned a backup of this tag",
            )
            .advise("choose one with --cluster-id"),
        });
    };
    for store in &stores {
        pins::remove(store, cluster, &args.tag)
            .await
            .map_err(failed)?;
    }
    if output.live() {
        note(&format!("{} is left to its task's retention", args.tag));
    }
    Ok(())
}

/// The clusters of which a backup of this tag is pinned; it need not be there any more.
async fn found(args: &UnpinArgs, stores: &[Store]) -> Result<BTreeSet<ClusterId>, Failure> {
    let mut found = BTreeSet::new();
    for cluster in clusters(&args.place, stores).await? {
        for store in stores {
            let tags = pins::tags(store, cluster).await.map_err(failed)?;
            if tags.contains(&args.tag) {
                found.insert(cluster);
            }
        }
    }
    Ok(found)
}

/// The clusters meant: the one named, else all that have pins.
async fn clusters(place: &Where, stores: &[Store]) -> Result<BTreeSet<ClusterId>, Failure> {
    if let Some(cluster) = place.cluster_id {
        return Ok(BTreeSet::from([cluster]));
    }
    let mut clusters = BTreeSet::new();
    for store in stores {
        clusters.extend(pins::clusters(store).await.map_err(failed)?);
    }
    Ok(clusters)
}

pub(super) async fn list(output: Output, args: &PinsArgs) -> Result<(), Failure> {
    let stores = args.place.open().await?;
    let mut all = BTreeMap::new();
    for cluster in clusters(&args.place, &stores).await? {
        for store in &stores {
            let pins = pins::list(store, cluster).await.map_err(failed)?;
            all.extend(pins.into_iter().map(|(tag, pin)| ((cluster, tag), pin)));
        }
    }
    let shown: Vec<Shown> = all.into_iter().map(shown).collect();
    output.show(&shown, |shown: Vec<Shown>| table(&shown, output.colour()))
}

fn shown(((cluster_id, snapshot_tag), pinned): ((ClusterId, SnapshotTag), Pinned)) -> Shown {
    let (reason, since) = match pinned {
        Pinned::Told(pin) => (pin.reason, time(pin.since_ms)),
        Pinned::Unreadable(cause) => (cause, None),
    };
    Shown {
        cluster_id,
        snapshot_tag,
        reason,
        since,
    }
}

fn time(ms: u64) -> Option<String> {
    let ms = i64::try_from(ms).ok().filter(|ms| *ms > 0)?;
    Some(jiff::Timestamp::from_millisecond(ms).ok()?.to_string())
}

fn table(pins: &[Shown], colour: bool) -> String {
    if pins.is_empty() {
        note("nothing is pinned");
        return String::new();
    }
    let mut columns = Columns::new(
        colour,
        &[
            ("SNAPSHOT TAG", Align::Left),
            ("CLUSTER", Align::Left),
            ("SINCE", Align::Left),
            ("REASON", Align::Left),
        ],
    );
    for pin in pins {
        columns.row([
            pin.snapshot_tag.to_string(),
            pin.cluster_id.to_string(),
            human::time(pin.since.as_deref()),
            pin.reason.clone(),
        ]);
    }
    columns.text()
}
