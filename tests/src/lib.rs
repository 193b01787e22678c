//! A whole Thetis on one machine, for end-to-end tests and the demo: a real NATS server, a real S3
//! server (or a directory), simulated ScyllaDB clusters, and every service as a process of its own.
//!
//! Everything listens on loopback, lives in one directory, and ends with its [`World`].

mod api;
mod cql;
mod direct;
pub mod null_s3;
mod service;
mod sim;
mod world;

pub use api::{Api, Ended};
pub use cql::Cql;
pub use direct::{Direct, cpu, peak};
pub use null_s3::NullS3;
pub use service::{Kind, Service, bin};
pub use sim::{Fingerprint, Fingerprints, Shape, Sim, TableSpec, compare};
pub use world::{Options, Store, World};
