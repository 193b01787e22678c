//! Servers that restart, and servers that forget.

use std::time::Duration;

use anyhow::Result;
use protocol::Control;
use queue::{Bucket, Context, JobError, Queued};
use testkit::eventually;
use tokio::sync::mpsc::unbounded_channel;

use crate::support::{Ear, SOON, Work, Worker, fact, next, start};

#[tokio::test]
async fn work_goes_on_after_the_server_was_restarted() -> Result<()> {
    let (mut nats, queue) = start().await?;
    let work = Work::new();
    let mut ear = Ear::new(&queue);
    let worker = Worker::start(&queue, work.uploads(2), |job, _| async move {
        Ok(Some(fact(job.part())))
    });
    queue.publish_job(&work.upload(1)).await?;
    assert_eq!(ear.next().await?.fact, fact(1));
    nats.restart()?;
    eventually("a publication", SOON, async || {
        Ok(queue.publish_job(&work.upload(2)).await?)
    })
    .await?;
    assert_eq!(ear.next().await?.fact, fact(2));
    assert_eq!(queue.stats().disconnects.get(), 1);
    worker.end().await
}

#[tokio::test]
async fn work_goes_on_after_the_store_was_wiped() -> Result<()> {
    let (mut nats, queue) = start().await?;
    let work = Work::new();
    let mut ear = Ear::new(&queue);
    let (begun, mut begins) = unbounded_channel();
    let (left, mut lefts) = unbounded_channel();
    let worker = Worker::start(&queue, work.uploads(2), move |job, ctx: Context| {
        let (begun, left) = (begun.clone(), left.clone());
        async move {
            if job.part() != 9 {
                return Ok(Some(fact(job.part())));
            }
            begun.send(()).unwrap();
            ctx.stop.cancelled().await;
            left.send(()).unwrap();
            Err(JobError::Stopped)
        }
    });
    queue.publish_job(&work.upload(1)).await?;
    assert_eq!(ear.next().await?.fact, fact(1));
    nats.wipe_and_restart()?;
    eventually("a publication", SOON, async || {
        Ok(queue.publish_job(&work.upload(2)).await?)
    })
    .await?;
    assert_eq!(ear.next().await?.fact, fact(2));
    // The watch for stopped runs has survived too.
    eventually("a publication", SOON, async || {
        Ok(queue.publish_job(&work.upload(9)).await?)
    })
    .await?;
    next(&mut begins).await?;
    queue
        .bucket(Bucket::Control)
        .put(&work.run.to_string(), &Control::Stop)
        .await?;
    next(&mut lefts).await?;
    worker.end().await
}

#[tokio::test]
async fn an_event_outlives_the_loss_of_server_and_store() -> Result<()> {
    let (mut nats, queue) = start().await?;
    let work = Work::new();
    let event = protocol::Event {
        cluster: work.cluster,
        run: work.run,
        node: None,
        fact: fact(1),
    };
    nats.kill();
    let publish = queue.publish_event(&event);
    let back = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        nats.wipe_and_restart()
    };
    let (published, back) = tokio::join!(publish, back);
    published?;
    back?;
    assert_eq!(Ear::new(&queue).next().await?, event);
    Ok(())
}

#[tokio::test]
async fn streams_deleted_under_way_are_made_anew() -> Result<()> {
    let (nats, queue) = start().await?;
    let work = Work::new();
    let mut ear = Ear::new(&queue);
    let worker = Worker::start(&queue, work.uploads(1), |job, _| async move {
        Ok(Some(fact(job.part())))
    });
    queue.publish_job(&work.upload(1)).await?;
    assert_eq!(ear.next().await?.fact, fact(1));
    let outside = async_nats::jetstream::new(async_nats::connect(nats.url()).await?);
    for stream in ["JOBS", "EVENTS", "KV_control"] {
        outside.delete_stream(stream).await?;
    }
    assert_eq!(queue.publish_job(&work.upload(2)).await?, Queued::New);
    assert_eq!(ear.next().await?.fact, fact(2));
    worker.end().await
}
