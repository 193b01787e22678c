//! How runs ended is told over NATS and to webhooks, at least once and signed.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::hmac;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use protocol::{Encoding, Message as _, Notice, RunStatus};
use serde_json::json;
use service::WebhookConfig;
use testkit::eventually;

use crate::world::{CLUSTER, LONG, World};

const SECRET: &str = "a-secret-of-the-webhook";

/// What came: headers and body.
type Came = Arc<Mutex<Vec<(HeaderMap, Vec<u8>)>>>;

/// A program that is told how runs end. It takes nothing the first time.
async fn program(came: Came) -> Result<(String, impl Future<Output = ()> + Send + 'static)> {
    async fn take(
        State(came): State<Came>,
        headers: HeaderMap,
        body: axum::body::Bytes,
    ) -> StatusCode {
        let mut came = came.lock().expect("no panics");
        came.push((headers, body.to_vec()));
        match came.len() {
            1 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::NO_CONTENT,
        }
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/secret-path", listener.local_addr()?);
    let router = Router::new()
        .route("/secret-path", post(take))
        .with_state(came);
    let serving = async move {
        axum::serve(listener, router).await.expect("served");
    };
    Ok((url, serving))
}

fn signed(headers: &HeaderMap, body: &[u8]) -> Result<()> {
    let shown = headers.get("thetis-signature").context("a signature")?;
    let (at, tag) = shown
        .to_str()?
        .strip_prefix("t=")
        .and_then(|rest| rest.split_once(",v1="))
        .context("t=..,v1=..")?;
    let digits = (0..tag.len()).step_by(2);
    let tag: Vec<u8> = digits
        .map(|at| u8::from_str_radix(&tag[at..at + 2], 16))
        .collect::<Result<_, _>>()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let text = [at.as_bytes(), b".", body].concat();
    hmac::verify(&key, &text, &tag)
        .ok()
        .context("a right signature")
}

#[tokio::test]
async fn the_end_of_a_run_is_told_until_it_is_taken() -> Result<()> {
    let (came, failed) = (Came::default(), Came::default());
    let (url, serving) = program(Arc::clone(&came)).await?;
    let (other, others) = program(Arc::clone(&failed)).await?;
    let mut world = World::with(move |config| {
        let hook = |url: &str, kind: &str, outcomes: &[&str]| WebhookConfig {
            url: url.into(),
            secret: Some(SECRET.into()),
            types: vec![kind.to_owned()],
            outcomes: outcomes.iter().map(|o| (*o).to_owned()).collect(),
        };
        let (backups, failures) = (
            hook(&url, "backup", &[]),
            hook(&other, "validate_backup", &["error"]),
        );
        config.notify.webhooks = vec![backups, failures];
    })
    .await?;
    world.background(serving);
    world.background(others);
    let notices = world.nats.subscribe("thetis.notice.>").await?;
    world.add_cluster().await?;

    // One that fails: nobody has said where backups are.
    let body =
        json!({"type": "validate_backup", "enabled": true, "name": "wrong", "properties": {}});
    let path = format!("cluster/{CLUSTER}/tasks");
    let (status, text) = world.send(reqwest::Method::POST, &path, Some(body)).await?;
    ensure!(status == 201, "{status} {text}");
    let (subject, _) = notices.next(LONG).await?.context("a notice")?;
    ensure!(
        subject.ends_with(".error") && subject.contains(".validate_backup."),
        "{subject}"
    );
    eventually("the other webhook to hear of it", LONG, async || {
        let heard = failed.lock().expect("no panics");
        let (headers, body) = heard.first().context("nothing heard")?;
        signed(headers, body)?;
        let Notice::RunEnded(ended) = Notice::decode(body, Encoding::Json)?;
        ensure!(
            ended.status == RunStatus::Error && ended.task_name == "wrong",
            "{ended:?}"
        );
        ensure!(ended.cause.contains("`location` is missing"), "{ended:?}");
        Ok(())
    })
    .await?;

    let task = world.back_up().await?;
    let ran = world.until(&task, "DONE").await?;
    let (subject, payload) = notices.next(LONG).await?.context("a notice")?;
    ensure!(
        subject.ends_with(".done") && subject.contains(".backup."),
        "{subject}"
    );
    let Notice::RunEnded(ended) = Notice::decode(&payload, Encoding::Json)?;
    ensure!(ended.status == RunStatus::Done, "{ended:?}");
    ensure!(ended.cluster_name == CLUSTER, "{ended:?}");
    ensure!(json!(ended.run) == ran["run"]["id"], "{ended:?} {ran}");
    ensure!(
        ended.ended_ms > ended.asked_ms && ended.asked_ms > 0,
        "{ended:?}"
    );

    eventually("the webhook to take it", LONG, async || {
        ensure!(came.lock().expect("no panics").len() >= 2);
        Ok(())
    })
    .await?;
    {
        let came = came.lock().expect("no panics");
        for (headers, body) in came.iter() {
            signed(headers, body)?;
            ensure!(Notice::decode(body, Encoding::Json)? == Notice::RunEnded(ended.clone()));
            let delivery = headers.get("thetis-delivery").context("a delivery")?;
            ensure!(delivery.to_str()? == ended.run.to_string());
        }
    }
    // The first time it took nothing, and the other wanted nothing of this.
    ensure!(failed.lock().expect("no panics").len() <= 2);
    Ok(())
}
