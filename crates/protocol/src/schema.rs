//! Samples of every message, and the JSON Schema of each kind: what `proto-schemas/` is made from.

use serde_json::Value;

use crate::{
    Answer, Audit, BackupId, BackupRequest, BatchLoaded, ChunkStored, ClearRequest, ClearSnapshots,
    ClusterId, Command, DcBatches, DcLimit, DcMapping, DcNodes, DeleteBackups, DeleteRequest,
    DropSnapshot, EndedRun, Event, Fact, Failed, Index, Indexed, Inspect, Inspected, Job,
    LoadBatch, Location, Method, NewTask, NodeId, NodeInfo, NodePrepared, NodeValidated, Notice,
    Pace, Ping, Pinged, PlanRestore, PrepareNode, PrepareSchema, Probe, ProveRestore, Purge,
    Purged, PutBack, Rename, Request, RestorePlanned, RestoreProven, RestoreRequest, Retention,
    Room, RunEnded, RunId, RunStatus, Schedule, SchemaPrepared, SchemaSettled, Seal, Sealed,
    SetBalancing, SettleSchema, SnapshotTag, SnapshotsCleared, StartTask, StopTask, StoreSchema,
    TableMethod, TableRef, TableSize, TakeSnapshot, TaskId, TaskKind, TaskProgress, TaskRetention,
    Unit, Upload, Validate, ValidateRequest, Validated,
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

/// The JSON Schema of all commands.
///
/// # Panics
/// Never: a schema is plain data.
#[must_use]
pub fn of_commands() -> Value {
    serde_json::to_value(schemars::schema_for!(Command)).expect("a schema is plain data")
}

/// The JSON Schema of answers to commands.
///
/// # Panics
/// Never: a schema is plain data.
#[must_use]
pub fn of_answers() -> Value {
    serde_json::to_value(schemars::schema_for!(Answer)).expect("a schema is plain data")
}

/// The JSON Schema of notes on who changed what.
///
/// # Panics
/// Never: a schema is plain data.
#[must_use]
pub fn of_audit() -> Value {
    serde_json::to_value(schemars::schema_for!(Audit)).expect("a schema is plain data")
}

/// The JSON Schema of notices of how runs ended.
///
/// # Panics
/// Never: a schema is plain data.
#[must_use]
pub fn of_notices() -> Value {
    serde_json::to_value(schemars::schema_for!(Notice)).expect("a schema is plain data")
}

/// One sample of every kind of command.
#[must_use]
pub fn commands() -> Vec<Command> {
    let properties = |value: Value| value.as_object().cloned().unwrap_or_default();
    let backup = properties(serde_json::json!({"location": ["s3:backups"], "keyspace": ["shop"]}));
    let restore =
        properties(serde_json::json!({"location": ["s3:backups"], "snapshot_tag": tag()}));
    vec![
        Command::Backup(NewTask {
            name: "nightly".into(),
            schedule: Some(Schedule {
                cron: "0 2 * * *".into(),
                timezone: "Europe/Berlin".into(),
                ..Schedule::default()
            }),
            properties: backup,
            ..NewTask::default()
        }),
        Command::Restore(NewTask {
            properties: restore,
            ..NewTask::default()
        }),
        Command::Validate(NewTask::default()),
        Command::Delete(DeleteBackups {
            snapshot_tags: vec![tag().to_string()],
            ..DeleteBackups::default()
        }),
        Command::Start(StartTask {
            kind: TaskKind::Backup,
            task: "nightly".into(),
            resume: true,
        }),
        Command::Stop(StopTask {
            kind: TaskKind::Backup,
            task: "nightly".into(),
            disable: false,
        }),
        Command::Progress(TaskProgress {
            kind: TaskKind::Backup,
            task: "nightly".into(),
            run: None,
        }),
        Command::Tasks,
    ]
}

/// A sample of an answer to a command.
#[must_use]
pub fn answer() -> Answer {
    Answer::Answer {
        status: 404,
        body: serde_json::json!({"message": "there is no cluster `prod`", "details": "", "trace_id": "6f1e"}),
    }
}

/// A sample of each note on who changed what.
#[must_use]
pub fn audits() -> Vec<Audit> {
    vec![
        Audit::Asked {
            at_ms: 1_769_904_000_000,
            who: "ci".into(),
            role: "operator".into(),
            over: "http".into(),
            request: "PUT /api/v1/cluster/prod/task/backup/nightly/start".into(),
            status: 200,
            made: String::new(),
            hash: "0a".repeat(32),
            unnoted: 0,
        },
        Audit::Refused {
            at_ms: 1_769_904_000_000,
            node: Some(id("d1")),
            run: id("a1"),
            reason: "not a message: it is empty".into(),
            unnoted: 3,
        },
        Audit::Removed {
            at_ms: 1_769_904_000_000,
            run: id("a1"),
            task: id("a2"),
            backups: vec![format!("{}/sm_20260101000000UTC", id::<TaskId>("a2"))],
            objects: 12,
            bytes: 4_096,
            hash: "0b".repeat(32),
        },
    ]
}

/// A sample of a notice of how a run ended.
#[must_use]
pub fn notice() -> Notice {
    Notice::RunEnded(EndedRun {
        run: id("a1"),
        cluster: cluster(),
        cluster_name: "prod".into(),
        task: id("a2"),
        kind: TaskKind::Backup,
        task_name: "nightly".into(),
        labels: [("team".into(), "db".into())].into(),
        status: RunStatus::Error,
        cause: "10.0.0.2: the disk is full".into(),
        asked_ms: 1_769_904_000_000,
        ended_ms: 1_769_904_300_000,
    })
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

fn limit(text: &str) -> DcLimit {
    text.parse().expect("a sample's limit is a limit")
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
                rate_limit: vec![limit("100"), limit("dc1:50")],
                snapshot_parallel: vec![],
                upload_parallel: vec![limit("2")],
                transfers: Some(16),
                storage_class: Some("STANDARD_IA".into()),
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
            restore: Some(restore()),
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
            sizes: true,
        }),
        Job::SetBalancing(SetBalancing {
            cluster,
            run,
            node,
            enabled: false,
        }),
        Job::Ping(Ping { cluster, run, node }),
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
            schema: true,
        }),
        Job::StoreSchema(StoreSchema {
            cluster,
            run,
            node,
            task: task(),
            tag: tag(),
            location: vec![location()],
        }),
        Job::Upload(Upload {
            cluster,
            run,
            origin,
            node,
            location: location(),
            chunk: 7,
            task: Some(task()),
            method: Method::Agent,
            pace: Pace {
                rate_limit: Some(100),
                transfers: Some(16),
            },
            storage_class: Some("STANDARD_IA".into()),
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
            schema: true,
            rename: vec![Rename {
                from: "shop.users".into(),
                to: "shop.users_old".into(),
            }],
            drill: false,
            dc_mapping: vec![],
            method: Method::Auto,
            one_to_one: false,
            dry: false,
        }),
        Job::PrepareSchema(PrepareSchema {
            cluster,
            run,
            origin,
            node,
            request: restore(),
            tables: vec![TableSize::new(users(), 1 << 33)],
            as_stored: vec![],
            dcs: vec!["dc1".into()],
            nodes: vec![node],
            dry: false,
        }),
        Job::SettleSchema(SettleSchema {
            cluster,
            run,
            origin,
            node,
            location: location(),
            undo: false,
            scrap: false,
        }),
        Job::ProveRestore(ProveRestore {
            cluster,
            run,
            node,
            tables: vec![users()],
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
            node: Some(node),
            location: location(),
            batch: 3,
            task: Some(task()),
            pace: Pace::default(),
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

fn restore() -> RestoreRequest {
    RestoreRequest {
        keyspace: vec!["shop".into()],
        dc_mapping: vec![DcMapping {
            from: "dc9".into(),
            to: "dc1".into(),
        }],
        ..RestoreRequest::new(vec![location()], tag())
    }
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
            sizes: vec![TableSize::new(users(), 1 << 33)],
        }),
        Fact::Pinged(Pinged {
            scylla_version: "2026.1.0".into(),
            uptime_ms: 90_000,
            cpus: 8,
            memory: 64 << 30,
            rest: Probe {
                round_trip_us: 1_500,
                ..Probe::default()
            },
            cql: Probe {
                round_trip_us: 5_000_000,
                timeout: true,
                cause: "no answer within 5s".into(),
            },
            cql_tls: false,
            disk_free: 1 << 40,
            disk_total: 1 << 41,
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
                skipped_bytes: 1 << 20,
                ..TableSize::new(users(), 1 << 33)
            }],
        }),
        Fact::SchemaStored,
        Fact::ChunkStored(ChunkStored {
            chunk: 7,
            files: 1_152,
            bytes: 1 << 30,
            tables: vec![TableSize::new(users(), 1 << 30)],
            methods: vec![TableMethod {
                table: users(),
                method: Method::Agent,
                reason: "ScyllaDB itself reaches s3 and gcs, not azure".into(),
            }],
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
                node: Some(node()),
                first: 0,
                count: 12,
            }],
            tables: vec![TableSize::new(users(), 1 << 33)],
            sstables: 1_000,
            files: 9_000,
            bytes: 1 << 33,
            methods: vec![],
        }),
        Fact::SchemaPrepared(SchemaPrepared {
            objection: None,
            created: 4,
            views: 2,
            tablets: true,
            rooms: vec![Room {
                node: node(),
                needed: 1 << 33,
                free: 1 << 40,
            }],
            remarks: vec!["shop.users_cdc_log is made by its table".into()],
        }),
        Fact::RestoreProven(RestoreProven {
            tables: 3,
            rows: 9_000,
        }),
        Fact::SchemaSettled(SchemaSettled {
            views: 2,
            tables: 3,
            building: 0,
            scrapped: false,
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
            table: Some(users()),
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
