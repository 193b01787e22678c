//! A simulated ScyllaDB cluster.

mod admin;
mod answer;
mod cluster;
mod config;
mod error;
mod fault;
mod fingerprint;
mod hash;
mod load;
mod node;
mod record;
mod replica;
mod rest;
mod rows;
mod schema;
mod server;
mod snapshot;
mod sstable;
mod stream;
mod task;
mod topology;

pub use cluster::{Cluster, NodeInfo};
pub use config::{Config, Endpoint, Format, Ids};
pub use error::Error;
