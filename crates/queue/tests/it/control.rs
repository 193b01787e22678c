//! Stopping runs, asking questions, following a trace.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use protocol::{Control, DropSnapshot, Encoding, Event, Fact, Job, Message as _, NodeId, subject};
use queue::{AskError, Bucket, CancellationToken, Consumer, Context, JobError, Queued};
use testkit::eventually;
use tokio::{sync::mpsc::unbounded_channel, task::JoinSet};
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

use crate::support::{Does, Ear, SOON, Work, Worker, fact, next, quiet, start};

#[tokio::test]
async fn a_stopped_run_is_left_off_within_two_seconds() -> Result<()> {
    let (_nats, queue) = start().await?;
    let (work, other) = (Work::new(), Work::new());
    let other = Work {
        node: work.node,
        ..other
    };
    let (begun, mut begins) = unbounded_channel();
    let (left, mut lefts) = unbounded_channel();
    let worker = Worker::start(&queue, work.uploads(4), move |job, ctx: Context| {
        begun.send(job.owner().1).unwrap();
        let left = left.clone();
        async move {
            ctx.stop.cancelled().await;
            left.send(job.owner().1).unwrap();
            Err(JobError::Stopped)
        }
    });
    queue.publish_job(&work.upload(1)).await?;
    queue.publish_job(&other.upload(1)).await?;
    next(&mut begins).await?;
    next(&mut begins).await?;
    let told = Instant::now();
    queue
        .bucket(Bucket::Control)
        .put(&work.run.to_string(), &Control::Stop)
        .await?;
    assert_eq!(next(&mut lefts).await?, work.run);
    assert!(
        told.elapsed() < Duration::from_secs(2),
        "{:?}",
        told.elapsed()
    );
    // Its job is gone, and a late one goes too, unseen.
    eventually("the job to be gone", SOON, async || {
        anyhow::ensure!(queue.publish_job(&work.upload(1)).await? == Queued::New);
        Ok(())
    })
    .await?;
    assert!(quiet(&mut begins, Duration::from_millis(500)).await);
    // The other run goes on.
    assert!(quiet(&mut lefts, Duration::from_millis(10)).await);
    worker.end().await?;
    assert_eq!(queue.stats().failed.get(), 0);
    Ok(())
}

#[tokio::test]
async fn a_run_stopped_before_the_worker_came_is_dropped_but_tidied_up() -> Result<()> {
    let (_nats, queue) = start().await?;
    let work = Work::new();
    queue
        .bucket(Bucket::Control)
        .put(&work.run.to_string(), &Control::Stop)
        .await?;
    let drop_snapshot = Job::DropSnapshot(DropSnapshot {
        cluster: work.cluster,
        run: work.run,
        node: work.node,
        tag: "sm_20260131235959UTC".parse()?,
    });
    queue.publish_job(&work.upload(1)).await?;
    queue.publish_job(&drop_snapshot).await?;
    let consumer = Consumer {
        name: "all".into(),
        filters: ["upload", "drop_snapshot"]
            .map(|kind| subject::for_node(kind, work.node))
            .into(),
        slots: 1,
    };
    let (begun, mut begins) = unbounded_channel();
    let worker = Worker::start(&queue, consumer, move |job, _| {
        begun.send(job.kind()).unwrap();
        async { Ok(None) }
    });
    assert_eq!(next(&mut begins).await?, "drop_snapshot");
    assert!(quiet(&mut begins, Duration::from_millis(300)).await);
    worker.end().await
}

#[tokio::test]
async fn purging_a_run_removes_its_waiting_jobs_only() -> Result<()> {
    let (_nats, queue) = start().await?;
    let (work, other) = (Work::new(), Work::new());
    for work in [work, other] {
        queue.publish_job(&work.upload(1)).await?;
        queue.publish_job(&work.inspect()).await?;
    }
    queue.purge_run(work.cluster, work.run).await?;
    assert_eq!(queue.publish_job(&work.upload(1)).await?, Queued::New);
    assert_eq!(queue.publish_job(&work.inspect()).await?, Queued::New);
    assert_eq!(queue.publish_job(&other.upload(1)).await?, Queued::Waiting);
    Ok(())
}

#[tokio::test]
async fn purging_a_run_leaves_what_switches() -> Result<()> {
    let (_nats, queue) = start().await?;
    let work = Work::new();
    for enabled in [false, true] {
        queue.publish_job(&work.balancing(enabled)).await?;
    }
    queue.purge_run(work.cluster, work.run).await?;
    for enabled in [false, true] {
        let again = queue.publish_job(&work.balancing(enabled)).await?;
        assert_eq!(again, Queued::Waiting, "{enabled}");
    }
    Ok(())
}

#[tokio::test]
async fn once_a_run_is_stopped_nothing_is_switched_off_anew() -> Result<()> {
    let (_nats, queue) = start().await?;
    let work = Work::new();
    let control = queue.bucket::<Control>(Bucket::Control);
    control.put(&work.run.to_string(), &Control::Stop).await?;
    for enabled in [false, true] {
        queue.publish_job(&work.balancing(enabled)).await?;
    }
    let consumer = Consumer {
        name: "switches".to_owned(),
        filters: vec![subject::for_node("set_balancing", work.node)],
        slots: 1,
    };
    let (begun, mut begins) = unbounded_channel();
    let worker = Worker::start(&queue, consumer, move |job, _| {
        begun.send(job).unwrap();
        async { Ok(None) }
    });
    assert_eq!(next(&mut begins).await?, work.balancing(true));
    assert!(quiet(&mut begins, Duration::from_millis(300)).await);
    worker.end().await
}

#[tokio::test]
async fn a_job_purged_while_in_hand_frees_its_slot() -> Result<()> {
    let (_nats, queue) = start().await?;
    let (purged, other) = (Work::new(), Work::new());
    let other = Work {
        node: purged.node,
        ..other
    };
    let (begun, mut begins) = unbounded_channel();
    let go_on = CancellationToken::new();
    let gate = go_on.clone();
    let worker = Worker::start(&queue, purged.uploads(1), move |job, _| {
        begun.send(job.owner().1).unwrap();
        let gate = gate.clone();
        async move {
            gate.cancelled().await;
            Ok(None)
        }
    });
    queue.publish_job(&purged.upload(1)).await?;
    assert_eq!(next(&mut begins).await?, purged.run);
    queue.publish_job(&other.upload(1)).await?;
    queue.purge_run(purged.cluster, purged.run).await?;
    let began = Instant::now();
    go_on.cancel();
    assert_eq!(next(&mut begins).await?, other.run);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    worker.end().await
}

#[tokio::test]
async fn a_question_is_answered_or_it_is_said_why_not() -> Result<()> {
    let (nats, queue) = start().await?;
    let work = Work::new();
    let limit = Duration::from_secs(5);
    let error = queue.ask(&work.inspect(), limit).await.unwrap_err();
    assert!(matches!(error, AskError::NoWorker(_)), "{error}");
    let stop = CancellationToken::new();
    let handler = Arc::new(Does(|job: Job, _| async move {
        let Job::Inspect(job) = job else {
            return Err(JobError::Refuse("not mine".into()));
        };
        match job.keyspace.first().map(String::as_str) {
            Some("bad") => Err(JobError::Refuse("no such keyspace".into())),
            Some("slow") => std::future::pending().await,
            Some("large") => Ok(Some(protocol::Fact::Inspected(protocol::Inspected {
                cluster_name: "x".repeat(2 << 20),
                ..protocol::Inspected::default()
            }))),
            _ => Ok(Some(fact(1))),
        }
    }));
    let mut answering = JoinSet::new();
    let (q, s, node) = (queue.clone(), stop.clone(), work.node);
    answering.spawn(async move { q.answer(&["inspect"], node, handler, s).await });
    let event = eventually("an answer", SOON, async || {
        Ok(queue.ask(&work.inspect(), limit).await?)
    })
    .await?;
    assert_eq!(
        (event.cluster, event.run, event.fact),
        (work.cluster, work.run, fact(1))
    );
    let asking = |keyspace: &str, limit| {
        let Job::Inspect(mut job) = work.inspect() else {
            panic!("not a question");
        };
        job.keyspace = vec![keyspace.to_owned()];
        let queue = queue.clone();
        async move { queue.ask(&Job::Inspect(job), limit).await.unwrap_err() }
    };
    let error = asking("bad", limit).await;
    assert!(
        matches!(&error, AskError::Refused(why) if why == "no such keyspace"),
        "{error}"
    );
    let error = asking("large", limit).await;
    assert!(
        matches!(&error, AskError::Refused(why) if why.contains("cannot be sent")),
        "{error}"
    );
    let error = asking("slow", Duration::from_millis(300)).await;
    assert!(matches!(error, AskError::Timeout(_)), "{error}");
    let elsewhere = Work {
        node: NodeId::generate(),
        ..work
    };
    let error = queue.ask(&elsewhere.inspect(), limit).await.unwrap_err();
    assert!(matches!(error, AskError::NoWorker(_)), "{error}");
    // Whoever may ask one thing of one node can have nothing else done by it.
    let asked = format!("thetis.ask.inspect.{}", work.node);
    for job in [work.upload(1), elsewhere.inspect()] {
        let encoding = Encoding::MessagePack;
        let payload = job.encode(encoding);
        let answer = nats
            .request(&asked, encoding.content_type(), payload)
            .await?;
        let event = Event::decode(&answer, encoding)?;
        let Fact::Refused { reason } = event.fact else {
            panic!("a job of kind {} was done", job.kind())
        };
        assert!(reason.contains("cannot be asked for"), "{reason}");
    }
    stop.cancel();
    answering.join_next().await.unwrap()??;
    Ok(())
}

#[tokio::test]
async fn a_job_belongs_to_the_trace_of_its_publisher() -> Result<()> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;
    let trace = || {
        use opentelemetry::trace::TraceContextExt as _;
        use tracing_opentelemetry::OpenTelemetrySpanExt as _;
        let context = tracing::Span::current().context();
        context.span().span_context().trace_id()
    };
    let (_nats, queue) = start().await?;
    let work = Work::new();
    let (seen, mut sees) = unbounded_channel();
    let worker = Worker::start(&queue, work.uploads(1), move |_, _| {
        let seen = seen.clone();
        async move {
            seen.send(trace()).unwrap();
            Ok(Some(fact(1)))
        }
    });
    let mut ear = Ear::new(&queue);
    let published = async {
        queue.publish_job(&work.upload(1)).await?;
        anyhow::Ok(trace())
    }
    .instrument(tracing::info_span!("request"))
    .await?;
    assert_eq!(next(&mut sees).await?, published);
    assert_ne!(published, opentelemetry::TraceId::INVALID);
    ear.next().await?;
    worker.end().await
}
