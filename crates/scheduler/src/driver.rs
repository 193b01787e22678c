//! Moves runs on: folds what happened, saves, publishes what is due.
//!
//! Save, then publish, then acknowledge: dying before the save brings the event back; dying after
//! it brings back an event that changes nothing, and the sweep publishes what is due all the same.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, digest};
use futures::StreamExt as _;
use protocol::{Audit, ClusterId, Control, Event, Fact, Job, NodeId, RunId, RunStatus, WorkerKind};
use queue::{Queued, Revision};
use service::Chain;
use tracing::{Instrument as _, Span, debug, error, info, warn};
use workflow::{Input, Run};

use crate::{
    clusters,
    leader::{Lost, Term},
    purge,
    record::Record,
};

/// Jobs of one run that one sweep publishes at most. What is left is for the next sweeps.
const PUBLISHED: usize = 2_000;
/// Jobs on their way to the server at once.
const AT_ONCE: usize = 32;

/// A run under way, as the leader holds it. It holds all there is: a run that the buckets have lost
/// is written anew from here.
pub(crate) struct Open {
    pub(crate) record: Record,
    pub(crate) revision: Revision,
    /// Of which revision the metrics tell.
    pub(crate) shown: Option<Revision>,
    /// Where the next sweep begins in what is due.
    pub(crate) cursor: usize,
    /// Whether workers were told, in this term, to leave off what they have in hand.
    pub(crate) left_off: bool,
    /// All that is done for the run belongs to this.
    pub(crate) span: Span,
}

impl Open {
    pub(crate) fn new(record: Record, revision: Revision, span: Span) -> Self {
        Self {
            record,
            revision,
            shown: None,
            cursor: 0,
            left_off: false,
            span,
        }
    }

    fn work(&self) -> &Run {
        self.record.work.as_ref().expect("an open run has begun")
    }
}

/// The workers that live, by node and kind.
pub(crate) type Alive = BTreeSet<(NodeId, WorkerKind)>;

impl Term<'_> {
    /// Folds events, in order, into the runs they belong to. Returns the places of those that are
    /// to come again.
    pub(crate) async fn fold(&mut self, events: Vec<Event>) -> Result<Vec<usize>, Lost> {
        self.app.metrics.events.inc_by(events.len() as u64);
        let mut by_run: BTreeMap<RunId, Vec<(usize, Event)>> = BTreeMap::new();
        for (place, event) in events.into_iter().enumerate() {
            by_run.entry(event.run).or_default().push((place, event));
        }
        let mut again = Vec::new();
        for (run, events) in by_run {
            if self.open.contains_key(&run) {
                for (_, event) in &events {
                    self.refresh_nodes(event).await?;
                    self.note_removal(run, event).await;
                }
                self.advance(run, &mut |work| {
                    let mut changed = false;
                    for (_, event) in &events {
                        changed |= work.apply(&Input::Event(event));
                    }
                    changed
                })
                .await?;
            } else {
                for (place, event) in &events {
                    self.note_refusal(event).await;
                    if !self.amend(event).await? {
                        again.push(*place);
                    }
                }
            }
        }
        Ok(again)
    }

    /// Notes that somebody's message was refused.
    async fn note_refusal(&self, event: &Event) {
        let Fact::Refused { reason } = &event.fact else {
            return;
        };
        // A run of ours that did not begin ends in this way, too.
        if let Ok(Some(_)) = self.app.ledger.run(event.cluster, event.run).await {
            return;
        }
        let at_ms = crate::now_ms();
        let Some(unnoted) = self.app.refusals.noted(at_ms) else {
            return;
        };
        let note = Audit::Refused {
            at_ms,
            node: event.node,
            run: event.run,
            reason: reason.clone(),
            unnoted,
        };
        self.keep(event.cluster, &note).await;
    }

    async fn keep(&self, cluster: ClusterId, note: &Audit) {
        let cluster = cluster.to_string();
        if let Err(cause) = self.app.queue.audit(Some(&cluster), note).await {
            warn!(error = %Chain(&cause), ?note, "noted in the log only");
        }
    }

    /// Notes which backups a run has removed.
    async fn note_removal(&self, run: RunId, event: &Event) {
        let (Fact::Purged(purged), Some(open)) = (&event.fact, self.open.get(&run)) else {
            return;
        };
        if purged.backups.is_empty() {
            return;
        }
        let backups = purged.backups.iter();
        let mut backups: Vec<String> = backups.map(|b| format!("{}/{}", b.task, b.tag)).collect();
        backups.sort();
        let lines: String = backups.iter().map(|backup| format!("{backup}\n")).collect();
        let hash = digest(&SHA256, lines.as_bytes());
        let note = Audit::Removed {
            at_ms: crate::now_ms(),
            run,
            task: open.record.task,
            backups,
            objects: purged.objects,
            bytes: purged.bytes,
            hash: crate::hex(hash.as_ref()),
        };
        self.keep(event.cluster, &note).await;
    }

    /// Changes a run, and does what follows: saves it, publishes what has become due, and tidies up
    /// if that was its end.
    pub(crate) async fn advance(
        &mut self,
        run: RunId,
        change: &mut (dyn FnMut(&mut Run) -> bool + Send),
    ) -> Result<(), Lost> {
        let Some(mut open) = self.open.remove(&run) else {
            return Ok(());
        };
        let span = open.span.clone();
        let moved = self.advance_open(&mut open, change).instrument(span).await;
        // Put back also on failure: the term is over then, but not always everything with it.
        let ended = open.record.status.ended();
        let saved = moved?;
        if ended && saved {
            self.ended(open);
        } else {
            self.open.insert(run, open);
        }
        Ok(())
    }

    /// True if it was saved.
    async fn advance_open(
        &self,
        open: &mut Open,
        change: &mut (dyn FnMut(&mut Run) -> bool + Send),
    ) -> Result<bool, Lost> {
        let before = open.work().clone();
        let work = open.record.work.as_mut().expect("an open run has begun");
        if !change(work) {
            return Ok(false);
        }
        let jobs = work.jobs_after(&before);
        let was = open.record.status;
        open.record.follow(crate::now_ms());
        self.save(open).await?;
        let Record { run, status, .. } = open.record;
        if status == RunStatus::Stopping && was != status {
            info!(%run, "stopping");
            // What still waits is not to be done; what tidies up is published after this.
            self.insist("remove a run's jobs", || async {
                self.app.queue.purge_run(open.record.cluster, run).await
            })
            .await?;
        }
        self.leave_off(open).await?;
        self.publish(jobs).await;
        Ok(true)
    }

    /// Tells workers to leave off what they have in hand, if the run waits for that.
    async fn leave_off(&self, open: &mut Open) -> Result<(), Lost> {
        if open.left_off || !open.work().leaves_off() {
            return Ok(());
        }
        let key = open.record.run.to_string();
        self.insist("tell workers to leave off", || async {
            let control = &self.app.ledger.control;
            control.put(&key, &Control::Stop).await.map(drop)
        })
        .await?;
        open.left_off = true;
        Ok(())
    }

    /// Writes a run. In a bucket that has lost it, writes it anew.
    ///
    /// Whoever writes with a lower term than what is there has lost the lease without noticing.
    pub(crate) async fn save(&self, open: &mut Open) -> Result<(), Lost> {
        let ours = self.lead.epoch();
        open.record.epoch = ours;
        let run = open.record.run;
        loop {
            let ledger = &self.app.ledger;
            let (record, revision) = (&open.record, open.revision);
            if let Some(saved) = self
                .insist("save a run", || async {
                    ledger.save_run(record, revision).await
                })
                .await?
            {
                open.revision = saved;
                return Ok(());
            }
            match self
                .insist("look at a run", || async {
                    ledger.run(record.cluster, run).await
                })
                .await?
            {
                // Our own writing, whose answer was lost.
                Some((found, revision)) if found.epoch == ours => open.revision = revision,
                Some((found, _)) => {
                    return Err(Lost::Overtaken {
                        run,
                        theirs: found.epoch,
                        ours,
                    });
                }
                None => {
                    warn!(%run, "NATS has lost the run; writing it anew");
                    if let Some(saved) = self
                        .insist("write a run", || ledger.new_run(record))
                        .await?
                    {
                        open.revision = saved;
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Publishes jobs, and returns how many the queue took as new. What cannot be published now is
    /// left to the next sweep.
    pub(crate) async fn publish(&self, jobs: Vec<Job>) -> usize {
        let due = jobs.len();
        // Each future owns what it works with: closures over references are not general enough for
        // this future to be `Send`.
        let send = |job: Job| {
            let app = self.app.clone();
            async move {
                let mut job = job;
                if let Job::Purge(purge) = &mut job {
                    *purge = purge::complete(&app, purge.clone()).await?;
                }
                app.queue.publish_job(&job).await
            }
        };
        let mut sent = futures::stream::iter(jobs)
            .map(send)
            .buffer_unordered(AT_ONCE);
        let (mut new, mut failed) = (0_usize, 0_usize);
        while let Some(answer) = sent.next().await {
            match answer {
                Ok(Queued::New) => new += 1,
                Ok(Queued::Waiting) => {}
                Err(cause) => {
                    if failed == 0 {
                        warn!(error = %Chain(&cause), "jobs not published, the next sweep will");
                    }
                    failed += 1;
                }
            }
        }
        debug!(due, new, failed, "published");
        new
    }

    /// Keeps the cluster's record true: workers find their cluster by its nodes.
    async fn refresh_nodes(&self, event: &Event) -> Result<(), Lost> {
        let Fact::Inspected(found) = &event.fact else {
            return Ok(());
        };
        if found.nodes.is_empty()
            || self
                .open
                .get(&event.run)
                .is_none_or(|open| open.record.cluster != event.cluster)
        {
            return Ok(());
        }
        let nodes = clusters::nodes(&found.nodes);
        self.insist("save a cluster's nodes", || async {
            let change = |cluster: &mut protocol::Cluster| {
                let differs = cluster.nodes != nodes;
                cluster.nodes.clone_from(&nodes);
                differs
            };
            self.app
                .ledger
                .change_cluster(event.cluster, change)
                .await
                .map(drop)
        })
        .await
    }

    /// What comes after a run's end may have changed what the run had put back.
    ///
    /// False if the event is to come again: an older copy of a job that amends it is in hand, and
    /// may have had its effect before the change did.
    async fn amend(&self, event: &Event) -> Result<bool, Lost> {
        if !matches!(
            event.fact,
            Fact::BalancingSet { enabled: false } | Fact::NodePrepared(_)
        ) {
            return Ok(true);
        }
        let (cluster, run) = (event.cluster, event.run);
        let ledger = &self.app.ledger;
        let found = self.insist("look at an ended run", || async {
            match ledger.run(cluster, run).await {
                Err(cause) if !cause.retry() => {
                    error!(%run, error = %Chain(&cause), "a late event's run cannot be read");
                    Ok(None)
                }
                found => found,
            }
        });
        let work = found.await?.and_then(|(record, _)| record.work);
        let jobs = work.map(|work| work.amends(event)).unwrap_or_default();
        let amended = jobs.len();
        Ok(self.publish(jobs).await == amended)
    }

    /// A user wants a run to stop, or its window has closed.
    pub(crate) async fn told_to_stop(&mut self, key: &str, why: Control) -> Result<(), Lost> {
        let Ok(run) = key.parse::<RunId>() else {
            return Ok(());
        };
        if let Some(open) = self.open.get_mut(&run) {
            open.record.waits = why == Control::Wait;
        }
        self.advance(run, &mut |work| work.apply(&Input::Stop))
            .await
    }

    /// Looks at one run: lets time pass, and publishes all that is due.
    pub(crate) async fn sweep_run(
        &mut self,
        run: RunId,
        alive: Option<&Alive>,
    ) -> Result<(), Lost> {
        // Before time passes: the run counts how long this is ago.
        if let Some(mut open) = self.open.remove(&run) {
            let told = self.leave_off(&mut open).await;
            self.open.insert(run, open);
            told?;
        }
        if let Some(alive) = alive {
            let scout = self.other_scout(run, alive);
            self.advance(run, &mut |work| {
                let moved = scout.is_some_and(|scout| work.set_scout(scout));
                let absent = work.needs().difference(alive).copied().collect();
                work.apply(&Input::Tick {
                    now_ms: crate::now_ms(),
                    absent: &absent,
                }) || moved
            })
            .await?;
        }
        let Some(open) = self.open.get_mut(&run) else {
            return Ok(());
        };
        let mut jobs = open.work().due();
        if jobs.len() > PUBLISHED {
            let from = open.cursor % jobs.len();
            jobs.rotate_left(from);
            open.cursor = from + PUBLISHED;
            jobs.truncate(PUBLISHED);
        }
        let span = open.span.clone();
        self.publish(jobs).instrument(span).await;
        Ok(())
    }

    /// A node that can be asked in place of one whose worker is away.
    fn other_scout(&self, run: RunId, alive: &Alive) -> Option<NodeId> {
        let open = self.open.get(&run)?;
        let Record { cluster, .. } = open.record;
        let (scout, worker) = match open.work().spec() {
            workflow::Spec::Backup(spec) => (spec.scout, WorkerKind::Snapshot),
            workflow::Spec::Restore(spec) => (spec.scout, WorkerKind::Snapshot),
            workflow::Spec::Errand(spec) => (spec.scout, WorkerKind::Upload),
        };
        let can = |node: NodeId| alive.contains(&(node, worker));
        if can(scout) {
            return None;
        }
        let memory = self.app.memory();
        let cluster = memory.clusters.iter().find(|known| known.id == cluster)?;
        cluster
            .nodes
            .iter()
            .map(|node| node.node)
            .find(|node| can(*node))
    }
}
