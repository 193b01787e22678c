//! What is sent.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Pulse;

/// What a body is handed over in, at most, and so the grain at which it is seen to move.
const SLICE: usize = 256 * 1024;

/// The body of a request. Its length is known, and its every slice is a beat of its pulse.
#[derive(Debug)]
pub(crate) struct Outgoing {
    rest: VecDeque<Bytes>,
    bytes: u64,
    pulse: Pulse,
}

impl Outgoing {
    pub(crate) fn new(body: &[Bytes], pulse: &Pulse) -> Self {
        let rest: VecDeque<_> = body.iter().filter(|b| !b.is_empty()).cloned().collect();
        Self {
            bytes: rest.iter().map(|bytes| bytes.len() as u64).sum(),
            rest,
            pulse: pulse.clone(),
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(mut slice) = self.rest.pop_front() else {
            return Poll::Ready(None);
        };
        self.pulse.beat();
        if slice.len() > SLICE {
            let rest = slice.split_off(SLICE);
            self.rest.push_front(rest);
        }
        self.bytes -= slice.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}
