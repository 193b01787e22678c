//! Tidying up after a run's end. Done beside the term, and again until it works: a run that has
//! ended is not closed before nothing of it is left in the queue, its lock is free, and its
//! descriptor is gone from the bucket.

use protocol::{Control, Event, Fact, RunEnded, RunId, RunStatus, TaskId};
use service::Chain;
use tracing::{Instrument as _, info, warn};

use crate::{
    App, copies,
    driver::Open,
    leader::{Lost, Term},
    proofs,
    record::Record,
};

/// How an attempt to tidy up went.
pub(crate) struct Closed {
    run: RunId,
    done: Result<(), String>,
}

impl Term<'_> {
    /// A run has ended just now.
    pub(crate) fn ended(&mut self, open: Open) {
        let _within = open.span.enter();
        let record = &open.record;
        let Record {
            run,
            cluster,
            status,
            ..
        } = *record;
        info!(%run, %cluster, task = %record.task, %status, cause = record.cause, "run ended");
        self.app.metrics.ended(record.kind(), status);
        self.app.metrics.board.ended(record);
        self.look_again(record.task, status);
        if status == RunStatus::Done && record.parts.backup.is_some() {
            self.app.memory().good(cluster, record.ended_ms);
        }
        if status == RunStatus::Done
            && let Some((of, _, proof)) = proofs::proven(record)
        {
            self.app.memory().proven(of, proof);
        }
        let record = open.record.clone();
        self.close(record);
    }

    /// Looks soon at a task whose run may be followed by another, or goes with the task.
    fn look_again(&mut self, task: TaskId, status: RunStatus) {
        let follows = matches!(status, RunStatus::Error | RunStatus::Waiting);
        let memory = self.app.memory();
        let task = memory.tasks.iter().find(|known| known.id == task);
        if task.is_some_and(|task| task.deleted || follows && task.schedule.is_some()) {
            self.house_ms = 0;
        }
    }

    /// Has a run tidied up after, unless that is under way.
    pub(crate) fn close(&mut self, record: Record) {
        let run = record.run;
        self.app.memory().ended(record.clone());
        self.closing.insert(run, record.clone());
        if !self.trying.insert(run) {
            return;
        }
        let app = self.app.clone();
        let tidying = async move {
            Closed {
                run,
                done: tidy_up(&app, &record).await,
            }
        };
        self.tidying.spawn(tidying.in_current_span());
    }

    /// Tries those again that could not be tidied up after.
    pub(crate) fn retry_closing(&mut self) {
        let left: Vec<Record> = self
            .closing
            .values()
            .filter(|record| !self.trying.contains(&record.run))
            .cloned()
            .collect();
        for record in left {
            self.close(record);
        }
    }

    pub(crate) async fn closed(&mut self, closed: Closed) -> Result<(), Lost> {
        let Closed { run, done } = closed;
        self.trying.remove(&run);
        if let Err(cause) = done {
            warn!(%run, cause, "not all is tidied up after the run yet, trying on");
            return Ok(());
        }
        let Some(mut record) = self.closing.remove(&run) else {
            return Ok(());
        };
        record.closed = true;
        record.epoch = self.lead.epoch();
        // It may have been forgotten by its user meanwhile, and then stays so.
        let ledger = &self.app.ledger;
        self.insist("close a run", || async {
            match ledger.run(record.cluster, run).await? {
                Some((found, revision)) if found.epoch <= record.epoch => {
                    ledger.save_run(&record, revision).await.map(drop)
                }
                Some(_) | None => Ok(()),
            }
        })
        .await?;
        self.app.memory().ended(record);
        self.retry_waiting();
        Ok(())
    }
}

async fn tidy_up(app: &App, record: &Record) -> Result<(), String> {
    let Record {
        cluster,
        run,
        status,
        ..
    } = *record;
    let said = |error: queue::Error| Chain(&error).to_string();
    // Workers leave off what they have in hand, and no late copy switches anything off any more.
    app.ledger
        .control
        .put(&run.to_string(), &Control::Stop)
        .await
        .map_err(said)?;
    app.queue.purge_run(cluster, run).await.map_err(said)?;
    app.ledger.unlock(cluster, run).await.map_err(said)?;
    let bucket = |error: store::Error| error.to_string();
    copies::drop_run(&app.stores, record)
        .await
        .map_err(bucket)?;
    if status == RunStatus::Done && record.parts.backup.is_some() {
        let runs = app.ledger.runs(cluster).await.map_err(said)?;
        for before in abandoned(record, &runs) {
            copies::drop_notes(&app.stores, before)
                .await
                .map_err(bucket)?;
        }
    }
    if status == RunStatus::Done {
        proofs::note(app, record).await?;
    }
    let ended = RunEnded {
        status,
        cause: record.cause.clone(),
    };
    app.queue
        .publish_event(&Event {
            cluster,
            run,
            node: None,
            fact: Fact::RunEnded(ended),
        })
        .await
        .map_err(said)
}

/// Runs of the same task that failed or were stopped since it was last done, and that `done` does
/// not go on from: nobody can go on from them any more. `runs` are the cluster's, newest first.
fn abandoned<'a>(done: &Record, runs: &'a [Record]) -> Vec<&'a Record> {
    let of_task = runs.iter().filter(|run| run.task == done.task);
    let before = of_task.skip_while(|run| run.run != done.run).skip(1);
    before
        .take_while(|run| run.status != RunStatus::Done)
        .filter(|run| run.work.is_some() && run.status.ended() && run.origin() != done.origin())
        .collect()
}

#[cfg(test)]
mod tests {
    use protocol::TaskId;

    use super::*;
    use crate::record::tests::backup;

    #[test]
    fn notes_go_when_nobody_can_go_on_from_them() {
        let (task, other) = (TaskId::generate(), TaskId::generate());
        let runs = [
            backup(task, 60, RunStatus::Done),
            backup(other, 50, RunStatus::Stopped),
            backup(task, 40, RunStatus::Error),
            backup(task, 30, RunStatus::Done),
            backup(task, 20, RunStatus::Stopped),
        ];
        let found: Vec<_> = abandoned(&runs[0], &runs)
            .iter()
            .map(|run| run.run)
            .collect();
        assert_eq!(found, [runs[2].run]);
    }
}
