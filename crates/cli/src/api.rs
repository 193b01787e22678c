//! The HTTP API, asked.
//!
//! Answers are kept as the text they came as, so that `--output json` prints them unchanged.

use std::{
    error::Error as StdError,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Certificate, Client, ClientBuilder, Identity, Method, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Value;

use crate::error::{Exit, Failure};

/// Where the API is when nobody says.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:5080/api/v1";

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take. Listing a large bucket takes longest.
const ANSWER: Duration = Duration::from_secs(180);

/// The API at one address.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    base: Url,
    http: Client,
}

/// What to show to be let in, and whom to trust.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub(crate) token: Option<String>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Access {
    fn prepare(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, Failure> {
        if let Some(token) = &self.token {
            let shown = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut shown = shown.map_err(|_| {
                Failure::new(Exit::Usage, "the token has characters that no token has")
            })?;
            shown.set_sensitive(true);
            builder = builder.default_headers([(AUTHORIZATION, shown)].into_iter().collect());
        }
        if let Some(path) = &self.ca {
            let all = Certificate::from_pem_bundle(&read(path)?);
            builder = builder.tls_certs_merge(all.map_err(|e| unfit(path, &e))?);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let both = [read(cert)?, read(key)?].concat();
            let identity = Identity::from_pem(&both).map_err(|e| unfit(cert, &e))?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|e| Failure::new(Exit::Usage, format!("cannot read {}: {e}", path.display())))
}

fn unfit(path: &Path, cause: &reqwest::Error) -> Failure {
    let text = format!("{} is not the PEM file expected", path.display());
    Failure::new(Exit::Usage, text).because(causes(cause))
}

/// A successful answer, unread.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    url: Url,
    text: String,
}

/// The body of every answer that is no success.
#[derive(Deserialize)]
struct ErrorBody {
    message: String,
    #[serde(default)]
    details: String,
    #[serde(default)]
    trace_id: String,
}

impl Api {
    /// The API at `base`, as in `http://127.0.0.1:5080/api/v1`.
    pub(crate) fn new(base: Url, access: &Access) -> Result<Self, Failure> {
        let agent = concat!("thetis/", env!("CARGO_PKG_VERSION"));
        let mut builder = Client::builder()
            .user_agent(agent)
            .connect_timeout(CONNECT)
            .timeout(ANSWER);
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        builder = access.prepare(builder)?;
        let http = builder.build().map_err(|e| {
            Failure::new(Exit::Unreachable, "cannot prepare to ask the API").because(causes(&e))
        })?;
        Ok(Self { base, http })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &Url {
        &self.base
    }

    /// Asks for what is at `path`, its segments unescaped.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        self.ask(Method::GET, path, query, None).await
    }

    /// Asks for what is at `path` of what `body` describes.
    pub(crate) async fn get_with(&self, path: &[&str], body: &Value) -> Result<Answer, Failure> {
        self.ask(Method::GET, path, &[], Some(body)).await
    }

    /// Makes something new at `path`.
    pub(crate) async fn post(&self, path: &[&str], body: &Value) -> Result<Answer, Failure> {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    /// Does what `path` names.
    pub(crate) async fn put(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        self.ask(Method::PUT, path, query, None).await
    }

    /// Makes what is at `path` be `body`.
    pub(crate) async fn set(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer, Failure> {
        self.ask(Method::PUT, path, query, Some(body)).await
    }

    /// Removes what is at `path`.
    pub(crate) async fn delete(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        self.ask(Method::DELETE, path, query, None).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let url = self.at(path, query);
        let mut request = self.http.request(method, url.clone());
        if let Some(body) = body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        let text = response.text().await.map_err(|e| self.unreachable(&e))?;
        let answer = Answer { url, text };
        if status.is_success() {
            Ok(answer)
        } else {
            Err(answer.refusal(status))
        }
    }

    fn at(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn unreachable(&self, cause: &reqwest::Error) -> Failure {
        let what = if cause.is_timeout() {
            "did not answer in time"
        } else {
            "cannot be reached"
        };
        Failure::new(
            Exit::Unreachable,
            format!("the API at {} {what}", self.base),
        )
        .because(causes(cause))
        .advise("is the scheduler running there? set its address with --api-url or THETIS_API_URL")
        .passing()
    }
}

impl Answer {
    /// The body, as it came.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What the body says.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.text)
            .map_err(|cause| self.foreign(StatusCode::OK).because(cause.to_string()))
    }

    /// Fails if the body is not JSON; an empty one is nothing, and that is allowed.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.text.trim().is_empty() {
            Ok(())
        } else {
            self.read::<IgnoredAny>().map(|_| ())
        }
    }

    /// An answer that says no.
    fn refusal(&self, status: StatusCode) -> Failure {
        let passing = matches!(status.as_u16(), 502..=504);
        let Ok(body) = serde_json::from_str::<ErrorBody>(&self.text) else {
            let failure = self.foreign(status);
            return if passing { failure.passing() } else { failure };
        };
        let exit = match status {
            StatusCode::NOT_FOUND => Exit::NotFound,
            StatusCode::CONFLICT => Exit::Conflict,
            _ => Exit::Failed,
        };
        let mut failure = Failure::new(exit, body.message).because(body.details);
        if status.is_server_error() && !body.trace_id.is_empty() {
            failure = failure.advise(format!(
                "the scheduler's log has more under trace_id {}",
                body.trace_id
            ));
        }
        if passing { failure.passing() } else { failure }
    }

    /// Something answered, but not as Thetis does.
    fn foreign(&self, status: StatusCode) -> Failure {
        let message = format!(
            "what answers at {} is not the API of Thetis (HTTP {})",
            self.url,
            status.as_u16()
        );
        Failure::new(Exit::Unreachable, message)
            .advise(format!("an address of the API looks like {DEFAULT_URL}; set it with --api-url or THETIS_API_URL"))
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// The causes of an error, without what names the URL, which the message has already.
fn causes(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(e) = cause {
        let text = e.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        cause = e.source();
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(base: &str) -> Api {
        Api::new(base.parse().unwrap(), &Access::default()).unwrap()
    }

    #[test]
    fn a_path_is_escaped_and_a_slash_at_the_end_does_no_harm() {
        for base in ["http://h:1/api/v1", "http://h:1/api/v1/"] {
            let url = api(base).at(
                &["cluster", "a/b c", "tasks"],
                &[("locations", "s3:x"), ("keyspace", "!a")],
            );
            assert_eq!(
                url.as_str(),
                "http://h:1/api/v1/cluster/a%2Fb%20c/tasks?locations=s3%3Ax&keyspace=%21a"
            );
        }
    }

    #[test]
    fn only_this_machine_is_asked_without_a_proxy() {
        let local = |url: &str| is_loopback(&url.parse().unwrap());
        assert!(
            local("http://127.0.0.1:5080")
                && local("http://localhost")
                && local("http://[::1]:5080")
        );
        assert!(!local("http://10.0.0.1") && !local("http://localhost.example"));
    }
}
