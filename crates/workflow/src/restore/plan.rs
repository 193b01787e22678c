//! What an inspection and a plan mean for a restore: whether it can go on.

use protocol::{DcBatches, Inspected, RestorePlanned, Restored, SchemaPrepared};

use super::{Host, Phase, Restore, Share};
use crate::{course::Folded, limit, ring::Ring};

impl Restore {
    pub(super) fn inspected(&mut self, found: &Inspected) -> Folded {
        if self.phase != Phase::Inspect || !self.life.working() {
            return Folded::Known;
        }
        self.life.ring = Ring::of(&found.nodes);
        self.hosts = found
            .nodes
            .iter()
            .map(|info| (info.node, Host::default()))
            .collect();
        let down: Vec<String> = found
            .nodes
            .iter()
            .filter(|info| !info.up)
            .map(|info| self.life.ring.name(info.node))
            .collect();
        if self.home().is_none() {
            self.life
                .fail("no location says where the backup lies".to_owned());
        } else if found.nodes.is_empty() {
            self.life
                .fail("the cluster to restore into has no nodes".to_owned());
        } else if let Some(node) = Ring::twice(&found.nodes) {
            self.life
                .fail(format!("the inspection names node {node} twice"));
        } else if self.undoes() {
            self.go(Phase::Settle);
        } else if let Some(first) = down.first() {
            let others = down.len() - 1;
            let more = if others == 0 {
                String::new()
            } else {
                format!(", and {others} more")
            };
            self.life.fail(format!(
                "{first} is down{more}: a restore needs every node of the cluster it goes to"
            ));
        } else if self.spec.request.what == Restored::Schema {
            self.go(Phase::Schema);
        } else {
            self.go(Phase::Plan);
        }
        Folded::Changed
    }

    pub(super) fn planned(&mut self, plan: &RestorePlanned) -> Folded {
        if self.phase != Phase::Plan || !self.life.working() {
            return Folded::Known;
        }
        if let Some(objection) = self.objection(plan) {
            self.life.fail(objection);
            return Folded::Changed;
        }
        (self.files, self.bytes) = (plan.files, plan.bytes);
        self.tables.plan(&plan.tables);
        self.methods.tell(&plan.methods);
        for share in &plan.dcs {
            let end = share.first + share.count;
            let (dc, node, first) = (share.dc.clone(), share.node, share.first);
            self.shares.push(Share {
                dc,
                node,
                first,
                end,
                since_ms: 0,
            });
            self.batches = end;
        }
        self.go(Phase::Schema);
        Folded::Changed
    }

    /// Goes on to the data, if there is any to come.
    pub(super) fn schema_prepared(&mut self, ready: &SchemaPrepared) -> Folded {
        if self.phase != Phase::Schema || !self.life.working() {
            return Folded::Known;
        }
        if let Some(objection) = &ready.objection {
            self.untouched = true;
            self.life.fail(objection.clone());
            return Folded::Changed;
        }
        for remark in &ready.remarks {
            self.life.remark(remark);
        }
        if self.batches == 0 {
            self.life.balancing.forget_unknown();
            self.go(Phase::Settle);
        } else if self.by_tablets() {
            // Whoever brings a table by tablets sees to it that balancing is on.
            self.go(Phase::Prepare);
        } else if ready.tablets {
            self.go(Phase::Balance);
            let node = self.planner();
            self.life.balancing.turn_off(node, self.life.clock.now_ms());
        } else {
            self.life.balancing.forget_unknown();
            self.go(Phase::Prepare);
        }
        Folded::Changed
    }

    /// What is wrong with the plan, for people.
    fn objection(&self, plan: &RestorePlanned) -> Option<String> {
        let mut next: u32 = 0;
        for share in &plan.dcs {
            let mut nodes = self.life.ring.in_dc(&share.dc);
            let known = match share.node {
                Some(bound) => nodes.any(|node| node == bound),
                None => nodes.next().is_some(),
            };
            let twice = |other: &&DcBatches| (&other.dc, other.node) == (&share.dc, share.node);
            let once = plan.dcs.iter().filter(twice).count() == 1;
            let sound = known && once && share.first == next;
            match next.checked_add(share.count) {
                Some(end) if sound && end <= limit::PARTS => next = end,
                Some(_) | None => {
                    return Some(format!(
                        "the restore's plan contradicts itself: {} batches from {} on for datacenter {}, \
                         where number {next} was next",
                        share.count, share.first, share.dc
                    ));
                }
            }
        }
        if next > 0 {
            return None;
        }
        let tag = &self.spec.request.snapshot_tag;
        Some(match self.spec.request.keyspace.as_slice() {
            [] => format!("nothing to restore: backup {tag} holds no data"),
            globs => format!(
                "nothing to restore: backup {tag} holds no data of {}",
                globs.join(", ")
            ),
        })
    }
}
