//! A backup as users see it.

use protocol::{NodeId, TaskKind};

use super::{At, Backup, Part, Phase};
use crate::{
    report::{Host, Report},
    wait::Step,
};

pub(super) fn of(backup: &Backup) -> Report {
    let hosts: Vec<Host> = backup
        .parts
        .iter()
        .map(|(node, part)| host(backup, *node, part))
        .collect();
    let sum = |of: fn(&Host) -> u64| hosts.iter().map(of).fold(0, u64::saturating_add);
    let life = &backup.life;
    Report {
        kind: TaskKind::Backup,
        task: backup.spec.task,
        run: backup.spec.run,
        origin: backup.spec.origin,
        status: life.status(),
        cause: life.cause.clone(),
        stage: stage(backup).to_owned(),
        snapshot_tag: Some(backup.spec.tag.clone()),
        started_ms: backup.spec.started_ms,
        ended_ms: life.ended_ms(backup.spec.started_ms),
        size: sum(|host| host.size),
        uploaded: sum(|host| host.uploaded),
        skipped: sum(|host| host.skipped),
        failed: sum(|host| host.failed),
        restored: 0,
        files: sum(|host| host.files),
        parts_done: sum(|host| u64::from(host.parts_done)),
        parts: sum(|host| u64::from(host.parts)),
        tables: backup
            .methods
            .report(backup.tables.report(backup.slowest() >= At::Stored)),
        removed: backup.removed,
        validated: None,
        cleared: 0,
        impossible: life.impossible,
        hosts,
    }
}

fn stage(backup: &Backup) -> &'static str {
    match (backup.phase, backup.slowest()) {
        (Phase::Inspect, _) => "INIT",
        (Phase::Schema, _) => "SCHEMA",
        (Phase::Balance, _) | (Phase::Work, At::Snapshot) => "SNAPSHOT",
        (Phase::Work, At::Index) => "INDEX",
        (Phase::Work, At::Upload) => "UPLOAD",
        (Phase::Work, At::Stored) => "SEAL",
        (Phase::Work, At::Sealed) => "DROP_SNAPSHOT",
        (Phase::Work, At::Dropped) => "DONE",
        (Phase::Purge, _) if backup.life.ended.is_none() => "PURGE",
        (Phase::Purge, _) => "DONE",
    }
}

fn host(backup: &Backup, node: NodeId, part: &Part) -> Host {
    let member = backup.life.ring.get(node);
    let rest = part
        .bytes
        .saturating_sub(part.uploaded)
        .saturating_sub(part.skipped_bytes);
    Host {
        node,
        address: member
            .map(|member| member.address.clone())
            .unwrap_or_default(),
        dc: member.map(|member| member.dc.clone()).unwrap_or_default(),
        stage: host_stage(backup, part).to_owned(),
        size: part.bytes,
        uploaded: part.uploaded,
        skipped: part.skipped_bytes,
        failed: if backup.life.culprit == Some(node) {
            rest
        } else {
            0
        },
        files: part.files,
        files_skipped: part.skipped_files,
        parts_done: part.stored.count(),
        parts: part.chunks,
        restored: 0,
        download_ms: 0,
        load_ms: 0,
        tables: part
            .methods
            .report(part.tables.report(part.at >= At::Stored)),
    }
}

fn host_stage(backup: &Backup, part: &Part) -> &'static str {
    match backup.step(part) {
        Some(Step::Snapshot) => "SNAPSHOT",
        Some(Step::Index) => "INDEX",
        Some(Step::Upload) => "UPLOAD",
        Some(Step::Seal) => "SEAL",
        Some(Step::Drop) => "DROP_SNAPSHOT",
        None if part.at == At::Dropped => "DONE",
        None
        | Some(
            Step::Inspect
            | Step::BalancingOff
            | Step::BalancingOn
            | Step::StoreSchema
            | Step::Purge
            | Step::Validate
            | Step::Clear
            | Step::Plan
            | Step::PrepareSchema
            | Step::Prove
            | Step::SettleSchema
            | Step::Prepare
            | Step::Load
            | Step::PutBack,
        ) => "WAIT",
    }
}
