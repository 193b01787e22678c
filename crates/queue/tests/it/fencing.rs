//! What a deletion asks before it does anything: whether its run goes on, and what time it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use protocol::Control;
use queue::{Bucket, FRESH};
use testkit::eventually;
use tokio::time::Instant;

use crate::support::{SOON, Work, start};

#[tokio::test]
async fn a_fence_is_broken_by_a_stop_for_good() -> Result<()> {
    let (_nats, queue) = start().await?;
    let (work, other) = (Work::new(), Work::new());
    let (fence, others) = (queue.fence(work.run).await?, queue.fence(other.run).await?);
    assert!(fence.holds() && others.holds());
    let control = queue.bucket(Bucket::Control);
    control.put(&work.run.to_string(), &Control::Stop).await?;
    eventually("the fence to break", FRESH, async || {
        ensure!(!fence.holds());
        Ok(())
    })
    .await?;
    control.delete(&work.run.to_string()).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!fence.holds(), "it holds again");
    assert!(others.holds(), "another run's broke");
    control.put(&work.run.to_string(), &Control::Stop).await?;
    assert!(!queue.fence(work.run).await?.holds());
    Ok(())
}

#[tokio::test]
async fn a_fence_breaks_when_nothing_is_heard_of_the_server() -> Result<()> {
    let (nats, queue) = start().await?;
    let work = Work::new();
    let fence = queue.fence(work.run).await?;
    nats.pause()?;
    let paused = Instant::now();
    eventually("the fence to break", FRESH * 2, async || {
        ensure!(!fence.holds());
        Ok(())
    })
    .await?;
    assert!(
        paused.elapsed() < FRESH + Duration::from_secs(3),
        "{:?}",
        paused.elapsed()
    );
    nats.resume()?;
    eventually("the fence to hold again", SOON, async || {
        ensure!(fence.holds());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_server_tells_the_time() -> Result<()> {
    let (_nats, queue) = start().await?;
    let here = || -> Result<u64> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        Ok(u64::try_from(since.as_millis())?)
    };
    // The server runs on this machine.
    let before = here()?;
    let told = queue.now_ms().await?;
    assert!((before - 1..=here()?).contains(&told), "{told}");
    Ok(())
}
