//! How a command fails: with a status, a sentence, and what to do next.

use std::fmt;

/// The statuses `thetis` ends with, as `--help` and `docs/cli.md` list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The request, or the run that was waited for, failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// There is no such cluster, task, run or backup.
    NotFound = 3,
    /// Not now, or not twice.
    Conflict = 4,
    /// The API did not answer.
    Unreachable = 5,
    /// A service's configuration is wrong.
    Configuration = 64,
    /// Interrupted while waiting; what was waited for goes on.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The status to end with.
    pub(crate) exit: Exit,
    /// What failed, in one sentence.
    pub(crate) message: String,
    /// More for whoever looks closer; may be empty.
    pub(crate) details: String,
    /// What to do next; may be empty.
    pub(crate) advice: String,
    /// Whether asking again may help: nobody answered, or only to say "later".
    pub(crate) passing: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            details: String::new(),
            advice: String::new(),
            passing: false,
        }
    }

    /// The same, with what to do next.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// The same, with more for whoever looks closer.
    pub(crate) fn because(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The same, marked as worth asking again.
    pub(crate) fn passing(mut self) -> Self {
        self.passing = true;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thetis: {}", self.message)?;
        let more = [&self.details, &self.advice];
        for line in more
            .into_iter()
            .flat_map(|text| text.lines())
            .filter(|line| !line.is_empty())
        {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_sentence_and_indented_help() {
        let failure = Failure::new(Exit::NotFound, "no cluster `x`")
            .because("asked twice")
            .advise("one\ntwo");
        assert_eq!(
            failure.to_string(),
            "thetis: no cluster `x`\n  asked twice\n  one\n  two"
        );
        assert_eq!(Failure::new(Exit::Failed, "no").to_string(), "thetis: no");
    }
}
