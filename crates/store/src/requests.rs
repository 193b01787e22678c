//! What is counted of requests to object stores.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opendal::{Buffer, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;

use crate::{budget::Budget, http::retry_after};

/// Requests sent by a process, to all stores together.
#[derive(Debug, Default)]
pub struct Requests {
    counts: Mutex<BTreeMap<(&'static str, u16), u64>>,
    waited_us: AtomicU64,
    paced_us: AtomicU64,
    disk_bytes: AtomicU64,
}

impl Requests {
    /// How often each method was answered with each HTTP status; 0 is for no answer. Repeated ones
    /// count each time.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(&'static str, u16), u64> {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How long requests have waited for their turn because too many were under way, summed up.
    #[must_use]
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_us.load(Ordering::Relaxed))
    }

    /// How long files have waited at the disk because of a limit on bytes per second, summed up.
    #[must_use]
    pub fn paced_for(&self) -> Duration {
        Duration::from_micros(self.paced_us.load(Ordering::Relaxed))
    }

    /// Bytes read from the node's disk to be stored, or written to it, so far.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self, method: &str, status: u16) {
        const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];
        let known = METHODS.into_iter().find(|known| *known == method);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts
            .entry((known.unwrap_or("other"), status))
            .or_default() += 1;
    }

    /// Bytes that another program has read in our place.
    pub(crate) fn read_elsewhere(&self, bytes: u64) {
        self.disk_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn waits(&self, time: Duration) {
        add(&self.waited_us, time);
    }

    pub(crate) fn paced(&self, bytes: u64, time: Duration) {
        self.disk_bytes.fetch_add(bytes, Ordering::Relaxed);
        add(&self.paced_us, time);
    }
}

fn add(sum: &AtomicU64, time: Duration) {
    let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    sum.fetch_add(us, Ordering::Relaxed);
}

/// What `opendal` sends its requests with, counted.
#[derive(Debug)]
pub(crate) struct Counted {
    transport: ReqwestTransport,
    budget: Budget,
}

impl Counted {
    pub(crate) fn new(client: reqwest::Client, budget: Budget) -> Self {
        Self {
            transport: ReqwestTransport::new(client),
            budget,
        }
    }
}

impl HttpTransport for Counted {
    async fn fetch(
        &self,
        request: http::Request<Buffer>,
    ) -> opendal::Result<http::Response<HttpBody>> {
        let method = request.method().clone();
        let answer = self.transport.fetch(request).await;
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        let rest = answer.as_ref().ok();
        let rest = rest.and_then(|answer| retry_after(answer.headers()));
        self.budget.answered(method.as_str(), status, rest);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_method_and_status() {
        let requests = Requests::default();
        for (method, status) in [("PUT", 200), ("PUT", 503), ("PUT", 200), ("BREW", 418)] {
            requests.answered(method, status);
        }
        let counts = requests.counts();
        assert_eq!(counts[&("PUT", 200)], 2);
        assert_eq!((counts[&("PUT", 503)], counts[&("other", 418)]), (1, 1));
        requests.waits(Duration::from_millis(2));
        assert_eq!(requests.waited(), Duration::from_millis(2));
    }
}
