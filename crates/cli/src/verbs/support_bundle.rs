//! `thetis support-bundle`.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value, json};

use crate::{
    args::ClusterArg,
    error::{Exit, Failure},
    output::print,
    shape::Bundle,
    task_arg,
    verbs::Client,
};

/// Which run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis support-bundle -c prod backup/nightly
  thetis support-bundle -c prod restore --run 0192c1f0-0000-7000-8000-000000000001 --to /tmp/run.tar.gz

It holds what was asked, the plan, events, notes on changes, logs of all workers and schedulers that live,
their versions, and the scheduler's configuration without secrets. It takes the role operator.")]
pub(crate) struct SupportBundleArgs {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The task: <type>/<id or name>, its id, or its type while there is one of it
    #[arg(value_name = "TASK")]
    task: String,
    /// The run: an id, or ~1 for the one before the latest
    #[arg(long, value_name = "RUN", default_value = "latest")]
    run: String,
    /// The file to write; thetis-<run>.tar.gz here when absent
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

pub(crate) async fn run(client: &Client, args: &SupportBundleArgs) -> Result<(), Failure> {
    let cluster = client.cluster(&args.cluster).await?;
    let tasks = client.tasks(&cluster).await?;
    let task = task_arg::resolve(&args.task, &tasks)?;
    let path = [
        "cluster", &cluster, "task", &task.kind, &task.id, &args.run, "bundle",
    ];
    let bundle: Bundle = client.api.get(&path, &[]).await?.read()?;
    let run = bundle.run["id"].as_str().unwrap_or("run").to_owned();
    let name = format!("thetis-{run}");
    let to = args
        .to
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    write(&to, &name, bundle)
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot write {}: {e}", to.display())))?;
    match client.output.for_people() {
        true => print(&to.display().to_string()),
        false => client
            .output
            .show(&json!({"run": run, "file": to}), |_: Value| String::new()),
    }
}

/// Under another name first, so that what has the name is whole.
fn write(to: &Path, name: &str, bundle: Bundle) -> io::Result<()> {
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(".partial");
    let unfinished = PathBuf::from(unfinished);
    let file = GzEncoder::new(File::create(&unfinished)?, Compression::default());
    let mut archive = tar::Builder::new(file);
    let mut add = |file: &str, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        archive.append_data(&mut header, format!("{name}/{file}"), text.as_bytes())
    };
    for (file, value) in [
        ("cluster", &bundle.cluster),
        ("task", &bundle.task),
        ("run", &bundle.run),
        ("progress", &bundle.progress),
        ("workers", &bundle.workers),
        ("queue", &bundle.queue),
    ] {
        add(&format!("{file}.json"), &pretty(value))?;
    }
    add("config/scheduler.txt", &bundle.config)?;
    add("events.jsonl", &lines(&bundle.events))?;
    add("audit.jsonl", &lines(&bundle.audit))?;
    let mut versions = Map::new();
    versions.insert("thetis".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    versions.insert("scheduler that answered".to_owned(), json!(bundle.version));
    for logs in &bundle.logs {
        let process = format!("{}.{}", plain(&logs.who), plain(&logs.process));
        add(&format!("logs/{process}.jsonl"), &joined(&logs.lines))?;
        versions.insert(process, json!(logs.version));
    }
    add("versions.json", &pretty(&Value::Object(versions)))?;
    archive.into_inner()?.finish()?.flush()?;
    std::fs::rename(unfinished, to)
}

/// A name that stays in its directory.
fn plain(name: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() || c == '-' {
        true => c,
        false => '_',
    };
    name.chars().map(plain).collect()
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn lines(values: &[Value]) -> String {
    joined(&values.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use super::*;
    use crate::shape::Logs;

    #[test]
    fn an_archive_holds_all_and_nothing_leaves_its_directory() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("run.tar.gz");
        let bundle = Bundle {
            events: vec![json!({"kind": "run_started"}), json!({"kind": "run_ended"})],
            logs: vec![Logs {
                who: "../../etc/cron.d".to_owned(),
                process: "node-1".to_owned(),
                version: "0.1.0".to_owned(),
                lines: vec!["{}".to_owned()],
            }],
            ..Bundle::default()
        };
        write(&to, "thetis-run", bundle).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(&to).unwrap()));
        let mut found = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.insert(path, text);
        }
        assert_eq!(
            found["thetis-run/events.jsonl"],
            "{\"kind\":\"run_started\"}\n{\"kind\":\"run_ended\"}\n"
        );
        assert_eq!(
            found["thetis-run/logs/______etc_cron_d.node-1.jsonl"],
            "{}\n"
        );
        assert_eq!(found.len(), 11);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}
