//! Taking a node's snapshot, and deleting what backups have left.

use std::collections::BTreeSet;

use protocol::{ClearSnapshots, Fact, SnapshotTag, SnapshotsCleared, TableRef, TakeSnapshot, Unit};
use scylla::DataDir;
use service::Chain;
use tracing::{info, warn};

use crate::{SnapshotWorker, failure::Failure};

impl SnapshotWorker {
    /// Takes what is not there yet, a keyspace at a time, and looks that all of it is.
    pub(crate) async fn take_snapshot(&self, job: TakeSnapshot) -> Result<Fact, Failure> {
        for stale in job.stale.iter().filter(|stale| **stale != job.tag) {
            self.node.drop_snapshot(stale, None).await?;
        }
        let tag = job.tag.clone();
        self.remove_handovers(move |tag_of| *tag_of != tag).await;
        for unit in &job.units {
            if self.missing(unit, &job.tag).await?.is_none() {
                continue;
            }
            // What a worker that died left behind would be in the way, and may be torn.
            self.node
                .drop_snapshot(&job.tag, Some(&unit.keyspace))
                .await?;
            let tables = (!unit.all_tables).then_some(&*unit.tables);
            self.node
                .take_snapshot(&job.tag, &unit.keyspace, tables)
                .await?;
            if let Some(table) = self.missing(unit, &job.tag).await? {
                return Err(Failure::Unfinished {
                    tag: job.tag.to_string(),
                    table: table.to_string(),
                });
            }
            info!(run = %job.run, keyspace = unit.keyspace, tag = %job.tag, "snapshot taken");
        }
        Ok(Fact::SnapshotTaken)
    }

    /// Deletes all snapshots with a backup's tag, if they are older than the job says. What a user took
    /// has another name.
    pub(crate) async fn clear_snapshots(&self, job: &ClearSnapshots) -> Result<Fact, Failure> {
        let there = self.node.snapshots().await?;
        let tags = there.iter().filter_map(|part| part.tag.parse().ok());
        let tags: BTreeSet<SnapshotTag> = tags.filter(|tag| *tag < job.before).collect();
        for tag in &tags {
            self.node.drop_snapshot(tag, None).await?;
            info!(run = %job.run, %tag, "snapshot deleted");
        }
        let before = job.before.clone();
        self.remove_handovers(move |tag| *tag < before).await;
        let tags = tags.into_iter().collect();
        Ok(Fact::SnapshotsCleared(SnapshotsCleared { tags }))
    }

    /// Deletes the snapshot of a backup that is whole, and what was made of it.
    pub(crate) async fn drop_snapshot(&self, tag: &SnapshotTag) -> Result<Fact, Failure> {
        self.node.drop_snapshot(tag, None).await?;
        let tag = tag.clone();
        self.remove_handovers(move |of| *of == tag).await;
        Ok(Fact::SnapshotDropped)
    }

    /// Removes the handovers of snapshots that `which` chooses: what uploaders have left that died. What
    /// cannot be removed takes space, and is tried again with the next backup.
    async fn remove_handovers(&self, which: impl Fn(&SnapshotTag) -> bool + Send + 'static) {
        let removed = blocking(&self.data_dir, move |data_dir| {
            data_dir.remove_handovers(|handover| which(&handover.tag))
        });
        match removed.await {
            Ok(0) => {}
            Ok(count) => info!(count, "handovers removed that uploads have left"),
            Err(error) => warn!(error = %Chain(&error), "a handover of an upload stays"),
        }
    }

    /// The first table of the unit without a complete snapshot.
    async fn missing(&self, unit: &Unit, tag: &SnapshotTag) -> Result<Option<TableRef>, Failure> {
        let (unit, tag) = (unit.clone(), tag.clone());
        blocking(&self.data_dir, move |data_dir| {
            for table in tables_of(&unit) {
                if !data_dir.has_snapshot(&table, &tag)? {
                    return Ok(Some(table));
                }
            }
            Ok(None)
        })
        .await
    }
}

pub(crate) fn tables_of(unit: &Unit) -> impl Iterator<Item = TableRef> + '_ {
    unit.tables.iter().map(|table| TableRef {
        keyspace: unit.keyspace.clone(),
        table: table.clone(),
    })
}

/// Runs `work`, which waits for a disk, on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    data_dir: &DataDir,
    work: impl FnOnce(DataDir) -> Result<T, scylla::Error> + Send + 'static,
) -> Result<T, Failure> {
    let data_dir = data_dir.clone();
    let done = tokio::task::spawn_blocking(move || work(data_dir)).await;
    Ok(done.expect("looking at files does not panic")?)
}
