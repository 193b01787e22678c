//! An S3 server that stores nothing: see `tests::NullS3`. It says where it listens, as one line of
//! JSON, and runs until it is killed.

use anyhow::Result;
use clap::Parser;
use tests::null_s3::Options;

/// An S3 server that stores nothing, on free loopback ports
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> Result<()> {
    tests::null_s3::serve(Arguments::parse().options).await
}
