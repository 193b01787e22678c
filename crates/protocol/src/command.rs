//! Commands: what users may ask of Thetis by request and reply, and what became of it.
//!
//! A command does what the HTTP API does, by the same rules; its fields are the API's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{NodeId, RunId, Schedule, TaskId, TaskKind};

/// Something asked of a cluster. Subject `thetis.command.<cluster>.<kind>`, the cluster by id or name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Command {
    /// Makes a backup task, which runs at once unless its schedule says when.
    Backup(NewTask),
    /// Makes a restore task.
    Restore(NewTask),
    /// Makes a task that validates backups.
    Validate(NewTask),
    /// Deletes backups.
    Delete(DeleteBackups),
    /// Starts a task.
    Start(StartTask),
    /// Stops a task's run.
    Stop(StopTask),
    /// Tells how far a task's run is.
    Progress(TaskProgress),
    /// Lists the cluster's tasks.
    Tasks,
}

impl Command {
    /// Every kind.
    pub const KINDS: [&str; 8] = [
        "backup", "restore", "validate", "delete", "start", "stop", "progress", "tasks",
    ];

    /// The kind, as it stands in the message and in its subject.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
            Self::Validate(_) => "validate",
            Self::Delete(_) => "delete",
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Progress(_) => "progress",
            Self::Tasks => "tasks",
        }
    }
}

/// A task to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NewTask {
    /// Its name, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What its users note about it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it runs; at once when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// What it does: `location`, `keyspace`, `snapshot_tag`, …, as in the HTTP API.
    pub properties: Map<String, Value>,
}

/// Which backups to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeleteBackups {
    /// Their tags.
    pub snapshot_tags: Vec<String>,
    /// Where they lie; where the cluster's tasks have backed up to, when empty.
    pub locations: Vec<String>,
    /// Whether they go even if they are pinned, or the last good ones.
    pub force: bool,
    /// Whether to say only what would go.
    pub dry_run: bool,
}

/// Which task to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartTask {
    /// The task's type.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// The task, by id or name.
    pub task: String,
    /// Whether it goes on from where its last run was stopped or failed.
    #[serde(rename = "continue", default = "yes")]
    pub resume: bool,
}

fn yes() -> bool {
    true
}

/// Which task to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StopTask {
    /// The task's type.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// The task, by id or name.
    pub task: String,
    /// Whether it may not run by itself any more.
    #[serde(default)]
    pub disable: bool,
}

/// Whose progress to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskProgress {
    /// The task's type.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// The task, by id or name.
    pub task: String,
    /// The run: an id, `latest`, or `~1` for the one before; the latest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Answer {
    /// It was done or refused.
    Answer {
        /// The HTTP status that the API gives for the same: 2xx if it was done.
        status: u16,
        /// What the API answers: a task, a run's progress, or what is wrong.
        body: Value,
    },
}

/// Who changed what. Subject `thetis.audit.<cluster>`, or `thetis.audit.none` where no cluster is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Audit {
    /// Somebody asked for a change, or was not let in.
    Asked {
        /// When, in milliseconds since 1970.
        at_ms: u64,
        /// Who: the name that goes with a token or a client's certificate; `anyone` where none is asked for.
        who: String,
        /// What that one may do.
        role: String,
        /// Whether it came over `http` or `nats`.
        over: String,
        /// The API's method and path, without the query.
        request: String,
        /// The HTTP status answered: 2xx if it was done.
        status: u16,
        /// The path of what it has made, if it has made something.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        made: String,
        /// SHA-256, in hexadecimal, of what was asked: method, path with query, and body, each but the last
        /// with a line's end. None of what was refused unread, or may hold credentials.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        hash: String,
        /// How many requests of strangers that were refused before this one are not noted: of those one a
        /// second is.
        #[serde(default, skip_serializing_if = "none")]
        unnoted: u64,
    },
    /// A message was refused: it is none, leads where nothing may, or does not fit what its subject says.
    Refused {
        /// When, in milliseconds since 1970.
        at_ms: u64,
        /// The node whose worker has refused it; nobody's if it was the scheduler.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<NodeId>,
        /// The run that it names.
        run: RunId,
        /// What is wrong with it.
        reason: String,
        /// How many that were refused before this one are not noted: of those one a second is.
        #[serde(default, skip_serializing_if = "none")]
        unnoted: u64,
    },
    /// A run has removed backups, by retention or because somebody asked for it.
    Removed {
        /// When, in milliseconds since 1970.
        at_ms: u64,
        /// The run.
        run: RunId,
        /// Its task.
        task: TaskId,
        /// Backups of which nothing is left, each as `<task>/<tag>`, in order.
        backups: Vec<String>,
        /// Objects removed, and their bytes as far as they are known.
        objects: u64,
        /// See `objects`.
        bytes: u64,
        /// SHA-256, in hexadecimal, of the lines of `backups`.
        hash: String,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn none(count: &u64) -> bool {
    *count == 0
}
