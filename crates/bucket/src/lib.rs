//! The backups in a bucket: what there is, whether it is whole, and what is to go.
//!
//! `catalog` says what keys and documents mean, `store` moves bytes; here the two meet. Services
//! and the command line share it, so that a bucket is read in one way only, with or without a
//! scheduler.
//!
//! # Promises
//! * What cannot be read is named in the result, and hides nothing else.
//! * Manifests, listings and files are read as streams: memory does not grow with the bucket, but
//!   where a doc comment says how.
//! * Only these change a bucket: [`pins::put`] and its like, [`purge`] and [`removal`], [`index::Contents::save`],
//!   and [`validate::node`] when it is asked to delete.
//!
//! # Not here
//! Who may do what when is the caller's, and so are clocks.

pub mod coverage;
pub mod download;
mod error;
pub mod files;
pub mod index;
pub mod listing;
pub mod pins;
pub mod purge;
mod reading;
pub mod removal;
pub mod retention;
pub mod schema;
pub mod validate;

pub use error::Error;
