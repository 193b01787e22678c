//! What a server remembers and counts.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use crc32fast::Hasher;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::fault::Fault;

/// Bodies below these prefixes are kept.
const KEPT: [&str; 2] = ["thetis/", "backup/meta/"];

/// Whether the bodies of objects with this key are kept.
pub(super) fn kept(key: &str) -> bool {
    KEPT.iter().any(|prefix| key.starts_with(prefix))
}

/// What was asked of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests by kind, as in `PutObject`, those that failed included.
    pub requests: BTreeMap<String, u64>,
    /// Bytes of payload taken in, those of requests that failed included.
    pub bytes: u64,
    /// Connections opened.
    pub connections: u64,
    /// Requests under way at once, at most.
    pub in_flight: u64,
    /// What was made to go wrong, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Bodies that did not fit the checksum they came with; always 0 unless they are checked.
    pub damaged: u64,
}

impl Tally {
    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }
}

/// An object as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its length in bytes.
    pub bytes: u64,
    /// The CRC-32 of its content, if the server checks.
    pub crc32: Option<u32>,
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    PutObject,
    UploadPart,
    CreateMultipartUpload,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    GetObject,
    HeadObject,
    DeleteObject,
    DeleteObjects,
    ListObjects,
    GetBucketLocation,
    HeadBucket,
    CreateBucket,
    Unknown,
}

impl Kind {
    const ALL: [Self; 14] = [
        Self::PutObject,
        Self::UploadPart,
        Self::CreateMultipartUpload,
        Self::CompleteMultipartUpload,
        Self::AbortMultipartUpload,
        Self::GetObject,
        Self::HeadObject,
        Self::DeleteObject,
        Self::DeleteObjects,
        Self::ListObjects,
        Self::GetBucketLocation,
        Self::HeadBucket,
        Self::CreateBucket,
        Self::Unknown,
    ];

    /// Whether its body is content.
    pub(super) fn is_payload(self) -> bool {
        matches!(self, Self::PutObject | Self::UploadPart)
    }
}

/// A body that was taken in.
#[derive(Clone, Default)]
pub(super) struct Taken {
    pub(super) bytes: u64,
    /// Of its content, if that was looked at.
    pub(super) crc: Option<Hasher>,
    /// Its content, if that is kept.
    pub(super) body: Option<Bytes>,
}

#[derive(Clone)]
pub(super) struct Object {
    pub(super) stored: Stored,
    pub(super) body: Option<Bytes>,
}

impl From<Taken> for Object {
    fn from(taken: Taken) -> Self {
        let stored = Stored {
            bytes: taken.bytes,
            crc32: taken.crc.map(Hasher::finalize),
        };
        let body = taken.body;
        Self { stored, body }
    }
}

/// The parts of an upload, by number.
pub(super) type Parts = BTreeMap<u32, Taken>;

/// What a server remembers and counts.
pub(super) struct State {
    pub(super) objects: Mutex<BTreeMap<String, Object>>,
    pub(super) uploads: Mutex<HashMap<String, Parts>>,
    next: AtomicU64,
    counts: Counts,
    /// Told whenever an object arrives that is kept.
    arrivals: watch::Sender<()>,
}

#[derive(Default)]
struct Counts {
    requests: [AtomicU64; Kind::ALL.len()],
    faults: [AtomicU64; Fault::ALL.len()],
    number: AtomicU64,
    bytes: AtomicU64,
    connections: AtomicU64,
    under_way: AtomicU64,
    in_flight: AtomicU64,
    damaged: AtomicU64,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            objects: Mutex::default(),
            uploads: Mutex::default(),
            next: AtomicU64::default(),
            counts: Counts::default(),
            arrivals: watch::Sender::new(()),
        }
    }

    /// A name that no other upload has.
    pub(super) fn name_upload(&self) -> String {
        format!("upload-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Remembers an object.
    pub(super) fn insert(&self, key: String, object: Object) {
        let told = object.body.is_some();
        lock(&self.objects).insert(key, object);
        if told {
            self.arrivals.send_replace(());
        }
    }

    /// How many objects there are below a prefix.
    fn count_below(&self, prefix: &str) -> usize {
        let objects = lock(&self.objects);
        let found = objects.range(prefix.to_owned()..);
        found.take_while(|(key, _)| key.starts_with(prefix)).count()
    }

    /// Ends when there are `count` objects below a prefix whose bodies are kept.
    pub(super) async fn arrival(&self, prefix: &str, count: usize) {
        let mut arrivals = self.arrivals.subscribe();
        while self.count_below(prefix) < count {
            if arrivals.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) fn connected(&self) {
        self.counts.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request as under way until dropped; gives its number, from 0.
    pub(super) fn begin(&self) -> (u64, UnderWay<'_>) {
        let counts = &self.counts;
        let now = counts.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        counts.in_flight.fetch_max(now, Ordering::Relaxed);
        let number = counts.number.fetch_add(1, Ordering::Relaxed);
        (number, UnderWay(counts))
    }

    pub(super) fn count(&self, kind: Kind) {
        self.counts.requests[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_fault(&self, fault: Fault) {
        self.counts.faults[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_bytes(&self, bytes: u64) {
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn count_damaged(&self) {
        self.counts.damaged.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn tally(&self) -> Tally {
        let counts = &self.counts;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let requests = Kind::ALL.iter().zip(&counts.requests);
        let requests = requests.map(|(kind, count)| (format!("{kind:?}"), get(count)));
        let faults = Fault::ALL.iter().zip(&counts.faults);
        let faults = faults.map(|(fault, count)| (fault.name().to_owned(), get(count)));
        Tally {
            requests: requests.filter(|(_, count)| *count > 0).collect(),
            bytes: get(&counts.bytes),
            connections: get(&counts.connections),
            in_flight: get(&counts.in_flight),
            faults: faults.filter(|(_, count)| *count > 0).collect(),
            damaged: get(&counts.damaged),
        }
    }

    /// Forgets all but what is under way.
    pub(super) fn reset(&self) {
        lock(&self.objects).clear();
        lock(&self.uploads).clear();
        let counts = &self.counts;
        let all = counts.requests.iter().chain(&counts.faults);
        let one = [
            &counts.number,
            &counts.bytes,
            &counts.connections,
            &counts.in_flight,
            &counts.damaged,
        ];
        for counter in all.chain(one) {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// A request that is under way until this is dropped.
pub(super) struct UnderWay<'a>(&'a Counts);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
