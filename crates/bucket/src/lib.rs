//! The backups that lie in a bucket: what there is, whether it is whole, and what is to go.
//!
//! `catalog` says what keys and documents mean, `store` moves bytes; here the two meet. Services
//! and the command line share it, so that a bucket is read in one way only, with or without a
//! scheduler.

mod error;
pub mod pins;
pub mod purge;
pub mod retention;

pub use error::Error;
