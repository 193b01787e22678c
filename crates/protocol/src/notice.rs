//! Notices: how runs ended, for people's own programs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ClusterId, RunId, RunStatus, TaskId, TaskKind};

/// Something a person may want to know of. Always JSON. Subject
/// `thetis.notice.<cluster>.<type>.<task>.<status>`; also what webhooks are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    /// A run has ended.
    RunEnded(EndedRun),
}

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndedRun {
    /// The run.
    pub run: RunId,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its name; empty if it is not registered any more.
    pub cluster_name: String,
    /// The task.
    pub task: TaskId,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Its name; may be empty.
    pub task_name: String,
    /// What its users note about it.
    pub labels: BTreeMap<String, String>,
    /// `DONE`, `ERROR`, `STOPPED`, `WAITING` or `ABORTED`.
    pub status: RunStatus,
    /// Why, for a person; empty when done without remark.
    pub cause: String,
    /// When it was asked for, in milliseconds since 1970.
    pub asked_ms: u64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: u64,
}
