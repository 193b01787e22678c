//! Tablet-aware restore: the checks and downloads made before its task is created.

use serde::Deserialize;
use serde_json::Value;

use super::{Call, Context, Route, native as endpoints, route, stage, wait};
use crate::answer::{Answer, Fail, Reply};
use crate::bucket::Bucket;
use crate::native::{self, Fate};
use crate::tablets::{self, Listed, OPERATION, Order, Part};

pub(super) const ROUTES: &[Route] = &[route(
    "POST",
    "/storage_service/tablets/restore",
    stage::LOADER,
    wait!(restore),
)
.required(&["keyspace", "table", "snapshot"])];

/// What a restore needs of a `manifest.json`; whatever is missing makes it invalid.
#[derive(Deserialize)]
struct Manifest {
    node: Origin,
    snapshot: Snapshot,
    table: Table,
    #[serde(default)]
    sstables: Vec<Listed>,
}

#[derive(Deserialize)]
struct Origin {
    datacenter: String,
    rack: String,
}

#[derive(Deserialize)]
struct Snapshot {
    name: String,
}

#[derive(Deserialize)]
struct Table {
    tablets_type: String,
    tablet_count: usize,
}

async fn restore(context: Context, call: Call) -> Answer {
    let (entry, manifests) = location(&call)?;
    let target = context
        .sim
        .target(call.text("keyspace"), call.text("table"))?;
    if target.tablets == 0 {
        return Err(Fail::bad(format!(
            "Keyspace {} does not use tablets",
            target.keyspace
        )));
    }
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    let bucket = endpoints::open(&context, text("endpoint"), text("bucket"))?;
    let prefix = endpoints::checked(&context, &call, text("prefix"));
    let snapshot = call.text("snapshot").to_owned();
    let (parts, count) = read(&bucket, &prefix, &manifests, &snapshot).await?;
    let order = Order {
        bucket,
        keyspace: target.keyspace,
        table: target.name,
        snapshot,
        parts,
        count,
    };
    let task = context.node.tasks.start(&OPERATION, &order.keyspace, "", 0);
    let fate = Fate::of(&context.node, &OPERATION);
    let (sim, node) = (context.sim.clone(), context.node.clone());
    let work = tablets::restore(sim.clone(), node, task.clone(), fate.clone(), order);
    context
        .sim
        .tracker
        .spawn(native::run(sim, task.clone(), fate, work));
    Ok(Reply::json(task.id.to_string()))
}

/// The one location of the body, and its manifests' keys below the prefix.
fn location(call: &Call) -> Result<(Value, Vec<String>), Fail> {
    let bad = |what: &str| Fail::bad(what.to_owned());
    let body: Value =
        serde_json::from_slice(&call.body).map_err(|e| Fail::thrown("rjson::error", e))?;
    let Value::Array(mut entries) = body else {
        return Err(bad("backup locations (in body) must be a JSON array"));
    };
    let entry = entries.pop().filter(|_| entries.is_empty());
    let entry =
        entry.ok_or_else(|| bad("backup locations (in body) must contain exactly one entry"))?;
    if !entry.is_object() {
        return Err(bad("backup location (in body) must be a JSON object"));
    }
    let manifests = entry["manifests"]
        .as_array()
        .ok_or_else(|| bad("backup location entry must have 'manifests' array"))?;
    if manifests.is_empty() {
        return Err(bad("backup location 'manifests' array must not be empty"));
    }
    let keys = serde_json::from_value(entry["manifests"].clone())
        .map_err(|e| Fail::thrown("rjson::error", e))?;
    Ok((entry, keys))
}

/// Downloads and checks the manifests; what they list, and their tablet count.
async fn read(
    bucket: &Bucket,
    prefix: &str,
    manifests: &[String],
    snapshot: &str,
) -> Result<(Vec<Part>, usize), Fail> {
    let (mut parts, mut count) = (Vec::new(), None);
    for name in manifests {
        let key = match prefix {
            "" => name.clone(),
            prefix => format!("{prefix}/{name}"),
        };
        let text = bucket
            .read(&key)
            .await
            .map_err(|what| Fail::new(500, what))?;
        let invalid = |what: &str| Fail::runtime(format!("Invalid manifest {key}: {what}"));
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|e| invalid(&e.to_string()))?;
        let Manifest { node, table, .. } = manifest;
        if manifest.snapshot.name != snapshot {
            let found = manifest.snapshot.name;
            return Err(Fail::runtime(format!(
                "Manifest {key} belongs to snapshot '{found}', expected '{snapshot}'"
            )));
        }
        if table.tablets_type != "powof2" {
            return Err(invalid("tablets_type is not powof2"));
        }
        let expected = *count.get_or_insert(table.tablet_count);
        if table.tablet_count != expected {
            let found = table.tablet_count;
            return Err(Fail::runtime(format!(
                "Inconsistent tablet_count values in manifest {key}: expected {expected}, got {found}"
            )));
        }
        let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
        parts.push(Part {
            folder: folder.to_owned(),
            dc: node.datacenter,
            rack: node.rack,
            sstables: manifest.sstables,
        });
    }
    Ok((parts, count.unwrap_or_default()))
}
