//! Taking over, and finding what NATS has lost.
//!
//! A new leader takes all open runs over by writing its term into them. If the buckets are new, the
//! copies in the object stores say what was there: in those the configuration names, and in those
//! this process knows of.

use std::sync::Arc;

use protocol::{ClearRequest, Cluster, Location, Presence, Task};
use queue::Consumer;
use service::Chain;
use tokio::time::{Duration, Instant};
use tracing::{Span, error, info, info_span, warn};
use workflow::{Errand, Run, Spec};

use crate::{
    Memory,
    copies::{self, Found},
    driver::{Alive, Open},
    leader::{Lost, Term},
    properties::Wish,
    record::Record,
    timetable::Agenda,
};

/// How often everything is looked at, beside what is under way.
const HOUSE: Duration = Duration::from_secs(60);
/// After so many sweeps an object store is asked again that has refused to say what it knows.
const REFUSED_SWEEPS: u32 = 12;
/// How many ended runs of a task are kept.
const HISTORY: usize = 30;

/// What an object store knows, or why it does not say.
pub(crate) type Searched = (Location, Result<Found, store::Error>);

impl Term<'_> {
    /// Takes over what other leaders have left.
    pub(crate) async fn take_over(&mut self) -> Result<(), Lost> {
        self.remember().await?;
        let ledger = &self.app.ledger;
        let dues = self.insist("look at what is due", || ledger.dues()).await?;
        self.agenda = Agenda::new(dues);
        self.keep_house().await?;
        info!(
            epoch = self.lead.epoch(),
            open = self.open.len(),
            starting = self.starting.len(),
            "took over"
        );
        Ok(())
    }

    /// Looks at all runs: moves on those under way, and finds what was left behind.
    pub(crate) async fn sweep(&mut self) -> Result<(), Lost> {
        self.held()?;
        self.remember().await?;
        let alive = match self.app.queue.workers().await {
            Ok(workers) => {
                self.provide(&workers).await;
                let alive = workers.iter().map(|w| (w.node, w.worker));
                Some(alive.collect::<Alive>())
            }
            Err(cause) => {
                warn!(error = %Chain(&cause), "cannot see which workers live; runs' clocks stand still");
                None
            }
        };
        let open: Vec<_> = self.open.keys().copied().collect();
        for run in open {
            self.sweep_run(run, alive.as_ref()).await?;
        }
        self.close_windows().await?;
        self.end_suspensions().await?;
        self.activate().await?;
        self.retry_waiting();
        self.retry_closing();
        let called = crate::now_ms() >= self.house_ms;
        if called || self.kept_house.is_none_or(|at| at.elapsed() >= HOUSE) {
            self.keep_house().await?;
        }
        self.show();
        Ok(())
    }

    /// Makes what workers take jobs from, for those that may not do so themselves.
    async fn provide(&mut self, workers: &[Presence]) {
        let wanted = Consumer::of_all(workers, &self.app.memory().clusters);
        let provided = self.app.queue.provide(wanted, &mut self.provided).await;
        if let Err(cause) = provided {
            warn!(error = %Chain(&cause), "cannot make what workers take jobs from, trying on");
        }
    }

    /// Has the metrics tell what is there now.
    fn show(&mut self) {
        let metrics = &self.app.metrics;
        for open in self.open.values_mut() {
            if open.shown.replace(open.revision) != Some(open.revision) {
                metrics.board.run(&open.record);
            }
        }
        let memory = self.app.memory();
        metrics.ages(&memory.clusters, &memory.good, crate::now_ms());
        metrics.proofs(&memory.clusters, &memory.proven, crate::now_ms());
    }

    /// Notes clusters and tasks, so that they can be written anew if NATS loses them; which happens
    /// here, if it has.
    async fn remember(&mut self) -> Result<(), Lost> {
        let ledger = &self.app.ledger;
        if self
            .insist("look at the buckets", || ledger.is_new())
            .await?
        {
            self.recover().await?;
        }
        let (clusters, tasks, suspended) = self
            .insist("read clusters and tasks", || {
                Box::pin(async {
                    tokio::try_join!(ledger.clusters(), ledger.all_tasks(), ledger.suspensions())
                })
            })
            .await?;
        let mut memory = self.app.memory();
        let resumed = |task: &&Task| {
            let was = memory.suspended.contains_key(&task.cluster);
            was && !suspended.contains_key(&task.cluster)
        };
        // What they missed was decided on by whoever resumed their clusters.
        for task in tasks.iter().filter(resumed) {
            self.agenda.forget(task.id);
        }
        self.agenda.keep(&tasks);
        self.app.metrics.board.keep(&clusters, &tasks, &suspended);
        memory.clusters = clusters;
        memory.tasks = Arc::new(tasks);
        memory.suspended = suspended;
        Ok(())
    }

    /// Looks at all records of all clusters: takes over what is open, begins what was asked for,
    /// closes what has ended, and forgets what is old.
    async fn keep_house(&mut self) -> Result<(), Lost> {
        self.kept_house = Some(Instant::now());
        self.house_ms = u64::MAX;
        let clusters: Vec<_> = self
            .app
            .memory()
            .clusters
            .iter()
            .map(|cluster| cluster.id)
            .collect();
        for cluster in clusters {
            let ledger = &self.app.ledger;
            let runs = self
                .insist("read runs", || async {
                    ledger.runs_with_revisions(cluster).await
                })
                .await?;
            let good = runs.iter().find(|(run, _)| {
                run.parts.backup.is_some() && run.status == protocol::RunStatus::Done
            });
            if let Some((run, _)) = good {
                self.app.memory().good(cluster, run.ended_ms);
            }
            let done = runs.iter().map(|(record, _)| record);
            let done = done.filter(|record| record.status == protocol::RunStatus::Done);
            for (of, _, proof) in done.filter_map(crate::proofs::proven) {
                self.app.memory().proven(of, proof);
            }
            let records = runs.iter().map(|(record, _)| record);
            self.app.metrics.board.history(records);
            self.forget_old(&runs).await?;
            let runs = self.forget_deleted(runs).await?;
            let records: Vec<Record> = runs.iter().map(|(record, _)| record.clone()).collect();
            self.retry_failed(cluster, &records).await?;
            for (record, revision) in runs {
                self.take_up(record, revision).await?;
            }
        }
        Ok(())
    }

    async fn take_up(&mut self, record: Record, revision: queue::Revision) -> Result<(), Lost> {
        let run = record.run;
        let busy = self.open.contains_key(&run)
            || self.starting.contains_key(&run)
            || self.closing.contains_key(&run);
        if busy || record.closed {
            return Ok(());
        }
        if record.epoch > self.lead.epoch() && record.work.is_some() {
            warn!(%run, theirs = record.epoch, ours = self.lead.epoch(), "run was written by a leader with a later term");
        }
        if record.status.ended() {
            self.close(record);
        } else if record.work.is_none() {
            self.begin(record, revision, &Span::none());
        } else {
            let span = info_span!("run", %run, cluster = %record.cluster, kind = %record.kind());
            queue::continue_trace(&span, &record.trace);
            info!(%run, cluster = %record.cluster, status = %record.status, "going on with a run");
            let mut open = Open::new(record, revision, span);
            self.stamp(&mut open).await?;
            self.open.insert(run, open);
            let stop = self
                .insist("look for a stop", || async {
                    self.app.ledger.told_to_stop(run).await
                })
                .await?;
            if let Some(why) = stop {
                self.told_to_stop(&run.to_string(), why).await?;
            }
        }
        Ok(())
    }

    /// Writes our term into a run: from then on nobody can save it who led before.
    async fn stamp(&self, open: &mut Open) -> Result<(), Lost> {
        open.record.epoch = self.lead.epoch();
        loop {
            let ledger = &self.app.ledger;
            let (record, revision) = (&open.record, open.revision);
            let saved = self
                .insist("take a run over", || async {
                    ledger.save_run(record, revision).await
                })
                .await?;
            if let Some(revision) = saved {
                open.revision = revision;
                return Ok(());
            }
            // The leader before us was quicker, for the last time.
            let (cluster, run) = (record.cluster, record.run);
            let found = self
                .insist("look at a run", || ledger.run(cluster, run))
                .await?;
            if let Some((found, revision)) = found {
                open.record = Record {
                    epoch: self.lead.epoch(),
                    ..found
                };
                open.revision = revision;
            } else {
                return self.save(open).await;
            }
        }
    }

    /// Forgets the runs of tasks that were deleted while they ran, and all of tasks of which nothing
    /// else is left. Gives the others.
    async fn forget_deleted(
        &self,
        mut runs: Vec<(Record, queue::Revision)>,
    ) -> Result<Vec<(Record, queue::Revision)>, Lost> {
        let tasks = Arc::clone(&self.app.memory().tasks);
        for task in tasks.iter().filter(|task| task.deleted) {
            let (gone, left): (Vec<_>, Vec<_>) = runs
                .into_iter()
                .partition(|(run, _)| run.task == task.id && run.closed);
            runs = left;
            for (record, _) in &gone {
                let ledger = &self.app.ledger;
                self.insist("forget a run", || ledger.remove_run(record))
                    .await?;
            }
            let over = !gone.is_empty() && runs.iter().all(|(run, _)| run.task != task.id);
            if over && task.backup.is_none() {
                let ledger = &self.app.ledger;
                self.insist("forget a task", || ledger.remove_task(task))
                    .await?;
            }
        }
        Ok(runs)
    }

    async fn forget_old(&self, runs: &[(Record, queue::Revision)]) -> Result<(), Lost> {
        let mut kept = std::collections::BTreeMap::new();
        for (record, _) in runs {
            let count: &mut usize = kept.entry(record.task).or_default();
            *count += 1;
            if *count > HISTORY && record.closed {
                self.insist("forget an old run", || async {
                    self.app.ledger.remove_run(record).await
                })
                .await?;
            }
        }
        Ok(())
    }

    /// The buckets are new: writes into them what is known, and has the object stores asked what
    /// they know. Those may take their time; nothing else waits for them.
    async fn recover(&mut self) -> Result<(), Lost> {
        let pause = Duration::from_secs(self.app.config.scheduler.sweep_secs) * REFUSED_SWEEPS;
        let rests = |refused: Instant| refused.elapsed() < pause;
        if !self.searching.is_empty() || self.search_refused.is_some_and(rests) {
            return Ok(());
        }
        let (clusters, tasks, ended) = {
            let memory = self.app.memory();
            let Memory {
                clusters,
                tasks,
                ended,
                ..
            } = &*memory;
            (clusters.clone(), Arc::clone(tasks), ended.clone())
        };
        if !clusters.is_empty() || !self.open.is_empty() {
            let (clusters, open) = (clusters.len(), self.open.len());
            warn!(
                clusters,
                open, "NATS has lost its buckets; writing them anew"
            );
        }
        let ledger = &self.app.ledger;
        for record in &ended {
            self.insist("write a run", || async {
                ledger.new_run(record).await.map(drop)
            })
            .await?;
        }
        self.restore(&clusters, &tasks).await?;
        for run in self.open.keys().copied().collect::<Vec<_>>() {
            if let Some(mut open) = self.open.remove(&run) {
                let cluster = open.record.cluster;
                self.save(&mut open).await?;
                if open.record.exclusive() {
                    self.insist("lock a cluster", || async {
                        ledger.lock(cluster, run).await.map(drop)
                    })
                    .await?;
                }
                self.open.insert(run, open);
            }
        }
        let mut locations = self.app.config.scheduler.locations.clone();
        let wishes = tasks
            .iter()
            .filter_map(|task| crate::properties::of_task(task).ok());
        locations.extend(wishes.flat_map(|wish| wish.locations().to_vec()));
        self.search_failed = false;
        self.search_refused = None;
        for location in copies::unique(locations.iter()) {
            let stores = self.app.stores.clone();
            self.searching.spawn(async move {
                let found = copies::find(&stores, &location).await;
                (location, found)
            });
        }
        self.searched().await
    }

    /// An object store has said what it knows.
    pub(crate) async fn found(&mut self, (location, found): Searched) -> Result<(), Lost> {
        match found {
            Ok(found) => self.adopt(&location, found).await?,
            Err(cause) if cause.retry() => {
                warn!(%location, error = %Chain(&cause), "cannot look for runs that NATS may have lost; trying on");
                self.search_failed = true;
            }
            Err(cause) => {
                // Whoever puts it right need not know that somebody has to look again.
                error!(%location, error = %Chain(&cause), "cannot look for runs that NATS may have lost; trying on, less often");
                self.search_refused = Some(Instant::now());
            }
        }
        self.searched().await
    }

    /// Marks the buckets as known once all object stores have answered. Until then it is tried on, and nothing
    /// is deleted because nobody knows its task.
    async fn searched(&mut self) -> Result<(), Lost> {
        if self.searching.is_empty() && !self.search_failed && self.search_refused.is_none() {
            let ledger = &self.app.ledger;
            self.insist("mark the buckets", || ledger.mark(crate::now_ms()))
                .await?;
        }
        Ok(())
    }

    /// Takes over what a bucket knows and we do not.
    async fn adopt(&mut self, location: &Location, found: Found) -> Result<(), Lost> {
        let Found {
            clusters,
            tasks,
            runs,
        } = found;
        let counts = (clusters.len(), tasks.len(), runs.len());
        info!(%location, clusters = counts.0, tasks = counts.1, runs = counts.2, "found in the bucket");
        self.restore(&clusters, &tasks).await?;
        for spec in runs {
            let record = rebuilt(spec, crate::now_ms());
            let (run, cluster) = (record.run, record.cluster);
            let ledger = &self.app.ledger;
            let known = self.insist("look for a run", || async {
                match ledger.run(cluster, run).await {
                    Err(cause) if !cause.retry() => Ok(true),
                    found => found.map(|found| found.is_some()),
                }
            });
            if known.await? {
                continue;
            }
            let holder = match record.exclusive() {
                true => {
                    let lock = || ledger.lock(cluster, run);
                    self.insist("lock a cluster", lock).await?
                }
                false => None,
            };
            if let Some(holder) = holder {
                warn!(%run, %cluster, %holder, "a run in the bucket is left alone: another one has its cluster");
            } else if let Some(revision) = self
                .insist("write a run", || ledger.new_run(&record))
                .await?
            {
                warn!(%run, %cluster, "going on with a run that NATS had lost");
                self.take_up(record, revision).await?;
            }
        }
        self.kept_house = None;
        Ok(())
    }

    async fn restore(&self, clusters: &[Cluster], tasks: &[Task]) -> Result<(), Lost> {
        let ledger = &self.app.ledger;
        for cluster in clusters {
            self.insist("write a cluster", || async {
                ledger.new_cluster(cluster).await.map(drop)
            })
            .await?;
        }
        for task in tasks {
            self.insist("write a task", || ledger.new_task(task))
                .await?;
        }
        Ok(())
    }
}

/// The record of a run of which only the descriptor is left.
fn rebuilt(spec: Spec, now_ms: u64) -> Record {
    let (cluster, task, run, wish, asked_ms) = match &spec {
        Spec::Backup(s) => (
            s.cluster,
            s.task,
            s.run,
            Wish::Backup(s.request.clone()),
            s.started_ms,
        ),
        Spec::Restore(s) => (
            s.cluster,
            s.task,
            s.run,
            Wish::Restore(s.request.clone()),
            s.started_ms,
        ),
        Spec::Errand(s) => (
            s.cluster,
            s.task,
            s.run,
            match &s.errand {
                Errand::Delete(request) => Wish::Delete(request.clone()),
                Errand::Validate(request) => Wish::Validate(request.clone()),
                Errand::Clear { .. } => Wish::Clear(ClearRequest {}),
            },
            s.started_ms,
        ),
    };
    let mut record = Record::new(cluster, task, run, wish, asked_ms);
    record.work = Some(Run::rebuild(spec));
    record.follow(now_ms);
    record
}
