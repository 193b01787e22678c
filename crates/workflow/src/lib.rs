//! Backups, restores and errands as values: what has happened goes in, what is to be done comes out.
//!
//! A [`Run`] folds in events and ticks of a clock ([`Run::apply`]) and says which jobs would move
//! it on ([`Run::due`]). It is saved whole, and it is all there is: nothing else need be remembered
//! to go on after a crash.
//!
//! # Promises
//! * An input that was folded in already changes nothing, and the order of inputs matters only
//!   where the world's order does. No input makes a run panic.
//! * Every wait has a limit ([`limit`]): a run that is ticked ends, whatever happens.
//! * `DONE` is said only when every node's manifest is published, or every batch is loaded, or all
//!   of an errand is done.
//!   `ERROR` and `STOPPED` never come without what was changed on the cluster being put back, or a
//!   cause that says what was not, and what an operator has to do.
//! * The value's size grows with nodes, tables and an eighth of a byte for each chunk; never with
//!   files.
//!
//! # What the driver does
//! * Save (compare-and-set), then publish [`Run::jobs_after`], then acknowledge the event. A sweep
//!   publishes all of [`Run::due`], which is all the recovery there is.
//! * Tick every open run at least every [`limit::STEP_MS`], with those of [`Run::needs`] that have
//!   no living worker.
//! * Add to a purge what tasks keep now, and which backups are open ([`protocol::Purge`]).
//! * Tell workers to leave off what they have in hand as soon as [`Run::leaves_off`], and before any
//!   further tick.
//! * An event of a run that has ended: publish what [`Run::amends`] says, and acknowledge the event
//!   only when the queue took each job as new.
//! * Let jobs that change a node's or cluster's switches be carried out and answered even when the
//!   run is told to stop ([`survives_stop`]).
//!
//! # Events that fit no history
//! An event of another run, or one folded in already, or one that the run is past, changes nothing.
//! One that no history of the run explains (an unknown node, a chunk beyond the plan) is counted in
//! [`Report::impossible`] and otherwise ignored. An answer that cannot be worked with, such as a
//! plan that contradicts itself, fails the run.
//!
//! # Not here
//! No I/O, no clock, no chance. Delivery is `queue`'s, saving and publishing the scheduler's.

mod absence;
mod backup;
mod balancing;
mod bitmap;
mod clock;
mod course;
mod errand;
mod life;
pub mod limit;
mod methods;
mod report;
mod restore;
mod ring;
mod run;
mod spec;
mod tables;
mod undo;
mod wait;

pub use backup::{Backup, Removed};
pub use errand::ErrandRun;
pub use report::{Host, Report, Table};
pub use restore::Restore;
pub use run::{Input, Run, survives_stop};
pub use spec::{BackupSpec, Errand, ErrandSpec, RestoreSpec, Shield, Spec};
