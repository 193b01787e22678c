//! Servers that restart, and servers that forget.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use protocol::{Control, Fact, Indexed};
use queue::{Bucket, Context, JobError, Kv, Queue, Queued, Settings};
use testkit::{
    eventually,
    nats::{self, Nats},
};
use tokio::sync::mpsc::unbounded_channel;

use crate::support::{Ear, SOON, Work, Worker, fact, next, settings, start};

/// Waits for a fact. What was heard before may be heard again when a server was lost.
async fn hears(ear: &mut Ear, fact: Fact) -> Result<()> {
    while ear.next().await?.fact != fact {}
    Ok(())
}

#[tokio::test]
async fn work_goes_on_after_the_server_was_restarted() -> Result<()> {
    let (mut nats, queue) = start().await?;
    let work = Work::new();
    let mut ear = Ear::new(&queue);
    let worker = Worker::start(&queue, work.uploads(2), |job, _| async move {
        Ok(Some(fact(job.part())))
    });
    queue.publish_job(&work.upload(1)).await?;
    hears(&mut ear, fact(1)).await?;
    nats.restart()?;
    eventually("a publication", SOON, async || {
        Ok(queue.publish_job(&work.upload(2)).await?)
    })
    .await?;
    hears(&mut ear, fact(2)).await?;
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
    hears(&mut ear, fact(1)).await?;
    nats.wipe_and_restart()?;
    eventually("a publication", SOON, async || {
        Ok(queue.publish_job(&work.upload(2)).await?)
    })
    .await?;
    hears(&mut ear, fact(2)).await?;
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
async fn every_job_is_done_though_the_server_is_killed_again_and_again() -> Result<()> {
    const JOBS: u32 = 150;
    let (mut nats, queue) = start().await?;
    let work = Work::new();
    let mut ear = Ear::new(&queue);
    let mut workers = vec![];
    for _ in 0..2 {
        workers.push(Worker::start(
            &queue,
            work.uploads(2),
            |job, ctx| async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                ctx.alive.moved(1);
                Ok(Some(fact(job.part())))
            },
        ));
    }
    let mut done = BTreeSet::new();
    for round in 0.. {
        // As a sweep does: whatever is not known to be done is asked for again.
        for chunk in (0..JOBS).filter(|chunk| !done.contains(chunk)) {
            if queue.publish_job(&work.upload(chunk)).await.is_err() {
                break;
            }
        }
        let until = tokio::time::Instant::now() + Duration::from_secs(1);
        while let Ok(event) = tokio::time::timeout_at(until, ear.next()).await {
            let Fact::Indexed(Indexed { chunks, .. }) = event?.fact else {
                panic!("a job failed");
            };
            done.insert(chunks);
        }
        if done.len() == JOBS as usize {
            break;
        }
        assert!(round < 60, "{} done", done.len());
        if round < 3 {
            nats.restart()?;
        }
    }
    for worker in workers {
        worker.end().await?;
    }
    Ok(())
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
    hears(&mut ear, fact(1)).await?;
    let outside = async_nats::jetstream::new(async_nats::connect(nats.url()).await?);
    for stream in ["JOBS", "EVENTS", "KV_control"] {
        outside.delete_stream(stream).await?;
    }
    assert_eq!(queue.publish_job(&work.upload(2)).await?, Queued::New);
    hears(&mut ear, fact(2)).await?;
    worker.end().await
}

#[tokio::test]
async fn a_cluster_that_loses_a_server_loses_nothing() -> Result<()> {
    let mut servers = nats::cluster()?;
    let urls: Vec<String> = servers.iter().map(Nats::url).collect();
    let settings = Settings {
        url: urls.join(","),
        replicas: 3,
        ..settings(&servers[0])
    };
    let queue = eventually("a cluster", SOON, async || {
        let queue = Queue::connect(&settings, "test").await?;
        queue.ensure().await?;
        Ok(queue)
    })
    .await?;
    let work = Work::new();
    let kv: Kv<Control> = queue.bucket(Bucket::Control);
    let revision = kv.put("kept", &Control::Stop).await?;
    let mut ear = Ear::new(&queue);
    let worker = Worker::start(&queue, work.uploads(2), |job, _| async move {
        Ok(Some(fact(job.part())))
    });
    for (part, server) in (0..).zip(&mut servers) {
        queue.publish_job(&work.upload(part)).await?;
        hears(&mut ear, fact(part)).await?;
        server.kill();
        let part = part + 10;
        eventually("a publication", SOON, async || {
            Ok(queue.publish_job(&work.upload(part)).await?)
        })
        .await?;
        hears(&mut ear, fact(part)).await?;
        server.restart()?;
        eventually("the value", SOON, async || {
            assert_eq!(kv.get("kept").await?, Some((Control::Stop, revision)));
            Ok(())
        })
        .await?;
    }
    worker.end().await
}
