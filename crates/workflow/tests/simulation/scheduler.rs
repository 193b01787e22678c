//! The schedulers: load, fold, save by compare-and-set, publish, acknowledge; each its own step,
//! and death may come before any. There are two, one of which must be stale whenever both work.

use std::collections::{BTreeSet, VecDeque};

use protocol::{Event, Job, RunStatus};
use workflow::{Input, Run, survives_stop};

use crate::{chance::Chance, world::World};

/// What a scheduler is doing.
#[derive(Debug, Default)]
pub(crate) enum Scheduler {
    #[default]
    Idle,
    /// Has folded an input into what it loaded.
    Folded {
        revision: u64,
        before: Box<Run>,
        after: Box<Run>,
        event: Option<u64>,
    },
    /// Publishes jobs, then acknowledges the event.
    Publishing {
        jobs: VecDeque<Job>,
        event: Option<u64>,
    },
}

enum Task {
    Event(u64, Box<Event>),
    Tick,
    Stop,
    Sweep,
}

impl World {
    /// One step of a scheduler.
    pub(crate) fn schedule(&mut self) {
        let which = self.chance.index(2);
        self.scheduler_steps += 1;
        let scheduler = std::mem::take(&mut self.schedulers[which]);
        let dies = self.chance.happens(self.scenario.faults.scheduler_dies);
        if dies || self.die_at == Some(self.scheduler_steps) {
            return;
        }
        self.schedulers[which] = match scheduler {
            Scheduler::Idle => self.begin_task(),
            Scheduler::Folded {
                revision,
                before,
                after,
                event,
            } => self.save(revision, &before, *after, event),
            Scheduler::Publishing { jobs, event } => self.publish_some(jobs, event),
        };
    }

    fn begin_task(&mut self) -> Scheduler {
        let task = match self.chance.below(10) {
            0..=5 if !self.events.is_empty() => {
                let (id, event) = self.events[self.chance.index(self.events.len())].clone();
                Task::Event(id, Box::new(event))
            }
            0..=6 => Task::Tick,
            7 if self.control => Task::Stop,
            _ => Task::Sweep,
        };
        let Some((revision, run)) = self.saved.clone() else {
            return self.rebuild(&task);
        };
        if run.status().ended() {
            return self.after_the_end(&run, &task);
        }
        assert_eq!(
            run.resume(run.owner().1, 0),
            None,
            "an open run cannot be continued"
        );
        if run.leaves_off() && !self.control && !matches!(task, Task::Event(..)) {
            self.tell_workers();
            return Scheduler::Idle;
        }
        let before = Box::new(run);
        let mut after = before.clone();
        let (input_changed, event) = match &task {
            Task::Event(id, event) => (after.apply(&Input::Event(event)), Some(*id)),
            Task::Tick => {
                let absent: BTreeSet<_> = before
                    .needs()
                    .into_iter()
                    .filter(|worker| !self.alive(*worker))
                    .collect();
                (
                    after.apply(&Input::Tick {
                        now_ms: self.now_ms,
                        absent: &absent,
                    }),
                    None,
                )
            }
            Task::Stop => (after.apply(&Input::Stop), None),
            Task::Sweep => {
                let jobs = before.due().into();
                return Scheduler::Publishing { jobs, event: None };
            }
        };
        if input_changed {
            Scheduler::Folded {
                revision,
                before,
                after,
                event,
            }
        } else {
            Scheduler::Publishing {
                jobs: VecDeque::new(),
                event,
            }
        }
    }

    /// Nothing is known but what the bucket says: the run begins anew.
    fn rebuild(&mut self, task: &Task) -> Scheduler {
        if let Some(spec) = self.bucket.descriptor.clone() {
            self.revision += 1;
            self.saved = Some((self.revision, Run::rebuild(spec)));
        } else if let Task::Event(id, _) = task {
            self.acknowledge(*id);
        }
        Scheduler::Idle
    }

    fn after_the_end(&mut self, run: &Run, task: &Task) -> Scheduler {
        assert_eq!(
            run.due(),
            Vec::new(),
            "a run that has ended asks for nothing"
        );
        self.bucket.descriptor = None;
        self.tell_workers();
        self.remove_jobs();
        match task {
            Task::Event(id, event) => {
                // An older copy of the job may be in hand, and may have had its effect: the event
                // comes again until each job is taken.
                let mut taken = true;
                for job in run.amends(event) {
                    taken &= self.publish_job(job);
                }
                if taken {
                    self.acknowledge(*id);
                }
                Scheduler::Idle
            }
            Task::Tick | Task::Stop | Task::Sweep => Scheduler::Idle,
        }
    }

    fn save(&mut self, revision: u64, before: &Run, after: Run, event: Option<u64>) -> Scheduler {
        match &mut self.saved {
            Some((current, saved)) if *current == revision => {
                let after = stored_and_loaded(&mut self.chance, after);
                let jobs = after.jobs_after(before).into();
                let stopping = after.status() == RunStatus::Stopping;
                let stops = stopping && before.status() != RunStatus::Stopping;
                self.revision += 1;
                (*current, *saved) = (self.revision, after);
                self.tell(|| format!("save    {event:?}"));
                if stops {
                    self.remove_jobs();
                }
                Scheduler::Publishing { jobs, event }
            }
            // Another was faster, or all is lost: the event comes again.
            Some(_) | None => Scheduler::Idle,
        }
    }

    /// Removes a run's jobs, but for those whose answers must not be missed.
    fn remove_jobs(&mut self) {
        self.tell(|| "remove  the run's jobs".to_owned());
        self.queue.retain(|_, message| survives_stop(&message.job));
    }

    fn publish_some(&mut self, mut jobs: VecDeque<Job>, event: Option<u64>) -> Scheduler {
        for _ in 0..=self.chance.below(6) {
            let Some(job) = jobs.pop_front() else {
                event.into_iter().for_each(|event| self.acknowledge(event));
                return Scheduler::Idle;
            };
            self.publish_job(job);
        }
        Scheduler::Publishing { jobs, event }
    }

    fn acknowledge(&mut self, id: u64) {
        self.tell(|| format!("ack     {id}"));
        self.events.retain(|(event, _)| *event != id);
    }
}

/// Once in a while, what comes out of a store is compared with what went in.
fn stored_and_loaded(chance: &mut Chance, run: Run) -> Run {
    if chance.below(20) > 0 {
        return run;
    }
    let packed = rmp_serde::to_vec_named(&run).expect("a run can be packed");
    let unpacked: Run = rmp_serde::from_slice(&packed).expect("a packed run can be read");
    let text = serde_json::to_string(&run).expect("a run can be written");
    let read: Run = serde_json::from_str(&text).expect("a written run can be read");
    assert_eq!((&unpacked, &read), (&run, &run));
    unpacked
}
