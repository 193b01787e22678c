//! Removing the backups of a cluster that need not be kept any more, or that a user has named.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bucket::{
    removal::{self, Removed, Terms},
    retention::{Survey, survey},
};
use catalog::retention::agreed;
use protocol::{BackupId, Fact, Location, Purge, Purged};
use queue::Context as JobContext;
use service::Chain;
use store::Store;
use tracing::{info, warn};

use crate::{Uploader, failure::Failure};

/// How far the clocks of NATS and of a bucket may be apart before nothing goes by age.
const APART: Duration = Duration::from_secs(300);
/// So often a place that does not answer is waited for; then it is done without.
const PATIENCE: u64 = 3;

/// What is known of the places that could be looked through.
struct Places {
    stores: Vec<Store>,
    /// The others, without their datacenters.
    blind: BTreeSet<String>,
    obstacles: Vec<String>,
}

impl Uploader {
    /// Decides anew what goes, and removes it. Deletes only while the run is known to go on.
    pub(crate) async fn purge(
        &self,
        job: &Purge,
        ctx: &JobContext,
    ) -> Result<Option<Fact>, Failure> {
        let fence = self.queue.fence(job.run).await.map_err(Failure::Queue)?;
        let guard = || {
            ctx.alive.moved(0);
            fence.holds() && !ctx.stop.is_cancelled()
        };
        let Places {
            stores,
            blind,
            mut obstacles,
        } = self.places(job, ctx).await?;
        let now_ms = self.time(&stores, &mut obstacles).await?;
        let terms = Terms::new(job, &blind);
        let decide = |survey: &Survey| Ok::<_, bucket::Error>(terms.decide(survey, now_ms)?);
        let removed = removal::remove(&stores, job.cluster, decide, &guard, false).await?;
        if removed.stopped {
            return Err(Failure::LeftOff);
        }
        obstacles.extend(removed.obstacles.iter().cloned());
        self.metrics.purged.inc_by(removed.backups.len() as u64);
        self.metrics.deleted.inc_by(removed.objects);
        tell(job, &removed, &obstacles);
        let backups = removed.backups.into_iter();
        Ok(Some(Fact::Purged(Purged {
            backups: backups.map(|(task, tag)| BackupId { task, tag }).collect(),
            objects: removed.objects,
            bytes: removed.bytes,
            obstacles,
            contended: ctx.attempt > 1,
        })))
    }

    /// Opens and looks through all places. One that cannot be looked through is left out, and told.
    async fn places(&self, job: &Purge, ctx: &JobContext) -> Result<Places, Failure> {
        let by_remote: BTreeMap<String, &Location> = job
            .locations
            .iter()
            .map(|location| (location.remote(), location))
            .collect();
        let mut places = Places {
            stores: Vec::new(),
            blind: BTreeSet::new(),
            obstacles: Vec::new(),
        };
        for (remote, location) in by_remote {
            ctx.alive.moved(0);
            let looked = async {
                let store = self.stores.open(location).await?;
                survey(std::slice::from_ref(&store), job.cluster).await?;
                Ok::<_, bucket::Error>(store)
            };
            match looked.await {
                Ok(store) => places.stores.push(store),
                Err(cause) if cause.retry() && ctx.attempt < PATIENCE => return Err(cause.into()),
                // To delete from the other places would leave what looks like a backup.
                Err(cause) if !job.named.is_empty() => return Err(cause.into()),
                Err(cause) => {
                    let cause = Chain(&cause);
                    let obstacle = format!("{remote} cannot be looked through: {cause}");
                    places.obstacles.push(obstacle);
                    places.blind.insert(remote);
                }
            }
        }
        Ok(places)
    }

    /// How late it is, if NATS and all buckets agree.
    async fn time(
        &self,
        stores: &[Store],
        obstacles: &mut Vec<String>,
    ) -> Result<Option<u64>, Failure> {
        let mut now_ms = self.queue.now_ms().await.map_err(Failure::Queue)?;
        for store in stores {
            let theirs = match store.now_ms().await {
                Ok(theirs) => theirs,
                Err(cause) if cause.retry() => {
                    return Err(Failure::store("ask the bucket for its time")(cause));
                }
                Err(cause) => {
                    obstacles.push(format!("nothing goes by age: {cause}"));
                    return Ok(None);
                }
            };
            let Some(earlier) = agreed(now_ms, theirs, APART) else {
                let (location, apart) = (store.location(), now_ms.abs_diff(theirs) / 1_000);
                obstacles.push(format!(
                    "nothing goes by age: the clocks of NATS and of {location} are {apart} s apart"
                ));
                return Ok(None);
            };
            now_ms = earlier;
        }
        Ok(Some(now_ms))
    }
}

fn tell(job: &Purge, removed: &Removed, obstacles: &[String]) {
    for (task, tag) in &removed.backups {
        info!(run = %job.run, cluster = %job.cluster, %task, %tag, "backup removed");
    }
    let (backups, objects, bytes) = (removed.backups.len(), removed.objects, removed.bytes);
    let kept = removed.decision.backups.len() - backups;
    info!(run = %job.run, backups, kept, objects, bytes, "purged");
    for obstacle in obstacles {
        warn!(run = %job.run, obstacle, "not all old backups could be removed");
    }
}
