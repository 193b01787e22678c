//! The simulator against its contract, with nothing but a plain HTTP client.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod data;
mod faults;
mod harness;
mod native;
mod refresh;
mod snapshots;
mod tablets;
mod topology;
mod transport;
