//! Others that copy files to S3, with the flags they are measured with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ::tests::NullS3;
use anyhow::{Context as _, Result};
use testkit::binary;

/// Where they copy to.
pub(crate) const PREFIX: &str = "copy/";

/// As ScyllaDB Manager sets up the rclone within its agent. What those settings lead to (a `HEAD`
/// before and after each object) is left as it is. That one is an older version, works on one table
/// after another, on one core, and hashes more: see docs/performance.md.
const MANAGER: [&str; 13] = [
    "--transfers=2",
    "--checkers=100",
    "--tpslimit=5000",
    "--low-level-retries=20",
    "--no-traverse",
    "--use-mmap",
    "--checksum",
    "--ignore-checksum",
    "--use-server-modtime",
    "--buffer-size=16Mi",
    "--s3-chunk-size=50Mi",
    "--s3-upload-concurrency=2",
    "--s3-disable-checksum",
];

/// What makes rclone fast: more at once, no request to see whether an object is there or has arrived,
/// no checksum of its own before it sends, parts as large as ours.
const TUNED: [&str; 8] = [
    "--transfers=64",
    "--checkers=64",
    "--no-check-dest",
    "--s3-no-head",
    "--s3-no-check-bucket",
    "--s3-disable-checksum",
    "--s3-chunk-size=16Mi",
    "--s3-upload-concurrency=8",
];

/// Another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Manager,
    Tuned,
    S5cmd,
}

impl Peer {
    pub(crate) fn flags(self) -> Vec<&'static str> {
        match self {
            Self::Manager => MANAGER.to_vec(),
            Self::Tuned => TUNED.to_vec(),
            Self::S5cmd => vec!["--numworkers=256", "cp", "--concurrency=5"],
        }
    }

    fn program(self) -> Result<PathBuf> {
        let name = match self {
            Self::Manager | Self::Tuned => "rclone",
            Self::S5cmd => "s5cmd",
        };
        // The installed one may be a link or a script that starts the real one.
        fs::canonicalize(binary(name)?).with_context(|| format!("finding {name}"))
    }

    /// Which versions of which programs there are.
    pub(crate) fn versions() -> Vec<String> {
        let version = |peer: Self| {
            let output = Command::new(peer.program().ok()?).arg("version").output();
            let text = String::from_utf8(output.ok()?.stdout).ok()?;
            let first = text.lines().next()?;
            Some(first.trim_start_matches("rclone ").to_owned())
        };
        let named = [("rclone", Self::Tuned), ("s5cmd", Self::S5cmd)].into_iter();
        named
            .filter_map(|(name, peer)| Some(format!("{name} {}", version(peer)?)))
            .collect()
    }

    /// Whether it is installed.
    pub(crate) fn installed(self) -> bool {
        self.program().is_ok()
    }

    /// What copies all that is below `dir`.
    pub(crate) fn command(self, dir: &Path, null: &NullS3) -> Result<Command> {
        let mut command = Command::new(self.program()?);
        command
            .env("AWS_ACCESS_KEY_ID", "anybody")
            .env("AWS_SECRET_ACCESS_KEY", "anything")
            .env("AWS_REGION", "us-east-1");
        if self == Self::S5cmd {
            command.arg(format!("--endpoint-url={}", null.endpoint()));
            if let Some(path) = null.authority() {
                command.env("AWS_CA_BUNDLE", path);
            }
            command.args(self.flags());
            command.arg(format!("{}/", dir.display()));
            command.arg(format!("s3://bucket/{PREFIX}"));
            return Ok(command);
        }
        command
            .args(["copy", "--config=", "--log-level=ERROR"])
            .args(self.flags());
        if let Some(path) = null.authority() {
            command.arg("--ca-cert").arg(path);
        }
        command
            .arg(dir)
            .arg(format!(":s3:bucket/{PREFIX}"))
            .args(["--s3-provider=Other", "--s3-env-auth"])
            .args(["--s3-region=us-east-1", "--s3-force-path-style"])
            .arg(format!("--s3-endpoint={}", null.endpoint()));
        Ok(command)
    }
}
