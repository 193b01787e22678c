//! `thetis completion`.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::{generate, shells};

use crate::{args::Cli, output::print};

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis completion bash > /etc/bash_completion.d/thetis
  thetis completion zsh > \"${fpath[1]}/_thetis\"
  thetis completion fish > ~/.config/fish/completions/thetis.fish")]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(args: &CompletionArgs) -> ExitCode {
    let mut script = Vec::new();
    let mut command = Cli::command();
    match args.shell {
        Shell::Bash => generate(shells::Bash, &mut command, "thetis", &mut script),
        Shell::Zsh => generate(shells::Zsh, &mut command, "thetis", &mut script),
        Shell::Fish => generate(shells::Fish, &mut command, "thetis", &mut script),
    }
    match print(&String::from_utf8_lossy(&script)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => crate::end(&failure),
    }
}
