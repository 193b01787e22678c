//! The last lines of this process' log, for whoever has to find out what went wrong.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use queue::Logs;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that are kept.
const KEPT: usize = 1 << 20;

static RECENT: Mutex<Recent> = Mutex::new(Recent {
    lines: VecDeque::new(),
    bytes: 0,
});
/// What this process runs as.
pub(crate) static SERVICE: OnceLock<&str> = OnceLock::new();
static ANSWERED: AtomicBool = AtomicBool::new(false);

struct Recent {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > KEPT {
            let gone = self.lines.pop_front();
            self.bytes -= gone.map_or(self.bytes, |line| line.len());
        }
    }
}

/// Keeps what is written to it, a line a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep;

impl MakeWriter<'_> for Keep {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl io::Write for Keep {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push(text);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether whoever asks is the first in this process to do so: workers share its log, and one of them
/// answers for all.
pub(crate) fn answers() -> bool {
    !ANSWERED.swap(true, Ordering::Relaxed)
}

/// What this process has logged with `word` in it, as far as it is kept.
#[must_use]
pub fn logged(word: &str) -> Logs {
    let recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = recent.lines.iter().filter(|line| line.contains(word));
    Logs {
        process: format!(
            "{}-{}",
            SERVICE.get().unwrap_or(&"thetis"),
            std::process::id()
        ),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        lines: lines.cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let mut recent = Recent {
            lines: VecDeque::new(),
            bytes: 0,
        };
        let line = |n: u32| format!("{n:08}{}", "x".repeat(1_000));
        for n in 0..3_000 {
            recent.push(line(n));
        }
        assert!(recent.bytes <= KEPT && recent.bytes + 1_008 > KEPT);
        assert_eq!(recent.lines.back(), Some(&line(2_999)));
        let bytes: usize = recent.lines.iter().map(String::len).sum();
        assert_eq!(bytes, recent.bytes);
        recent.push("y".repeat(2 * KEPT));
        assert_eq!((recent.lines.len(), recent.bytes), (0, 0));
    }
}
