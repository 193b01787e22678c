//! The restore-worker's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main("restore-worker", restore_worker::run)
}
