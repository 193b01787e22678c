//! Repair, of tables spread by vnodes and of those spread by tablets.

use std::time::Duration;

use protocol::TableRef;
use reqwest::Method;
use serde::Deserialize;
use uuid::Uuid;

use super::Node;
use crate::Error;

/// How far a repair of a keyspace spread by vnodes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RepairState {
    /// Under way.
    Running,
    /// Done. Also what the node says of a repair it has forgotten.
    Successful,
    /// Ended badly.
    Failed,
}

#[derive(Deserialize)]
struct TabletTask {
    tablet_task_id: Uuid,
}

impl Node {
    /// Begins to repair tables of a keyspace spread by vnodes, on the ranges this node holds.
    ///
    /// # Errors
    /// [`Error::Refused`] for a keyspace spread by tablets.
    pub async fn repair_vnodes(&self, keyspace: &str, tables: &[String]) -> Result<i64, Error> {
        let attempt = format!("repair {keyspace}");
        let path = ["storage_service", "repair_async", keyspace];
        let mut call = self.call(Method::POST, &path, attempt);
        if !tables.is_empty() {
            call = call.with("columnFamilies", tables.join(","));
        }
        call.read().await
    }

    /// How far a repair is; waits at most `limit`, in whole seconds, for its end.
    ///
    /// # Errors
    /// [`Error::Refused`] if no repair of that number was ever begun.
    pub async fn repair_state(&self, id: i64, limit: Duration) -> Result<RepairState, Error> {
        let attempt = format!("tell how far repair {id} is");
        let call = self.call(Method::GET, &["storage_service", "repair_status"], attempt);
        let call = call.with("id", id.to_string());
        let call = call.with("timeout", limit.as_secs().to_string());
        call.within(limit + super::SHORT).read().await
    }

    /// Begins to repair a table spread by tablets, on all nodes. The task is the cluster's: any
    /// node can [wait](Self::wait_task) for it.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is being repaired already.
    pub async fn repair_tablets(&self, table: &TableRef) -> Result<Uuid, Error> {
        let attempt = format!("repair {table}");
        let path = ["storage_service", "tablets", "repair"];
        let call = self.call(Method::POST, &path, attempt);
        let call = call
            .with("ks", &*table.keyspace)
            .with("table", &*table.table);
        let call = call.with("tokens", "all").with("await_completion", "false");
        let task: TabletTask = call.within(super::LONG).read().await?;
        Ok(task.tablet_task_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_tasks_are_read() {
        let states: Vec<RepairState> =
            serde_json::from_str(r#"["RUNNING","SUCCESSFUL","FAILED"]"#).unwrap();
        use RepairState::{Failed, Running, Successful};
        assert_eq!(states, [Running, Successful, Failed]);
        let task: TabletTask =
            serde_json::from_str(r#"{"tablet_task_id":"2c4a3e5f-8c7a-4a7b-9a0e-0d6c1b2e3f4a"}"#)
                .unwrap();
        assert!(!task.tablet_task_id.is_nil());
    }
}
