//! How far a run is: as text, as lines, as bars.

pub(crate) mod bars;
pub(crate) mod details;
pub(crate) mod follow;
mod validation;

use jiff::Timestamp;

use crate::{
    human::{age, bytes, duration, percent, rate, seconds, time},
    shape::{Progress, Run, RunProgress},
    table::{Align, Columns},
};

/// The task type that copies backups into clusters.
const RESTORE: &str = "restore";

/// Bytes done, and bytes in all.
pub(crate) fn done(run: &Run, progress: &Progress) -> (u64, u64) {
    let done = if run.kind == RESTORE {
        progress.restored
    } else {
        progress.uploaded + progress.skipped
    };
    (done.min(progress.size), progress.size)
}

/// `RUNNING (UPLOAD)`: the status, and the stage while there is one to wait for.
fn state(all: &RunProgress) -> String {
    let stage = all.progress.as_ref().map_or("", |p| p.stage.as_str());
    if stage.is_empty() || stage == all.run.status || all.run.status == "DONE" {
        all.run.status.clone()
    } else {
        format!("{} ({stage})", all.run.status)
    }
}

/// One line: what a log needs while a run is waited for.
pub(crate) fn line(all: &RunProgress) -> String {
    let Some(progress) = &all.progress else {
        return state(all);
    };
    let (done, size) = done(&all.run, progress);
    if size == 0 {
        return state(all);
    }
    format!(
        "{} {} ({} of {})",
        state(all),
        percent(done, size),
        bytes(done),
        bytes(size)
    )
}

/// All of it, as `thetis progress` prints it.
pub(crate) fn text(all: &RunProgress, colour: bool, now: Timestamp) -> String {
    let run = &all.run;
    let mut lines = vec![
        field("Task", &format!("{}/{}", run.kind, run.task_id)),
        field("Run", &run.id),
        field("Status", &state(all)),
        field(
            "Started",
            &format!(
                "{} ({})",
                time(run.start_time.as_deref()),
                age(run.start_time.as_deref(), now)
            ),
        ),
    ];
    if let Some(secs) = seconds(run.start_time.as_deref(), run.end_time.as_deref(), now) {
        lines.push(field("Duration", &duration(secs)));
    }
    if let Some(progress) = &all.progress {
        lines.push(field("Progress", &share(run, progress)));
        lines.push(field("Snapshot tag", &progress.snapshot_tag));
        lines.push(field("Datacenters", &progress.dcs.join(", ")));
        lines.push(field("Removed", &removed(progress)));
    }
    lines.extend(validation::totals(&all.checked));
    lines.push(field("Cause", run.cause.as_deref().unwrap_or_default()));
    lines.retain(|line| !line.is_empty());
    let sized = all.progress.as_ref().filter(|progress| progress.size > 0);
    let mut tables = sized
        .map(|progress| tables(run, progress, colour))
        .unwrap_or_default();
    if !all.checked.is_empty() {
        tables.push(validation::table(&all.checked, colour));
    }
    if !all.remarks.is_empty() {
        tables.push(all.remarks.join("\n"));
    }
    for table in tables {
        lines.push(String::new());
        lines.push(table);
    }
    lines.join("\n")
}

/// `Name:   value`; nothing for a value that is empty.
fn field(name: &str, value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else {
        format!("{:<14}{value}", format!("{name}:"))
    }
}

/// What became of older backups; nothing if nothing did.
fn removed(progress: &Progress) -> String {
    let Some(removed) = progress
        .removed
        .as_ref()
        .filter(|removed| removed.objects > 0)
    else {
        return String::new();
    };
    let backups = match removed.backups {
        1 => "1 older backup".to_owned(),
        backups => format!("{backups} older backups"),
    };
    let (objects, size) = (removed.objects, bytes(removed.bytes));
    format!("{backups} ({objects} objects, {size})")
}

fn share(run: &Run, progress: &Progress) -> String {
    let (done, size) = done(run, progress);
    if size == 0 {
        return String::new();
    }
    let mut text = if run.kind == RESTORE {
        let downloaded = percent(progress.downloaded, size);
        format!(
            "{} loaded, {downloaded} downloaded, of {}",
            percent(done, size),
            bytes(size)
        )
    } else {
        let (uploaded, skipped) = (bytes(progress.uploaded), bytes(progress.skipped));
        format!(
            "{} of {}: {uploaded} uploaded, {skipped} deduplicated",
            percent(done, size),
            bytes(size)
        )
    };
    if progress.failed > 0 {
        text.push_str(&format!(", {} failed", bytes(progress.failed)));
    }
    text
}

fn tables(run: &Run, progress: &Progress, colour: bool) -> Vec<String> {
    let mut tables = Vec::new();
    if run.kind == RESTORE {
        if !progress.keyspaces.is_empty() {
            tables.push(keyspaces(progress, colour));
        }
        if !progress.hosts.is_empty() {
            tables.push(restore_hosts(progress, colour));
        }
    } else if !progress.hosts.is_empty() {
        tables.push(backup_hosts(progress, colour));
        tables.extend(limits(progress));
    }
    tables
}

/// What holds nodes back, a line each; nothing if nothing does.
fn limits(progress: &Progress) -> Option<String> {
    let lines = progress.hosts.iter().filter_map(|host| {
        let (name, by) = (&host.host, &host.limited_by);
        // A pause, to see how the node is by itself, is a limit near nothing.
        let speed = match host.rate_limit? {
            ..1024 => "not read from".to_owned(),
            rate => format!("at most {}/s", bytes(rate)),
        };
        Some(format!("{name} is {speed}: {by}"))
    });
    let lines: Vec<String> = lines.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn backup_hosts(progress: &Progress, colour: bool) -> String {
    let mut columns = Columns::new(
        colour,
        &[
            ("HOST", Align::Left),
            ("DC", Align::Left),
            ("STAGE", Align::Left),
            ("PROGRESS", Align::Right),
            ("SIZE", Align::Right),
            ("UPLOADED", Align::Right),
            ("DEDUPLICATED", Align::Right),
            ("FAILED", Align::Right),
        ],
    );
    for host in &progress.hosts {
        columns.row([
            host.host.clone(),
            host.dc.clone(),
            host.stage.clone(),
            percent(host.uploaded + host.skipped, host.size),
            bytes(host.size),
            bytes(host.uploaded),
            bytes(host.skipped),
            bytes(host.failed),
        ]);
    }
    columns.text()
}

fn keyspaces(progress: &Progress, colour: bool) -> String {
    let mut columns = Columns::new(
        colour,
        &[
            ("KEYSPACE", Align::Left),
            ("TABLES", Align::Right),
            ("SIZE", Align::Right),
        ],
    );
    for keyspace in &progress.keyspaces {
        columns.row([
            keyspace.keyspace.clone(),
            keyspace.tables.len().to_string(),
            bytes(keyspace.size),
        ]);
    }
    columns.text()
}

fn restore_hosts(progress: &Progress, colour: bool) -> String {
    let mut columns = Columns::new(
        colour,
        &[
            ("HOST", Align::Left),
            ("DOWNLOADED", Align::Right),
            ("AT", Align::Right),
            ("LOADED", Align::Right),
            ("AT", Align::Right),
        ],
    );
    for host in &progress.hosts {
        columns.row([
            host.host.clone(),
            bytes(host.downloaded_bytes),
            rate(host.downloaded_bytes, host.download_duration),
            bytes(host.restored_bytes),
            rate(host.restored_bytes, host.restore_duration),
        ]);
    }
    columns.text()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(all: serde_json::Value) -> String {
        text(
            &serde_json::from_value(all).unwrap(),
            false,
            "2026-01-31T12:10:00Z".parse().unwrap(),
        )
    }

    #[test]
    fn a_backup_under_way_shows_its_nodes() {
        let host = json!({"host": "10.0.0.1", "dc": "dc1", "stage": "UPLOAD", "size": 2048, "uploaded": 1024, "skipped": 512});
        let text = shown(json!({
            "run": {"type": "backup", "task_id": "t", "id": "r", "status": "RUNNING", "start_time": "2026-01-31T12:00:00Z"},
            "progress": {"stage": "UPLOAD", "snapshot_tag": "sm_20260131120000UTC", "dcs": ["dc1"], "size": 2048,
                         "uploaded": 1024, "skipped": 512, "hosts": [host],
                         "removed": {"backups": 1, "objects": 90, "bytes": 4096}},
        }));
        let expected = "\
Task:         backup/t
Run:          r
Status:       RUNNING (UPLOAD)
Started:      2026-01-31 12:00:00 UTC (10m00s ago)
Duration:     10m00s
Progress:     75% of 2.00 KiB: 1.00 KiB uploaded, 512 B deduplicated
Snapshot tag: sm_20260131120000UTC
Datacenters:  dc1
Removed:      1 older backup (90 objects, 4.00 KiB)

HOST      DC   STAGE   PROGRESS      SIZE  UPLOADED  DEDUPLICATED  FAILED
10.0.0.1  dc1  UPLOAD       75%  2.00 KiB  1.00 KiB         512 B     0 B";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_restore_that_failed_says_why() {
        let text = shown(json!({
            "run": {"type": "restore", "task_id": "t", "id": "r", "status": "ERROR", "cause": "disk full on 10.0.0.1"},
            "progress": {"stage": "DATA", "size": 1000, "restored": 200, "downloaded": 350, "failed": 10,
                "keyspaces": [{"keyspace": "shop", "size": 1000, "tables": [{"table": "users"}]}],
                "hosts": [{"host": "10.0.0.1", "downloaded_bytes": 1_048_576, "download_duration": 500}]},
        }));
        assert!(
            text.contains("20% loaded, 35% downloaded, of 1000 B, 10 B failed"),
            "{text}"
        );
        assert!(
            text.contains("Status:       ERROR (DATA)") && text.contains("Cause:        disk full"),
            "{text}"
        );
        assert!(
            text.contains("shop           1  1000 B") && text.contains("2.00 MiB/s"),
            "{text}"
        );
    }

    #[test]
    fn a_run_that_has_not_begun_has_only_a_status() {
        let all: RunProgress =
            serde_json::from_value(json!({"run": {"status": "NEW"}, "progress": null})).unwrap();
        assert_eq!(line(&all), "NEW");
    }
}
