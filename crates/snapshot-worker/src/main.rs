//! The snapshot-worker's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main("snapshot-worker", snapshot_worker::run)
}
