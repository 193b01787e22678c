//! How far each table is.

use std::collections::BTreeMap;

use protocol::{TableRef, TableSize};
use serde::{Deserialize, Serialize};

use crate::report::Table;

/// Tables and their bytes, in order of name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tables(BTreeMap<String, BTreeMap<String, Count>>);

/// Bytes of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Count {
    #[serde(rename = "b", skip_serializing_if = "is_zero")]
    bytes: u64,
    #[serde(rename = "s", skip_serializing_if = "is_zero")]
    skipped: u64,
    #[serde(rename = "d", skip_serializing_if = "is_zero")]
    done: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Tables {
    fn count(&mut self, table: &TableRef) -> &mut Count {
        let keyspace = self.0.entry(table.keyspace.clone()).or_default();
        keyspace.entry(table.table.clone()).or_default()
    }

    /// This much is to be done.
    pub(crate) fn plan(&mut self, sizes: &[TableSize]) {
        for size in sizes {
            let count = self.count(&size.table);
            count.bytes = count.bytes.saturating_add(size.bytes);
            count.skipped = count.skipped.saturating_add(size.skipped_bytes);
        }
    }

    /// This much is done.
    pub(crate) fn done(&mut self, table: &TableRef, bytes: u64) {
        let count = self.count(table);
        count.done = count.done.saturating_add(bytes);
    }

    /// Each with its bytes.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = TableSize> {
        self.0.iter().flat_map(|(keyspace, tables)| {
            tables.iter().map(|(table, count)| {
                let (keyspace, table) = (keyspace.clone(), table.clone());
                TableSize::new(TableRef { keyspace, table }, count.bytes)
            })
        })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = TableRef> {
        self.0.iter().flat_map(|(keyspace, tables)| {
            tables.keys().map(|table| TableRef {
                keyspace: keyspace.clone(),
                table: table.clone(),
            })
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// As users see it. Where `all` is done, so is each table, whatever was told of it.
    pub(crate) fn report(&self, all: bool) -> Vec<Table> {
        let rows = self.0.iter().flat_map(|(keyspace, tables)| {
            tables.iter().map(move |(table, count)| {
                let rest = count.bytes.saturating_sub(count.skipped);
                Table {
                    keyspace: keyspace.clone(),
                    table: table.clone(),
                    size: count.bytes,
                    skipped: count.skipped,
                    done: if all { rest } else { count.done.min(rest) },
                    methods: Vec::new(),
                }
            })
        });
        rows.collect()
    }
}
