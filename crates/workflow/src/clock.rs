//! A run's own clock: how long it has been watched.
//!
//! It stands still while nobody ticks, so that a scheduler away for a day passes no limit, and it
//! never runs backwards.

use serde::{Deserialize, Serialize};

use crate::limit;

/// How long a run has been watched, and the wall clock's time when it last was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clock {
    wall_ms: Option<u64>,
    watched_ms: u64,
    noted_ms: u64,
}

impl Clock {
    /// Moves on to `wall_ms`; true if that is worth saving.
    pub(crate) fn tick(&mut self, wall_ms: u64) -> bool {
        let Some(last) = self.wall_ms.replace(wall_ms) else {
            return true;
        };
        self.watched_ms += wall_ms.saturating_sub(last).min(limit::STEP_MS);
        let worth = wall_ms < last || self.watched_ms - self.noted_ms >= limit::GRAIN_MS;
        if worth {
            self.noted_ms = self.watched_ms;
        }
        worth
    }

    /// Milliseconds the run has been watched.
    pub(crate) fn now_ms(&self) -> u64 {
        self.watched_ms
    }

    /// The wall clock at the last tick.
    pub(crate) fn wall_ms(&self) -> Option<u64> {
        self.wall_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_nobody_ticked_hardly_counts() {
        let mut clock = Clock::default();
        assert!(clock.tick(1_000_000));
        assert_eq!(clock.now_ms(), 0);
        assert!(!clock.tick(1_004_000));
        assert!(clock.tick(1_010_000));
        assert_eq!(clock.now_ms(), 10_000);
        assert!(clock.tick(9_000_000));
        assert_eq!(clock.now_ms(), 40_000);
    }

    #[test]
    fn a_wall_clock_set_back_stops_nothing() {
        let mut clock = Clock::default();
        clock.tick(1_000_000);
        assert!(clock.tick(500_000));
        assert_eq!(clock.now_ms(), 0);
        clock.tick(520_000);
        assert_eq!(clock.now_ms(), 20_000);
    }

    #[test]
    fn a_driver_that_drops_what_is_not_worth_saving_sees_time_pass() {
        let mut saved = Clock::default();
        saved.tick(0);
        for second in 1..=100 {
            let mut loaded = saved.clone();
            if loaded.tick(second * 1_000) {
                saved = loaded;
            }
        }
        assert_eq!(saved.now_ms(), 100_000);
    }
}
