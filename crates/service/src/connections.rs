//! What every process tells of its ways to NATS and to the stores, under `thetis_queue_` and
//! `thetis_store_`.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};
use queue::Stats;
use store::Requests;

/// The connections of a process, summed up: it may have several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    queues: Vec<Arc<Stats>>,
    stores: Vec<Arc<Requests>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    status: u16,
}

impl Connections {
    pub(crate) fn add(&self, queue: Arc<Stats>, store: Arc<Requests>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.queues.push(queue);
        known.stores.push(store);
    }
}

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.queue(&mut encoder)?;
        known.store(&mut encoder)
    }
}

impl Known {
    fn queue(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let sum = |of: fn(&Stats) -> &queue::Counter| -> u64 {
            self.queues.iter().map(|stats| of(stats).get()).sum()
        };
        let hand = i64::try_from(sum(|s| &s.in_hand)).unwrap_or(i64::MAX);
        encoder
            .encode_descriptor(
                "thetis_queue_jobs_in_hand",
                "Jobs in hand",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&hand)?;
        let (name, help) = (
            "thetis_queue_jobs_ended",
            "Jobs that left the hand, by outcome: done, retried after a failure, failed for good, \
             refused as unreadable, stopped with their run, or handed_back at shutdown",
        );
        let mut ended = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (outcome, count) in [
            ("done", sum(|s| &s.done)),
            ("retried", sum(|s| &s.retried)),
            ("failed", sum(|s| &s.failed)),
            ("refused", sum(|s| &s.refused)),
            ("stopped", sum(|s| &s.stopped)),
            ("handed_back", sum(|s| &s.handed_back)),
        ] {
            count_of(ended.encode_family(&Outcome { outcome })?, count)?;
        }
        for (name, help, count) in [
            (
                "thetis_queue_jobs_taken",
                "Jobs taken from the queue",
                sum(|s| &s.taken),
            ),
            (
                "thetis_queue_jobs_redelivered",
                "Jobs taken that somebody had taken before",
                sum(|s| &s.redelivered),
            ),
            (
                "thetis_queue_jobs_stalled",
                "Jobs taken from their handler because nothing moved",
                sum(|s| &s.stalled),
            ),
            (
                "thetis_queue_jobs_published",
                "Jobs published",
                sum(|s| &s.jobs_published),
            ),
            (
                "thetis_queue_events_published",
                "Events published",
                sum(|s| &s.events_published),
            ),
            (
                "thetis_queue_disconnects",
                "Times the connection to NATS was lost",
                sum(|s| &s.disconnects),
            ),
            (
                "thetis_queue_streams_made",
                "Streams and buckets that had to be made, at first or because NATS had lost them",
                sum(|s| &s.streams_made),
            ),
        ] {
            let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            count_of(counter, count)?;
        }
        Ok(())
    }

    fn store(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut all: BTreeMap<(&'static str, u16), u64> = BTreeMap::new();
        for (answer, count) in self.stores.iter().flat_map(|store| store.counts()) {
            *all.entry(answer).or_default() += count;
        }
        let (name, help) = (
            "thetis_store_requests",
            "Requests to object stores, repeated ones each, by method and HTTP status; 0 is for no answer, \
             429 and 503 ask to slow down",
        );
        let mut requests = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for ((method, status), count) in all {
            count_of(requests.encode_family(&Answer { method, status })?, count)?;
        }
        let sum = |of: fn(&Requests) -> Duration| -> Duration {
            self.stores.iter().map(|store| of(store)).sum()
        };
        for (name, help, time) in [
            (
                "thetis_store_waited",
                "Time that requests to stores have waited, summed up, because as many were under way as may be",
                sum(Requests::waited),
            ),
            (
                "thetis_store_paced",
                "Time that files have waited at the disk, summed up, because of a limit on bytes a second",
                sum(Requests::paced_for),
            ),
        ] {
            encoder
                .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&time.as_secs_f64(), None)?;
        }
        let (name, help) = (
            "thetis_store_disk",
            "Bytes read from the node's disk to be stored, or written to it",
        );
        let disk = self.stores.iter().map(|store| store.disk_bytes()).sum();
        let counter =
            encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Counter)?;
        count_of(counter, disk)
    }
}

fn count_of(mut counter: MetricEncoder<'_>, count: u64) -> fmt::Result {
    counter.encode_counter::<NoLabelSet, _, u64>(&count, None)
}
