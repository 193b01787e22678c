//! Waiting for a run to end.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    api::{Answer, Api},
    error::{Exit, Failure},
    output::{Output, note},
    progress::{bars::Bars, line},
    shape::RunProgress,
};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Time between two lines of a log, when nothing but numbers changed.
const QUIET: Duration = Duration::from_secs(10);

/// How long nobody may answer before we give up. A new leader takes over in 10 s.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a run that was just begun may not be there yet.
const BIRTH: Duration = Duration::from_secs(15);

/// A run that is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) task: &'a str,
    /// Its identity, or `latest`.
    pub(crate) run: &'a str,
    /// Whether it was begun just now, so that it may not be there yet.
    pub(crate) fresh: bool,
}

impl Watched<'_> {
    /// How far it is.
    pub(crate) async fn look(&self, api: &Api) -> Result<(Answer, RunProgress), Failure> {
        let path = [
            "cluster",
            self.cluster,
            "task",
            self.kind,
            self.task,
            self.run,
        ];
        let answer = api.get(&path, &[]).await?;
        let read = answer.read()?;
        Ok((answer, read))
    }

    /// Shows how far it is until it ends, and returns the last answer.
    ///
    /// A scheduler that goes away and comes back in time is only remarked upon. An interrupt ends
    /// the waiting, not the run.
    pub(crate) async fn follow(
        &self,
        api: &Api,
        out: Output,
    ) -> Result<(Answer, RunProgress), Failure> {
        let mut show = if out.live() {
            Show::Bars(Bars::new(out.colour()))
        } else {
            Show::Lines(Lines::new())
        };
        let ended = tokio::select! {
            ended = self.wait(api, &mut show) => ended,
            _ = tokio::signal::ctrl_c() => Err(self.left()),
        };
        if let Show::Bars(bars) = show {
            bars.clear();
        }
        ended
    }

    async fn wait(&self, api: &Api, show: &mut Show) -> Result<(Answer, RunProgress), Failure> {
        let begun = Instant::now();
        let mut answered = begun;
        loop {
            match self.look(api).await {
                Ok((answer, now)) => {
                    answered = Instant::now();
                    show.show(&now);
                    if now.run.ended() {
                        return Ok((answer, now));
                    }
                }
                Err(failure) if failure.passing && answered.elapsed() < PATIENCE => {
                    show.remark(&failure.message)
                }
                Err(failure)
                    if failure.exit == Exit::NotFound && self.fresh && begun.elapsed() < BIRTH => {}
                Err(failure) => return Err(failure),
            }
            sleep(PAUSE).await;
        }
    }

    fn left(&self) -> Failure {
        let Self {
            cluster,
            kind,
            task,
            ..
        } = self;
        Failure::new(Exit::Interrupted, "no longer waiting; the run goes on").advise(format!(
            "look again: thetis progress -c {cluster} {kind}/{task}\nend it: thetis stop -c {cluster} {kind}/{task}"
        ))
    }
}

/// A run that ended other than well is a failure.
pub(crate) fn verdict(last: &RunProgress, cluster: &str) -> Result<(), Failure> {
    let run = &last.run;
    if run.status == "DONE" {
        return Ok(());
    }
    let cause = run.cause.clone().unwrap_or_default();
    Err(Failure::new(
        Exit::Failed,
        format!("{}/{} ended {}", run.kind, run.task_id, run.status),
    )
    .because(cause)
    .advise(format!(
        "try again: thetis start -c {cluster} {}/{}",
        run.kind, run.task_id
    )))
}

/// Where progress is shown.
enum Show {
    Bars(Bars),
    Lines(Lines),
}

impl Show {
    fn show(&mut self, now: &RunProgress) {
        match self {
            Self::Bars(bars) => bars.show(now),
            Self::Lines(lines) => lines.show(now),
        }
    }

    fn remark(&mut self, text: &str) {
        match self {
            Self::Bars(bars) => bars.remark(text),
            Self::Lines(lines) => lines.say(text.to_owned(), text.to_owned()),
        }
    }
}

/// Lines for a log: one whenever the state changes, else now and then.
struct Lines {
    state: String,
    last: String,
    at: Instant,
}

impl Lines {
    fn new() -> Self {
        Self {
            state: String::new(),
            last: String::new(),
            at: Instant::now(),
        }
    }

    fn show(&mut self, now: &RunProgress) {
        let stage = now
            .progress
            .as_ref()
            .map_or("", |progress| progress.stage.as_str());
        self.say(format!("{} {stage}", now.run.status), line(now));
    }

    fn say(&mut self, state: String, line: String) {
        let changed = state != self.state;
        if changed || (line != self.last && self.at.elapsed() >= QUIET) {
            note(&line);
            *self = Self {
                state,
                last: line,
                at: Instant::now(),
            };
        }
    }
}
