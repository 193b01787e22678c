//! What all transfers of a process share: memory for buffers, requests in flight, disk readers, and
//! how fast they may go.

mod buffer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    Requests,
    flight::{Flight, InFlight},
    rate::Rate,
};
use buffer::Blocks;
pub(crate) use buffer::{BLOCK, Buffer, LARGE};

/// Bytes to a permit of the memory budget, so that a semaphore's `u32` is enough.
const UNIT: u64 = 1024;

/// Files read at once, a block each: what keeps the disks of virtual machines busy, which take 0.1 ms for
/// a read however small. With more, a database's own reads wait longer, and nothing is won.
const DISK_READERS: usize = 4;

/// Limits of one process. Clones share them.
///
/// To wait for memory while holding a request would be a deadlock in the making: memory comes
/// first, always.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    memory: Arc<Semaphore>,
    requests: Flight,
    rate: Rate,
    readers: Arc<Semaphore>,
    blocks: Arc<Blocks>,
    units: u32,
    peak: Arc<AtomicU32>,
    counted: Arc<Requests>,
}

/// Memory in use, until dropped.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

impl Share {
    /// Takes `bytes` out of it, or what there is.
    fn split(&mut self, bytes: usize) -> Option<Self> {
        let units = (bytes as u64).div_ceil(UNIT);
        let units = usize::try_from(units).unwrap_or(usize::MAX);
        self.0.split(units.min(self.0.num_permits())).map(Self)
    }
}

impl Budget {
    pub(crate) fn new(memory_mb: u32, requests: u32, counted: Arc<Requests>) -> Self {
        let units = memory_mb.saturating_mul(1024);
        Self {
            memory: Arc::new(Semaphore::new(units as usize)),
            requests: Flight::new(requests),
            rate: Rate::new(),
            readers: Arc::new(Semaphore::new(DISK_READERS)),
            blocks: Arc::default(),
            units,
            peak: Arc::default(),
            counted,
        }
    }

    /// What is counted of requests.
    pub(crate) fn counted(&self) -> Arc<Requests> {
        Arc::clone(&self.counted)
    }

    /// All the memory there is, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.units) * UNIT
    }

    /// The most memory that was ever in use, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        u64::from(self.peak.load(Ordering::Relaxed)) * UNIT
    }

    /// Waits until `bytes` of memory are free and takes them; at most all there are.
    pub(crate) async fn memory(&self, bytes: u64) -> Share {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.memory)
            .acquire_many_owned(units.min(self.units))
            .await
            .expect("the semaphore is never closed");
        let free = u32::try_from(self.memory.available_permits()).unwrap_or(self.units);
        self.peak
            .fetch_max(self.units.saturating_sub(free), Ordering::Relaxed);
        Share(permit)
    }

    /// Waits for memory and makes buffers of it, of at least `bytes` together.
    pub(crate) async fn buffers(&self, bytes: usize) -> Vec<Buffer> {
        let share = self.memory(buffer::size(bytes) as u64).await;
        let buffers = buffer::cut(bytes, Some(share), &self.blocks);
        self.blocks.trim(self.free());
        buffers
    }

    /// As [`Self::buffers`], of memory that the caller has taken already, and holds for as long.
    pub(crate) fn covered(&self, bytes: usize) -> Vec<Buffer> {
        buffer::cut(bytes, None, &self.blocks)
    }

    /// Waits for memory and makes one buffer of it, of at most [`BLOCK`] bytes.
    pub(crate) async fn buffer(&self, bytes: usize) -> Buffer {
        let mut buffers = self.buffers(bytes.min(BLOCK)).await;
        buffers.pop().expect("there is at least one")
    }

    /// Memory that nobody uses, in bytes.
    fn free(&self) -> u64 {
        self.memory.available_permits() as u64 * UNIT
    }

    /// Waits until `count` more requests may be in flight; at most all.
    pub(crate) async fn requests(&self, count: u32) -> InFlight {
        if let Some(in_flight) = self.requests.try_take(count) {
            return in_flight;
        }
        let began = Instant::now();
        let in_flight = self.requests.take(count).await;
        self.counted.waits(began.elapsed());
        in_flight
    }

    /// Is told of each answer of a store: its HTTP status, or 0 if none came, and the pause it asks
    /// for, if it names one.
    pub(crate) fn answered(&self, method: &str, status: u16, retry_after: Option<Duration>) {
        self.counted.answered(method, status);
        match status {
            429 | 503 => self.throttled(retry_after),
            200..300 => self.requests.succeeded(),
            _ => {}
        }
    }

    /// Is told each time that a store asks for fewer requests (429 or 503), with the pause it asks
    /// for, if it names one, and each time that it does not answer in time.
    pub(crate) fn throttled(&self, retry_after: Option<Duration>) {
        self.requests.throttled(retry_after);
    }

    /// Waits until `bytes` more may be read from the disk, or written to it.
    pub(crate) async fn pace(&self, bytes: u64) {
        let waited = self.rate.take(bytes).await;
        self.counted.paced(bytes, waited);
    }

    /// How fast that is.
    pub(crate) fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Waits for a turn at the disk.
    pub(crate) async fn reader(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.readers)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }
}

/// The pause before try number `attempt` (from 1): 0.5 s doubled each time, at most 8 s, of which
/// a random half is left out so that clients do not come back together.
pub(crate) fn pause(attempt: u32) -> Duration {
    let full = Duration::from_millis(500) * 2u32.pow(attempt.saturating_sub(1).min(4));
    full.mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_comes_back_with_the_last_clone_of_a_body() {
        let budget = Budget::new(1, 1, Arc::default());
        let mut buffers = budget.buffers(1024 * 1024).await;
        assert_eq!(buffers.len(), 4);
        let mut buffer = buffers.pop().unwrap();
        buffer.space()[..3].copy_from_slice(&[7, 0, 1]);
        let body = buffer.filled(2);
        assert_eq!(&body[..], [7, 0]);
        let clone = body.clone();
        drop((body, buffers));
        assert_eq!(budget.memory.available_permits(), 768);
        drop(clone);
        assert_eq!(budget.memory.available_permits(), 1024);
        assert_eq!(budget.peak(), budget.bytes());
    }

    #[tokio::test]
    async fn blocks_are_used_again_within_the_budget_and_given_back_at_the_end() {
        let budget = Budget::new(1, 1, Arc::default());
        let mut buffers = budget.buffers(4 * BLOCK).await;
        buffers.truncate(1);
        assert_eq!(budget.blocks.count(), (3, 1));
        let more = budget.buffers(BLOCK + 1).await;
        assert_eq!((more.len(), budget.blocks.count()), (2, (1, 3)));
        // All that is left is taken by a little one: no block may be kept beside it.
        drop(more);
        let little = budget.buffer(LARGE - 1).await;
        assert_eq!(budget.blocks.count(), (2, 1));
        let rest = budget.buffers(2 * BLOCK).await;
        assert_eq!(budget.blocks.count(), (0, 3));
        drop((rest, little, buffers));
        assert_eq!(budget.blocks.count(), (0, 0));
        assert_eq!(budget.free(), budget.bytes());
    }

    #[tokio::test]
    async fn more_than_there_is_takes_all_instead_of_waiting_for_ever() {
        let budget = Budget::new(1, 2, Arc::default());
        let _all = budget.memory(10 << 20).await;
        let _both = budget.requests(5).await;
        assert_eq!(budget.memory.available_permits(), 0);
        assert!(budget.requests.try_take(1).is_none());
    }

    #[test]
    fn pauses_grow_up_to_a_limit() {
        for (attempt, most) in [(1, 500), (2, 1000), (5, 8000), (50, 8000)] {
            let pause = pause(attempt);
            assert!(pause <= Duration::from_millis(most));
            assert!(pause >= Duration::from_millis(most / 2));
        }
    }
}
