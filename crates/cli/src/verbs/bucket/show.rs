//! `thetis bucket show`.

use std::collections::BTreeMap;

use bucket::{
    index::{self, Summary},
    pins::{self, Pinned},
};
use clap::Args;
use protocol::{ClusterId, NodeId, SnapshotTag, TaskId};
use serde::{Deserialize, Serialize};
use store::Store;

use super::{Where, failed};
use crate::{
    error::{Exit, Failure},
    human::bytes,
    output::Output,
    table::{Align, Columns},
};

/// Which backup.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis bucket show sm_20260131235959UTC -L s3:backups
  thetis bucket show sm_20260131235959UTC -L dc1:s3:backups-eu -L dc2:s3:backups-us --output json")]
pub(crate) struct ShowArgs {
    /// The backup's tag
    tag: SnapshotTag,
    #[command(flatten)]
    place: Where,
}

/// A backup.
#[derive(Debug, Serialize, Deserialize)]
struct Shown {
    cluster_id: ClusterId,
    cluster_name: String,
    task_id: TaskId,
    snapshot_tag: SnapshotTag,
    /// Whether all nodes that it knows of are finished and can be read.
    complete: bool,
    size: u64,
    file_count: u64,
    scylla_versions: Vec<String>,
    /// Key of the schema file that the manifests name.
    schema: String,
    /// Why it is pinned; `null` if it is not.
    pinned: Option<String>,
    nodes: Vec<Node>,
    /// Nodes that the cluster had, and of which nothing is finished.
    missing_nodes: Vec<NodeId>,
    /// Manifests that cannot be read, and why.
    unreadable: Vec<String>,
    tables: Vec<Table>,
}

/// A node of it.
#[derive(Debug, Serialize, Deserialize)]
struct Node {
    dc: String,
    node: NodeId,
    location: String,
    size: u64,
    file_count: u64,
}

/// A table of it.
#[derive(Debug, Serialize, Deserialize)]
struct Table {
    keyspace: String,
    table: String,
    size: u64,
    file_count: u64,
}

pub(super) async fn run(output: Output, args: &ShowArgs) -> Result<(), Failure> {
    let stores = args.place.open().await?;
    let id = args.place.backup(&stores, &args.tag).await?.id;
    let contents = index::read(&stores, Some(id.cluster))
        .await
        .map_err(failed)?;
    let summary = contents.backups.iter().find(|summary| summary.id == id);
    let summary = summary.ok_or_else(|| {
        let gone = format!("backup {} was removed just now", id.tag);
        Failure::new(Exit::NotFound, gone)
    })?;
    let mut shown = shown(summary);
    let unreadable = contents.unreadable.iter();
    let unreadable = unreadable.filter(|one| one.key.tag == id.tag && one.key.task == id.task);
    shown.unreadable = unreadable.map(|one| one.cause.clone()).collect();
    shown.pinned = pinned(&stores, &shown).await?;
    output.show(&shown, |shown: Shown| text(&shown, output.colour()))
}

fn shown(summary: &Summary) -> Shown {
    let held = || summary.parts.iter().map(|part| &part.held);
    let mut tables = BTreeMap::<(String, String), (u64, u64)>::new();
    for table in held().flat_map(|held| &held.tables) {
        let key = (table.keyspace.to_string(), table.table.to_string());
        let sum = tables.entry(key).or_default();
        *sum = (sum.0 + table.bytes, sum.1 + table.files);
    }
    let table = |((keyspace, table), (size, file_count))| Table {
        keyspace,
        table,
        size,
        file_count,
    };
    let nodes = summary.parts.iter().flat_map(|part| {
        let location = part.location.remote();
        part.held.nodes.iter().map(move |node| Node {
            dc: node.dc.to_string(),
            node: node.node,
            location: location.clone(),
            size: node.bytes,
            file_count: node.files,
        })
    });
    let versions = held().flat_map(|held| &held.scylla_versions);
    let schema = held().map(|held| &*held.schema).find(|key| !key.is_empty());
    Shown {
        cluster_id: summary.id.cluster,
        cluster_name: summary.cluster_name().to_owned(),
        task_id: summary.id.task,
        snapshot_tag: summary.id.tag.clone(),
        complete: summary.complete(),
        size: summary.bytes(),
        file_count: summary.files(),
        scylla_versions: versions.map(ToString::to_string).collect(),
        schema: schema.unwrap_or_default().to_owned(),
        pinned: None,
        nodes: nodes.collect(),
        missing_nodes: summary.missing().into_iter().collect(),
        unreadable: Vec::new(),
        tables: tables.into_iter().map(table).collect(),
    }
}

async fn pinned(stores: &[Store], of: &Shown) -> Result<Option<String>, Failure> {
    for store in stores {
        let found = pins::get(store, of.cluster_id, &of.snapshot_tag).await;
        match found.map_err(failed)? {
            Some(Pinned::Told(pin)) => return Ok(Some(pin.reason)),
            Some(Pinned::Unreadable(cause)) => return Ok(Some(cause)),
            None => {}
        }
    }
    Ok(None)
}

fn text(shown: &Shown, colour: bool) -> String {
    let or_none = |text: String| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text
        }
    };
    let missing: Vec<String> = shown
        .missing_nodes
        .iter()
        .map(ToString::to_string)
        .collect();
    let state = if shown.complete { "yes" } else { "no" };
    let mut lines = vec![
        format!("Backup:    {}", shown.snapshot_tag),
        format!("Cluster:   {} {}", shown.cluster_id, shown.cluster_name),
        format!("Task:      backup/{}", shown.task_id),
        format!(
            "Size:      {} in {} files",
            bytes(shown.size),
            shown.file_count
        ),
        format!("ScyllaDB:  {}", or_none(shown.scylla_versions.join(", "))),
        format!("Schema:    {}", or_none(shown.schema.clone())),
        format!("Complete:  {state}"),
    ];
    if !missing.is_empty() {
        lines.push(format!("Missing:   {}", missing.join(", ")));
    }
    for cause in &shown.unreadable {
        lines.push(format!("Unread:    {cause}"));
    }
    if let Some(reason) = &shown.pinned {
        lines.push(format!("Pinned:    {}", or_none(reason.clone())));
    }
    let mut nodes = Columns::new(
        colour,
        &[
            ("DC", Align::Left),
            ("NODE", Align::Left),
            ("LOCATION", Align::Left),
            ("SIZE", Align::Right),
            ("FILES", Align::Right),
        ],
    );
    for node in &shown.nodes {
        nodes.row([
            node.dc.clone(),
            node.node.to_string(),
            node.location.clone(),
            bytes(node.size),
            node.file_count.to_string(),
        ]);
    }
    let mut tables = Columns::new(
        colour,
        &[
            ("KEYSPACE", Align::Left),
            ("TABLE", Align::Left),
            ("SIZE", Align::Right),
            ("FILES", Align::Right),
        ],
    );
    for table in &shown.tables {
        tables.row([
            table.keyspace.clone(),
            table.table.clone(),
            bytes(table.size),
            table.file_count.to_string(),
        ]);
    }
    format!(
        "{}\n\n{}\n\n{}",
        lines.join("\n"),
        nodes.text(),
        tables.text()
    )
}
