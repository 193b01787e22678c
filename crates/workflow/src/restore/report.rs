//! A restore as users see it.

use protocol::{NodeId, RunStatus, TaskKind};

use super::{Host, Phase, Restore};
use crate::{
    report::{self, Report},
    undo::Undo,
};

pub(super) fn of(restore: &Restore) -> Report {
    let spec = &restore.spec;
    let life = &restore.life;
    let hosts = restore
        .hosts
        .iter()
        .map(|(node, host)| of_host(restore, *node, host));
    Report {
        kind: TaskKind::Restore,
        task: spec.task,
        run: spec.run,
        origin: spec.origin,
        status: life.status(),
        cause: life.cause.clone(),
        stage: stage(restore).to_owned(),
        snapshot_tag: Some(spec.request.snapshot_tag.clone()),
        started_ms: spec.started_ms,
        ended_ms: life.ended_ms(spec.started_ms),
        size: restore.bytes,
        uploaded: 0,
        skipped: 0,
        failed: 0,
        restored: restore.restored,
        files: restore.files,
        parts_done: u64::from(restore.loaded.count()),
        parts: u64::from(restore.batches),
        hosts: hosts.collect(),
        tables: restore.methods.report(
            restore
                .tables
                .report(restore.loaded.count() == restore.batches),
        ),
        removed: None,
        validated: None,
        cleared: 0,
        impossible: life.impossible,
    }
}

fn stage(restore: &Restore) -> &'static str {
    match restore.phase {
        Phase::Inspect => "INIT",
        Phase::Plan => "PLAN",
        Phase::Schema => "SCHEMA",
        Phase::Balance | Phase::Prepare => "PREPARE",
        Phase::Load => "DATA",
        Phase::Settle => "VIEWS",
        Phase::Prove => "PROVE",
        Phase::PutBack if restore.life.ended == Some(RunStatus::Done) => "DONE",
        Phase::PutBack => "PUT_BACK",
    }
}

fn of_host(restore: &Restore, node: NodeId, host: &Host) -> report::Host {
    let member = restore.life.ring.get(node);
    report::Host {
        node,
        address: member
            .map(|member| member.address.clone())
            .unwrap_or_default(),
        dc: member.map(|member| member.dc.clone()).unwrap_or_default(),
        stage: host_stage(restore, host).to_owned(),
        size: 0,
        uploaded: 0,
        skipped: 0,
        failed: 0,
        files: host.files,
        files_skipped: 0,
        parts_done: host.batches,
        parts: 0,
        restored: host.bytes,
        download_ms: host.download_ms,
        load_ms: host.load_ms,
        tables: Vec::new(),
    }
}

fn host_stage(restore: &Restore, host: &Host) -> &'static str {
    match (&host.back, restore.phase) {
        (Some(undo), _) if Undo::open(undo) => "PUT_BACK",
        (Some(_), _) => "DONE",
        (None, Phase::Prepare) if !host.prepared => "PREPARE",
        (None, Phase::Load) => "DATA",
        (
            None,
            Phase::Inspect
            | Phase::Plan
            | Phase::Schema
            | Phase::Balance
            | Phase::Prepare
            | Phase::Settle
            | Phase::Prove
            | Phase::PutBack,
        ) => "WAIT",
    }
}
