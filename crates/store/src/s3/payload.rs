//! Requests that carry payload, with as little between them and the network as can be: `PutObject`,
//! `UploadPart` and `GetObject`. All others are the SDK's.
//!
//! What may pass is tried again with growing pauses, or those the server asks for; keys that have
//! expired and clocks that are off are mended on the way. Each try is counted.

use std::{sync::Arc, time::Duration};

use aws_smithy_types::date_time::{DateTime, Format};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, RANGE, USER_AGENT},
};
use tokio::time::Instant;

use super::{
    S3,
    client::{TRIES, TRY},
    error::{by_code, no_credentials, words},
    keys::Keys,
    sign::{self, Canonical},
    target::Target,
};
use crate::{
    Error,
    budget::pause,
    error::Attempt,
    http::{Answer, Failure, Outgoing, Pulse, STALL, Stalled, retry_after},
};

pub(super) const CHECKSUM: &str = "x-amz-checksum-crc32";

/// Who we are.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("thetis/", env!("CARGO_PKG_VERSION")));

/// What objects are; the SDK says so too.
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The longest pause a server may ask for.
const REST: Duration = Duration::from_secs(30);

/// What is read of an answer that says why not, in bytes.
const WORDS: usize = 64 * 1024;

/// A request that can be made as often as need be.
pub(super) struct Ask<'a> {
    pub(super) key: &'a str,
    pub(super) what: What<'a>,
}

/// What is asked for.
pub(super) enum What<'a> {
    /// To store a body, whose CRC-32 in base64 this is, as an object, or as what the query says.
    Put {
        query: &'a str,
        body: &'a [Bytes],
        crc: &'a str,
        /// The object's storage class, if it is not the bucket's usual one.
        class: Option<&'a str>,
    },
    /// To send an object, and its checksum if it has one.
    Get,
    /// To send a part of one.
    GetRange(&'a str),
}

impl What<'_> {
    fn method(&self) -> Method {
        match self {
            Self::Put { .. } => Method::PUT,
            Self::Get | Self::GetRange(_) => Method::GET,
        }
    }

    fn body(&self) -> &[Bytes] {
        match self {
            Self::Put { body, .. } => body,
            Self::Get | Self::GetRange(_) => &[],
        }
    }

    fn query(&self) -> &str {
        match self {
            Self::Put { query, .. } => query,
            Self::Get | Self::GetRange(_) => "",
        }
    }

    /// How long it may be that nothing moves.
    fn patience(&self) -> Duration {
        match self {
            Self::Put { .. } => STALL,
            Self::Get | Self::GetRange(_) => TRY,
        }
    }
}

/// A try that failed.
pub(super) struct Fault {
    pub(super) error: Error,
    /// The HTTP status, if there was an answer.
    status: Option<u16>,
    code: String,
    /// The pause that the server asks for.
    rest: Option<Duration>,
    /// The server's clock, in seconds since 1970.
    clock: Option<i64>,
    /// Whether it was the connection's fault, which had been used before.
    stale: bool,
}

impl Fault {
    fn without_answer(error: Error) -> Self {
        Self {
            error,
            status: None,
            code: String::new(),
            rest: None,
            clock: None,
            stale: false,
        }
    }

    /// Why a server said no.
    async fn answered(attempt: &Attempt<'_>, mut answer: Answer) -> Self {
        let header = |name| answer.headers.get(name)?.to_str().ok();
        let clock = header(DATE).and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        let rest = retry_after(&answer.headers);
        let status = answer.status.as_u16();
        // What it says is good to know, and not worth failing for in another way.
        let text = tokio::time::timeout(TRY, text(&mut answer)).await;
        let text = text.unwrap_or_default();
        let (code, message) = (element(&text, "Code"), element(&text, "Message"));
        let words = words(code, message, Some(status));
        let code = code.unwrap_or_default();
        Self {
            error: by_code(attempt, code, Some(status), words),
            status: Some(status),
            code: code.to_owned(),
            rest,
            clock: clock.map(|at| at.secs()),
            stale: false,
        }
    }
}

impl S3 {
    /// Makes a request, again if need be, and waits for the beginning of the answer that says yes.
    /// The caller holds a request of the budget.
    pub(super) async fn ask(&self, attempt: &Attempt<'_>, ask: &Ask<'_>) -> Result<Answer, Fault> {
        let began = Instant::now();
        let keyless = |text: String| Fault::without_answer(no_credentials(attempt, &text));
        let mut keys = self.clients.keys.keys().await.map_err(keyless)?;
        let (mut tries, mut fresh, mut mended) = (1, false, false);
        loop {
            let fault = match self.try_once(attempt, ask, &keys, fresh).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            if fault.stale {
                fresh = true;
                continue;
            }
            if !mended && self.mend(&fault, &mut keys).await.map_err(keyless)? {
                mended = true;
                continue;
            }
            let late = fault.status.is_none() && began.elapsed() >= STALL;
            if tries >= TRIES || late || !fault.error.retry() {
                return Err(fault);
            }
            let rest = fault.rest.unwrap_or_default().min(REST);
            tracing::debug!(key = ask.key, error = %fault.error, "asking again");
            tokio::time::sleep(pause(tries).max(rest)).await;
            tries += 1;
        }
    }

    /// Does what can be done about a clock that is off, or keys that are no good any more; whether
    /// that is worth another try at once.
    async fn mend(&self, fault: &Fault, keys: &mut Arc<Keys>) -> Result<bool, String> {
        let ring = &self.clients.keys;
        match fault.clock {
            Some(clock) if fault.code == "RequestTimeTooSkewed" => ring.set_clock(clock),
            _ if fault.expired() => match ring.others(keys).await? {
                Some(others) => *keys = others,
                None => return Ok(false),
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn try_once(
        &self,
        attempt: &Attempt<'_>,
        ask: &Ask<'_>,
        keys: &Arc<Keys>,
        fresh: bool,
    ) -> Result<Answer, Fault> {
        let target = self
            .target
            .get_or_try_init(|| self.clients.find(&self.bucket, attempt));
        let target = target.await.map_err(Fault::without_answer)?;
        let pulse = Pulse::default();
        let request = self.request(ask, target, keys, &pulse);
        let request = request.map_err(|e| {
            let cause = format!("its request cannot be written, for its address or keys: {e}");
            Fault::without_answer(attempt.refused(cause))
        })?;
        let sent = target.pool.send(request, fresh);
        let sent = pulse.watch(ask.what.patience(), sent).await;
        let answered = sent.as_ref().ok().and_then(|sent| sent.as_ref().ok());
        let status = answered.map_or(0, |answer| answer.status.as_u16());
        let rest = answered.and_then(|answer| retry_after(&answer.headers));
        self.budget
            .answered(ask.what.method().as_str(), status, rest);
        Err(match sent {
            Ok(Ok(answer)) if answer.status.is_success() => match ask.damage(&answer) {
                None => return Ok(answer),
                Some(damage) => Fault::without_answer(attempt.unavailable(damage)),
            },
            Ok(Ok(answer)) => Fault::answered(attempt, answer).await,
            Ok(Err(Failure { cause, stale })) => Fault {
                stale,
                ..Fault::without_answer(attempt.unavailable(cause))
            },
            Err(Stalled) => {
                self.budget.throttled(None);
                Fault::without_answer(attempt.unavailable(Stalled::CAUSE))
            }
        })
    }

    /// Writes and signs a request.
    fn request(
        &self,
        ask: &Ask<'_>,
        target: &Target,
        keys: &Keys,
        pulse: &Pulse,
    ) -> Result<Request<Outgoing>, http::Error> {
        let (path, query) = (target.path(ask.key), ask.what.query());
        let body = ask.what.body();
        let method = ask.what.method();
        let payload = match self.clients.sign_payload {
            true => sign::hash(body),
            false => sign::UNSIGNED.to_owned(),
        };
        let time = sign::time(self.clients.keys.now());
        let mut signed = vec![("host", target.pool.host().to_str().unwrap_or_default())];
        signed.extend(match ask.what {
            What::Put { crc, .. } => Some((CHECKSUM, crc)),
            What::Get => Some(("x-amz-checksum-mode", "ENABLED")),
            What::GetRange(_) => None,
        });
        signed.extend([("x-amz-content-sha256", &*payload), ("x-amz-date", &*time)]);
        let token = keys.token.as_deref();
        signed.extend(token.map(|token| ("x-amz-security-token", token)));
        let encryption = &self.clients.encryption;
        let (encryption, class) = match ask.what {
            What::Put {
                query: "", class, ..
            } => (encryption.write(), class),
            What::Put { .. } | What::Get | What::GetRange(_) => (encryption.touch(), None),
        };
        signed.extend(
            encryption
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        signed.extend(class.map(|class| ("x-amz-storage-class", class)));
        let canonical = Canonical {
            method: method.as_str(),
            path: &path,
            query,
            headers: &signed,
            payload: &payload,
        };
        let authorization = keys.signer.authorization(&canonical, &target.scope, &time);
        let uri = match query {
            "" => path.clone(),
            query => format!("{path}?{query}"),
        };
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in &signed[1..] {
            request = request.header(*name, *value);
        }
        request = request
            .header(AUTHORIZATION, authorization)
            .header(USER_AGENT, AGENT);
        request = match ask.what {
            What::Put { .. } => {
                let bytes: usize = body.iter().map(Bytes::len).sum();
                request
                    .header(CONTENT_LENGTH, bytes)
                    .header(CONTENT_TYPE, BINARY)
            }
            What::Get => request,
            What::GetRange(range) => request.header(RANGE, range),
        };
        request.body(Outgoing::new(body, pulse))
    }
}

impl Ask<'_> {
    /// What arrived otherwise than it was sent, as far as the server tells.
    fn damage(&self, answer: &Answer) -> Option<String> {
        let What::Put { crc: sent, .. } = self.what else {
            return None;
        };
        let stored = answer.headers.get(CHECKSUM)?;
        (stored != sent).then(|| {
            let stored = String::from_utf8_lossy(stored.as_bytes());
            format!("it was sent with the CRC-32 {sent} and stored with {stored}")
        })
    }
}

impl Fault {
    /// Whether a range begins behind the object's end.
    pub(super) fn out_of_range(&self) -> bool {
        self.status == Some(416) || self.code == "InvalidRange"
    }

    /// Whether other keys may be what it takes.
    fn expired(&self) -> bool {
        const CODES: [&str; 5] = [
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidAccessKeyId",
            "InvalidToken",
            "TokenRefreshRequired",
        ];
        self.status == Some(401) || CODES.contains(&&*self.code)
    }
}

/// The beginning of an answer's body.
async fn text(answer: &mut Answer) -> String {
    let mut text = Vec::new();
    while let Ok(Some(bytes)) = answer.next().await {
        text.extend_from_slice(&bytes);
        if text.len() > WORDS {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// What stands between `<name>` and `</name>`, in a document with few of them.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inner.trim())
}
