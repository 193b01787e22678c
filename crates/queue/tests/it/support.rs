//! A server, a queue on it, jobs and handlers.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use protocol::{
    ClusterId, Event, Fact, Indexed, Inspect, Job, Method, NodeId, Pace, RunId, SetBalancing,
    Upload, subject,
};
use queue::{CancellationToken, Consumer, Context, Handler, JobError, Queue, Settings};
use testkit::nats::Nats;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

/// How long anything may take that is expected to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Quick to notice and to try again.
pub(crate) fn settings(nats: &Nats) -> Settings {
    Settings {
        url: nats.url(),
        ack_wait_secs: 2,
        stall_secs: 60,
        retry_pause_ms: 20,
        jobs_mb: 16,
        events_mb: 16,
        audit_mb: 1,
        ..Settings::default()
    }
}

pub(crate) async fn start() -> Result<(Nats, Queue)> {
    let nats = Nats::start()?;
    let queue = Queue::connect(&settings(&nats), "test").await?;
    queue.ensure().await?;
    Ok((nats, queue))
}

/// One run of one node.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    pub(crate) cluster: ClusterId,
    pub(crate) run: RunId,
    pub(crate) node: NodeId,
}

impl Work {
    pub(crate) fn new() -> Self {
        Self {
            cluster: ClusterId::generate(),
            run: RunId::generate(),
            node: NodeId::generate(),
        }
    }

    pub(crate) fn upload(&self, chunk: u32) -> Job {
        Job::Upload(Upload {
            cluster: self.cluster,
            run: self.run,
            origin: self.run,
            node: self.node,
            location: "s3:backups".parse().unwrap(),
            chunk,
            task: None,
            method: Method::Agent,
            pace: Pace::default(),
            storage_class: None,
        })
    }

    pub(crate) fn inspect(&self) -> Job {
        Job::Inspect(Inspect {
            cluster: self.cluster,
            run: self.run,
            node: self.node,
            keyspace: vec![],
            dc: vec![],
            sizes: false,
        })
    }

    pub(crate) fn balancing(&self, enabled: bool) -> Job {
        Job::SetBalancing(SetBalancing {
            cluster: self.cluster,
            run: self.run,
            node: self.node,
            enabled,
        })
    }

    pub(crate) fn uploads(&self, slots: usize) -> Consumer {
        Consumer {
            name: format!("upload-{}", self.node),
            filters: vec![subject::for_node("upload", self.node)],
            slots,
        }
    }
}

/// What a handler says when all is well.
pub(crate) fn fact(chunks: u32) -> Fact {
    Fact::Indexed(Indexed {
        chunks,
        ..Indexed::default()
    })
}

/// A handler made of a function.
pub(crate) struct Does<F>(pub(crate) F);

impl<F, W> Handler for Does<F>
where
    F: Fn(Job, Context) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Option<Fact>, JobError>> + Send,
{
    fn handle(
        &self,
        job: Job,
        ctx: Context,
    ) -> impl Future<Output = Result<Option<Fact>, JobError>> + Send {
        (self.0)(job, ctx)
    }

    fn node(&self) -> Option<NodeId> {
        None
    }
}

/// A worker loop in the background. Dropped, it is gone as if it had been killed.
pub(crate) struct Worker {
    pub(crate) stop: CancellationToken,
    tasks: JoinSet<Result<(), queue::Error>>,
}

impl Worker {
    pub(crate) fn start<F, W>(queue: &Queue, consumer: Consumer, handler: F) -> Self
    where
        F: Fn(Job, Context) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Option<Fact>, JobError>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (queue, token) = (queue.clone(), stop.clone());
        let handler = Arc::new(Does(handler));
        tasks.spawn(async move { queue.work(consumer, handler, token).await });
        Self { stop, tasks }
    }

    pub(crate) async fn end(mut self) -> Result<()> {
        self.stop.cancel();
        let ended = timeout(SOON, self.tasks.join_next()).await?;
        Ok(ended.context("a loop")???)
    }
}

/// Events as they come.
pub(crate) struct Ear {
    events: mpsc::UnboundedReceiver<Event>,
    _tasks: JoinSet<()>,
}

impl Ear {
    pub(crate) fn new(queue: &Queue) -> Self {
        let (send, events) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let queue = queue.clone();
        tasks.spawn(async move {
            let listener = queue::Listener::to_all("test");
            let heard = queue.events(&listener, CancellationToken::new(), |events| {
                for event in events {
                    send.send(event).ok();
                }
                std::future::ready(Ok::<_, String>(Vec::new()))
            });
            heard.await.unwrap();
        });
        Self {
            events,
            _tasks: tasks,
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Event> {
        timeout(SOON, self.events.recv())
            .await
            .context("no event came")?
            .context("no more events")
    }
}

/// The next thing a channel brings.
pub(crate) async fn next<T>(from: &mut mpsc::UnboundedReceiver<T>) -> Result<T> {
    timeout(SOON, from.recv())
        .await
        .context("nothing came")?
        .context("no more comes")
}

/// Whether nothing comes within `limit`.
pub(crate) async fn quiet<T>(from: &mut mpsc::UnboundedReceiver<T>, limit: Duration) -> bool {
    timeout(limit, from.recv()).await.is_err()
}
