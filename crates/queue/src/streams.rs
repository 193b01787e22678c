//! The streams and buckets, and how they are made.
//!
//! What is missing is made; what is there is left as it is, so that an operator may change limits
//! and replicas with NATS' own tools. Buckets are plain streams of the form that NATS' key-value
//! tools know.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::{
    self, ErrorCode,
    context::{CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
};
use protocol::subject;

use crate::{Error, Settings, error::BoxError};

pub(crate) const JOBS: &str = "JOBS";
pub(crate) const EVENTS: &str = "EVENTS";
pub(crate) const AUDIT: &str = "AUDIT";

/// How long an entry of [`Bucket::Leases`] lives without being renewed. The server alone counts
/// this time, so no two clocks are compared. Long enough for three renewals and short enough that a
/// new leader is there within 10 s.
pub(crate) const LEASE: Duration = Duration::from_secs(7);

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Within this time a message with an id known already is dropped by the server.
const DUPLICATES: Duration = Duration::from_secs(120);
const MIB: i64 = 1 << 20;

/// The key-value buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Registered clusters; key `<cluster>`.
    Clusters,
    /// Tasks; key `<cluster>.<task>`.
    Tasks,
    /// Runs; key `<cluster>.<run>`.
    Runs,
    /// What lives: the leader and the workers. Entries are gone 7 s after the last renewal.
    Leases,
    /// Work in hand; key `<run>.<node>.<instance>`. Entries are gone after an hour.
    Progress,
    /// What shall become of a run; key `<run>`. Entries are gone after a week.
    Control,
    /// How schemas were before restores changed them; key `<cluster>.<run>`.
    Undo,
}

impl Bucket {
    pub(crate) const ALL: [Self; 7] = [
        Self::Clusters,
        Self::Tasks,
        Self::Runs,
        Self::Leases,
        Self::Progress,
        Self::Control,
        Self::Undo,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::Tasks => "tasks",
            Self::Runs => "runs",
            Self::Leases => "leases",
            Self::Progress => "progress",
            Self::Control => "control",
            Self::Undo => "undo",
        }
    }

    pub(crate) fn stream(self) -> String {
        format!("KV_{}", self.name())
    }

    pub(crate) fn subject(self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name())
    }

    /// How long an entry lives after it was last written; zero is for ever.
    fn max_age(self) -> Duration {
        match self {
            Self::Clusters | Self::Tasks | Self::Runs | Self::Undo => Duration::ZERO,
            Self::Leases => LEASE,
            Self::Progress => HOUR,
            Self::Control => 7 * DAY,
        }
    }

    fn config(self, replicas: usize) -> Config {
        let max_age = self.max_age();
        Config {
            name: self.stream(),
            subjects: vec![self.subject(">")],
            max_messages_per_subject: 1,
            max_age,
            duplicate_window: if max_age.is_zero() {
                DUPLICATES
            } else {
                DUPLICATES.min(max_age)
            },
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: replicas,
            // A message that rolls up removes the keys of others, which its writer may not touch.
            allow_rollup: false,
            deny_delete: true,
            allow_direct: true,
            // So that a bucket made anew after its loss does not repeat revisions that somebody still
            // remembers: none is written to a thousand times a second for long, so revisions stay
            // behind the clock.
            first_sequence: Some(now_ms()),
            ..Config::default()
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |time| u64::try_from(time.as_millis()).unwrap_or(1))
}

/// All there is to be, in order.
pub(crate) fn all(settings: &Settings) -> Vec<Config> {
    let mut all = vec![jobs(settings), events(settings), audit(settings)];
    all.extend(Bucket::ALL.map(|bucket| bucket.config(settings.replicas)));
    all
}

/// Jobs wait here until they are done. One message a subject, and a job has one subject: so it can
/// wait only once, however often it is published.
fn jobs(settings: &Settings) -> Config {
    Config {
        name: JOBS.to_owned(),
        subjects: vec![subject::JOBS.to_owned()],
        retention: RetentionPolicy::WorkQueue,
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        max_bytes: i64::from(settings.jobs_mb) * MIB,
        duplicate_window: DUPLICATES,
        storage: StorageType::File,
        num_replicas: settings.replicas,
        ..Config::default()
    }
}

/// Events are kept for a week, for whoever wants to know.
fn events(settings: &Settings) -> Config {
    Config {
        name: EVENTS.to_owned(),
        subjects: vec![subject::EVENTS.to_owned()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_age: 7 * DAY,
        max_bytes: i64::from(settings.events_mb) * MIB,
        duplicate_window: DUPLICATES,
        storage: StorageType::File,
        num_replicas: settings.replicas,
        ..Config::default()
    }
}

/// Notes on who changed what are kept for a year.
fn audit(settings: &Settings) -> Config {
    Config {
        name: AUDIT.to_owned(),
        subjects: vec![subject::AUDIT.to_owned()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_age: 365 * DAY,
        max_bytes: i64::from(settings.audit_mb) * MIB,
        duplicate_window: DUPLICATES,
        storage: StorageType::File,
        num_replicas: settings.replicas,
        ..Config::default()
    }
}

/// Makes the stream if it is missing, and says whether it was.
///
/// # Errors
/// [`Error::Foreign`] if one of that name serves something else; [`Error::Full`] if the server has
/// no room for it; [`Error::Unavailable`].
pub(crate) async fn ensure(js: &jetstream::Context, wanted: Config) -> Result<bool, Error> {
    let name = wanted.name.clone();
    // A second look after losing the race to make it.
    for _ in 0..2 {
        match js.get_stream(&name).await {
            Ok(stream) => return check(&stream.cached_info().config, &wanted).map(|()| false),
            Err(e) if missing(&e.kind()) => {}
            Err(e) => return Err(Error::unavailable(format!("look at stream {name}"), e)),
        }
        match js.create_stream(wanted.clone()).await {
            Ok(_) => return Ok(true),
            Err(e) => match refused(&e.kind()) {
                Some(api) if api.error_code() == ErrorCode::STREAM_NAME_EXIST => {}
                Some(api) => return Err(refusal(&name, &api)),
                None => return Err(Error::unavailable(format!("make stream {name}"), e)),
            },
        }
    }
    let cause: BoxError = "it comes and goes".into();
    Err(Error::unavailable(format!("make stream {name}"), cause))
}

fn missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn refused(kind: &CreateStreamErrorKind) -> Option<jetstream::Error> {
    match kind {
        CreateStreamErrorKind::JetStream(e) => Some(e.clone()),
        CreateStreamErrorKind::EmptyStreamName
        | CreateStreamErrorKind::InvalidStreamName
        | CreateStreamErrorKind::DomainAndExternalSet
        | CreateStreamErrorKind::JetStreamUnavailable
        | CreateStreamErrorKind::TimedOut
        | CreateStreamErrorKind::Response
        | CreateStreamErrorKind::NotFound
        | CreateStreamErrorKind::ResponseParse => None,
    }
}

fn refusal(name: &str, api: &jetstream::Error) -> Error {
    match api.error_code() {
        ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => Error::Full {
            what: format!("JetStream, asked to make stream {name},"),
            detail: api.to_string(),
        },
        ErrorCode::STREAM_SUBJECT_OVERLAP => Error::Foreign {
            stream: name.to_owned(),
            detail: api.to_string(),
        },
        _ => Error::unavailable(format!("make stream {name}"), api.clone()),
    }
}

/// Whether a stream that is there does what we rely on.
fn check(found: &Config, wanted: &Config) -> Result<(), Error> {
    let differs = |detail: String| {
        Err(Error::Foreign {
            stream: wanted.name.clone(),
            detail,
        })
    };
    if found.retention != wanted.retention {
        return differs(format!(
            "its retention is {:?}, not {:?}",
            found.retention, wanted.retention
        ));
    }
    if found.discard_new_per_subject != wanted.discard_new_per_subject
        || found.max_messages_per_subject.max(0) != wanted.max_messages_per_subject
    {
        return differs(format!(
            "it takes {} messages a subject, not {}",
            found.max_messages_per_subject, wanted.max_messages_per_subject
        ));
    }
    if found.subjects != wanted.subjects {
        return differs(format!(
            "its subjects are {:?}, not {:?}",
            found.subjects, wanted.subjects
        ));
    }
    if found.num_replicas != wanted.num_replicas {
        tracing::warn!(
            stream = wanted.name,
            found = found.num_replicas,
            wanted = wanted.num_replicas,
            "stream keeps another number of replicas than the settings say, left as it is"
        );
    }
    Ok(())
}
