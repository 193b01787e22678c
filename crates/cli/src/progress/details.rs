//! Each table of a run, and of a backup, on each node.

use crate::{
    human::{bytes, percent},
    progress::RESTORE,
    shape::{Keyspace, RunProgress},
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
        let mut columns = Columns::new(colour, &headings);
        let mut any = false;
        for keyspace in keyspaces {
            if self
                .keyspace
                .as_ref()
                .is_some_and(|wanted| *wanted != keyspace.keyspace)
            {
                continue;
            }
            for table in &keyspace.tables {
                any = true;
                let moved = table.uploaded + table.restored;
                columns.row([
                    keyspace.keyspace.clone(),
                    table.table.clone(),
                    percent(moved + table.skipped, table.size),
                    bytes(table.size),
                    bytes(moved),
                    bytes(table.skipped),
                ]);
            }
        }
        match (any, host) {
            (false, _) => String::new(),
            (true, "") => format!("\n\n{}", columns.text()),
            (true, host) => format!("\n\nHost: {host}\n{}", columns.text()),
        }
    }
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
        let elsewhere = Details {
            host: Some("10.0.0.2".to_owned()),
            keyspace: None,
        };
        assert_eq!(elsewhere.text(&all, false), "");
    }
}
