//! Tables emptied or dropped, with the snapshot that `auto_snapshot` takes first.

use std::sync::Arc;
use std::time::SystemTime;

use crate::cluster::{Sim, Target};
use crate::cql::describe;
use crate::error::Error;
use crate::node::Node;
use crate::roles::Resource;
use crate::snapshot::{self, Label};

/// Deletes all rows of a table on every node; with `keep`, a snapshot `<ms>-<table>` keeps them.
pub(crate) fn truncate(sim: &Sim, target: &Target, keep: bool) -> Result<(), Error> {
    let tag = format!("{}-{}", millis(), target.name);
    for node in &sim.nodes {
        let Some(replica) = node.replica(target.id) else {
            continue;
        };
        if keep {
            take(sim, node, target, &tag)?;
        }
        replica
            .truncate()
            .map_err(|e| Error::file("empty", &replica.dir, e))?;
    }
    Ok(())
}

/// Drops a table; with `keep`, a snapshot `pre-drop-<ms>` keeps its rows, and its directory stays.
pub(crate) fn drop_table(sim: &Sim, target: &Target, keep: bool) -> Result<(), Error> {
    let tag = format!("pre-drop-{}", millis());
    for node in &sim.nodes {
        let Some(replica) = node.replica(target.id) else {
            continue;
        };
        if keep {
            take(sim, node, target, &tag)?;
        }
        node.replicas
            .write()
            .expect("no panic while held")
            .remove(&target.id);
        let failed = |e| Error::file("empty", &replica.dir, e);
        replica.truncate().map_err(failed)?;
        let kept = std::fs::read_dir(replica.dir.join("snapshots"))
            .is_ok_and(|mut list| list.next().is_some());
        if !kept {
            std::fs::remove_dir_all(&replica.dir).map_err(failed)?;
        }
    }
    sim.change(|model| {
        if let Some(found) = model.keyspaces.get_mut(&target.keyspace) {
            found.tables.remove(&target.name);
        }
        let gone = Resource::Table(target.keyspace.clone(), target.name.clone());
        model.access.forget(&gone);
        model.schema_version = uuid::Uuid::new_v4();
        Ok(())
    })
}

/// Drops a keyspace with all its tables.
pub(crate) fn drop_keyspace(sim: &Sim, keyspace: &str, keep: bool) -> Result<(), Error> {
    let tables: Vec<String> = {
        let model = sim.model();
        let found = model.keyspaces.get(keyspace);
        let found = found.ok_or_else(|| crate::schema::no_keyspace(keyspace))?;
        found.tables.keys().cloned().collect()
    };
    for table in &tables {
        if let Ok(target) = sim.target(keyspace, table) {
            drop_table(sim, &target, keep)?;
        }
    }
    sim.change(|model| {
        model.keyspaces.remove(keyspace);
        let gone = Resource::Keyspace(keyspace.to_owned());
        model.access.forget(&gone);
        model.schema_version = uuid::Uuid::new_v4();
        Ok(())
    })
}

fn take(sim: &Sim, node: &Arc<Node>, target: &Target, tag: &str) -> Result<(), Error> {
    let Some(replica) = node.replica(target.id) else {
        return Ok(());
    };
    let failed = |e| Error::file("snapshot", &replica.dir, e);
    replica.flush(&target.placement).map_err(failed)?;
    let label = Label {
        tag,
        member: &node.member,
        target,
        cql: describe::snapshot(&sim.model(), &target.keyspace, &target.name),
        ttl: None,
        disk_full: false,
    };
    snapshot::take(&replica, &label).map_err(failed)
}

fn millis() -> u128 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis()
}
