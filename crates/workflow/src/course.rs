//! How inputs are folded into a run, whichever kind it is.

use protocol::{ClusterId, Event, Failed, Job, NodeId, RunId};

use crate::{
    absence::Workers,
    life::Life,
    run::Input,
    wait::{Step, Wait, Who, Why},
};

/// What an event did to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folded {
    /// It was news.
    Changed,
    /// Folded in already, or of a step the run is past, or begins anew.
    Known,
    /// No history of this run explains it.
    Impossible,
}

/// A kind of run.
pub(crate) trait Course {
    fn life(&self) -> &Life;
    fn life_mut(&mut self) -> &mut Life;
    fn owner(&self) -> (ClusterId, RunId);
    /// Everything that is waited for.
    fn waits(&self) -> Vec<Wait>;
    /// The jobs that `wait` is for.
    fn jobs(&self, wait: &Wait) -> Vec<Job>;
    /// Whether part `part` of `wait` is still to be done.
    fn lacks(&self, wait: &Wait, part: u32) -> bool;
    /// Folds in an event of this run, which has not ended.
    fn fold(&mut self, event: &Event) -> Folded;
    /// Waits no longer for `wait`.
    fn give_up(&mut self, wait: &Wait, why: Why, absent: &Workers);
    /// Folds in that a job failed which is waited for. Its answer for balancing is handled here.
    fn job_failed(&mut self, wait: &Wait, node: Option<NodeId>, failed: &Failed);
    /// Looks after what has to be put back, or waited for without a job; true if anything changed.
    fn tick_undos(&mut self) -> bool;
    /// Folds in that the user wants no more of a run that works; true if that changes anything.
    fn stop(&mut self) -> bool;
    /// Goes on as far as what is known allows.
    fn settle(&mut self);
}

/// Folds in one input; true if the run is another than before.
pub(crate) fn apply<C: Course>(course: &mut C, input: &Input<'_>) -> bool {
    if course.life().ended.is_some() {
        return false;
    }
    let changed = match input {
        Input::Event(event) => fold(course, event),
        Input::Tick { now_ms, absent } => tick(course, *now_ms, absent),
        Input::Stop => course.life().working() && course.stop(),
    };
    if changed {
        course.settle();
    }
    changed
}

fn fold<C: Course>(course: &mut C, event: &Event) -> bool {
    if (event.cluster, event.run) != course.owner() {
        return false;
    }
    match course.fold(event) {
        Folded::Changed => true,
        Folded::Known => false,
        Folded::Impossible => {
            let life = course.life_mut();
            life.impossible = life.impossible.saturating_add(1);
            true
        }
    }
}

fn tick<C: Course>(course: &mut C, now_ms: u64, absent: &Workers) -> bool {
    let mut changed = course.life_mut().clock.tick(now_ms);
    let life = course.life_mut();
    let now_ms = life.now_ms();
    changed |= life.balancing.tick(absent, &life.ring, now_ms);
    changed |= course.tick_undos();
    let waits = course.waits();
    let needs = course.life().needs(&waits);
    let absences = &mut course.life_mut().absences;
    changed |= absences.note(&needs, absent, now_ms);
    for wait in &waits {
        // Balancing has limits of its own, and other nodes to turn to.
        if wait.step == Step::BalancingOn {
            continue;
        }
        if let Some(why) = course.life().overdue(wait) {
            course.give_up(wait, why, absent);
            changed = true;
        }
    }
    changed
}

/// Folds in that a job failed. It matters only if it is one that is waited for.
pub(crate) fn fold_failed<C: Course>(
    course: &mut C,
    node: Option<NodeId>,
    failed: &Failed,
) -> Folded {
    let matches = |wait: &Wait| {
        let whose = match &wait.who {
            Who::Node(whose) => node == Some(*whose),
            Who::Dc(_) => true,
        };
        whose && wait.step.job() == failed.job && course.lacks(wait, failed.part)
    };
    let Some(wait) = course.waits().into_iter().find(matches) else {
        return Folded::Known;
    };
    if let (Step::BalancingOn, Who::Node(node)) = (wait.step, &wait.who) {
        let life = course.life_mut();
        let now_ms = life.now_ms();
        return life
            .balancing
            .on_failed(*node, &failed.reason, &life.ring, now_ms);
    }
    course.job_failed(&wait, node, failed);
    Folded::Changed
}

/// Who failed at what, and why, for people.
pub(crate) fn failure(life: &Life, wait: &Wait, node: Option<NodeId>, failed: &Failed) -> String {
    let whose = node.map_or_else(|| "a node".to_owned(), |node| life.ring.name(node));
    let part = match wait.step {
        Step::Upload => format!(" of chunk {}", failed.part),
        Step::Load => format!(" of batch {}", failed.part),
        Step::Inspect
        | Step::BalancingOff
        | Step::BalancingOn
        | Step::Snapshot
        | Step::Index
        | Step::StoreSchema
        | Step::Seal
        | Step::Drop
        | Step::Purge
        | Step::Validate
        | Step::Clear
        | Step::Plan
        | Step::PrepareSchema
        | Step::Prove
        | Step::SettleSchema
        | Step::Prepare
        | Step::PutBack => String::new(),
    };
    format!("{whose} failed at {}{part}: {}", failed.job, failed.reason)
}
