//! `--dry-run`: what a task would do.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    error::Failure,
    human::{bytes, duration},
    shape::{BackupTarget, Estimate, RestoreTarget},
    verbs::Client,
};

/// Tables of a keyspace that are named; more are counted.
const NAMED: usize = 10;

/// Prints what a backup task would do.
pub(crate) async fn backup(
    client: &Client,
    cluster: &str,
    task: &Value,
    all: bool,
) -> Result<(), Failure> {
    let path = ["cluster", cluster, "tasks", "backup", "target"];
    let asked = client.api.get_with(&path, task).await;
    let answer = client.known(cluster, asked).await?;
    let schedule = task["schedule"].clone();
    client.output.answer(&answer, |target: BackupTarget| {
        backup_text(&target, &schedule, all)
    })
}

/// Prints what a restore task would do.
pub(crate) async fn restore(
    client: &Client,
    cluster: &str,
    task: &Value,
    all: bool,
) -> Result<(), Failure> {
    let path = ["cluster", cluster, "tasks", "restore", "target"];
    let asked = client.api.get_with(&path, task).await;
    let answer = client.known(cluster, asked).await?;
    client
        .output
        .answer(&answer, |target: RestoreTarget| restore_text(&target, all))
}

fn backup_text(target: &BackupTarget, schedule: &Value, all: bool) -> String {
    let mut lines = vec!["Nothing was begun: this is what the task would do.".to_owned()];
    if let Some(cron) = schedule["cron"].as_str() {
        lines.push(format!("Schedule: {cron}"));
    }
    list(&mut lines, "Datacenters", &target.dc);
    lines.push("Keyspaces:".to_owned());
    for unit in &target.units {
        let tables: Vec<&str> = unit.tables.iter().map(String::as_str).collect();
        let whole = if unit.all_tables { "all " } else { "" };
        lines.push(format!(
            "  - {} {whole}{}",
            unit.keyspace,
            some(&tables, all)
        ));
    }
    lines.push(format!("Disk size: ~{}", bytes(target.size)));
    list(&mut lines, "Locations", &target.location);
    lines.push(format!("Method: {}", target.method));
    lines.push("Retention:".to_owned());
    let rules = [
        (target.retention, "the newest", "backups"),
        (target.retention_days, "for", "days"),
    ];
    let given: Vec<_> = rules.iter().filter(|(count, ..)| *count > 0).collect();
    for (count, before, after) in &given {
        lines.push(format!("  - {before} {count} {after}"));
    }
    if given.is_empty() {
        lines.push("  - all, but for what --keep-… rules say".to_owned());
    }
    for host in target.hosts.iter().filter(|host| !host.up) {
        lines.push(format!("Down, and left out: {}", host.host));
    }
    let silent = target
        .hosts
        .iter()
        .filter(|host| host.up && host.size.is_none());
    for host in silent {
        lines.push(format!(
            "Not in the disk size, as its worker does not answer: {}",
            host.host
        ));
    }
    for hole in &target.uncovered {
        lines.push(format!("It would fail: no node is up for {hole}"));
    }
    lines.extend(target.notes.iter().map(|note| format!("Note: {note}")));
    lines.extend(estimate(&target.estimate));
    lines.join("\n")
}

fn restore_text(target: &RestoreTarget, all: bool) -> String {
    let mut lines = vec!["Nothing was begun: this is what the task would do.".to_owned()];
    lines.push("Restored tables:".to_owned());
    for unit in &target.units {
        let tables: Vec<String> = unit
            .tables
            .iter()
            .map(|table| format!("{}: {}", table.table, bytes(table.size)))
            .collect();
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        lines.push(format!(
            "  - {}: {} {}",
            unit.keyspace,
            bytes(unit.size),
            some(&tables, all)
        ));
    }
    lines.extend(methods(target, all));
    lines.push(format!("Disk size: ~{}", bytes(target.size)));
    list(&mut lines, "Locations", &target.location);
    lines.push(format!("Snapshot tag: {}", target.snapshot_tag));
    let compaction = if target.allow_compaction {
        "goes on"
    } else {
        "is off meanwhile"
    };
    lines.push(format!("Automatic compaction: {compaction}"));
    if target.created > 0 || target.view_count > 0 {
        lines.push(format!(
            "Schema: {} objects are made; {} views and indexes are built",
            target.created, target.view_count
        ));
    }
    for room in &target.rooms {
        let (needed, free) = (bytes(room.needed), bytes(room.free));
        lines.push(format!(
            "Node {}: ~{needed} come, {free} are free",
            room.host_id
        ));
    }
    lines.extend(
        target
            .remarks
            .iter()
            .map(|remark| format!("Note: {remark}")),
    );
    for table in &target.missing {
        lines.push(format!("It would fail: the cluster has no table {table}"));
    }
    for objection in &target.objections {
        lines.push(format!("It would fail: {objection}"));
    }
    lines.extend(estimate(&target.estimate));
    lines.join("\n")
}

/// Who would bring which tables, by what is said of them.
fn methods(target: &RestoreTarget, all: bool) -> Vec<String> {
    let mut by = BTreeMap::<(&str, &str), Vec<String>>::new();
    for unit in &target.units {
        for table in &unit.tables {
            for told in &table.methods {
                let tables = by.entry((&told.method, &told.reason)).or_default();
                tables.push(format!("{}.{}", unit.keyspace, table.table));
            }
        }
    }
    let text = |((method, reason), tables): ((&str, &str), Vec<String>)| {
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        format!("By {method} ({reason}): {}", some(&tables, all))
    };
    by.into_iter().map(text).collect()
}

fn list(lines: &mut Vec<String>, name: &str, items: &[String]) {
    if !items.is_empty() {
        lines.push(format!("{name}:"));
        lines.extend(items.iter().map(|item| format!("  - {item}")));
    }
}

/// The tables by name if they are few or all are asked for, else their number.
fn some(tables: &[&str], all: bool) -> String {
    match tables.len() {
        1 if !all => "(1 table)".to_owned(),
        many if many > NAMED && !all => format!("({many} tables)"),
        _ => format!("({})", tables.join(", ")),
    }
}

fn estimate(estimate: &Estimate) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(seconds) = estimate.seconds {
        parts.push(format!("about {}", duration(seconds)));
    }
    if let Some(objects) = estimate.objects {
        parts.push(format!("{objects} objects"));
    }
    let mut lines = Vec::new();
    if !parts.is_empty() {
        lines.push(format!("Estimate: {}", parts.join(", ")));
    }
    let money = |price: f64| format!("{price:.2}");
    match (estimate.cost_requests, estimate.cost_month) {
        (Some(once), Some(month)) => lines.push(format!(
            "Cost: {} to write, {} a month to keep, at the scheduler's prices",
            money(once),
            money(month)
        )),
        (None, Some(month)) => lines.push(format!(
            "Cost: {} a month to keep, at the scheduler's prices",
            money(month)
        )),
        (Some(_) | None, None) => {}
    }
    if !estimate.basis.is_empty() {
        lines.push(format!("Reckoned: {}", estimate.basis));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_backup_says_what_it_would_do() {
        let target = json!({
            "dc": ["dc1"], "location": ["s3:backups"], "size": 2048, "method": "agent", "retention": 7,
            "units": [{"keyspace": "shop", "tables": ["orders", "users"], "all_tables": true}],
            "hosts": [{"host": "10.0.0.1", "up": true, "size": 2048}, {"host": "10.0.0.2", "up": false}],
            "estimate": {"bytes": 2048, "seconds": 751, "objects": 90, "cost_requests": 0.00045, "cost_month": 0.1, "basis": "as fast as run r"},
        });
        let shown = backup_text(
            &serde_json::from_value(target).unwrap(),
            &json!({"cron": "@daily"}),
            false,
        );
        let expected = "\
Nothing was begun: this is what the task would do.
Schedule: @daily
Datacenters:
  - dc1
Keyspaces:
  - shop all (orders, users)
Disk size: ~2.00 KiB
Locations:
  - s3:backups
Method: agent
Retention:
  - the newest 7 backups
Down, and left out: 10.0.0.2
Estimate: about 12m31s, 90 objects
Cost: 0.00 to write, 0.10 a month to keep, at the scheduler's prices
Reckoned: as fast as run r";
        assert_eq!(shown, expected);
    }

    #[test]
    fn many_tables_are_counted_unless_all_are_asked_for() {
        let names: Vec<String> = (0..11).map(|n| format!("t{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(some(&names, false), "(11 tables)");
        assert!(some(&names, true).starts_with("(t0, t1,"));
        assert_eq!(some(&names[..1], false), "(1 table)");
    }
}
