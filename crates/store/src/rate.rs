//! An exact limit on bytes per second that can be changed at any moment.
//!
//! Whoever is about to move bytes waits until what was let through before has been paid for. So no
//! more passes in any span of time than the rate allows for it and for [`CREDIT`] more, plus what
//! one caller takes at once. Callers are served in the order they came. A new rate holds from the
//! moment it is set, also for who waits already; what was let through stays paid for at the old one.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

/// What may be made up for: timers wake late, and a limit must not be missed for that.
const CREDIT: Duration = Duration::from_millis(25);

/// A limit. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    /// Bytes per second; 0 is no limit.
    set: watch::Sender<u64>,
    turn: Arc<Mutex<Account>>,
}

/// What was let through and is not paid for yet.
#[derive(Debug)]
struct Account {
    /// Bytes; below 0 is a credit.
    debt: f64,
    /// When that was so.
    at: Instant,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self {
            set: watch::Sender::new(0),
            turn: Arc::new(Mutex::new(Account {
                debt: 0.0,
                at: Instant::now(),
            })),
        }
    }

    /// Sets the limit in bytes per second; 0 is no limit.
    pub(crate) fn set(&self, bytes_per_second: u64) {
        self.set.send_if_modified(|rate| {
            let changes = *rate != bytes_per_second;
            *rate = bytes_per_second;
            changes
        });
    }

    /// The limit in bytes per second; 0 is no limit.
    pub(crate) fn get(&self) -> u64 {
        *self.set.borrow()
    }

    /// Waits until `bytes` may be moved; gives how long that took. Safe to cancel: then they count
    /// as not moved.
    pub(crate) async fn take(&self, bytes: u64) -> Duration {
        if self.get() == 0 {
            return Duration::ZERO;
        }
        let began = Instant::now();
        let mut account = self.turn.lock().await;
        let mut set = self.set.subscribe();
        loop {
            let rate = *set.borrow_and_update();
            if rate == 0 {
                account.clear();
                break;
            }
            let wait = account.wait(rate);
            if wait.is_zero() {
                account.debt += precise(bytes);
                break;
            }
            // An error would be that nobody can set it any more; then it stays as it is.
            let _ = tokio::time::timeout(wait, set.changed()).await;
        }
        began.elapsed()
    }
}

impl Account {
    /// Brings it up to now; gives how long it takes until all is paid for.
    fn wait(&mut self, rate: u64) -> Duration {
        let (now, rate) = (Instant::now(), precise(rate));
        let paid = (now - self.at).as_secs_f64() * rate;
        self.debt = (self.debt - paid).max(-rate * CREDIT.as_secs_f64());
        self.at = now;
        Duration::from_secs_f64((self.debt / rate).max(0.0))
    }

    fn clear(&mut self) {
        self.debt = 0.0;
        self.at = Instant::now();
    }
}

/// Exact up to 8 PiB, and close enough above.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn precise(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::future::join_all;

    use super::*;

    const MIB: u64 = 1 << 20;
    const STEP: u64 = 256 * 1024;

    /// What passes in each of so many tenths of a second, when 64 callers want all they can get.
    async fn tenths(rate: &Rate, count: usize, at: impl Fn(usize)) -> Vec<u64> {
        let passed = AtomicU64::new(0);
        let work = join_all((0..64).map(|_| async {
            loop {
                rate.take(STEP).await;
                passed.fetch_add(STEP, Ordering::Relaxed);
                // Moving them takes some time as well.
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        }));
        let watch = async {
            let mut seen = Vec::new();
            for number in 0..count {
                at(number);
                let before = passed.load(Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
                seen.push(passed.load(Ordering::Relaxed) - before);
            }
            seen
        };
        tokio::select! {
            _ = work => unreachable!("they never end"),
            seen = watch => seen,
        }
    }

    /// The least and the most of any ten seconds, as parts of what a rate allows.
    fn extremes(tenths: &[u64], rate: u64) -> (f64, f64) {
        let sums = tenths.windows(100).map(|window| window.iter().sum());
        let parts: Vec<f64> = sums
            .map(|sum: u64| precise(sum) / precise(rate * 10))
            .collect();
        let least = parts.iter().copied().fold(f64::MAX, f64::min);
        (least, parts.into_iter().fold(0.0, f64::max))
    }

    #[tokio::test(start_paused = true)]
    async fn any_ten_seconds_have_what_the_rate_allows() {
        for mib in [1, 8, 100, 1_000] {
            let rate = Rate::new();
            rate.set(mib * MIB);
            let seen = tenths(&rate, 300, |_| {}).await;
            let (least, most) = extremes(&seen, mib * MIB);
            // The grain is one caller's share.
            let grain = precise(STEP) / precise(mib * MIB * 10);
            assert!(least > 0.98 - grain, "{mib} MiB/s: {least}");
            assert!(most < 1.02 + grain, "{mib} MiB/s: {most}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_holds_at_once_for_who_waits_already() {
        let rate = Rate::new();
        rate.set(MIB);
        let changes = [(50, 100 * MIB), (100, 2 * MIB), (150, 0), (155, 4 * MIB)];
        let seen = tenths(&rate, 260, |tenth| {
            if let Some((_, new)) = changes.iter().find(|(at, _)| *at == tenth) {
                rate.set(*new);
            }
        })
        .await;
        let within = |from: usize, to: usize, rate: u64| {
            let sum = precise(seen[from..to].iter().sum());
            let allowed = precise(rate) * precise((to - from) as u64) / 10.0;
            assert!(
                (sum - allowed).abs() <= 0.02 * allowed + 2.0 * precise(STEP),
                "{from}..{to}: {sum} of {allowed}"
            );
        };
        within(0, 50, MIB);
        within(50, 100, 100 * MIB);
        within(100, 150, 2 * MIB);
        assert!(seen[151] > 100 * MIB, "without a limit: {}", seen[151]);
        within(156, 256, 4 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_is_not_saved_up() {
        let rate = Rate::new();
        rate.set(10 * MIB);
        rate.take(MIB).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let began = Instant::now();
        for _ in 0..10 {
            rate.take(MIB).await;
        }
        // The first passes at once, and pays for itself while the next waits.
        assert!(
            began.elapsed() >= Duration::from_millis(850),
            "{:?}",
            began.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_holds_nobody_up() {
        let rate = Rate::new();
        rate.set(MIB);
        rate.take(10 * MIB).await;
        for _ in 0..5 {
            let wait = tokio::time::timeout(Duration::from_millis(10), rate.take(100 * MIB));
            assert!(wait.await.is_err());
        }
        let began = Instant::now();
        rate.take(1).await;
        assert!(began.elapsed() < Duration::from_millis(10_000));
    }
}
