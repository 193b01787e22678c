//! What each event means for a backup.
//!
//! A node's events may come before the run has asked for them, if the run was begun anew: what the
//! bucket proves (a plan, a chunk, a manifest) is believed at once, and implies the steps before it.
//! What only the node proves (a snapshot taken or dropped) is believed only when asked for.

use protocol::{ChunkStored, Event, Fact, Indexed, NodeId, Sealed};

use super::{At, Backup, Part, Phase};
use crate::{
    bitmap::Bitmap,
    course::{Folded, fold_failed},
    limit,
};

impl Backup {
    pub(super) fn fold_event(&mut self, event: &Event) -> Folded {
        match &event.fact {
            Fact::Inspected(found) => self.inspected(found),
            Fact::BalancingSet { enabled } => self.balancing_set(event.node, *enabled),
            Fact::SnapshotTaken => self.part_fact(event.node, Part::snapshot_taken),
            Fact::SchemaStored => self.schema_stored(),
            Fact::Indexed(plan) => self.indexed(event.node, plan),
            Fact::ChunkStored(chunk) => self.chunk_stored(event.node, chunk),
            Fact::Sealed(sealed) => {
                self.part_fact(event.node, |part, now_ms| part.sealed(sealed, now_ms))
            }
            Fact::SnapshotDropped => self.snapshot_dropped(event.node),
            Fact::Purged(purged) => self.purged(purged),
            Fact::Failed(failed) => fold_failed(self, event.node, failed),
            // The scheduler's own words, and answers to those outside.
            Fact::Refused { .. } | Fact::RunStarted | Fact::RunEnded(_) => Folded::Known,
            Fact::Pinged(_)
            | Fact::Validated(_)
            | Fact::SnapshotsCleared(_)
            | Fact::RestorePlanned(_)
            | Fact::SchemaPrepared(_)
            | Fact::SchemaSettled(_)
            | Fact::RestoreProven(_)
            | Fact::NodePrepared(_)
            | Fact::BatchLoaded(_)
            | Fact::NodePutBack => Folded::Impossible,
        }
    }

    fn balancing_set(&mut self, node: Option<NodeId>, enabled: bool) -> Folded {
        let now_ms = self.life.now_ms();
        match node {
            Some(node) => self.life.balancing.set(node, enabled, now_ms),
            None => Folded::Impossible,
        }
    }

    /// Folds a fact into its node's part, and begins the next step of all if it was the last.
    fn part_fact(
        &mut self,
        node: Option<NodeId>,
        fold: impl FnOnce(&mut Part, u64) -> Folded,
    ) -> Folded {
        let (now_ms, before) = (self.life.now_ms(), self.slowest());
        if self.phase < Phase::Work {
            return Folded::Known;
        }
        let Some(part) = node.and_then(|node| self.parts.get_mut(&node)) else {
            return Folded::Impossible;
        };
        let folded = fold(part, now_ms);
        // These steps begin for all nodes at once, however long ago each came to them.
        if self.slowest() > before && self.slowest() >= At::Stored {
            self.parts
                .values_mut()
                .for_each(|part| part.since_ms = now_ms);
        }
        folded
    }

    fn schema_stored(&mut self) -> Folded {
        if self.phase != Phase::Schema || !self.life.working() {
            return Folded::Known;
        }
        self.schema = true;
        self.hold_still();
        Folded::Changed
    }

    fn indexed(&mut self, node: Option<NodeId>, plan: &Indexed) -> Folded {
        let folded = self.part_fact(node, |part, now_ms| part.indexed(plan, now_ms));
        if folded == Folded::Changed && plan.chunks > limit::PARTS {
            if !self.life.working() {
                return Folded::Known;
            }
            let name = node.map_or_else(|| "a node".to_owned(), |node| self.life.ring.name(node));
            let (chunks, most) = (plan.chunks, limit::PARTS);
            self.life.culprit = node;
            self.life.fail(format!(
                "the plan of {name} has {chunks} chunks, where {most} are the most"
            ));
        } else if folded == Folded::Changed {
            self.tables.plan(&plan.tables);
            if let Some(part) = node.and_then(|node| self.parts.get_mut(&node)) {
                part.tables.plan(&plan.tables);
            }
            self.bound_tables();
        }
        folded
    }

    fn chunk_stored(&mut self, node: Option<NodeId>, chunk: &ChunkStored) -> Folded {
        let folded = self.part_fact(node, |part, now_ms| part.chunk_stored(chunk, now_ms));
        if folded == Folded::Changed {
            for size in &chunk.tables {
                self.tables.done(&size.table, size.bytes);
            }
            self.methods.tell(&chunk.methods);
            self.bound_tables();
        }
        folded
    }

    fn snapshot_dropped(&mut self, node: Option<NodeId>) -> Folded {
        if self.slowest() < At::Sealed {
            return Folded::Known;
        }
        self.part_fact(node, |part, _| match part.at {
            At::Sealed => {
                part.at = At::Dropped;
                Folded::Changed
            }
            At::Snapshot | At::Index | At::Upload | At::Stored | At::Dropped => Folded::Known,
        })
    }
}

impl Part {
    fn snapshot_taken(&mut self, now_ms: u64) -> Folded {
        match self.at {
            At::Snapshot => {
                self.admitted = false;
                self.go(At::Index, now_ms)
            }
            At::Index | At::Upload | At::Stored | At::Sealed | At::Dropped => Folded::Known,
        }
    }

    fn indexed(&mut self, plan: &Indexed, now_ms: u64) -> Folded {
        match self.at {
            At::Snapshot | At::Index => {}
            At::Upload | At::Stored | At::Sealed | At::Dropped => return Folded::Known,
        }
        if plan.chunks > limit::PARTS {
            return Folded::Changed;
        }
        // It has yet to be let in to what comes after its snapshot.
        if self.at == At::Snapshot {
            self.admitted = false;
        }
        self.chunks = plan.chunks;
        self.stored.truncate(plan.chunks);
        self.files = plan.files;
        self.bytes = plan.bytes;
        self.skipped_files = plan.skipped_files;
        self.skipped_bytes = plan.skipped_bytes;
        self.go(At::Upload, now_ms);
        self.stored_all(now_ms);
        Folded::Changed
    }

    fn chunk_stored(&mut self, chunk: &ChunkStored, now_ms: u64) -> Folded {
        let believed = match self.at {
            At::Snapshot | At::Index if chunk.chunk >= limit::EARLY_PARTS => Folded::Known,
            At::Upload | At::Stored if chunk.chunk >= self.chunks => Folded::Impossible,
            // A manifest proves all chunks; where it was found, no plan is known to compare with.
            At::Sealed | At::Dropped => Folded::Known,
            At::Snapshot | At::Index | At::Upload | At::Stored => Folded::Changed,
        };
        if believed != Folded::Changed {
            return believed;
        }
        if !self.stored.insert(chunk.chunk) {
            return Folded::Known;
        }
        self.uploaded = self.uploaded.saturating_add(chunk.bytes);
        if self.at < At::Upload || self.tables.len() > 0 {
            for size in &chunk.tables {
                self.tables.done(&size.table, size.bytes);
            }
            self.methods.tell(&chunk.methods);
        }
        self.since_ms = now_ms;
        self.stored_all(now_ms);
        Folded::Changed
    }

    fn sealed(&mut self, sealed: &Sealed, now_ms: u64) -> Folded {
        match self.at {
            At::Snapshot | At::Index => {
                (self.files, self.bytes) = (sealed.files, sealed.bytes);
                self.chunks = self.stored.count();
            }
            At::Upload | At::Stored => {}
            At::Sealed | At::Dropped => return Folded::Known,
        }
        self.stored = Bitmap::full(self.chunks);
        self.go(At::Sealed, now_ms)
    }

    /// Goes on from uploading if nothing is left to upload.
    fn stored_all(&mut self, now_ms: u64) {
        if self.at == At::Upload && self.stored.count() == self.chunks {
            self.go(At::Stored, now_ms);
        }
    }

    fn go(&mut self, at: At, now_ms: u64) -> Folded {
        self.at = at;
        self.since_ms = now_ms;
        Folded::Changed
    }
}
