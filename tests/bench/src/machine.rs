//! What was measured on, by whom and when: numbers without that are worth little.

use std::{fs, process::Command};

use serde::Serialize;

use crate::peers::Peer;

/// Where and when.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Machine {
    /// UTC.
    pub(crate) date: String,
    pub(crate) command: String,
    /// Of this project.
    pub(crate) commit: Option<String>,
    pub(crate) release: bool,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// Whether it computes SHA-256 by itself: what costs others most is cheap then.
    pub(crate) sha_ni: bool,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// Settings of the uploader that are not the defaults.
    pub(crate) settings: Vec<String>,
    /// The other programs, with their versions.
    pub(crate) peers: Vec<String>,
    /// Load averages at the beginning: of 1, 5 and 15 minutes.
    pub(crate) load_before: String,
    /// At the end: what was measured is part of it.
    pub(crate) load_after: String,
}

impl Machine {
    pub(crate) fn now() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = |name: &str| {
            let mut lines = info.lines().filter(|line| line.starts_with(name));
            let (_, value) = lines.next()?.split_once(':')?;
            Some(value.trim().to_owned())
        };
        let flags = line("flags").unwrap_or_default();
        let arguments: Vec<_> = std::env::args().skip(1).collect();
        Self {
            date: format!("{:.0}", jiff::Timestamp::now()),
            command: ["bench".to_owned()]
                .into_iter()
                .chain(arguments)
                .collect::<Vec<_>>()
                .join(" "),
            commit: commit(),
            release: !cfg!(debug_assertions),
            cpu: line("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            sha_ni: flags.split(' ').any(|flag| flag == "sha_ni"),
            memory_mib: memory().unwrap_or_default(),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            settings: settings(),
            peers: Peer::versions(),
            load_before: load(),
            load_after: String::new(),
        }
    }
}

/// What the environment sets of the uploader and the store; no keys and tokens.
fn settings() -> Vec<String> {
    let shown = |(name, value): (String, String)| {
        let ours = name.starts_with("THETIS_UPLOADER__") || name.starts_with("THETIS_STORE__");
        let secret = ["KEY", "SECRET", "SAS"]
            .iter()
            .any(|word| name.contains(word));
        (ours && !secret).then(|| format!("{name}={value}"))
    };
    let mut all: Vec<_> = std::env::vars().filter_map(shown).collect();
    all.sort();
    all
}

pub(crate) fn load() -> String {
    let text = first_line("/proc/loadavg");
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text.lines().next()?.split_whitespace().nth(1)?;
    Some(kib.parse::<u64>().ok()? >> 10)
}

fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| text.trim().to_owned())
}
