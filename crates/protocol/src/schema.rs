//! Samples of every message, and the JSON Schema of each kind: what `proto-schemas/` is made from.

use serde_json::Value;

use crate::{
    BackupId, BackupRequest, BatchLoaded, ChunkStored, ClearRequest, ClearSnapshots, ClusterId,
    DcBatches, DcNodes, DeleteRequest, DropSnapshot, Event, Fact, Failed, Index, Indexed, Inspect,
    Inspected, Job, LoadBatch, Location, Method, NodeId, NodeInfo, NodePrepared, NodeValidated,
    PlanRestore, PrepareNode, Purge, Purged, PutBack, Request, RestorePlanned, RestoreRequest,
    Retention, RunEnded, RunId, RunStatus, Seal, Sealed, SetBalancing, SnapshotTag,
    SnapshotsCleared, TableRef, TableSize, TakeSnapshot, TaskId, TaskRetention, Unit, Upload,
    Validate, ValidateRequest, Validated,
};

/// The JSON Schema of all jobs.
///
/// # Panics
/// Never: a schema is plain data.
#[must_use]
pub fn of_jobs() -> Value {
    serde_json::to_value(schemars::schema_for!(Job)).expect("a schema is plain data")
}

/// The JSON Schema of all events.
///
/// # Panics
/// Never: a schema is plain data.
#[must_use]
pub fn of_events() -> Value {
    serde_json::to_value(schemars::schema_for!(Event)).expect("a schema is plain data")
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(last: &str) -> T {
    format!("01920000-0000-7000-8000-0000000000{last}")
        .parse()
        .expect("a sample's id is a UUID")
}

fn cluster() -> ClusterId {
    id("c1")
}

fn run() -> RunId {
    id("a1")
}

fn node() -> NodeId {
    id("01")
}

fn task() -> TaskId {
    id("b1")
}

fn tag() -> SnapshotTag {
    "sm_20260131235959UTC"
        .parse()
        .expect("a sample's tag is a tag")
}

fn backup() -> BackupId {
    BackupId {
        task: task(),
        tag: tag(),
    }
}

fn location() -> Location {
    "s3:backups"
        .parse()
        .expect("a sample's location is a location")
}

fn validation() -> ValidateRequest {
    ValidateRequest {
        location: vec![location()],
        snapshot_tag: None,
        checksum: true,
        max_bytes: 1 << 30,
        delete_orphaned_files: false,
    }
}

fn users() -> TableRef {
    TableRef {
        keyspace: "shop".into(),
        table: "users".into(),
    }
}

fn shop() -> Unit {
    Unit {
        keyspace: "shop".into(),
        tables: vec!["orders".into(), "users".into()],
        all_tables: true,
        tablets: true,
    }
}

/// One sample of every kind of job.
#[must_use]
pub fn jobs() -> Vec<Job> {
    let (cluster, run, node, origin) = (cluster(), run(), node(), run());
    vec![
        Job::Request(Request {
            cluster,
            run,
            task: None,
            backup: Some(BackupRequest {
                location: vec![location()],
                keyspace: vec!["shop".into(), "!shop.tmp*".into()],
                dc: vec![],
                method: Method::Agent,
                retention: Retention {
                    retention: 7,
                    keep_weekly: 4,
                    ..Retention::default()
                },
            }),
            restore: None,
            delete: None,
            validate: None,
            clear: None,
        }),
        Job::Request(Request {
            cluster,
            run,
            task: Some(task()),
            backup: None,
            restore: Some(RestoreRequest {
                location: vec![location()],
                snapshot_tag: tag(),
                source_cluster: None,
                keyspace: vec!["shop".into()],
                method: Method::Agent,
            }),
            delete: None,
            validate: None,
            clear: None,
        }),
        Job::Request(Request {
            cluster,
            run,
            task: None,
            backup: None,
            restore: None,
            delete: Some(DeleteRequest {
                location: vec![location()],
                snapshot_tag: vec![tag()],
                force: false,
            }),
            validate: None,
            clear: None,
        }),
        Job::Request(Request {
            cluster,
            run,
            task: None,
            backup: None,
            restore: None,
            delete: None,
            validate: Some(validation()),
            clear: None,
        }),
        Job::Request(Request {
            cluster,
            run,
            task: None,
            backup: None,
            restore: None,
            delete: None,
            validate: None,
            clear: Some(ClearRequest {}),
        }),
        Job::Inspect(Inspect {
            cluster,
            run,
            node,
            keyspace: vec!["shop".into()],
            dc: vec![],
        }),
        Job::SetBalancing(SetBalancing {
            cluster,
            run,
            node,
            enabled: false,
        }),
        Job::TakeSnapshot(TakeSnapshot {
            cluster,
            run,
            node,
            tag: tag(),
            units: vec![shop()],
            stale: vec![],
        }),
        Job::Index(Index {
            cluster,
            run,
            origin,
            node,
            task: task(),
            cluster_name: "prod".into(),
            tag: tag(),
            units: vec![shop()],
            location: location(),
        }),
        Job::Upload(Upload {
            cluster,
            run,
            origin,
            node,
            location: location(),
            chunk: 7,
        }),
        Job::Seal(Seal {
            cluster,
            run,
            origin,
            node,
            location: location(),
            task: task(),
            tag: tag(),
        }),
        Job::DropSnapshot(DropSnapshot {
            cluster,
            run,
            node,
            tag: tag(),
        }),
        Job::Purge(Purge {
            cluster,
            run,
            node,
            locations: vec![location()],
            tasks: vec![TaskRetention {
                task: task(),
                deleted: false,
                location: vec![location()],
                retention: Retention {
                    retention: 7,
                    keep_weekly: 4,
                    ..Retention::default()
                },
            }],
            unknown: Retention::default(),
            open: vec![backup()],
            restored: vec![],
            named: vec![],
            force: false,
        }),
        Job::Validate(Validate {
            cluster,
            run,
            node,
            request: validation(),
        }),
        Job::ClearSnapshots(ClearSnapshots {
            cluster,
            run,
            node,
            before: tag(),
        }),
        Job::PlanRestore(PlanRestore {
            cluster,
            run,
            origin,
            node,
            location: vec![location()],
            tag: tag(),
            source_cluster: Some(cluster),
            keyspace: vec![],
            dcs: vec![DcNodes {
                dc: "dc1".into(),
                nodes: 3,
            }],
        }),
        Job::PrepareNode(PrepareNode {
            cluster,
            run,
            origin,
            node,
            location: location(),
            tables: vec![users()],
        }),
        Job::LoadBatch(LoadBatch {
            cluster,
            run,
            origin,
            dc: "dc1".into(),
            location: location(),
            batch: 3,
        }),
        Job::PutBack(PutBack {
            cluster,
            run,
            origin,
            node,
            location: location(),
        }),
    ]
}

/// One sample of every kind of event.
#[must_use]
pub fn events() -> Vec<Event> {
    let facts = [
        Fact::Inspected(Inspected {
            cluster_name: "prod".into(),
            nodes: vec![NodeInfo {
                node: node(),
                address: "10.0.0.1".into(),
                dc: "dc1".into(),
                rack: "r1".into(),
                up: true,
                chosen: true,
            }],
            units: vec![shop()],
            uncovered: vec![],
        }),
        Fact::BalancingSet { enabled: false },
        Fact::SnapshotTaken,
        Fact::Indexed(Indexed {
            chunks: 9,
            files: 9_000,
            bytes: 1 << 33,
            skipped_files: 90,
            skipped_bytes: 1 << 20,
            tables: vec![TableSize {
                table: users(),
                bytes: 1 << 33,
            }],
        }),
        Fact::ChunkStored(ChunkStored {
            chunk: 7,
            files: 1_152,
            bytes: 1 << 30,
        }),
        Fact::Sealed(Sealed {
            files: 9_000,
            bytes: 1 << 33,
        }),
        Fact::SnapshotDropped,
        Fact::Purged(Purged {
            backups: vec![backup()],
            objects: 1_200,
            bytes: 1 << 30,
            obstacles: vec![],
            contended: false,
        }),
        Fact::Validated(Validated {
            nodes: vec![NodeValidated {
                dc: "dc1".into(),
                host: "10.0.0.1".into(),
                node: node(),
                location: "s3:backups".into(),
                manifests: 7,
                scanned_files: 9_000,
                missing_files: 1,
                wrong_files: 0,
                orphaned_files: 9,
                orphaned_bytes: 1 << 20,
                deleted_files: 0,
                checkable_files: 9_000,
                checkable_bytes: 1 << 33,
                checked_files: 1_000,
                checked_bytes: 1 << 30,
                broken_snapshots: vec![tag()],
            }],
            broken_snapshots: vec![tag()],
            faults: vec!["a file is missing".into()],
            sound: false,
            obstacles: vec![],
            contended: false,
        }),
        Fact::SnapshotsCleared(SnapshotsCleared { tags: vec![tag()] }),
        Fact::RestorePlanned(RestorePlanned {
            dcs: vec![DcBatches {
                dc: "dc1".into(),
                first: 0,
                count: 12,
            }],
            tables: vec![TableSize {
                table: users(),
                bytes: 1 << 33,
            }],
            sstables: 1_000,
            files: 9_000,
            bytes: 1 << 33,
        }),
        Fact::NodePrepared(NodePrepared {
            compacting: vec![users()],
        }),
        Fact::BatchLoaded(BatchLoaded {
            batch: 3,
            files: 72,
            bytes: 1 << 28,
            download_ms: 1_200,
            load_ms: 3_400,
        }),
        Fact::NodePutBack,
        Fact::Failed(Failed {
            job: "upload".into(),
            part: 7,
            reason: "no bucket `backups`".into(),
        }),
        Fact::Refused {
            reason: "unknown cluster".into(),
        },
        Fact::RunStarted,
        Fact::RunEnded(RunEnded {
            status: RunStatus::Done,
            cause: String::new(),
        }),
    ];
    let of_scheduler = |fact: &Fact| {
        matches!(
            fact,
            Fact::Refused { .. } | Fact::RunStarted | Fact::RunEnded(_)
        )
    };
    facts
        .into_iter()
        .map(|fact| Event {
            cluster: cluster(),
            run: run(),
            node: (!of_scheduler(&fact)).then(node),
            fact,
        })
        .collect()
}
