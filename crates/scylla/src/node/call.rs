//! One call: how it is sent, and how its answer is read.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};

use super::Node;
use crate::Error;

/// A call being put together.
pub(crate) struct Call<'a> {
    node: &'a Node,
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    attempt: String,
    limit: Option<Duration>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Node {
    /// A call of `path`, whose segments are encoded as they need.
    pub(crate) fn call(
        &self,
        method: Method,
        path: &[&str],
        attempt: impl Into<String>,
    ) -> Call<'_> {
        let path = path
            .iter()
            .map(|segment| format!("/{}", encoded(segment)))
            .collect();
        Call {
            node: self,
            method,
            path,
            query: Vec::new(),
            body: None,
            attempt: attempt.into(),
            limit: Some(super::SHORT),
        }
    }
}

impl Call<'_> {
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Sends `content` along as JSON.
    pub(crate) fn body(mut self, content: &serde_json::Value) -> Self {
        self.body = Some(content.to_string().into_bytes());
        self
    }

    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(crate) fn without_limit(mut self) -> Self {
        self.limit = None;
        self
    }

    /// Sends it; the answer has no content, or none that matters.
    pub(crate) async fn done(self) -> Result<(), Error> {
        self.send().await.map(drop)
    }

    /// Sends it and reads the answer.
    pub(crate) async fn read<T: DeserializeOwned>(self) -> Result<T, Error> {
        let attempt = self.attempt.clone();
        let body = self.send().await?;
        serde_json::from_slice(&body).map_err(|e| Error::Answer {
            attempt,
            cause: e.to_string(),
        })
    }

    async fn send(self) -> Result<Vec<u8>, Error> {
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(k, v)| format!("{k}={}", encoded(v)))
            .collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{}{mark}{}", self.node.api, self.path, query.join("&"));
        let mut request = self.node.http.request(self.method.clone(), url);
        if let Some(body) = &self.body {
            request = request
                .header("content-type", "application/json")
                .body(body.clone());
        }
        if let Some(limit) = self.limit {
            request = request.timeout(limit);
        }
        let answer = request.send().await.map_err(|e| self.failed(e))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|e| self.failed(e))?;
        if status.is_success() {
            return Ok(body.into());
        }
        let message = match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => refusal.message,
            Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
        };
        Err(Error::from_answer(
            &self.node.api,
            &self.attempt,
            status.as_u16(),
            message,
        ))
    }

    fn failed(&self, cause: reqwest::Error) -> Error {
        let (api, attempt) = (self.node.api.clone(), self.attempt.clone());
        if cause.is_timeout() && !cause.is_connect() {
            return Error::Timeout { api, attempt };
        }
        Error::Unreachable {
            api,
            attempt,
            cause: cause.without_url(),
        }
    }
}

/// Percent-encodes all but what every part of a URL may hold.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes all that is written to it");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_urls_is_encoded() {
        assert_eq!(encoded("ks:my table/é"), "ks%3Amy%20table%2F%C3%A9");
    }
}
