//! What waits in the queue.

use std::{collections::BTreeMap, time::Duration};

use futures::TryStreamExt as _;
use tokio::time::timeout;

use crate::{Error, Queue, error::BoxError, streams};

/// How long a look at all consumers may take.
const LOOK: Duration = Duration::from_secs(10);

/// What waits in the queue, and what is in hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Size of all jobs that are not done.
    pub bytes: u64,
    /// By who takes them: `snapshot`, `upload`, `validate` and `restore` are workers, `scheduler` takes
    /// requests, `events` is the scheduler that folds events, and `notices` whoever tells how runs end.
    pub takers: BTreeMap<String, Waits>,
}

/// Messages for one kind of taker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Not handed out.
    pub waiting: u64,
    /// Handed out, and not settled.
    pub in_hand: u64,
}

impl Queue {
    /// Looks at what waits; one request for 256 consumers.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn depth(&self) -> Result<Depth, Error> {
        let failed = |cause: BoxError| Error::unavailable("look at what waits in the queue", cause);
        let look = async {
            let mut depth = Depth::default();
            for name in [streams::JOBS, streams::EVENTS] {
                let stream = self.shared.js.get_stream(name).await?;
                let jobs = name == streams::JOBS;
                if jobs {
                    depth.bytes = stream.cached_info().state.bytes;
                }
                let mut consumers = stream.consumers();
                while let Some(consumer) = consumers.try_next().await? {
                    let kind = consumer.name.split('-').next().unwrap_or_default();
                    let taker = match (jobs, kind) {
                        (true, kind) => kind,
                        (false, "scheduler") => "events",
                        (false, _) => "notices",
                    };
                    let waits = depth.takers.entry(taker.to_owned()).or_default();
                    waits.waiting += consumer.num_pending;
                    waits.in_hand += u64::try_from(consumer.num_ack_pending).unwrap_or(0);
                }
            }
            Ok::<_, BoxError>(depth)
        };
        match timeout(LOOK, look).await {
            Ok(found) => found.map_err(failed),
            Err(late) => Err(failed(late.into())),
        }
    }
}
