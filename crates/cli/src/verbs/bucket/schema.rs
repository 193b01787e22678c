//! `thetis bucket schema`.

use bucket::schema;
use clap::Args;
use protocol::SnapshotTag;
use serde_json::{Value, json};

use super::{Where, failed};
use crate::{error::Failure, output::Output};

/// Which schema.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis bucket schema sm_20260131235959UTC -L s3:backups > schema.cql
  thetis bucket schema sm_20260131235959UTC -L s3:backups --output json

Prints statements of CQL, in the order in which they can be run.")]
pub(crate) struct SchemaArgs {
    /// The backup's tag
    tag: SnapshotTag,
    #[command(flatten)]
    place: Where,
}

pub(super) async fn run(output: Output, args: &SchemaArgs) -> Result<(), Failure> {
    let stores = args.place.open().await?;
    let backup = args.place.backup(&stores, &args.tag).await?;
    let schemas = schema::read(&stores, &backup).await.map_err(failed)?;
    let legacy = schemas.legacy.map(|found| found.key.to_string());
    let value = json!({
        "schema": schemas.cql.map(|found| found.content),
        "alternator": schemas.alternator.map(|found| found.content),
        "archive": legacy,
    });
    output.show(&value, |value: Value| text(&value))
}

/// The statements of a schema as the API and this command have it.
pub(crate) fn text(value: &Value) -> String {
    let rows = value["schema"].as_array().into_iter().flatten();
    let statements = rows.filter_map(|row| row["cql_stmt"].as_str()).map(|text| {
        let text = text.trim_end();
        let end = if text.ends_with(';') { "" } else { ";" };
        format!("{text}{end}")
    });
    let mut parts: Vec<String> = statements.collect();
    if let Some(tables) = value["alternator"]["tables"].as_array() {
        parts.push(format!(
            "-- {} tables of DynamoDB's API (Alternator): see --output json",
            tables.len()
        ));
    }
    if let Some(key) = value["archive"].as_str() {
        parts.push(format!("-- an archive of .cql files: {key}"));
    }
    parts.join("\n")
}
