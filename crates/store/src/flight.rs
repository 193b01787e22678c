//! How many requests are in flight: fewer when stores ask for it.
//!
//! A store that answers 503 or 429, or not in time, more often than once in [`NOISE`] requests is
//! asked for less: the limit is halved, at most once in [`CALM`], and nothing new is sent for as long
//! as it said (`Retry-After`). While requests go well the limit grows by a quarter each second, until
//! it is at its most again: what was halved is back within four seconds. Single refusals are the
//! concern of those requests alone, which come again later: stores have them without being busy, and
//! who halved for each would never send much at once.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Requests that were in flight when the limit was halved may fail as well; they say nothing new.
const CALM: Duration = Duration::from_secs(1);

/// Of so many recent requests one may be refused without a meaning.
const NOISE: u32 = 50;

/// The part of the limit that is added in a second in which all goes well.
const GROWTH: u32 = 4;

/// The longest that a store is obeyed when it wants to be left alone.
const LONGEST: Duration = Duration::from_secs(60);

/// The limit. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    permits: Arc<Semaphore>,
    most: u32,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Requests that may be in flight.
    limit: u32,
    /// Permits that are to be taken away as soon as they come back.
    owed: u32,
    /// Requests that went well, and that did not, not long ago: what is older than [`CALM`] counts half.
    well: u32,
    refused: u32,
    counted: Instant,
    /// When the limit last became lower, and when it last changed.
    halved: Option<Instant>,
    changed: Instant,
    quiet_until: Option<Instant>,
}

/// A part of what may be in flight, until dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    permit: Option<OwnedSemaphorePermit>,
    flight: Flight,
}

impl Flight {
    pub(crate) fn new(most: u32) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(most as usize)),
            most,
            state: Arc::new(Mutex::new(State {
                limit: most,
                owed: 0,
                well: 0,
                refused: 0,
                counted: Instant::now(),
                halved: None,
                changed: Instant::now(),
                quiet_until: None,
            })),
        }
    }

    /// Waits until `count` more requests may be in flight; at most all that may be now.
    pub(crate) async fn take(&self, count: u32) -> InFlight {
        let mut most = count.min(self.limit());
        let mut permit = Box::pin(Arc::clone(&self.permits).acquire_many_owned(most));
        let permit = loop {
            if let Ok(permit) = tokio::time::timeout(CALM, &mut permit).await {
                break permit.expect("the semaphore is never closed");
            }
            // So many will never be free at once if the limit has become lower meanwhile.
            if self.limit() < most {
                most = self.limit();
                permit.set(Arc::clone(&self.permits).acquire_many_owned(most));
            }
        };
        let in_flight = InFlight {
            permit: Some(permit),
            flight: self.clone(),
        };
        while let Some(until) = self.quiet_until() {
            tokio::time::sleep_until(until).await;
        }
        in_flight
    }

    /// As [`Self::take`], if it need not wait.
    pub(crate) fn try_take(&self, count: u32) -> Option<InFlight> {
        if self.quiet_until().is_some() {
            return None;
        }
        let count = count.min(self.limit());
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(count);
        Some(InFlight {
            permit: Some(permit.ok()?),
            flight: self.clone(),
        })
    }

    /// A store refuses a request for having too many; it wants none for `retry_after`.
    pub(crate) fn throttled(&self, retry_after: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.state();
        state.age(now);
        state.refused += 1;
        if state.refused.saturating_mul(NOISE) <= state.well {
            return;
        }
        if let Some(pause) = retry_after {
            let until = now + pause.min(LONGEST);
            state.quiet_until = state.quiet_until.max(Some(until));
        }
        if state.halved.is_some_and(|halved| now - halved < CALM) {
            return;
        }
        state.halved = Some(now);
        state.changed = now;
        let limit = (state.limit / 2).max(1);
        state.owed += state.limit - limit;
        state.limit = limit;
        self.settle(&mut state);
    }

    /// A request went well.
    pub(crate) fn succeeded(&self) {
        let now = Instant::now();
        let mut state = self.state();
        state.age(now);
        state.well += 1;
        let step = Duration::from_secs(1) / (state.limit / GROWTH).max(1);
        if state.limit == self.most || now - state.changed < step {
            return;
        }
        state.changed = now;
        state.limit += 1;
        if state.owed > 0 {
            state.owed -= 1;
        } else {
            self.permits.add_permits(1);
        }
    }

    /// How many requests may be in flight now.
    pub(crate) fn limit(&self) -> u32 {
        self.state().limit
    }

    /// Until when nothing is to be sent, if that is still to come.
    fn quiet_until(&self) -> Option<Instant> {
        let until = self.state().quiet_until;
        until.filter(|until| *until > Instant::now())
    }

    /// Takes away permits that are owed and free.
    fn settle(&self, state: &mut State) {
        let taken = self.permits.forget_permits(state.owed as usize);
        state.owed -= u32::try_from(taken).expect("no more than were owed");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets what was counted before count less.
    fn age(&mut self, now: Instant) {
        let halves = (now - self.counted).as_secs() / CALM.as_secs();
        let halves = u32::try_from(halves).unwrap_or(u32::MAX);
        if halves > 0 {
            self.well = self.well.checked_shr(halves).unwrap_or(0);
            self.refused = self.refused.checked_shr(halves).unwrap_or(0);
            self.counted = now;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.flight.state();
        drop(self.permit.take());
        self.flight.settle(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stores_that_want_less_get_less_and_more_again_when_all_goes_well() {
        let flight = Flight::new(64);
        flight.throttled(None);
        flight.throttled(None);
        assert_eq!(flight.limit(), 32, "one trouble counts once");
        for _ in 0..10 {
            tokio::time::sleep(CALM).await;
            flight.throttled(None);
        }
        assert_eq!((flight.limit(), flight.permits.available_permits()), (1, 1));
        let began = Instant::now();
        while flight.limit() < 64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            flight.succeeded();
        }
        let took = began.elapsed().as_secs();
        assert!((15..25).contains(&took), "{took} s");
        assert_eq!(flight.permits.available_permits(), 64);
        flight.succeeded();
        assert_eq!(flight.limit(), 64);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_halved_is_soon_back() {
        let flight = Flight::new(128);
        flight.throttled(None);
        let began = Instant::now();
        while flight.limit() < 128 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            flight.succeeded();
        }
        assert!(began.elapsed() < Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_in_a_hundred_says_nothing_and_one_in_ten_does() {
        let flight = Flight::new(64);
        let requests = async |every: u32| {
            for number in 1..=1_000 {
                tokio::time::sleep(Duration::from_millis(3)).await;
                match number % every {
                    0 => flight.throttled(Some(CALM)),
                    _ => flight.succeeded(),
                }
            }
        };
        requests(100).await;
        assert!(flight.limit() == 64 && flight.quiet_until().is_none());
        requests(10).await;
        assert!(flight.limit() < 32, "{}", flight.limit());
        for _ in 0..10 {
            requests(100).await;
        }
        assert_eq!(flight.limit(), 64);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_flight_already_is_taken_away_when_it_lands() {
        let flight = Flight::new(4);
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(flight.try_take(1).unwrap());
        }
        flight.throttled(None);
        assert!(flight.try_take(1).is_none());
        all.truncate(2);
        assert!(
            flight.try_take(1).is_none(),
            "two are in flight, which is all that may be"
        );
        all.truncate(1);
        let one = flight.try_take(1).unwrap();
        assert!(flight.try_take(1).is_none());
        // More are let in before the others have landed.
        tokio::time::sleep(CALM).await;
        flight.succeeded();
        flight.succeeded();
        assert_eq!(flight.limit(), 3);
        drop((all, one));
        assert_eq!(flight.permits.available_permits(), 3);
        let whole = flight.take(100).await;
        assert!(flight.try_take(1).is_none());
        drop(whole);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_many_is_content_with_fewer_when_there_are_fewer() {
        let flight = Flight::new(4);
        let held = flight.take(4).await;
        let many = async { drop(flight.take(4).await) };
        let less = async {
            tokio::time::sleep(CALM / 2).await;
            flight.throttled(None);
            drop(held);
        };
        let both = async { tokio::join!(many, less) };
        tokio::time::timeout(CALM * 3, both).await.unwrap();
        assert_eq!(flight.permits.available_permits(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_for_as_long_as_a_store_wants_to_be_left_alone() {
        let flight = Flight::new(4);
        let began = Instant::now();
        flight.throttled(Some(Duration::from_secs(7)));
        flight.throttled(Some(Duration::from_secs(3)));
        assert!(flight.try_take(1).is_none());
        drop(flight.take(1).await);
        assert_eq!(began.elapsed(), Duration::from_secs(7));
        flight.throttled(Some(Duration::from_secs(7_200)));
        let began = Instant::now();
        drop(flight.take(1).await);
        assert_eq!(began.elapsed(), LONGEST);
    }
}
