//! Saying whether the backups of a cluster are whole, and deleting what none of them needs.

use std::collections::BTreeSet;

use bucket::{
    files::Select,
    listing,
    validate::{self, Check, Finding, Guard, NodeReport, Report, Step},
};
use protocol::{Fact, NodeValidated, SnapshotTag, Validate, Validated};
use queue::Context as JobContext;
use store::Store;
use tracing::{info, warn};

use crate::{Uploader, failure::Failure};

/// The most broken backups that are told; of one node, and of all.
const TAGS: (usize, usize) = (20, 500);
/// The most faults that are told one by one.
const FAULTS: usize = 50;

impl Uploader {
    /// Looks through all places. Deletes orphans, if it is to, only while the run is known to go on.
    pub(crate) async fn validate(
        &self,
        job: &Validate,
        ctx: &JobContext,
    ) -> Result<Option<Fact>, Failure> {
        let request = &job.request;
        let stores = listing::open(&self.stores, &request.location).await?;
        let started_ms = earliest(&stores).await?;
        let listed = listing::list(&stores, Some(job.cluster)).await?;
        let backup = match &request.snapshot_tag {
            Some(tag) => Some(&listed.choose(tag, Some(job.cluster))?.id),
            None => None,
        };
        let fence = match request.delete_orphaned_files {
            true => Some(self.queue.fence(job.run).await.map_err(Failure::Queue)?),
            false => None,
        };
        let may = || {
            let holds = fence.as_ref().is_some_and(queue::Fence::holds);
            holds && !ctx.stop.is_cancelled()
        };
        let guard: Guard<'_> = &may;
        let progress = |step: Step| match step {
            Step::Read(bytes) => ctx.alive.moved(bytes),
            Step::Listed(_) | Step::Manifest | Step::Planned { .. } | Step::Deleted(_) => {
                ctx.alive.moved(0);
            }
        };
        let check = Check {
            backup,
            select: &Select::default(),
            checksum: request.checksum.then_some(match request.max_bytes {
                0 => u64::MAX,
                most => most,
            }),
            started_ms,
            delete_orphans: request.delete_orphaned_files.then_some(guard),
            progress: &progress,
        };
        let report = validate::all(&stores, &listed, Some(job.cluster), &check).await?;
        tell(job, &report);
        Ok(Some(Fact::Validated(Validated {
            contended: ctx.attempt > 1,
            ..answer(&report)
        })))
    }
}

/// The earliest that the buckets' clocks say: what was written since is left alone.
async fn earliest(stores: &[Store]) -> Result<u64, Failure> {
    let mut earliest = u64::MAX;
    for store in stores {
        let now_ms = store.now_ms().await;
        let now_ms = now_ms.map_err(Failure::store("ask the bucket for its time"))?;
        earliest = earliest.min(now_ms);
    }
    Ok(earliest)
}

fn tell(job: &Validate, report: &Report) {
    let (run, cluster) = (job.run, job.cluster);
    let broken = report.broken().len();
    let deleted: u64 = report.nodes.iter().map(|node| node.deleted_files).sum();
    info!(%run, %cluster, nodes = report.nodes.len(), broken, deleted, "validated");
    for fault in faults(report) {
        warn!(%run, %cluster, fault, "a backup is not as it should be");
    }
}

/// What is told of a report: it has to fit into a message.
fn answer(report: &Report) -> Validated {
    let nodes = report.nodes.iter();
    let obstacles = nodes.clone().flat_map(|node| {
        let unknown = node.orphans_unknown.iter();
        unknown
            .chain(&node.deletion_stopped)
            .map(|why| format!("node {} in {}: {why}", node.node, node.location))
    });
    Validated {
        nodes: nodes.clone().map(of_node).collect(),
        broken_snapshots: newest(report.broken(), TAGS.1),
        faults: faults(report),
        sound: report.sound(),
        obstacles: obstacles.take(FAULTS).collect(),
        contended: false,
    }
}

fn of_node(node: &NodeReport) -> NodeValidated {
    NodeValidated {
        dc: node.dc.clone(),
        host: node.host.clone(),
        node: node.node,
        location: node.location.clone(),
        manifests: node.manifests,
        scanned_files: node.scanned_files,
        missing_files: node.missing_files,
        wrong_files: node.wrong_size_files + node.wrong_content_files + node.unreadable_files,
        orphaned_files: node.orphaned_files,
        orphaned_bytes: node.orphaned_bytes,
        deleted_files: node.deleted_files,
        checkable_files: node.checkable_files,
        checkable_bytes: node.checkable_bytes,
        checked_files: node.checked_files,
        checked_bytes: node.checked_bytes,
        broken_snapshots: newest(node.broken_snapshots.iter().collect(), TAGS.0),
    }
}

fn newest(tags: BTreeSet<&SnapshotTag>, most: usize) -> Vec<SnapshotTag> {
    tags.into_iter().rev().take(most).cloned().collect()
}

fn faults(report: &Report) -> Vec<String> {
    let manifests = report.nodes.iter().flat_map(|node| {
        let unreadable = node.unreadable_manifests.iter();
        unreadable.map(|(key, cause)| format!("manifest `{key}`: {cause}"))
    });
    let schemas = report.wrong_schemas.iter();
    let schemas = schemas.map(|wrong| format!("schema `{}`: {}", wrong.key, wrong.cause));
    let files = report.nodes.iter().flat_map(|node| &node.findings);
    let files = files.filter(|finding| !finding.snapshots.is_empty());
    let files = files.map(|Finding { kind, key, .. }| format!("{}: `{key}`", kind.as_str()));
    manifests.chain(schemas).chain(files).take(FAULTS).collect()
}
