//! What a node's own metrics say of its load: the Prometheus port.

use std::{collections::BTreeMap, time::Duration};

use crate::Error;

/// An answer has some MiB on a node with many shards and tables; more is no answer.
const MOST: usize = 64 << 20;
/// A node that answers later is too busy to be judged by it.
const LIMIT: Duration = Duration::from_secs(2);
/// Histograms of the coordinator's latency, in microseconds.
const LATENCIES: [&str; 2] = [
    "scylla_storage_proxy_coordinator_read_latency_bucket",
    "scylla_storage_proxy_coordinator_write_latency_bucket",
];
const UTILIZATION: &str = "scylla_reactor_utilization";

/// A node's Prometheus port.
#[derive(Clone, Debug)]
pub struct Metrics {
    http: reqwest::Client,
    url: String,
}

/// Counters of a node's load, as they were at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// For reads and for writes: requests that took at most so many microseconds.
    latency: [BTreeMap<u64, u64>; 2],
    busy_percent: f64,
}

/// What a node did between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Reads and writes that it has coordinated.
    pub requests: u64,
    /// The 99th percentile of their latency, rounded up to a bucket's bound: that of reads or of
    /// writes, whichever is worse.
    pub p99: Duration,
    /// How busy its busiest shard was at the end, in percent.
    pub busy_percent: f64,
}

impl Metrics {
    /// The port at `url`, as in `http://127.0.0.1:9180/metrics`.
    ///
    /// # Errors
    /// [`Error::Address`] if that is no URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        let wrong = || Error::Address(url.to_owned());
        let parsed = reqwest::Url::parse(url).map_err(|_| wrong())?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(wrong());
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(LIMIT)
            .build()
            .map_err(|_| wrong())?;
        Ok(Self {
            http,
            url: url.to_owned(),
        })
    }

    /// Reads the counters.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if it does not answer within 2 s, [`Error::Answer`] if what it
    /// answers has no latency in it.
    pub async fn read(&self) -> Result<Counters, Error> {
        let attempt = || "read its metrics".to_owned();
        let unreachable = |cause: reqwest::Error| Error::Unreachable {
            api: self.url.clone(),
            attempt: attempt(),
            cause: cause.without_url(),
        };
        let answer = self.http.get(&self.url).send().await.map_err(unreachable)?;
        let mut answer = answer.error_for_status().map_err(unreachable)?;
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            text.extend_from_slice(&chunk);
            if text.len() > MOST {
                let cause = format!("it is longer than {MOST} bytes");
                return Err(Error::Answer {
                    attempt: attempt(),
                    cause,
                });
            }
        }
        let counters = Counters::of(&String::from_utf8_lossy(&text));
        if counters.latency.iter().all(BTreeMap::is_empty) {
            let cause = "it has no latency of the coordinator in it".to_owned();
            return Err(Error::Answer {
                attempt: attempt(),
                cause,
            });
        }
        Ok(counters)
    }
}

impl Counters {
    /// Reads the text format, summing up shards and scheduling groups.
    fn of(text: &str) -> Self {
        let mut counters = Self::default();
        for line in text.lines() {
            let Some((name, rest)) = line.split_once('{') else {
                continue;
            };
            let Some((labels, value)) = rest.rsplit_once('}') else {
                continue;
            };
            let Some(value) = value.split_whitespace().next() else {
                continue;
            };
            let Ok(value) = value.parse::<f64>() else {
                continue;
            };
            if name == UTILIZATION {
                counters.busy_percent = counters.busy_percent.max(value);
            } else if let Some(which) = LATENCIES.iter().position(|known| *known == name)
                && let Some(bound) = bound(labels)
            {
                *counters.latency[which].entry(bound).or_default() += whole(value);
            }
        }
        counters
    }

    /// What was done since `earlier`; `None` if the node was restarted in between.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Load> {
        let mut load = Load {
            busy_percent: self.busy_percent,
            ..Load::default()
        };
        for (now, before) in self.latency.iter().zip(&earlier.latency) {
            let mut below = Vec::new();
            for (bound, count) in now {
                let before = before.get(bound).copied().unwrap_or_default();
                below.push((*bound, count.checked_sub(before)?));
            }
            let requests = below.last().map_or(0, |(_, count)| *count);
            load.requests += requests;
            // All but one of a hundred, and of fewer, all but none.
            let most = requests - requests / 100;
            let within = below.iter().find(|(_, count)| *count >= most);
            if let Some((bound, _)) = within.filter(|_| requests > 0) {
                load.p99 = load.p99.max(Duration::from_micros(*bound));
            }
        }
        Some(load)
    }
}

/// The upper bound of a bucket, in whole microseconds; the last one has the largest there is.
fn bound(labels: &str) -> Option<u64> {
    let (_, rest) = labels.split_once("le=\"")?;
    let (text, _) = rest.split_once('"')?;
    match text {
        "+Inf" => Some(u64::MAX),
        text => text.parse().ok().map(whole),
    }
}

/// Counts and bounds are written as fractions, and are none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is out of range becomes the nearest there is"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(counts: [u64; 3]) -> String {
        let [a, b, c] = counts;
        format!(
            "# TYPE scylla_storage_proxy_coordinator_read_latency histogram\n\
             scylla_storage_proxy_coordinator_read_latency_bucket{{shard=\"0\",le=\"640.000000\"}} {a}\n\
             scylla_storage_proxy_coordinator_read_latency_bucket{{shard=\"0\",le=\"1280.000000\"}} {b}\n\
             scylla_storage_proxy_coordinator_read_latency_bucket{{shard=\"0\",le=\"+Inf\"}} {c}\n\
             scylla_storage_proxy_coordinator_read_latency_bucket{{shard=\"1\",le=\"640.000000\"}} 10\n\
             scylla_storage_proxy_coordinator_read_latency_bucket{{shard=\"1\",le=\"1280.000000\"}} 10\n\
             scylla_storage_proxy_coordinator_read_latency_bucket{{shard=\"1\",le=\"+Inf\"}} 10\n\
             scylla_storage_proxy_coordinator_read_latency_summary{{shard=\"1\",le=\"640\"}} 999\n\
             scylla_storage_proxy_coordinator_write_latency_bucket{{le=\"20.000000\",shard=\"0\"}} {a} 1700000000000\n\
             scylla_storage_proxy_coordinator_write_latency_bucket{{le=\"+Inf\",shard=\"0\"}} {a}\n\
             scylla_reactor_utilization{{shard=\"0\"}} 12.500000\n\
             scylla_reactor_utilization{{shard=\"1\"}} 87.250000\n\
             scylla_reactor_utilization 99\nbroken{{ 1\nbroken}} x\n"
        )
    }

    #[test]
    fn a_load_is_what_came_between_two_moments() {
        let before = Counters::of(&text([100, 100, 100]));
        let load = |counts| Counters::of(&text(counts)).since(&before).unwrap();
        let none = load([100, 100, 100]);
        assert_eq!((none.requests, none.p99), (0, Duration::ZERO));
        assert_eq!(none.busy_percent.to_bits(), 87.25_f64.to_bits());
        let all_fast = load([200, 200, 200]);
        assert_eq!(all_fast.requests, 200);
        assert_eq!(all_fast.p99, Duration::from_micros(640));
        assert_eq!(load([199, 200, 200]).p99, Duration::from_micros(640));
        assert_eq!(load([190, 200, 200]).p99, Duration::from_micros(1280));
        assert_eq!(load([190, 190, 200]).p99, Duration::from_micros(u64::MAX));
        let restarted = Counters::of(&text([5, 5, 5]));
        assert_eq!(restarted.since(&before), None);
    }
}
