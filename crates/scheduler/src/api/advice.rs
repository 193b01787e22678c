//! What a restore would do, as a worker beside a node of the cluster says it. Nothing is changed.

use std::{collections::BTreeMap, time::Duration};

use protocol::{
    Cluster, DcNodes, Event, Fact, Inspected, Job, Method, NodeInfo, PlanRestore, PrepareSchema,
    Presence, RestoreRequest, Restored, RunId, TableRef, TableSize, WorkerKind, renamed,
};
use service::Chain;

use super::{ApiError, RestoreTable, RestoreUnit, TableMethod, TargetRoom};
use crate::App;

/// How long a worker may compare schemas.
const ADVICE: Duration = Duration::from_secs(60);
/// How long a worker may read manifests and list what the backup is of.
const PLAN: Duration = Duration::from_secs(5 * 60);

/// What a worker says of a restore, and what can be seen from here.
#[derive(Default)]
pub(super) struct Advice {
    pub(super) objections: Vec<String>,
    pub(super) created: u32,
    pub(super) views: u32,
    pub(super) remarks: Vec<String>,
    pub(super) rooms: Vec<TargetRoom>,
    pub(super) methods: Vec<protocol::TableMethod>,
}

/// Asks a node's worker what the restore would do; nothing is changed.
pub(super) async fn advise(
    app: &App,
    cluster: &Cluster,
    request: &RestoreRequest,
    units: &[RestoreUnit],
    there: &Inspected,
    workers: &[Presence],
) -> Result<Advice, ApiError> {
    let mut advice = Advice::default();
    for down in there.nodes.iter().filter(|node| !node.up) {
        advice.objections.push(format!(
            "node {} ({}) is down: a restore needs every node of the cluster it goes to",
            down.node, down.address
        ));
    }
    let lives = |node: &&NodeInfo| {
        let mut beside = workers.iter().filter(|worker| worker.node == node.node);
        node.up && beside.any(|worker| worker.worker == WorkerKind::Restore)
    };
    let Some(adviser) = there.nodes.iter().find(lives) else {
        let text = "no restore-worker lives beside any node that is up: start `thetis node` there";
        advice.objections.push(text.to_owned());
        return Ok(advice);
    };
    let tables = units.iter().flat_map(|unit| {
        let table = |table: &RestoreTable| {
            let (keyspace, name) = (unit.keyspace.clone(), table.table.clone());
            let of = TableRef {
                keyspace,
                table: name,
            };
            TableSize::new(renamed(&request.rename, &of), table.size)
        };
        unit.tables.iter().map(table).collect::<Vec<_>>()
    });
    let tables: Vec<TableSize> = match request.what {
        Restored::Schema => Vec::new(),
        Restored::All | Restored::Tables => tables.collect(),
    };
    let mut nodes = BTreeMap::<String, u32>::new();
    for node in &there.nodes {
        *nodes.entry(node.dc.clone()).or_default() += 1;
    }
    let run = RunId::generate();
    // Where the own engine brings all to any node, nothing is to be decided.
    let decides = request.method != Method::Agent || request.one_to_one;
    if decides && !tables.is_empty() {
        let dcs = nodes.iter().map(|(dc, nodes)| DcNodes {
            dc: dc.clone(),
            nodes: *nodes,
        });
        let question = Job::PlanRestore(PlanRestore {
            cluster: cluster.id,
            run,
            origin: run,
            node: adviser.node,
            location: request.location.clone(),
            tag: request.snapshot_tag.clone(),
            source_cluster: request.source_cluster,
            keyspace: request.keyspace.clone(),
            dcs: dcs.collect(),
            schema: request.what != Restored::Tables,
            rename: request.rename.clone(),
            drill: request.drill,
            dc_mapping: request.dc_mapping.clone(),
            method: request.method,
            one_to_one: request.one_to_one,
            dry: true,
        });
        match app.queue.ask(&question, PLAN).await {
            Ok(Event {
                fact: Fact::RestorePlanned(plan),
                ..
            }) => advice.methods = plan.methods,
            Ok(event) => return Err(strange(adviser, &event.fact)),
            Err(error) => advice.objections.push(Chain(&error).to_string()),
        }
    }
    let by_tablets = |told: &&protocol::TableMethod| told.method == Method::Tablets;
    let by_tablets = advice.methods.iter().filter(by_tablets);
    let as_stored = match request.one_to_one {
        true => tables.iter().map(|size| size.table.clone()).collect(),
        false => by_tablets.map(|told| told.table.clone()).collect(),
    };
    let question = Job::PrepareSchema(PrepareSchema {
        cluster: cluster.id,
        run,
        origin: run,
        node: adviser.node,
        request: request.clone(),
        as_stored,
        tables,
        dcs: nodes.into_keys().collect(),
        nodes: there.nodes.iter().map(|node| node.node).collect(),
        dry: true,
    });
    let told = match app.queue.ask(&question, ADVICE).await {
        Ok(Event {
            fact: Fact::SchemaPrepared(told),
            ..
        }) => told,
        Ok(event) => return Err(strange(adviser, &event.fact)),
        Err(error) => {
            advice.objections.push(Chain(&error).to_string());
            return Ok(advice);
        }
    };
    advice.objections.extend(told.objection);
    (advice.created, advice.views) = (told.created, told.views);
    advice.remarks = told.remarks;
    let room = |room: protocol::Room| TargetRoom {
        host_id: room.node.to_string(),
        needed: room.needed,
        free: room.free,
    };
    advice.rooms = told.rooms.into_iter().map(room).collect();
    Ok(advice)
}

fn strange(adviser: &NodeInfo, fact: &Fact) -> ApiError {
    ApiError::upstream(format!("{} answered with `{}`", adviser.node, fact.kind()))
}

/// Adds to tables who would bring them.
pub(super) fn tell_methods(
    units: &mut [RestoreUnit],
    request: &RestoreRequest,
    told: &[protocol::TableMethod],
) {
    let told: BTreeMap<&TableRef, &protocol::TableMethod> =
        told.iter().map(|told| (&told.table, told)).collect();
    for unit in units {
        for table in &mut unit.tables {
            let of = TableRef {
                keyspace: unit.keyspace.clone(),
                table: table.table.clone(),
            };
            let told = told.get(&renamed(&request.rename, &of));
            table.methods.extend(told.map(|told| TableMethod {
                method: told.method.to_string(),
                reason: told.reason.clone(),
            }));
        }
    }
}
