//! The scheduler on a real nats-server and a directory as bucket, with workers that only say that
//! they have done what they were asked.

mod api;
mod backups;
mod runs;
mod world;
