//! One leader among the replicas, by a lease.
//!
//! The lease is an entry of bucket `leases` that the server removes when it is not renewed. The
//! server alone counts that time; the holder counts its own, shorter one from before it asked, on
//! its monotonic clock, and so knows that the lease is lost before anyone else can have it. A
//! process that was halted in between finds out when it asks [`Leadership::held`]; what it does
//! before asking is caught by compare-and-set, or by its [`Leadership::epoch`].

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::{Bucket, Error, Kv, Queue, Revision, error::Chain, streams::LEASE};

const KEY: &str = "leader";

/// How often the lease is renewed.
const RENEW: Duration = Duration::from_secs(2);
/// How long the holder trusts a renewal, counted from before it asked for it.
const HOLD: Duration = LEASE.saturating_sub(Duration::from_secs(2));
/// How long one attempt to renew may take.
const ATTEMPT: Duration = Duration::from_millis(1_500);
/// How often those who wait look whether the lease is free.
const LOOK: Duration = Duration::from_millis(500);

/// What lies under the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Leader {
    /// Who leads, for people.
    instance: String,
    /// Tells one term from every other, also of the same instance.
    term: Uuid,
}

/// Proof of being the one leader, for as long as it is held. Dropping it leaves the lease to
/// expire; [`Leadership::release`] gives it up at once.
pub struct Leadership {
    epoch: u64,
    lost: CancellationToken,
    trusted: Arc<Mutex<Instant>>,
    done: CancellationToken,
    renewing: JoinSet<Revision>,
    kv: Kv<Leader>,
}

impl Leadership {
    /// Grows with every new leader, also when the bucket was lost in between. Whoever acts on a
    /// leader's word may refuse one whose epoch is lower than one already seen.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Cancelled when the lease is lost.
    #[must_use]
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Whether the lease is still ours at this moment, by the clock: also right in a process that
    /// was halted and has not run its timers yet.
    #[must_use]
    pub fn held(&self) -> bool {
        !self.lost.is_cancelled() && Instant::now() < *lock(&self.trusted)
    }

    /// Gives the lease up, so that another can lead at once.
    pub async fn release(mut self) {
        self.done.cancel();
        self.lost.cancel();
        let Some(Ok(revision)) = self.renewing.join_next().await else {
            return;
        };
        match timeout(ATTEMPT, self.kv.delete_at(KEY, revision)).await {
            Ok(Ok(_)) => info!(epoch = self.epoch, "leadership released"),
            Ok(Err(error)) => debug!(error = %Chain(&error), "lease not released, it will expire"),
            Err(_) => debug!("lease not released in time, it will expire"),
        }
    }
}

fn lock(trusted: &Mutex<Instant>) -> std::sync::MutexGuard<'_, Instant> {
    trusted.lock().expect("nothing panics with this lock")
}

impl Queue {
    /// Waits until `instance` is the leader; `None` when `stop` comes first.
    ///
    /// After a leader's sudden death another leads within 10 s; after a release, within one.
    pub async fn lead(&self, instance: &str, stop: &CancellationToken) -> Option<Leadership> {
        let kv: Kv<Leader> = self.bucket(Bucket::Leases);
        let mine = Leader {
            instance: instance.to_owned(),
            term: Uuid::new_v4(),
        };
        let mut troubled = false;
        loop {
            let asked = Instant::now();
            let attempt = async { timeout(ATTEMPT, acquire(&kv, &mine)).await };
            let taken = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                taken = attempt => taken,
            };
            match taken {
                Ok(Ok(Some(revision))) => return Some(hold(kv, mine, revision, asked)),
                Ok(Ok(None)) => troubled = false,
                Ok(Err(error)) if !troubled => {
                    warn!(error = %Chain(&error), "cannot ask for the lease, trying on");
                    troubled = true;
                }
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Who leads now, if anyone does.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn leader(&self) -> Result<Option<String>, Error> {
        let kv: Kv<Leader> = self.bucket(Bucket::Leases);
        Ok(kv.get(KEY).await?.map(|(leader, _)| leader.instance))
    }
}

/// Takes the lease if it is free, or ours since an attempt whose answer was lost.
async fn acquire(kv: &Kv<Leader>, mine: &Leader) -> Result<Option<Revision>, Error> {
    match kv.get(KEY).await? {
        None => kv.create(KEY, mine).await,
        Some((leader, revision)) if leader == *mine => kv.update(KEY, mine, revision).await,
        Some(_) => Ok(None),
    }
}

fn hold(kv: Kv<Leader>, mine: Leader, revision: Revision, asked: Instant) -> Leadership {
    let epoch = revision.0;
    info!(epoch, instance = mine.instance, "leading");
    let lost = CancellationToken::new();
    let done = CancellationToken::new();
    let trusted = Arc::new(Mutex::new(asked + HOLD));
    let mut tasks = JoinSet::new();
    tasks.spawn(renew(Renewal {
        kv: kv.clone(),
        mine,
        revision,
        trusted: Arc::clone(&trusted),
        done: done.clone(),
        lost: lost.clone(),
    }));
    Leadership {
        epoch,
        lost,
        trusted,
        done,
        renewing: tasks,
        kv,
    }
}

struct Renewal {
    kv: Kv<Leader>,
    mine: Leader,
    revision: Revision,
    trusted: Arc<Mutex<Instant>>,
    done: CancellationToken,
    lost: CancellationToken,
}

/// How an attempt to renew went.
enum Renewed {
    Yes,
    /// Not known, or not yet: ask again soon.
    Again,
    /// Another leads, or the lease had expired.
    No,
}

/// Renews until told to end, or until the lease is lost. Returns the last revision.
async fn renew(mut lease: Renewal) -> Revision {
    let _cancelled_whatever_happens = lease.lost.clone().drop_guard();
    let mut pause = RENEW;
    loop {
        let left = lock(&lease.trusted).saturating_duration_since(Instant::now());
        tokio::select! {
            biased;
            () = lease.done.cancelled() => return lease.revision,
            () = sleep(pause.min(left)) => {}
        }
        let left = lock(&lease.trusted).saturating_duration_since(Instant::now());
        if left.is_zero() {
            warn!("leadership lost: the lease could not be renewed in time");
            return lease.revision;
        }
        pause = match lease.attempt(ATTEMPT.min(left)).await {
            Renewed::Yes => RENEW,
            Renewed::Again => Duration::from_millis(200),
            Renewed::No => {
                warn!("leadership lost: the lease is gone or another's");
                return lease.revision;
            }
        };
    }
}

impl Renewal {
    async fn attempt(&mut self, limit: Duration) -> Renewed {
        let asked = Instant::now();
        let update = self.kv.update(KEY, &self.mine, self.revision);
        match timeout(limit, update).await {
            Ok(Ok(Some(revision))) => {
                self.revision = revision;
                *lock(&self.trusted) = asked + HOLD;
                Renewed::Yes
            }
            Ok(Ok(None)) => self.look(limit).await,
            Ok(Err(error)) => {
                debug!(error = %Chain(&error), "lease not renewed, trying on");
                Renewed::Again
            }
            Err(_) => Renewed::Again,
        }
    }

    /// After a conflict: it may be with our own renewal whose answer was lost.
    async fn look(&mut self, limit: Duration) -> Renewed {
        match timeout(limit, self.kv.get(KEY)).await {
            Ok(Ok(Some((leader, revision)))) if leader == self.mine => {
                self.revision = revision;
                Renewed::Again
            }
            Ok(Ok(_)) => Renewed::No,
            Ok(Err(_)) | Err(_) => Renewed::Again,
        }
    }
}
