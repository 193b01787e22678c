//! Counters, for whoever exports them.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often something has happened since the process began, or how many there are now.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a [`Queue`](crate::Queue) has done. All count up, but for `in_hand`.
#[derive(Debug, Default)]
pub struct Stats {
    /// Jobs taken from the queue.
    pub taken: Counter,
    /// Of these, jobs that had been taken before, here or elsewhere.
    pub redelivered: Counter,
    /// Jobs in hand now.
    pub in_hand: Counter,
    /// Jobs done.
    pub done: Counter,
    /// Jobs given back to be tried again after a failure.
    pub retried: Counter,
    /// Jobs that failed for good.
    pub failed: Counter,
    /// Messages that were no job this build can read.
    pub refused: Counter,
    /// Jobs dropped or left off because their run was stopped.
    pub stopped: Counter,
    /// Jobs given back because this process shuts down.
    pub handed_back: Counter,
    /// Jobs whose handler moved nothing for too long.
    pub stalled: Counter,
    /// Jobs published.
    pub jobs_published: Counter,
    /// Events published.
    pub events_published: Counter,
    /// Times the connection was lost.
    pub disconnects: Counter,
    /// Streams and buckets that had to be made, at first or anew.
    pub streams_made: Counter,
}
