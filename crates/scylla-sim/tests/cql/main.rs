//! The simulated cluster over CQL, as the real driver and cqlsh see it.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod access;
mod dangers;
mod harness;
mod rows;
mod schema;
mod shell;
mod views;
