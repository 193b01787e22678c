//! Real servers for tests: started on free loopback ports, in temporary directories, and killed
//! when their handle goes.
//!
//! Binaries come from an environment variable (`NATS_SERVER=/usr/bin/nats-server`) or from `.deps/`
//! in the checkout, where `make deps` puts them.
//!
//! And buckets as ScyllaDB Manager leaves them: [`manager`].

pub mod azure;
pub mod faults;
pub mod gcs;
pub mod manager;
pub mod nats;
mod process;
pub mod proxy;
pub mod s3;

pub use process::{Process, binary, eventually, free_port, running};
