//! One leader at a time, and who lives.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use protocol::{NodeId, Presence, WorkerKind};
use queue::{CancellationToken, Queue};
use testkit::eventually;
use tokio::{task::JoinSet, time::timeout};

use crate::support::{SOON, settings, start};

#[tokio::test]
async fn a_released_lease_is_taken_at_once() -> Result<()> {
    let (_nats, queue) = start().await?;
    let stop = CancellationToken::new();
    let first = queue.lead("a", &stop).await.context("a leader")?;
    assert_eq!(queue.leader().await?.as_deref(), Some("a"));
    let (other, waiting) = (queue.clone(), stop.clone());
    let mut second = JoinSet::new();
    second.spawn(async move { other.lead("b", &waiting).await });
    // Longer than the lease: it is renewed.
    assert!(
        timeout(Duration::from_secs(9), second.join_next())
            .await
            .is_err()
    );
    assert!(first.held());
    let (epoch, lost) = (first.epoch(), first.lost().clone());
    let began = Instant::now();
    first.release().await;
    assert!(lost.is_cancelled());
    let second = second
        .join_next()
        .await
        .context("a task")??
        .context("a leader")?;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(second.epoch() > epoch);
    assert_eq!(queue.leader().await?.as_deref(), Some("b"));
    Ok(())
}

#[tokio::test]
async fn a_leader_that_dies_is_replaced_within_ten_seconds() -> Result<()> {
    let (_nats, queue) = start().await?;
    let stop = CancellationToken::new();
    let first = queue.lead("a", &stop).await.context("a leader")?;
    let epoch = first.epoch();
    let began = Instant::now();
    drop(first);
    let second = queue.lead("b", &stop).await.context("a leader")?;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(second.epoch() > epoch);
    Ok(())
}

#[tokio::test]
async fn a_leader_that_was_halted_knows_it_has_lost_before_it_acts() -> Result<()> {
    let (nats, queue) = start().await?;
    let settings = settings(&nats);
    let (leads, led) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let halted = thread::spawn(move || -> Result<(bool, bool)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let queue = Queue::connect(&settings, "halted").await?;
            let leader = queue
                .lead("a", &CancellationToken::new())
                .await
                .context("a leader")?;
            let before = leader.held();
            leads.send(leader.epoch())?;
            // Nothing of this runtime runs meanwhile.
            may_go_on.recv()?;
            Ok((before, leader.held()))
        })
    });
    let epoch = tokio::task::spawn_blocking(move || led.recv()).await??;
    let began = Instant::now();
    let second = queue
        .lead("b", &CancellationToken::new())
        .await
        .context("a leader")?;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(second.epoch() > epoch);
    go_on.send(())?;
    let held = tokio::task::spawn_blocking(move || halted.join()).await?;
    assert_eq!(held.unwrap()?, (true, false));
    assert!(second.held());
    Ok(())
}

#[tokio::test]
async fn a_leader_without_a_server_gives_up_before_another_can_lead() -> Result<()> {
    let (nats, queue) = start().await?;
    let leader = queue
        .lead("a", &CancellationToken::new())
        .await
        .context("a leader")?;
    nats.pause()?;
    let began = Instant::now();
    timeout(SOON, leader.lost().cancelled()).await?;
    assert!(
        began.elapsed() < Duration::from_millis(5_500),
        "{:?}",
        began.elapsed()
    );
    assert!(!leader.held());
    nats.resume()?;
    let again = timeout(SOON, queue.lead("a", &CancellationToken::new())).await?;
    assert!(again.context("a leader")?.epoch() > leader.epoch());
    Ok(())
}

#[tokio::test]
async fn a_short_outage_does_not_change_the_leader() -> Result<()> {
    let (mut nats, queue) = start().await?;
    let leader = queue
        .lead("a", &CancellationToken::new())
        .await
        .context("a leader")?;
    nats.restart()?;
    assert!(
        timeout(Duration::from_secs(9), leader.lost().cancelled())
            .await
            .is_err()
    );
    assert!(leader.held());
    Ok(())
}

#[tokio::test]
async fn the_epoch_grows_across_the_loss_of_the_store() -> Result<()> {
    let (mut nats, queue) = start().await?;
    let stop = CancellationToken::new();
    let mut epochs = vec![];
    for _ in 0..3 {
        let leader = timeout(SOON, queue.lead("a", &stop))
            .await?
            .context("a leader")?;
        epochs.push(leader.epoch());
        nats.wipe_and_restart()?;
        timeout(SOON, leader.lost().cancelled()).await?;
    }
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
    Ok(())
}

#[tokio::test]
async fn waiting_to_lead_ends_when_told_to() -> Result<()> {
    let (_nats, queue) = start().await?;
    let _leader = queue
        .lead("a", &CancellationToken::new())
        .await
        .context("a leader")?;
    let stop = CancellationToken::new();
    stop.cancel();
    assert!(queue.lead("b", &stop).await.is_none());
    Ok(())
}

#[tokio::test]
async fn a_worker_is_known_while_it_lives_and_not_after() -> Result<()> {
    let (_nats, queue) = start().await?;
    let presence = |instance: &str| Presence {
        node: NodeId::generate(),
        worker: WorkerKind::Upload,
        instance: instance.to_owned(),
        address: "10.0.0.1".into(),
        dc: "dc1".into(),
        rack: "r1".into(),
        cluster_name: "prod".into(),
        version: "0.1.0".into(),
        said_ms: 0,
        native: None,
        rclone: None,
    };
    let (orderly, killed) = (presence("orderly"), presence("killed"));
    let mut tasks = JoinSet::new();
    let stop = CancellationToken::new();
    let announce = |presence: &Presence| {
        let (queue, presence, stop) = (queue.clone(), presence.clone(), stop.clone());
        async move { queue.announce(|| presence.clone(), stop).await }
    };
    tasks.spawn(announce(&orderly));
    let dying = tasks.spawn(announce(&killed));
    let known = async |count: usize| {
        eventually("workers to be known", SOON, async || {
            let workers = queue.workers().await?;
            anyhow::ensure!(workers.len() == count, "{workers:?}");
            Ok(workers)
        })
        .await
    };
    known(2).await?;
    // Longer than an entry lives without being renewed.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(queue.workers().await?.len(), 2);
    dying.abort();
    let began = Instant::now();
    let left = known(1).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let age = now.saturating_sub(u128::from(left[0].said_ms));
    assert!(age < 7_000, "said {age} ms ago");
    let said_ms = left[0].said_ms;
    assert_eq!(left, [Presence { said_ms, ..orderly }]);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        if let Ok(ended) = ended {
            ended?;
        }
    }
    assert!(queue.workers().await?.is_empty());
    let error = queue
        .announce(|| presence("a.b"), CancellationToken::new())
        .await
        .unwrap_err();
    assert!(matches!(error, queue::Error::Key(_)), "{error}");
    Ok(())
}
