//! Signatures of requests: AWS Signature Version 4, with the key of a day derived once.
//!
//! For requests with few headers and no query that needs sorting. The SDK's own signer derives that
//! key for each request, which costs more than all the rest of the signature.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
};
use jiff::Timestamp;

/// What stands for the hash of a body that is not part of the signature.
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// What a signature is good for, beside its day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) region: String,
    pub(super) service: String,
}

/// A request, as far as it is signed.
pub(super) struct Canonical<'a> {
    pub(super) method: &'a str,
    /// Encoded.
    pub(super) path: &'a str,
    /// Encoded, sorted by name, and each name with a `=`.
    pub(super) query: &'a str,
    /// In the order of their names, which are in lower case.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The SHA-256 of the body in hexadecimal, or [`UNSIGNED`].
    pub(super) payload: &'a str,
}

/// Signs with one pair of keys.
pub(super) struct Signer {
    id: String,
    secret: String,
    today: Mutex<Option<Arc<Today>>>,
}

/// The key of one day in one scope.
struct Today {
    date: String,
    scope: Scope,
    key: hmac::Key,
}

impl Signer {
    pub(super) fn new(id: &str, secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            today: Mutex::default(),
        }
    }

    /// The `Authorization` of a request made at `time`, which [`time`] wrote.
    pub(super) fn authorization(
        &self,
        request: &Canonical<'_>,
        scope: &Scope,
        time: &str,
    ) -> String {
        let mut names = String::with_capacity(128);
        let mut text = String::with_capacity(512);
        for part in [
            request.method,
            "\n",
            request.path,
            "\n",
            request.query,
            "\n",
        ] {
            text.push_str(part);
        }
        for (name, value) in request.headers {
            for part in [name, ":", value.trim(), "\n"] {
                text.push_str(part);
            }
            if !names.is_empty() {
                names.push(';');
            }
            names.push_str(name);
        }
        for part in ["\n", &names, "\n", request.payload] {
            text.push_str(part);
        }
        let date = time.split('T').next().unwrap_or_default();
        let Scope { region, service } = scope;
        let place = format!("{date}/{region}/{service}/aws4_request");
        let hash = hex(digest(&SHA256, text.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{place}\n{hash}");
        let today = self.today(date, scope);
        let signature = hex(hmac::sign(&today.key, text.as_bytes()).as_ref());
        let id = &self.id;
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/{place}, SignedHeaders={names}, Signature={signature}"
        )
    }

    fn today(&self, date: &str, scope: &Scope) -> Arc<Today> {
        let mut kept = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(today) if today.date == date && today.scope == *scope => Arc::clone(today),
            _ => {
                let secret = format!("AWS4{}", self.secret);
                let mut key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                for part in [date, &scope.region, &scope.service, "aws4_request"] {
                    let tag = hmac::sign(&key, part.as_bytes());
                    key = hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref());
                }
                let today = Arc::new(Today {
                    date: date.to_owned(),
                    scope: scope.clone(),
                    key,
                });
                *kept = Some(Arc::clone(&today));
                today
            }
        }
    }
}

/// The SHA-256 of a body in hexadecimal.
pub(super) fn hash(body: &[bytes::Bytes]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&SHA256);
    body.iter().for_each(|bytes| context.update(bytes));
    hex(context.finish().as_ref())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// A path or a value of a query, with `/` kept or not.
pub(super) fn encode(text: &str, slash: bool) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            b'/' if slash => encoded.push('/'),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// A time as signatures have it: `20130524T000000Z`.
pub(super) fn time(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests;
