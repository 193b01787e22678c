//! Jobs, events and shared state over NATS JetStream. The only crate that knows of NATS.
//!
//! * [`Queue::publish_job`], [`Queue::work`]: jobs, each to one of the workers that share them.
//! * [`Queue::publish_event`], [`Queue::events`]: what happened, to whoever leads.
//! * [`Queue::bucket`]: values under keys, by compare-and-set, and their changes.
//! * [`Queue::lead`]: one leader among replicas. [`Queue::announce`]: which workers live.
//! * [`Queue::fence`], [`Queue::now_ms`]: what a deletion asks before it does anything.
//! * [`Queue::ask`], [`Queue::answer`]: questions that want an answer at once.
//! * [`Queue::commands`], [`Queue::audit`]: what users ask for, and notes on who did.
//!
//! # Promises
//! * A job that was published is done, or ends in a `failed` event, or its run was stopped; unless
//!   the server loses it, against which its publisher repeats it.
//! * A job waits or is in hand at most once, however often it is published.
//! * Stopping a run reaches every worker within 2 s of its connection.
//! * A job that moves nothing is taken from its handler; one whose worker dies comes to another.
//! * Nothing here ends because a connection, a stream, a consumer or a bucket was lost.
//! * No message can make it panic, and none disappears unreported.
//!
//! # Crashes
//! What was in hand is handed out again: at once after an orderly end, else after `ack_wait_secs`.
//! The event goes out before its job is settled, so both may happen twice, never neither.
//!
//! # Not here
//! What follows from an event is `workflow`'s. That a job done twice does no harm is its handler's.

mod ask;
mod audit;
mod clock;
mod command;
mod connect;
mod consumer;
mod control;
mod delivery;
mod depth;
mod error;
mod events;
mod fence;
mod handler;
mod kv;
mod lease;
mod logs;
mod past;
mod presence;
mod publish;
mod pull;
mod settings;
mod stats;
mod streams;
mod trace;
mod watch;
mod work;

pub use ask::AskError;
pub use command::Commanded;
pub use connect::Queue;
pub use consumer::{Consumer, Takes};
pub use delivery::ATTEMPTS;
pub use depth::{Depth, Waits};
pub use error::{BoxError, Error};
pub use events::Listener;
pub use fence::{FRESH, Fence};
pub use handler::{Alive, Context, Handler, JobError};
pub use kv::{Kv, Revision};
pub use lease::Leadership;
pub use logs::Logs;
pub use publish::Queued;
pub use settings::{Secret, Settings, Tls};
pub use stats::{Counter, Stats};
pub use streams::Bucket;
pub use tokio_util::sync::CancellationToken;
pub use trace::{continue_trace, traceparent};
pub use watch::{Change, Changes};
