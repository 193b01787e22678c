//! How far a run is, in the words of ScyllaDB Manager's clients.

use std::collections::BTreeMap;

use protocol::{Progress, TaskKind};
use workflow::{Host, Report, Table};

use crate::api::{
    BackupProgress, HostProgress, KeyspaceProgress, Removed, RestoreHost, RestoreProgress,
    TableMethod, TableProgress, TaskRun, ValidateProgress, ValidateRun, shape::time,
};

/// How far a backup is. `in_hand` are chunks that are not complete, by node.
pub(crate) fn backup(report: &Report, in_hand: &[(String, Progress)]) -> BackupProgress {
    let hosts: Vec<HostProgress> = report
        .hosts
        .iter()
        .map(|host| backup_host(report, host, in_hand))
        .collect();
    let dcs: std::collections::BTreeSet<String> =
        report.hosts.iter().map(|host| host.dc.clone()).collect();
    BackupProgress {
        snapshot_tag: tag(report),
        dcs: dcs.into_iter().collect(),
        stage: report.stage.clone(),
        size: report.size,
        uploaded: hosts.iter().map(|host| host.uploaded).sum(),
        skipped: report.skipped,
        failed: report.failed,
        started_at: time(report.started_ms),
        completed_at: report.ended_ms.and_then(time),
        hosts,
        keyspaces: keyspaces(&report.tables, report),
        files: report.files,
        parts: report.parts,
        parts_done: report.parts_done,
        removed: report.removed.map(|removed| Removed {
            backups: removed.backups,
            objects: removed.objects,
            bytes: removed.bytes,
        }),
    }
}

fn backup_host(report: &Report, host: &Host, in_hand: &[(String, Progress)]) -> HostProgress {
    let host_id = host.node.to_string();
    let own = || in_hand.iter().filter(|(node, _)| *node == host_id);
    let moving: u64 = own().map(|(_, work)| work.bytes).sum();
    let limited = own().find(|(_, work)| work.rate_limit.is_some());
    let left = host
        .size
        .saturating_sub(host.uploaded + host.skipped + host.failed);
    HostProgress {
        rate_limit: limited.and_then(|(_, work)| work.rate_limit),
        limited_by: limited.map_or_else(String::new, |(_, work)| work.limited_by.clone()),
        host: host.address.clone(),
        host_id: host_id.clone(),
        dc: host.dc.clone(),
        stage: host.stage.clone(),
        size: host.size,
        uploaded: host.uploaded + moving.min(left),
        skipped: host.skipped,
        failed: host.failed,
        files: host.files,
        skipped_files: host.files_skipped,
        started_at: time(report.started_ms),
        completed_at: report.ended_ms.and_then(time),
        keyspaces: keyspaces(&host.tables, report),
    }
}

/// How far a restore is. `in_hand` are batches that are not loaded, by node.
pub(crate) fn restore(report: &Report, in_hand: &[(String, Progress)]) -> RestoreProgress {
    let moving: u64 = in_hand.iter().map(|(_, work)| work.bytes).sum();
    let left = report.size.saturating_sub(report.restored);
    let hosts = report.hosts.iter().map(|host| RestoreHost {
        host: host.address.clone(),
        host_id: host.node.to_string(),
        restored_bytes: host.restored,
        restore_duration: host.load_ms,
        downloaded_bytes: host.restored,
        download_duration: host.download_ms,
        streamed_bytes: host.restored,
        stream_duration: host.load_ms,
    });
    RestoreProgress {
        snapshot_tag: tag(report),
        stage: report.stage.clone(),
        size: report.size,
        restored: report.restored,
        downloaded: report.restored + moving.min(left),
        failed: report.failed,
        started_at: time(report.started_ms),
        completed_at: report.ended_ms.and_then(time),
        keyspaces: keyspaces(&report.tables, report),
        hosts: hosts.collect(),
        views: Vec::new(),
        files: report.files,
        parts: report.parts,
        parts_done: report.parts_done,
    }
}

/// What a validation has found; nothing before its end.
pub(crate) fn validation(report: Option<&Report>, run: TaskRun) -> ValidateRun {
    let found = report.and_then(|report| Some((report, report.validated.as_ref()?)));
    let Some((report, found)) = found else {
        return ValidateRun {
            run,
            progress: Vec::new(),
            faults: Vec::new(),
            obstacles: Vec::new(),
        };
    };
    let nodes = found.nodes.iter().map(|node| ValidateProgress {
        dc: node.dc.clone(),
        host: node.host.clone(),
        host_id: node.node.to_string(),
        location: node.location.clone(),
        manifests: node.manifests,
        scanned_files: node.scanned_files,
        broken_snapshots: node
            .broken_snapshots
            .iter()
            .map(ToString::to_string)
            .collect(),
        missing_files: node.missing_files,
        wrong_files: node.wrong_files,
        orphaned_files: node.orphaned_files,
        orphaned_bytes: node.orphaned_bytes,
        deleted_files: node.deleted_files,
        checkable_files: node.checkable_files,
        checkable_bytes: node.checkable_bytes,
        checked_files: node.checked_files,
        checked_bytes: node.checked_bytes,
        started_at: time(report.started_ms),
        completed_at: report.ended_ms.and_then(time),
    });
    ValidateRun {
        run,
        progress: nodes.collect(),
        faults: found.faults.clone(),
        obstacles: found.obstacles.clone(),
    }
}

fn tag(report: &Report) -> String {
    let tag = report.snapshot_tag.as_ref();
    tag.map(ToString::to_string).unwrap_or_default()
}

fn keyspaces(tables: &[Table], report: &Report) -> Vec<KeyspaceProgress> {
    let restores = report.kind == TaskKind::Restore;
    let (started_at, ended_at) = (time(report.started_ms), report.ended_ms.and_then(time));
    let mut all: BTreeMap<&str, KeyspaceProgress> = BTreeMap::new();
    for table in tables {
        let whole = table.done + table.skipped >= table.size;
        let (uploaded, restored) = match restores {
            true => (0, table.done),
            false => (table.done, 0),
        };
        let one = TableProgress {
            table: table.table.clone(),
            size: table.size,
            uploaded,
            skipped: table.skipped,
            restored,
            downloaded: restored,
            started_at: started_at.clone(),
            completed_at: ended_at.clone().filter(|_| whole),
            methods: methods(table),
            ..TableProgress::default()
        };
        let keyspace = all
            .entry(&table.keyspace)
            .or_insert_with(|| KeyspaceProgress {
                keyspace: table.keyspace.clone(),
                started_at: started_at.clone(),
                completed_at: ended_at.clone(),
                ..KeyspaceProgress::default()
            });
        keyspace.size += one.size;
        keyspace.uploaded += one.uploaded;
        keyspace.skipped += one.skipped;
        keyspace.restored += one.restored;
        keyspace.downloaded += one.downloaded;
        if !whole {
            keyspace.completed_at = None;
        }
        keyspace.tables.push(one);
    }
    all.into_values().collect()
}

fn methods(table: &Table) -> Vec<TableMethod> {
    let told = table.methods.iter().map(|(method, reason)| TableMethod {
        method: method.to_string(),
        reason: reason.clone(),
    });
    told.collect()
}
