//! Each table of a run, and of a backup, on each node.

use crate::{
    human::{bytes, percent},
    progress::RESTORE,
    shape::{Keyspace, RunProgress, Table},
    table::{Align, Columns},
};

/// What of it.
pub(crate) struct Details {
    /// Only this node.
    pub(crate) host: Option<String>,
    /// Only this keyspace.
    pub(crate) keyspace: Option<String>,
}

impl Details {
    /// What comes behind everything else.
    pub(crate) fn text(&self, all: &RunProgress, colour: bool) -> String {
        let Some(progress) = &all.progress else {
            return String::new();
        };
        let restore = all.run.kind == RESTORE;
        let mut text = String::new();
        if restore {
            text.push_str(&self.table("", &progress.keyspaces, restore, colour));
        }
        for host in &progress.hosts {
            if self.host.as_ref().is_none_or(|wanted| *wanted == host.host) {
                text.push_str(&self.table(&host.host, &host.keyspaces, restore, colour));
            }
        }
        text
    }

    fn table(&self, host: &str, keyspaces: &[Keyspace], restore: bool, colour: bool) -> String {
        let done = if restore { "RESTORED" } else { "UPLOADED" };
        let headings = [
            ("KEYSPACE", Align::Left),
            ("TABLE", Align::Left),
            ("PROGRESS", Align::Right),
            ("SIZE", Align::Right),
            (done, Align::Right),
            ("DEDUPLICATED", Align::Right),
        ];
        let shown: Vec<&Keyspace> = keyspaces
            .iter()
            .filter(|keyspace| {
                let wanted = self.keyspace.as_ref();
                wanted.is_none_or(|wanted| *wanted == keyspace.keyspace)
            })
            .collect();
        let tables = || shown.iter().flat_map(|keyspace| &keyspace.tables);
        // Most backups have but one method.
        let told = tables().any(|table| !table.methods.is_empty());
        let mut headings = headings.to_vec();
        if told {
            headings.push(("METHOD", Align::Left));
        }
        let mut columns = Columns::new(colour, &headings);
        let any = tables().next().is_some();
        for keyspace in &shown {
            for table in &keyspace.tables {
                let moved = table.uploaded + table.restored;
                let mut row = vec![
                    keyspace.keyspace.clone(),
                    table.table.clone(),
                    percent(moved + table.skipped, table.size),
                    bytes(table.size),
                    bytes(moved),
                    bytes(table.skipped),
                ];
                if told {
                    row.push(methods(table));
                }
                columns.row(row);
            }
        }
        match (any, host) {
            (false, _) => String::new(),
            (true, "") => format!("\n\n{}", columns.text()),
            (true, host) => format!("\n\nHost: {host}\n{}", columns.text()),
        }
    }
}

/// As in `native (asked for)`.
fn methods(table: &Table) -> String {
    let told = table.methods.iter();
    let told = told.map(|told| format!("{} ({})", told.method, told.reason));
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_node_shows_its_tables() {
        let all = json!({
            "run": {"type": "backup", "status": "RUNNING"},
            "progress": {"size": 2048, "hosts": [
                {"host": "10.0.0.1", "keyspaces": [{"keyspace": "shop", "tables": [{"table": "users", "size": 2048, "uploaded": 512, "skipped": 1024}]},
                    {"keyspace": "other", "tables": [{"table": "t", "size": 1}]}]},
                {"host": "10.0.0.2", "keyspaces": []}]},
        });
        let all = serde_json::from_value(all).unwrap();
        let details = Details {
            host: None,
            keyspace: Some("shop".to_owned()),
        };
        let expected = "

Host: 10.0.0.1
KEYSPACE  TABLE  PROGRESS      SIZE  UPLOADED  DEDUPLICATED
shop      users       75%  2.00 KiB     512 B      1.00 KiB";
        assert_eq!(details.text(&all, false), expected);
        let mut native = all.clone();
        native.progress.as_mut().unwrap().hosts[0].keyspaces[0].tables[0].methods =
            serde_json::from_value(json!([{"method": "native", "reason": "asked for"}])).unwrap();
        let text = details.text(&native, false);
        assert!(text.contains("DEDUPLICATED  METHOD\n"), "{text}");
        assert!(text.ends_with("1.00 KiB  native (asked for)"), "{text}");
        let elsewhere = Details {
            host: Some("10.0.0.2".to_owned()),
            keyspace: None,
        };
        assert_eq!(elsewhere.text(&all, false), "");
    }
}
