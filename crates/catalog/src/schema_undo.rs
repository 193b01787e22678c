//! How a cluster's schema was before a restore changed it.

use std::collections::BTreeMap;

use protocol::{ClusterId, RunId, TableRef};
use serde::{Deserialize, Serialize};

use crate::Document;

/// How a schema was, and what a restore makes of it. Written before the first change, and kept for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaUndo {
    /// The cluster.
    pub cluster: ClusterId,
    /// The run that began the restore.
    pub origin: RunId,
    /// How far it is.
    pub state: UndoState,
    /// What was lacking and is made, in the order in which that can be done.
    pub created: Vec<Made>,
    /// The tables that rows come into, and their `tombstone_gc` as it was or is to be.
    pub tables: Vec<TombstoneGc>,
    /// Views and indexes of these that were there, and are made again in the end.
    pub views: Vec<Made>,
    /// Views and indexes that the backup has and the cluster had not: made only by a restore that succeeds.
    pub coming: Vec<Made>,
    /// What a person should know.
    #[serde(default)]
    pub remarks: Vec<String>,
}

/// How far a restore is with the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoState {
    /// It is being made; no rows have come.
    Making,
    /// It is ready for rows.
    Ready,
    /// The restore is done, and the schema as it is to be.
    Settled,
    /// The restore was given up, and the schema is as it was.
    Undone,
    /// Another restore of the same tables has taken over what was to be put back.
    Inherited,
}

/// Something that a statement makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Its keyspace; its own name, if it is one.
    pub keyspace: String,
    /// Its name; for a function, without its arguments.
    pub name: String,
    /// The table a view or index is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<TableRef>,
    /// Whether it is an index: ScyllaDB builds a view `<name>_index` for it.
    #[serde(default)]
    pub index: bool,
    /// What makes it, in this order; of a view or an index, unless it is there.
    pub create: Vec<String>,
    /// Removes it, if it is there.
    pub drop: String,
}

impl Made {
    /// The view whose building shows how far it is.
    #[must_use]
    pub fn view(&self) -> TableRef {
        let table = match self.index {
            true => format!("{}_index", self.name),
            false => self.name.clone(),
        };
        TableRef {
            keyspace: self.keyspace.clone(),
            table,
        }
    }
}

/// When a table's tombstones go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneGc {
    /// The table.
    pub table: TableRef,
    /// The option's entries.
    pub options: BTreeMap<String, String>,
}

impl Document for SchemaUndo {
    const WHAT: &'static str = "undo record of a schema";
}
