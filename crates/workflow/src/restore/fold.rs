//! What each event means for a restore.
//!
//! Events of an earlier attempt at the same run, which come before the run has asked for them, are
//! passed over: each job is asked for anew, and answered at once if its work is proven.

use protocol::{BatchLoaded, Event, Fact, NodeId, RestoreProven, SchemaSettled};

use super::{Host, Phase, Restore};
use crate::{
    course::{Folded, fold_failed},
    limit,
};

impl Restore {
    pub(super) fn fold_event(&mut self, event: &Event) -> Folded {
        match &event.fact {
            Fact::Inspected(found) => self.inspected(found),
            Fact::BalancingSet { enabled } => self.balancing_set(event.node, *enabled),
            Fact::RestorePlanned(plan) => self.planned(plan),
            Fact::SchemaPrepared(ready) => self.schema_prepared(ready),
            Fact::RestoreProven(proven) => self.proven(proven),
            Fact::SchemaSettled(settled) => self.schema_settled(settled),
            Fact::NodePrepared(_) => self.host_fact(event.node, Self::prepared),
            Fact::BatchLoaded(batch) => self.batch_loaded(event.node, batch),
            Fact::NodePutBack => self.host_fact(event.node, Self::node_put_back),
            Fact::Failed(failed) => fold_failed(self, event.node, failed),
            // The scheduler's own words, and answers to those outside.
            Fact::Refused { .. } | Fact::RunStarted | Fact::RunEnded(_) => Folded::Known,
            Fact::Pinged(_)
            | Fact::SnapshotTaken
            | Fact::Indexed(_)
            | Fact::SchemaStored
            | Fact::ChunkStored(_)
            | Fact::Sealed(_)
            | Fact::SnapshotDropped
            | Fact::Purged(_)
            | Fact::Validated(_)
            | Fact::SnapshotsCleared(_) => Folded::Impossible,
        }
    }

    fn balancing_set(&mut self, node: Option<NodeId>, enabled: bool) -> Folded {
        let now_ms = self.life.now_ms();
        match node {
            Some(node) => self.life.balancing.set(node, enabled, now_ms),
            None => Folded::Impossible,
        }
    }

    fn host_fact(
        &mut self,
        node: Option<NodeId>,
        fold: fn(&mut Host, phase: Phase, now_ms: u64) -> Folded,
    ) -> Folded {
        let (phase, now_ms) = (self.phase, self.life.now_ms());
        if self.hosts.is_empty() {
            return Folded::Known;
        }
        match node.and_then(|node| self.hosts.get_mut(&node)) {
            Some(host) => fold(host, phase, now_ms),
            None => Folded::Impossible,
        }
    }

    fn proven(&mut self, proven: &RestoreProven) -> Folded {
        if self.phase != Phase::Prove || !self.life.working() {
            return Folded::Known;
        }
        let (rows, tables) = (proven.rows, proven.tables);
        self.life.remark(&format!(
            "{rows} rows of {tables} tables were restored and read"
        ));
        self.proven = Some(proven.clone());
        self.go(Phase::PutBack);
        Folded::Changed
    }

    fn schema_settled(&mut self, settled: &SchemaSettled) -> Folded {
        let building = settled.building;
        match &mut self.scrap {
            Some(undo) if settled.scrapped => return undo.acknowledged(),
            // A late word of what came before.
            Some(_) => return Folded::Known,
            None => {}
        }
        if self.phase != Phase::Settle || !self.life.working() {
            return Folded::Known;
        }
        let now_ms = self.life.now_ms();
        if building == 0 {
            self.go(match self.spec.request.drill {
                true => Phase::Prove,
                false => Phase::PutBack,
            });
        } else if now_ms.saturating_sub(self.since_ms) >= limit::VIEWS_MS {
            let limit = limit::text(limit::VIEWS_MS);
            self.life.fail(format!(
                "{building} views and indexes are not built after {limit}"
            ));
        } else {
            self.settling.0 += 1;
            self.settling.1 = now_ms;
        }
        Folded::Changed
    }

    fn prepared(host: &mut Host, phase: Phase, now_ms: u64) -> Folded {
        match (&mut host.back, phase) {
            (Some(undo), _) => undo.changed_again(now_ms),
            (None, Phase::Prepare) if !host.prepared => {
                host.prepared = true;
                Folded::Changed
            }
            (
                None,
                Phase::Inspect
                | Phase::Plan
                | Phase::Schema
                | Phase::Balance
                | Phase::Prepare
                | Phase::Load
                | Phase::Settle
                | Phase::Prove
                | Phase::PutBack,
            ) => Folded::Known,
        }
    }

    fn node_put_back(host: &mut Host, _phase: Phase, _now_ms: u64) -> Folded {
        match &mut host.back {
            Some(undo) => undo.acknowledged(),
            None => Folded::Known,
        }
    }

    fn batch_loaded(&mut self, node: Option<NodeId>, batch: &BatchLoaded) -> Folded {
        if self.phase < Phase::Load {
            return Folded::Known;
        }
        let number = batch.batch;
        let mut shares = self.shares.iter_mut();
        let Some(share) = shares.find(|share| (share.first..share.end).contains(&number)) else {
            return Folded::Impossible;
        };
        if !self.loaded.insert(number) {
            return Folded::Known;
        }
        share.since_ms = self.life.now_ms();
        self.restored = self.restored.saturating_add(batch.bytes);
        if let Some(table) = &batch.table {
            self.tables.done(table, batch.bytes);
        }
        if let Some(host) = node.and_then(|node| self.hosts.get_mut(&node)) {
            host.batches += 1;
            host.files = host.files.saturating_add(batch.files);
            host.bytes = host.bytes.saturating_add(batch.bytes);
            host.download_ms = host.download_ms.saturating_add(batch.download_ms);
            host.load_ms = host.load_ms.saturating_add(batch.load_ms);
        }
        Folded::Changed
    }
}
