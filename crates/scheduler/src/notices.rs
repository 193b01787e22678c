//! Tells people's programs how runs ended: over NATS, and webhooks.
//!
//! # Promises
//! * A webhook is told of every run it asked for, at least once, whoever leads: tries go on for a day,
//!   with growing pauses. One that does not answer holds up no other, and nothing else.
//! * What is sent is signed, where a secret is set; the secret, and paths of URLs, are in no log.
//! * Redirects are not followed: what is sent goes where the configuration says, and nowhere else.
//!
//! # Crashes
//! A program may be told twice: the header `Thetis-Delivery` is the same then.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac::{self, HMAC_SHA256},
};
use futures::{StreamExt as _, future::join_all, stream};
use protocol::{Encoding, EndedRun, Event, Message as _, Notice, RunId, subject};
use queue::{CancellationToken, Listener};
use reqwest::{Client, Url, header::CONTENT_TYPE, redirect::Policy};
use service::{Chain, WebhookConfig};
use tokio::time::timeout;
use tracing::{debug, error, warn};

use crate::{App, metrics::Told};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long all of a batch may take: less than after what its events come again.
const BATCH: Duration = Duration::from_secs(12);
/// Requests to one program at once.
const AT_ONCE: usize = 8;
/// Pauses between tries: doubled from the first on, up to the second.
const PAUSES_MS: (u64, u64) = (5_000, 15 * 60_000);
/// For how long a program is told what it does not take.
const PATIENCE_MS: u64 = 24 * 3_600_000;

/// Tells everybody, until `stop`.
pub(crate) async fn tell(app: App, stop: CancellationToken) {
    let hooks = app.config.notify.webhooks.iter();
    let hooks: Vec<Webhook> = hooks.filter_map(Webhook::new).collect();
    let webhooks = join_all(hooks.iter().map(|hook| hook.serve(&app, &stop)));
    tokio::join!(announce(&app, &stop), webhooks);
}

/// Tells whoever listens to NATS. Who does not listen then is not told again.
async fn announce(app: &App, stop: &CancellationToken) {
    let hand_over = |events: Vec<Event>| async move {
        for event in &events {
            if let Some(ended) = describe(app, event).await? {
                app.queue.notify(&Notice::RunEnded(ended)).await?;
            }
        }
        Ok::<_, queue::Error>(Vec::new())
    };
    let listener = listener("notices");
    let heard = app.queue.events(&listener, stop.clone(), hand_over);
    if let Err(cause) = heard.await {
        error!(error = %Chain(&cause), "cannot tell how runs end");
    }
}

/// Who listens for the first time hears only what happens from then on.
fn listener(name: &str) -> Listener {
    Listener {
        name: name.to_owned(),
        subjects: subject::ENDS.map(str::to_owned).into(),
        from_the_start: false,
    }
}

/// What is known of a run that has ended; `None` if that is no run of ours, or is forgotten.
async fn describe(app: &App, event: &Event) -> Result<Option<EndedRun>, queue::Error> {
    let found = app.ledger.run(event.cluster, event.run).await?;
    let Some((record, _)) = found.filter(|(record, _)| record.status.ended()) else {
        return Ok(None);
    };
    let (cluster, task) = tokio::try_join!(
        app.ledger.cluster_by_id(record.cluster),
        app.ledger.task_by_id(record.cluster, record.task)
    )?;
    let task = task.map(|task| (task.name, task.labels));
    let (task_name, labels) = task.unwrap_or_default();
    Ok(Some(EndedRun {
        run: record.run,
        cluster: record.cluster,
        cluster_name: cluster.map(|known| known.name).unwrap_or_default(),
        task: record.task,
        kind: record.kind(),
        task_name,
        labels,
        status: record.status,
        cause: record.cause,
        asked_ms: record.asked_ms,
        ended_ms: record.ended_ms,
    }))
}

/// A program that is told.
struct Webhook {
    url: Url,
    /// The address without what may be secret.
    shown: String,
    key: Option<hmac::Key>,
    types: Vec<String>,
    outcomes: Vec<String>,
    http: Client,
    /// Tries so far, and when the next one is due, in milliseconds since 1970.
    failed: Mutex<BTreeMap<RunId, (u32, u64)>>,
}

/// What became of a try.
enum Tried {
    /// There is nothing more to do.
    Settled,
    /// It is to be tried again.
    Again,
}

impl Webhook {
    /// `None` if there is no client to ask it with.
    fn new(config: &WebhookConfig) -> Option<Self> {
        let url: Url = config.url.expose().parse().ok()?;
        let built = Client::builder()
            .timeout(ANSWER)
            .redirect(Policy::none())
            .user_agent(concat!("thetis/", env!("CARGO_PKG_VERSION")))
            .build();
        let shown = url.origin().ascii_serialization();
        if let Err(cause) = &built {
            error!(webhook = shown, error = %Chain(cause), "cannot prepare to tell it how runs end");
        }
        let key = config.secret.as_ref();
        Some(Self {
            shown,
            key: key.map(|secret| hmac::Key::new(HMAC_SHA256, secret.expose().as_bytes())),
            types: config.types.clone(),
            outcomes: config.outcomes.clone(),
            http: built.ok()?,
            failed: Mutex::default(),
            url,
        })
    }

    async fn serve(&self, app: &App, stop: &CancellationToken) {
        // By its address: another one has not heard yet what this one has.
        let id = crate::hex(digest(&SHA256, self.url.as_str().as_bytes()).as_ref());
        let listener = listener(&format!("webhook-{}", &id[..16]));
        let hand_over = |events: Vec<Event>| async move {
            let tries = stream::iter(events.into_iter().enumerate())
                .map(|(place, event)| async move { (place, self.told(app, &event).await) });
            let tries = tries.buffer_unordered(AT_ONCE);
            let mut again = Vec::new();
            let mut tries = std::pin::pin!(tries);
            while let Some((place, tried)) = tries.next().await {
                if let Tried::Again = tried {
                    again.push(place);
                }
            }
            Ok::<_, queue::Error>(again)
        };
        let heard = app.queue.events(&listener, stop.clone(), hand_over);
        if let Err(cause) = heard.await {
            error!(webhook = self.shown, error = %Chain(&cause), "cannot tell it how runs end");
        }
    }

    /// Tells it of a run's end if it wants to know, and a try is due.
    async fn told(&self, app: &App, event: &Event) -> Tried {
        let now_ms = crate::now_ms();
        if self
            .failed()
            .get(&event.run)
            .is_some_and(|(_, due)| now_ms < *due)
        {
            return Tried::Again;
        }
        let ended = match describe(app, event).await {
            Ok(Some(ended)) => ended,
            Ok(None) => return Tried::Settled,
            Err(cause) => {
                debug!(run = %event.run, error = %Chain(&cause), "a run's end is told later");
                return Tried::Again;
            }
        };
        if !self.wants(&ended) {
            return Tried::Settled;
        }
        let (run, since_ms) = (ended.run, now_ms.saturating_sub(ended.ended_ms));
        let sent = match timeout(BATCH, self.send(&Notice::RunEnded(ended), run)).await {
            Ok(sent) => sent,
            Err(late) => Err(late.to_string()),
        };
        let Err(cause) = sent else {
            self.failed().remove(&run);
            app.metrics.told(Told::Sent);
            return Tried::Settled;
        };
        let mut failed = self.failed();
        if since_ms > PATIENCE_MS {
            failed.remove(&run);
            error!(%run, webhook = self.shown, cause, "a webhook was not told of a run's end, given up");
            app.metrics.told(Told::GivenUp);
            return Tried::Settled;
        }
        let (tries, due) = failed.entry(run).or_default();
        let pause = PAUSES_MS
            .0
            .saturating_mul(1 << (*tries).min(16))
            .min(PAUSES_MS.1);
        (*tries, *due) = (*tries + 1, now_ms + pause);
        warn!(%run, webhook = self.shown, cause, tries, pause, "a webhook did not take a run's end, trying on");
        app.metrics.told(Told::Failed);
        Tried::Again
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, BTreeMap<RunId, (u32, u64)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants(&self, ended: &EndedRun) -> bool {
        let among = |wanted: &[String], found: &str| {
            wanted.is_empty()
                || wanted
                    .iter()
                    .any(|wanted| wanted.eq_ignore_ascii_case(found))
        };
        among(&self.types, ended.kind.as_str()) && among(&self.outcomes, ended.status.as_str())
    }

    async fn send(&self, notice: &Notice, run: RunId) -> Result<(), String> {
        let body = notice.encode(Encoding::Json);
        let mut request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Thetis-Delivery", run.to_string());
        if let Some(key) = &self.key {
            let signature = signature(key, crate::now_ms() / 1_000, &body);
            request = request.header("Thetis-Signature", signature);
        }
        let answer = request.body(body).send().await;
        // The address may hold a secret.
        let answer = answer.map_err(|e| Chain(&e.without_url()).to_string())?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(format!("it answers {}", answer.status())),
        }
    }
}

/// `t=<seconds since 1970>,v1=<HMAC-SHA256 of "<t>.<body>", in hexadecimal>`.
fn signature(key: &hmac::Key, at_secs: u64, body: &[u8]) -> String {
    let mut signed = format!("{at_secs}.").into_bytes();
    signed.extend_from_slice(body);
    let tag = hmac::sign(key, &signed);
    format!("t={at_secs},v1={}", crate::hex(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_signed_with_its_time() {
        let key = hmac::Key::new(HMAC_SHA256, b"0123456789abcdef");
        // printf '1769904000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = "e0b1380c9c5cd97533b29b3a3c0a86925257bfe2fd0ba7a669f5e03f3112b519";
        assert_eq!(
            signature(&key, 1_769_904_000, b"{}"),
            format!("t=1769904000,v1={expected}")
        );
    }

    #[test]
    fn a_webhook_hears_what_it_wants() {
        let hook = |types: &[&str], outcomes: &[&str]| {
            let config = WebhookConfig {
                url: "https://hooks.example/secret/path".into(),
                secret: None,
                types: types.iter().map(|t| (*t).to_owned()).collect(),
                outcomes: outcomes.iter().map(|o| (*o).to_owned()).collect(),
            };
            Webhook::new(&config).unwrap()
        };
        let Notice::RunEnded(failed) = protocol::schema::notice();
        assert!(hook(&[], &[]).wants(&failed));
        assert!(hook(&["backup"], &["error", "aborted"]).wants(&failed));
        assert!(!hook(&["restore"], &[]).wants(&failed));
        assert!(!hook(&[], &["DONE"]).wants(&failed));
        assert_eq!(hook(&[], &[]).shown, "https://hooks.example");
    }
}
