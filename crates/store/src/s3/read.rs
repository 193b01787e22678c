//! Objects of S3 as they are read.

use std::{ops::Range, sync::Arc};

use crc32fast::Hasher;
use futures::{StreamExt, stream};
use http::header::{AsHeaderName, CONTENT_LENGTH, CONTENT_RANGE};

use super::{
    S3,
    error::checksum,
    payload::{Ask, CHECKSUM, What},
};
use crate::{Error, error::Attempt, http::Answer, store::Body};

impl S3 {
    /// Begins to read a whole object; the caller holds a request of the budget.
    pub(crate) async fn get(&self, key: &str) -> Result<Body, Error> {
        let attempt = self.attempt("read", key);
        let what = What::Get;
        let answer = self.ask(&attempt, &Ask { key, what }).await;
        let answer = answer.map_err(|fault| fault.error)?;
        let length = text(&answer, CONTENT_LENGTH);
        let total = length.and_then(|text| text.parse().ok());
        // Of an object that came in parts, the checksum is one of their checksums: `y/Q5Jg==-2`.
        let whole = text(&answer, CHECKSUM).filter(|text| !text.contains('-'));
        let check = whole.map(|expected| (Hasher::new(), expected.to_owned()));
        Ok(self.body(key, total.unwrap_or_default(), answer, check))
    }

    /// Begins to read a part of an object; what lies behind its end is left out. The caller holds a
    /// request of the budget.
    pub(crate) async fn open(&self, key: &str, range: Range<u64>) -> Result<Body, Error> {
        let attempt = self.attempt("read", key);
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let what = What::GetRange(&bytes);
        let answer = match self.ask(&attempt, &Ask { key, what }).await {
            Ok(answer) => answer,
            Err(fault) if fault.out_of_range() => {
                let found = self.head(key).await?;
                let found = found.ok_or_else(|| attempt.not_found())?;
                return Err(Error::Torn {
                    what: key.to_owned(),
                    found,
                    expected: range.end,
                });
            }
            Err(fault) => return Err(fault.error),
        };
        let total = text(&answer, CONTENT_RANGE).and_then(total_of);
        let total = total.ok_or_else(|| {
            attempt.refused("the answer to a request for a range names no range".to_owned())
        })?;
        Ok(self.body(key, total, answer, None))
    }

    /// What comes of an answer, compared with a checksum, if there is one.
    fn body(&self, key: &str, total: u64, answer: Answer, check: Option<(Hasher, String)>) -> Body {
        let (key, place) = (key.to_owned(), Arc::clone(&self.place));
        let chunks = stream::try_unfold(
            (answer, check),
            move |(mut answer, check): (Answer, Option<(Hasher, String)>)| {
                let (key, place) = (key.clone(), Arc::clone(&place));
                async move {
                    let attempt = Attempt {
                        action: "read",
                        key: &key,
                        place: &place,
                    };
                    let next = answer.next().await;
                    match (next.map_err(|cause| attempt.unavailable(cause))?, check) {
                        (Some(chunk), mut check) => {
                            if let Some((crc, _)) = &mut check {
                                crc.update(&chunk);
                            }
                            Ok(Some((chunk, (answer, check))))
                        }
                        (None, Some((crc, expected)))
                            if checksum(crc.clone().finalize()) != expected =>
                        {
                            Err(attempt.unavailable("it arrived with another checksum than it has"))
                        }
                        (None, _) => Ok(None),
                    }
                }
            },
        );
        Body {
            total,
            stream: chunks.boxed(),
        }
    }
}

fn text(answer: &Answer, name: impl AsHeaderName) -> Option<&str> {
    answer.headers.get(name)?.to_str().ok()
}

/// `1234` of `bytes 0-99/1234`.
fn total_of(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
}
