//! A schema as text: reads, chooses, rewrites and compares the statements of CQL that make it.
//!
//! The statements are those of `DESCRIBE SCHEMA WITH INTERNALS`, as they lie beside a backup. All
//! is done on tokens: a `;` within a string, a comment or a function's body ends nothing.
//!
//! # Promises
//! * A rewrite changes what it names and keeps every other byte.
//! * A statement that is not understood is kept as it is, and [`Verb::Other`] or [`Kind::Other`]
//!   says so.
//! * Any input ends in a value or an error that says where; none in a panic, or in work or memory
//!   that grows faster than its length.
//! * Secrets of roles are in no text made to be shown ([`Statement::shown`], [`Difference`]).
//!
//! # Not here
//! Talking to a node: that is `scylla`'s. When what is executed, and what is undone: the restore's.

mod canon;
mod choose;
mod compare;
mod error;
mod lex;
mod make;
mod object;
mod options;
mod rename;
mod replication;
mod rewrite;
mod statement;
mod subject;
mod table;
mod value;

pub use choose::{Schema, Skipped, Why};
pub use compare::{Aspect, Detail, Difference, differences, losses, same};
pub use error::Error;
pub use lex::LARGEST;
pub use make::{alter_option, drop, quote, text, tombstone_gc};
pub use object::{Object, Stage};
pub use rename::Renames;
pub use replication::{Datacenters, Unmapped};
pub use statement::{Statement, join, split};
pub use subject::{Base, Kind, Subject, Verb};
pub use value::Value;
