//! What a validation has found, as text.

use std::collections::BTreeSet;

use super::field;
use crate::{
    human::bytes,
    shape::Checked,
    table::{Align, Columns},
};

/// All of it in a few lines; none before it is known.
pub(super) fn totals(checked: &[Checked]) -> Vec<String> {
    if checked.is_empty() {
        return Vec::new();
    }
    let sum = |of: fn(&Checked) -> u64| checked.iter().map(of).sum::<u64>();
    let broken = checked.iter().flat_map(|node| &node.broken_snapshots);
    let broken: BTreeSet<&str> = broken.map(String::as_str).collect();
    let broken: Vec<&str> = broken.into_iter().collect();
    let (compared, comparable) = (
        sum(|node| node.checked_bytes),
        sum(|node| node.checkable_bytes),
    );
    let compared = match comparable {
        0 => String::new(),
        _ => format!("{} of {}", bytes(compared), bytes(comparable)),
    };
    let orphaned = format!(
        "{} ({})",
        sum(|node| node.orphaned_files),
        bytes(sum(|node| node.orphaned_bytes))
    );
    [
        ("Scanned", sum(|node| node.scanned_files).to_string()),
        ("Compared", compared),
        ("Missing", sum(|node| node.missing_files).to_string()),
        ("Wrong", sum(|node| node.wrong_files).to_string()),
        ("Orphaned", orphaned),
        ("Deleted", sum(|node| node.deleted_files).to_string()),
        ("Broken", broken.join(", ")),
    ]
    .map(|(name, value)| field(name, &value))
    .into()
}

/// A line for each node in each place.
pub(super) fn table(checked: &[Checked], colour: bool) -> String {
    let mut columns = Columns::new(
        colour,
        &[
            ("DC", Align::Left),
            ("HOST", Align::Left),
            ("LOCATION", Align::Left),
            ("MANIFESTS", Align::Right),
            ("FILES", Align::Right),
            ("MISSING", Align::Right),
            ("WRONG", Align::Right),
            ("ORPHANED", Align::Right),
            ("BYTES", Align::Right),
            ("DELETED", Align::Right),
        ],
    );
    for node in checked {
        columns.row([
            node.dc.clone(),
            match node.host.is_empty() {
                true => node.host_id.clone(),
                false => node.host.clone(),
            },
            node.location.clone(),
            node.manifests.to_string(),
            node.scanned_files.to_string(),
            node.missing_files.to_string(),
            node.wrong_files.to_string(),
            node.orphaned_files.to_string(),
            bytes(node.orphaned_bytes),
            node.deleted_files.to_string(),
        ]);
    }
    columns.text()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{progress::text, shape::RunProgress};

    #[test]
    fn what_a_validation_has_found_is_added_up() {
        let node = |host: &str, orphans: u64| {
            json!({"dc": "dc1", "host": host, "location": "s3:backups", "manifests": 3,
                   "scanned_files": 90, "orphaned_files": orphans, "orphaned_bytes": orphans * 1024,
                   "missing_files": 1, "checkable_bytes": 4096, "checked_bytes": 1024,
                   "broken_snapshots": ["sm_20260131120000UTC"]})
        };
        let all: RunProgress = serde_json::from_value(json!({
            "run": {"type": "validate_backup", "task_id": "t", "id": "r", "status": "ERROR",
                    "cause": "broken snapshots: sm_20260131120000UTC"},
            "progress": [node("10.0.0.1", 2), node("10.0.0.2", 0)],
            "faults": ["missing: `backup/sst/x`"], "obstacles": [],
        }))
        .unwrap();
        let text = text(&all, false, "2026-01-31T12:10:00Z".parse().unwrap());
        let expected = "\
Scanned:      180
Compared:     2.00 KiB of 8.00 KiB
Missing:      2
Wrong:        0
Orphaned:     2 (2.00 KiB)
Deleted:      0
Broken:       sm_20260131120000UTC
Cause:        broken snapshots: sm_20260131120000UTC

DC   HOST      LOCATION    MANIFESTS  FILES  MISSING  WRONG  ORPHANED     BYTES  DELETED
dc1  10.0.0.1  s3:backups          3     90        1      0         2  2.00 KiB        0
dc1  10.0.0.2  s3:backups          3     90        1      0         0       0 B        0

missing: `backup/sst/x`";
        assert!(text.ends_with(expected), "{text}");
    }
}
