//! What goes wrong, how often, and with which request: the same ones whenever the seed is the same.

use clap::Args;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

/// Which requests fail, and how: each share is of all requests, from 0 to 1.
///
/// What happens to the n-th request follows from the seed and n alone.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// What the choice follows from.
    #[arg(long, default_value_t)]
    pub seed: u64,
    /// Share that is answered `503 SlowDown`, to be tried again in a second.
    #[arg(long, default_value_t)]
    pub slow_down: f64,
    /// Share whose connection is reset in the middle of the body.
    #[arg(long, default_value_t)]
    pub reset: f64,
    /// Share that is answered two seconds later than others.
    #[arg(long, default_value_t)]
    pub slow: f64,
    /// Share that is done, and whose answer is cut off.
    #[arg(long, default_value_t)]
    pub cut: f64,
    /// Share that is done, and answered with the `ETag` and checksum of something else.
    #[arg(long, default_value_t)]
    pub wrong_checksum: f64,
    /// Which request, from 0, is answered `400 ExpiredToken`.
    #[arg(long)]
    pub expired_at: Option<u64>,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    SlowDown,
    Reset,
    Slow,
    Cut,
    WrongChecksum,
    Expired,
}

impl Fault {
    pub(super) const ALL: [Self; 6] = [
        Self::SlowDown,
        Self::Reset,
        Self::Slow,
        Self::Cut,
        Self::WrongChecksum,
        Self::Expired,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SlowDown => "SlowDown",
            Self::Reset => "Reset",
            Self::Slow => "Slow",
            Self::Cut => "Cut",
            Self::WrongChecksum => "WrongChecksum",
            Self::Expired => "ExpiredToken",
        }
    }
}

impl Faults {
    fn shares(&self) -> [(Fault, &'static str, f64); 5] {
        [
            (Fault::SlowDown, "slow-down", self.slow_down),
            (Fault::Reset, "reset", self.reset),
            (Fault::Slow, "slow", self.slow),
            (Fault::Cut, "cut", self.cut),
            (Fault::WrongChecksum, "wrong-checksum", self.wrong_checksum),
        ]
    }

    /// What happens to request number `number`, from 0.
    pub(super) fn of(&self, number: u64) -> Option<Fault> {
        if self.expired_at == Some(number) {
            return Some(Fault::Expired);
        }
        let shares = self.shares();
        if shares.iter().all(|(_, _, share)| *share == 0.0) {
            return None;
        }
        let mixed = self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut left: f64 = SmallRng::seed_from_u64(mixed).random();
        for (fault, _, share) in shares {
            if left < share {
                return Some(fault);
            }
            left -= share;
        }
        None
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        let shares = self.shares().into_iter();
        let shares = shares.map(|(_, name, share)| format!("--{name}={share}"));
        let expired = self.expired_at.map(|at| format!("--expired-at={at}"));
        let seed = [format!("--seed={}", self.seed)];
        seed.into_iter().chain(shares).chain(expired).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Faults {
        Faults {
            seed: 7,
            slow_down: 0.01,
            reset: 0.005,
            expired_at: Some(3),
            ..Faults::default()
        }
    }

    #[test]
    fn the_same_seed_fails_the_same_requests() {
        let fates = |faults: Faults| (0..2000).map(|n| faults.of(n)).collect::<Vec<_>>();
        assert_eq!(fates(some()), fates(some()));
        let other = Faults { seed: 8, ..some() };
        assert_ne!(fates(some()), fates(other));
    }

    #[test]
    fn faults_are_as_frequent_as_asked_for() {
        let faults = some();
        let count = |fault| {
            (0..100_000)
                .filter(|n| faults.of(*n) == Some(fault))
                .count()
        };
        assert!((900..1100).contains(&count(Fault::SlowDown)));
        assert!((430..570).contains(&count(Fault::Reset)));
        assert_eq!(count(Fault::Expired), 1);
        assert_eq!(count(Fault::Slow), 0);
    }

    #[test]
    fn nothing_fails_by_default() {
        assert!((0..1000).all(|n| Faults::default().of(n).is_none()));
    }
}
