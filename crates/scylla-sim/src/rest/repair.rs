//! Repairs: those of vnodes and of tablets are done when they are answered, with all live replicas.

use serde_json::{Value, json};

use super::{Call, Context, Route, disk, now, route, stage};
use crate::answer::{Answer, Fail, Reply};
use crate::repair;
use crate::task::{End, Operation};

pub(super) const ROUTES: &[Route] = &[
    route(
        "POST",
        "/storage_service/repair_async/{keyspace}",
        stage::REPAIR,
        disk!(start),
    )
    .optional(OPTIONS),
    route(
        "GET",
        "/storage_service/repair_async/{keyspace}",
        stage::REPAIR,
        now!(status),
    )
    .required(&["id"]),
    route(
        "GET",
        "/storage_service/repair_status",
        stage::REPAIR,
        now!(status),
    )
    .required(&["id"])
    .optional(&["timeout"]),
    route(
        "POST",
        "/storage_service/force_terminate_repair",
        stage::REPAIR,
        now!(terminate),
    ),
    route(
        "GET",
        "/storage_service/active_repair",
        stage::REPAIR,
        now!(active),
    ),
    route(
        "POST",
        "/storage_service/tablets/repair",
        stage::REPAIR,
        disk!(tablets),
    )
    .required(&["ks", "table", "tokens"])
    .optional(&[
        "hosts_filter",
        "dcs_filter",
        "await_completion",
        "incremental_mode",
    ]),
];

/// What `repair_async` understands; anything else is refused.
const OPTIONS: &[&str] = &[
    "primaryRange",
    "parallelism",
    "incremental",
    "jobThreads",
    "ranges",
    "columnFamilies",
    "dataCenters",
    "hosts",
    "ignore_nodes",
    "trace",
    "startToken",
    "endToken",
    "ranges_parallelism",
    "small_table_optimization",
];

static TABLET_REPAIR: Operation = Operation {
    module: "tablets",
    kind: "cluster",
    name: "user_repair",
    scope: "table",
    units: "tablets",
    abortable: true,
    user: true,
};

fn start(context: &Context, call: &Call) -> Answer {
    let keyspace = call.path("keyspace");
    if let Some(unknown) = call.query_names().find(|name| !OPTIONS.contains(name)) {
        return Err(Fail::bad(format!("option {unknown} is not supported")));
    }
    let mut tables = call.list("columnFamilies");
    {
        let model = context.sim.model();
        let found = model
            .keyspaces
            .get(keyspace)
            .ok_or_else(|| Fail::keyspace(keyspace))?;
        if tables.is_empty() {
            tables = found.tables.keys().cloned().collect();
        }
        if found.tablets {
            return Err(Fail::new(
                403,
                "Cannot repair tablet keyspace. Use /storage_service/tablets/repair to repair tablet keyspaces.",
            ));
        }
    }
    let targets = tables
        .iter()
        .map(|table| context.sim.target(keyspace, table));
    let targets: Vec<_> = targets.collect::<Result<_, _>>()?;
    targets
        .iter()
        .try_for_each(|target| repair::table(&context.sim, target))?;
    let mut volatile = context.node.volatile();
    volatile.repairs += 1;
    Ok(Reply::json(volatile.repairs))
}

fn status(context: &Context, call: &Call) -> Answer {
    let id = call.text("id");
    let number: u64 = id
        .parse()
        .map_err(|_| Fail::bad(format!("id ({id}): type error - should be int32_t")))?;
    if number > context.node.volatile().repairs {
        return Err(Fail::bad(format!("unknown repair id {number}")));
    }
    Ok(Reply::json("SUCCESSFUL"))
}

fn terminate(_: &Context, _: &Call) -> Answer {
    Ok(Reply::Empty)
}

fn active(_: &Context, _: &Call) -> Answer {
    Ok(Reply::List(Vec::new()))
}

fn tablets(context: &Context, call: &Call) -> Answer {
    let target = context.sim.target(call.text("ks"), call.text("table"))?;
    if target.tablets == 0 {
        return Err(Fail::bad(format!(
            "Keyspace {} does not use tablets",
            target.keyspace
        )));
    }
    call.strict_flag("await_completion", true)?;
    if !matches!(
        call.text("incremental_mode"),
        "" | "incremental" | "full" | "disabled"
    ) {
        return Err(Fail::bad("invalid incremental_mode parameter value"));
    }
    repair::table(&context.sim, &target)?;
    // A cluster task: it can be waited for through any node.
    let task = context
        .node
        .tasks
        .start(&TABLET_REPAIR, &target.keyspace, &target.name, 0);
    task.finish(End::Done);
    for node in &context.sim.nodes {
        node.tasks.share(&task);
    }
    Ok(Reply::Json(
        json!({ "tablet_task_id": Value::from(task.id.to_string()) }),
    ))
}
