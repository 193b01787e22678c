//! What an inspection means for a backup: whether it can begin, and with which nodes.

use protocol::{Inspected, Location, NodeInfo};

use super::{At, Backup, Part, Phase};
use crate::{
    bitmap::Bitmap,
    course::Folded,
    methods::Methods,
    ring::Ring,
    tables::Tables,
    wait::{Step, Wait},
};

impl Backup {
    pub(super) fn inspected(&mut self, found: &Inspected) -> Folded {
        if self.phase != Phase::Inspect || !self.life.working() {
            return Folded::Known;
        }
        self.life.ring = Ring::of(&found.nodes);
        self.units.clone_from(&found.units);
        match self.objection(found) {
            Some(objection) => self.life.fail(objection),
            None => self.begin(found),
        }
        Folded::Changed
    }

    /// What is in the way, for people.
    fn objection(&self, found: &Inspected) -> Option<String> {
        let request = &self.spec.request;
        if let Some(node) = Ring::twice(&found.nodes) {
            return Some(format!("the inspection names node {node} twice"));
        }
        if found.units.is_empty() {
            return Some(match request.keyspace.as_slice() {
                [] => "the cluster has no table to back up".to_owned(),
                globs => format!("nothing to back up: no table matches {}", globs.join(", ")),
            });
        }
        let chosen: Vec<&NodeInfo> = found.nodes.iter().filter(|node| node.chosen).collect();
        if chosen.is_empty() {
            let dcs: Vec<&str> = self.life.ring.dcs().into_keys().collect();
            let (globs, dcs) = (request.dc.join(", "), dcs.join(", "));
            return Some(format!(
                "no datacenter matches {globs}: the cluster has {dcs}"
            ));
        }
        if let Some(objection) = self.no_such_dc() {
            return Some(objection);
        }
        if !found.uncovered.is_empty() {
            let ranges = found.uncovered.join("; ");
            return Some(format!(
                "token ranges without a live replica in the chosen datacenters: {ranges}"
            ));
        }
        if !chosen.iter().any(|node| node.up) {
            return Some("every node of the chosen datacenters is down".to_owned());
        }
        let unserved = |node: &&NodeInfo| Location::serving(&request.location, &node.dc).is_none();
        let dc = &chosen.into_iter().filter(|node| node.up).find(unserved)?.dc;
        Some(format!(
            "no location serves datacenter {dc}: add {dc}:<provider>:<bucket>, or a location without a \
             datacenter"
        ))
    }

    /// Limits of datacenters that are not there, in which somebody might believe.
    fn no_such_dc(&self) -> Option<String> {
        let request = &self.spec.request;
        let limits = [
            ("rate_limit", &request.rate_limit),
            ("snapshot_parallel", &request.snapshot_parallel),
            ("upload_parallel", &request.upload_parallel),
        ];
        let dcs = self.life.ring.dcs();
        limits.into_iter().find_map(|(name, limits)| {
            let named = limits.iter().filter_map(|limit| limit.dc.as_deref());
            let dc = named.into_iter().find(|dc| !dcs.contains_key(dc))?;
            let known: Vec<&str> = dcs.keys().copied().collect();
            let known = known.join(", ");
            Some(format!(
                "{name} names datacenter {dc}: the cluster has {known}"
            ))
        })
    }

    fn begin(&mut self, found: &Inspected) {
        for info in found.nodes.iter().filter(|info| info.chosen) {
            if info.up {
                self.parts.insert(info.node, Part::new(self.life.now_ms()));
            } else {
                let name = self.life.ring.name(info.node);
                self.life
                    .remark(&format!("{name} was down and is not in this backup"));
            }
        }
        if !found.units.iter().any(|unit| unit.tablets) {
            self.life.balancing.forget_unknown();
        }
        self.phase = Phase::Schema;
        self.schema_since_ms = self.life.now_ms();
    }

    pub(super) fn schema_wait(&self) -> Wait {
        let node = self.life.ring.up_or(self.spec.scout);
        Wait::node(node, Step::StoreSchema, self.schema_since_ms)
    }

    /// Goes on without the schema, and says so.
    pub(super) fn without_schema(&mut self, why: &str) {
        if self.phase == Phase::Schema && self.life.working() {
            self.life
                .remark(&format!("the schema is not in this backup: {why}"));
            self.hold_still();
        }
    }

    /// Has tablets stay where they are, if there are any, before snapshots are taken.
    pub(super) fn hold_still(&mut self) {
        if self.units.iter().any(|unit| unit.tablets) {
            self.phase = Phase::Balance;
            let node = self.life.ring.up_or(self.spec.scout);
            self.life.balancing.turn_off(node, self.life.clock.now_ms());
        } else {
            self.begin_work();
        }
    }
}

impl Part {
    fn new(now_ms: u64) -> Self {
        Self {
            at: At::Snapshot,
            admitted: false,
            since_ms: now_ms,
            chunks: 0,
            stored: Bitmap::default(),
            files: 0,
            bytes: 0,
            skipped_files: 0,
            skipped_bytes: 0,
            uploaded: 0,
            tables: Tables::default(),
            methods: Methods::default(),
        }
    }
}
