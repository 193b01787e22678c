//! Who moved which table, and why.

use std::collections::BTreeMap;

use protocol::{Method, TableMethod, TableRef};
use serde::{Deserialize, Serialize};

use crate::report::Table;

/// Reasons that are kept; who differs in more is told with the last of them.
const REASONS: usize = 16;
/// The longest reason that is kept, in characters.
const LONGEST: usize = 300;

/// What was told of tables, small enough to be kept for many: they share a few reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Methods {
    reasons: Vec<String>,
    tables: BTreeMap<String, BTreeMap<String, Vec<(Method, usize)>>>,
}

impl Methods {
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The tables that were told to be moved by `method`.
    pub(crate) fn tables(&self, method: Method) -> Vec<TableRef> {
        let mut found = Vec::new();
        for (keyspace, tables) in &self.tables {
            let by = |told: &&(Method, usize)| told.0 == method;
            let moved = tables
                .iter()
                .filter(|(_, told)| told.iter().any(|told| by(&told)));
            found.extend(moved.map(|(table, _)| TableRef {
                keyspace: keyspace.clone(),
                table: table.clone(),
            }));
        }
        found
    }

    /// Tables of which something was told.
    pub(crate) fn len(&self) -> usize {
        self.tables.values().map(BTreeMap::len).sum()
    }

    /// Of each who moved a table, the first reason counts.
    pub(crate) fn tell(&mut self, methods: &[TableMethod]) {
        for told in methods {
            let reason = self.reason(&told.reason);
            let keyspace = self.tables.entry(told.table.keyspace.clone()).or_default();
            let known = keyspace.entry(told.table.table.clone()).or_default();
            if !known.iter().any(|(method, _)| *method == told.method) {
                known.push((told.method, reason));
                known.sort_unstable();
            }
        }
    }

    fn reason(&mut self, reason: &str) -> usize {
        let reason: String = reason.chars().take(LONGEST).collect();
        let known = self.reasons.iter().position(|known| *known == reason);
        known.unwrap_or_else(|| {
            if self.reasons.len() < REASONS {
                self.reasons.push(reason);
            }
            self.reasons.len() - 1
        })
    }

    /// Adds to tables what was told of them.
    pub(crate) fn report(&self, mut tables: Vec<Table>) -> Vec<Table> {
        for table in &mut tables {
            let keyspace = self.tables.get(&table.keyspace);
            let told = keyspace.and_then(|keyspace| keyspace.get(&table.table));
            table.methods = told
                .into_iter()
                .flatten()
                .map(|(method, reason)| {
                    let reason = self.reasons.get(*reason).cloned();
                    (*method, reason.unwrap_or_default())
                })
                .collect();
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    use protocol::TableRef;

    use super::*;

    fn told(number: usize, reason: &str) -> TableMethod {
        TableMethod {
            table: TableRef {
                keyspace: "shop".to_owned(),
                table: format!("t{number:02}"),
            },
            method: Method::Agent,
            reason: reason.to_owned(),
        }
    }

    fn table(number: usize) -> Table {
        let TableRef { keyspace, table } = told(number, "").table;
        Table {
            keyspace,
            table,
            size: 1,
            skipped: 0,
            done: 0,
            methods: Vec::new(),
        }
    }

    #[test]
    fn many_reasons_and_long_ones_are_not_all_kept() {
        let mut methods = Methods::default();
        for number in 0..2 * REASONS {
            methods.tell(&[told(number, &format!("{number} {}", "é".repeat(LONGEST)))]);
        }
        assert_eq!(
            (methods.len(), methods.reasons.len()),
            (2 * REASONS, REASONS)
        );
        let tables = methods.report(vec![table(3), table(2 * REASONS - 1), table(99)]);
        let reason = |at: usize| tables[at].methods[0].1.clone();
        assert!(reason(0).starts_with("3 é") && reason(0).chars().count() == LONGEST);
        assert!(reason(1).starts_with(&format!("{} é", REASONS - 1)));
        assert!(tables[2].methods.is_empty());
    }
}
