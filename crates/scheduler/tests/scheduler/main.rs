//! The scheduler on a real nats-server and a directory as bucket, with workers that only say that
//! they have done what they were asked.

mod access;
mod api;
mod backups;
mod control;
mod notices;
mod runs;
mod world;
