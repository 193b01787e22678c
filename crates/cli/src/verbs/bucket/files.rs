//! `thetis bucket files`.

use bucket::{
    files::{self, TableFiles},
    schema,
};
use clap::Args;
use futures::StreamExt as _;
use protocol::SnapshotTag;
use serde_json::{Value, json};
use store::Store;

use super::{Choice, Where, failed};
use crate::{
    error::{Exit, Failure},
    output::{Output, note, print},
    yaml,
};

/// Which files.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis bucket files sm_20260131235959UTC -L s3:backups
  thetis bucket files sm_20260131235959UTC -L s3:backups -K shop.users --with-version
  thetis bucket files sm_20260131235959UTC -L s3:backups --output json

Prints the object, and the directory it belongs into, a line each: schema files first.")]
pub(crate) struct FilesArgs {
    /// The backup's tag
    tag: SnapshotTag,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    choice: Choice,
    /// What to print between the two
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "\t",
        hide_default_value = true
    )]
    delimiter: String,
    /// Name directories as on a node's disk: <table>-<id>
    #[arg(long)]
    with_version: bool,
}

pub(super) async fn run(output: Output, args: &FilesArgs) -> Result<(), Failure> {
    let select = args.choice.select()?;
    let stores = args.place.open().await?;
    let backup = args.place.backup(&stores, &args.tag).await?;
    if output.for_people() {
        for key in schema::keys(&stores, &backup.id).await.map_err(failed)? {
            let location = stores[0].location().remote();
            print(&format!("{location}/{key}{}./", args.delimiter))?;
        }
    }
    let mut list = List::new(output);
    let mut problems = Vec::new();
    let mut tables = files::tables(&stores, &backup, &select);
    while let Some(table) = tables.next().await {
        match table {
            Ok(table) => {
                let lost = table.missing.iter();
                problems
                    .extend(lost.map(|name| format!("`{}{name}` is missing", table.dir.prefix())));
                list.add(&stores, table, args)?;
            }
            Err(problem) => problems.push(failed(problem.cause).message),
        }
    }
    list.end()?;
    match problems.len() {
        0 => Ok(()),
        count => {
            problems.iter().take(20).for_each(|problem| note(problem));
            let message = format!("the list is not whole: {count} problems");
            Err(Failure::new(Exit::Failed, message))
        }
    }
}

/// A list that is printed as it comes; but for YAML, which is printed at the end.
struct List {
    output: Output,
    first: bool,
    kept: Vec<Value>,
}

impl List {
    fn new(output: Output) -> Self {
        Self {
            output,
            first: true,
            kept: Vec::new(),
        }
    }

    fn add(
        &mut self,
        stores: &[Store],
        table: TableFiles,
        args: &FilesArgs,
    ) -> Result<(), Failure> {
        let location = stores[table.bucket].location().remote();
        if self.output.for_people() {
            let mut into = format!("{}/{}", table.dir.keyspace, table.dir.table);
            if args.with_version {
                into.push_str(&format!("-{}", table.dir.version));
            }
            let lines = table.files.iter();
            let lines =
                lines.map(|file| format!("{location}/{}{}{into}/", file.key, args.delimiter));
            return print(&lines.collect::<Vec<_>>().join("\n"));
        }
        let value = value(&location, table);
        if self.output.is_json() {
            let before = if std::mem::take(&mut self.first) {
                "["
            } else {
                ","
            };
            return print(&format!("{before}{value}"));
        }
        self.kept.push(value);
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        if self.output.for_people() {
            Ok(())
        } else if self.output.is_json() {
            print(if self.first { "[]" } else { "]" })
        } else {
            print(&yaml::to_yaml(&Value::Array(self.kept)))
        }
    }
}

fn value(location: &str, table: TableFiles) -> Value {
    let size: u64 = table.files.iter().map(|file| file.bytes).sum();
    let name = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
    let files: Vec<String> = table.files.iter().map(|file| name(&file.key)).collect();
    let lists: Vec<String> = table.scylla_manifests.iter().map(|key| name(key)).collect();
    json!({
        "location": location,
        "dc": table.dir.owner.dc,
        "node": table.dir.owner.node,
        "keyspace": table.dir.keyspace,
        "table": table.dir.table,
        "version": table.dir.version.to_string(),
        "path": table.dir.prefix().trim_end_matches('/'),
        "files": files,
        "missing": table.missing,
        "scylla_manifests": lists,
        "size": size,
    })
}
