//! Something that was changed and must be put back, asked for until it is acknowledged.
//!
//! The job that changed it may be delivered once more, late, even after the job that puts it back.
//! Its event shows that; then the putting back is asked for anew, but only after a while: an
//! acknowledgement that comes at once may be of a job that was carried out before the change.

use serde::{Deserialize, Serialize};

use crate::{course::Folded, limit};

/// One thing to put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Undo {
    state: State,
    /// When it was first asked for.
    pub(crate) since_ms: u64,
    /// When it was last asked for.
    pub(crate) asked_ms: u64,
    /// How often it was asked for.
    pub(crate) round: u32,
    /// Why it could not be put back when last it could not; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Asked,
    /// To be asked for again at this time; no acknowledgement is believed before.
    Paused {
        until_ms: u64,
    },
    Done,
    GivenUp,
}

impl Undo {
    pub(crate) fn ask(now_ms: u64) -> Self {
        Self {
            state: State::Asked,
            since_ms: now_ms,
            asked_ms: now_ms,
            round: 0,
            reason: String::new(),
        }
    }

    pub(crate) fn asked(&self) -> bool {
        self.state == State::Asked
    }

    pub(crate) fn open(&self) -> bool {
        match self.state {
            State::Asked | State::Paused { .. } => true,
            State::Done | State::GivenUp => false,
        }
    }

    pub(crate) fn given_up(&self) -> bool {
        self.state == State::GivenUp
    }

    pub(crate) fn ask_again(&mut self, now_ms: u64) {
        self.state = State::Asked;
        self.asked_ms = now_ms;
        self.round += 1;
    }

    /// It is put back, says an event.
    pub(crate) fn acknowledged(&mut self) -> Folded {
        match self.state {
            State::Asked => {
                self.state = State::Done;
                Folded::Changed
            }
            State::Paused { .. } | State::Done | State::GivenUp => Folded::Known,
        }
    }

    /// It was changed once more, says an event.
    pub(crate) fn changed_again(&mut self, now_ms: u64) -> Folded {
        if !self.open() {
            self.since_ms = now_ms;
        }
        let until_ms = now_ms + limit::ANSWER_MS;
        match self.state {
            State::Paused { until_ms: already } if already >= until_ms => return Folded::Known,
            State::Asked | State::Paused { .. } | State::Done | State::GivenUp => {
                self.state = State::Paused { until_ms };
            }
        }
        Folded::Changed
    }

    /// It could not be put back, says an event: not now.
    pub(crate) fn failed(&mut self, reason: &str, now_ms: u64) -> Folded {
        match self.state {
            State::Asked => {
                reason.clone_into(&mut self.reason);
                self.state = State::Paused {
                    until_ms: now_ms + limit::PAUSE_MS,
                };
                Folded::Changed
            }
            State::Paused { .. } | State::Done | State::GivenUp => Folded::Known,
        }
    }

    /// Asks again if a pause is over; true if so.
    pub(crate) fn tick(&mut self, now_ms: u64) -> bool {
        match self.state {
            State::Paused { until_ms } if until_ms <= now_ms => {
                self.ask_again(now_ms);
                true
            }
            State::Paused { .. } | State::Asked | State::Done | State::GivenUp => false,
        }
    }

    pub(crate) fn give_up(&mut self) {
        self.state = State::GivenUp;
    }
}
