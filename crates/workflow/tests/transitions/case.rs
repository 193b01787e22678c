//! A run under test, with jobs and causes as short texts: `upload n1 #3`, `n2` for a node's name.

use std::collections::BTreeSet;

use protocol::{
    BackupId, BackupRequest, BatchLoaded, ChunkStored, ClusterId, DcBatches, Event, Fact, Failed,
    Indexed, Inspected, Job, Location, NodeId, NodeInfo, NodePrepared, Purged, RestorePlanned,
    RestoreRequest, RunId, RunStatus, SchemaPrepared, SchemaSettled, Sealed, TableRef, TableSize,
    TaskId, Unit, WorkerKind,
};
use uuid::Uuid;
use workflow::{BackupSpec, Input, RestoreSpec, Run};

/// A run under test, and its time.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) run: Run,
    pub(crate) now_ms: u64,
}

pub(crate) fn node(number: u64) -> NodeId {
    NodeId(Uuid::from_u128(
        0x4000_8000_0000_0000_0000 + u128::from(number),
    ))
}

pub(crate) fn run_id(number: u128) -> RunId {
    RunId(Uuid::from_u128(0xF000_4000_8000_0000_0000_0000 + number))
}

pub(crate) fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(7))
}

pub(crate) fn backup_spec() -> BackupSpec {
    BackupSpec {
        cluster: cluster(),
        run: run_id(1),
        origin: run_id(1),
        task: TaskId(Uuid::from_u128(9)),
        tag: "sm_20260101000000UTC".parse().expect("a tag"),
        request: BackupRequest {
            location: vec!["s3:backups".parse().expect("a location")],
            ..BackupRequest::default()
        },
        cluster_name: "test".to_owned(),
        scout: node(1),
        stale: Vec::new(),
        started_ms: 1_000_000,
        unsettled: false,
    }
}

pub(crate) fn restore_spec() -> RestoreSpec {
    RestoreSpec {
        cluster: cluster(),
        run: run_id(1),
        origin: run_id(1),
        task: TaskId(Uuid::from_u128(9)),
        request: RestoreRequest::new(
            locations(&["s3:backups"]),
            "sm_20260101000000UTC".parse().expect("a tag"),
        ),
        scout: node(1),
        started_ms: 1_000_000,
        unsettled: false,
        shielded: workflow::Shield::No,
    }
}

pub(crate) fn locations(texts: &[&str]) -> Vec<Location> {
    texts
        .iter()
        .map(|text| text.parse().expect("a location"))
        .collect()
}

/// Nodes `n1` to `n<count>`, all up, of datacenter `dc1`; one keyspace.
pub(crate) fn found(count: u64, tablets: bool) -> Inspected {
    let info = |number| NodeInfo {
        node: node(number),
        address: format!("10.0.0.{number}"),
        dc: "dc1".to_owned(),
        rack: "r1".to_owned(),
        up: true,
        chosen: true,
    };
    let unit = Unit {
        keyspace: "shop".to_owned(),
        tables: vec!["orders".to_owned()],
        all_tables: true,
        tablets,
    };
    Inspected {
        cluster_name: "test".to_owned(),
        nodes: (1..=count).map(info).collect(),
        units: vec![unit],
        ..Inspected::default()
    }
}

pub(crate) fn plan_of(chunks: u32) -> Fact {
    let bytes = u64::from(chunks) * 100;
    Fact::Indexed(Indexed {
        chunks,
        files: u64::from(chunks) * 8 + 8,
        bytes: bytes + 1_000,
        skipped_files: 8,
        skipped_bytes: 1_000,
        tables: vec![TableSize {
            skipped_bytes: 1_000,
            ..TableSize::new(orders(), bytes + 1_000)
        }],
    })
}

pub(crate) fn orders() -> TableRef {
    TableRef {
        keyspace: "shop".to_owned(),
        table: "orders".to_owned(),
    }
}

pub(crate) fn chunk(chunk: u32) -> Fact {
    Fact::ChunkStored(ChunkStored {
        chunk,
        files: 8,
        bytes: 100,
        tables: vec![TableSize::new(orders(), 100)],
        methods: vec![],
    })
}

pub(crate) fn sealed() -> Fact {
    Fact::Sealed(Sealed {
        files: 24,
        bytes: 1_200,
    })
}

/// A purge that removed two backups.
pub(crate) fn purged() -> Fact {
    let backup = |tag: &str| BackupId {
        task: TaskId(Uuid::from_u128(9)),
        tag: tag.parse().expect("a tag"),
    };
    Fact::Purged(Purged {
        backups: vec![
            backup("sm_20250101000000UTC"),
            backup("sm_20250102000000UTC"),
        ],
        objects: 80,
        bytes: 4_000,
        obstacles: Vec::new(),
        contended: false,
    })
}

pub(crate) fn balancing(enabled: bool) -> Fact {
    Fact::BalancingSet { enabled }
}

pub(crate) fn failed(job: &str, part: u32) -> Fact {
    Fact::Failed(Failed {
        job: job.to_owned(),
        part,
        reason: "the disk is full".to_owned(),
    })
}

/// A restore's plan: so many batches for each datacenter.
pub(crate) fn batches(dcs: &[(&str, u32)]) -> Fact {
    let mut first = 0;
    let mut plan = RestorePlanned {
        bytes: 400,
        files: 32,
        ..RestorePlanned::default()
    };
    for (dc, count) in dcs {
        plan.dcs.push(DcBatches {
            dc: (*dc).to_owned(),
            node: None,
            first,
            count: *count,
        });
        first += count;
    }
    plan.tables = vec![TableSize::new(orders(), 400)];
    Fact::RestorePlanned(plan)
}

/// A restore's plan: so many batches for each of these nodes.
pub(crate) fn bound(nodes: &[(u64, u32)]) -> Fact {
    let Fact::RestorePlanned(mut plan) = batches(&[]) else {
        unreachable!("that is what it is")
    };
    let mut first = 0;
    for (number, count) in nodes {
        plan.dcs.push(DcBatches {
            dc: "dc1".to_owned(),
            node: Some(node(*number)),
            first,
            count: *count,
        });
        first += count;
    }
    Fact::RestorePlanned(plan)
}

pub(crate) fn loaded(batch: u32) -> Fact {
    Fact::BatchLoaded(BatchLoaded {
        batch,
        files: 8,
        bytes: 100,
        download_ms: 5,
        load_ms: 6,
        table: Some(orders()),
    })
}

/// The schema is ready, of tablets or vnodes.
pub(crate) fn schema(tablets: bool) -> Fact {
    Fact::SchemaPrepared(SchemaPrepared {
        created: 1,
        views: 2,
        tablets,
        ..SchemaPrepared::default()
    })
}

pub(crate) fn settled() -> Fact {
    building(0)
}

/// The schema is settled, but for so many views.
pub(crate) fn building(building: u32) -> Fact {
    Fact::SchemaSettled(SchemaSettled {
        views: 2,
        tables: 1,
        building,
        scrapped: false,
    })
}

pub(crate) fn prepared() -> Fact {
    Fact::NodePrepared(NodePrepared {
        compacting: vec![orders()],
    })
}

pub(crate) fn event(number: u64, fact: Fact) -> Event {
    Event {
        cluster: cluster(),
        run: run_id(1),
        node: Some(node(number)),
        fact,
    }
}

/// `text` with `n1` for `node <host id> (<address>)`, and so on.
fn short(text: &str) -> String {
    (1..20).rev().fold(text.to_owned(), |text, number| {
        let name = format!("node {} (10.0.0.{number})", node(number));
        let bare = format!("node {}", node(number));
        text.replace(&name, &format!("n{number}"))
            .replace(&bare, &format!("n{number}"))
    })
}

fn label(job: &Job) -> String {
    let whose = (1..20).find(|number| job.node() == Some(node(*number)));
    let whose = whose
        .map(|number| format!(" n{number}"))
        .unwrap_or_default();
    let more = match job {
        Job::SetBalancing(job) if job.enabled => " on".to_owned(),
        Job::SetBalancing(_) => " off".to_owned(),
        Job::Upload(job) => format!(" #{}", job.chunk),
        Job::LoadBatch(job) => format!(" {} #{}", job.dc, job.batch),
        Job::Request(_)
        | Job::Inspect(_)
        | Job::Ping(_)
        | Job::TakeSnapshot(_)
        | Job::Index(_)
        | Job::StoreSchema(_)
        | Job::Seal(_)
        | Job::DropSnapshot(_)
        | Job::Purge(_)
        | Job::Validate(_)
        | Job::ClearSnapshots(_)
        | Job::PlanRestore(_)
        | Job::PrepareSchema(_)
        | Job::ProveRestore(_)
        | Job::SettleSchema(_)
        | Job::PrepareNode(_)
        | Job::PutBack(_) => String::new(),
    };
    format!("{}{whose}{more}", job.kind())
}

pub(crate) fn labels(jobs: &[Job]) -> Vec<String> {
    let mut labels: Vec<String> = jobs.iter().map(label).collect();
    labels.sort();
    labels
}

impl Case {
    pub(crate) fn of(run: Run) -> Self {
        let mut case = Self {
            run,
            now_ms: 5_000_000,
        };
        case.tick(0, &[]);
        case
    }

    pub(crate) fn backup() -> Self {
        Self::of(Run::backup(backup_spec()))
    }

    pub(crate) fn restore() -> Self {
        Self::of(Run::restore(restore_spec()))
    }

    /// Tells of something that happened on node `number`; true if it changed the run.
    pub(crate) fn tell(&mut self, number: u64, fact: Fact) -> bool {
        self.run.apply(&Input::Event(&event(number, fact)))
    }

    /// Tells what the cluster looks like, and that its schema is stored.
    pub(crate) fn inspect(&mut self, found: Inspected) {
        self.tell(1, Fact::Inspected(found));
        self.tell(1, Fact::SchemaStored);
    }

    /// The same, of each of several nodes.
    pub(crate) fn tell_all(&mut self, numbers: std::ops::RangeInclusive<u64>, fact: &Fact) {
        for number in numbers {
            self.tell(number, fact.clone());
        }
    }

    /// Lets so many seconds pass, a tick every ten, while workers are absent.
    pub(crate) fn tick(&mut self, seconds: u64, absent: &[(u64, WorkerKind)]) {
        let absent: BTreeSet<_> = absent
            .iter()
            .map(|(number, worker)| (node(*number), *worker))
            .collect();
        let end = self.now_ms + seconds * 1_000;
        loop {
            let now_ms = self.now_ms;
            self.run.apply(&Input::Tick {
                now_ms,
                absent: &absent,
            });
            if now_ms == end {
                break;
            }
            self.now_ms = end.min(now_ms + 10_000);
        }
    }

    pub(crate) fn stop(&mut self) -> bool {
        self.run.apply(&Input::Stop)
    }

    /// What is due.
    pub(crate) fn due(&self) -> Vec<String> {
        labels(&self.run.due())
    }

    pub(crate) fn stage(&self) -> String {
        self.run.report().stage
    }

    /// How the run stands, and why.
    pub(crate) fn end(&self) -> (RunStatus, String) {
        (self.run.status(), short(self.run.cause()))
    }

    /// A backup of two nodes whose balancing is on again, at its uploads: two chunks on each.
    pub(crate) fn uploading() -> Self {
        let mut case = Self::backup();
        case.tell(1, Fact::Inspected(found(2, true)));
        case.tell(1, Fact::SchemaStored);
        case.tell(1, balancing(false));
        case.tell_all(1..=2, &Fact::SnapshotTaken);
        case.tell(1, balancing(true));
        case.tell_all(1..=2, &plan_of(2));
        case
    }

    /// The same, with all chunks stored.
    pub(crate) fn sealing() -> Self {
        let mut case = Self::uploading();
        for number in 1..=2 {
            case.tell_all(1..=2, &chunk(number - 1));
        }
        case
    }

    /// The same, with all manifests published.
    pub(crate) fn dropping() -> Self {
        let mut case = Self::sealing();
        case.tell_all(1..=2, &sealed());
        case
    }

    /// The same, with all snapshots dropped.
    pub(crate) fn purging() -> Self {
        let mut case = Self::dropping();
        case.tell_all(1..=2, &Fact::SnapshotDropped);
        case
    }

    /// A restore to two nodes, at its batches: three in one datacenter.
    pub(crate) fn loading() -> Self {
        let mut case = Self::restore();
        case.tell(1, Fact::Inspected(found(2, true)));
        case.tell(1, batches(&[("dc1", 3)]));
        case.tell(1, schema(true));
        case.tell(1, balancing(false));
        case.tell_all(1..=2, &prepared());
        case
    }

    /// The same, with all batches loaded and the schema settled.
    pub(crate) fn putting_back() -> Self {
        let mut case = Self::loading();
        for batch in 0..3 {
            case.tell(1, loaded(batch));
        }
        case.tell(1, settled());
        case
    }
}
