//! What goes to standard output, and how.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    api::Answer,
    error::{Exit, Failure},
    yaml,
};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// The API's own JSON, unchanged
    Json,
    /// The API's answer as YAML
    Yaml,
}

/// Standard output and what it can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
    terminal: bool,
    colour: bool,
}

impl Output {
    /// Looks at what standard output and standard error are.
    pub(crate) fn new(format: Format) -> Self {
        let terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let able = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            format,
            terminal,
            colour: terminal && wanted && able,
        }
    }

    /// Whether tables may have colours.
    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// Whether somebody looks on, so that bars may move.
    pub(crate) fn live(&self) -> bool {
        self.terminal && self.format == Format::Table
    }

    /// Whether results are for people.
    pub(crate) fn for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// Whether a question would reach somebody.
    pub(crate) fn can_ask(&self) -> bool {
        self.terminal && io::stdin().is_terminal()
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints what was found out here: as JSON or YAML, or as what `table` makes of it.
    pub(crate) fn show<T: DeserializeOwned>(
        &self,
        found: &impl Serialize,
        table: impl FnOnce(T) -> String,
    ) -> Result<(), Failure> {
        let wrong = |e: serde_json::Error| {
            Failure::new(Exit::Failed, "cannot show what was found").because(e.to_string())
        };
        let value = serde_json::to_value(found).map_err(wrong)?;
        match self.format {
            Format::Table => print(&table(serde_json::from_value(value).map_err(wrong)?)),
            Format::Json => print(&value.to_string()),
            Format::Yaml => print(&yaml::to_yaml(&value)),
        }
    }

    /// Prints an answer: as it came, or as what `table` makes of it.
    pub(crate) fn answer<T: DeserializeOwned>(
        &self,
        answer: &Answer,
        table: impl FnOnce(T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => print(&table(answer.read()?)),
            Format::Json => {
                answer.check()?;
                print(answer.text())
            }
            Format::Yaml => print(&yaml::to_yaml(&answer.read()?)),
        }
    }
}

/// Asks a person, who has to say yes.
pub(crate) fn agreed(question: &str) -> bool {
    note(&format!("{question} [y/N]"));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Prints `text` and the end of its line. Whoever stops reading early, as `head` does, has read enough.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Failed,
            "cannot write to standard output",
        )
        .because(e.to_string())),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Says something beside the result, on standard error.
pub(crate) fn note(text: &str) {
    // Nobody is left to tell if this fails.
    let _nobody_listens = writeln!(io::stderr().lock(), "{text}");
}
