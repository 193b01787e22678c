//! HTTP/1.1 as far as clients of S3 speak it: bodies have a length, and connections are kept.
//!
//! Made by hand, for two reasons: it costs next to nothing, and it can break its word at any byte.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use crc32fast::Hasher;

use super::{
    fault::Fault,
    reply::{Reply, error},
    s3::{self, Request},
    server::Shared,
    state::Taken,
    wire::Wire,
};

/// Bytes read at once.
const STEP: usize = 256 << 10;
/// Headers of a request.
const HEADERS: usize = 64;
/// A body that is kept may be this long, in bytes.
const LONGEST: u64 = 64 << 20;
/// How much later a slow answer comes.
const SLOW: Duration = Duration::from_secs(2);

/// A connection, and what has been read of it but not yet looked at.
struct Connection<'a> {
    shared: &'a Shared,
    wire: Wire,
    space: Box<[u8]>,
    start: usize,
    end: usize,
}

/// Answers requests until the client has no more.
pub(super) async fn talk(shared: &Shared, wire: Wire) -> Result<()> {
    let mut connection = Connection {
        shared,
        wire,
        space: vec![0; STEP].into_boxed_slice(),
        start: 0,
        end: 0,
    };
    while let Some(request) = connection.head().await? {
        if !connection.answer(request).await? {
            break;
        }
    }
    Ok(())
}

impl Connection<'_> {
    /// The next request, without its body; `None` at the end.
    async fn head(&mut self) -> Result<Option<Request>> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut head = httparse::Request::new(&mut headers);
            let unread = &self.space[self.start..self.end];
            if let httparse::Status::Complete(bytes) = head.parse(unread)? {
                let request = Request::read(&head)?;
                self.start += bytes;
                return Ok(Some(request));
            }
            self.space.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            ensure!(
                self.end < self.space.len(),
                "the head of a request is too long"
            );
            match self.wire.read(&mut self.space[self.end..]).await? {
                0 if self.end == 0 => return Ok(None),
                0 => bail!("the connection ends within a request"),
                read => self.end += read,
            }
        }
    }

    /// Takes the request's body and answers it; whether the connection goes on.
    async fn answer(&mut self, request: Request) -> Result<bool> {
        let shared = self.shared;
        let (number, _under_way) = shared.state.begin();
        shared.state.count(request.kind);
        let fault = shared.options.faults.of(number);
        if let Some(fault) = fault {
            shared.state.count_fault(fault);
        }
        if request.expects && self.start == self.end {
            self.wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if fault == Some(Fault::Reset) {
            self.body(&request, request.length / 2).await?;
            self.wire.reset()?;
            return Ok(false);
        }
        let taken = self.body(&request, request.length).await?;
        tokio::time::sleep(shared.options.delay()).await;
        let reply = match fault {
            Some(Fault::SlowDown) => error(503, "SlowDown").with("Retry-After", "1"),
            Some(Fault::Expired) => error(400, "ExpiredToken"),
            Some(Fault::WrongChecksum) => s3::handle(shared, request, taken).falsified(),
            None | Some(Fault::Slow | Fault::Cut | Fault::Reset) => {
                s3::handle(shared, request, taken)
            }
        };
        if fault == Some(Fault::Slow) {
            tokio::time::sleep(SLOW).await;
        }
        self.say(&reply, fault == Some(Fault::Cut)).await
    }

    async fn say(&mut self, reply: &Reply, cut: bool) -> Result<bool> {
        let text = reply.to_bytes();
        let end = if cut { text.len() / 2 } else { text.len() };
        self.wire.write(&text[..end]).await?;
        Ok(!cut)
    }

    /// Takes `length` bytes of the request's body.
    async fn body(&mut self, request: &Request, length: u64) -> Result<Taken> {
        let keep = request.keep() && length <= LONGEST;
        let mut body = keep.then(Vec::new);
        let mut crc = (self.shared.options.check && !request.framed).then(Hasher::new);
        let mut left = length;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(STEP);
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
                let space = &mut self.space[..most];
                let looked_at = body.is_some() || crc.is_some();
                let read = if looked_at {
                    self.end = self.wire.read(space).await?;
                    self.end
                } else {
                    self.wire.skip(space).await?
                };
                ensure!(read > 0, "the connection ends within a body");
                if !looked_at {
                    left -= read as u64;
                    continue;
                }
            }
            let end = self.end.min(self.start + most);
            let piece = &self.space[self.start..end];
            if let Some(crc) = &mut crc {
                crc.update(piece);
            }
            if let Some(body) = &mut body {
                body.extend_from_slice(piece);
            }
            left -= piece.len() as u64;
            self.start = end;
        }
        // Where a body comes in signed pieces, this is its own length.
        let bytes = request.decoded_length.unwrap_or(length);
        if request.kind.is_payload() {
            self.shared.state.count_bytes(bytes);
        }
        Ok(Taken {
            bytes,
            crc,
            body: body.map(Bytes::from),
        })
    }
}

/// The text of a header.
pub(super) fn text<'h>(header: &httparse::Header<'h>) -> Result<&'h str> {
    std::str::from_utf8(header.value).with_context(|| format!("{} is no text", header.name))
}
