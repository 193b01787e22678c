//! How fast a node may be read from without its database noticing.
//!
//! A controller as a pure value: it is told each second what the node's own metrics say, and answers
//! with a rate and the reason for it. It knows neither clock nor network.
//!
//! # Rules
//! * The latency to keep to is taken from the node itself: with the first requests, and then once a minute,
//!   reading stops for two seconds, and what the coordinator's p99 is then is the baseline. Up to a
//!   quarter more, or two milliseconds more, is allowed.
//! * Above that, the rate is halved at once. Below it for five seconds, and with the rate in use, it
//!   grows by 16 MiB/s. It stays above 8 MiB/s, so that a backup ends.
//! * More requests during a pause than before it, by half: reading starves the database, whose
//!   latency then says little. The rate is halved.
//! * A node with hardly any requests has nobody to disturb: nothing limits. It is asked in a pause whether
//!   it is so, lest a database that is starved be taken for one that is idle.
//! * Without metrics a safe rate holds.
//!
//! AIMD because several nodes' agents share what they cannot see: one storage, one network.

use std::{fmt, time::Duration};

const MIB: u64 = 1 << 20;
/// The least, in bytes per second.
const FLOOR: u64 = 8 * MIB;
/// What is added at a time.
const STEP: u64 = 16 * MIB;
/// What is begun with.
const START: u64 = 64 * MIB;
/// For how long all must be well before something is added.
const WELL: u32 = 5;
/// For how long reading stops to see how the node is by itself.
const PAUSE: u32 = 2;
/// How often.
const PROBE: u32 = 60;
/// With fewer requests in a second, a p99 says nothing.
const FEW: u64 = 20;
/// Above this, a reactor has nothing left.
const BUSY_PERCENT: f64 = 98.0;

/// What a node's metrics say of the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Reads and writes that its coordinator has answered.
    pub(crate) requests: u64,
    /// The 99th percentile of their latency, the worse of reads and writes.
    pub(crate) p99: Duration,
    /// How busy its busiest shard was.
    pub(crate) busy_percent: f64,
}

/// Why a rate is what it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reason {
    /// Nothing is read, to see how the node is by itself.
    Probe,
    /// The node is fine.
    Fine,
    /// Its latency has risen from the first to the second.
    Latency(Duration, Duration),
    /// It is at its limit.
    Busy,
    /// It has hardly any requests.
    Idle,
    /// It has more requests when nothing is read.
    Starving,
    /// It does not say how it is.
    NoMetrics,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: &Duration| time.as_secs_f64() * 1_000.0;
        match self {
            Self::Probe => f.write_str("measuring the node's latency without backup"),
            Self::Fine => f.write_str("the node's latency is as without backup"),
            Self::Latency(baseline, p99) => write!(
                f,
                "p99 latency is {:.1} ms, and was {:.1} ms without backup",
                ms(p99),
                ms(baseline)
            ),
            Self::Busy => f.write_str("a shard of the node is fully busy"),
            Self::Idle => f.write_str("the node has hardly any requests"),
            Self::Starving => f.write_str("the node answers more requests without backup"),
            Self::NoMetrics => {
                f.write_str("the node's metrics cannot be read, so a safe rate holds")
            }
        }
    }
}

impl Reason {
    /// One word, for metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Fine => "fine",
            Self::Latency(..) => "latency",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Starving => "starving",
            Self::NoMetrics => "no_metrics",
        }
    }
}

/// The controller.
#[derive(Clone, Debug)]
pub(crate) struct Adaptive {
    /// What holds without metrics, in bytes per second.
    safe: u64,
    /// What holds while the node is fine, in bytes per second.
    rate: u64,
    phase: Phase,
    /// Whether it is known to have hardly any requests.
    idle: bool,
    /// Seconds since the last probe.
    since_probe: u32,
    well: u32,
    baseline: Option<Duration>,
    /// Requests a second, while reading.
    reading: f64,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// Seconds of the pause that are over, and what was seen in them.
    Probing(Vec<Sample>),
    Reading,
}

impl Adaptive {
    /// With a rate, in bytes per second, that is safe when nothing is known.
    pub(crate) fn new(safe: u64) -> Self {
        Self {
            safe,
            rate: START.min(safe),
            phase: Phase::Reading,
            idle: false,
            since_probe: 0,
            well: 0,
            baseline: None,
            reading: 0.0,
            reason: Reason::Fine,
        }
    }

    /// The rate in bytes per second, and why: 0 if nothing may be read at all, the most there is if
    /// nothing limits.
    pub(crate) fn rate(&self) -> (u64, Reason) {
        match (self.reason, &self.phase) {
            (Reason::NoMetrics, _) => (self.safe, self.reason),
            (_, Phase::Probing(_)) => (0, Reason::Probe),
            (_, Phase::Reading) if self.idle => (u64::MAX, Reason::Idle),
            (_, Phase::Reading) => (self.rate, self.reason),
        }
    }

    /// A second has passed, in which `read` bytes were read; `None` if the metrics could not be had.
    pub(crate) fn second(&mut self, sample: Option<Sample>, read: u64) {
        self.since_probe += 1;
        let Some(sample) = sample else {
            self.reason = Reason::NoMetrics;
            self.phase = Phase::Reading;
            self.well = 0;
            return;
        };
        if self.reason == Reason::NoMetrics {
            self.probe();
            return;
        }
        match &mut self.phase {
            Phase::Probing(seen) => {
                seen.push(sample);
                if seen.len() >= PAUSE as usize {
                    let seen = std::mem::take(seen);
                    self.probed(&seen);
                }
            }
            Phase::Reading => self.judge(sample, read),
        }
    }

    fn probe(&mut self) {
        self.idle = false;
        self.phase = Phase::Probing(Vec::new());
        self.reason = Reason::Probe;
    }

    /// The first second of a pause still has what was under way; the last counts.
    fn probed(&mut self, seen: &[Sample]) {
        self.phase = Phase::Reading;
        self.since_probe = 0;
        self.well = 0;
        self.reason = Reason::Fine;
        let Some(last) = seen.last() else { return };
        let requests = precise(last.requests);
        let starving =
            self.reading > 0.0 && requests > precise(FEW) && requests > 1.5 * self.reading;
        self.idle = last.requests < FEW;
        if !self.idle {
            self.baseline = Some(last.p99);
        }
        if starving {
            self.halve(Reason::Starving);
        }
        self.reading = 0.0;
    }

    fn judge(&mut self, sample: Sample, read: u64) {
        let requests = precise(sample.requests);
        self.reading = match self.reading {
            0.0 => requests,
            before => before.mul_add(0.8, requests * 0.2),
        };
        let quiet = sample.requests < FEW;
        // In the first second hardly anything was read, so that it is as good as a pause.
        if self.since_probe == 1 && self.baseline.is_none() && quiet {
            self.idle = true;
        }
        let trouble = match self.baseline {
            _ if quiet => None,
            _ if sample.busy_percent >= BUSY_PERCENT => Some(Reason::Busy),
            Some(baseline) if sample.p99 > limit(baseline) => {
                Some(Reason::Latency(baseline, sample.p99))
            }
            Some(_) | None => None,
        };
        match trouble {
            Some(reason) => self.halve(reason),
            None => self.well += 1,
        }
        if self.well >= WELL {
            self.well = 0;
            self.reason = Reason::Fine;
            // What is not used up needs no more.
            if read >= self.rate / 4 * 3 {
                self.rate = self.rate.saturating_add(STEP);
            }
        }
        // The first requests of a node that was idle are the occasion for a baseline.
        let unknown = (self.baseline.is_none() || self.idle) && !quiet;
        if unknown {
            // What came with them says nothing of what reading did.
            self.reading = 0.0;
        }
        if self.since_probe >= PROBE || unknown {
            self.probe();
        }
    }

    fn halve(&mut self, reason: Reason) {
        self.rate = (self.rate / 2).max(FLOOR);
        self.well = 0;
        self.reason = reason;
    }
}

/// What latency is allowed where `baseline` is the node's own.
fn limit(baseline: Duration) -> Duration {
    (baseline * 5 / 4).max(baseline + Duration::from_millis(2))
}

/// Exact up to 8 PiB, and close enough above.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn precise(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node whose latency rises steeply from so many bytes per second on.
    struct Model {
        knee: u64,
        requests: u64,
    }

    impl Model {
        fn sample(&self, read: u64) -> Sample {
            let over = read.saturating_sub(self.knee) / MIB;
            Sample {
                requests: self.requests,
                p99: Duration::from_millis(4 + over),
                busy_percent: 50.0,
            }
        }
    }

    /// Lets seconds pass; gives what was read in each.
    fn run(adaptive: &mut Adaptive, model: &Model, seconds: usize) -> Vec<u64> {
        let mut all = Vec::new();
        for _ in 0..seconds {
            let (read, _) = adaptive.rate();
            adaptive.second(Some(model.sample(read)), read);
            all.push(read);
        }
        all
    }

    fn mean(all: &[u64]) -> u64 {
        all.iter().sum::<u64>() / all.len() as u64
    }

    #[test]
    fn the_rate_finds_what_the_node_bears() {
        let mut adaptive = Adaptive::new(100 * MIB);
        let model = Model {
            knee: 200 * MIB,
            requests: 1_000,
        };
        let all = run(&mut adaptive, &model, 600);
        assert_eq!(all[..3], [START, 0, 0], "it looks first how the node is");
        let later = &all[120..];
        let most = later.iter().max().unwrap();
        assert!(*most < (200 + 3 + 16) * MIB, "{}", most / MIB);
        let mean = mean(later) / MIB;
        assert!((110..=200).contains(&mean), "{mean}");
        let bad = later.iter().filter(|read| **read > 202 * MIB).count();
        assert!(bad * 20 < later.len(), "{bad} of {} seconds", later.len());
    }

    #[test]
    fn a_load_that_comes_is_made_way_for_and_used_up_when_it_goes() {
        let mut adaptive = Adaptive::new(100 * MIB);
        let calm = Model {
            knee: 500 * MIB,
            requests: 1_000,
        };
        let busy = Model {
            knee: 20 * MIB,
            requests: 1_000,
        };
        run(&mut adaptive, &calm, 120);
        let (before, _) = adaptive.rate();
        assert!(before > 150 * MIB, "{}", before / MIB);
        let during = run(&mut adaptive, &busy, 60);
        assert!(
            during[8..].iter().all(|read| *read <= 40 * MIB),
            "{during:?}"
        );
        assert!(matches!(
            adaptive.reason,
            Reason::Latency(..) | Reason::Fine | Reason::Probe
        ));
        run(&mut adaptive, &calm, 120);
        assert!(adaptive.rate > 150 * MIB, "{}", adaptive.rate / MIB);
    }

    #[test]
    fn a_node_that_cannot_be_read_fast_at_all_is_read_slowly() {
        let mut adaptive = Adaptive::new(100 * MIB);
        let model = Model {
            knee: 0,
            requests: 1_000,
        };
        let all = run(&mut adaptive, &model, 60);
        assert!(
            all[20..]
                .iter()
                .all(|read| *read >= FLOOR && *read <= FLOOR + STEP)
        );
    }

    #[test]
    fn without_metrics_the_safe_rate_holds_and_with_them_it_is_measured_first() {
        let mut adaptive = Adaptive::new(30 * MIB);
        adaptive.second(None, 0);
        assert_eq!(adaptive.rate(), (30 * MIB, Reason::NoMetrics));
        let sample = Sample {
            requests: 1_000,
            ..Sample::default()
        };
        adaptive.second(Some(sample), 0);
        assert_eq!(adaptive.rate(), (0, Reason::Probe));
        adaptive.second(Some(sample), 0);
        adaptive.second(Some(sample), 0);
        assert_eq!(adaptive.rate(), (30 * MIB, Reason::Fine));
        assert_eq!(adaptive.baseline, Some(Duration::ZERO));
    }

    #[test]
    fn an_idle_node_limits_nothing_until_its_first_requests() {
        let mut adaptive = Adaptive::new(100 * MIB);
        let idle = Model {
            knee: 0,
            requests: 3,
        };
        let all = run(&mut adaptive, &idle, 100);
        assert_eq!(all[..2], [START, u64::MAX]);
        assert_eq!(
            all.iter().filter(|read| **read == 0).count(),
            2,
            "one pause a minute"
        );
        assert_eq!(adaptive.rate(), (u64::MAX, Reason::Idle));
        let busy = Model {
            knee: 100 * MIB,
            requests: 1_000,
        };
        run(&mut adaptive, &busy, 1);
        assert_eq!(adaptive.rate(), (0, Reason::Probe));
        run(&mut adaptive, &busy, 2);
        assert_eq!(adaptive.baseline, Some(Duration::from_millis(4)));
        assert_eq!(adaptive.rate().1, Reason::Fine);
    }

    #[test]
    fn a_node_that_falls_silent_is_not_taken_for_idle_before_a_pause() {
        let mut adaptive = Adaptive::new(100 * MIB);
        let busy = Model {
            knee: 500 * MIB,
            requests: 1_000,
        };
        run(&mut adaptive, &busy, 10);
        let silent = Model {
            knee: 0,
            requests: 0,
        };
        let all = run(&mut adaptive, &silent, 60);
        let pause = all.iter().position(|read| *read == 0).unwrap();
        assert!(all[..pause].iter().all(|read| *read < 400 * MIB));
        assert_eq!(all[pause + 2], u64::MAX);
    }

    #[test]
    fn a_rate_that_is_not_used_up_does_not_grow() {
        let mut adaptive = Adaptive::new(100 * MIB);
        let sample = Sample {
            requests: 1_000,
            ..Sample::default()
        };
        for _ in 0..50 {
            adaptive.second(Some(sample), MIB);
        }
        assert_eq!(adaptive.rate, START);
    }

    #[test]
    fn a_database_that_is_starved_is_seen_by_what_it_does_in_the_pause() {
        let mut adaptive = Adaptive::new(100 * MIB);
        let of = |requests| {
            Some(Sample {
                requests,
                ..Sample::default()
            })
        };
        for _ in 0..3 {
            adaptive.second(of(1_000), 0);
        }
        while adaptive.rate().0 > 0 {
            adaptive.second(of(400), adaptive.rate);
        }
        let before = adaptive.rate;
        for _ in 0..2 {
            adaptive.second(of(1_000), 0);
        }
        assert_eq!(adaptive.rate(), (before / 2, Reason::Starving));
    }

    #[test]
    fn a_full_shard_is_reason_enough() {
        let mut adaptive = Adaptive::new(100 * MIB);
        let of = |busy_percent| {
            Some(Sample {
                requests: 1_000,
                busy_percent,
                ..Sample::default()
            })
        };
        for _ in 0..3 {
            adaptive.second(of(40.0), 0);
        }
        adaptive.second(of(99.5), adaptive.rate);
        assert_eq!(adaptive.rate(), (START / 2, Reason::Busy));
    }
}
