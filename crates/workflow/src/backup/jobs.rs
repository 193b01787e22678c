//! The jobs of a backup.

use std::collections::BTreeSet;

use protocol::{
    DcLimit, DropSnapshot, Index, Inspect, Job, Location, NodeId, Pace, Seal, SetBalancing,
    StoreSchema, TakeSnapshot, Upload,
};

use super::Backup;
use crate::{
    BackupSpec,
    wait::{Step, Wait, Who},
};

impl Backup {
    pub(super) fn jobs_of(&self, wait: &Wait) -> Vec<Job> {
        let Who::Node(node) = wait.who else {
            return Vec::new();
        };
        let one = match wait.step {
            Step::Inspect => self.inspect_job(node),
            Step::BalancingOff => self.balancing_job(node, false),
            Step::BalancingOn => self.balancing_job(node, true),
            Step::Snapshot => self.snapshot_job(node),
            Step::Index => self.index_job(node),
            Step::StoreSchema => self.schema_job(node),
            Step::Upload => return self.upload_jobs(node),
            Step::Seal => self.seal_job(node),
            Step::Drop => self.drop_job(node),
            Step::Purge => self.purge_job(node),
            Step::Validate
            | Step::Clear
            | Step::Plan
            | Step::PrepareSchema
            | Step::Prove
            | Step::SettleSchema
            | Step::Prepare
            | Step::Load
            | Step::PutBack => return Vec::new(),
        };
        vec![one]
    }

    fn inspect_job(&self, node: NodeId) -> Job {
        let BackupSpec {
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
            dc: request.dc.clone(),
            sizes: false,
        })
    }

    fn balancing_job(&self, node: NodeId, enabled: bool) -> Job {
        let BackupSpec { cluster, run, .. } = self.spec;
        Job::SetBalancing(SetBalancing {
            cluster,
            run,
            node,
            enabled,
        })
    }

    fn snapshot_job(&self, node: NodeId) -> Job {
        let BackupSpec {
            cluster,
            run,
            tag,
            stale,
            ..
        } = &self.spec;
        Job::TakeSnapshot(TakeSnapshot {
            cluster: *cluster,
            run: *run,
            node,
            tag: tag.clone(),
            units: self.units.clone(),
            stale: stale
                .iter()
                .filter(|stale| *stale != tag)
                .cloned()
                .collect(),
        })
    }

    fn index_job(&self, node: NodeId) -> Job {
        let BackupSpec {
            cluster,
            run,
            origin,
            task,
            tag,
            cluster_name,
            ..
        } = &self.spec;
        Job::Index(Index {
            cluster: *cluster,
            run: *run,
            origin: *origin,
            node,
            task: *task,
            cluster_name: cluster_name.clone(),
            tag: tag.clone(),
            units: self.units.clone(),
            location: self.location(node),
            schema: self.schema,
        })
    }

    /// To all places that nodes go to: each place is to be enough by itself.
    fn schema_job(&self, node: NodeId) -> Job {
        let BackupSpec {
            cluster,
            run,
            task,
            tag,
            ..
        } = &self.spec;
        let places: BTreeSet<Location> =
            self.parts.keys().map(|node| self.location(*node)).collect();
        Job::StoreSchema(StoreSchema {
            cluster: *cluster,
            run: *run,
            node,
            task: *task,
            tag: tag.clone(),
            location: places.into_iter().collect(),
        })
    }

    fn upload_jobs(&self, node: NodeId) -> Vec<Job> {
        let BackupSpec {
            cluster,
            run,
            origin,
            task,
            ..
        } = self.spec;
        let Some(part) = self.parts.get(&node) else {
            return Vec::new();
        };
        let location = self.location(node);
        let request = &self.spec.request;
        let pace = Pace {
            rate_limit: DcLimit::serving(&request.rate_limit, self.dc(node)),
            transfers: request.transfers,
        };
        let job = |chunk| {
            Job::Upload(Upload {
                cluster,
                run,
                origin,
                node,
                location: location.clone(),
                chunk,
                task: Some(task),
                method: request.method,
                pace,
                storage_class: request.storage_class.clone(),
            })
        };
        part.stored.missing(0..part.chunks).map(job).collect()
    }

    fn seal_job(&self, node: NodeId) -> Job {
        let BackupSpec {
            cluster,
            run,
            origin,
            task,
            tag,
            ..
        } = &self.spec;
        Job::Seal(Seal {
            cluster: *cluster,
            run: *run,
            origin: *origin,
            node,
            location: self.location(node),
            task: *task,
            tag: tag.clone(),
        })
    }

    fn drop_job(&self, node: NodeId) -> Job {
        let BackupSpec {
            cluster, run, tag, ..
        } = &self.spec;
        Job::DropSnapshot(DropSnapshot {
            cluster: *cluster,
            run: *run,
            node,
            tag: tag.clone(),
        })
    }
}
