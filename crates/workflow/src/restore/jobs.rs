//! The jobs of a restore.

use protocol::{
    DcLimit, DcNodes, Inspect, Job, LoadBatch, Method, NodeId, Pace, PlanRestore, PrepareNode,
    PrepareSchema, ProveRestore, Restored, SetBalancing, SettleSchema,
};

use super::Restore;
use crate::{
    RestoreSpec,
    wait::{Step, Wait, Who},
};

impl Restore {
    pub(super) fn jobs_of(&self, wait: &Wait) -> Vec<Job> {
        let one = match (wait.step, &wait.who) {
            (Step::Inspect, Who::Node(node)) => Some(self.inspect_job(*node)),
            (Step::BalancingOff, Who::Node(node)) => Some(self.balancing_job(*node, false)),
            (Step::BalancingOn, Who::Node(node)) => Some(self.balancing_job(*node, true)),
            (Step::Plan, Who::Node(node)) => Some(self.plan_job(*node)),
            (Step::PrepareSchema, Who::Node(node)) => Some(self.prepare_schema_job(*node)),
            (Step::Prove, Who::Node(node)) => Some(self.prove_job(*node)),
            (Step::SettleSchema, Who::Node(node)) => self.settle_schema_job(*node),
            (Step::Prepare, Who::Node(node)) => self.prepare_job(*node),
            (Step::PutBack, Who::Node(node)) => self.put_back(*node),
            (Step::Load, who) => return self.load_jobs(who),
            (
                Step::Inspect
                | Step::BalancingOff
                | Step::BalancingOn
                | Step::Plan
                | Step::PrepareSchema
                | Step::Prove
                | Step::SettleSchema
                | Step::Prepare
                | Step::PutBack
                | Step::Snapshot
                | Step::Index
                | Step::StoreSchema
                | Step::Upload
                | Step::Seal
                | Step::Drop
                | Step::Purge
                | Step::Validate
                | Step::Clear,
                Who::Node(_) | Who::Dc(_),
            ) => None,
        };
        one.into_iter().collect()
    }

    fn inspect_job(&self, node: NodeId) -> Job {
        let RestoreSpec {
            cluster,
            run,
            request,
            ..
        } = &self.spec;
        Job::Inspect(Inspect {
            cluster: *cluster,
            run: *run,
            node,
            keyspace: request.keyspace.clone(),
            dc: Vec::new(),
            sizes: false,
        })
    }

    fn balancing_job(&self, node: NodeId, enabled: bool) -> Job {
        let RestoreSpec { cluster, run, .. } = self.spec;
        Job::SetBalancing(SetBalancing {
            cluster,
            run,
            node,
            enabled,
        })
    }

    fn plan_job(&self, node: NodeId) -> Job {
        let RestoreSpec {
            cluster,
            run,
            origin,
            request,
            ..
        } = &self.spec;
        let dcs = self.life.ring.dcs().into_iter();
        Job::PlanRestore(PlanRestore {
            cluster: *cluster,
            run: *run,
            origin: *origin,
            node,
            location: request.location.clone(),
            tag: request.snapshot_tag.clone(),
            source_cluster: request.source_cluster,
            keyspace: request.keyspace.clone(),
            schema: request.what != Restored::Tables,
            rename: request.rename.clone(),
            drill: request.drill,
            dc_mapping: request.dc_mapping.clone(),
            method: request.method,
            one_to_one: request.one_to_one,
            dry: false,
            dcs: dcs
                .map(|(dc, nodes)| DcNodes {
                    dc: dc.to_owned(),
                    nodes,
                })
                .collect(),
        })
    }

    fn prepare_schema_job(&self, node: NodeId) -> Job {
        let RestoreSpec {
            cluster,
            run,
            origin,
            request,
            ..
        } = &self.spec;
        let dcs = self.life.ring.dcs().into_keys();
        Job::PrepareSchema(PrepareSchema {
            cluster: *cluster,
            run: *run,
            origin: *origin,
            node,
            request: request.clone(),
            tables: self.tables.sizes().collect(),
            as_stored: match request.one_to_one {
                true => self.tables.names().collect(),
                false => self.methods.tables(Method::Tablets),
            },
            dcs: dcs.map(str::to_owned).collect(),
            nodes: self.life.ring.iter().map(|(node, _)| node).collect(),
            dry: false,
        })
    }

    fn prove_job(&self, node: NodeId) -> Job {
        let RestoreSpec { cluster, run, .. } = self.spec;
        Job::ProveRestore(ProveRestore {
            cluster,
            run,
            node,
            tables: self.tables.names().collect(),
        })
    }

    fn settle_schema_job(&self, node: NodeId) -> Option<Job> {
        let RestoreSpec {
            cluster,
            run,
            origin,
            ..
        } = self.spec;
        Some(Job::SettleSchema(SettleSchema {
            cluster,
            run,
            origin,
            node,
            location: self.home()?.clone(),
            undo: self.undoes() || self.scrap.is_some(),
            scrap: self.scrap.is_some(),
        }))
    }

    fn prepare_job(&self, node: NodeId) -> Option<Job> {
        let RestoreSpec {
            cluster,
            run,
            origin,
            ..
        } = self.spec;
        Some(Job::PrepareNode(PrepareNode {
            cluster,
            run,
            origin,
            node,
            location: self.home()?.clone(),
            tables: self.tables.names().collect(),
        }))
    }

    fn load_jobs(&self, who: &Who) -> Vec<Job> {
        let RestoreSpec {
            cluster,
            run,
            origin,
            task,
            ..
        } = self.spec;
        let request = &self.spec.request;
        let (Some(location), Some(share)) = (self.home(), self.share(who)) else {
            return Vec::new();
        };
        let pace = Pace {
            rate_limit: DcLimit::serving(&request.rate_limit, &share.dc),
            transfers: request.transfers,
        };
        let job = |batch| {
            let (dc, location) = (share.dc.clone(), location.clone());
            Job::LoadBatch(LoadBatch {
                cluster,
                run,
                origin,
                dc,
                node: share.node,
                location,
                batch,
                task: Some(task),
                pace,
            })
        };
        self.missing(share).map(job).collect()
    }
}
