//! The queue on a real nats-server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod connecting;
mod control;
mod fencing;
mod jobs;
mod leading;
mod loss;
mod support;
mod values;
