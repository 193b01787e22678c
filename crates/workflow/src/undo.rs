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
    /// To be asked for again after a pause; no acknowledgement is believed before. It begins with
    /// the next tick: the clock may be behind when an event is folded in.
    Paused {
        pause_ms: u64,
        until_ms: Option<u64>,
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
        let paused = State::Paused {
            pause_ms: limit::ANSWER_MS,
            until_ms: None,
        };
        if self.state == paused {
            return Folded::Known;
        }
        self.state = paused;
        Folded::Changed
    }

    /// It could not be put back, says an event: not now.
    pub(crate) fn failed(&mut self, reason: &str) -> Folded {
        match self.state {
            State::Asked => {
                reason.clone_into(&mut self.reason);
                self.state = State::Paused {
                    pause_ms: limit::PAUSE_MS,
                    until_ms: None,
                };
                Folded::Changed
            }
            State::Paused { .. } | State::Done | State::GivenUp => Folded::Known,
        }
    }

    /// Begins a pause, or asks again if it is over; true if so.
    pub(crate) fn tick(&mut self, now_ms: u64) -> bool {
        match &mut self.state {
            State::Paused { pause_ms, until_ms } => match *until_ms {
                None => *until_ms = Some(now_ms + *pause_ms),
                Some(until_ms) if until_ms <= now_ms => self.ask_again(now_ms),
                Some(_) => return false,
            },
            State::Asked | State::Done | State::GivenUp => return false,
        }
        true
    }

    pub(crate) fn give_up(&mut self) {
        self.state = State::GivenUp;
    }
}
