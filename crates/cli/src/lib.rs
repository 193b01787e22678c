//! The operator's tool: asks the scheduler's HTTP API, and prints what it says. The same program
//! runs the services, one or several to a process.
//!
//! # Promises
//! * The exit status says what kind of end it was; `--help` and `docs/cli.md` list them.
//! * Results go to standard output, everything else to standard error.
//! * `--output json` prints the API's JSON unchanged.
//! * Nothing is asked of a person, moved or coloured unless there is a terminal.
//!
//! # Not here
//! What a request means, and whether it is right, is `scheduler`'s.

mod api;
mod args;
mod error;
mod human;
mod output;
mod progress;
mod shape;
mod table;
mod task_arg;
mod verbs;
mod yaml;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    api::{Access, Api},
    args::{Cli, Verb},
    error::{Exit, Failure},
    output::{Output, note},
    verbs::Client,
};

/// The `main` of `thetis`.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Also help and version, which are no errors.
        Err(error) => error.exit(),
    };
    match cli.verb {
        Verb::Running(verb) => verbs::run(Output::new(cli.output), &verb),
        Verb::Asking(verb) => {
            let output = Output::new(cli.output);
            let access = Access {
                token: cli.token,
                ca: cli.api_ca_file,
                cert: cli.api_cert_file,
                key: cli.api_key_file,
            };
            finish(Api::new(cli.api_url, &access).and_then(|api| {
                let client = Client { api, output };
                wait(verbs::ask(&client, verb))
            }))
        }
    }
}

/// Runs a verb to its end.
fn wait(verb: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Failed, "cannot start").because(e.to_string()))?;
    runtime.block_on(Box::pin(verb))
}

fn finish(ended: Result<(), Failure>) -> ExitCode {
    ended.map_or_else(|failure| end(&failure), |()| ExitCode::SUCCESS)
}

fn end(failure: &Failure) -> ExitCode {
    note(&failure.to_string());
    failure.exit.into()
}
