//! The task manager's endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::{Call, Context, Route, now, route, stage, wait};
use crate::answer::{Answer, Fail, Reply};
use crate::task::Task;

pub(super) const ROUTES: &[Route] = &[
    route(
        "GET",
        "/task_manager/list_modules",
        stage::FIRST,
        now!(modules),
    ),
    route(
        "GET",
        "/task_manager/list_module_tasks/{module}",
        stage::FIRST,
        now!(list),
    )
    .optional(&["internal", "keyspace", "table"]),
    route(
        "GET",
        "/task_manager/task_status/{id}",
        stage::FIRST,
        now!(status),
    ),
    route(
        "GET",
        "/task_manager/task_status_recursive/{id}",
        stage::FIRST,
        now!(recursive),
    ),
    route(
        "GET",
        "/task_manager/wait_task/{id}",
        stage::FIRST,
        wait!(wait),
    )
    .optional(&["timeout"]),
    route(
        "POST",
        "/task_manager/abort_task/{id}",
        stage::FIRST,
        now!(abort),
    ),
    route("GET", "/task_manager/ttl", stage::FIRST, now!(ttl)),
    route("POST", "/task_manager/ttl", stage::FIRST, now!(set_ttl)).required(&["ttl"]),
    route(
        "GET",
        "/task_manager/user_ttl",
        stage::FIRST,
        now!(user_ttl),
    ),
    route(
        "POST",
        "/task_manager/user_ttl",
        stage::FIRST,
        now!(set_user_ttl),
    )
    .required(&["user_ttl"]),
    route(
        "POST",
        "/task_manager/drain/{module}",
        stage::FIRST,
        now!(drain),
    ),
];

const MODULES: &[&str] = &[
    "compaction",
    "node_ops",
    "repair",
    "snapshot",
    "sstables_loader",
    "tablets",
    "global_topology_requests",
    "vnodes_to_tablets_migration",
];

fn modules(_: &Context, _: &Call) -> Answer {
    Ok(Reply::List(
        MODULES.iter().map(|module| Value::from(*module)).collect(),
    ))
}

fn module(call: &Call) -> Result<&str, Fail> {
    let module = call.path("module");
    if MODULES.contains(&module) {
        return Ok(module);
    }
    Err(Fail::bad(format!(
        "std::runtime_error (module {module} not found)"
    )))
}

fn list(context: &Context, call: &Call) -> Answer {
    call.flag("internal", false)?;
    let matches = |given: &str, own: &str| given.is_empty() || given == own;
    let tasks = context.node.tasks.of(module(call)?);
    let wanted = tasks.iter().filter(|task| {
        matches(call.text("keyspace"), &task.keyspace) && matches(call.text("table"), &task.table)
    });
    Ok(Reply::List(wanted.map(|task| task.stats()).collect()))
}

fn find(context: &Context, call: &Call) -> Result<Arc<Task>, Fail> {
    let text = call.path("id");
    let id = Uuid::parse_str(text).map_err(|_| {
        Fail::thrown(
            "marshal_exception",
            format!("marshaling error: invalid UUID: '{text}'"),
        )
    })?;
    context
        .node
        .tasks
        .get(id)
        .ok_or_else(|| Fail::bad(format!("task with id {id} not found")))
}

fn status(context: &Context, call: &Call) -> Answer {
    Ok(Reply::Json(find(context, call)?.status()))
}

fn recursive(context: &Context, call: &Call) -> Answer {
    Ok(Reply::List(vec![find(context, call)?.status()]))
}

async fn wait(context: Context, call: Call) -> Answer {
    let task = find(&context, &call)?;
    match call.text("timeout") {
        "" => task.ended().await,
        text => {
            let seconds = text.parse().map_err(|_| {
                Fail::bad(format!("timeout ({text}): type error - should be int64_t"))
            })?;
            if tokio::time::timeout(Duration::from_secs(seconds), task.ended())
                .await
                .is_err()
            {
                return Err(Fail::new(408, "timedout"));
            }
        }
    }
    Ok(Reply::Json(task.status()))
}

fn abort(context: &Context, call: &Call) -> Answer {
    let task = find(context, call)?;
    if !task.operation.abortable {
        return Err(Fail::new(
            403,
            format!("task with id {} cannot be aborted", task.id),
        ));
    }
    task.abort.cancel();
    Ok(Reply::Empty)
}

fn set(call: &Call, name: &str, slot: &AtomicU64) -> Answer {
    let text = call.text(name);
    let seconds = text
        .parse()
        .map_err(|_| Fail::bad(format!("Invalid value of {name}: {text}")))?;
    Ok(Reply::json(slot.swap(seconds, Ordering::Relaxed)))
}

fn ttl(context: &Context, _: &Call) -> Answer {
    Ok(Reply::json(context.node.tasks.ttl.load(Ordering::Relaxed)))
}

fn set_ttl(context: &Context, call: &Call) -> Answer {
    set(call, "ttl", &context.node.tasks.ttl)
}

fn user_ttl(context: &Context, _: &Call) -> Answer {
    Ok(Reply::json(
        context.node.tasks.user_ttl.load(Ordering::Relaxed),
    ))
}

fn set_user_ttl(context: &Context, call: &Call) -> Answer {
    set(call, "user_ttl", &context.node.tasks.user_ttl)
}

fn drain(context: &Context, call: &Call) -> Answer {
    context.node.tasks.drain(module(call)?);
    Ok(Reply::Empty)
}
