//! Beginning runs: from a request to the first jobs.
//!
//! A request is written down as a run that nobody has begun, and then is answered. Beginning it may
//! take a while, as the bucket is asked; so that happens beside the term, which takes it up again
//! when everything is ready and nothing is left but to save and publish.

use std::{collections::BTreeMap, time::Duration};

use protocol::{
    ClearRequest, Cluster, ClusterId, Control, Event, Fact, NodeId, Presence, Request,
    RestoreRequest, RunEnded, RunStatus, SnapshotTag, Task, TaskId, WorkerKind,
};
use queue::Revision;
use service::Chain;
use tracing::{Instrument as _, Span, info, info_span, warn};
use workflow::{BackupSpec, Errand, ErrandSpec, RestoreSpec, Run};

use crate::{
    App, ask, clusters, copies,
    driver::Open,
    leader::{Lost, Term},
    methods,
    properties::{Parts, Wish},
    purge::{self, Unfit},
    record::{Record, stale},
    requests::Asked,
    suspend,
};

/// Tags of a cluster may run ahead of the clock by so much, in seconds, to stay in order.
const AHEAD: u64 = 3_600;

/// How often is looked whether a purge has ended.
const PURGING: Duration = Duration::from_secs(2);

/// A run whose beginning was prepared.
pub(crate) struct Begun {
    record: Record,
    revision: Revision,
    span: Span,
    ready: Result<Run, Refusal>,
}

/// Why a run does not begin.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It never will.
    Never(String),
    /// It was stopped before it began.
    Stopped(Control),
    /// There was nothing to it but what is done already.
    Done,

    /// It may later: NATS did not answer.
    NotNow(queue::Error),
}

impl From<store::Error> for Refusal {
    fn from(cause: store::Error) -> Self {
        Self::Never(cause.to_string())
    }
}

impl From<Unfit> for Refusal {
    fn from(cause: Unfit) -> Self {
        match cause {
            Unfit::Queue(cause) => cause.into(),
            Unfit::Bucket(cause) => Self::Never(Chain(&cause).to_string()),
        }
    }
}

impl From<queue::Error> for Refusal {
    fn from(cause: queue::Error) -> Self {
        if cause.retry() {
            Self::NotNow(cause)
        } else {
            Self::Never(Chain(&cause).to_string())
        }
    }
}

/// A run that was written down, unless it began already; or why it was not.
type Written = Result<Option<(Record, Revision)>, String>;

impl Term<'_> {
    /// Takes a request from the queue: writes it down, or refuses it with an event.
    pub(crate) async fn requested(&mut self, request: Request, asked: Asked) -> Result<(), Lost> {
        let span = asked.span;
        match self.write_down(&request).instrument(span.clone()).await? {
            Ok(Some((record, revision))) => self.begin(record, revision, &span),
            Ok(None) => {}
            Err(reason) => {
                info!(cluster = %request.cluster, run = %request.run, reason, "request refused");
                let (cluster, run) = (request.cluster, request.run);
                self.tell(&Event {
                    cluster,
                    run,
                    node: None,
                    fact: Fact::Refused { reason },
                })
                .await?;
            }
        }
        let _nobody_waits = asked.settled.send(());
        Ok(())
    }

    /// The run to begin; none if it began already; or why not.
    async fn write_down(&self, request: &Request) -> Result<Written, Lost> {
        let Request {
            backup,
            restore,
            delete,
            validate,
            clear,
            ..
        } = request.clone();
        let wish = Wish::of_parts(Parts {
            backup,
            restore,
            delete,
            validate,
            clear,
            suspend: None,
        });
        let wish = match wish.and_then(|wish| wish.check().map(|()| wish)) {
            Ok(wish) => wish,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Some(known) = self.known(request, &wish).await? {
            return Ok(known);
        }
        let (ledger, cluster, run) = (&self.app.ledger, request.cluster, request.run);
        let found = self.insist("look for a cluster", || ledger.cluster_by_id(cluster));
        if found.await?.is_none() {
            let reason =
                format!("unknown cluster {cluster}; register it with `thetis cluster add`");
            return Ok(Err(reason));
        }
        let task = request.task.unwrap_or_else(TaskId::generate);
        if let Some(task) = one_off(cluster, task, &wish) {
            self.insist("save a task", || ledger.revive_task(&task))
                .await?;
        }
        let record = Record::new(cluster, task, run, wish, crate::now_ms());
        let saved = self
            .insist("save a run", || ledger.new_run(&record))
            .await?;
        if let Some(revision) = saved {
            return Ok(Ok(Some((record, revision))));
        }
        // It is there by now, from an attempt whose answer was lost.
        let found = self.insist("look at a run", || ledger.run(cluster, run));
        Ok(Ok(found.await?))
    }

    /// What to do about a run that is there already; `None` if it is not.
    async fn known(&self, request: &Request, wish: &Wish) -> Result<Option<Written>, Lost> {
        let Request { cluster, run, .. } = *request;
        let found = self.insist("look for a run", || async {
            match self.app.ledger.run(cluster, run).await {
                Err(queue::Error::Value { .. }) => Ok(Err(())),
                found => found.map(Ok),
            }
        });
        Ok(match found.await? {
            Ok(None) => None,
            Ok(Some((record, revision))) if record.wish().as_ref() == Ok(wish) => {
                let new = record.status == RunStatus::New;
                Some(Ok(new.then_some((record, revision))))
            }
            Ok(Some(_)) | Err(()) => Some(Err(format!(
                "run {run} exists already and does something else; choose another `run`"
            ))),
        })
    }

    /// Has a run's beginning prepared, unless that is under way.
    pub(crate) fn begin(&mut self, record: Record, revision: Revision, parent: &Span) {
        let run = record.run;
        if self.open.contains_key(&run) || self.starting.contains_key(&run) {
            return;
        }
        let alone = record.exclusive().then_some(record.cluster);
        self.starting.insert(run, (record.task, alone));
        let span = info_span!(parent: parent, "run", %run, cluster = %record.cluster, kind = %record.kind());
        if parent.is_none() {
            queue::continue_trace(&span, &record.trace);
        }
        // What it goes on from must be tidied up after first.
        if record
            .resumes
            .is_some_and(|before| self.closing.contains_key(&before))
        {
            self.waiting.push((record, revision, span));
            return;
        }
        self.prepare(record, revision, span);
    }

    fn prepare(&mut self, record: Record, revision: Revision, span: Span) {
        let app = self.app.clone();
        let within = span.clone();
        let preparing = async move {
            let ready = prepare(&app, &record).await;
            Begun {
                record,
                revision,
                span,
                ready,
            }
        };
        self.preparing.spawn(preparing.instrument(within));
    }

    /// Tries those again that could not be prepared.
    pub(crate) fn retry_waiting(&mut self) {
        for (record, revision, span) in std::mem::take(&mut self.waiting) {
            if record
                .resumes
                .is_some_and(|before| self.closing.contains_key(&before))
            {
                self.waiting.push((record, revision, span));
            } else {
                self.prepare(record, revision, span);
            }
        }
    }

    /// Everything is ready, or will never be.
    pub(crate) async fn begun(&mut self, begun: Begun) -> Result<(), Lost> {
        let Begun {
            mut record,
            revision,
            span,
            ready,
        } = begun;
        let (run, cluster) = (record.run, record.cluster);
        let (status, reason) = match ready {
            Ok(work) => {
                self.starting.remove(&run);
                record.work = Some(work);
                record.follow(crate::now_ms());
                return self.admit(Open::new(record, revision, span)).await;
            }
            Err(Refusal::NotNow(cause)) => {
                warn!(%run, error = %Chain(&cause), "run not begun yet, trying on");
                self.waiting.push((record, revision, span));
                return Ok(());
            }
            Err(Refusal::Stopped(Control::Stop)) => {
                (RunStatus::Stopped, "stopped before it began".to_owned())
            }
            Err(Refusal::Stopped(Control::Wait)) => (
                RunStatus::Waiting,
                "its window closed before it began".to_owned(),
            ),
            Err(Refusal::Done) => (RunStatus::Done, String::new()),
            Err(Refusal::Never(reason)) => (RunStatus::Error, reason),
        };
        self.starting.remove(&run);
        let exclusive = record.exclusive();
        info!(%run, %cluster, %status, reason, "run ended before it began");
        record.end(status, reason.clone(), crate::now_ms());
        self.app.metrics.ended(record.kind(), status);
        self.app.metrics.board.ended(&record);
        self.save(&mut Open::new(record, revision, span)).await?;
        if exclusive {
            let ledger = &self.app.ledger;
            self.insist("unlock a cluster", || ledger.unlock(cluster, run))
                .await?;
        }
        let fact = if status == RunStatus::Done {
            Fact::RunEnded(RunEnded {
                status,
                cause: reason,
            })
        } else {
            Fact::Refused { reason }
        };
        self.tell(&Event {
            cluster,
            run,
            node: None,
            fact,
        })
        .await
    }

    async fn admit(&mut self, mut open: Open) -> Result<(), Lost> {
        let span = open.span.clone();
        async {
            self.save(&mut open).await?;
            let Record { run, cluster, .. } = open.record;
            info!(%run, %cluster, task = %open.record.task, kind = %open.record.kind(), "run begun");
            self.tell(&Event { cluster, run, node: None, fact: Fact::RunStarted }).await?;
            let jobs = open.record.work.as_ref().map(Run::due).unwrap_or_default();
            self.publish(jobs).await;
            self.open.insert(run, open);
            let stop = self.insist("look for a stop", || self.app.ledger.told_to_stop(run)).await?;
            match stop {
                Some(why) => self.told_to_stop(&run.to_string(), why).await,
                None => Ok(()),
            }
        }
        .instrument(span)
        .await
    }

    /// Publishes an event of our own.
    pub(crate) async fn tell(&self, event: &Event) -> Result<(), Lost> {
        self.held()?;
        self.app
            .queue
            .publish_event(event)
            .await
            .map_err(Lost::Broken)
    }
}

/// Gets everything ready that a run needs before its first job: the bucket, the lock, its course,
/// and the copies in the bucket.
async fn prepare(app: &App, record: &Record) -> Result<Run, Refusal> {
    let ledger = &app.ledger;
    if let Some(why) = ledger.told_to_stop(record.run).await? {
        return Err(Refusal::Stopped(why));
    }
    let mut wish = record.wish().map_err(Refusal::Never)?;
    wish.check().map_err(Refusal::Never)?;
    let cluster = ledger.cluster_by_id(record.cluster).await?;
    let cluster =
        cluster.ok_or_else(|| Refusal::Never(format!("unknown cluster {}", record.cluster)))?;
    if let Wish::Suspend(request) = &wish {
        return match suspend::suspend(app, &cluster, request).await {
            Ok(()) => Err(Refusal::Done),
            Err(cause) => Err(Refusal::Never(cause.message().to_owned())),
        };
    }
    if let Some((suspension, _)) = ledger.suspension(cluster.id).await?
        && suspension.bars(wish.kind())
        && record.parts.is_of_task()
    {
        return Err(Refusal::Never(suspend::barred(&cluster)));
    }
    if let Wish::Validate(request) = &mut wish
        && request.location.is_empty()
    {
        request.location = copies::used(app, cluster.id).await?;
        if request.location.is_empty() {
            return Err(Refusal::Never(format!(
                "`location` is missing, and cluster {} has no task that says where its backups are",
                cluster.name
            )));
        }
    }
    for location in wish.locations() {
        app.checks.check(&app.stores, location).await?;
    }
    if wish.exclusive()
        && let Some(holder) = ledger.lock(record.cluster, record.run).await?
    {
        let holder = ledger.run(record.cluster, holder).await?;
        let busy = || format!("cluster {} is busy; try again", cluster.name);
        return Err(Refusal::Never(holder.map_or_else(busy, |(holder, _)| {
            ask::busy(&cluster.name, &holder)
        })));
    }
    if let Wish::Restore(request) = &wish {
        outwait_purges(app, record, request).await?;
    }
    let runs = ledger.runs(record.cluster).await?;
    if let Wish::Delete(request) = &wish {
        purge::preview(app, cluster.id, request).await?;
    }
    let workers = app.queue.workers().await?;
    if let Wish::Backup(request) = &wish
        && let Some(objection) = methods::objection(request, &cluster, &workers)
    {
        return Err(Refusal::Never(objection));
    }
    let scout = scout(&cluster, &workers, &wish).ok_or_else(|| {
        let name = &cluster.name;
        Refusal::Never(format!(
            "cluster {name} has no nodes; remove and add it again"
        ))
    })?;
    let work = course(record, wish.clone(), &cluster, &runs, scout);
    let task = ledger.task_by_id(record.cluster, record.task).await?;
    let task = task.or_else(|| one_off(record.cluster, record.task, &wish));
    // What is bound to no place is not gone on with if NATS loses everything.
    if let Some(first) = wish.locations().first() {
        copies::keep(&app.stores, first, (&cluster, task.as_ref(), &work.spec())).await?;
    }
    Ok(work)
}

/// Waits while backups are removed that may be the one to be restored. Purges that begin later know
/// of this run, and leave its backup alone.
async fn outwait_purges(
    app: &App,
    record: &Record,
    request: &RestoreRequest,
) -> Result<(), Refusal> {
    let source = |id: ClusterId| request.source_cluster.is_none_or(|source| source == id);
    loop {
        let mut purging = None;
        for cluster in app.ledger.clusters().await? {
            if source(cluster.id) && cluster.id != record.cluster {
                let runs = app.ledger.runs(cluster.id).await?;
                purging = purging.or(runs.into_iter().find(Record::purges));
            }
        }
        let Some(purging) = purging else {
            return Ok(());
        };
        if let Some(why) = app.ledger.told_to_stop(record.run).await? {
            return Err(Refusal::Stopped(why));
        }
        info!(run = %record.run, cluster = %purging.cluster, "waiting until old backups are removed");
        tokio::time::sleep(PURGING).await;
    }
}

/// A task that was never registered; `None` for what there are no tasks for.
fn one_off(cluster: ClusterId, id: TaskId, wish: &Wish) -> Option<Task> {
    let parts = Parts::from(wish.clone());
    let Parts {
        backup,
        restore,
        validate,
        suspend,
        ..
    } = parts;
    let is_task = [
        backup.is_some(),
        restore.is_some(),
        validate.is_some(),
        suspend.is_some(),
    ];
    is_task.contains(&true).then_some(Task {
        id,
        cluster,
        name: String::new(),
        labels: BTreeMap::new(),
        tags: Vec::new(),
        enabled: true,
        deleted: false,
        schedule: None,
        scheduled_ms: 0,
        backup,
        restore,
        validate,
        suspend,
    })
}

/// A node whose worker lives that is asked first, else any.
fn scout(cluster: &Cluster, workers: &[Presence], wish: &Wish) -> Option<NodeId> {
    if let Wish::Delete(_) | Wish::Validate(_) = wish {
        let uploads = |node: &NodeId| {
            let mut all = workers.iter();
            all.any(|worker| worker.node == *node && worker.worker == WorkerKind::Upload)
        };
        let nodes: Vec<NodeId> = cluster.nodes.iter().map(|node| node.node).collect();
        return nodes
            .iter()
            .find(|node| uploads(node))
            .or(nodes.first())
            .copied();
    }
    clusters::scouts(cluster, workers)
        .first()
        .copied()
        .or_else(|| cluster.nodes.first().map(|node| node.node))
}

/// The run's course: the one it goes on from, or a new one. `runs` are the cluster's, newest first.
fn course(record: &Record, wish: Wish, cluster: &Cluster, runs: &[Record], scout: NodeId) -> Run {
    let now_ms = crate::now_ms();
    let before = record
        .resumes
        .and_then(|before| runs.iter().find(|run| run.run == before));
    let resumed = before
        .and_then(|before| before.work.as_ref())
        .and_then(|work| work.resume(record.run, now_ms));
    if let Some(mut work) = resumed {
        work.set_scout(scout);
        return work;
    }
    // A run that failed may have left the cluster's switches as they should not be.
    let unsettled = runs
        .iter()
        .find(|run| run.work.is_some())
        .is_some_and(|run| run.status == RunStatus::Error);
    let Record {
        cluster: id,
        run,
        task,
        ..
    } = *record;
    let errand = |errand| {
        Run::errand(ErrandSpec {
            cluster: id,
            run,
            task,
            errand,
            scout,
            started_ms: now_ms,
        })
    };
    match wish {
        Wish::Backup(request) => Run::backup(BackupSpec {
            cluster: id,
            run,
            origin: run,
            task,
            tag: free_tag(runs, now_ms / 1_000),
            request,
            cluster_name: cluster.name.clone(),
            scout,
            stale: stale(runs),
            started_ms: now_ms,
            unsettled,
        }),
        Wish::Restore(request) => Run::restore(RestoreSpec {
            cluster: id,
            run,
            // What is undone, it takes the place of.
            origin: request.undo.unwrap_or(run),
            task,
            scout,
            started_ms: now_ms,
            unsettled: unsettled || request.undo.is_some(),
            shielded: workflow::Shield::No,
            request,
        }),
        Wish::Delete(request) => errand(Errand::Delete(request)),
        Wish::Validate(request) => errand(Errand::Validate(request)),
        Wish::Suspend(_) => unreachable!("a suspension has no course"),
        Wish::Clear(ClearRequest {}) => errand(Errand::Clear {
            nodes: cluster.nodes.iter().map(|node| node.node).collect(),
            before: free_tag(runs, now_ms / 1_000),
        }),
    }
}

/// The tag of this second, or of the first one after it that no run of the cluster has: tags are
/// unique and in order, also when the clock was set back by less than an hour.
fn free_tag(runs: &[Record], now: u64) -> SnapshotTag {
    let taken: Vec<u64> = runs
        .iter()
        .filter_map(|run| catalog::tag::unix(&run.tag()?))
        .collect();
    let newest = taken
        .iter()
        .copied()
        .filter(|tag| *tag < now + AHEAD)
        .max()
        .unwrap_or_default();
    catalog::tag::at(now.max(newest + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::backup;

    #[test]
    fn a_tag_is_never_taken_twice_and_keeps_the_order() {
        let at = |tag| backup(TaskId::generate(), tag, RunStatus::Done);
        assert_eq!(free_tag(&[], 10_000), catalog::tag::at(10_000));
        assert_eq!(
            free_tag(&[at(10_000), at(9_000)], 10_000),
            catalog::tag::at(10_001)
        );
        assert_eq!(
            free_tag(&[at(10_050), at(10_000)], 10_000),
            catalog::tag::at(10_051)
        );
        assert_eq!(
            free_tag(&[at(900_000), at(500)], 10_000),
            catalog::tag::at(10_000)
        );
    }

    #[test]
    fn a_run_goes_on_with_the_snapshot_of_the_one_before() {
        let cluster = Cluster {
            id: protocol::ClusterId::generate(),
            name: "c".into(),
            host: "h".into(),
            labels: BTreeMap::new(),
            nodes: vec![],
            throttles: protocol::Throttles::default(),
        };
        let mut stopped = backup(TaskId::generate(), 50, RunStatus::Stopped);
        let work = stopped.work.as_mut().unwrap();
        work.apply(&workflow::Input::Stop);
        let mut next = Record::new(
            stopped.cluster,
            stopped.task,
            protocol::RunId::generate(),
            stopped.wish().unwrap(),
            60,
        );
        let wish = next.wish().unwrap();
        let scout = NodeId(uuid::Uuid::nil());
        let runs = [stopped];
        next.work = Some(course(&next, wish.clone(), &cluster, &runs, scout));
        assert_ne!(next.tag(), runs[0].tag());
        next.resumes = Some(runs[0].run);
        next.work = Some(course(&next, wish, &cluster, &runs, scout));
        assert_eq!(next.tag(), runs[0].tag());
        assert_eq!(next.origin(), runs[0].run);
    }
}
