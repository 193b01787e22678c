//! Telling how far work in hand is, before there is an event to tell of it.

use std::{future::Future, time::Duration};

use protocol::{Progress, RunId};
use queue::{Alive, Bucket, Queue};
use tracing::debug;

use crate::{Chain, Pacer};

/// How often. People watch, nothing depends on it.
const EACH: Duration = Duration::from_secs(1);

/// Does `work` on `part` of a run; every second, notes what `alive` has counted, and how fast it may
/// go, under `<run>.<part>`, and takes the note back in the end.
///
/// A note whose worker died is overwritten by the next worker on the same part, or expires.
pub async fn telling<T>(
    queue: &Queue,
    run: RunId,
    part: &str,
    alive: &Alive,
    pacer: &Pacer,
    work: impl Future<Output = T>,
) -> T {
    let notes = queue.bucket::<Progress>(Bucket::Progress);
    let key = format!("{run}.{part}");
    let mut told = false;
    let tell = async {
        loop {
            tokio::time::sleep(EACH).await;
            let (rate_limit, limited_by) = pacer.limit();
            let note = Progress {
                bytes: alive.bytes(),
                run: Some(run),
                node: Some(pacer.node()),
                rate_limit,
                limited_by,
            };
            told = true;
            if let Err(error) = notes.put(&key, &note).await {
                debug!(key, error = %Chain(&error), "progress was not noted");
            }
        }
    };
    let done = tokio::select! {
        done = work => done,
        never = tell => never,
    };
    if told && let Err(error) = notes.delete(&key).await {
        debug!(key, error = %Chain(&error), "progress was not taken back; it expires");
    }
    done
}
