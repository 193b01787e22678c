//! What uploads cost, beside the limit and beside others: `make bench`. See docs/performance.md.

#![expect(
    clippy::print_stdout,
    reason = "a benchmark talks to the person who started it"
)]

mod cases;
mod data;
mod engine;
mod foreground;
mod growth;
mod list;
mod machine;
mod peers;
mod process;
mod raw;
mod report;
mod restore;
mod results;
mod run;
mod targets;
mod who;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

use crate::{
    data::{Filled, Set},
    results::Results,
};

/// Measure uploads beside their limit and other programs
#[derive(Parser, Debug)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Only cases in whose name this occurs; also `growth`, `foreground` and `restore`
    only: Option<String>,
    /// Large sets, more rounds, more servers, and what grows with what
    #[arg(long)]
    full: bool,
    #[command(subcommand)]
    program: Option<Program>,
}

/// What is measured as a process of its own.
#[derive(Subcommand, Debug)]
enum Program {
    #[command(hide = true)]
    Raw(raw::Raw),
    #[command(hide = true)]
    Engine(engine::Engine),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.program {
        Some(Program::Raw(raw)) => raw::send(&raw).map(|seconds| println!("{seconds}")),
        Some(Program::Engine(engine)) => {
            let sent = Box::pin(engine::send(&engine)).await;
            sent.map(|seconds| println!("{seconds}"))
        }
        None => tokio::select! {
            done = Box::pin(bench(&arguments)) => done,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is left of a run: results, and a data directory for as long as it lasts.
struct Bench<'a> {
    arguments: &'a Arguments,
    root: &'a Path,
    results: Results,
}

async fn bench(arguments: &Arguments) -> Result<()> {
    if cfg!(debug_assertions) {
        println!("This is not a release build: compare with care, and quote nothing.\n");
    }
    let out = folder()?;
    let dir = tempfile::Builder::new().prefix("data-").tempdir_in(&out)?;
    let mut bench = Bench {
        arguments,
        root: dir.path(),
        results: Results {
            machine: machine::Machine::now(),
            ..Results::default()
        },
    };
    Box::pin(bench.all()).await?;
    let results = &mut bench.results;
    results.machine.load_after = machine::load();
    results.targets = targets::all(results);
    report::write(results, &out)?;
    let whole = report::whole(results);
    let (_, end) = whole.split_once("### targets").unwrap_or_default();
    println!("### targets{end}");
    println!("All of it: {}/results.md, .json and .svg", out.display());
    match results.failures.first() {
        None => Ok(()),
        Some(first) => bail!("{} failed: {first}", results.failures.len()),
    }
}

/// Where results go: `bench` in the folder that this was built in, emptied of what an earlier run may
/// have left when it was killed.
fn folder() -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    let target = me
        .ancestors()
        .nth(2)
        .context("a binary lies in a target folder")?;
    let out = target.join("bench");
    fs::create_dir_all(&out)?;
    for entry in fs::read_dir(&out)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("data-") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(out)
}

impl Bench<'_> {
    /// Whether something is asked for.
    fn wanted(&self, id: &str) -> bool {
        let only = self.arguments.only.as_deref();
        only.is_none_or(|only| id.contains(only))
    }

    async fn all(&mut self) -> Result<()> {
        let mut measured = false;
        for (set, cases) in cases::all(self.arguments.full) {
            let wanted = cases.iter().any(|case| self.wanted(case.id));
            let beside = set.name == "C" && self.wanted("foreground");
            if !wanted && !beside {
                continue;
            }
            measured = true;
            let filled = data::fill(&set, self.root)?;
            for case in cases {
                if !self.wanted(case.id) {
                    continue;
                }
                match Box::pin(run::measure(&case, &filled, self.root)).await {
                    Ok(measured) => {
                        println!("{}", report::case(&measured));
                        self.results.cases.push(measured);
                    }
                    Err(error) => self.fail(&error),
                }
            }
            if beside {
                Box::pin(self.foreground(&filled)).await;
            }
            fs::remove_dir_all(&filled.dir)?;
        }
        if self.wanted("restore") {
            measured = true;
            match Box::pin(restore::measure(self.arguments.full, self.root)).await {
                Ok(restored) => self.results.restored = Some(restored),
                Err(error) => self.fail(&error),
            }
        }
        if self.arguments.full && self.wanted("growth") {
            measured = true;
            self.results.growth = Box::pin(growth::all(self.root)).await?;
        }
        if !measured {
            bail!("nothing is called so: see docs/performance.md for what there is");
        }
        self.missing();
        Ok(())
    }

    async fn foreground(&mut self, filled: &Filled) {
        if let Some(lacking) = foreground::lacking() {
            self.results
                .notes
                .push(format!("foreground not measured: {lacking}"));
            return;
        }
        match Box::pin(foreground::measure(filled, self.root)).await {
            Ok(both) => self.results.foreground = Some(both),
            Err(error) => self.fail(&error),
        }
    }

    /// Notes a failure: the rest may still be worth to be known.
    fn fail(&mut self, error: &anyhow::Error) {
        println!("FAILED: {error:#}\n");
        self.results.failures.push(format!("{error:#}"));
    }

    /// Notes which peers are not there.
    fn missing(&mut self) {
        let cases: Vec<(Set, Vec<cases::Case>)> = cases::all(self.arguments.full);
        let who = cases
            .iter()
            .flat_map(|(_, cases)| cases)
            .flat_map(|case| &case.who);
        let missing: BTreeSet<_> = who
            .filter(|who| !who.installed())
            .map(|who| who.name())
            .collect();
        let notes = missing
            .into_iter()
            .map(|name| format!("{name} not measured: it is not installed"));
        self.results.notes.extend(notes);
    }
}
