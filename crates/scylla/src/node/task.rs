//! The node's own transfers to and from an object store, and the tasks they run as.
//!
//! A task's result lives in the memory of the node that ran it: it is gone some time after its end
//! ([`Node::set_user_ttl`]) and at the node's restart. Whether it went well is told by
//! [`Task::state`] alone; progress may end short of its total.

use std::time::Duration;

use protocol::TableRef;
use reqwest::Method;
use serde::Deserialize;
use uuid::Uuid;

use super::Node;
use crate::Error;

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Not begun.
    Created,
    /// Under way.
    Running,
    /// Ended well.
    Done,
    /// Ended badly, or aborted.
    Failed,
    /// Waits to go on.
    Suspended,
    /// A state this build does not know.
    #[serde(other)]
    Other,
}

impl TaskState {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn ended(self) -> bool {
        match self {
            Self::Done | Self::Failed => true,
            Self::Created | Self::Running | Self::Suspended | Self::Other => false,
        }
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: Uuid,
    /// What it does, as in `backup`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// How far it is.
    pub state: TaskState,
    /// Why it failed; empty otherwise.
    #[serde(default)]
    pub error: String,
    /// The keyspace it works on.
    #[serde(default)]
    pub keyspace: String,
    /// The table, where the node says so: not for backups and restores.
    #[serde(default)]
    pub table: String,
    /// What progress counts, as in `bytes`.
    #[serde(default)]
    pub progress_units: String,
    /// All there is to do, as far as known: it grows.
    #[serde(default)]
    pub progress_total: f64,
    /// What is done of it.
    #[serde(default)]
    pub progress_completed: f64,
}

/// A task in a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TaskSummary {
    /// Its id.
    #[serde(rename = "task_id")]
    pub id: Uuid,
    /// What it does, as in `backup`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// How far it is.
    pub state: TaskState,
    /// The keyspace it works on.
    #[serde(default)]
    pub keyspace: String,
}

/// What a node is to copy to an object store: one table's snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeBackup {
    /// The store, by the name it has in the node's configuration.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Where in the bucket; without slashes at either end.
    pub prefix: String,
    /// The table.
    pub table: TableRef,
    /// Its snapshot, by name; not always one of a backup's.
    pub snapshot: String,
    /// Whether the snapshot's files are deleted once they are stored.
    pub move_files: bool,
}

/// Which replicas get the rows that a node reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All.
    #[default]
    All,
    /// Those in the node's datacenter.
    Dc,
    /// Those in the node's rack.
    Rack,
    /// The node itself.
    Node,
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Dc => "dc",
            Self::Rack => "rack",
            Self::Node => "node",
        }
    }
}

/// From where a node is to load a table's SSTables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeRestore {
    /// The store, by the name it has in the node's configuration.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Where in the bucket; without slashes at either end.
    pub prefix: String,
    /// The table to load into.
    pub table: TableRef,
    /// Who gets the rows.
    pub scope: Scope,
    /// Whether of those only the primary replica does; a repair must follow. Not with
    /// [`Scope::Node`].
    pub primary_replica_only: bool,
    /// TOCs of the SSTables, by their keys below the prefix.
    pub tocs: Vec<String>,
}

/// From where a cluster is to take over a table, tablet by tablet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TabletsRestore {
    /// As [`NativeRestore::endpoint`].
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Where in the bucket; without slashes at either end.
    pub prefix: String,
    /// The datacenter of the node.
    pub dc: String,
    /// The table to fill.
    pub table: TableRef,
    /// The snapshot that the manifests are of.
    pub snapshot: String,
    /// ScyllaDB's manifests, by their keys below the prefix; the SSTables lie beside each.
    pub manifests: Vec<String>,
}

impl Node {
    /// Lets each replica of a table fetch and take over the SSTables that its rack has stored.
    ///
    /// Asked again for the same snapshot, the node joins what goes on and passes over what is there. Waits
    /// for the balancer, for ever if it is off, where the table has another number of tablets.
    ///
    /// # Errors
    /// [`Error::Refused`] if the manifests do not fit.
    pub async fn tablets_restore(&self, what: &TabletsRestore) -> Result<Uuid, Error> {
        let attempt = format!("restore {} by tablets", what.table);
        let path = ["storage_service", "tablets", "restore"];
        let call = self.call(Method::POST, &path, attempt);
        let call = call.with("keyspace", &*what.table.keyspace);
        let call = call.with("table", &*what.table.table);
        let call = call.with("snapshot", &*what.snapshot);
        // The manifests are read before the answer.
        let call = call.within(super::LONG);
        let location = serde_json::json!([{
            "datacenter": what.dc, "endpoint": what.endpoint, "bucket": what.bucket,
            "prefix": what.prefix.trim_matches('/'), "manifests": what.manifests,
        }]);
        call.body(&location).read().await
    }

    /// Lets the node copy a snapshot to an object store.
    ///
    /// For its whole run every other snapshot call of the node waits, and so does another backup.
    /// An unknown endpoint makes the task fail, not the call. Safe to do again: it overwrites.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such snapshot.
    pub async fn native_backup(&self, what: &NativeBackup) -> Result<Uuid, Error> {
        let attempt = format!("back up {} itself", what.table);
        let call = self.call(Method::POST, &["storage_service", "backup"], attempt);
        let call = call.with("endpoint", &*what.endpoint);
        let call = call.with("bucket", &*what.bucket);
        let call = call.with("prefix", what.prefix.trim_matches('/'));
        let call = call.with("keyspace", &*what.table.keyspace);
        let call = call.with("table", &*what.table.table);
        let call = call.with("snapshot", &*what.snapshot);
        let call = match what.move_files {
            true => call.with("move_files", "true"),
            false => call,
        };
        call.read().await
    }

    /// Lets the node load SSTables from an object store, which stay there.
    ///
    /// An unknown table or a missing object makes the task fail, not the call.
    ///
    /// # Errors
    /// [`Error::Refused`] if the node knows no such endpoint.
    pub async fn native_restore(&self, what: &NativeRestore) -> Result<Uuid, Error> {
        let attempt = format!("restore {} itself", what.table);
        let call = self.call(Method::POST, &["storage_service", "restore"], attempt);
        let call = call.with("endpoint", &*what.endpoint);
        let call = call.with("bucket", &*what.bucket);
        let call = call.with("prefix", what.prefix.trim_matches('/'));
        let call = call.with("keyspace", &*what.table.keyspace);
        let call = call.with("table", &*what.table.table);
        let call = call.with("scope", what.scope.as_str());
        let call = match what.primary_replica_only {
            true => call.with("primary_replica_only", "true"),
            false => call,
        };
        call.body(&serde_json::json!(what.tocs)).read().await
    }

    /// A task, as it is now.
    ///
    /// # Errors
    /// [`Error::NoSuchTask`] if the node knows none of that id, or has forgotten it.
    pub async fn task(&self, id: Uuid) -> Result<Task, Error> {
        let attempt = format!("tell how far task {id} is");
        let path = ["task_manager", "task_status", &id.to_string()];
        self.get(&path, &attempt).await
    }

    /// Waits at most `limit`, in whole seconds, for a task's end; `None` if it has not ended.
    ///
    /// A task that failed is an answer, not an error: see [`Task::state`].
    ///
    /// # Errors
    /// [`Error::NoSuchTask`] if the node knows none of that id, or has forgotten it.
    pub async fn wait_task(&self, id: Uuid, limit: Duration) -> Result<Option<Task>, Error> {
        let attempt = format!("wait for task {id}");
        let path = ["task_manager", "wait_task", &id.to_string()];
        let call = self.call(Method::GET, &path, attempt);
        let call = call.with("timeout", limit.as_secs().to_string());
        match call.within(limit + super::SHORT).read().await {
            Ok(task) => Ok(Some(task)),
            Err(Error::StillRunning) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks a task to end. It ends some time later, as failed. Fine if it has ended.
    ///
    /// # Errors
    /// [`Error::NoSuchTask`], or [`Error::Refused`] for a task that cannot be aborted.
    pub async fn abort_task(&self, id: Uuid) -> Result<(), Error> {
        let attempt = format!("abort task {id}");
        let path = ["task_manager", "abort_task", &id.to_string()];
        self.call(Method::POST, &path, attempt).done().await
    }

    /// Tasks of a module, as in `snapshot` or `sstables_loader`; of one keyspace, or of all.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn tasks(
        &self,
        module: &str,
        keyspace: Option<&str>,
    ) -> Result<Vec<TaskSummary>, Error> {
        let attempt = format!("list tasks of {module}");
        let path = ["task_manager", "list_module_tasks", module];
        let call = self.call(Method::GET, &path, attempt);
        let call = match keyspace {
            Some(keyspace) => call.with("keyspace", keyspace),
            None => call,
        };
        call.read().await
    }

    /// For how long the node remembers a user's task after its end.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn user_ttl(&self) -> Result<Duration, Error> {
        let attempt = "tell how long it remembers tasks";
        let seconds: u64 = self.get(&["task_manager", "user_ttl"], attempt).await?;
        Ok(Duration::from_secs(seconds))
    }

    /// Sets for how long, in whole seconds, the node remembers a user's task after its end, until
    /// it restarts. Returns what it was.
    ///
    /// # Errors
    /// As for every call: [`Error`].
    pub async fn set_user_ttl(&self, ttl: Duration) -> Result<Duration, Error> {
        let attempt = "remember tasks for longer";
        let call = self.call(Method::POST, &["task_manager", "user_ttl"], attempt);
        let call = call.with("user_ttl", ttl.as_secs().to_string());
        let seconds: u64 = call.read().await?;
        Ok(Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_read_as_nodes_write_it() {
        let task: Task = serde_json::from_str(
            r#"{"id":"2c4a3e5f-8c7a-4a7b-9a0e-0d6c1b2e3f4a","type":"backup","kind":"node",
            "scope":"node","state":"running","is_abortable":true,
            "start_time":"2026-08-08T14:29:25Z","end_time":"1970-01-01T00:00:00Z","error":"",
            "parent_id":"none","sequence_number":0,"shard":0,"keyspace":"ks","table":"",
            "entity":"","progress_units":"bytes","progress_total":1e+16,
            "progress_completed":65536}"#,
        )
        .unwrap();
        assert!(!task.state.ended());
        assert_eq!(
            (task.progress_total, task.progress_completed),
            (1e16, 65536.0)
        );
        let least: Task = serde_json::from_str(
            r#"{"id":"2c4a3e5f-8c7a-4a7b-9a0e-0d6c1b2e3f4a","state":"later"}"#,
        )
        .unwrap();
        assert_eq!(least.state, TaskState::Other);
    }
}
