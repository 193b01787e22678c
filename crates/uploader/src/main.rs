//! The uploader's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main("uploader", uploader::run)
}
