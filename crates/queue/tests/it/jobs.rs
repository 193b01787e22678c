//! Jobs: published once, shared, tried again, refused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use protocol::{Encoding, Event, Fact, Failed, Message, subject};
use queue::{CancellationToken, Context, JobError, Queued};
use testkit::eventually;
use tokio::sync::mpsc::unbounded_channel;

use crate::support::{Ear, SOON, Work, Worker, fact, next, quiet, settings, start};

#[tokio::test]
async fn a_job_waits_once_and_may_come_again_when_done() -> Result<()> {
    let (_nats, queue) = start().await?;
    let work = Work::new();
    assert_eq!(queue.publish_job(&work.upload(1)).await?, Queued::New);
    assert_eq!(queue.publish_job(&work.upload(1)).await?, Queued::Waiting);
    assert_eq!(queue.publish_job(&work.upload(2)).await?, Queued::New);
    let (begun, mut begins) = unbounded_channel();
    let go_on = CancellationToken::new();
    let (gate, seen) = (go_on.clone(), begun.clone());
    let worker = Worker::start(&queue, work.uploads(2), move |job, _| {
        let (gate, seen) = (gate.clone(), seen.clone());
        async move {
            seen.send(job.part()).unwrap();
            gate.cancelled().await;
            Ok(Some(fact(job.part())))
        }
    });
    let mut ear = Ear::new(&queue);
    next(&mut begins).await?;
    next(&mut begins).await?;
    assert_eq!(queue.publish_job(&work.upload(1)).await?, Queued::Waiting);
    go_on.cancel();
    let mut facts = vec![ear.next().await?.fact, ear.next().await?.fact];
    facts.sort_by_key(|fact| format!("{fact:?}"));
    assert_eq!(facts, [fact(1), fact(2)]);
    eventually("the job to be gone", SOON, async || {
        anyhow::ensure!(queue.publish_job(&work.upload(1)).await? == Queued::New);
        Ok(())
    })
    .await?;
    assert_eq!(ear.next().await?.fact, fact(1));
    worker.end().await?;
    assert_eq!(queue.stats().done.get(), 3);
    assert_eq!(queue.stats().in_hand.get(), 0);
    Ok(())
}

#[tokio::test]
async fn workers_share_jobs_and_a_third_takes_its_part() -> Result<()> {
    let (_nats, queue) = start().await?;
    let work = Work::new();
    for chunk in 0..60 {
        queue.publish_job(&work.upload(chunk)).await?;
    }
    let (done, mut dones) = unbounded_channel();
    let worker = |name: usize| {
        let done = done.clone();
        Worker::start(&queue, work.uploads(2), move |job, _| {
            let done = done.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                done.send((name, job.part())).unwrap();
                Ok(None)
            }
        })
    };
    let mut workers = vec![worker(0), worker(1)];
    let mut counts = [0; 3];
    let mut parts = std::collections::BTreeSet::new();
    for n in 0..60 {
        if n == 20 {
            workers.push(worker(2));
        }
        let (name, part) = next(&mut dones).await?;
        counts[name] += 1;
        assert!(parts.insert(part), "{part} done twice");
    }
    for worker in workers {
        worker.end().await?;
    }
    assert!(counts.iter().all(|&n| n >= 5), "{counts:?}");
    Ok(())
}

#[tokio::test]
async fn a_job_is_tried_again_and_fails_after_the_last_attempt() -> Result<()> {
    let (_nats, queue) = start().await?;
    let work = Work::new();
    let mut ear = Ear::new(&queue);
    let (tried, mut tries) = unbounded_channel();
    let worker = Worker::start(&queue, work.uploads(1), move |job, ctx: Context| {
        tried.send(ctx.attempt).unwrap();
        let end = match (job.part(), ctx.attempt) {
            (1, _) => Err(JobError::Retry("the bucket is away".into())),
            (_, 1..3) => Err(JobError::Retry("not yet".into())),
            _ => Ok(Some(fact(2))),
        };
        std::future::ready(end)
    });
    queue.publish_job(&work.upload(2)).await?;
    assert_eq!(ear.next().await?.fact, fact(2));
    assert_eq!(
        [
            next(&mut tries).await?,
            next(&mut tries).await?,
            next(&mut tries).await?
        ],
        [1, 2, 3]
    );
    let began = Instant::now();
    queue.publish_job(&work.upload(1)).await?;
    let event = ear.next().await?;
    let reason = "the bucket is away (attempt 8, the last)".to_owned();
    let failed = Failed {
        job: "upload".into(),
        part: 1,
        reason,
    };
    assert_eq!(
        (event.cluster, event.run, event.fact),
        (work.cluster, work.run, Fact::Failed(failed))
    );
    for attempt in 1..=8 {
        assert_eq!(next(&mut tries).await?, attempt);
    }
    // 20 + 40 + … + 1280 ms.
    assert!(
        began.elapsed() > Duration::from_millis(2_000),
        "{:?}",
        began.elapsed()
    );
    worker.end().await?;
    assert_eq!(queue.publish_job(&work.upload(1)).await?, Queued::New);
    let stats = queue.stats();
    assert_eq!(
        (stats.retried.get(), stats.failed.get(), stats.done.get()),
        (9, 1, 1)
    );
    Ok(())
}

#[tokio::test]
async fn a_refused_job_fails_at_once_and_a_panic_does_no_harm() -> Result<()> {
    let (_nats, queue) = start().await?;
    let work = Work::new();
    let mut ear = Ear::new(&queue);
    let worker = Worker::start(&queue, work.uploads(1), |job, ctx: Context| async move {
        match (job.part(), ctx.attempt) {
            (1, _) => Err(JobError::Refuse("no such bucket".into())),
            (_, 1) => panic!("a mistake"),
            _ => Ok(Some(fact(2))),
        }
    });
    queue.publish_job(&work.upload(1)).await?;
    queue.publish_job(&work.upload(2)).await?;
    let mut facts = vec![ear.next().await?.fact, ear.next().await?.fact];
    facts.sort_by_key(|fact| fact.kind());
    let reason = "no such bucket".to_owned();
    let failed = Failed {
        job: "upload".into(),
        part: 1,
        reason,
    };
    assert_eq!(facts, [Fact::Failed(failed), fact(2)]);
    worker.end().await
}

#[tokio::test]
async fn what_is_no_job_is_refused_and_reported() -> Result<()> {
    let (nats, queue) = start().await?;
    let work = Work::new();
    let mut ear = Ear::new(&queue);
    let worker = Worker::start(&queue, work.uploads(1), |job, _| async move {
        Ok(Some(fact(job.part())))
    });
    let outside = async_nats::connect(nats.url()).await?;
    let right = subject::of_job(&work.upload(7));
    let other = subject::of_job(&work.upload(8));
    let json = work.upload(7).encode(Encoding::Json);
    let cases = [
        (
            right.clone(),
            Some("application/json"),
            br#"{"version":"9","kind":"upload"}"#.to_vec(),
            "version `9` is not known",
        ),
        (right.clone(), None, vec![0xc1, 0xff], "not a message"),
        (
            right.clone(),
            Some("text/plain"),
            json.clone(),
            "content type `text/plain` is not known",
        ),
        (other, Some("application/json"), json.clone(), "belongs on"),
    ];
    for (subject, content_type, payload, expected) in cases {
        let mut headers = async_nats::HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert("Content-Type", content_type);
        }
        outside
            .publish_with_headers(subject, headers, payload.into())
            .await?;
        let event = ear.next().await?;
        let Fact::Refused { reason } = event.fact else {
            panic!("{event:?}");
        };
        assert!(reason.contains(expected), "{reason}");
        assert_eq!((event.cluster, event.run), (work.cluster, work.run));
    }
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Content-Type", "application/json");
    outside
        .publish_with_headers(right, headers, json.into())
        .await?;
    assert_eq!(ear.next().await?.fact, fact(7));
    worker.end().await?;
    assert_eq!(queue.stats().refused.get(), 4);
    Ok(())
}

#[tokio::test]
async fn a_job_that_moves_stays_and_one_that_stalls_is_taken_away() -> Result<()> {
    let (nats, _) = start().await?;
    let mut settings = settings(&nats);
    (settings.ack_wait_secs, settings.stall_secs) = (1, 2);
    let queue = queue::Queue::connect(&settings, "test").await?;
    let work = Work::new();
    let mut ear = Ear::new(&queue);
    let worker = Worker::start(&queue, work.uploads(2), |job, ctx: Context| async move {
        match (job.part(), ctx.attempt) {
            // Longer than both limits, but moving.
            (1, 1) => {
                for _ in 0..12 {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    ctx.alive.moved(1);
                }
                Ok(Some(fact(1)))
            }
            (2, 1) => {
                ctx.stop.cancelled().await;
                Err(JobError::Stopped)
            }
            (2, 2) => Ok(Some(fact(2))),
            other => panic!("{other:?}"),
        }
    });
    queue.publish_job(&work.upload(1)).await?;
    queue.publish_job(&work.upload(2)).await?;
    assert_eq!(ear.next().await?.fact, fact(2));
    assert_eq!(ear.next().await?.fact, fact(1));
    worker.end().await?;
    let stats = queue.stats();
    assert_eq!(
        (
            stats.stalled.get(),
            stats.retried.get(),
            stats.redelivered.get()
        ),
        (1, 1, 1)
    );
    Ok(())
}

#[tokio::test]
async fn a_worker_that_ends_gives_its_job_to_another_at_once() -> Result<()> {
    let (nats, _) = start().await?;
    let mut settings = settings(&nats);
    settings.ack_wait_secs = 60;
    let queue = queue::Queue::connect(&settings, "test").await?;
    let work = Work::new();
    let mut ear = Ear::new(&queue);
    let (begun, mut begins) = unbounded_channel();
    let first = Worker::start(&queue, work.uploads(1), move |_, ctx: Context| {
        begun.send(()).unwrap();
        async move {
            ctx.stop.cancelled().await;
            Err(JobError::Stopped)
        }
    });
    queue.publish_job(&work.upload(1)).await?;
    next(&mut begins).await?;
    let second = Worker::start(&queue, work.uploads(1), |_, _| async { Ok(Some(fact(1))) });
    let began = Instant::now();
    first.end().await?;
    assert_eq!(ear.next().await?.fact, fact(1));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    second.end().await?;
    assert_eq!(queue.stats().handed_back.get(), 1);
    Ok(())
}

#[tokio::test]
async fn a_handler_that_does_not_heed_its_stop_is_aborted() -> Result<()> {
    let (_nats, queue) = start().await?;
    let work = Work::new();
    let (begun, mut begins) = unbounded_channel();
    let worker = Worker::start(&queue, work.uploads(1), move |_, _| {
        begun.send(()).unwrap();
        std::future::pending()
    });
    queue.publish_job(&work.upload(1)).await?;
    next(&mut begins).await?;
    let began = Instant::now();
    worker.end().await?;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn a_killed_workers_job_comes_to_another_and_not_for_ever() -> Result<()> {
    let (_nats, queue) = start().await?;
    let work = Work::new();
    let mut ear = Ear::new(&queue);
    queue.publish_job(&work.upload(1)).await?;
    let (begun, mut begins) = unbounded_channel();
    let tries = Arc::new(AtomicUsize::new(0));
    for attempt in 1..=8 {
        let (begun, tries) = (begun.clone(), Arc::clone(&tries));
        let worker = Worker::start(&queue, work.uploads(1), move |_, ctx: Context| {
            tries.fetch_add(1, Ordering::Relaxed);
            begun.send(ctx.attempt).unwrap();
            std::future::pending()
        });
        assert_eq!(next(&mut begins).await?, attempt);
        drop(worker);
    }
    let worker = Worker::start(&queue, work.uploads(1), |_, _| async { Ok(None) });
    let Fact::Failed(failed) = ear.next().await?.fact else {
        panic!("not failed");
    };
    assert!(
        failed.reason.starts_with("given up after 8 attempts"),
        "{}",
        failed.reason
    );
    assert_eq!(tries.load(Ordering::Relaxed), 8);
    worker.end().await
}

#[tokio::test]
async fn an_event_too_large_to_tell_fails_its_job() -> Result<()> {
    let (_nats, queue) = start().await?;
    let work = Work::new();
    let mut ear = Ear::new(&queue);
    let worker = Worker::start(&queue, work.uploads(1), |_, _| async {
        Ok(Some(Fact::Refused {
            reason: "x".repeat(2 << 20),
        }))
    });
    queue.publish_job(&work.upload(1)).await?;
    let Fact::Failed(failed) = ear.next().await?.fact else {
        panic!("not failed");
    };
    assert!(failed.reason.contains("too large"), "{}", failed.reason);
    worker.end().await
}

#[tokio::test]
async fn a_full_queue_says_so() -> Result<()> {
    let (nats, _) = start().await?;
    let outside = async_nats::jetstream::new(async_nats::connect(nats.url()).await?);
    outside.delete_stream("JOBS").await?;
    let mut settings = settings(&nats);
    settings.jobs_mb = 1;
    let queue = queue::Queue::connect(&settings, "test").await?;
    let work = Work::new();
    let mut chunk = 0;
    let error = loop {
        let mut job = work.inspect();
        if let protocol::Job::Inspect(inspect) = &mut job {
            inspect.run = protocol::RunId::generate();
            inspect.keyspace = vec!["k".repeat(100_000)];
        }
        if let Err(error) = queue.publish_job(&job).await {
            break error;
        }
        chunk += 1;
        assert!(chunk < 20);
    };
    assert!(matches!(error, queue::Error::Full { .. }), "{error}");
    assert!(error.retry());
    Ok(())
}

#[tokio::test]
async fn events_not_taken_in_come_again() -> Result<()> {
    let (_nats, queue) = start().await?;
    let work = Work::new();
    let event = |chunks| Event {
        cluster: work.cluster,
        run: work.run,
        node: None,
        fact: fact(chunks),
    };
    for chunks in 0..5 {
        queue.publish_event(&event(chunks)).await?;
    }
    let (heard, mut hears) = unbounded_channel();
    let mut calls = 0;
    let stop = CancellationToken::new();
    let listener = queue::Listener::to_all("scheduler");
    let listen = queue.events(&listener, stop.clone(), |events| {
        calls += 1;
        let mut again = Vec::new();
        for (place, event) in (0..).zip(events) {
            if calls == 2 && event.fact == fact(3) {
                again.push(place);
            } else if calls > 1 {
                heard.send(event.fact).unwrap();
            }
        }
        std::future::ready(if calls == 1 {
            Err("not now")
        } else {
            Ok(again)
        })
    });
    let check = async {
        let mut facts = Vec::new();
        for _ in 0..5 {
            facts.push(next(&mut hears).await?);
        }
        facts.sort_by_key(|fact| format!("{fact:?}"));
        assert_eq!(facts, [0, 1, 2, 3, 4].map(fact));
        assert!(quiet(&mut hears, Duration::from_millis(500)).await);
        stop.cancel();
        anyhow::Ok(())
    };
    let (listened, checked) = tokio::join!(listen, check);
    listened?;
    checked
}
